//! Changes of the layout under random reads and writes: before, in and after a change, at every step, a cluster answers as one
//! big table does. It reads only the shards that have the keys at that moment.
//!
//! Two handles read and write, each opened for itself, as processes are. Each step of a change is made by one of them, which
//! takes the change over if the other one made the step before. A change may be cancelled, by its owner or while it copies,
//! and is begun again.

use std::cell::{Cell, OnceCell};
use std::path::Path;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use shard_runtime::{
    Cluster, ErrorKind, Pace, Session,
    change::{Change, Switch},
};
use tempfile::TempDir;

use super::asking::{names_unplaced, pinned};
use super::datum::{Column, Datum, Line};
use super::domain::shares;
use super::layout::Layout;
use super::oracle::Oracle;
use super::predicate::{Test, Tree};
use super::reading::{Read, check_read, reads};
use super::runner::{self, Verdict};
use super::strategies::{Shape, assignments, row, rows};
use super::subject::Subject;
use super::world::{Kind, World, builder, filled, number, succeeded};
use super::writing::{self, Write, writes};

/// How many spare shards a cluster has, for all changes of a case. The first change leaves some.
const SPARES: usize = 5;

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Replace,
    Split,
    Merge,
    Redistribute,
}

/// The moments of a change at which rows are written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Planned,
    Begun,
    /// After some transactions of the copy.
    Copying,
    Copied,
    Verified,
    Switched,
    Finished,
    Retired,
}

impl Step {
    pub const ALL: [Step; 8] = [
        Step::Planned,
        Step::Begun,
        Step::Copying,
        Step::Copied,
        Step::Verified,
        Step::Switched,
        Step::Finished,
        Step::Retired,
    ];
}

/// A write of one moment.
#[derive(Clone, Debug)]
pub enum Op {
    Add(Line),
    /// Columns of one row.
    Update(Index, Vec<(Column, Datum)>),
    Delete(Index),
    /// One row, and another one with its id, perhaps on another shard.
    Replace(Index, Line),
    Bulk(Write),
}

/// The writes and reads of one moment.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The handle that makes the step before it.
    pub mover: usize,
    /// The handle that writes and reads first.
    handle: usize,
    /// Written in one transaction, before and after the first read.
    pub writes: (Vec<Op>, Vec<Op>),
    pub read: Option<Read>,
    /// Read by the other handle.
    pub other: Option<Read>,
}

/// A change, and what happens meanwhile.
#[derive(Clone, Debug)]
pub struct Plan {
    pub what: What,
    /// The place of the first source, and how many more there are than the kind needs.
    sources: (Index, usize),
    targets: usize,
    /// Gives lines to other targets than the library does, if it is not 0.
    pub turn: usize,
    /// How many rows are copied at a time.
    rows: u32,
    /// After how many transactions of the copy rows are written.
    after: usize,
    /// The step after which it is cancelled, to be begun again.
    pub cancelled: Option<Step>,
    pub moments: Vec<Moment>,
}

#[derive(Clone, Debug)]
pub struct Case {
    cluster: usize,
    rows: Vec<Line>,
    pub plan: Plan,
    /// A second change, of which nothing is read before it has ended.
    pub next: Option<(Plan, Moment)>,
}

/// Cases for so many kinds of cluster.
pub fn cases(shape: Shape, clusters: usize) -> BoxedStrategy<Case> {
    let next = option::weighted(0.3, (plans(shape, 0), moments(shape)));
    (0..clusters, rows(shape), plans(shape, Step::ALL.len()), next)
        .prop_map(|(cluster, rows, plan, next)| Case { cluster, rows, plan, next })
        .boxed()
}

fn plans(shape: Shape, count: usize) -> BoxedStrategy<Plan> {
    let what = select(&[What::Replace, What::Split, What::Merge, What::Redistribute][..]);
    let cancelled = select(&[Step::Begun, Step::Copying, Step::Copied, Step::Verified][..]);
    let cancelled = option::weighted(0.25, cancelled);
    let shards = ((any::<Index>(), 0..2_usize), 0..2_usize, 0..3_usize);
    (what, shards, 1..7_u32, 0..5_usize, cancelled, vec(moments(shape), count))
        .prop_map(|(what, (sources, targets, turn), rows, after, cancelled, moments)| Plan {
            what,
            sources,
            targets,
            turn,
            rows,
            after,
            cancelled,
            moments,
        })
        .boxed()
}

