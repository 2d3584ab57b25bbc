//! The arguments of `change`.

use std::time::Duration;

use lexopt::prelude::*;

use crate::cluster::{Pace, Switch};

/// A form of `change`, with its arguments.
#[derive(Debug, PartialEq)]
pub(in crate::admin) enum ChangeCommand {
    Plan(Vec<PlannedShards>),
    Run(RunOptions),
    Status,
    /// Copies the remaining changes, and compares.
    Verify(Pace),
    /// Copies the remaining changes, and moves the application to the targets.
    Switch(Pace, Switch),
    Cancel,
    Retire(u64),
    MoveKey(MoveKey),
}

/// A key that moves to another shard.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::admin) struct MoveKey {
    pub(in crate::admin) table: String,
    pub(in crate::admin) key: Vec<String>,
    pub(in crate::admin) shard: String,
    pub(in crate::admin) max_rows: Option<u64>,
}

/// The options of `change run`.
#[derive(Debug, PartialEq)]
pub(in crate::admin) struct RunOptions {
    /// Several for `replace` with several pairs; none to continue the change that runs.
    pub(in crate::admin) plans: Vec<PlannedShards>,
    pub(in crate::admin) pace: Pace,
    /// `None` to stop before the switch.
    pub(in crate::admin) switch: Option<Switch>,
}

/// The shards of a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::admin) struct PlannedShards {
    pub(in crate::admin) sources: Vec<String>,
    pub(in crate::admin) targets: Vec<String>,
    /// A table, and the lines of its placement group.
    pub(in crate::admin) lines: Vec<(String, Vec<String>)>,
}

/// The forms of `change`: its word, its arguments, and the description.
pub(in crate::admin) const FORMS: [(&str, &str, &str); 8] = [
    (
        "change plan",
        "CHANGE",
        "What a change of the layout would move, and where its keys are then; runs nothing",
    ),
    (
        "change run",
        "[CHANGE] [OPTIONS]",
        "Moves shards while the application runs: copies, verifies, switches; without CHANGE it continues",
    ),
    ("change status", "", "The changes that run, and those whose sources still hold their rows"),
    (
        "change verify",
        "[OPTIONS]",
        "Copies what is left of the change that runs, and compares every row with its copy",
    ),
    ("change switch", "[OPTIONS]", "Copies what is left of the change that runs, and switches"),
    ("change cancel", "", "Gives up the change that runs, and removes what it has made"),
    ("change retire", "NUMBER", "Drops the rows that the sources of a finished change still hold"),
    (
        "change move-key",
        "TABLE KEY... --to SHARD [--max-rows N]",
        "Moves all rows of one key to another shard that serves, in one transaction",
    ),
];

/// The explanation of CHANGE and of the options.
pub(in crate::admin) const EXPLANATION: &str = "\
CHANGE is one of
  split SOURCE TARGET...                 one shard becomes several
  merge SOURCE... TARGET                 several become one
  replace SOURCE TARGET [...]            another file, server or schema; with several pairs, one change after the other
  redistribute SOURCE... --to TARGET...  any shards become any others
and takes `--line TABLE LINE` for each line of a placement group that is not to be divided evenly. TARGET is a spare shard,
which `change run` makes if it is configured and not there. Options of `change`:
  --rows N       rows of one copying transaction (1000)
  --rest-ms N    the rest after each (0)
  --within-ms N  the longest that writers may wait for a try of the switch (500)
  --tries N      how often the switch is tried (5)
  --no-switch    `run` stops after the comparison
  --max-rows N   the most rows that `move-key` moves (10000)
";

/// The options as they are read.
#[derive(Default)]
struct Options {
    rows: Option<u64>,
    rest: Option<u64>,
    within: Option<u64>,
    tries: Option<u64>,
    stops: bool,
    max_rows: Option<u64>,
    /// The number of shards before `--to`.
    to: Option<usize>,
    lines: Vec<(String, Vec<String>)>,
}

