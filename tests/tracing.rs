//! The feature `tracing` records a span for each verb, and inside it one for each statement, on the thread that
//! runs it. In a program of its own, with a subscriber that sees all of it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use shard_runtime::{Cluster, Durability, ErrorKind, Parent, Session, Sharded, Sql, sqlite};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts")]
struct Account {
    #[id]
    #[shard_key(hash)]
    id: i64,
    owner: String,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "payments")]
struct Payment {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    account: Parent<Account>,
    cents: i64,
}

/// A span as it was recorded.
#[derive(Clone, Debug, Default)]
struct Told {
    name: &'static str,
    parent: Option<u64>,
    fields: HashMap<&'static str, String>,
    /// The threads that it was entered on.
    threads: Vec<String>,
    is_closed: bool,
}

impl Told {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

/// Remembers the spans of this crate.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    spans: Vec<Told>,
    /// How many handles there are on each.
    handles: Vec<usize>,
    /// The spans that are entered, by thread.
    entered: HashMap<thread::ThreadId, Vec<u64>>,
}

impl Listener {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The spans since the last look, each of which must be over.
    fn take(&self) -> Vec<Told> {
        let state = self.state();
        assert!(state.spans.iter().all(|span| span.is_closed), "{:#?}", state.spans);
        let spans = state.spans.clone();
        drop(state);
        // Ids are places in the list, which therefore only grows.
        let seen = spans.len();
        let before = std::mem::replace(&mut *SEEN.lock().unwrap(), seen);
        spans[before..].to_vec()
    }
}

static SEEN: Mutex<usize> = Mutex::new(0);

fn place(id: &Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("shard_runtime")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut state = self.state();
        let current = state.entered.get(&thread::current().id()).and_then(|ids| ids.last().copied());
        let parent = match attributes.is_contextual() {
            true => current,
            false => attributes.parent().map(Id::into_u64),
        };
        let mut told = Told { name: attributes.metadata().name(), parent, ..Told::default() };
        attributes.record(&mut told);
        state.spans.push(told);
        state.handles.push(1);
        Id::from_u64(state.spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        values.record(&mut self.state().spans[place(span)]);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.state().handles[place(id)] += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut state = self.state();
        state.handles[place(&id)] -= 1;
        let is_closed = state.handles[place(&id)] == 0;
        state.spans[place(&id)].is_closed |= is_closed;
        is_closed
    }

    fn enter(&self, span: &Id) {
        let mut state = self.state();
        state.entered.entry(thread::current().id()).or_default().push(span.into_u64());
        let name = thread::current().name().unwrap_or_default().to_owned();
        state.spans[place(span)].threads.push(name);
    }

    fn exit(&self, _: &Id) {
        self.state().entered.entry(thread::current().id()).or_default().pop();
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        panic!("an event where spans were expected: {event:?}");
    }
}

/// The one verb among the spans, and its statements: each must be inside it.
#[track_caller]
fn verb(listener: &Listener, expected: &str) -> (Told, Vec<Told>) {
    let first = *SEEN.lock().unwrap();
    let spans = listener.take();
    let (verbs, statements): (Vec<_>, Vec<_>) = spans.iter().cloned().partition(|span| span.name == "query");
    assert_eq!(verbs.len(), 1, "{spans:#?}");
    assert_eq!((verbs[0].field("db.operation.name"), verbs[0].parent), (expected, None));
    let id = first + 1 + spans.iter().position(|span| span.name == "query").unwrap();
    for statement in &statements {
        assert_eq!((statement.name, statement.parent), ("statement", Some(id as u64)), "{statement:#?}");
        assert!(statement.field("duration_us").parse::<u64>().is_ok());
        assert_eq!(statement.field("db.system.name"), "sqlite");
    }
    (verbs[0].clone(), statements)
}

fn fields<'s>(statements: &'s [Told], names: [&str; 3]) -> Vec<[&'s str; 3]> {
    statements.iter().map(|statement| names.map(|name| statement.field(name))).collect()
}

#[test]
fn verbs_and_statements_are_spans() {
    let listener = Listener::default();
    tracing::subscriber::set_global_default(listener.clone()).unwrap();
    let cluster = Cluster::in_memory::<(Account, Payment)>(["a", "b"]).unwrap();
    listener.take();
    every_verb_has_one(&listener, &mut cluster.session());
    no_value_is_recorded(&listener);
    a_failure_is_recorded_with_its_kind(&listener, &mut cluster.session());
    the_hook_is_no_part_of_it(&listener);
    on_workers_too(&listener);
}

