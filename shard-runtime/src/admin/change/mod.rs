//! `change`: plans a change of the layout, runs it to its end, and continues an interrupted one. Uses the change of `cluster`.

mod arguments;

use std::fmt::Write as _;
use std::io::Write;
use std::time::Instant;

use serde_json::{Value, json};

use super::Outcome;
use super::commands::value;
use super::output::CommandAnswer;
use super::progress::{ProgressLines, bar, beside};
use crate::cluster::{
    Builder, Change, ChangePlan, ChangeProgress, ChangeReport, ChangeStatus, Cluster, MovedKey, Pace, Switch,
};
use crate::error::{Error, ErrorKind, Result};
use crate::query::Models;

pub(super) use arguments::{ChangeCommand, EXPLANATION, FORMS, number, pace, parse};
use arguments::{MoveKey, PlannedShards, RunOptions};

/// The output for the progress of long work.
type Progress<'p> = &'p mut (dyn Write + Send);

pub(super) fn run<M: Models>(
    builder: &Builder,
    command: ChangeCommand,
    progress: Progress<'_>,
) -> Result<CommandAnswer> {
    let open = || builder.clone().open::<M>();
    match command {
        ChangeCommand::Plan(plans) => match open() {
            Err(error) if misses_a_target(&error, &plans) => {
                Err(error.with_remedy("`change run` does so by itself"))
            }
            opened => plan(&opened?, &plans),
        },
        ChangeCommand::Run(options) => {
            carry_out(&open_with_targets::<M>(builder, &options.plans)?, options, progress)
        }
        ChangeCommand::Status => status(&open()?),
        ChangeCommand::Verify(pace) => continue_running(&open()?, pace, None, progress),
        ChangeCommand::Switch(pace, switch) => continue_running(&open()?, pace, Some(switch), progress),
        ChangeCommand::Cancel => cancel(&open()?, progress),
        ChangeCommand::Retire(number) => retire(&open()?, number, progress),
        ChangeCommand::MoveKey(moved) => move_key(&open()?, &moved, progress),
    }
}

fn planned(cluster: &Cluster, shards: &PlannedShards) -> Result<ChangePlan> {
    let (sources, targets) = (shards.sources.iter(), shards.targets.iter());
    let (sources, targets) = (sources.map(String::as_str), targets.map(String::as_str));
    let planner = cluster.plan_change().redistribute(sources, targets);
    let lines = shards.lines.iter().cloned();
    { lines }.try_fold(planner, |planner, (table, lines)| planner.lines_of(&table, lines))?.build()
}

fn plan(cluster: &Cluster, plans: &[PlannedShards]) -> Result<CommandAnswer> {
    let plans = plans.iter().map(|shards| planned(cluster, shards)).collect::<Result<Vec<_>>>()?;
    plans.iter().try_for_each(|plan| cluster.check_change(plan))?;
    let text = plans.iter().map(ToString::to_string).collect();
    Ok(CommandAnswer { outcome: Outcome::Fine, text, json: json!({ "plans": value(&plans) }) })
}

/// Opens the cluster, and makes configured target shards that do not exist.
fn open_with_targets<M: Models>(builder: &Builder, plans: &[PlannedShards]) -> Result<Cluster> {
    let opened = builder.clone().open::<M>();
    let misses = match &opened {
        Err(error) => misses_a_target(error, plans),
        Ok(cluster) => {
            let recorded = cluster.recorded_shards().into_iter();
            let mut unusable = recorded.filter(|shard| shard.is_configured && shard.problem.is_some());
            // While a change runs, no shard is made.
            unusable.any(|shard| is_target(&shard.name, plans)) && running(cluster).is_err()
        }
    };
    if misses { builder.clone().create::<M>() } else { opened }
}

/// Returns whether a cluster exists and cannot be opened because it has never had a target.
fn misses_a_target(error: &Error, plans: &[PlannedShards]) -> bool {
    error.kind() == ErrorKind::Layout && error.shard().is_some_and(|shard| is_target(shard, plans))
}

fn is_target(name: &str, plans: &[PlannedShards]) -> bool {
    plans.iter().flat_map(|plan| &plan.targets).any(|target| target == name)
}

