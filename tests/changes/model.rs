//! A model of the protocol of a change, explored completely. Two movers, two writers, readers, a canceller and control run in
//! every order of their steps. Each of them may also stop for ever at any step. And the model with a fault, which has to be
//! found.
//!
//! A step is one transaction of the runtime, or a part of one between the moment when it takes its lock and its commit. The state
//! is what the databases hold and what each process has read. Operations.md calls what is checked I1 to I7.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A step that is left out of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    NoFence,
    FenceDoesNotWaitForWriters,
    NoDrain,
    DeletesNotCaptured,
    NotHidden,
    DecidedBeforeTheFence,
    EntriesUpToTheLast,
    EntriesForgottenFirst,
    AttemptsIgnored,
    AttemptKept,
    TargetsWithoutClaim,
    RowsOlderThanTheEntries,
    CursorBeforeTheRows,
    AbsentPartsNotLocked,
    ControlNotReadOnEntering,
    FenceTakenDownFirst,
    CancelledWithoutAttempt,
    ServesBeforeTheDecision,
}

const ROWS: usize = 2;
const MOVERS: usize = 2;
const WRITERS: usize = 2;
/// How many writes a writer makes.
const WRITES: u8 = 1;
/// How often a writer ends an attempt that keeps it waiting.
const GIVEN_UP: u8 = 1;

