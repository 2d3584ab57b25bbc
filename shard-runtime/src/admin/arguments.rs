//! The command line: its commands, their options, and the help. Uses `lexopt`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use super::change::{self, ChangeCommand};
use crate::cluster::Pace;

/// A command with its arguments.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Status,
    Health {
        timeout: Duration,
    },
    Shards,
    Locate {
        table: String,
        key: Vec<String>,
    },
    Verify,
    Repair,
    Recover,
    Backup {
        folder: PathBuf,
    },
    CheckRestore {
        folder: PathBuf,
    },
    Migrate(Migrate),
    Change(ChangeCommand),
    /// To the cluster of a configuration file.
    Copy {
        file: PathBuf,
        pace: Pace,
    },
    /// Whether only the report is printed.
    Adopt {
        plans: bool,
    },
    Schema,
    Doctor {
        timeout: Duration,
    },
}

/// The options of `migrate`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Migrate {
    /// Print the SQL, and run nothing.
    pub(super) plans: bool,
    /// Print how far each shard is, and run nothing.
    pub(super) shows_status: bool,
    pub(super) contracts: bool,
    pub(super) canary: Option<String>,
}

/// The arguments of a program.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    /// `None` for the help.
    pub(super) command: Option<Command>,
    pub(super) is_json: bool,
}

/// How long a database may take to answer, unless `--timeout` is given.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The commands: the name, the arguments, and the description.
const COMMANDS: [(&str, &str, &str); 14] = [
    ("status", "", "Rows and bytes of each shard, imbalance, transactions that are not finished"),
    ("health", "[--timeout SECONDS]", "Whether each database answers; also if the cluster cannot be opened"),
    ("shards", "", "The shards and their databases, by the configuration"),
    ("locate", "TABLE KEY...", "The shard that holds the rows with a key"),
    ("verify", "", "Finds misplaced rows, orphans, duplicates, wrong lookup entries"),
    ("repair", "", "The same, and makes lookup entries agree with their rows"),
    ("recover", "", "Finishes transactions whose owners are gone"),
    ("backup", "FOLDER", "Copies all files of the cluster at one moment into a new folder"),
    (
        "copy",
        "FILE [--rows N] [--rest-ms N]",
        "Copies all rows to the cluster of another configuration file, which it makes if it is not there, and compares them",
    ),
    ("restore", "--check FOLDER", "Opens and verifies a copy of a backup"),
    (
        "migrate",
        "[--plan|--status] [--contract] [--canary SHARD]",
        "Makes the shards fit the models: with --plan it prints the SQL, with --contract it also drops what old releases need",
    ),
    (
        "adopt",
        "[--plan]",
        "Makes one database with tables of another program a cluster: with --plan it prints the differences from the models, with \
         the SQL that heals them, and writes nothing",
    ),
    ("schema", "", "The SQL that makes the tables of each shard"),
    (
        "doctor",
        "[--timeout SECONDS]",
        "Checks settings and resources of files and servers, and opens the cluster",
    ),
];

pub(super) fn help(program: &str) -> String {
    let all = || COMMANDS.iter().chain(&change::FORMS);
    let width = all().map(|(name, arguments, _)| name.len() + arguments.len() + 1).max().unwrap_or(0);
    let line = |(name, arguments, description): &(&str, &str, &str)| {
        let form = format!("{name} {arguments}");
        format!("  {form:width$}  {description}\n")
    };
    let commands: String = all().map(line).collect();
    format!(
        "Usage: {program} COMMAND [--json]\n\nCommands:\n{commands}\n{}\nExit codes: 0 fine, 1 something is wrong, 2 unknown: invalid \
         arguments, or a database does not answer.\n",
        change::EXPLANATION
    )
}

