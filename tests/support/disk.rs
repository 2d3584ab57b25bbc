//! The disk operations of a process, recorded by `strace`, and those that may be on the disk after a power loss.
//!
//! The model: a write to a file is on the disk for certain once the file was synced after it. Of later writes any part may be
//! on the disk, also a part of a write, in sectors of 512 bytes. Names that were made or removed are on the disk for certain
//! once their folder was synced; of the others, those up to some point.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::numbers::Numbers;

/// Runs a process that changes the files of a folder, and writes its progress to a log, `done` at last. The function returns
/// the process behind these words; `told` is the progress of earlier processes.
pub fn record(folder: &Path, log: &Path, told: String, process: impl FnOnce(&[String]) -> Command) -> Record {
    let folder = folder.canonicalize().unwrap();
    let beside = tempfile::tempdir().unwrap();
    let (before, trace) = (beside.path().join("before"), beside.path().join("trace"));
    std::fs::create_dir(&before).unwrap();
    for file in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
        if !file.path().to_string_lossy().ends_with("-shm") {
            std::fs::copy(file.path(), before.join(file.file_name())).unwrap();
        }
    }
    let said = trace.display().to_string();
    let behind =
        ["strace", "-f", "-y", "-xx", "-s", "10000000", "-o", &said, "-e", TRACED, "-e", "signal=none"];
    assert!(process(&behind.map(str::to_owned)).status().unwrap().success());
    assert_eq!(std::fs::read_to_string(log).unwrap().lines().last(), Some("done"));
    Record::read(&std::fs::read_to_string(&trace).unwrap(), &folder, log, &before, told)
}

/// The system calls that are looked at.
pub const TRACED: &str =
    "trace=openat,pwrite64,fdatasync,fsync,ftruncate,unlink,write,pwritev,pwritev2,rename,renameat2";

const SECTOR: usize = 512;

/// The events, in the order in which it came to its end. Files are known by a number, names by what follows the
/// folder: a name may be another file's later.
enum Event {
    Written {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Cut {
        file: usize,
        length: usize,
    },
    Synced {
        file: usize,
    },
    Named {
        name: String,
        file: usize,
    },
    Removed {
        name: String,
    },
    FolderSynced,
    /// The process wrote a line to its log.
    Told(String),
}

/// The operations of a process on the files of one folder.
pub struct Record {
    /// The files that existed before, with their contents.
    before: Vec<Vec<u8>>,
    names: BTreeMap<String, usize>,
    /// The outcomes that other processes had reported.
    told: String,
    events: Vec<Event>,
}

impl Record {
    /// Reads the output of `strace -f -y -xx` for a process that changed the files of a folder, and wrote its progress to a
    /// log. `before` holds the earlier files, and `told` the progress of earlier processes.
    pub fn read(trace: &str, folder: &Path, log: &Path, before: &Path, told: String) -> Self {
        let mut record = Record { before: Vec::new(), names: BTreeMap::new(), told, events: Vec::new() };
        for file in std::fs::read_dir(before).unwrap().map(Result::unwrap) {
            let name = file.file_name().into_string().unwrap();
            record.names.insert(name, record.before.len());
            record.before.push(std::fs::read(file.path()).unwrap());
        }
        let mut names = record.names.clone();
        let mut files = record.before.len();
        for call in calls(trace) {
            let text =
                |place: usize| call.texts.get(place).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let path = text(0).unwrap_or_default();
            let is_folder = Path::new(&path) == folder;
            let name = path.strip_prefix(&format!("{}/", folder.display())).map(str::to_owned);
            let name = name.filter(|name| !name.ends_with("-shm"));
            let event = match (call.name.as_str(), name) {
                ("write", _) if Path::new(&path) == log => Event::Told(text(1).unwrap()),
                ("fsync" | "fdatasync", None) if is_folder => Event::FolderSynced,
                // Of `openat` the first text is the folder that the path starts from, and the last the file that is open.
                ("openat", _) => {
                    let opened = call.texts.last().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                    let opened = opened.unwrap_or_default();
                    let Some(name) = opened.strip_prefix(&format!("{}/", folder.display())) else { continue };
                    if names.contains_key(name) || name.ends_with("-shm") {
                        continue;
                    }
                    files += 1;
                    names.insert(name.to_owned(), files - 1);
                    Event::Named { name: name.to_owned(), file: files - 1 }
                }
                (_, None) => continue,
                ("unlink", Some(name)) => {
                    names.remove(&name);
                    Event::Removed { name }
                }
                (call_name, Some(name)) => {
                    let Some(&file) = names.get(&name) else { continue };
                    match call_name {
                        "pwrite64" => {
                            let bytes = call.texts[1].clone();
                            assert_eq!(
                                call.numbers[call.numbers.len() - 2],
                                bytes.len(),
                                "a text was shortened"
                            );
                            Event::Written { file, at: call.numbers[call.numbers.len() - 1], bytes }
                        }
                        "ftruncate" => Event::Cut { file, length: call.numbers[call.numbers.len() - 1] },
                        "fsync" | "fdatasync" => Event::Synced { file },
                        other => panic!("`{other}` was called on {name}, which the model does not know"),
                    }
                }
            };
            record.events.push(event);
        }
        record
    }

    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Returns the moments after which this line was written to the log.
    pub fn told(&self, line: &str) -> Vec<usize> {
        let tells = |event: &Event| matches!(event, Event::Told(told) if told.trim_end() == line);
        (1..).zip(&self.events).filter(|(_, event)| tells(event)).map(|(moment, _)| moment).collect()
    }

