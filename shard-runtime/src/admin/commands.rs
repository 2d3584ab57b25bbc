//! The commands: each calls one method of the cluster or of its builder and describes the result.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::Outcome;
use super::arguments::{Command, Migrate};
use super::output::CommandAnswer;
use super::progress::{bar, beside, shown};
use crate::cluster::{
    Builder, CheckState, Cluster, Finding, Migrations, StepPhase, check_copies, table, with_causes,
};
use crate::error::{Error, ErrorKind, Result};
use crate::query::Models;
use crate::unit_of_work::{LookupProblem, RowProblem, VerifyReport};

/// The output for the progress of long work.
type Progress<'p> = &'p mut (dyn Write + Send);

pub(super) fn run<M: Models>(
    builder: &Builder,
    migrations: &Migrations,
    command: Command,
    progress: Progress<'_>,
) -> Result<CommandAnswer> {
    let explains = !matches!(command, Command::Migrate(_) | Command::Adopt { .. });
    match carry_out::<M>(builder, migrations, command, progress) {
        Err(error) if explains => Err(with_pending::<M>(builder, migrations, error)),
        answer => answer,
    }
}

fn carry_out<M: Models>(
    builder: &Builder,
    migrations: &Migrations,
    command: Command,
    progress: Progress<'_>,
) -> Result<CommandAnswer> {
    let open = || builder.clone().open::<M>();
    match command {
        Command::Status => status(&open()?, progress),
        Command::Health { timeout } => health::<M>(builder, timeout),
        Command::Shards => shards::<M>(builder),
        Command::Locate { table, key } => locate(&open()?, &table, &key),
        Command::Verify => {
            let cluster = open()?;
            Ok(verified(&shown("verify", &cluster, progress, || cluster.verify())?))
        }
        Command::Repair => {
            let cluster = open()?;
            Ok(verified(&shown("repair", &cluster, progress, || cluster.repair())?))
        }
        Command::Recover => recover(&open()?),
        Command::Backup { folder } => backup(&open()?, &folder, progress),
        Command::Copy { file, pace } => super::copy::run::<M>(builder, (&file, pace), progress),
        Command::CheckRestore { folder } => check_restore::<M>(builder, &folder, progress),
        Command::Migrate(options) => migrate::<M>(builder, migrations, options, progress),
        Command::Change(command) => super::change::run::<M>(builder, command, progress),
        Command::Adopt { plans } => adopt::<M>(builder, plans, progress),
        Command::Schema => schema::<M>(builder),
        Command::Doctor { timeout } => doctor::<M>(builder, migrations, timeout),
    }
}

/// Adds to the error of tables that differ from the models which steps have not run: they may explain the differences.
fn with_pending<M: Models>(builder: &Builder, migrations: &Migrations, error: Error) -> Error {
    if error.kind() != ErrorKind::Schema {
        return error;
    }
    let status = builder.clone().migrate::<M>(migrations).and_then(|migration| migration.status());
    let Ok(status) = status else { return error };
    let steps = status.shards.iter().flat_map(|shard| &shard.steps);
    let pending: BTreeMap<u32, &str> = steps
        .filter(|step| step.number > 0 && step.phase < StepPhase::Ready)
        .map(|step| (step.number, step.name.as_str()))
        .collect();
    if pending.is_empty() {
        return error;
    }
    let names: Vec<String> = pending.iter().map(|(number, name)| format!("{number} `{name}`")).collect();
    error.with_remedy(&format!(
        "first run `migrate`, for these steps that have not run everywhere: {}",
        names.join(", ")
    ))
}

fn outcome(is_fine: bool) -> Outcome {
    if is_fine { Outcome::Fine } else { Outcome::Wrong }
}

fn status(cluster: &Cluster, progress: Progress<'_>) -> Result<CommandAnswer> {
    let status = beside(
        progress,
        || cluster.status(),
        |elapsed| format!("status: counting rows, {} s", elapsed.as_secs()),
    );
    let is_fine = status.transactions.is_empty() && !status.migrations.has_failed();
    let outcome = match status.errors().map(Outcome::of).max() {
        Some(failed) if is_fine => failed,
        _ => outcome(is_fine),
    };
    Ok(CommandAnswer { outcome, text: status.to_string(), json: value(&status) })
}

fn health<M: Models>(builder: &Builder, timeout: Duration) -> Result<CommandAnswer> {
    let health = builder.health::<M>(timeout)?;
    let outcome = health.errors().map(Outcome::of).max().unwrap_or(Outcome::Fine);
    Ok(CommandAnswer { outcome, text: format!("{health}\n"), json: value(&health) })
}

