//! Two releases of an application, and a cluster of the first.

use std::path::Path;
use std::time::Duration;

use shard_runtime::{Builder, Cluster, Durability};

pub const SHARDS: [&str; 3] = ["a", "b", "c"];

pub mod one {
    use shard_runtime::{Parent, Sharded};

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "users", index(name))]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub name: String,
        pub fax: String,
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

    pub type Models = (User, Post);
}

pub mod two {
    use shard_runtime::{Parent, Sharded, migrate::Migrations};

    #[derive(Sharded, Clone, Debug)]
    #[sharded(table = "users", index(full_name), index(nickname))]
    pub struct User {
        #[id]
        #[shard_key(hash)]
        pub id: i64,
        pub full_name: String,
        pub nickname: Option<String>,
        #[sharded(default = 3)]
        pub level: i64,
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
    #[sharded(table = "notes")]
    pub struct Note {
        #[id(sequence)]
        pub id: i64,
        #[shard_parent]
        pub user: Parent<User>,
    }

    pub type Models = (User, Post, Note);

    pub fn migrations() -> Migrations {
        Migrations::new()
            .step(2, "nickname", |m| {
                // Twice for one row would be seen.
                m.backfill::<User>(|user| {
                    user.nickname = Some(user.nickname.take().unwrap_or_default() + "+")
                })
                .sqlite("INSERT INTO log SELECT 'step 2 ' || id FROM {users}")
                .postgres("INSERT INTO log SELECT 'step 2 ' || id FROM {users}")
            })
            .step(3, "required", |m| m.require(User::NICKNAME))
            .step(4, "full name", |m| m.rename(User::FULL_NAME, "name"))
            .step(5, "text", |m| {
                m.sqlite("UPDATE {posts} SET text = 'empty' WHERE text IS NULL")
                    .postgres("UPDATE {posts} SET text = 'empty' WHERE text IS NULL")
                    .require(Post::TEXT)
            })
            .step(6, "no fax", |m| m.drop_column::<User>("fax"))
    }
}

/// A builder of these shards as files in a folder.
pub fn builder(folder: &Path, shards: &[&str]) -> Builder {
    let builder = Cluster::builder()
        .durability(Durability::Full)
        .busy_timeout(Duration::from_secs(20))
        .cache_size(1_024)
        .mmap_size(0);
    shards.iter().fold(builder, |builder, shard| {
        builder.shard(*shard, format!("sqlite:{}", folder.join(format!("{shard}.db")).display()))
    })
}

/// Makes a cluster of the first release in files, with tables, a trigger and a view of another program. Its marks are deleted with
/// the rows that they refer to.
pub fn create(folder: &Path, shards: &[&str]) {
    std::fs::create_dir_all(folder).unwrap();
    fill(builder(folder, shards));
    for shard in shards {
        let raw = rusqlite::Connection::open(folder.join(format!("{shard}.db"))).unwrap();
        raw.execute_batch(
            "CREATE TABLE log (text TEXT); \
             CREATE TRIGGER logs AFTER DELETE ON posts BEGIN INSERT INTO log VALUES (OLD.text); END; \
             CREATE VIEW names AS SELECT count(*) FROM users JOIN posts ON user_id = users.id; \
             CREATE TABLE marks (mark INTEGER PRIMARY KEY, user INTEGER REFERENCES users (id) ON DELETE CASCADE, \
             post INTEGER REFERENCES posts (id) ON DELETE CASCADE); \
             INSERT INTO marks (user, post) SELECT user_id, id FROM posts",
        )
        .unwrap();
        raw.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    }
}

/// Makes a cluster of the first release with 60 users, each with two posts.
pub fn fill(builder: Builder) {
    let cluster = builder.create::<one::Models>().unwrap();
    let mut session = cluster.session();
    let user = |id| one::User { id, name: format!("user {id}"), fax: "1".to_owned() };
    let users = session.add_all((0..60).map(user)).unwrap();
    let post = |text: Option<&str>| {
        let text = text.map(str::to_owned);
        users
            .iter()
            .map(move |user| one::NewPost { user: user.link(), text: text.clone() })
            .collect::<Vec<_>>()
    };
    session.add_all(post(None)).unwrap();
    session.add_all(post(Some("text"))).unwrap();
    session.commit().unwrap();
}
