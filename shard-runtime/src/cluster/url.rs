//! Where a shard is, as a URL: `sqlite:asia.db`, `sqlite:weather.db?prefix=asia_`, `sqlite::memory:`.

use std::path::Path;

use crate::driver::SqliteSource;
use crate::error::{Error, ErrorKind, Result};

/// A shard's database and the prefix of its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) source: SqliteSource,
    pub(super) prefix: String,
}

impl Location {
    /// Reads a URL; relative paths start from `folder`.
    pub(super) fn parse(url: &str, folder: &Path) -> Result<Self> {
        let wrong = |said: String| Err(Error::new(ErrorKind::Configuration, said));
        let Some(rest) = url.strip_prefix("sqlite:") else {
            if url.starts_with("postgres:") || url.starts_with("postgresql:") {
                return wrong(
                    "PostgreSQL shards are not supported yet; a shard is `sqlite:<path>`".to_owned(),
                );
            }
            // Not the URL itself: it may hold a password.
            let scheme = url.split(':').next().filter(|_| url.contains(':')).unwrap_or_default();
            return wrong(format!("a shard's URL begins with `sqlite:`, not with `{scheme}`"));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut prefix = String::new();
        for setting in query.split('&').filter(|setting| !setting.is_empty()) {
            match setting.split_once('=') {
                Some(("prefix", value)) => prefix = checked_prefix(value)?,
                _ => {
                    return wrong(format!("`{setting}` is no setting of a SQLite shard; there is `prefix=`"));
                }
            }
        }
        let source = match path {
            ":memory:" => SqliteSource::memory(),
            path if path.starts_with("file:") => {
                return wrong(format!("`{path}`: a SQLite URI is no path; write `sqlite:<path>`"));
            }
            "" => return wrong("a path is missing after `sqlite:`".to_owned()),
            path => SqliteSource::File(folder.join(path)),
        };
        Ok(Location { source, prefix })
    }
}

/// Prefixes become part of names: they are kept to what every database takes without a thought.
fn checked_prefix(prefix: &str) -> Result<String> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if prefix.is_empty() || prefix.len() > 32 || !prefix.chars().all(is_plain) {
        return Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "the prefix `{}` is not 1 to 32 ASCII letters, digits and underscores",
                prefix.escape_debug()
            ),
        ));
    }
    if prefix.to_ascii_lowercase().starts_with("sqlite_") {
        return Err(Error::new(ErrorKind::Configuration, "names that begin with `sqlite_` are SQLite's own"));
    }
    Ok(prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let folder = Path::new("data");
        let location = Location::parse("sqlite:weather.db?prefix=asia_", folder).unwrap();
        assert_eq!(location.source, SqliteSource::File("data/weather.db".into()));
        assert_eq!(location.prefix, "asia_");
        assert!(matches!(
            Location::parse("sqlite::memory:", folder).unwrap().source,
            SqliteSource::Memory(_)
        ));
    }

    #[test]
    fn r42_bad_urls_are_refused() {
        for url in [
            "",
            "asia.db",
            "sqlite:",
            "sqlite:file:a.db",
            "mysql://root:secret@host/db",
            "sqlite:a.db?prefix=",
            "sqlite:a.db?prefix=a-b",
            "sqlite:a.db?prefix=a\"b",
            "sqlite:a.db?prefix=sqlite_",
            "sqlite:a.db?schema=x",
            "postgres://localhost/x",
        ] {
            let error = Location::parse(url, Path::new("")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