fn shards<M: Models>(builder: &Builder) -> Result<CommandAnswer> {
    let locations = builder.shard_locations::<M>()?;
    let row = |location: &crate::cluster::ShardLocation| {
        vec![
            location.shard.clone(),
            location.database.to_string(),
            location.dialect.to_owned(),
            location.location.clone(),
        ]
    };
    let text =
        table(&["shard", "database", "system", "location"], &locations.iter().map(row).collect::<Vec<_>>());
    let each = locations.iter().map(|location| {
        json!({"shard": location.shard, "database": location.database, "system": location.dialect, "location": location.location})
    });
    Ok(CommandAnswer { outcome: Outcome::Fine, text, json: json!({ "shards": each.collect::<Vec<_>>() }) })
}

fn locate(cluster: &Cluster, name: &str, key: &[String]) -> Result<CommandAnswer> {
    let (shard, line) = cluster.locate_text(name, key)?;
    let json = json!({"table": name, "key": key, "shard": shard.name(), "line": line});
    let text = match line {
        Some(line) => format!("{shard}, by the line `{line}`\n"),
        None => format!("{shard}\n"),
    };
    Ok(CommandAnswer { outcome: Outcome::Fine, text, json })
}

fn verified(report: &VerifyReport) -> CommandAnswer {
    let (found, repaired) = (report.found(), report.repaired());
    let mut text = format!("{found} problems found, {repaired} repaired\n");
    report.row_problems().iter().for_each(|problem| _ = writeln!(text, "{problem}"));
    report.lookup_problems().iter().for_each(|problem| _ = writeln!(text, "{problem}"));
    let row = |problem: &RowProblem| {
        let RowProblem { table, id, kind, shard, wanted } = problem;
        let kind = format!("{kind:?}");
        json!({"table": table, "id": id.to_string(), "kind": kind, "shard": shard, "wanted": wanted})
    };
    let lookup = |problem: &LookupProblem| {
        let LookupProblem { table, column, value, kind, shards, repaired } = problem;
        let (value, kind) = (value.to_string(), format!("{kind:?}"));
        json!({"table": table, "column": column, "value": value, "kind": kind, "shards": shards, "repaired": repaired})
    };
    let json = json!({
        "found": found,
        "repaired": repaired,
        "rows": report.row_problems().iter().map(row).collect::<Vec<_>>(),
        "lookups": report.lookup_problems().iter().map(lookup).collect::<Vec<_>>(),
    });
    CommandAnswer { outcome: outcome(report.is_sound()), text, json }
}

fn recover(cluster: &Cluster) -> Result<CommandAnswer> {
    // Opening has recovered already; the result includes the transactions that it finished.
    let recovered = cluster.recover()?;
    let mut text = format!("{} transactions finished\n", recovered.transactions().len());
    recovered.transactions().iter().for_each(|id| _ = writeln!(text, "finished {id}"));
    recovered.left().iter().for_each(|error| _ = writeln!(text, "left: {}", with_causes(error)));
    let json = json!({"finished": recovered.transactions(), "left": recovered.left()});
    Ok(CommandAnswer { outcome: outcome(recovered.left().is_empty()), text, json })
}

fn backup(cluster: &Cluster, folder: &Path, progress: Progress<'_>) -> Result<CommandAnswer> {
    beside(
        progress,
        || cluster.backup(folder),
        |elapsed| format!("backup: copying, writers wait, {} s", elapsed.as_secs()),
    )?;
    let text = format!("the cluster is copied to {}\n", folder.display());
    Ok(CommandAnswer { outcome: Outcome::Fine, text, json: json!({ "folder": folder.to_string_lossy() }) })
}

fn check_restore<M: Models>(
    builder: &Builder,
    folder: &Path,
    progress: Progress<'_>,
) -> Result<CommandAnswer> {
    let checked = beside(
        progress,
        || check_copies::<M>(builder, folder),
        |elapsed| format!("restore: checking a copy, {} s", elapsed.as_secs()),
    );
    let report = checked?;
    let CommandAnswer { outcome, text, mut json } = verified(&report);
    json["folder"] = folder.to_string_lossy().into();
    let text = match outcome {
        Outcome::Fine => format!("{} holds a whole cluster\n{text}", folder.display()),
        _ => text,
    };
    Ok(CommandAnswer { outcome, text, json })
}

