//! A decision that no process reads, of a transaction over files and a server. The server's part is prepared. The record of the
//! decision is complete in control's write-ahead log and not published. After any action of a surviving process all parts have
//! one outcome, also after a later process has recovered the log.

use std::path::Path;

use shard_runtime::{Builder, Cluster, Durability, Sharded as _};

use crate::injected::every;
use crate::unread::{BY_THE_OWNER, FOLDER, add, copy_of, overwritten, run_owner};
use crate::{Account, Entry, Models, Place, folder};
use sharded_tests::postgres_server::Server;

const SERVER: &str = "SHARDED_TORTURE_UNREAD_SERVER";

/// Two files and a shard on the server. The lookups' and references' tables are on all four shards.
const PLACES: [Place; 3] = [Place::A, Place::B, Place::C];

const OWNER: &str = "unread_servers::owner_of_files_and_a_server_in_a_process_of_its_own";

/// `a` and `b` in files; `c` and `d` in schemas of one server, whose URL has the beginning of their names at its end.
fn builder(folder: &Path, server: &str) -> Builder {
    let file = |name: &str| format!("sqlite:{}", folder.join(format!("{name}.db")).display());
    Cluster::builder()
        .durability(Durability::Full)
        .busy_timeout(std::time::Duration::from_secs(20))
        .shard("a", file("a"))
        .shard("b", file("b"))
        .shard("c", format!("{server}_c"))
        .shard("d", format!("{server}_d"))
}

#[test]
#[ignore = "runs in processes of its own"]
fn owner_of_files_and_a_server_in_a_process_of_its_own() {
    let said = |name: &str| std::env::var(name).unwrap();
    let cluster = builder(Path::new(&said(FOLDER)), &said(SERVER)).open::<Models>().unwrap();
    let mut session = cluster.session();
    for place in PLACES {
        let mut account = session.get(Account::by_id(1).on(place)).unwrap().unwrap();
        account.cents += BY_THE_OWNER;
        session.update(&mut account).unwrap();
        session.add(Entry { id: 1, place, shards: 0b0111 }).unwrap();
    }
    session.commit().unwrap();
}

/// The first thing that the surviving process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It writes the row of the transaction on this shard.
    Writes(Place),
    Recovers,
    /// Nothing; another process opens the cluster.
    IsJoined,
}

impl Next {
    const ALL: [Next; 5] = [
        Next::Writes(Place::A),
        Next::Writes(Place::B),
        Next::Writes(Place::C),
        Next::Recovers,
        Next::IsJoined,
    ];

    fn run(self, cluster: &Cluster, folder: &Path, server: &str) {
        match self {
            Next::Writes(place) => add(cluster, place, 10),
            Next::Recovers => drop(cluster.recover().unwrap()),
            Next::IsJoined => drop(builder(folder, server).open::<Models>().unwrap()),
        }
    }
}

#[test]
fn r35_a_decision_over_files_and_a_server_that_no_process_reads_has_one_outcome() {
    let server = Server::start();
    let (home, mut attacks) = (folder(), 0);
    let kills = Next::ALL.map(|next| ("signal=KILL", "", next));
    // A disk that fails from then on leaves the same; an ordinary run tries it once.
    let failures = Next::ALL.map(|next| ("error=EIO", "+", next));
    let failures = if every() { &failures[..] } else { &failures[2..3] };
    for &(what, on, next) in kills.iter().chain(failures) {
        let mut left = 0;
        for time in 1.. {
            attacks += 1;
            let here = home.path().join(attacks.to_string());
            let url = format!("{}?schema=u{attacks}", server.url());
            let attack = attack(&here, &url, &server, next, &format!("{what}:when={time}{on}"));
            left += usize::from(attack.has_overwritten);
            std::fs::remove_dir_all(&here).unwrap();
            if attack.is_committed {
                break;
            }
        }
        assert!(left > 0, "{what}, {next:?}: no decision was left");
    }
    println!("{attacks} owners");
}

struct Attack {
    /// Whether the owner came to its end.
    is_committed: bool,
    /// Whether a decision of its was overwritten.
    has_overwritten: bool,
}

fn attack(home: &Path, url: &str, server: &Server, next: Next, what: &str) -> Attack {
    let folder = home.join("cluster");
    std::fs::create_dir_all(&folder).unwrap();
    let other = builder(&folder, url).create::<Models>().unwrap();
    other
        .transaction(|session| {
            session.add_all(Place::ALL.map(|place| Account { id: 1, place, cents: 0 })).map(drop)
        })
        .unwrap();
    // The first transaction of a process on a file also writes control. The later ones do not.
    PLACES.into_iter().for_each(|place| add(&other, place, 1));
    let is_committed = run_owner(&folder, what, OWNER, &[(SERVER, url)]);
    let before = overwritten(&folder);
    next.run(&other, &folder, url);
    let has_overwritten = overwritten(&folder) > before;

    // Every process is killed now, and the next one recovers the logs.
    let left = copy_of(&folder);
    drop(other);
    let cluster = builder(&left, url).open::<Models>().expect("the cluster opens");
    let mut session = cluster.session();
    let has_entry = PLACES.map(|place| session.get(Entry::by_id(1).on(place)).unwrap().is_some());
    assert_eq!(has_entry, [has_entry[0]; 3], "{what}, then {next:?}: half-committed");
    assert!(has_entry[0] || !is_committed, "{what}, then {next:?}: what was acknowledged is lost");
    for place in PLACES {
        let found = session.get(Account::by_id(1).on(place)).unwrap().unwrap().cents;
        let by_others = if next == Next::Writes(place) { 11 } else { 1 };
        let by_the_owner = if has_entry[0] { BY_THE_OWNER } else { 0 };
        assert_eq!(found, by_others + by_the_owner, "{what}, then {next:?}: {place:?}");
    }
    assert_eq!(server.psql("SELECT count(*) FROM pg_prepared_xacts"), "0\n", "{what}, then {next:?}");
    Attack { is_committed, has_overwritten }
}