/// The bit of a version whose row does not exist.
const ABSENT: u8 = 0x80;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Role {
    None,
    Source,
    Fenced,
    Hidden,
    Incoming,
    Serving,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Recorded {
    Copying,
    Cancelling,
    Decided,
    Forgotten,
}

/// The step of a mover.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    Start,
    EnterTarget,
    EnteredTarget,
    EnterSource,
    EnteredSource,
    Portion,
    PortionRead,
    PortionRows,
    Entries,
    Claim,
    Write,
    Forget,
    Fence,
    Compare,
    Hide,
    Decide,
    Serve,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Mover {
    at: At,
    attempt: u8,
    /// The part as it was when it was locked.
    role: Role,
    /// The rows that it has read.
    rows: [u8; ROWS],
    entries: u8,
    is_fenced: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Doing {
    Rests,
    /// The row, whether it is deleted, and the number of the entry.
    Open(u8, bool, u8),
    Waits,
    TakesDown,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Writer {
    doing: Doing,
    /// It has the layout after the change.
    is_new: bool,
    writes: u8,
    given_up: u8,
    /// The attempt whose fence it has met.
    met: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Cancels {
    Start,
    Source(u8),
    Target(u8),
    Forgets(u8),
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    control: Recorded,
    attempt: u8,
    source: (Role, u8),
    target: (Role, u8),
    source_lock: u8,
    target_lock: u8,
    captures: bool,
    /// The entries that are committed, and the row of each.
    entries: u8,
    entry_rows: u8,
    next_entry: u8,
    on_source: [u8; ROWS],
    on_target: [u8; ROWS],
    cursor: u8,
    /// The writes that were acknowledged.
    truth: [u8; ROWS],
    movers: [Mover; MOVERS],
    writers: [Writer; WRITERS],
    canceller: Cancels,
}

const START: State = State {
    control: Recorded::Copying,
    attempt: 1,
    source: (Role::None, 0),
    target: (Role::None, 0),
    source_lock: 0,
    target_lock: 0,
    captures: false,
    entries: 0,
    entry_rows: 0,
    next_entry: 0,
    on_source: [0; ROWS],
    on_target: [ABSENT; ROWS],
    cursor: 0,
    truth: [0; ROWS],
    movers: [Mover {
        at: At::Start,
        attempt: 0,
        role: Role::None,
        rows: [0; ROWS],
        entries: 0,
        is_fenced: false,
    }; MOVERS],
    writers: [Writer { doing: Doing::Rests, is_new: false, writes: 0, given_up: 0, met: 0 }; WRITERS],
    canceller: Cancels::Start,
};

fn same(one: u8, other: u8) -> bool {
    one == other || (one & ABSENT != 0 && other & ABSENT != 0)
}

type Steps = Vec<Result<State, &'static str>>;

impl State {
    /// The same state, with the smallest numbers of attempts, and with the writers in order: the writers are interchangeable.
    fn canonical(mut self) -> Self {
        let mut attempts: Vec<u8> = vec![0, self.source.1, self.target.1, self.attempt];
        attempts.extend(self.movers.iter().map(|mover| mover.attempt));
        attempts.extend(self.writers.iter().map(|writer| writer.met));
        let canceller = match &mut self.canceller {
            Cancels::Source(attempt) | Cancels::Target(attempt) | Cancels::Forgets(attempt) => Some(attempt),
            _ => None,
        };
        attempts.extend(canceller.as_deref().copied());
        attempts.sort_unstable();
        attempts.dedup();
        let rank = |attempt: &mut u8| {
            *attempt = attempts.iter().position(|known| known == attempt).unwrap_or_default() as u8;
        };
        canceller.into_iter().for_each(rank);
        [&mut self.source.1, &mut self.target.1, &mut self.attempt].into_iter().for_each(rank);
        self.movers.iter_mut().map(|mover| &mut mover.attempt).for_each(rank);
        self.writers.iter_mut().map(|writer| &mut writer.met).for_each(rank);
        self.writers.sort_unstable();
        self
    }

    fn has_open_writer(&self) -> bool {
        self.writers.iter().any(|writer| !writer.is_new && matches!(writer.doing, Doing::Open(..)))
    }

    fn is_fenced(&self) -> bool {
        matches!(self.source.0, Role::Fenced | Role::Hidden)
    }

    /// The invariants that must hold in every state.
    fn check(&self) -> Result<(), &'static str> {
        let owner = match self.control {
            Recorded::Decided => &self.on_target,
            _ => &self.on_source,
        };
        let is_true = |rows: &[u8]| rows.iter().zip(&self.truth).all(|(row, truth)| same(*row, *truth));
        if !is_true(owner) {
            return Err("the owner of the keys does not hold what was acknowledged");
        }
        // Readers may have the layout before the change at any time.
        match self.source.0 == Role::Hidden || is_true(&self.on_source) {
            true => Ok(()),
            false => Err("a reader sees an old row"),
        }
    }

    /// The invariants that must hold when nothing can happen any more.
    fn check_end(&self) -> Result<(), &'static str> {
        let is_clean = self.source.0 == Role::None && self.target.0 == Role::None && !self.captures;
        match self.control {
            Recorded::Forgotten if !is_clean => Err("a cancelled change has left something"),
            _ => Ok(()),
        }
    }

    fn steps(&self, fault: Fault) -> Steps {
        let mut steps = Vec::new();
        for mover in 0..MOVERS {
            self.step_of_mover(mover, fault, &mut steps);
        }
        for writer in 0..WRITERS {
            self.step_of_writer(writer, fault, &mut steps);
        }
        self.step_of_canceller(fault, &mut steps);
        steps
    }

    fn step_of_mover(&self, number: usize, fault: Fault, steps: &mut Steps) {
        let mover = self.movers[number];
        let lock = number as u8 + 1;
        // Movers are alike: one of them is the first.
        if mover.at == At::Ended || (number > 0 && self.movers[number - 1].at == At::Start) {
            return;
        }
        let mut add = |change: &dyn Fn(&mut State, &mut Mover) -> Result<(), &'static str>| {
            let (mut state, mut mover) = (*self, mover);
            steps.push(change(&mut state, &mut mover).map(|()| {
                if mover.at == At::Ended {
                    mover = Mover { at: At::Ended, ..START.movers[0] };
                }
                state.movers[number] = mover;
                state
            }));
        };
        // It dies: what it has open is rolled back. Where it holds nothing it may as well wait for ever.
        if [self.source_lock, self.target_lock].contains(&lock) {
            add(&|state, mover| {
                state.release(lock);
                mover.at = At::Ended;
                Ok(())
            });
        }
        let is_free = |held: u8| held == 0 || held == lock;
        let claims = |part: (Role, u8), is_checked: bool| {
            !is_checked || fault == Fault::AttemptsIgnored || part.1 == mover.attempt
        };
        match mover.at {
            At::Start => add(&|state, mover| {
                match state.control {
                    Recorded::Copying => {
                        if fault != Fault::AttemptKept {
                            state.attempt += 1;
                        }
                        (mover.attempt, mover.at) = (state.attempt, At::EnterTarget);
                    }
                    Recorded::Decided => mover.at = At::Serve,
                    _ => mover.at = At::Ended,
                }
                Ok(())
            }),
            At::EnterTarget | At::EnterSource => {
                let is_target = mover.at == At::EnterTarget;
                let (held, part) = match is_target {
                    true => (self.target_lock, self.target),
                    false => (self.source_lock, self.source),
                };
                if is_free(held) {
                    add(&|state, mover| {
                        let is_current = state.attempt == mover.attempt && state.control == Recorded::Copying;
                        if (!is_current && fault != Fault::ControlNotReadOnEntering) || part.1 > mover.attempt
                        {
                            mover.at = At::Ended;
                            return Ok(());
                        }
                        mover.role = part.0;
                        if part.0 != Role::None || fault != Fault::AbsentPartsNotLocked {
                            match is_target {
                                true => state.target_lock = lock,
                                false => state.source_lock = lock,
                            }
                        }
                        mover.at = if is_target { At::EnteredTarget } else { At::EnteredSource };
                        Ok(())
                    });
                }
            }
            // Without a lock it may have to wait for another one's commit.
            At::EnteredTarget if is_free(self.target_lock) => add(&|state, mover| {
                if mover.role == Role::None {
                    if state.target.0 == Role::Serving {
                        return Err("a target that serves is emptied");
                    }
                    (state.on_target, state.cursor) = ([ABSENT; ROWS], 0);
                }
                state.target = (Role::Incoming, mover.attempt);
                state.release(lock);
                (mover.at, mover.role) = (At::EnterSource, Role::None);
                Ok(())
            }),
            At::EnteredSource if is_free(self.source_lock) => {
                if mover.role == Role::None && self.has_open_writer() {
                    return;
                }
                add(&|state, mover| {
                    state.captures = true;
                    state.source = (Role::Source, mover.attempt);
                    state.release(lock);
                    (mover.at, mover.role) = (At::Portion, Role::None);
                    Ok(())
                });
            }
            At::Portion if is_free(self.target_lock) => add(&|state, mover| {
                if !claims(state.target, fault != Fault::TargetsWithoutClaim) {
                    mover.at = At::Ended;
                    return Ok(());
                }
                let row = usize::from(state.cursor);
                if row == ROWS {
                    mover.at = At::Entries;
                    if fault == Fault::RowsOlderThanTheEntries {
                        mover.rows = state.on_source;
                    }
                    return Ok(());
                }
                mover.rows[row] = state.on_source[row];
                mover.entries = state.cursor;
                if fault == Fault::CursorBeforeTheRows {
                    state.cursor += 1;
                    mover.at = At::PortionRows;
                    return Ok(());
                }
                if !matches!(fault, Fault::TargetsWithoutClaim | Fault::AttemptsIgnored) {
                    state.target_lock = lock;
                }
                mover.at = At::PortionRead;
                Ok(())
            }),
            At::PortionRead | At::PortionRows => add(&|state, mover| {
                if state.target.0 == Role::Serving {
                    return Err("a row is copied to a target that serves");
                }
                let row = usize::from(mover.entries);
                if mover.at == At::PortionRows && !claims(state.target, true) {
                    mover.at = At::Ended;
                    return Ok(());
                }
                if mover.rows[row] & ABSENT == 0 {
                    state.on_target[row] = mover.rows[row];
                }
                if mover.at == At::PortionRead {
                    state.cursor = mover.entries + 1;
                }
                state.release(lock);
                (mover.at, mover.rows, mover.entries) = (At::Portion, [0; ROWS], 0);
                Ok(())
            }),
            At::Entries => add(&|state, mover| {
                let none = state.entries == 0;
                let drains = !mover.is_fenced || fault != Fault::NoDrain;
                mover.at = match (none || !drains, mover.is_fenced) {
                    (true, true) => At::Compare,
                    (true, false) if fault == Fault::DecidedBeforeTheFence => At::Decide,
                    (true, false) => At::Fence,
                    (false, _) if fault == Fault::EntriesForgottenFirst => At::Forget,
                    (false, _) => At::Claim,
                };
                if !none && drains {
                    mover.entries = state.entries;
                }
                Ok(())
            }),
            At::Claim if is_free(self.target_lock) => add(&|state, mover| {
                if !claims(state.target, fault != Fault::TargetsWithoutClaim) {
                    mover.at = At::Ended;
                    return Ok(());
                }
                if fault != Fault::RowsOlderThanTheEntries {
                    mover.rows = state.on_source;
                }
                if !matches!(fault, Fault::TargetsWithoutClaim | Fault::AttemptsIgnored) {
                    state.target_lock = lock;
                }
                mover.at = At::Write;
                Ok(())
            }),
            At::Write => add(&|state, mover| {
                if state.target.0 == Role::Serving {
                    return Err("a row is copied to a target that serves");
                }
                for entry in (0..8).filter(|entry| mover.entries & (1 << entry) != 0) {
                    let row = usize::from(state.entry_rows >> entry & 1);
                    state.on_target[row] = mover.rows[row];
                }
                state.release(lock);
                if fault != Fault::RowsOlderThanTheEntries {
                    mover.rows = [0; ROWS];
                }
                mover.at = if fault == Fault::EntriesForgottenFirst { At::Entries } else { At::Forget };
                Ok(())
            }),
            At::Forget if is_free(self.source_lock) => add(&|state, mover| {
                if !claims(state.source, true) {
                    mover.at = At::Ended;
                    return Ok(());
                }
                let forgotten = match fault {
                    // All with numbers up to the highest that was read.
                    Fault::EntriesUpToTheLast => u8::MAX >> mover.entries.leading_zeros(),
                    _ => mover.entries,
                };
                state.entries &= !forgotten;
                mover.at = if fault == Fault::EntriesForgottenFirst { At::Claim } else { At::Entries };
                if fault != Fault::EntriesForgottenFirst {
                    mover.entries = 0;
                }
                Ok(())
            }),
            At::Fence
                if is_free(self.source_lock)
                    && (!self.has_open_writer()
                        || matches!(fault, Fault::FenceDoesNotWaitForWriters | Fault::NoFence)) =>
            {
                add(&|state, mover| {
                    if !claims(state.source, true) || state.source.0 != Role::Source {
                        mover.at = At::Ended;
                        return Ok(());
                    }
                    if fault != Fault::NoFence {
                        state.source = (Role::Fenced, mover.attempt);
                    }
                    (mover.is_fenced, mover.at) = (true, At::Entries);
                    Ok(())
                })
            }
            At::Compare if is_free(self.target_lock) => add(&|state, mover| {
                let is_equal =
                    state.on_source.iter().zip(&state.on_target).all(|(row, copy)| same(*row, *copy));
                // The comparison is a second net: faults have to be found without it, if they are of the protocol.
                if !claims(state.target, fault != Fault::TargetsWithoutClaim)
                    || (!is_equal && fault == Fault::Nothing)
                {
                    mover.at = At::Ended;
                    return match fault {
                        Fault::Nothing
                            if claims(state.target, true)
                                && state.source == (Role::Fenced, mover.attempt) =>
                        {
                            Err("copies differ under the fence")
                        }
                        _ => Ok(()),
                    };
                }
                mover.at = match fault {
                    Fault::NotHidden => At::Decide,
                    _ => At::Hide,
                };
                Ok(())
            }),
            At::Hide if is_free(self.source_lock) => add(&|state, mover| {
                let is_fenced = state.source.0 == Role::Fenced || fault == Fault::NoFence;
                if !claims(state.source, true) || !is_fenced {
                    mover.at = At::Ended;
                    return Ok(());
                }
                if fault != Fault::NoFence {
                    state.source.0 = Role::Hidden;
                }
                mover.at = match fault {
                    Fault::ServesBeforeTheDecision => At::Serve,
                    _ => At::Decide,
                };
                Ok(())
            }),
            At::Decide => add(&|state, mover| {
                let is_owner = state.attempt == mover.attempt || fault == Fault::AttemptsIgnored;
                match is_owner && state.control == Recorded::Copying {
                    true => {
                        state.control = Recorded::Decided;
                        mover.at = At::Serve;
                    }
                    false => mover.at = At::Ended,
                }
                Ok(())
            }),
            At::Serve if is_free(self.target_lock) => add(&|state, mover| {
                if state.target.0 == Role::Incoming {
                    state.target.0 = Role::Serving;
                }
                let decides = fault == Fault::ServesBeforeTheDecision && state.control == Recorded::Copying;
                match state.control {
                    Recorded::Decided => state.captures = false,
                    _ if decides => {}
                    _ => return Err("a target serves that is not decided"),
                }
                mover.at = if decides { At::Decide } else { At::Ended };
                Ok(())
            }),
            _ => {}
        }
    }

    fn release(&mut self, lock: u8) {
        for held in [&mut self.source_lock, &mut self.target_lock] {
            if *held == lock {
                *held = 0;
            }
        }
    }

    fn step_of_writer(&self, number: usize, fault: Fault, steps: &mut Steps) {
        let writer = self.writers[number];
        let mut add = |change: &dyn Fn(&mut State, &mut Writer) -> Result<(), &'static str>| {
            let (mut state, mut writer) = (*self, writer);
            steps.push(change(&mut state, &mut writer).map(|()| {
                state.writers[number] = writer;
                state
            }));
        };
        match writer.doing {
            Doing::Rests if writer.writes < WRITES => {
                if !writer.is_new && self.is_fenced() {
                    add(&|state, writer| {
                        (writer.doing, writer.met) = (Doing::Waits, state.attempt);
                        Ok(())
                    });
                    return;
                }
                for row in 0..ROWS as u8 {
                    let is_locked = self
                        .writers
                        .iter()
                        .any(|other| matches!(other.doing, Doing::Open(other, ..) if other == row));
                    // One is changed, the other is deleted.
                    let deletes = row == 1;
                    if !is_locked {
                        add(&|state, writer| {
                            let entry = state.next_entry;
                            if !writer.is_new && state.captures {
                                state.next_entry += 1;
                                state.entry_rows |= row << entry;
                            }
                            writer.doing = Doing::Open(row, deletes, entry);
                            Ok(())
                        });
                    }
                }
            }
            Doing::Rests => {}
            Doing::Open(row, deletes, entry) => add(&|state, writer| {
                let at = usize::from(row);
                let version = (state.truth[at] & !ABSENT) + 1;
                let value = if deletes { version | ABSENT } else { version };
                match writer.is_new {
                    true if state.target.0 != Role::Serving => {
                        return Err("a target is written that does not serve");
                    }
                    true => state.on_target[at] = value,
                    false => {
                        state.on_source[at] = value;
                        if entry < state.next_entry
                            && state.captures
                            && !(deletes && fault == Fault::DeletesNotCaptured)
                        {
                            state.entries |= 1 << entry;
                        }
                    }
                }
                state.truth[at] = value;
                *writer = Writer { writes: writer.writes + 1, ..START.writers[0] };
                Ok(())
            }),
            Doing::Waits => {
                if self.control == Recorded::Decided {
                    add(&|state, writer| {
                        // A process that opens the new layout records that the target serves.
                        state.target.0 = Role::Serving;
                        (writer.is_new, writer.doing, writer.met) = (true, Doing::Rests, 0);
                        Ok(())
                    });
                } else if !self.is_fenced() {
                    add(&|_, writer| {
                        (writer.doing, writer.met) = (Doing::Rests, 0);
                        Ok(())
                    });
                } else if writer.given_up < GIVEN_UP {
                    add(&|state, writer| {
                        if fault == Fault::FenceTakenDownFirst {
                            state.source.0 = Role::Source;
                        } else if state.attempt == writer.met && state.control == Recorded::Copying {
                            state.attempt += 1;
                        }
                        (writer.doing, writer.given_up) = (Doing::TakesDown, writer.given_up + 1);
                        Ok(())
                    });
                }
            }
            Doing::TakesDown if self.source_lock == 0 => add(&|state, writer| {
                let is_earlier = state.is_fenced() && state.source.1 < state.attempt;
                if is_earlier && matches!(state.control, Recorded::Copying | Recorded::Cancelling) {
                    state.source = (Role::Source, state.attempt);
                }
                writer.doing = Doing::Waits;
                Ok(())
            }),
            Doing::TakesDown => {}
        }
    }

    fn step_of_canceller(&self, fault: Fault, steps: &mut Steps) {
        let mut state = *self;
        match self.canceller {
            Cancels::Start => match self.control {
                Recorded::Copying => {
                    if fault != Fault::CancelledWithoutAttempt {
                        state.attempt += 1;
                    }
                    state.control = match fault {
                        Fault::CancelledWithoutAttempt => Recorded::Copying,
                        _ => Recorded::Cancelling,
                    };
                    state.canceller = Cancels::Source(state.attempt);
                }
                _ => state.canceller = Cancels::Done,
            },
            Cancels::Source(attempt) => {
                if self.source_lock != 0 || self.has_open_writer() {
                    return;
                }
                match self.source.0 != Role::None && self.source.1 > attempt {
                    true => state.canceller = Cancels::Done,
                    false => {
                        (state.source, state.captures, state.entries) = ((Role::None, 0), false, 0);
                        state.canceller = Cancels::Target(attempt);
                    }
                }
            }
            Cancels::Target(attempt) => {
                if self.target_lock != 0 {
                    return;
                }
                if self.target.0 == Role::Serving {
                    steps.push(Err("a target that serves is emptied"));
                    return;
                }
                match self.target.0 != Role::None && self.target.1 > attempt {
                    true => state.canceller = Cancels::Done,
                    false => {
                        (state.target, state.on_target, state.cursor) = ((Role::None, 0), [ABSENT; ROWS], 0);
                        state.canceller = Cancels::Forgets(attempt);
                    }
                }
            }
            Cancels::Forgets(attempt) => {
                if self.attempt == attempt && self.control != Recorded::Decided {
                    state.control = Recorded::Forgotten;
                }
                state.canceller = Cancels::Done;
            }
            Cancels::Done => return,
        }
        steps.push(Ok(state));
    }
}