/// Reads the arguments without the name of the program.
pub(super) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Parsed, String> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut name, mut values): (Option<String>, Vec<OsString>) = (None, Vec::new());
    let (mut is_json, mut is_help, mut checks, mut timeout) = (false, false, false, None);
    let mut migrate = Migrate::default();
    let (mut rows, mut rest) = (None, None);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("json") => is_json = true,
            Long("help") | Short('h') => is_help = true,
            Long("check") => checks = true,
            Long("plan") => migrate.plans = true,
            Long("status") => migrate.shows_status = true,
            Long("contract") => migrate.contracts = true,
            Long("canary") => {
                let shard = parser.value().and_then(|value| value.string());
                migrate.canary = Some(shard.map_err(|error| error.to_string())?);
            }
            Long("rows") => rows = Some(change::number(&mut parser, "rows", 1)?),
            Long("rest-ms") => rest = Some(change::number(&mut parser, "rest-ms", 0)?),
            Long("timeout") => {
                let text =
                    parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())?;
                let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                let wrong = || format!("`--timeout` takes a number of seconds, got `{text}`");
                timeout = Some(seconds.filter(|seconds| !seconds.is_zero()).ok_or_else(wrong)?);
            }
            Value(value) if name.is_none() => {
                let given = value.string().map_err(|error| error.to_string())?;
                if given == "change" && !is_help {
                    if checks || timeout.is_some() || migrate != Migrate::default() || rows.or(rest).is_some()
                    {
                        return Err("`change` takes no option of another command".to_owned());
                    }
                    let command = change::parse(&mut parser, &mut is_json)?.map(Command::Change);
                    return Ok(Parsed { command, is_json });
                }
                name = Some(given);
            }
            Value(value) => values.push(value),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let Some(name) = name.filter(|_| !is_help) else {
        let none = "no command is given".to_owned();
        return if is_help { Ok(Parsed { command: None, is_json }) } else { Err(none) };
    };
    let Some((name, form, _)) = COMMANDS.iter().find(|(known, ..)| *known == name) else {
        let known: Vec<&str> = COMMANDS.iter().map(|(name, ..)| *name).chain(["change"]).collect();
        return Err(format!("unknown command `{name}`; commands: {}", known.join(", ")));
    };
    let is_plan = migrate == Migrate { plans: true, ..Migrate::default() };
    if migrate != Migrate::default() && *name != "migrate" && !(is_plan && form.contains("--plan")) {
        return Err(format!("`{name}` takes no option of `migrate`"));
    }
    if migrate.plans && migrate.shows_status {
        return Err("`--plan` and `--status` exclude each other".to_owned());
    }
    if migrate.shows_status && (migrate.contracts || migrate.canary.is_some()) {
        return Err("`--status` runs nothing: it excludes `--contract` and `--canary`".to_owned());
    }
    if rows.or(rest).is_some() && !form.contains("--rows") {
        return Err(format!("`{name}` takes no `--rows` and no `--rest-ms`"));
    }
    if timeout.is_some() && !form.contains("--timeout") {
        return Err(format!("`{name}` takes no `--timeout`"));
    }
    if checks != form.contains("--check") {
        return Err(match checks {
            true => format!("`{name}` takes no `--check`"),
            false => "`restore` only checks: run `restore --check FOLDER`. To restore, stop all programs, delete the \
                      `-wal` and `-shm` files beside the shards and the control database, and move the files of the backup to their \
                      locations"
                .to_owned(),
        });
    }
    let timeout = timeout.unwrap_or(TIMEOUT);
    let mut text = values.iter().map(|value| value.to_str().map(str::to_owned));
    let command = match (*name, values.as_slice()) {
        ("status", []) => Command::Status,
        ("health", []) => Command::Health { timeout },
        ("shards", []) => Command::Shards,
        ("locate", [_, _, ..]) => {
            let not_text = || "the arguments of `locate` are not UTF-8".to_owned();
            let table = text.next().flatten().ok_or_else(not_text)?;
            Command::Locate { table, key: text.collect::<Option<_>>().ok_or_else(not_text)? }
        }
        ("verify", []) => Command::Verify,
        ("repair", []) => Command::Repair,
        ("recover", []) => Command::Recover,
        ("backup", [folder]) => Command::Backup { folder: folder.into() },
        ("copy", [file]) => Command::Copy { file: file.into(), pace: change::pace(rows, rest) },
        ("restore", [folder]) => Command::CheckRestore { folder: folder.into() },
        ("migrate", []) => Command::Migrate(migrate),
        ("adopt", []) => Command::Adopt { plans: migrate.plans },
        ("schema", []) => Command::Schema,
        ("doctor", []) => Command::Doctor { timeout },
        _ => return Err(format!("expected `{}`", format!("{name} {form}").trim_end())),
    };
    Ok(Parsed { command: Some(command), is_json })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Parsed, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn every_command_is_parsed_in_its_form() {
        for (name, form, _) in COMMANDS {
            let form = form.replace("[--timeout SECONDS]", "--timeout 0.5").replace("...", "");
            let form = form.replace("[--plan]", "--plan");
            let form = form.replace("[--rows N] [--rest-ms N]", "--rows 7 --rest-ms 0");
            let form =
                form.replace("[--plan|--status]", "--plan").replace("SHARD", "a").replace(['[', ']'], "");
            let parsed = parsed(&format!("{name} --json {form}")).unwrap();
            assert!(parsed.command.is_some() && parsed.is_json, "{name}");
        }
        let locate = parsed("locate cities Asia -- -5").unwrap().command;
        let key = vec!["Asia".to_owned(), "-5".to_owned()];
        assert_eq!(locate, Some(Command::Locate { table: "cities".to_owned(), key }));
        assert_eq!(parsed("status --help").unwrap().command, None);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, text) in [
            ("", "no command"),
            ("frobnicate", "`frobnicate`; commands: status, health"),
            ("status now", "expected `status`"),
            ("shards all", "expected `shards`"),
            ("locate cities", "expected `locate TABLE KEY...`"),
            ("backup", "expected `backup FOLDER`"),
            ("copy", "expected `copy FILE [--rows N] [--rest-ms N]`"),
            ("copy a b", "expected `copy FILE"),
            ("copy a --rows 0", "`--rows` takes a number from 1"),
            ("status --rows 1", "takes no `--rows`"),
            ("copy a --timeout 1", "takes no `--timeout`"),
            ("status --timeout 1", "takes no `--timeout`"),
            ("verify --check", "takes no `--check`"),
            ("restore folder", "move the files"),
            ("health --timeout soon", "number of seconds, got `soon`"),
            ("health --timeout 0", "number of seconds"),
            ("health --timeout -1", "number of seconds"),
            ("status --yaml", "--yaml"),
            ("status --plan", "option of `migrate`"),
            ("adopt --contract", "option of `migrate`"),
            ("adopt file", "expected `adopt [--plan]`"),
            ("migrate --plan --status", "exclude each other"),
            ("migrate --canary", "--canary"),
            ("migrate --status --contract", "excludes `--contract`"),
            ("migrate --status --canary a", "excludes `--contract` and `--canary`"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(text), "{line}: {error}");
        }
    }
}
