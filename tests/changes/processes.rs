//! Tests that start themselves as processes of their own, behind other programs, with a cluster that the environment describes.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use shard_runtime::{Builder, Cluster, Durability};

use crate::backend::Backend;

/// The text that describes a cluster of these shards to another process.
pub fn described(backend: &Backend, shards: &[&str]) -> String {
    let mut lines: Vec<String> =
        shards.iter().map(|shard| format!("{shard} {}", backend.url(shard))).collect();
    lines.extend(backend.control(shards).map(|url| format!("control {url}")));
    lines.join("\n")
}

/// The cluster that a variable of the environment describes.
pub fn builder_of(variable: &str) -> Builder {
    let text = std::env::var(variable).expect("started by a test");
    text.lines().fold(Cluster::builder().durability(Durability::Normal), |builder, line| {
        match line.split_once(' ').unwrap() {
            ("control", url) => builder.control(url),
            (shard, url) => builder.shard(shard, url),
        }
    })
}

/// A test of this binary, behind a program and its arguments.
pub fn test_behind(behind: &[String], test: &str) -> Command {
    let this = std::env::current_exe().unwrap().display().to_string();
    let test = ["--exact", "--ignored", test].map(str::to_owned);
    let words: Vec<String> = behind.iter().cloned().chain([this]).chain(test).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("RUST_BACKTRACE", "0").stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// How often the busiest thread of a process comes to a system call where nothing happens to it: `strace` counts each thread
/// apart. The function returns the process behind these words.
pub fn calls_of(call: &str, process: impl FnOnce(&[String]) -> Command) -> usize {
    let lines = tempfile::NamedTempFile::new().unwrap();
    let path = lines.path().display().to_string();
    let behind = ["strace", "-f", "-o", &path, "-e", &format!("trace={call}"), "-e", "signal=none"];
    assert!(process(&behind.map(str::to_owned)).status().unwrap().success());
    let text = std::fs::read_to_string(lines.path()).unwrap();
    let calls = text.lines().filter(|line| line.contains('(') && !line.contains("resumed>"));
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (thread, _) in calls.filter_map(|line| line.split_once(' ')) {
        *counts.entry(thread).or_default() += 1;
    }
    counts.into_values().max().unwrap_or_default()
}