/// A quick hash of small numbers: the states are many.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}

/// Explores all states; returns how many there are and how many of them are decided, or the way to one that must not be.
fn explore(fault: Fault) -> Result<(usize, usize), String> {
    // Each with the place of the one before it.
    let mut states = vec![(START, 0)];
    let mut known: HashMap<State, (), BuildHasherDefault<Quick>> = HashMap::default();
    known.insert(START, ());
    let (mut at, mut decided) = (0, 0);
    while let Some(&(state, _)) = states.get(at) {
        let steps: Steps = state.steps(fault).into_iter().map(|step| step.map(State::canonical)).collect();
        let wrong = state.check().err().or_else(|| steps.iter().find_map(|step| step.err()));
        let wrong = wrong.or_else(|| if steps.is_empty() { state.check_end().err() } else { None });
        if let Some(wrong) = wrong {
            let (mut way, mut at) = (vec![format!("{state:?}")], at);
            while at > 0 {
                at = states[at].1;
                way.push(format!("{:?}", states[at].0));
            }
            way.reverse();
            return Err(format!("{wrong}, after {} steps:\n{}", way.len(), way.join("\n")));
        }
        decided += usize::from(state.control == Recorded::Decided);
        for next in steps.into_iter().flatten() {
            if let Entry::Vacant(new) = known.entry(next) {
                new.insert(());
                states.push((next, at));
            }
        }
        at += 1;
    }
    Ok((states.len(), decided))
}