fn moments(shape: Shape) -> BoxedStrategy<Moment> {
    let op = || {
        prop_oneof![
            3 => row(shape).prop_map(Op::Add),
            2 => (any::<Index>(), assignments(shape)).prop_map(|(at, set)| Op::Update(at, set)),
            1 => any::<Index>().prop_map(Op::Delete),
            2 => (any::<Index>(), row(shape)).prop_map(|(at, line)| Op::Replace(at, line)),
            2 => writes(shape).prop_map(Op::Bulk),
        ]
    };
    let written = (vec(op(), 0..4), vec(op(), 0..3));
    let read = option::weighted(0.5, reads(shape));
    (0..2_usize, 0..2_usize, written, read, option::weighted(0.2, reads(shape)))
        .prop_map(|(mover, handle, writes, read, other)| Moment { mover, handle, writes, read, other })
        .boxed()
}

/// A kind of cluster, and one without rows, which is copied for each case, if it is in files.
struct Template {
    kind: Kind,
    /// The shards before the first change.
    serving: usize,
    made: OnceCell<TempDir>,
}

impl Template {
    fn new(kind: Kind, serving: usize) -> Self {
        Template { kind, serving, made: OnceCell::new() }
    }

    fn is_in_files(&self) -> bool {
        matches!(self.kind, Kind::Files | Kind::Prefixed)
    }

    fn make<T: Subject>(&self, folder: &Path, number: u64) {
        let all = self.serving + SPARES;
        for shards in [self.serving, all] {
            drop(builder(self.kind, folder, number, shards).create::<T::Cluster>().expect("a cluster"));
        }
    }

    /// A new cluster, opened twice.
    fn cluster<T: Subject>(&self) -> Changing<'_> {
        let (folder, number) = (tempfile::tempdir().expect("a temporary folder"), number());
        if self.is_in_files() {
            let made = self.made.get_or_init(|| {
                let made = tempfile::tempdir().expect("a temporary folder");
                self.make::<T>(made.path(), number);
                made
            });
            for file in made.path().read_dir().expect("a folder") {
                let file = file.expect("a file");
                std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("a copy");
            }
        } else {
            self.make::<T>(folder.path(), number);
        }
        let open = || {
            let builder = builder(self.kind, folder.path(), number, self.serving + SPARES);
            World::of(builder.open::<T::Cluster>().expect("a cluster"))
        };
        Changing {
            template: self,
            handles: [open(), open()],
            _folder: folder,
            oracle: Oracle::new(&[]),
            next: Cell::new(31),
        }
    }

    /// The shard that cannot be a source alone: its database keeps its name, and may be that of control.
    fn stays(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Prefixed | Kind::Schemas => Some("s0"),
            Kind::FilesAndSchemas => Some("s1"),
            _ => None,
        }
    }
}

pub fn run<T: Subject>(name: &str, thousandths: u64) {
    let least = T::shards().max(2);
    run_on::<T>(name, thousandths, &[(Kind::Files, least), (Kind::Prefixed, least.max(3)), (Kind::Files, 4)]);
}

pub fn run_on<T: Subject>(name: &str, thousandths: u64, kinds: &[(Kind, usize)]) {
    let templates: Vec<Template> =
        kinds.iter().map(|(kind, serving)| Template::new(*kind, *serving)).collect();
    let cases = cases(Shape::of::<T>(), templates.len());
    runner::run_shrinking(name, thousandths, 100, cases, |case| {
        let mut cluster = templates[case.cluster].cluster::<T>();
        cluster.fill::<T>(&case.rows)?;
        let mut spares: Vec<String> =
            (0..SPARES).map(|spare| format!("s{}", cluster.template.serving + spare)).collect();
        cluster.change::<T>(&case.plan, &mut spares)?;
        if let Some((next, moment)) = &case.next {
            cluster.change::<T>(next, &mut spares)?;
            cluster.moment::<T>(Step::Retired, moment)?;
        }
        cluster.end::<T>()
    });
}

/// A cluster that is changed.
struct Changing<'t> {
    template: &'t Template,
    /// Each opened for itself.
    handles: [World; 2],
    _folder: TempDir,
    /// Its numbers of shards are those of the last handle that wrote.
    oracle: Oracle,
    /// The id of the next row that gets a new one.
    next: Cell<i64>,
}

