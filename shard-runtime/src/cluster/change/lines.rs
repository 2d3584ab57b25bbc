//! The lines of a placement group after a change. Pure.
//!
//! The lines are those of a recorded [`Rule`](crate::schema::Rule). A change gives the keys of its sources to its targets; lines
//! of other shards stay unchanged.

use std::collections::BTreeSet;

/// A line, split before its shard.
struct ParsedLine<'l> {
    head: &'l str,
    shard: &'l str,
}

impl<'l> ParsedLine<'l> {
    fn parse(line: &'l str) -> Self {
        let (head, shard) = line.rsplit_once(" => ").unwrap_or((line, ""));
        ParsedLine { head, shard }
    }

    /// Returns the modulus and the remainder of a line of a hash.
    fn hash(&self) -> Option<(u64, u64)> {
        let (modulus, remainder) = self.head.strip_prefix("hash modulus ")?.split_once(" remainder ")?;
        Some((modulus.parse().ok()?, remainder.parse().ok()?))
    }
}

fn hash_line(modulus: u64, remainder: u64, shard: &str) -> String {
    format!("hash modulus {modulus} remainder {remainder} => {shard}")
}

/// Returns the lines with the keys of the sources spread evenly over the targets. Each part of a hash is split into as many parts
/// as there are targets. Other lines go to the targets one after the other, in their order. Returns `None` if no line names a
/// source.
pub(super) fn moved(lines: &[String], sources: &[String], targets: &[String]) -> Option<Vec<String>> {
    let is_moved = |line: &ParsedLine<'_>| sources.iter().any(|source| source == line.shard);
    let parsed: Vec<ParsedLine<'_>> = lines.iter().map(|line| ParsedLine::parse(line)).collect();
    if !parsed.iter().any(is_moved) {
        return None;
    }
    let count = targets.len() as u64;
    let hashes: Vec<(u64, u64, &str)> = parsed
        .iter()
        .filter_map(|line| line.hash().map(|(modulus, remainder)| (modulus, remainder, line.shard)))
        .collect();
    if let [target] = targets {
        let renamed = |line: &ParsedLine<'_>| match is_moved(line) {
            true => format!("{} => {target}", line.head),
            false => format!("{} => {}", line.head, line.shard),
        };
        return Some(parsed.iter().map(renamed).collect());
    }
    if !hashes.is_empty() {
        return Some(moved_hash(&parsed, &hashes, sources, targets));
    }
    let all = parsed.iter().filter(|line| is_moved(line)).count() as u64;
    let mut at = 0;
    let spread = |line: &ParsedLine<'_>| {
        if !is_moved(line) {
            return format!("{} => {}", line.head, line.shard);
        }
        // Adjacent lines go to the same target.
        let target = if all <= count { at } else { at * count / all };
        at += 1;
        let target = usize::try_from(target).unwrap_or_default();
        format!("{} => {}", line.head, targets.get(target).map_or("", String::as_str))
    };
    Some(parsed.iter().map(spread).collect())
}