fn every_verb_has_one(listener: &Listener, session: &mut Session) {
    // 1 and 2 are on different shards: statements are recorded in the shards' order.
    session.add_all((1..=4).map(|id| Account { id, owner: format!("secret {id}") })).unwrap();
    assert!(listener.take().is_empty(), "adding runs no statement");
    session.flush().unwrap();
    let (flush, inserts) = verb(listener, "flush");
    assert_eq!((flush.field("shards"), flush.field("error.type")), ("a,b", ""));
    let names = ["shard", "db.collection.name", "rows"];
    assert_eq!(fields(&inserts, names).len(), 2);
    assert!(
        inserts.iter().all(|insert| insert.field("db.query.text").starts_with("INSERT INTO \"accounts\""))
    );

    let rows = session.all(Account::select().all_shards()).unwrap();
    let (all, selects) = verb(listener, "all");
    assert_eq!((all.field("db.collection.name"), all.field("shards")), ("accounts", "a,b"));
    let on = |shard: &str| rows.iter().filter(|row| row.shard().name() == shard).count().to_string();
    let expected = [["a", "accounts", &on("a")], ["b", "accounts", &on("b")]];
    assert_eq!(fields(&selects, names), expected);

    let account = session.get::<Account>(1).unwrap().unwrap();
    let (get, look_ups) = verb(listener, "get");
    assert_eq!(get.field("shards"), account.shard().name());
    assert_eq!(fields(&look_ups, names), [[account.shard().name(), "accounts", "1"]]);
    session.get::<Account>(1).unwrap();
    assert!(verb(listener, "get").1.is_empty(), "it is known by now");

    let payment = session.add(NewPayment { account: account.link(), cents: 5 }).unwrap();
    assert_eq!(verb(listener, "add").1.len(), 1);
    session.parent(&payment).unwrap();
    verb(listener, "parent");
    // A verb that others are made of is one.
    session.all_with::<Payment>(Account::select().all_shards()).unwrap();
    let (_, statements) = verb(listener, "all_with");
    let tables: Vec<&str> =
        statements.iter().map(|statement| statement.field("db.collection.name")).collect();
    assert_eq!(tables, ["accounts", "accounts", "payments", "payments"]);
    session.all_available(Account::select().all_shards().count()).unwrap();
    verb(listener, "all_available");

    let update = Account::update().set(Account::OWNER, "secret").filter(Account::ID.eq(1));
    assert_eq!(session.execute(update).unwrap(), 1);
    let (execute, updates) = verb(listener, "execute");
    assert_eq!(execute.field("shards"), account.shard().name());
    assert_eq!(fields(&updates, names), [[account.shard().name(), "accounts", "1"]]);
    let sql = Sql::new("SELECT owner FROM {accounts} WHERE owner LIKE ?1").bind("secret%");
    session.all(sql.all_shards()).unwrap();
    let (all, statements) = verb(listener, "all");
    assert_eq!((all.field("shards"), all.field("db.collection.name"), statements.len()), ("a,b", "", 2));

    let mut account = account;
    account.owner = "secret too".into();
    session.update(&mut account).unwrap();
    verb(listener, "update");
    session.reload(&mut account).unwrap();
    verb(listener, "reload");
    session.delete(&payment).unwrap();
    verb(listener, "delete");
    sqlite::with_connection(session, "a", |_| Ok(())).unwrap();
    verb(listener, "with_connection");
    session.for_each(Account::select().all_shards(), |_| Ok(ControlFlow::Break(()))).unwrap();
    assert_eq!(verb(listener, "for_each").1.len(), 1, "the first shard's rows were enough");
    session.first(Account::select().all_shards()).unwrap();
    verb(listener, "first");
    session.one(Account::select().all_shards().count()).unwrap();
    verb(listener, "one");
    session.add(Account { id: 5, owner: "secret 5".into() }).unwrap();
    session.commit().unwrap();
    assert_eq!(verb(listener, "commit").1.len(), 1, "with the flush");
}

