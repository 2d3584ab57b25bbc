//! A cluster stays where it was opened when the process changes its working directory (W19). Alone in its process, whose
//! working directory it changes.

use std::env::set_current_dir;
use std::fs;

use shard_runtime::{Cluster, Sharded, sqlite};

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "companies")]
struct Company {
    #[id]
    #[shard_key(hash)]
    id: i64,
    #[lookup]
    name: String,
}

fn use_all_of(cluster: &Cluster) {
    // More sessions at once than there are connections yet, each over all shards, and decisions in the control database.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let mut session = cluster.session();
                let ids = thread * 20..thread * 20 + 20;
                session.add_all(ids.map(|id| Company { id, name: format!("company {id}") })).unwrap();
                session.commit().unwrap();
                assert!(session.one(Company::select().all_shards().count()).unwrap() >= 20);
            });
        }
    });
    cluster.recover().unwrap();
    let attached = sqlite::attached(cluster).unwrap();
    let count: i64 = attached.query_row("SELECT count(*) FROM companies", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 80);
}

#[test]
fn relative_paths_start_from_where_the_cluster_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (here, elsewhere) = (folder.path().join("here"), folder.path().join("elsewhere"));
    fs::create_dir_all(here.join("conf")).unwrap();
    fs::create_dir_all(here.join("second")).unwrap();
    fs::create_dir(&elsewhere).unwrap();

    let builder = Cluster::builder()
        .shard("a", "sqlite:a.db")
        .shard("b", "sqlite://b.db")
        .shard("c", "sqlite:together.db?prefix=c_")
        .shard("d", "sqlite:together.db?prefix=d_");
    let second = builder.clone().control("sqlite:other_control.db");
    for (place, builder) in [(here.clone(), builder), (here.join("second"), second)] {
        set_current_dir(&place).unwrap();
        let cluster = builder.create::<Company>().unwrap();
        set_current_dir(&elsewhere).unwrap();
        use_all_of(&cluster);
        // The path of a folder that is named later starts from the working directory at that time.
        cluster.backup("copy").unwrap();
        assert!(elsewhere.join("copy").join("a.db").exists());
        fs::remove_dir_all(elsewhere.join("copy")).unwrap();
        for file in ["a.db", "b.db", "together.db"] {
            assert!(place.join(file).exists(), "{file}");
        }
    }
    assert!(here.join("second").join("other_control.db").exists());

    // A cluster file is read in one folder, and the cluster is opened in another.
    let shard = |name: &str, path: &str| format!("[[shard]]\nname = \"{name}\"\nurl = \"sqlite:{path}\"\n");
    let file = format!("control = \"sqlite:c.db\"\n{}{}", shard("a", "a.db"), shard("b", "../conf_b.db"));
    set_current_dir(&here).unwrap();
    fs::write("conf/cluster.toml", file).unwrap();
    let builder = Cluster::builder().config_file("conf/cluster.toml").unwrap();
    set_current_dir(&elsewhere).unwrap();
    let cluster = builder.create::<Company>().unwrap();
    set_current_dir(&here).unwrap();
    use_all_of(&cluster);
    for file in ["conf/a.db", "conf/c.db", "conf_b.db"] {
        assert!(here.join(file).exists(), "{file}");
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    drop(cluster);
    set_current_dir("/").unwrap();
}
