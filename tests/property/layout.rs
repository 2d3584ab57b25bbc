//! The shard of each key at one moment: by the declared placement, or by the lines of a change. The lines are parsed here
//! without the library.

use shard_runtime::{Shard, ShardRole, Sharded as _, Shards};

use super::datum::{Datum, Line};
use super::models::{ByIntegerHash, ByTextHash};
use super::subject::Subject;

/// The shards of a cluster at one moment, and the owners of keys.
#[derive(Clone, Debug)]
pub struct Layout {
    pub shards: Shards,
    /// The indexes of the shards that hold keys.
    pub serving: Vec<usize>,
    /// The number of the layout.
    pub epoch: u64,
    rule: Rule,
}

/// The rule of a moment. Shards are indexes of the layout's.
#[derive(Clone, Debug)]
enum Rule {
    /// As the model declares it, for so many shards.
    Declared(usize),
    /// A shard for each remainder of the largest modulus; the names stand for the remainders.
    Hash(Shards, Vec<usize>),
    List(Vec<(Datum, usize)>, Option<usize>),
    /// Inclusive below, exclusive above.
    Ranges(Vec<(Option<Datum>, Option<Datum>, usize)>),
    /// A shard for each result of the model's function, which chooses from so many.
    Function(usize, Vec<usize>),
}

impl Layout {
    /// The layout that a model declares; the shards behind the serving ones are spare.
    pub fn declared(shards: &Shards) -> Self {
        let serving = serving(shards);
        Layout { shards: shards.clone(), epoch: 1, rule: Rule::Declared(serving.len()), serving }
    }

    /// The layout after a change with these lines; `declared` is the number of shards before the first change.
    pub fn changed(&self, shards: &Shards, lines: &[String], declared: usize) -> Self {
        let rule = rule(shards, lines, declared);
        Layout { shards: shards.clone(), serving: serving(shards), epoch: self.epoch + 1, rule }
    }

    /// The same layout, as another handle has its shards.
    pub fn of(&self, shards: &Shards) -> Self {
        let names = |shards: &Shards| shards.iter().map(|shard| shard.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(shards), names(&self.shards));
        Layout { shards: shards.clone(), ..self.clone() }
    }

    /// The serving shards to which a hash or a function gives no key. A query that is not narrowed by its keys reads them, too.
    pub fn without_keys(&self) -> Vec<usize> {
        match &self.rule {
            Rule::Hash(_, shards) | Rule::Function(_, shards) => {
                self.serving.iter().copied().filter(|shard| !shards.contains(shard)).collect()
            }
            Rule::Declared(_) | Rule::List(..) | Rule::Ranges(_) => Vec::new(),
        }
    }

    /// A serving shard, of which there may be fewer.
    pub fn shard(&self, number: usize) -> &Shard {
        self.shards.by_index(self.serving[number % self.serving.len()]).expect("a shard")
    }

    /// The shard of a key, given a row of this key. The outer `None` is for a declared hash, which only the library's chooser
    /// computes.
    pub fn owner<T: Subject>(&self, key: &Datum, row: &T) -> Option<Option<usize>> {
        match &self.rule {
            Rule::Declared(shards) => T::declared(key, *shards),
            Rule::Hash(remainders, shards) => {
                let remainder = row.shard_chooser(remainders).expect("a hash places each key");
                Some(Some(shards[remainder]))
            }
            Rule::List(entries, otherwise) => {
                let entry = entries.iter().find(|(entry, _)| entry == key);
                Some(entry.map(|(_, shard)| *shard).or(*otherwise))
            }
            Rule::Ranges(ranges) => {
                let is_at_least = |from: &Datum| key.order(from).is_some_and(std::cmp::Ordering::is_ge);
                let is_below = |to: &Datum| key.order(to).is_some_and(std::cmp::Ordering::is_lt);
                let range = ranges.iter().find(|(from, to, _)| {
                    from.as_ref().is_none_or(is_at_least) && to.as_ref().is_none_or(is_below)
                });
                Some(range.map(|(.., shard)| *shard))
            }
            Rule::Function(declared, shards) => {
                let result = T::declared(key, *declared).expect("a function is declared");
                Some(result.map(|result| shards[result]))
            }
        }
    }
}

fn serving(shards: &Shards) -> Vec<usize> {
    shards.iter().filter(|shard| shard.role() == ShardRole::Serving).map(Shard::index).collect()
}

