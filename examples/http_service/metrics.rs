//! The counters of a cluster in the text format of Prometheus. Labels are names of shards and kinds of errors.

use std::fmt::{Display, Write};

use shard_runtime::status::{ErrorCount, Stats};

/// The type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns all metrics.
pub fn text(stats: &Stats) -> String {
    let mut text = Text(String::new());
    text.describe("sharded_statements_total", "counter", "Statements that ran on a shard.");
    for shard in &stats.shards {
        text.sample("sharded_statements_total", &[("shard", &shard.shard)], shard.statements);
    }
    text.describe("sharded_rows_total", "counter", "Rows that statements have read or written.");
    for shard in &stats.shards {
        text.sample("sharded_rows_total", &[("shard", &shard.shard)], shard.rows);
    }
    text.describe("sharded_errors_total", "counter", "Errors of sessions; those about no shard have none.");
    let of = stats.shards.iter().map(|shard| (shard.shard.as_str(), &shard.errors));
    for (shard, errors) in of.chain([("", &stats.other_errors)]) {
        for ErrorCount { kind, count, .. } in errors {
            let kind = format!("{kind:?}");
            text.sample("sharded_errors_total", &[("shard", shard), ("kind", &kind)], count);
        }
    }
    text.describe("sharded_transactions_total", "counter", "Transactions that were committed.");
    let transactions = &stats.transactions;
    text.sample("sharded_transactions_total", &[("shards", "one")], transactions.one_shard);
    text.sample("sharded_transactions_total", &[("shards", "several")], transactions.several_shards);
    let (connections, locks) = (&stats.connections, &stats.locks);
    let counters: [(&str, &str, &dyn Display); 5] = [
        ("sharded_retries_total", "Transactions that were run again.", &transactions.retries),
        ("sharded_connection_waits_total", "Waits for a connection.", &connections.waits),
        ("sharded_connection_wait_seconds_total", "Time of these waits.", &connections.waited.as_secs_f64()),
        ("sharded_lock_waits_total", "Waits for the write lock of a file.", &locks.waits),
        ("sharded_lock_wait_seconds_total", "Time of these waits.", &locks.waited.as_secs_f64()),
    ];
    for (name, help, value) in counters {
        text.describe(name, "counter", help);
        text.sample(name, &[], value);
    }
    for (name, help, value) in [
        ("sharded_connections_in_use", "Connections that sessions use.", connections.in_use),
        ("sharded_connections_open", "Connections in use or idle.", connections.open),
        ("sharded_connections_limit", "The limit of open connections.", connections.limit),
    ] {
        text.describe(name, "gauge", help);
        text.sample(name, &[], value);
    }
    text.0
}

struct Text(String);

impl Text {
    fn describe(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}
