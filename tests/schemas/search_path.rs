//! The `search_path` of the login decides nothing: a cluster is not made again in another schema.

use super::*;

impl World {
    /// Sets the `search_path` of the role in this database.
    fn set_search_path(&self, path: &str) {
        self.client().run(&format!(
            "DO $$ BEGIN EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET search_path = {path}', \
             current_database()); END $$"
        ));
    }

    /// A builder whose first shard is in the schema of a URL without `?schema=`.
    fn builder_without_schema(&self) -> Builder {
        let builder = Cluster::builder().busy_timeout(Duration::from_secs(20)).shard("a", &self.url);
        LETTERS[1..]
            .iter()
            .fold(builder, |builder, shard| builder.shard(*shard, format!("{}?schema=s_{shard}", self.url)))
    }

    /// How many tables of this library a schema has.
    fn own_tables(&self, schema: &str) -> String {
        let sql = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE relname LIKE 'sharded%' AND relkind = 'r' AND nspname = ";
        self.client().text(&format!("{sql}'{schema}'"))
    }
}

/// The last release made the tables of a URL without `?schema=` in the first schema of the role's `search_path`.
#[test]
fn r47_a_cluster_in_another_schema_of_the_search_path_is_not_made_again() {
    let server = server();
    let world = World::new(server);
    drop(world.filled());
    world.client().run("ALTER SCHEMA s_a RENAME TO app");
    world.set_search_path("app, s_b, public");
    let refused = |result: shard_runtime::Result<Cluster>| {
        let error = result.map(drop).unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::WrongDatabase, Some("a")), "{error}");
        let message = error.to_string();
        assert!(message.contains("?schema=app") && message.contains("?schema=public"), "{message}");
    };
    refused(world.builder_without_schema().create::<(Owner, Pet)>());
    refused(world.builder_without_schema().open::<(Owner, Pet)>());
    assert_eq!(world.own_tables("public"), "0");
    // The remedies of the message: the cluster that exists, or another one on purpose.
    let named = |schema: &str| {
        LETTERS[1..].iter().fold(
            Cluster::builder()
                .busy_timeout(Duration::from_secs(20))
                .shard("a", format!("{}?schema={schema}", world.url)),
            |builder, shard| builder.shard(*shard, format!("{}?schema=s_{shard}", world.url)),
        )
    };
    let cluster = named("app").create::<(Owner, Pet)>().unwrap();
    assert_eq!(all_ids(&mut cluster.session()), [1, 2, 3, 4]);
    drop(cluster);
    let only = Cluster::builder().shard("a", format!("{}?schema=public", world.url)).create::<Item>();
    assert!(only.unwrap().session().all(Item::select().all_shards()).unwrap().is_empty());
    // It exists in `public` now, so that other schemas do not count.
    drop(Cluster::builder().shard("a", &world.url).open::<Item>().unwrap());
    drop(Cluster::builder().shard("a", &world.url).create::<Item>().unwrap());
}

/// The schemas of the cluster's other shards may be in the `search_path`.
#[test]
fn r47_schemas_of_other_shards_in_the_search_path_do_not_count() {
    let server = server();
    let world = World::new(server);
    world.set_search_path("s_b, s_c, public");
    let first = Cluster::builder().shard("b", format!("{}?schema=s_b", world.url));
    let builder = || first.clone().shard("a", &world.url).control(format!("{}?schema=s_b", world.url));
    drop(builder().create::<Item>().unwrap());
    drop(builder().create::<Item>().unwrap());
    drop(builder().open::<Item>().unwrap());
}
