//! Mutations of the library: each breaks one step of the protocol, and the attacks must then fail.
//!
//! ```sh
//! cargo test --test mutations -- --ignored --nocapture
//! ```
//!
//! Each change is made in a copy of the workspace, built there (in `SHARDED_MUTATIONS_TARGET`, if it is set), and attacked.
//! `SHARDED_MUTATION` makes only the changes whose description contains it. `cargo test` checks only that every change can
//! still be made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Mutation {
    change: &'static str,
    /// This text is in the runtime's source once,
    from: &'static str,
    /// and is replaced by this one.
    to: &'static str,
    /// The attacks that must fail: a test binary, and a part of the names of its tests.
    attack: (&'static str, &'static str),
}

const MUTATIONS: [Mutation; 47] = [
    Mutation {
        change: "the snapshot of a first look-up ends before the session's transaction begins",
        from: "        // Dropping the cursor would reset the statement.\n        std::mem::forget(cursor);\n",
        to: "",
        attack: ("isolation", "one_snapshot_of"),
    },
    Mutation {
        change: "a first look-up without a row begins no transaction",
        from: "            if found.is_some() {\n                return Ok(true);\n            }\n",
        to: "            return Ok(found.is_some());\n",
        attack: ("isolation", "one_snapshot_of"),
    },
    Mutation {
        change: "the version is not raised",
        from: "SET version = version + 1",
        to: "SET version = version",
        attack: ("torture", "kill_at_any_system_call"),
    },
    Mutation {
        change: "no session applies a decision",
        from: "let reached = decisions.redo(control, database, found, run)?;",
        to: "let (reached, _) = (found, (decisions, control, database, run));",
        attack: ("torture", "kill_at_any_system_call"),
    },
    Mutation {
        change: "databases are committed before the decision",
        from: "let base = base.map_err(|error| self.named(database, error))?;",
        to: "let base = base.map_err(|error| self.named(database, error))?; connection.commit()?;",
        attack: ("torture", "kill_at_any_system_call"),
    },
    Mutation {
        change: "the record is removed before the databases are committed",
        from: "        self.forget_finished();\n        self.records.extend(",
        to: "        let _ = self.remove(control, vec![unit.to_owned()]);\n        self.records.extend(",
        attack: ("torture", "kill_at_any_system_call"),
    },
    Mutation {
        change: "no commit waits for the disk",
        from: "Durability::Full => 2,",
        to: "Durability::Full => 1,",
        attack: ("torture", "power_loss_at_any_moment"),
    },
    Mutation {
        change: "after a failed decision, the log tail is not overwritten",
        from: "return Err(match overwrite_log_end(control) {",
        to: "return Err(match Ok::<(), Error>(()) {",
        attack: ("torture", "disk_that_fails"),
    },
    Mutation {
        change: "a decision that no process reads is not overwritten",
        from: "let Some(position) = control.unread_transaction()? else",
        to: "let Some(position) = control.unread_transaction()?.filter(|_| false) else",
        attack: ("torture", "no_process_reads"),
    },
    Mutation {
        change: "the transaction that overwrites a decision does not wait for the disk",
        from: "    overwrite_log_end(control).map_err(|error| {\n        let message = format!(\n            \"nothing was written: a decision",
        to: "    let _ = control.run(\"PRAGMA synchronous = NORMAL\");\n    overwrite_log_end(control).map_err(|error| {\n        let message = format!(\n            \"nothing was written: a decision",
        attack: ("torture", "after_a_decision_was_overwritten"),
    },
    Mutation {
        change: "servers commit when they should prepare",
        from: "self.end(&format!(\"PREPARE TRANSACTION '{name}'\"))",
        to: "self.end(&format!(\"COMMIT -- {name}\"))",
        attack: ("server_attacks", "on_servers"),
    },
    Mutation {
        change: "the decision's row is not written",
        from: "INSERT INTO {decisions} (id) SELECT $1::text FROM set_config('synchronous_commit', 'on', true) \\\n         \
               RETURNING (SELECT times FROM {collected})",
        to: "SELECT times FROM {collected} WHERE $1::text IS NOT NULL",
        attack: ("server_attacks", "on_servers"),
    },
    Mutation {
        change: "a flush to several servers at the same time waits for locks",
        from: "\"SET LOCAL lock_timeout = 1\"",
        to: "\"SET LOCAL lock_timeout = 60000\"",
        attack: ("lock_order", "flushes_over_servers"),
    },
    Mutation {
        change: "prepared parts are committed before the decision",
        from: "        self.prepare_parts()\n",
        to: "        self.prepare_parts()?;\n        finish_parts(self, true).into_iter().try_for_each(|(_, done)| done)\n",
        attack: ("server_attacks", "on_servers"),
    },
    Mutation {
        change: "no session reads the deciding server",
        from: "Ok(written? == 0)",
        to: "written.map(|_| false)",
        attack: ("server_attacks", "on_servers"),
    },
    Mutation {
        change: "decider rows are collected by age alone",
        from: "                Ok(ids) => old.push((database, ids)),",
        to: "                Ok(ids) => self.on_connection(&LeaseOwner::default(), database, |connection| {\n                    \
             commit::collect(connection, self.decision_log_names(database)?, &ids)\n                })?,",
        attack: ("server_attacks", "a_day_later"),
    },
    Mutation {
        change: "decider rows are collected although a participant is prepared",
        from: "            ids.retain(|id| !unfinished.contains(id));",
        to: "            ids.retain(|id| !unfinished.contains(id) || !id.is_empty());",
        attack: ("global_transactions", "r35_rows_are_collected_only"),
    },
    Mutation {
        change: "decider rows are collected although a server was not searched",
        from: "                Err(error) if is_for_later(&error) => return Ok(()),",
        to: "                Err(error) if is_for_later(&error) => {}",
        attack: ("server_attacks", "a_day_later"),
    },
    Mutation {
        change: "an owner treats a collected row as an abort",
        from: "times if times == collected => Ok(false),",
        to: "times if times == collected || times != collected => Ok(false),",
        attack: ("global_transactions", "whose_row_was_collected"),
    },
    Mutation {
        change: "a row is removed before its participants are finished",
        from: "        if transaction.parts.is_empty() {\n            return state.finished(transaction);",
        to: "        if commits {\n            return state.finished(transaction);",
        attack: ("global_transactions", "row_is_kept_until"),
    },
    Mutation {
        change: "a session does not finish participants of its own process",
        from: "for (part, commits) in self.0.unfinished.on(database) {",
        to: "for (part, commits) in self.0.unfinished.on(usize::MAX) {",
        attack: ("global_transactions", "r55_the_same_handle"),
    },
    Mutation {
        change: "a session that waits for a lock does not search the server",
        from: "blocked(Some(Box::new(move || stop.break_deadlock())));",
        to: "drop(stop);",
        attack: ("global_transactions", "r55_a_session_that_meets_the_lock"),
    },
    Mutation {
        change: "a session does not look for participants of other processes",
        from: "if self.0.searches.is_due(database) {",
        to: "if self.0.searches.is_due(usize::MAX) {",
        attack: ("global_transactions", "r55_another_handle"),
    },
    Mutation {
        change: "relocate locks no rows",
        from: "ORDER BY {id}{lock}\", self.name)",
        to: "ORDER BY {id}\", self.name)",
        attack: ("isolation", "serial_order_on_servers"),
    },
    Mutation {
        change: "a bulk delete reads the values that it removes before it deletes",
        from: "        let rows = self.tx.on(step.shard, table, &sql, |prepared| {",
        to: "        let select = sql::returning(table, columns).replacen(\" RETURNING \", \"SELECT \", 1);\n        \
             let select = format!(\"{select}{}\", statement.sql.replacen(\"DELETE\", \"\", 1));\n        \
             self.tx.on(step.shard, table, &select, |prepared| {\n            \
             let mut cursor = prepared.query(&statement.params)?;\n            \
             while cursor.advance()? {\n            \
             read(&Row { source: &*cursor, shard: &shard, table, columns: Some(columns) })?;\n            \
             }\n            Ok(((), 0))\n        })?;\n        \
             let read: &mut dyn FnMut(&Row<'_>) -> Result<()> = &mut |_| Ok(());\n        \
             let rows = self.tx.on(step.shard, table, &sql, |prepared| {",
        attack: ("isolation", "serial_order_on_servers"),
    },
    Mutation {
        change: "no gate separates relocations from bulk writes",
        from: "if !location.dialect.locks_rows() {",
        to: "if !location.dialect.locks_rows() || !models.is_empty() {",
        attack: ("isolation", "serial_order_on_servers"),
    },
    Mutation {
        change: "removing missing entries does not wait for other transactions",
        from: "if removed < values.len() as u64",
        to: "if removed > values.len() as u64",
        attack: ("isolation", "serial_order_on_servers"),
    },
    Mutation {
        change: "each process takes the writer number of the one before",
        from: "let number = OwnFacts::read(control, &self.names)?.writer + 1;",
        to: "let number = OwnFacts::read(control, &self.names)?.writer.max(1);",
        attack: ("suite", "r47_an_older_copy"),
    },
    Mutation {
        change: "the writer number that a database has is not recorded",
        from: "write(control, &self.names, dialect, Kind::Writer, name, &number)",
        to: "write(control, &self.names, dialect, Kind::Writer, name, \"0\")",
        attack: ("suite", "r47_an_older_copy"),
    },
    Mutation {
        change: "control records that a copy is complete before its last rows are on disk",
        from: "        copier.write(LockWait::Durable, || Ok(()))?;\n",
        to: "",
        attack: ("copying", "power_loss_at_any_moment_of_a_copy_of_one_table"),
    },
    Mutation {
        change: "control forgets a copy before its triggers are removed on disk",
        from: "connect_durable(cluster.0.timeout)?;\n        clean(",
        to: "connect_waiting(crate::driver::Mode::Open, cluster.0.timeout)?;\n        clean(",
        attack: ("copying", "power_loss_at_any_moment_of_a_copy"),
    },
    Mutation {
        change: "a change is decided before all copies are on disk",
        from: "if done.is_ok() { connection.sync() } else { Ok(()) }",
        to: "Ok(())",
        attack: ("changes", "power_loss_in_a_change_loses_nothing_if_commits_do_not_wait"),
    },
    Mutation {
        change: "a row that moves from one source to another is not copied from there",
        from: "if self.tables.is_divided(table) { 0 } else { self.sources.len() };",
        to: "if self.tables.is_divided(table) { 0 } else { 1 };",
        attack: ("changes", "r50_rows_are_relocated_between_sources"),
    },
    Mutation {
        change: "after a power loss, a target continues where another one is",
        from: "cursor.batches == least.batches",
        to: "cursor.batches >= least.batches",
        attack: ("changes", "power_loss_at_any_moment_of_a_change"),
    },
    Mutation {
        change: "a change makes no fence",
        from: "            make_fence(connection, source.location, &tables, change)?;",
        to: "            let _ = (&tables, change, make_fence);",
        attack: ("changes", "r51_other_programs_are_refused"),
    },
    Mutation {
        change: "a change does not copy the last changed rows behind the fence",
        from: "let entries = copier.catch_up(source, wait)?;\n                    if",
        to: "let entries = if wait_is(wait) { Vec::new() } else { copier.catch_up(source, wait)? };\n                    \
             fn wait_is(wait: Wait) -> bool { matches!(wait, LockWait::Until(_)) }\n                    if",
        attack: ("changes", "r50_a_writer_that_is_open"),
    },
    Mutation {
        change: "deletes are not recorded while a shard is copied",
        from: "trigger(\"delete\", \"AFTER DELETE\", \"\", &note(&old, 1)),",
        to: "trigger(\"delete\", \"AFTER DELETE\", \"\", &note(&format!(\"{old} WHERE 0\"), 1)),",
        attack: ("changes", "r50_a_writer_that_is_open"),
    },
    Mutation {
        change: "replaced rows are not recorded while a shard is copied",
        from: "    if !replaced.is_empty() {\n",
        to: "    if replaced.contains(\"no index\") {\n",
        attack: ("changes", "r50_a_row_that_replaces_others"),
    },
    Mutation {
        change: "the tables of a shard that was moved keep their names",
        from: "            hide(connection, source.location, &tables, (source.name, change))?;",
        to: "            let _ = (&tables, change, hide);",
        attack: ("changes", "r49_a_handle_that_does_not_know"),
    },
    Mutation {
        change: "a change is decided before its fence",
        from: "            let wait = LockWait::Until(Instant::now() + budget);\n            for source",
        to: "            let wait = LockWait::Until(Instant::now() + budget);\n            \
             let early = self.cluster.0.recorded.new_groups(&self.cluster.0.layout);\n            \
             self.cluster.0.control.decide_change(&self.record, &early)?;\n            for source",
        attack: ("changes", "r50_a_switch_is_tried_again"),
    },
    Mutation {
        change: "entries up to the last one read are deleted",
        from: "\"DELETE FROM {} WHERE entry{}\",\n        endpoint.location.names.table(DIRTY),\n        \
               endpoint.location.dialect.is_in(1)",
        to: "\"DELETE FROM {} WHERE entry <= (SELECT max(read) FROM unnest({}) AS entries (read))\",\n        \
             endpoint.location.names.table(DIRTY),\n        endpoint.location.dialect.param(1)",
        attack: ("changes", "r50_entries_that_are_committed_late"),
    },
    Mutation {
        change: "attempts of a change are not compared",
        from: "Some(part) if (part.change, part.attempt) == (change, attempt) => Ok(part),",
        to: "Some(part) if part.change == change || part.attempt == attempt => Ok(part),",
        attack: ("changes", "r50_a_mover_that_was_overtaken"),
    },
    Mutation {
        change: "a continued change keeps its attempt",
        from: "change.attempt = work.next_attempt()?;",
        to: "change.attempt = work.next_attempt().map(|_| change.attempt)?;",
        attack: ("changes", "r50_a_mover_that_was_overtaken"),
    },
    Mutation {
        change: "rows are copied without a claim on the target",
        from: "claim_part(connection, target.location, (change, attempt)).map(drop)",
        to: "claim_part(connection, target.location, (change, attempt)).map(drop).or_else(|_| Ok::<(), crate::error::Error>(()))",
        attack: ("changes", "r50_a_mover_that_was_overtaken"),
    },
    Mutation {
        change: "control is not read when an attempt is entered",
        from: "Some(now) if now.attempt == self.record.attempt && now.state == state => Ok(part),",
        to: "_ if state != ChangeState::Decided => Ok(part),\n            Some(now) if now.state == state => Ok(part),",
        attack: ("changes", "r50_an_attempt_that_was_cancelled"),
    },
    Mutation {
        change: "descendants do not follow a key that changes",
        from: "let moved = if self.targets.len() > 1 {",
        to: "let moved = if self.targets.len() > 99 {",
        attack: ("changes", "r50_descendants_follow"),
    },
    Mutation {
        change: "the numbers of changes are given again",
        from: "let change = ChangeRecord { number, attempt: number, ..plan.clone() };",
        to: "let change = ChangeRecord { number: 1, attempt: number, ..plan.clone() };",
        attack: ("changes", "r50_a_handle_of_a_cancelled_change"),
    },
];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of the workspace")
}