impl Changing<'_> {
    fn fill<T: Subject>(&mut self, rows: &[Line]) -> Verdict {
        let (session, rows) = filled::<T>(&self.handles[0], rows, true)?;
        drop(session);
        self.oracle = Oracle::new(&rows);
        Ok(())
    }

    /// Makes a change to its end; the plan has the events meanwhile.
    fn change<T: Subject>(&mut self, plan: &Plan, spares: &mut Vec<String>) -> Verdict {
        (0..2).try_for_each(|handle| self.follow::<T>(handle))?;
        let before = self.handles[0].layout.clone();
        let sources = self.sources::<T>(plan, &before);
        let least = if matches!(plan.what, What::Replace | What::Merge) { 1 } else { 2 };
        let more = if least == 1 { 0 } else { plan.targets };
        // A second change may find few spare shards left.
        let targets: Vec<String> = spares.drain(..(least + more).min(spares.len())).collect();
        let mut cancelled = plan.cancelled;
        loop {
            let (mut change, lines) = self.begin::<T>(plan, &sources, &targets)?;
            match self.advance::<T>(plan, &mut change, &before, &lines, &mut cancelled)? {
                true => return Ok(()),
                // It is made once more, without the events before.
                false => drop(change),
            }
        }
    }

    /// The shards that a change empties: some of those that have keys.
    fn sources<T: Subject>(&self, plan: &Plan, layout: &Layout) -> Vec<String> {
        let with_keys = shares::<T>(&Tree::All(Vec::new()), layout).most;
        let name = |index| layout.shards.by_index(index).map(|shard| shard.name().to_owned());
        let mut names: Vec<String> = with_keys.into_iter().filter_map(name).collect();
        names.retain(|name| self.template.stays() != Some(name));
        let (first, more) = plan.sources;
        let count = match plan.what {
            What::Replace | What::Split => 1,
            What::Merge | What::Redistribute => 2 + more,
        };
        let count = count.min(names.len());
        let first = first.index(names.len());
        names.rotate_left(first);
        names.truncate(count);
        names
    }

    /// Plans and begins a change, and returns the lines after it.
    fn begin<T: Subject>(
        &mut self,
        plan: &Plan,
        sources: &[String],
        targets: &[String],
    ) -> Result<(Change, Vec<String>), TestCaseError> {
        let moment = plan.moments.first();
        let cluster = self.handles[moment.map_or(0, |moment| moment.mover)].cluster.clone();
        let from = sources.iter().map(String::as_str);
        let to = targets.iter().map(String::as_str);
        let planner = || cluster.plan_change().redistribute(from.clone(), to.clone());
        let mut planned = succeeded(planner().build())?;
        let [(_, lines)] = planned.lines() else { return Err(TestCaseError::fail(format!("{planned}"))) };
        let mut lines = lines.clone();
        if plan.turn > 0 && targets.len() > 1 {
            lines = turned(&lines, targets, plan.turn);
            planned = succeeded(planner().lines::<T>(lines.clone()).build())?;
        }
        if let Some(moment) = moment {
            self.moment::<T>(Step::Planned, moment)?;
        }
        Ok((succeeded(cluster.begin_change(&planned))?, lines))
    }

    /// Makes the steps of a change that has begun. Returns `false` if it was cancelled.
    fn advance<T: Subject>(
        &mut self,
        plan: &Plan,
        change: &mut Change,
        before: &Layout,
        lines: &[String],
        cancelled: &mut Option<Step>,
    ) -> Result<bool, TestCaseError> {
        let mut owner = plan.moments.first().map_or(0, |moment| moment.mover);
        for (at, step) in Step::ALL.into_iter().enumerate().skip(1) {
            let moment = plan.moments.get(at);
            if let Some(moment) = moment
                && moment.mover != owner
                && step != Step::Copying
            {
                owner = moment.mover;
                *change = self.continued(owner)?;
            }
            match step {
                Step::Planned | Step::Begun | Step::Copying => {}
                Step::Copied => {
                    let copying = plan.moments.get(Step::Copying as usize);
                    let cancels = *cancelled == Some(Step::Copying);
                    if !self.copy::<T>(plan, change, copying, cancels)? {
                        *cancelled = None;
                        return Ok(false);
                    }
                }
                Step::Verified => {
                    succeeded(change.verify())?;
                }
                Step::Switched => {
                    succeeded(change.switch(Switch::within(std::time::Duration::from_secs(20))))?;
                    self.switched::<T>(owner, before, lines)?;
                }
                Step::Finished => succeeded(change.finish())?,
                Step::Retired => succeeded(self.continued(owner)?.retire())?,
            }
            if let Some(moment) = moment.filter(|_| step != Step::Copying) {
                self.moment::<T>(step, moment)?;
            }
            if *cancelled == Some(step) {
                *cancelled = None;
                succeeded(self.continued(1 - owner)?.cancel())?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The change that runs, as a handle finds it.
    fn continued(&self, handle: usize) -> Result<Change, TestCaseError> {
        let change = succeeded(self.handles[handle].cluster.changes())?.pop();
        change.ok_or_else(|| TestCaseError::fail("no change runs"))
    }

    /// Copies all rows, and writes others meanwhile. Returns `false` if the change was cancelled while it copied.
    fn copy<T: Subject>(
        &mut self,
        plan: &Plan,
        change: &mut Change,
        moment: Option<&Moment>,
        cancels: bool,
    ) -> Result<bool, TestCaseError> {
        let (mut times, mut verdict, mut is_cancelled) = (0, Ok(()), false);
        let copied = change.copy(Pace::rows(plan.rows), |_| {
            times += 1;
            if verdict.is_ok()
                && let Some(moment) = moment.filter(|_| times == 1 || times == 1 + plan.after)
            {
                verdict = self.moment::<T>(Step::Copying, moment);
            }
            if cancels && times == 1 && verdict.is_ok() {
                let cancel = self.continued(moment.map_or(0, |moment| moment.handle));
                verdict = cancel.and_then(|change| succeeded(change.cancel()));
                is_cancelled = true;
            }
        });
        verdict?;
        if !is_cancelled {
            succeeded(copied)?;
            return Ok(true);
        }
        let error = copied.map_err(|error| error.kind());
        prop_assert_eq!(error, Err(ErrorKind::Stale), "a change that was cancelled while it copied");
        Ok(false)
    }

    /// The handle that has switched has the new layout: keys of the sources are on the targets, all others on their old shards.
    fn switched<T: Subject>(&mut self, mover: usize, before: &Layout, lines: &[String]) -> Verdict {
        let after = before.changed(self.handles[mover].cluster.shards(), lines, self.template.serving);
        let name = |layout: &Layout, index: Option<usize>| {
            index.and_then(|index| layout.shards.by_index(index)).map(|shard| shard.name().to_owned())
        };
        let rows = self.oracle.all();
        let keys = rows.iter().map(|(_, line)| (line.get(Column::Key), line.get(Column::Part).as_text()));
        for (key, part) in keys.chain(T::edges().iter().map(|key| (key, ""))) {
            let was = name(before, T::place(key, part, before));
            let now = name(&after, T::place(key, part, &after));
            let has_left = was.as_deref().is_some_and(|was| after.shards.get(was).is_none());
            let is_new = now.as_deref().is_some_and(|now| {
                let was_spare =
                    before.shards.get(now).is_some_and(|was| !before.serving.contains(&was.index()));
                was_spare && after.shards.get(now).is_some_and(|now| after.serving.contains(&now.index()))
            });
            prop_assert!(
                if has_left { is_new } else { was == now },
                "{:?} was on {:?}, is on {:?}",
                key,
                was,
                now
            );
        }
        self.handles[mover].layout = after;
        Ok(())
    }

    /// Writes and reads with both handles, after a step.
    fn moment<T: Subject>(&mut self, step: Step, moment: &Moment) -> Verdict {
        self.write_and_read::<T>(moment).map_err(|error| TestCaseError::fail(format!("{step:?}: {error}")))
    }

    fn write_and_read<T: Subject>(&mut self, moment: &Moment) -> Verdict {
        let mut later = moment.writes.1.as_slice();
        if self.is_behind(moment.handle) {
            // It finds out when it writes, or when it reads.
            self.transact::<T>(moment.handle, later)?;
            later = &[];
            self.follow::<T>(moment.handle)?;
        }
        let (first, other) = (&self.handles[moment.handle], 1 - moment.handle);
        let oracle = placed::<T>(&self.oracle, &first.layout)?;
        let mut session = first.cluster.session();
        for op in &moment.writes.0 {
            perform::<T>(first, &mut session, &oracle, op, self.id(&oracle, &[]))?;
        }
        if let Some(read) = &moment.read {
            check_read::<T>(first, &mut session, &oracle, &oracle.all(), read)?;
        }
        for op in later {
            perform::<T>(first, &mut session, &oracle, op, self.id(&oracle, &[]))?;
        }
        succeeded(session.commit())?;
        drop(session);
        writing::check_table::<T>(&mut first.cluster.session(), &oracle.all())?;
        self.oracle = oracle;
        if let Some(read) = &moment.other {
            self.follow::<T>(other)?;
            let world = &self.handles[other];
            let oracle = placed::<T>(&self.oracle, &world.layout)?;
            check_read::<T>(world, &mut world.cluster.session(), &oracle, &oracle.all(), read)?;
        }
        Ok(())
    }

    /// An id that no row has: a new one, or that of a row which was removed, perhaps from another source.
    fn id(&self, oracle: &Oracle, taken: &[i64]) -> i64 {
        let next = self.next.replace(self.next.get() + 1);
        let held: Vec<i64> = oracle.all().iter().map(|(_, line)| line.id()).collect();
        let is_free = |id: &i64| !held.contains(id) && !taken.contains(id);
        (0..next).rev().find(is_free).filter(|_| next % 4 > 0).unwrap_or(next)
    }

    /// Returns true if a handle has the layout before the last switch.
    fn is_behind(&self, handle: usize) -> bool {
        self.handles[handle].layout.epoch < self.handles[1 - handle].layout.epoch
    }

    /// Writes with a handle with the layout before the last switch, in a transaction that is run again if it meets a retired
    /// shard.
    fn transact<T: Subject>(&mut self, handle: usize, ops: &[Op]) -> Verdict {
        let (world, known) = (&self.handles[handle], &self.handles[1 - handle].layout);
        let oracle = placed::<T>(&self.oracle, known)?;
        let place = |op, id| match op {
            Op::Add(mut line) => {
                line.set(Column::Id, Datum::Integer(id));
                let place = T::place(line.get(Column::Key), line.get(Column::Part).as_text(), known);
                place.map(|place| Placed::Add(place, line))
            }
            Op::Bulk(write) if names_unplaced::<T>(&write.tree, known) => None,
            Op::Bulk(write) => {
                let pin = pinned::<T>(write.pin.as_ref(), known);
                pin.ok().map(|pin| Placed::Bulk(write, pin))
            }
            Op::Update(..) | Op::Delete(_) | Op::Replace(..) => None,
        };
        let mut taken = Vec::new();
        let ops = ops.iter().cloned().filter_map(|op| {
            let id = self.id(&oracle, &taken);
            taken.push(id);
            place(op, id)
        });
        let ops: Vec<Placed> = ops.collect();
        let written = world.cluster.transaction(|session| {
            let write = |op: &Placed| match op {
                Placed::Bulk(write, _) => writing::execute::<T>(session, write, known),
                Placed::Add(_, line) => {
                    let row = T::build(line);
                    T::before_adding(session, &row)?;
                    session.add(row).map(|_| 1)
                }
            };
            ops.iter().map(write).collect::<shard_runtime::Result<Vec<u64>>>()
        });
        for (op, affected) in ops.iter().zip(succeeded(written)?) {
            let wanted = match op {
                Placed::Bulk(write, pin) => oracle.write(&write.tree, *pin, write.set.as_deref()),
                Placed::Add(place, line) => {
                    oracle.add(*place, line);
                    1
                }
            };
            prop_assert_eq!(affected, wanted, "affected by {:?}", op);
        }
        self.oracle = oracle;
        Ok(())
    }

    /// Reads all rows with a handle, which then has the layout after the last switch.
    fn follow<T: Subject>(&mut self, handle: usize) -> Verdict {
        if !self.is_behind(handle) {
            return Ok(());
        }
        let known = self.handles[1 - handle].layout.clone();
        let rows = placed::<T>(&self.oracle, &known)?.all();
        writing::check_table::<T>(&mut self.handles[handle].cluster.session(), &rows)?;
        let world = &mut self.handles[handle];
        prop_assert_eq!(world.cluster.epoch(), known.epoch, "it has read all rows");
        world.layout = known.of(world.cluster.shards());
        Ok(())
    }

    /// Checks that every row is on the shard of its key, and that nothing of a change is left.
    fn end<T: Subject>(&mut self) -> Verdict {
        (0..2).try_for_each(|handle| self.follow::<T>(handle))?;
        let cluster: &Cluster = &self.handles[0].cluster;
        let report = succeeded(cluster.verify())?;
        prop_assert!(report.is_sound(), "{:?}", report);
        prop_assert!(succeeded(cluster.changes())?.is_empty(), "a change is left");
        Ok(())
    }
}

/// A write whose keys are placed.
#[derive(Debug)]
enum Placed {
    Add(usize, Line),
    /// With the shard that it is pinned to.
    Bulk(Write, Option<usize>),
}

/// The lines with other targets for the keys that move; some targets may get none.
fn turned(lines: &[String], targets: &[String], turn: usize) -> Vec<String> {
    let turned = lines.iter().enumerate().map(|(at, line)| {
        let (head, shard) = line.rsplit_once(" => ").expect("a shard");
        match targets.iter().position(|target| target == shard) {
            Some(target) => format!("{head} => {}", targets[(target + turn * at + 1) % targets.len()]),
            None => line.clone(),
        }
    });
    turned.collect()
}

/// The same rows on the shards of a layout.
fn placed<T: Subject>(oracle: &Oracle, layout: &Layout) -> Result<Oracle, TestCaseError> {
    let place = |(_, line): (usize, Line)| {
        let place = T::place(line.get(Column::Key), line.get(Column::Part).as_text(), layout);
        place.map(|place| (place, line)).ok_or_else(|| TestCaseError::fail("a row is placed nowhere now"))
    };
    Ok(Oracle::new(&oracle.all().into_iter().map(place).collect::<Result<Vec<_>, _>>()?))
}

/// The predicate of one row.
fn by_id(id: i64) -> Tree {
    Tree::Leaf(Column::Id, Test::Equal(Datum::Integer(id)))
}

/// Writes in a session and in the oracle, and compares the affected rows.
fn perform<T: Subject>(world: &World, session: &mut Session, oracle: &Oracle, op: &Op, id: i64) -> Verdict {
    let rows = oracle.all();
    match op {
        Op::Bulk(write) => return writing::check::<T>(world, session, oracle, write),
        Op::Add(line) => {
            let mut line = line.clone();
            line.set(Column::Id, Datum::Integer(id));
            let row = T::build(&line);
            let (key, part) = (line.get(Column::Key), line.get(Column::Part).as_text());
            let Some(place) = T::place(key, part, &world.layout) else {
                let error = session.add(row).err().map(|error| error.kind());
                prop_assert_eq!(error, Some(ErrorKind::UnmappedKey), "{:?} is placed nowhere", line);
                return Ok(());
            };
            succeeded(T::before_adding(session, &row))?;
            let added = succeeded(session.add(row))?;
            prop_assert_eq!(added.shard().index(), place);
            oracle.add(place, &line);
        }
        Op::Update(at, set) if !rows.is_empty() => {
            let (place, line) = at.get(&rows);
            let mut row = succeeded(session.get::<T>(line.id()))?.expect("the row");
            prop_assert_eq!(row.shard().index(), *place);
            let mut line = line.clone();
            set.iter().for_each(|(column, value)| line.set(*column, value.clone()));
            *row = T::build(&line);
            succeeded(session.update(&mut row))?;
            prop_assert_eq!(oracle.write(&by_id(line.id()), None, Some(set)), 1);
        }
        Op::Delete(at) if !rows.is_empty() => {
            let (_, line) = at.get(&rows);
            let row = succeeded(session.get::<T>(line.id()))?.expect("the row");
            succeeded(session.delete(&row))?;
            prop_assert_eq!(oracle.write(&by_id(line.id()), None, None), 1);
        }
        Op::Replace(at, line) if !rows.is_empty() => {
            let id = at.get(&rows).1.id();
            perform::<T>(world, session, oracle, &Op::Delete(*at), id)?;
            perform::<T>(world, session, oracle, &Op::Add(line.clone()), id)?;
        }
        Op::Update(..) | Op::Delete(_) | Op::Replace(..) => {}
    }
    // Pending changes would be sent with the next statement, and be counted with it.
    succeeded(session.flush())
}