fn rule(shards: &Shards, lines: &[String], declared: usize) -> Rule {
    let (mut hashes, mut entries, mut otherwise, mut ranges) = (Vec::new(), Vec::new(), None, Vec::new());
    let mut results = vec![usize::MAX; declared];
    for line in lines {
        let (head, name) = line.rsplit_once(" => ").unwrap_or_else(|| panic!("no shard in `{line}`"));
        let shard = shards.require(name).expect("a shard").index();
        let number = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("no number in `{line}`"));
        match head.split_once(' ').unwrap_or_else(|| panic!("no kind in `{line}`")) {
            ("hash", rest) => {
                let rest = rest.strip_prefix("modulus ").and_then(|rest| rest.split_once(" remainder "));
                let (modulus, remainder) = rest.unwrap_or_else(|| panic!("no hash: `{line}`"));
                hashes.push((number(modulus), number(remainder), shard));
            }
            ("list", "otherwise") => otherwise = Some(shard),
            ("list", rest) => {
                let (value, rest) = literal(rest);
                assert_eq!(rest, "", "`{line}`");
                entries.push((value.expect("a value"), shard));
            }
            ("range", rest) => {
                let (from, rest) = literal(rest);
                let (to, rest) = literal(rest.strip_prefix("..").expect("a range"));
                assert_eq!(rest, "", "`{line}`");
                ranges.push((from, to, shard));
            }
            ("function", rest) => results[number(rest)] = shard,
            _ => panic!("a line of another kind: `{line}`"),
        }
    }
    if !hashes.is_empty() {
        let largest = hashes.iter().map(|(modulus, ..)| *modulus).max().expect("a hash");
        let owner = |at: usize| {
            let mut owners = hashes.iter().filter(|(modulus, remainder, _)| at % modulus == *remainder);
            let (.., shard) = owners.next().unwrap_or_else(|| panic!("no owner of {at} in {lines:?}"));
            assert!(owners.next().is_none(), "two owners of {at} in {lines:?}");
            *shard
        };
        let names = Shards::named((0..largest).map(|remainder| remainder.to_string())).expect("names");
        return Rule::Hash(names, (0..largest).map(owner).collect());
    }
    if !ranges.is_empty() {
        return Rule::Ranges(ranges);
    }
    match entries.is_empty() && otherwise.is_none() {
        true => Rule::Function(declared, results),
        false => Rule::List(entries, otherwise),
    }
}

/// The literal at the beginning of a text, if there is one, and the rest.
fn literal(text: &str) -> (Option<Datum>, &str) {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '-').unwrap_or(text.len());
        return (text[..end].parse().ok().map(Datum::Integer), &text[end..]);
    };
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('\'').expect("an end");
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(after) => {
                value.push('\'');
                rest = after;
            }
            None => return (Some(Datum::Text(value)), after),
        }
    }
}

#[test]
fn lines_are_read() {
    let shards = Shards::named(["a", "b"]).expect("names");
    let owners = |lines: &[&str], keys: &[Datum]| -> Vec<Option<usize>> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let layout = Layout::declared(&shards).changed(&shards, &lines, 2);
        let owner = |key: &Datum| {
            let line = Line::of_key(key.clone(), "");
            match key {
                Datum::Text(_) => layout.owner(key, &ByTextHash::build(&line)),
                _ => layout.owner(key, &ByIntegerHash::build(&line)),
            }
        };
        keys.iter().map(|key| owner(key).expect("a rule")).collect()
    };
    let texts = |keys: &[&str]| keys.iter().map(|key| Datum::text(key)).collect::<Vec<_>>();
    let integers = |keys: &[i64]| keys.iter().map(|key| Datum::Integer(*key)).collect::<Vec<_>>();
    let listed = ["list 'it''s => a' => b", "list '' => a"];
    assert_eq!(owners(&listed, &texts(&["it's => a", "", "x"])), [Some(1), Some(0), None]);
    let listed = ["list -1 => b", "list otherwise => a"];
    assert_eq!(owners(&listed, &integers(&[-1, 7])), [Some(1), Some(0)]);
    let ranges = ["range ..-5 => a", "range 0..10 => b"];
    let found = owners(&ranges, &integers(&[-6, -5, 0, 9, 10]));
    assert_eq!(found, [Some(0), None, Some(1), Some(1), None]);
    let ranges = ["range 'b'.. => a", "range ..'b' => b"];
    assert_eq!(owners(&ranges, &texts(&["", "b"])), [Some(1), Some(0)]);
    let hash = ["hash modulus 2 remainder 0 => a", "hash modulus 2 remainder 1 => b"];
    let keys = texts(&["", "a", "b", "c"]);
    let chosen =
        keys.iter().map(|key| ByTextHash::build(&Line::of_key(key.clone(), "")).shard_chooser(&shards).ok());
    assert_eq!(owners(&hash, &keys), chosen.collect::<Vec<_>>());
}