#[test]
fn every_mutation_can_be_made() {
    for mutation in MUTATIONS {
        file_of(workspace(), &mutation);
    }
}

#[test]
#[ignore = "builds the library once for each mutation, and attacks it: half an hour"]
fn every_mutation_is_noticed() {
    let copy = tempfile::tempdir().unwrap();
    for name in ["Cargo.toml", "Cargo.lock", "shard-derive", "shard-runtime", "tests", "examples", "benches"]
    {
        copy_all(&workspace().join(name), &copy.path().join(name));
    }
    let target = std::env::var_os("SHARDED_MUTATIONS_TARGET").map(PathBuf::from);
    let target = target.unwrap_or_else(|| copy.path().join("target"));
    let wanted = std::env::var("SHARDED_MUTATION").unwrap_or_default();
    let mut unnoticed = Vec::new();
    for mutation in MUTATIONS.iter().filter(|mutation| mutation.change.contains(&wanted)) {
        let (file, original) = file_of(copy.path(), mutation);
        fs::write(&file, original.replace(mutation.from, mutation.to)).unwrap();
        let (test, filter) = mutation.attack;
        let built = cargo(copy.path(), &target, "some", &["--test", test, "--no-run"]);
        assert!(built.status.success(), "{}: {}", mutation.change, String::from_utf8_lossy(&built.stderr));
        // An ordinary run notices most of them.
        let mut said = String::new();
        let mut noticed = None;
        for steps in ["some", "all"] {
            let attacked = cargo(copy.path(), &target, steps, &["--test", test, filter]);
            said = String::from_utf8_lossy(&attacked.stdout).into_owned();
            let failed = said.lines().filter(|line| line.ends_with("... FAILED")).count();
            if failed > 0 {
                noticed = Some((steps, failed));
                break;
            }
        }
        fs::write(&file, original).unwrap();
        let why = said.lines().skip_while(|line| !line.contains(" panicked at ")).nth(1).unwrap_or_default();
        println!("{}: {noticed:?} tests failed: {why}", mutation.change);
        if noticed.is_none() {
            unnoticed.push(format!("{}: {said}", mutation.change));
        }
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

/// The file of the runtime that a mutation changes, and its text.
fn file_of(workspace: &Path, mutation: &Mutation) -> (PathBuf, String) {
    let mut found = Vec::new();
    let mut folders = vec![workspace.join("shard-runtime/src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                found.extend(text.matches(mutation.from).map(|_| (path.clone(), text.clone())));
            }
        }
    }
    assert_eq!(found.len(), 1, "{}: `{}` is there once", mutation.change, mutation.from);
    found.remove(0)
}

/// Runs tests; `steps` is `all` for those that attack at every step.
fn cargo(folder: &Path, target: &Path, steps: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .current_dir(folder)
        .args(["test", "--locked", "--package", "sharded-tests", "--features", "servers"])
        .args(arguments)
        .env("CARGO_TARGET_DIR", target)
        .env("RUST_BACKTRACE", "0")
        .env("SHARDED_STEPS", steps)
        .output()
        .unwrap()
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            copy_all(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}