#[test]
fn r50_no_order_of_the_steps_of_a_change_loses_anything() {
    let (states, decided) = explore(Fault::Nothing).unwrap_or_else(|wrong| panic!("{wrong}"));
    println!("{states} states, {decided} of them decided");
    assert!(decided > 1_000);
}

#[test]
#[cfg_attr(not(feature = "servers"), ignore = "long: `--features sharded-tests/servers`")]
fn r50_every_fault_of_the_protocol_is_found_in_its_model() {
    let faults = [
        Fault::NoFence,
        Fault::FenceDoesNotWaitForWriters,
        Fault::NoDrain,
        Fault::DeletesNotCaptured,
        Fault::NotHidden,
        Fault::DecidedBeforeTheFence,
        Fault::EntriesUpToTheLast,
        Fault::EntriesForgottenFirst,
        Fault::AttemptsIgnored,
        Fault::AttemptKept,
        Fault::TargetsWithoutClaim,
        Fault::RowsOlderThanTheEntries,
        Fault::CursorBeforeTheRows,
        Fault::AbsentPartsNotLocked,
        Fault::ControlNotReadOnEntering,
        Fault::FenceTakenDownFirst,
        Fault::CancelledWithoutAttempt,
        Fault::ServesBeforeTheDecision,
    ];
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match explore(*fault) {
                        Err(wrong) => println!("{fault:?}: {}", wrong.lines().next().unwrap_or_default()),
                        Ok((states, _)) => panic!("{fault:?} is not found in {states} states"),
                    }
                }
            });
        }
    });
}