fn migrate<M: Models>(
    builder: &Builder,
    migrations: &Migrations,
    options: Migrate,
    progress: Progress<'_>,
) -> Result<CommandAnswer> {
    let mut migration = builder.clone().migrate::<M>(migrations)?;
    if options.contracts {
        migration = migration.contract();
    }
    if options.plans {
        let plan = migration.plan();
        let text = plan.to_string();
        let json = json!({"shards": plan.shards(), "plan": text});
        return Ok(CommandAnswer { outcome: Outcome::Fine, text, json });
    }
    let status = match options.shows_status {
        true => migration.status()?,
        false => {
            if let Some(shard) = options.canary {
                migration = migration.canary(shard);
            }
            // Shards may be migrated on several threads.
            let progress = Mutex::new(progress);
            migration.run(|event| {
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                let bar = event.of.map(|of| bar(event.rows, of)).unwrap_or_default();
                let _ = writeln!(progress, "{bar}{event}");
            })?
        }
    };
    Ok(CommandAnswer {
        outcome: outcome(!status.has_failed()),
        text: status.to_string(),
        json: value(&status),
    })
}

fn adopt<M: Models>(builder: &Builder, plans: bool, progress: Progress<'_>) -> Result<CommandAnswer> {
    let compared = beside(
        progress,
        || builder.clone().adopt::<M>(),
        |elapsed| format!("adopt: reading all rows, {} s", elapsed.as_secs()),
    );
    let adoption = compared?;
    let report = adoption.report().clone();
    let runs = report.is_fit() && !plans;
    let mut text = report.to_string();
    if runs {
        let cluster = beside(
            progress,
            || adoption.run(),
            |elapsed| format!("adopt: recording the cluster, {} s", elapsed.as_secs()),
        );
        drop(cluster?);
        let _ = writeln!(text, "-- adopted: the database is shard {} of a cluster", report.shard);
    }
    let mut json = value(&report);
    json["adopted"] = runs.into();
    Ok(CommandAnswer { outcome: outcome(report.is_fit()), text, json })
}

fn schema<M: Models>(builder: &Builder) -> Result<CommandAnswer> {
    let schema = builder.schema_sql::<M>()?;
    let text = schema.iter().map(ToString::to_string).collect();
    Ok(CommandAnswer { outcome: Outcome::Fine, text, json: json!({ "shards": schema }) })
}

fn doctor<M: Models>(builder: &Builder, migrations: &Migrations, timeout: Duration) -> Result<CommandAnswer> {
    let mut findings = builder.diagnose::<M>(timeout)?;
    let health = builder.health::<M>(timeout)?;
    let hangs = findings.iter().find(|finding| finding.makes_commits_hang());
    // Opening compares the control database with the shards: an older copy of either is refused.
    let (state, message) = match (hangs, health.silent()) {
        (Some(Finding { subject, .. }), _) => {
            (CheckState::Unknown, format!("not tried: a commit on `{subject}` would not return"))
        }
        (None, Some((name, error))) => {
            (CheckState::Unknown, format!("not tried: `{name}` does not answer: {}", with_causes(error)))
        }
        (None, None) => match builder
            .clone()
            .open::<M>()
            .map_err(|error| with_pending::<M>(builder, migrations, error))
        {
            Ok(cluster) => {
                findings.extend(cluster.diagnose_changes());
                (CheckState::Fine, "the cluster opens: identities, ages, layout and tables agree".to_owned())
            }
            Err(error) if Outcome::of(&error) == Outcome::Unknown => {
                (CheckState::Unknown, with_causes(&error))
            }
            Err(error) => (CheckState::Wrong, with_causes(&error)),
        },
    };
    findings.push(Finding { check: "opening", subject: "cluster".to_owned(), state, message });
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(CheckState::Fine);
    let outcome = match worst {
        CheckState::Fine | CheckState::Warning => Outcome::Fine,
        CheckState::Unknown => Outcome::Unknown,
        CheckState::Wrong => Outcome::Wrong,
    };
    let row = |finding: &Finding| {
        let Finding { check, subject, state, message } = finding;
        vec![state.name().to_owned(), subject.clone(), (*check).to_owned(), message.clone()]
    };
    let text = table(&["state", "database", "check", "found"], &findings.iter().map(row).collect::<Vec<_>>());
    let each = findings.iter().map(|finding| {
        let Finding { check, subject, state, message } = finding;
        json!({"state": state.name(), "database": subject, "check": check, "found": message})
    });
    Ok(CommandAnswer { outcome, text, json: json!({ "findings": each.collect::<Vec<_>>() }) })
}

/// Returns a value as JSON. It cannot fail: the value has no maps with keys that are not text.
pub(super) fn value(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