    /// The moments after which a file of this name was synced.
    pub fn synced(&self, name: &str) -> Vec<usize> {
        let mut file = self.names.get(name).copied();
        let mut moments = Vec::new();
        for (moment, event) in (1..).zip(&self.events) {
            match event {
                Event::Named { name: other, file: named } if other == name => file = Some(*named),
                Event::Synced { file: synced } if Some(*synced) == file => moments.push(moment),
                _ => {}
            }
        }
        moments
    }

    /// Lays out a possible state of the disk after a power loss behind this number of events. Returns the progress that was
    /// logged until then.
    pub fn lose_power(&self, after: usize, numbers: &mut Numbers, folder: &Path, log: &Path) {
        let files = self.before.len()
            + self.events.iter().filter(|event| matches!(event, Event::Named { .. })).count();
        let mut contents = self.before.clone();
        contents.resize(files, Vec::new());
        let mut names = self.names.clone();
        let mut unsynced: Vec<Vec<&Event>> = (0..files).map(|_| Vec::new()).collect();
        let (mut renamed, mut told) = (Vec::new(), self.told.clone());
        for event in &self.events[..after] {
            match event {
                Event::Written { file, .. } | Event::Cut { file, .. } => unsynced[*file].push(event),
                Event::Synced { file } => {
                    for event in unsynced[*file].drain(..) {
                        apply(event, &mut contents[*file], |_| true);
                    }
                }
                Event::Named { .. } | Event::Removed { .. } => renamed.push(event),
                Event::FolderSynced => renamed.drain(..).for_each(|event| rename(event, &mut names)),
                Event::Told(line) => told.push_str(line),
            }
        }
        for (content, events) in contents.iter_mut().zip(unsynced) {
            let some = events.len() as u64;
            let (way, until) = (numbers.below(5), numbers.below(some + 1));
            for (place, event) in (0..).zip(events) {
                let whole = numbers.below(2) == 0;
                match way {
                    0 => {}
                    1 => apply(event, content, |_| true),
                    2 if place < until => apply(event, content, |_| true),
                    3 if whole => apply(event, content, |_| true),
                    4 => apply(event, content, |_| numbers.below(2) == 0),
                    _ => {}
                }
            }
        }
        let kept = numbers.below(renamed.len() as u64 + 1) as usize;
        renamed[..kept].iter().for_each(|event| rename(event, &mut names));
        for (name, file) in names {
            std::fs::write(folder.join(name), &contents[file]).unwrap();
        }
        std::fs::write(log, told).unwrap();
    }
}

/// Repeats an event on a file: of a write only the sectors that are `kept`.
fn apply(event: &Event, content: &mut Vec<u8>, mut kept: impl FnMut(usize) -> bool) {
    match event {
        Event::Written { at, bytes, .. } => {
            let mut place = *at;
            let end = at + bytes.len();
            while place < end {
                let next = ((place / SECTOR + 1) * SECTOR).min(end);
                if kept(place / SECTOR) {
                    if content.len() < next {
                        content.resize(next, 0);
                    }
                    content[place..next].copy_from_slice(&bytes[place - at..next - at]);
                }
                place = next;
            }
        }
        Event::Cut { length, .. } if kept(0) => content.resize(*length, 0),
        _ => {}
    }
}

fn rename(event: &Event, names: &mut BTreeMap<String, usize>) {
    match event {
        Event::Named { name, file } => drop(names.insert(name.clone(), *file)),
        Event::Removed { name } => drop(names.remove(name)),
        _ => {}
    }
}

/// A system call that has succeeded: its name, the texts among its arguments and results, and the numbers among them.
struct Call {
    name: String,
    texts: Vec<Vec<u8>>,
    numbers: Vec<usize>,
}

fn calls(trace: &str) -> Vec<Call> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(beginning) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(process, beginning);
            continue;
        }
        let whole = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, end)) => format!("{}{end}", begun.remove(process).unwrap_or_default()),
            None => rest.to_owned(),
        };
        let Some((name, arguments)) = whole.split_once('(') else { continue };
        let Some((arguments, result)) = arguments.rsplit_once(" = ") else { continue };
        // It has failed, or its process was killed in it.
        if result.starts_with(['-', '?']) {
            continue;
        }
        // Texts are between quotes or angle brackets, every byte in hexadecimal; what is left are names and numbers.
        let mut texts = Vec::new();
        let mut numbers = Vec::new();
        let opened = if name == "openat" { result } else { "" };
        for (place, part) in format!("{arguments} {opened}").split(['"', '<', '>']).enumerate() {
            if part.starts_with("\\x") {
                let bytes = part.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).unwrap());
                texts.push(bytes.collect());
            } else if place > 0 {
                let found = part.split([',', ' ', ')']).filter_map(|number| number.parse().ok());
                numbers.extend(found.collect::<Vec<usize>>());
            }
        }
        calls.push(Call { name: name.to_owned(), texts, numbers });
    }
    calls
}
