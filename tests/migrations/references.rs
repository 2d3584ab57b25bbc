//! A new column that refers to a reference table, which is new, too.

use shard_runtime::{ErrorKind, Sharded as _, migrate::Migrations};

use crate::made::{assert_has, both};
use crate::models::SHARDS;

mod referring {
    use shard_runtime::{Parent, Sharded};

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "users", index(name))]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub name: String,
        pub fax: String,
        #[references(Country)]
        pub country: Option<String>,
    }

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "posts")]
    pub struct Post {
        #[id(auto)]
        pub id: i64,
        #[shard_parent]
        pub user: Parent<User>,
        pub text: Option<String>,
    }

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "countries", reference)]
    pub struct Country {
        #[id]
        pub code: String,
    }

    /// The table that is referred to is declared last.
    pub type Models = (User, Post, Country);
}

use referring::{Country, Models, User};

#[test]
fn r53_an_added_column_refers_to_a_reference_table() {
    for made in both() {
        let fills = || {
            Migrations::new().step(2, "countries", |m| {
                let sql = "UPDATE {users} SET country = (SELECT min(code) FROM {countries}) WHERE id < 3";
                m.sqlite(sql).postgres(sql)
            })
        };
        let migrate = || made.migrate::<Models>(&fills());
        let plan = migrate().plan().to_string();
        assert_has(&plan, &["ADD COLUMN \"country\"", "REFERENCES", "countries"]);
        let status = migrate().run(|_| {}).unwrap();
        assert!(status.shards.iter().all(|of| of.version == 2), "{status}");
        assert!(migrate().contract().plan().is_empty());
        // The earlier release goes on.
        made.builder().open::<crate::models::one::Models>().unwrap();
        let cluster = made.builder().open::<Models>().unwrap();
        let mut session = cluster.session();
        assert_eq!(session.one(User::select().all_shards().count()).unwrap(), 60);
        session.add(Country { code: "NZ".to_owned() }).unwrap();
        session.commit().unwrap();
        for id in 1_000..1_020 {
            let user = |country: &str| User {
                id,
                name: "n".to_owned(),
                fax: String::new(),
                country: Some(country.to_owned()),
            };
            session.add(user("NZ")).unwrap();
            session.commit().unwrap();
            // The database refuses the other one.
            let mut stored = session.get::<User>(id).unwrap().unwrap();
            stored.country = Some("XX".to_owned());
            let refused = session.update(&mut stored).and_then(|_| session.commit().map(drop)).unwrap_err();
            assert_eq!(
                (refused.kind(), refused.table()),
                (ErrorKind::ForeignKey, Some("users")),
                "{refused}"
            );
            session.rollback();
        }
        for shard in SHARDS {
            let used = made.texts(shard, "SELECT CAST(count(*) AS TEXT) FROM users WHERE country = 'NZ'");
            assert_ne!(used, ["0"], "{shard}");
        }
    }
}