fn moved_hash(
    lines: &[ParsedLine<'_>],
    hashes: &[(u64, u64, &str)],
    sources: &[String],
    targets: &[String],
) -> Vec<String> {
    let count = targets.len() as u64;
    let is_source = |shard: &str| sources.iter().any(|source| source == shard);
    // Single keys keep their lines.
    let first = targets.first().map_or("", String::as_str);
    let keys = lines.iter().filter(|line| line.hash().is_none()).map(|line| match is_source(line.shard) {
        true => format!("{} => {first}", line.head),
        false => format!("{} => {}", line.head, line.shard),
    });
    let mut moved: Vec<String> = keys.collect();
    if hashes.iter().all(|(.., shard)| is_source(shard)) {
        let even = (0..count).zip(targets).map(|(remainder, target)| hash_line(count, remainder, target));
        // With several sources, the whole hash is divided again.
        if sources.len() > 1 {
            moved.extend(even);
            return moved;
        }
    }
    let largest = hashes.iter().map(|(modulus, ..)| *modulus).max().unwrap_or(1);
    let others: BTreeSet<u64> =
        hashes.iter().filter(|(.., shard)| !is_source(shard)).map(|(modulus, ..)| *modulus).collect();
    let own: BTreeSet<u64> =
        hashes.iter().filter(|(.., shard)| is_source(shard)).map(|(modulus, ..)| modulus * count).collect();
    let all: Vec<u64> = others.union(&own).copied().collect();
    let is_chain =
        all.windows(2).all(|pair| matches!(pair, [less, more] if more.checked_rem(*less) == Some(0)));
    for &(modulus, remainder, shard) in hashes {
        if !is_source(shard) {
            moved.push(hash_line(modulus, remainder, shard));
            continue;
        }
        // Each modulus has to divide the next larger one: otherwise the parts are those of the largest.
        let step = if is_chain { modulus } else { largest };
        for remainder in (remainder..step).step_by(usize::try_from(modulus).unwrap_or(1)) {
            for (part, target) in (0..count).zip(targets) {
                moved.push(hash_line(step * count, remainder + step * part, target));
            }
        }
    }
    moved
}

/// The beginning of the line of a single key.
const KEY: &str = "key ";

/// Returns the lines without that of a single key.
pub(super) fn without_key(lines: &[String], key: &str) -> Vec<String> {
    let is_of_key = |line: &&String| ParsedLine::parse(line).head.strip_prefix(KEY) == Some(key);
    lines.iter().filter(|line| !is_of_key(line)).cloned().collect()
}

/// Returns the lines with one that gives a single key to a shard.
pub(super) fn with_key(mut lines: Vec<String>, key: &str, shard: &str) -> Vec<String> {
    lines.push(format!("{KEY}{key} => {shard}"));
    lines
}

/// Checks the lines that are given for a group. Lines of shards that are not sources have to be unchanged, and no line may name a
/// source or another shard.
pub(super) fn check(
    before: &[String],
    after: &[String],
    sources: &[String],
    targets: &[String],
) -> Result<(), String> {
    let names =
        |line: &str, shards: &[String]| shards.iter().any(|shard| shard == ParsedLine::parse(line).shard);
    if let Some(line) = after.iter().find(|line| names(line, sources)) {
        return Err(format!("the line `{line}` names a source of the change"));
    }
    let stays = |line: &&String| !names(line, sources);
    if let Some(line) = before.iter().filter(stays).find(|line| !after.contains(line)) {
        return Err(format!("the line `{line}` is missing: its shard is not part of the change"));
    }
    // A key that has left a shard must keep a line: without it the key could belong on that shard, which refuses it.
    let has_line = |head: &str| after.iter().any(|line| ParsedLine::parse(line).head == head);
    let is_lost = |line: &&String| {
        let head = ParsedLine::parse(line).head;
        head.starts_with(KEY) && !has_line(head)
    };
    if let Some(line) = before.iter().find(is_lost) {
        return Err(format!("the line `{line}` has no successor: give the key to one of the targets"));
    }
    match after.iter().find(|line| !before.contains(line) && !names(line, targets)) {
        Some(line) => Err(format!("the line `{line}` names a shard that is not a target of the change")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    fn assert_moved(lines: &[&str], sources: &[&str], targets: &[&str], expected: &[&str]) {
        let moved = moved(&texts(lines), &texts(sources), &texts(targets));
        assert_eq!(moved, (!expected.is_empty()).then(|| texts(expected)), "{lines:?}");
    }

    #[test]
    fn keys_are_given_to_the_targets() {
        let thirds = [
            "hash modulus 3 remainder 0 => a",
            "hash modulus 3 remainder 1 => b",
            "hash modulus 3 remainder 2 => c",
        ];
        assert_moved(&thirds, &["d"], &["e"], &[]);
        assert_moved(
            &thirds,
            &["c"],
            &["d", "e"],
            &[
                "hash modulus 3 remainder 0 => a",
                "hash modulus 3 remainder 1 => b",
                "hash modulus 6 remainder 2 => d",
                "hash modulus 6 remainder 5 => e",
            ],
        );
        assert_moved(
            &thirds,
            &["a", "b"],
            &["d"],
            &[
                "hash modulus 3 remainder 0 => d",
                "hash modulus 3 remainder 1 => d",
                "hash modulus 3 remainder 2 => c",
            ],
        );
        assert_moved(
            &thirds,
            &["a", "b", "c"],
            &["d", "e"],
            &["hash modulus 2 remainder 0 => d", "hash modulus 2 remainder 1 => e"],
        );
        assert_moved(
            &[
                "hash modulus 2 remainder 0 => a",
                "hash modulus 4 remainder 1 => b",
                "hash modulus 4 remainder 3 => c",
            ],
            &["a"],
            &["d", "e", "f"],
            &[
                "hash modulus 12 remainder 0 => d",
                "hash modulus 12 remainder 4 => e",
                "hash modulus 12 remainder 8 => f",
                "hash modulus 12 remainder 2 => d",
                "hash modulus 12 remainder 6 => e",
                "hash modulus 12 remainder 10 => f",
                "hash modulus 4 remainder 1 => b",
                "hash modulus 4 remainder 3 => c",
            ],
        );
        assert_moved(
            &["key 7 => a", "hash modulus 1 remainder 0 => a"],
            &["a"],
            &["d", "e"],
            &["key 7 => d", "hash modulus 2 remainder 0 => d", "hash modulus 2 remainder 1 => e"],
        );
        assert_moved(
            &["list 'x => a' => a", "list 'y' => a", "list 'z' => b", "list otherwise => a"],
            &["a"],
            &["d", "e"],
            &["list 'x => a' => d", "list 'y' => d", "list 'z' => b", "list otherwise => e"],
        );
        assert_moved(&["range ..5 => a"], &["a"], &["d", "e"], &["range ..5 => d"]);
    }

    #[test]
    fn lines_of_other_shards_stay() {
        let before = texts(&["list 'x' => a", "list 'y' => b"]);
        let of = |after: &[&str]| check(&before, &texts(after), &texts(&["a"]), &texts(&["d"]));
        assert_eq!(of(&["list 'x' => d", "list 'y' => b"]), Ok(()));
        for (after, why) in [
            (["list 'x' => a", "list 'y' => b"], "the line `list 'x' => a` names a source of the change"),
            (
                ["list 'x' => d", "list 'y' => d"],
                "the line `list 'y' => b` is missing: its shard is not part of the change",
            ),
        ] {
            assert_eq!(of(&after), Err(why.to_owned()));
        }
    }
}
