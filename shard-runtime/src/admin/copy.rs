//! `copy`: copies all rows to the cluster of another configuration file. Uses the copy of `cluster`.

use std::io::Write;
use std::path::Path;

use super::Outcome;
use super::change::bar_of;
use super::commands::value;
use super::output::CommandAnswer;
use super::progress::ProgressLines;
use crate::cluster::{Builder, Cluster, Pace};
use crate::error::Result;
use crate::query::Models;

pub(super) fn run<M: Models>(
    builder: &Builder,
    (file, pace): (&Path, Pace),
    progress: &mut (dyn Write + Send),
) -> Result<CommandAnswer> {
    let source = builder.clone().open::<M>()?;
    // It also opens the target of an interrupted copy.
    let target = Cluster::builder().config_file(file)?.create::<M>()?;
    let mut lines = ProgressLines::new(progress);
    let report = source
        .copy_to(&target)
        .pace(pace)
        .run(|state| lines.write(|| format!("copy: {}{state}", bar_of(state))))?;
    let mut json = value(&report);
    json["to"] = file.to_string_lossy().into();
    let text = format!("{report}\nthe cluster of {} is complete\n", file.display());
    Ok(CommandAnswer { outcome: Outcome::Fine, text, json })
}
