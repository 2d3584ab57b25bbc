//! Where a shard is, as a URL: `sqlite:asia.db`, `sqlite:weather.db?prefix=asia_`, `sqlite::memory:`,
//! `postgres://user@host/weather?schema=asia`.

use std::path::Path;

use crate::driver::SqliteSource;
#[cfg(feature = "postgres")]
use crate::driver::{Asked, PostgresSource};
use crate::error::{Error, ErrorKind, Result};

/// A database of any kind.
#[derive(Clone)]
pub(super) enum Source {
    Sqlite(SqliteSource),
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresSource>),
}

/// A shard's database and the prefix of its tables.
#[derive(Clone)]
pub(super) struct Location {
    pub(super) source: Source,
    pub(super) prefix: String,
}

impl Location {
    /// Reads a URL; relative paths start from `folder`.
    pub(super) fn parse(url: &str, folder: &Path) -> Result<Self> {
        let wrong = |said: String| Err(Error::new(ErrorKind::Configuration, said));
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return postgres(url, folder);
        }
        let Some(rest) = url.strip_prefix("sqlite:") else {
            // Not the URL itself: it may hold a password.
            let scheme = url.split(':').next().filter(|_| url.contains(':')).unwrap_or_default();
            return wrong(format!(
                "a shard's URL begins with `sqlite:` or with `postgres://`, not with `{scheme}`"
            ));
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
        Ok(Location { source: Source::Sqlite(source), prefix })
    }
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str, _: &Path) -> Result<Location> {
    let said = "PostgreSQL shards need the feature `postgres` of `shard-runtime`";
    Err(Error::new(ErrorKind::Configuration, said))
}

/// A server's URL as PostgreSQL has it, with a setting of ours, `schema=`, and with `sslmode=` and `sslrootcert=` as we
/// mean them.
#[cfg(feature = "postgres")]
fn postgres(url: &str, folder: &Path) -> Result<Location> {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut schema, mut asked) = (None, Asked::default());
    let mut others = Vec::new();
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        match setting.split_once('=') {
            Some(("schema", name)) => schema = Some(checked_schema(name)?),
            Some(("sslmode", mode)) => asked.sslmode = Some(mode),
            Some(("sslrootcert", path)) => asked.sslrootcert = Some(path),
            _ => others.push(setting),
        }
    }
    let url = if others.is_empty() { place.to_owned() } else { format!("{place}?{}", others.join("&")) };
    Ok(Location {
        source: Source::Postgres(Box::new(PostgresSource::new(&url, schema, asked, folder)?)),
        prefix: String::new(),
    })
}

#[cfg(feature = "postgres")]
fn checked_schema(name: &str) -> Result<String> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let is_taken = name.to_ascii_lowercase().starts_with("pg_") || name == "information_schema";
    if name.is_empty() || name.len() > 63 || !name.chars().all(is_plain) || is_taken {
        let said = format!(
            "the schema `{}` is not 1 to 63 ASCII letters, digits and underscores, or PostgreSQL's own",
            name.escape_debug()
        );
        return Err(Error::new(ErrorKind::Configuration, said));
    }
    Ok(name.to_owned())
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
        let Source::Sqlite(source) = location.source else { panic!("not SQLite") };
        assert_eq!(source, SqliteSource::File("data/weather.db".into()));
        assert_eq!(location.prefix, "asia_");
        assert!(matches!(
            Location::parse("sqlite::memory:", folder).unwrap().source,
            Source::Sqlite(SqliteSource::Memory(_))
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
            "postgres:localhost/x",
            "postgres://root:secret@host:port/x",
            "postgres://localhost/x?schema=",
            "postgres://localhost/x?schema=a-b",
            "postgres://localhost/x?schema=pg_catalog",
            "postgres://localhost/x?no_such_setting=secret",
        ] {
            let error = Location::parse(url, Path::new("")).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
