//! `cargo bench -- --instructions`: the instructions of an operation on both sides, counted by `valgrind`. Unlike times they do
//! not depend on the load of the machine. Each count is the difference of two runs, of which one does more blocks.

use std::process::Command;

use crate::data::Data;
use crate::measure::{Effort, Failure, Side};
use crate::operations::{OPERATIONS, Operation};

/// The arguments of a child process: the operation's place, the side, the number of blocks.
const CHILD: &str = "--instructions-of";

/// The numbers of blocks that are compared.
const BLOCKS: [u32; 2] = [20, 60];

const SIDES: [&str; 2] = ["framework", "by hand"];

/// Runs the blocks of one side if these are the arguments of a child process.
pub fn as_child(arguments: &[String]) -> Option<Result<(), Failure>> {
    let [flag, operation, side, blocks] = arguments else { return None };
    (flag == CHILD).then(|| run_blocks(operation.parse()?, side, blocks.parse()?))
}

fn run_blocks(operation: usize, side: &str, blocks: u32) -> Result<(), Failure> {
    let operation = OPERATIONS.get(operation).ok_or("no such operation")?;
    let data = Data::new(Effort::Quick)?;
    let mut pair = (operation.pair)(&data)?;
    let side: &mut dyn Side = if side == SIDES[0] { &mut *pair.framework } else { &mut *pair.by_hand };
    for _ in 0..blocks {
        side.block()?;
        side.between()?;
    }
    Ok(())
}

/// Prints the instructions of these operations.
pub fn run(chosen: &[&Operation]) -> Result<(), Failure> {
    println!(
        "instructions of one operation, on a hundredth of the rows; cleaning up after a block is counted, too"
    );
    println!("{:50} {:31} {:>10} {:>10} {:>6}", "operation", "against", "framework", "by hand", "ratio");
    for operation in chosen {
        let is_it = |other: &Operation| (other.name, other.against) == (operation.name, operation.against);
        let place = OPERATIONS.iter().position(is_it);
        let place = place.ok_or("the operation is not in the list")?;
        let per_block = (operation.pair)(&Data::new(Effort::Quick)?)?.per_block;
        let of = |side| -> Result<f64, Failure> {
            let [few, many] = BLOCKS.map(|blocks| counted(place, side, blocks));
            Ok((many? - few?) as f64 / f64::from((BLOCKS[1] - BLOCKS[0]) * per_block))
        };
        let (framework, by_hand) = (of(SIDES[0])?, of(SIDES[1])?);
        println!(
            "{:50} {:31} {framework:>10.0} {by_hand:>10.0} {:>6.2}",
            operation.name,
            operation.against,
            framework / by_hand
        );
    }
    Ok(())
}

/// The instructions of a process that runs so many blocks.
fn counted(operation: usize, side: &str, blocks: u32) -> Result<u64, Failure> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let run = valgrind.arg(std::env::current_exe()?).args([
        CHILD,
        &operation.to_string(),
        side,
        &blocks.to_string(),
    ]);
    let ran = run.output().map_err(|error| format!("valgrind does not run: {error}"))?;
    let log = String::from_utf8_lossy(&ran.stderr);
    let counted = log.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    match counted.filter(|_| ran.status.success()) {
        Some(count) => Ok(count.parse()?),
        None => Err(format!("the process failed: {log}").into()),
    }
}