/// The result of a change that was continued.
struct Done {
    status: ChangeStatus,
    /// The number of rows that this command has copied.
    copied: u64,
    report: Option<ChangeReport>,
}

fn carry_out(cluster: &Cluster, options: RunOptions, progress: Progress<'_>) -> Result<CommandAnswer> {
    let RunOptions { plans, pace, switch } = options;
    let mut done = Vec::new();
    if plans.is_empty() {
        let change = unfinished(cluster)?;
        done.push(proceed(change, pace, switch, progress)?);
    }
    // The check runs before the first of them begins.
    if plans.len() > 1 && running(cluster).is_err() {
        for shards in &plans {
            if begun(cluster, shards)?.is_none() {
                cluster.check_change(&planned(cluster, shards)?)?;
            }
        }
    }
    for shards in plans {
        let change = match begun(cluster, &shards)? {
            Some(change) => change,
            None => {
                let plan = planned(cluster, &shards)?;
                beside(
                    progress,
                    || cluster.begin_change(&plan),
                    |elapsed| format!("change: waiting for the shards, {} s", elapsed.as_secs()),
                )?
            }
        };
        done.push(proceed(change, pace, switch, progress)?);
        // The next change can begin after the switch of this one.
        if switch.is_none() {
            break;
        }
    }
    Ok(answer(cluster, &done))
}

fn continue_running(
    cluster: &Cluster,
    pace: Pace,
    switch: Option<Switch>,
    progress: Progress<'_>,
) -> Result<CommandAnswer> {
    let done = proceed(running(cluster)?, pace, switch, progress)?;
    Ok(answer(cluster, &[done]))
}

/// Continues a change to its end, or to the point before the switch.
fn proceed(mut change: Change, pace: Pace, switch: Option<Switch>, progress: Progress<'_>) -> Result<Done> {
    let before = change.status()?;
    let number = before.number;
    let (mut copied, mut report) = (0, None);
    if !["decided", "served"].contains(&before.state) {
        let mut lines = ProgressLines::new(&mut *progress);
        change.copy(pace, |state| {
            copied = state.rows;
            lines.write(|| format!("change {number}: {}{state}", bar_of(state)));
        })?;
        let (began, mut compared) = (Instant::now(), 0);
        report = Some(change.verify_noting(&mut |rows| {
            compared += rows;
            lines.write(|| {
                format!("change {number}: {compared} rows compared, {} s", began.elapsed().as_secs())
            });
        })?);
        if let Some(switch) = switch {
            beside(
                progress,
                || change.switch(switch),
                |elapsed| format!("change {number}: switching, {} s", elapsed.as_secs()),
            )?;
        }
    }
    if switch.is_some() {
        beside(
            progress,
            || change.finish(),
            |elapsed| {
                format!(
                    "change {number}: checking foreign keys and renaming lookup entries, {} s",
                    elapsed.as_secs()
                )
            },
        )?;
    }
    Ok(Done { status: change.status()?, copied, report })
}

pub(super) fn bar_of(state: &ChangeProgress) -> String {
    state.time_to_go().map_or_else(String::new, |_| bar(state.rows, state.of))
}

fn answer(cluster: &Cluster, done: &[Done]) -> CommandAnswer {
    let mut text = String::new();
    for Done { status, copied, report } in done {
        let (sources, targets) = (status.sources.join(", "), status.targets.join(", "));
        let _ = writeln!(text, "change {}: {sources} -> {targets}, {}", status.number, status.state);
        if let Some(report) = report {
            let _ = writeln!(text, "{copied} rows copied; {report}");
        }
        let number = status.number;
        let _ = match status.is_running() {
            true => writeln!(text, "the sources still serve: run `change switch`, or `change cancel`"),
            false => writeln!(
                text,
                "{targets} serve since epoch {}; {sources} keep their rows under other names until `change retire {number}`",
                cluster.epoch()
            ),
        };
    }
    let each = done.iter().map(|Done { status, copied, report }| {
        json!({"change": value(status), "copied": copied, "verified": value(report)})
    });
    let json = json!({"epoch": cluster.epoch(), "changes": each.collect::<Vec<Value>>()});
    CommandAnswer { outcome: Outcome::Fine, text, json }
}

