//! Runs a property over its share of the cases, each with a seed of its own.

use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// How many cases are run in all without `SHARDED_CASES`.
const CASES: u64 = 4_000;

/// The result of a property for one case.
pub type Verdict = Result<(), TestCaseError>;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let digits = text.replace('_', "");
    Some(digits.parse().unwrap_or_else(|_| panic!("{variable} is `{text}`, which is no number")))
}

/// The seed of every property's first case: the same for all properties of one run.
fn first_seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| number("SHARDED_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 16))
}

/// Runs a property over so many thousandths of all cases. A case that fails is made as small as possible.
pub fn run<S>(name: &str, thousandths: u64, strategy: S, property: impl Fn(S::Value) -> Verdict)
where
    S: Strategy,
    S::Value: Debug,
{
    run_shrinking(name, thousandths, 4_000, strategy, property);
}

/// As [`run`]; a case that fails is made smaller with so many tries.
pub fn run_shrinking<S>(
    name: &str,
    thousandths: u64,
    tries: u32,
    strategy: S,
    property: impl Fn(S::Value) -> Verdict,
) where
    S: Strategy,
    S::Value: Debug,
{
    let cases = (number("SHARDED_CASES").unwrap_or(CASES) * thousandths).div_ceil(1_000);
    let first = first_seed();
    println!("{name}: {cases} cases, SHARDED_SEED={first}");
    for seed in (0..cases).map(|case| first.wrapping_add(case)) {
        let config =
            Config { cases: 1, failure_persistence: None, max_shrink_iters: tries, ..Config::default() };
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &spread(seed));
        let reason = match TestRunner::new_with_rng(config, random).run(&strategy, &property) {
            Ok(()) => continue,
            Err(TestError::Fail(reason, case)) => format!("{reason}\nthe smallest case: {case:#?}"),
            Err(TestError::Abort(reason)) => format!("gave up: {reason}"),
        };
        panic!(
            "{name}: {reason}\nrun this case again with\n    SHARDED_SEED={seed} SHARDED_CASES=1 cargo test --all-features --test property -- --exact {name}\n"
        );
    }
}

/// A seed as the 32 bytes that the generator takes (SplitMix64).
fn spread(seed: u64) -> [u8; 32] {
    let mut state = seed;
    let mut bytes = [0; 32];
    for word in bytes.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes
}
