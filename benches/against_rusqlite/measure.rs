//! Measures two ways of doing the same work in paired blocks, because a machine's speed changes by the millisecond.
//!
//! Short blocks of A, B and A again follow each other, in changing order, so that all three run under the same load. For each
//! the 10th percentile counts: the time of a block without interference. The ratio of two of them is the result of a repeat.
//! The first repeat is dropped, and the median of the others is the result. A against A would be 1.00 on a quiet machine; its
//! ratio shows how reliable the result is.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The reason why something could not be measured.
pub type Failure = Box<dyn std::error::Error>;

/// The duration of the measurement, and the size of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For reliable results.
    Full,
    /// To check that everything works: a hundredth of the rows, in seconds.
    Quick,
}

impl Effort {
    /// Returns this number of rows, or a hundredth of it.
    pub fn rows(self, rows: i64) -> i64 {
        match self {
            Effort::Full => rows,
            Effort::Quick => rows / 100,
        }
    }

    fn repeats(self) -> usize {
        match self {
            Effort::Full => 6,
            Effort::Quick => 2,
        }
    }

    /// Returns the duration of a repeat, which has at least three rounds.
    fn repeat(self) -> Duration {
        match self {
            Effort::Full => Duration::from_secs(1),
            Effort::Quick => Duration::from_millis(5),
        }
    }

    /// This effort for the head of the table.
    pub fn describe(self) -> &'static str {
        match self {
            Effort::Full => "six repeats, the first dropped; medians of five",
            Effort::Quick => "quick: a hundredth of the rows, one repeat; the numbers mean nothing",
        }
    }
}

/// One side of a comparison.
pub trait Side {
    /// Runs a block, which is timed. Returns a checksum of its results.
    fn block(&mut self) -> Result<u64, Failure>;

    /// The clean-up after each block, not timed.
    fn between(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

impl<F: FnMut() -> Result<u64, Failure>> Side for F {
    fn block(&mut self) -> Result<u64, Failure> {
        self()
    }
}

/// The framework's side and the hand-written one, with this number of operations in each block.
pub struct Pair<'d> {
    pub per_block: u32,
    pub framework: Box<dyn Side + 'd>,
    pub by_hand: Box<dyn Side + 'd>,
}

/// The times of one operation on both sides, their ratio, and the framework's ratio to itself.
pub struct Measured {
    pub framework: Duration,
    pub by_hand: Duration,
    pub ratio: f64,
    pub same: f64,
}

/// Measures a pair, after checking that both sides return the same checksum.
pub fn measure(pair: &mut Pair<'_>, effort: Effort) -> Result<Measured, Failure> {
    let (framework, by_hand) = (pair.framework.block()?, pair.by_hand.block()?);
    if framework != by_hand {
        return Err(format!("the library answers {framework}, the hand-written code {by_hand}").into());
    }
    pair.framework.between()?;
    pair.by_hand.between()?;

    let mut repeats = Vec::new();
    for _ in 0..effort.repeats() {
        repeats.push(repeat(pair, effort)?);
    }
    repeats.remove(0);
    let median_of = |value: fn(&[f64; 3]) -> f64| median(repeats.iter().map(value).collect());
    let per_operation = |seconds: f64| Duration::from_secs_f64(seconds / f64::from(pair.per_block));
    Ok(Measured {
        framework: per_operation(median_of(|[framework, _, _]| *framework)),
        by_hand: per_operation(median_of(|[_, by_hand, _]| *by_hand)),
        ratio: median_of(|[framework, by_hand, _]| framework / by_hand),
        same: median_of(|[framework, _, again]| again / framework),
    })
}

/// Returns the 10th percentiles, in seconds, of the blocks of A, of B and of A again.
fn repeat(pair: &mut Pair<'_>, effort: Effort) -> Result<[f64; 3], Failure> {
    let mut taken: [Vec<f64>; 3] = Default::default();
    let began = Instant::now();
    let mut round = 0;
    while round < 3 || began.elapsed() < effort.repeat() {
        for place in 0..3 {
            let which = (round + place) % 3;
            let side: &mut dyn Side = if which == 1 { &mut *pair.by_hand } else { &mut *pair.framework };
            let start = Instant::now();
            black_box(side.block()?);
            taken[which].push(start.elapsed().as_secs_f64());
            side.between()?;
        }
        round += 1;
    }
    Ok(taken.map(tenth_percentile))
}

fn tenth_percentile(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 10]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Formats a time with three digits.
pub fn readable(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (number, unit) = match seconds {
        s if s < 1e-6 => (s * 1e9, "ns"),
        s if s < 1e-3 => (s * 1e6, "µs"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
    format!("{number:.digits$} {unit}")
}