fn no_value_is_recorded(listener: &Listener) {
    let state = listener.state();
    let told: Vec<&String> = state.spans.iter().flat_map(|span| span.fields.values()).collect();
    assert!(told.len() > 100 && told.iter().all(|text| !text.contains("secret")), "{told:#?}");
}

fn a_failure_is_recorded_with_its_kind(listener: &Listener, session: &mut Session) {
    session.add(Account { id: 1, owner: "another secret".into() }).unwrap();
    assert_eq!(session.flush().unwrap_err().kind(), ErrorKind::Unique);
    let (flush, inserts) = verb(listener, "flush");
    assert_eq!((flush.field("error.type"), inserts[0].field("error.type")), ("Unique", "Unique"));
    // An error before the first statement is recorded for the verb alone.
    assert!(session.all(Account::select().on_shard("c")).is_err());
    let (all, statements) = verb(listener, "all");
    assert_eq!((all.field("error.type"), statements.len()), ("UnknownShard", 0));
    // And of the shards that are read, only the one that fails has failed.
    let sql = "SELECT CASE WHEN (SELECT count(*) FROM {accounts} WHERE id = ?1) THEN abs(-9223372036854775807 - 1) END";
    let on_b = session.all(Account::select().on_shard("b")).unwrap()[0].id;
    verb(listener, "all");
    let error = session.all(Sql::new(sql).bind(on_b).all_shards()).unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Value, Some("b")));
    let (all, statements) = verb(listener, "all");
    assert_eq!(all.field("error.type"), "Value");
    assert_eq!(fields(&statements, ["shard", "error.type", "rows"]), [["a", "", "1"], ["b", "Value", "0"]]);
}

/// A hook and a subscriber do not get in each other's way.
fn the_hook_is_no_part_of_it(listener: &Listener) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let builder = Cluster::builder().shard("a", "sqlite::memory:");
    let cluster = builder.on_statement(move |event| log.lock().unwrap().push(event.rows));
    let cluster = cluster.create::<Account>().unwrap();
    cluster.session().all(Account::select().all_shards()).unwrap();
    assert_eq!((told.lock().unwrap().len(), verb(listener, "all").1.len()), (1, 1));
}

fn on_workers_too(listener: &Listener) {
    let folder = tempfile::tempdir().unwrap();
    let builder = Cluster::builder().durability(Durability::Normal);
    let url = |shard: &str| format!("sqlite:{}", folder.path().join(shard).display());
    let builder = ["a", "b"].into_iter().fold(builder, |builder, shard| builder.shard(shard, url(shard)));
    let cluster = builder.create::<(Account, Payment)>().unwrap();
    let mut session = cluster.session();
    session.add_all((0..20_000).map(|id| Account { id, owner: format!("{id:0200}") })).unwrap();
    session.commit().unwrap();
    listener.take();
    let by_owner = Account::select().all_shards().order_by(Account::OWNER.desc());
    // Databases so large are read on workers; the statement is the verb's all the same.
    assert_eq!(session.all(by_owner).unwrap().len(), 20_000);
    on_two_workers(&verb(listener, "all"), 20_000);
    let sql = Sql::new("SELECT owner FROM {accounts}").all_shards();
    assert_eq!(session.all(sql).unwrap().len(), 20_000);
    on_two_workers(&verb(listener, "all"), 20_000);
    let with = session.all_with::<Payment>(Account::select().all_shards()).unwrap();
    assert_eq!(with.len(), 20_000);
    let (all_with, mut statements) = verb(listener, "all_with");
    let children = statements.split_off(2);
    on_two_workers(&(all_with.clone(), statements), 20_000);
    on_two_workers(&(all_with, children), 0);
    // A row that one shard has is looked for here.
    session.get::<Account>(7).unwrap().unwrap();
    assert!(verb(listener, "get").1.iter().all(|statement| statement.threads.is_empty()));
}

#[track_caller]
fn on_two_workers((verb, statements): &(Told, Vec<Told>), rows: u64) {
    assert_eq!(verb.threads.len(), 1, "the verb is the caller's");
    assert_eq!(statements.len(), 2);
    for statement in statements {
        let [thread] = statement.threads.as_slice() else { panic!("{statement:#?}") };
        assert!(thread.starts_with("sharded-worker"), "{thread}");
    }
    let told = statements.iter().map(|statement| statement.field("rows").parse::<u64>().unwrap());
    assert_eq!(told.sum::<u64>(), rows);
}