/// Reads the arguments after the word `change`. Returns `None` for the help.
pub(in crate::admin) fn parse(
    parser: &mut lexopt::Parser,
    is_json: &mut bool,
) -> Result<Option<ChangeCommand>, String> {
    let (mut words, mut options) = (Vec::<String>::new(), Options::default());
    while let Some(argument) = parser.next().map_err(text)? {
        match argument {
            Long("json") => *is_json = true,
            Long("help") | Short('h') => return Ok(None),
            Long("rows") => options.rows = Some(number(parser, "rows", 1)?),
            Long("rest-ms") => options.rest = Some(number(parser, "rest-ms", 0)?),
            Long("within-ms") => options.within = Some(number(parser, "within-ms", 1)?),
            Long("tries") => options.tries = Some(number(parser, "tries", 1)?),
            Long("max-rows") => options.max_rows = Some(number(parser, "max-rows", 1)?),
            Long("no-switch") => options.stops = true,
            Long("to") => {
                options.to = Some(words.len());
                if let Some(value) = parser.optional_value() {
                    words.push(value.string().map_err(text)?);
                }
            }
            Long("line") => {
                let table = parser.value().and_then(|value| value.string()).map_err(text)?;
                let line = parser.value().and_then(|value| value.string()).map_err(text)?;
                match options.lines.iter_mut().find(|(known, _)| *known == table) {
                    Some((_, lines)) => lines.push(line),
                    None => options.lines.push((table, vec![line])),
                }
            }
            Value(value) => words.push(value.string().map_err(text)?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    command(&words, options).map(Some)
}

fn text(error: lexopt::Error) -> String {
    error.to_string()
}

/// Reads the number of an option.
pub(in crate::admin) fn number(parser: &mut lexopt::Parser, option: &str, least: u64) -> Result<u64, String> {
    let value = parser.value().and_then(|value| value.string()).map_err(text)?;
    let number = value.parse().ok().filter(|number| (least..=u64::from(u32::MAX)).contains(number));
    number.ok_or_else(|| format!("`--{option}` takes a number from {least} to {}, got `{value}`", u32::MAX))
}

/// Returns the pace with a number of rows, and a rest in milliseconds.
pub(in crate::admin) fn pace(rows: Option<u64>, rest: Option<u64>) -> Pace {
    let rows = rows.and_then(|rows| u32::try_from(rows).ok());
    rows.map_or_else(Pace::default, Pace::rows).rest(Duration::from_millis(rest.unwrap_or_default()))
}

const KINDS: [&str; 4] = ["split", "merge", "replace", "redistribute"];

fn command(words: &[String], options: Options) -> Result<ChangeCommand, String> {
    let Some((first, rest)) = words.split_first() else {
        return Err(format!("`change` needs a word: {}", known()));
    };
    let (pace, switch) = (options.pace(), options.switch());
    let is_kind = KINDS.contains(&first.as_str());
    // `change split ...` is `change run split ...`.
    let (word, rest, skipped) = if is_kind { ("run", words, 0) } else { (first.as_str(), rest, 1) };
    if word != "move-key" && options.max_rows.is_some() {
        return Err(format!("`change {word}` takes no `--max-rows`"));
    }
    match word {
        "plan" => {
            options.allow("plan", &["to", "line"])?;
            let plans = planned(rest, skipped, options)?;
            if plans.is_empty() {
                return Err(format!("expected `change plan CHANGE`; CHANGE is one of {}", KINDS.join(", ")));
            }
            Ok(ChangeCommand::Plan(plans))
        }
        "run" => {
            let switch = (!options.stops).then_some(switch);
            if options.stops && (options.within, options.tries) != (None, None) {
                return Err("`--no-switch` excludes `--within-ms` and `--tries`".to_owned());
            }
            Ok(ChangeCommand::Run(RunOptions { plans: planned(rest, skipped, options)?, pace, switch }))
        }
        "status" | "cancel" | "verify" | "switch" if !rest.is_empty() => {
            Err(format!("`change {word}` takes no further word, got `{}`", rest.join(" ")))
        }
        "status" => options.allow(word, &[]).map(|()| ChangeCommand::Status),
        "cancel" => options.allow(word, &[]).map(|()| ChangeCommand::Cancel),
        "verify" => options.allow(word, &["rows", "rest-ms"]).map(|()| ChangeCommand::Verify(pace)),
        "switch" => options
            .allow(word, &["rows", "rest-ms", "within-ms", "tries"])
            .map(|()| ChangeCommand::Switch(pace, switch)),
        "retire" => {
            options.allow(word, &[])?;
            let number = match rest {
                [number] => number.parse().ok(),
                _ => None,
            };
            let wrong = "expected `change retire NUMBER`; `change status` prints the numbers";
            number.map(ChangeCommand::Retire).ok_or_else(|| wrong.to_owned())
        }
        "move-key" => move_key(rest, &options).map(ChangeCommand::MoveKey),
        _ => Err(format!("unknown word `{first}` after `change`; expected {}", known())),
    }
}

/// Parses the key that moves. `--to` stands before the last word, or before all of them: no option follows the `--` that a
/// negative key needs. The word `move-key` stands before all words.
fn move_key(words: &[String], options: &Options) -> Result<MoveKey, String> {
    options.allow("move-key", &["to", "max-rows"])?;
    let (table, key, shard) = match words {
        [table, key @ .., shard] if options.to == Some(words.len()) => (table, key, shard),
        [shard, table, key @ ..] if options.to == Some(1) => (table, key, shard),
        _ => return Err(MOVE_KEY.to_owned()),
    };
    if key.is_empty() {
        return Err(MOVE_KEY.to_owned());
    }
    let max_rows = options.max_rows;
    Ok(MoveKey { table: table.clone(), key: key.to_vec(), shard: shard.clone(), max_rows })
}

const MOVE_KEY: &str = "expected `change move-key TABLE KEY... --to SHARD`; with a negative key, \
     `change move-key --to SHARD -- TABLE KEY...`";

fn known() -> String {
    FORMS.map(|(form, ..)| form.trim_start_matches("change ")).join(", ")
}

impl Options {
    fn pace(&self) -> Pace {
        pace(self.rows, self.rest)
    }

    fn switch(&self) -> Switch {
        let switch = self.within.map(|within| Switch::within(Duration::from_millis(within)));
        let tries = self.tries.and_then(|tries| u32::try_from(tries).ok());
        let switch = switch.unwrap_or_default();
        tries.map_or(switch, |tries| switch.tries(tries))
    }

    /// Refuses all options except these.
    fn allow(&self, word: &str, allowed: &[&str]) -> Result<(), String> {
        let given = [
            ("rows", self.rows.is_some()),
            ("rest-ms", self.rest.is_some()),
            ("within-ms", self.within.is_some()),
            ("tries", self.tries.is_some()),
            ("no-switch", self.stops),
            ("max-rows", self.max_rows.is_some()),
            ("to", self.to.is_some()),
            ("line", !self.lines.is_empty()),
        ];
        match given.iter().find(|(option, is_given)| *is_given && !allowed.contains(option)) {
            Some((option, _)) => Err(format!("`change {word}` takes no `--{option}`")),
            None => Ok(()),
        }
    }
}

/// Parses a kind of change and its shards. `skipped` words stand before these.
fn planned(words: &[String], skipped: usize, options: Options) -> Result<Vec<PlannedShards>, String> {
    let Options { to, lines, .. } = options;
    let Some((kind, shards)) = words.split_first() else {
        return match (to, lines.as_slice()) {
            (None, []) => Ok(Vec::new()),
            _ => Err("`--to` and `--line` belong to a change: name it".to_owned()),
        };
    };
    if to.is_some() && kind != "redistribute" {
        return Err(format!("`{kind}` takes no `--to`"));
    }
    let one = |sources: &[String], targets: &[String]| PlannedShards {
        sources: sources.to_vec(),
        targets: targets.to_vec(),
        lines: lines.clone(),
    };
    let planned = match (kind.as_str(), shards) {
        ("split", [source, targets @ ..]) if targets.len() > 1 => {
            vec![one(std::slice::from_ref(source), targets)]
        }
        ("split", _) => return Err("expected `split SOURCE TARGET...` with two targets at least".to_owned()),
        ("merge", [sources @ .., target]) if sources.len() > 1 => {
            vec![one(sources, std::slice::from_ref(target))]
        }
        ("merge", _) => return Err("expected `merge SOURCE... TARGET` with two sources at least".to_owned()),
        ("replace", [_, _, ..]) if shards.len().is_multiple_of(2) => {
            if shards.len() > 2 && !lines.is_empty() {
                return Err("`--line` belongs to one change: replace one shard at a time".to_owned());
            }
            // The first pair is moved before the second one is checked.
            let mut named = shards.iter().enumerate();
            let is_again =
                |(at, name): &(usize, &String)| shards.get(..*at).is_some_and(|all| all.contains(name));
            if let Some((_, name)) = named.find(is_again) {
                return Err(format!(
                    "`{name}` is named twice: a pair moves one shard to one that no other pair names"
                ));
            }
            let pairs = shards.chunks(2).filter_map(|pair| match pair {
                [source, target] => Some(one(std::slice::from_ref(source), std::slice::from_ref(target))),
                _ => None,
            });
            pairs.collect()
        }
        ("replace", _) => return Err("expected `replace SOURCE TARGET`, or more such pairs".to_owned()),
        ("redistribute", _) => {
            let at = to.and_then(|to| to.checked_sub(skipped + 1)).filter(|at| *at <= shards.len());
            match at.map(|at| shards.split_at(at)) {
                Some((sources @ [_, ..], targets @ [_, ..])) => vec![one(sources, targets)],
                _ => return Err("expected `redistribute SOURCE... --to TARGET...`".to_owned()),
            }
        }
        _ => return Err(format!("unknown change `{kind}`; expected one of {}", KINDS.join(", "))),
    };
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn parsed(line: &str) -> Result<Option<ChangeCommand>, String> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        parse(&mut lexopt::Parser::from_args(words), &mut false)
    }

    fn run(line: &str) -> RunOptions {
        match parsed(line) {
            Ok(Some(ChangeCommand::Run(run))) => run,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn plan(sources: &[&str], targets: &[&str]) -> PlannedShards {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        PlannedShards { sources: texts(sources), targets: texts(targets), lines: Vec::new() }
    }

    #[test]
    fn changes_are_parsed() {
        for (line, plans) in [
            ("run", vec![]),
            ("run split d d1 d2", vec![plan(&["d"], &["d1", "d2"])]),
            ("split d d1 d2 d3", vec![plan(&["d"], &["d1", "d2", "d3"])]),
            ("run merge a b ab", vec![plan(&["a", "b"], &["ab"])]),
            ("replace a c", vec![plan(&["a"], &["c"])]),
            ("run replace a c b d", vec![plan(&["a"], &["c"]), plan(&["b"], &["d"])]),
            ("run redistribute a b --to c d e", vec![plan(&["a", "b"], &["c", "d", "e"])]),
            ("redistribute a --to=c d", vec![plan(&["a"], &["c", "d"])]),
        ] {
            assert_eq!(run(line).plans, plans, "{line}");
        }
        let default = (Pace::default(), Some(Switch::default()));
        let given = run("run");
        assert_eq!((given.pace, given.switch), default);
        let given = run("run --rows 7 --rest-ms 20 --within-ms 900 --tries 9");
        assert_eq!(given.pace, Pace::rows(7).rest(Duration::from_millis(20)));
        assert_eq!(given.switch, Some(Switch::within(Duration::from_millis(900)).tries(9)));
        assert_eq!(run("split a b c --no-switch").switch, None);
        let key = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let moved = MoveKey {
            table: "t".to_owned(),
            key: key(&["x", "y"]),
            shard: "c".to_owned(),
            max_rows: Some(7),
        };
        for line in ["move-key --max-rows 7 t x y --to=c", "move-key --max-rows 7 --to c -- t x y"] {
            assert_eq!(parsed(line), Ok(Some(ChangeCommand::MoveKey(moved.clone()))));
        }
        assert_eq!(parsed("retire 7"), Ok(Some(ChangeCommand::Retire(7))));
        assert_eq!(parsed("plan --help"), Ok(None));
    }

    #[test]
    fn lines_are_collected_by_table() {
        let words =
            ["plan", "split", "a", "b", "c", "--line", "t", "list 'x' => b", "--line", "t", "list 'y' => c"];
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let parsed = parse(&mut lexopt::Parser::from_args(words), &mut false);
        let lines = vec![("t".to_owned(), vec!["list 'x' => b".to_owned(), "list 'y' => c".to_owned()])];
        let expected = PlannedShards { lines, ..plan(&["a"], &["b", "c"]) };
        assert_eq!(parsed, Ok(Some(ChangeCommand::Plan(vec![expected]))));
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, why) in [
            ("", "needs a word: plan, run, status, verify, switch, cancel, retire, move-key"),
            ("frobnicate", "unknown word `frobnicate`"),
            ("plan", "expected `change plan CHANGE`"),
            ("plan halve a", "unknown change `halve`"),
            ("split a b", "two targets"),
            ("merge a b", "two sources"),
            ("replace a", "pairs"),
            ("replace a b c", "pairs"),
            ("replace a c a d", "`a` is named twice"),
            ("replace a c b c", "`c` is named twice"),
            ("replace a b c d --line t l", "one shard at a time"),
            ("redistribute a b", "--to TARGET"),
            ("redistribute --to a", "--to TARGET"),
            ("redistribute a --to", "--to TARGET"),
            ("split a b c --to d", "takes no `--to`"),
            ("run --line t l", "name it"),
            ("run --rows 0", "from 1 to"),
            ("run --tries many", "got `many`"),
            ("run --no-switch --tries 2", "excludes"),
            ("status now", "no further word"),
            ("verify --tries 2", "`change verify` takes no `--tries`"),
            ("cancel --rows 2", "takes no `--rows`"),
            ("retire", "expected `change retire NUMBER`"),
            ("retire one", "expected `change retire NUMBER`"),
            ("run --max-rows 7", "--max-rows"),
            ("move-key t 1", "expected `change move-key TABLE KEY... --to SHARD`"),
            ("move-key t --to c", "expected `change move-key"),
            ("move-key t 1 --to c d", "expected `change move-key"),
            ("move-key t 1 --to c --rows 1", "takes no `--rows`"),
            ("run --contract", "--contract"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