fn status(cluster: &Cluster) -> Result<CommandAnswer> {
    let changes = cluster.changes()?.iter().map(Change::status).collect::<Result<Vec<ChangeStatus>>>()?;
    let mut text: String = changes.iter().map(|status| format!("{status}\n")).collect();
    if changes.is_empty() {
        text.push_str("no change runs, and no source holds rows of one\n");
    }
    Ok(CommandAnswer {
        outcome: Outcome::Fine,
        text,
        json: json!({ "epoch": cluster.epoch(), "changes": value(&changes) }),
    })
}

fn cancel(cluster: &Cluster, progress: Progress<'_>) -> Result<CommandAnswer> {
    let change = running(cluster)?;
    let (number, status) = (change.number(), change.status()?);
    beside(
        progress,
        || change.cancel(),
        |elapsed| format!("change {number}: emptying the targets, {} s", elapsed.as_secs()),
    )?;
    let text = format!("change {number} is cancelled: {} serve as before\n", status.sources.join(", "));
    Ok(CommandAnswer { outcome: Outcome::Fine, text, json: json!({ "cancelled": number }) })
}

fn retire(cluster: &Cluster, number: u64, progress: Progress<'_>) -> Result<CommandAnswer> {
    let Some(change) = cluster.changes()?.into_iter().find(|change| change.number() == number) else {
        let message = format!("there is no change {number} to retire; `change status` prints the numbers");
        return Err(Error::new(ErrorKind::Stale, message));
    };
    let sources = change.status()?.sources;
    beside(
        progress,
        || change.retire(),
        |elapsed| format!("change {number}: dropping the rows of the sources, {} s", elapsed.as_secs()),
    )?;
    let text = format!(
        "change {number} is retired: remove {} from the configuration of all programs, and then the databases\n",
        sources.join(", ")
    );
    Ok(CommandAnswer { outcome: Outcome::Fine, text, json: json!({"retired": number, "sources": sources}) })
}

fn move_key(cluster: &Cluster, moved: &MoveKey, progress: Progress<'_>) -> Result<CommandAnswer> {
    let MoveKey { table, key, shard, max_rows } = moved;
    let planned = cluster.move_key_text(table, key, shard)?;
    let planned = match max_rows {
        Some(rows) => planned.max_rows(*rows),
        None => planned,
    };
    let moved = beside(
        progress,
        || planned.run(),
        |elapsed| format!("move-key: {} s, writers of the key's shard may wait", elapsed.as_secs()),
    )?;
    let MovedKey { from, to, rows, ids, epoch } = &moved;
    let mut text = match from == to {
        true => format!("the key is on {to} already\n"),
        false => format!("{from} -> {to} since epoch {epoch}: {rows} rows moved\n"),
    };
    for id in ids {
        let _ = writeln!(text, "{}: id {} is {} now", id.table, id.before, id.after);
    }
    Ok(CommandAnswer { outcome: Outcome::Fine, text, json: value(&moved) })
}

/// Returns the running change.
fn running(cluster: &Cluster) -> Result<Change> {
    for change in cluster.changes()? {
        if change.status()?.is_running() {
            return Ok(change);
        }
    }
    let message = "no change runs; begin one with `change run`, as in `change run split SOURCE TARGET...`";
    Err(Error::new(ErrorKind::Stale, message))
}

/// Returns the running change, or the last one that has switched: its remaining steps may not have ended.
fn unfinished(cluster: &Cluster) -> Result<Change> {
    match running(cluster) {
        Err(error) if error.kind() == ErrorKind::Stale => cluster.changes()?.pop().ok_or(error),
        found => found,
    }
}

/// Returns an earlier begun change of these shards.
fn begun(cluster: &Cluster, shards: &PlannedShards) -> Result<Option<Change>> {
    for change in cluster.changes()? {
        let status = change.status()?;
        if (&status.sources, &status.targets) == (&shards.sources, &shards.targets) {
            return Ok(Some(change));
        }
    }
    Ok(None)
}
