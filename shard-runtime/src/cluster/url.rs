//! Reads a shard's URL: `sqlite:asia.db`, `sqlite:weather.db?prefix=asia_`, `sqlite::memory:`,
//! `postgres://user@host/weather?schema=asia`.

use std::path::Path;

use crate::driver::SqliteSource;
#[cfg(feature = "postgres")]
use crate::driver::{Pooler, PostgresSource, TlsParameters};
use crate::error::{Error, ErrorKind, Result};
use crate::planner::sql::{Dialect, Namespace};

/// A database of any kind.
#[derive(Clone)]
pub(super) enum Source {
    Sqlite(SqliteSource),
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresSource>),
}

impl Source {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Source::Sqlite(_) => SqliteSource::DIALECT,
            #[cfg(feature = "postgres")]
            Source::Postgres(_) => PostgresSource::DIALECT,
        }
    }
}

/// A shard's database and the prefix of its tables.
#[derive(Clone)]
pub(super) struct ParsedUrl {
    pub(super) source: Source,
    pub(super) names: Namespace,
    /// Whether the schema is [`DEFAULT_SCHEMA`] because the URL names none.
    pub(super) is_default_schema: bool,
}

impl ParsedUrl {
    /// Parses a URL. Relative paths start from `folder`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], with the right spelling and without the URL, which may hold a password.
    pub(super) fn parse(url: &str, folder: &Path) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return wrong("a URL must begin with `sqlite:` or `postgres://`");
        };
        match scheme {
            "sqlite" => sqlite(rest, folder),
            "postgres" | "postgresql" if rest.starts_with("//") => postgres(url, folder),
            "postgres" | "postgresql" => {
                wrong(format!("`{scheme}:` must be followed by `//`, as in `{FORM}`"))
            }
            _ => {
                let scheme = if is_scheme(scheme) { scheme } else { "" };
                wrong(format!("a URL must begin with `sqlite:` or `postgres://`, not with `{scheme}`"))
            }
        }
    }
}

/// The form of a server's URL.
const FORM: &str = "postgres://user:password@host:5432/database?schema=name";

fn wrong<O>(message: impl Into<String>) -> Result<O> {
    Err(Error::new(ErrorKind::Configuration, message))
}

/// Returns whether this is a scheme, and not the beginning of a user name.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "+-.".contains(character))
}

/// Parses the parameters after the `?` of a URL, each of which may be given once.
fn parameters(query: &str) -> Result<Vec<(&str, &str)>> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        let Some((name, value)) = setting.split_once('=') else {
            return wrong("a parameter in a URL must have the form `name=value`; separate several by `&`");
        };
        if found.iter().any(|(other, _)| *other == name) {
            return wrong(format!(
                "the parameter `{}` is given twice in the URL; remove one",
                name.escape_debug()
            ));
        }
        found.push((name, value));
    }
    Ok(found)
}

/// Parses the path and parameters after `sqlite:`. As in other libraries, `sqlite://a.db` is a relative path, `sqlite:///a.db` an
/// absolute one, and `%` begins an encoded byte.
fn sqlite(rest: &str, folder: &Path) -> Result<ParsedUrl> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut prefix = String::new();
    for (name, value) in parameters(query)? {
        match name {
            "prefix" => prefix = checked_prefix(value)?,
            "mode" => {
                return wrong(
                    "a SQLite shard has no parameter `mode`: `create` makes files, `open` does not; remove it",
                );
            }
            _ => {
                let name = name.escape_debug();
                return wrong(format!("a SQLite shard has no parameter `{name}`, only `prefix`"));
            }
        }
    }
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = if cfg!(windows) {
        path.strip_prefix('/').filter(|path| has_drive(path)).unwrap_or(path)
    } else {
        path
    };
    if path == ":memory:" {
        return Ok(ParsedUrl {
            source: Source::Sqlite(SqliteSource::memory()),
            names: Namespace::of_prefix(prefix),
            is_default_schema: false,
        });
    }
    if path.trim_matches(':').eq_ignore_ascii_case("memory") {
        return wrong(
            "write `sqlite::memory:` for a database in memory, or `sqlite:./memory` for a file of this name",
        );
    }
    if path.starts_with("file:") {
        return wrong("a SQLite URI is not supported; write `sqlite:<path>`");
    }
    let path = decoded(path)?;
    let path = path.as_str();
    if path.trim().is_empty() {
        return wrong("a path is missing after `sqlite:`; write `sqlite::memory:` for a database in memory");
    }
    if path.trim() != path || path.contains('\0') {
        return wrong(format!(
            "the path `{}` must not begin or end with a space, or contain NUL",
            path.escape_debug()
        ));
    }
    if !cfg!(windows) && (has_drive(path.trim_start_matches('/')) || path.starts_with("\\\\")) {
        return wrong(format!("`{}` is a Windows path, and this is another system", path.escape_debug()));
    }
    let is_folder = path.ends_with(std::path::is_separator) || Path::new(path).file_name().is_none();
    if is_folder {
        return wrong(format!("`{}` is a folder; name a file in it", path.escape_debug()));
    }
    Ok(ParsedUrl {
        source: Source::Sqlite(SqliteSource::File(folder.join(path))),
        names: Namespace::of_prefix(prefix),
        is_default_schema: false,
    })
}

/// Returns whether a path begins with a drive, as `C:\` or `C:/`.
fn has_drive(path: &str) -> bool {
    let mut bytes = path.bytes();
    matches!(
        (bytes.next(), bytes.next(), bytes.next()),
        (Some(letter), Some(b':'), Some(b'/' | b'\\')) if letter.is_ascii_alphabetic()
    )
}

/// Decodes a percent-encoded text.
fn decoded(text: &str) -> Result<String> {
    if !is_encoded(text) {
        return wrong("a `%` in a URL begins an encoded byte, as `%20`; write the sign itself as `%25`");
    }
    match percent_encoding::percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => wrong("the encoded bytes of the URL are not UTF-8"),
    }
}

/// Returns whether each `%` is followed by two hexadecimal digits.
fn is_encoded(text: &str) -> bool {
    let mut parts = text.split('%');
    parts.next();
    parts.all(|part| part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str, _: &Path) -> Result<ParsedUrl> {
    wrong("PostgreSQL shards need the feature `postgres` of `shard-runtime`; enable it")
}

/// The parameters of a server's URL that the driver reads.
#[cfg(feature = "postgres")]
const PARAMETERS: [&str; 17] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// The schema of a shard whose URL names none; the role's `search_path` does not count.
#[cfg(feature = "postgres")]
const DEFAULT_SCHEMA: &str = "public";

/// Parses a server's URL in PostgreSQL's form, with this crate's parameters `schema=` and `pooler=`, and its own meaning of
/// `sslmode=` and `sslrootcert=`.
#[cfg(feature = "postgres")]
fn postgres(url: &str, folder: &Path) -> Result<ParsedUrl> {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    check_authority(rest)?;
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut schema, mut pooler, mut asked) = (None::<String>, None, TlsParameters::default());
    let mut others = Vec::new();
    for (name, value) in parameters(query)? {
        match name {
            "schema" => schema = Some(checked_schema(&decoded(value)?)?),
            "pooler" => pooler = Some(Pooler::of_name(value)?),
            "sslmode" => asked.sslmode = Some(value),
            "sslrootcert" => asked.sslrootcert = Some(value),
            _ if PARAMETERS.contains(&name) => others.push(format!("{name}={value}")),
            _ => {
                return wrong(format!(
                    "a server's URL has no parameter `{}`; it has `schema`, `pooler`, `sslmode`, `sslrootcert`, {}",
                    name.escape_debug(),
                    PARAMETERS.map(|name| format!("`{name}`")).join(", ")
                ));
            }
        }
    }
    let url = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    Ok(ParsedUrl {
        source: Source::Postgres(Box::new(PostgresSource::new(&url, pooler, asked, folder)?)),
        is_default_schema: schema.is_none(),
        names: Namespace::of_schema(schema.unwrap_or_else(|| DEFAULT_SCHEMA.to_owned())),
    })
}

/// Refuses a URL that the driver would misread: it ends the password at the first `@`. An error prints nothing of the URL but a
/// port.
#[cfg(feature = "postgres")]
fn check_authority(rest: &str) -> Result<()> {
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.matches('@').count() > 1 || tail.contains('@') {
        return wrong(
            "the URL has more than one `@`: in a user name, a password or a parameter write `@` as `%40`, `/` as `%2F`, `:` as \
             `%3A`, `?` as `%3F`, `#` as `%23`, `%` as `%25`",
        );
    }
    if !is_encoded(rest) {
        return wrong("a `%` in a URL begins an encoded byte, as `%40`; write the sign itself as `%25`");
    }
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        let (is_bracketed, port) = match host.strip_prefix('[') {
            Some(host) => (true, host.split_once(']').map(|(_, port)| port)),
            None => (false, host.find(':').and_then(|colon| host.get(colon..))),
        };
        let port = match (is_bracketed, port) {
            (true, None) => return wrong("the `[` of an IPv6 address in a URL has no `]`; add it"),
            (true, Some("")) | (false, None) => continue,
            (_, Some(port)) => port.strip_prefix(':').unwrap_or(""),
        };
        if !is_bracketed && port.contains(':') {
            return wrong(
                "an IPv6 address in a URL must be in brackets, as in `postgres://[::1]:5432/database`",
            );
        }
        let is_port =
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
        if !is_port {
            // If the `@` is missing, this is the password.
            let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let found = if is_number { format!(", not `{port}`") } else { String::new() };
            return wrong(format!(
                "the port in a server's URL must be 1 to 65535{found}; the form is `{FORM}`"
            ));
        }
    }
    Ok(())
}

#[cfg(feature = "postgres")]
fn checked_schema(name: &str) -> Result<String> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let is_taken = name.to_ascii_lowercase().starts_with("pg_") || name == "information_schema";
    if name.is_empty() || name.len() > 63 || !name.chars().all(is_plain) || is_taken {
        let message = format!(
            "the schema `{}` must be 1 to 63 ASCII letters, digits and underscores, and not one of PostgreSQL's own",
            name.escape_debug()
        );
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    Ok(name.to_owned())
}

/// Restricts a prefix, which becomes part of names, to characters that every database accepts.
fn checked_prefix(prefix: &str) -> Result<String> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if prefix.is_empty() || prefix.len() > 32 || !prefix.chars().all(is_plain) {
        return Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "the prefix `{}` must be 1 to 32 ASCII letters, digits and underscores",
                prefix.escape_debug()
            ),
        ));
    }
    if prefix.to_ascii_lowercase().starts_with("sqlite_") {
        return Err(Error::new(
            ErrorKind::Configuration,
            "the prefix must not begin with `sqlite_`: these names are SQLite's own",
        ));
    }
    Ok(prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_urls_are_read() {
        let folder = Path::new("/data");
        for (url, path, prefix) in [
            ("sqlite:weather.db", "/data/weather.db", ""),
            ("sqlite:weather.db?prefix=asia_", "/data/weather.db", "asia_"),
            ("sqlite:weather.db?", "/data/weather.db", ""),
            ("sqlite://weather.db", "/data/weather.db", ""),
            ("sqlite://sub/weather.db?prefix=a_", "/data/sub/weather.db", "a_"),
            ("sqlite:./memory", "/data/./memory", ""),
            ("sqlite:/abs/weather.db", "/abs/weather.db", ""),
            ("sqlite:///abs/weather.db", "/abs/weather.db", ""),
            ("sqlite:a%20b%3F%25.db", "/data/a b?%.db", ""),
            ("sqlite:größe#1.db", "/data/größe#1.db", ""),
            ("sqlite:memory.db", "/data/memory.db", ""),
            ("sqlite:a:b.db", "/data/a:b.db", ""),
        ] {
            let parsed = ParsedUrl::parse(url, folder).unwrap_or_else(|error| panic!("{url}: {error}"));
            #[allow(irrefutable_let_patterns)]
            let Source::Sqlite(SqliteSource::File(found)) = parsed.source else { panic!("{url} is no file") };
            assert_eq!((found.as_path(), parsed.names.prefix.as_str()), (Path::new(path), prefix), "{url}");
        }
        for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite::memory:?prefix=a_"] {
            let source = ParsedUrl::parse(url, folder).unwrap().source;
            assert!(matches!(source, Source::Sqlite(SqliteSource::Memory(_))), "{url}");
        }
    }

    /// Each with a part of the remedy.
    #[test]
    fn r42_bad_urls_are_refused_with_the_right_spelling() {
        for (url, remedy) in [
            ("", "`sqlite:` or `postgres://`"),
            ("asia.db", "`sqlite:` or `postgres://`"),
            ("SQLITE:a.db", "not with `SQLITE`"),
            ("mysql://root:secret@host/db", "not with `mysql`"),
            ("secret@host:5/db", "`sqlite:` or `postgres://`"),
            ("sqlite:", "path is missing"),
            ("sqlite://", "`sqlite::memory:`"),
            ("sqlite:   ", "path is missing"),
            ("sqlite: a.db", "space"),
            ("sqlite:a.db ", "space"),
            ("sqlite:a%00.db", "NUL"),
            ("sqlite:memory", "`sqlite::memory:`"),
            ("sqlite::memory", "`sqlite::memory:`"),
            ("sqlite:memory:", "`sqlite::memory:`"),
            ("sqlite::MEMORY:", "`sqlite::memory:`"),
            ("sqlite://memory", "`sqlite::memory:`"),
            ("sqlite:file:a.db", "`sqlite:<path>`"),
            ("sqlite:data/", "name a file"),
            ("sqlite:..", "name a file"),
            ("sqlite:///", "name a file"),
            ("sqlite:50%.db", "`%25`"),
            ("sqlite:a%zz.db", "`%25`"),
            ("sqlite:a%FF.db", "UTF-8"),
            ("sqlite:a.db?prefix=", "1 to 32"),
            ("sqlite:a.db?prefix=a-b", "1 to 32"),
            ("sqlite:a.db?prefix=a\"b", "1 to 32"),
            ("sqlite:a.db?prefix=sqlite_", "SQLite's own"),
            ("sqlite:a.db?prefix=a_&prefix=b_", "twice"),
            ("sqlite:a.db?prefix", "`name=value`"),
            ("sqlite:a.db?schema=x", "only `prefix`"),
            ("sqlite:a.db?mode=rwc", "remove it"),
        ] {
            is_refused(url, remedy);
        }
        if cfg!(not(windows)) {
            for url in
                [r"sqlite:C:\data\a.db", "sqlite:///C:/data/a.db", "sqlite:c:/a.db", r"sqlite:\\host\a.db"]
            {
                is_refused(url, "Windows");
            }
        }
    }

    fn is_refused(url: &str, remedy: &str) {
        let Err(error) = ParsedUrl::parse(url, Path::new("")) else { panic!("{url} is accepted") };
        assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
        let message = error.to_string();
        assert!(message.contains(remedy), "{url}: {message}");
        assert!(!message.contains("secret") && !message.contains("s3"), "{url}: {message}");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn server_urls_are_read() {
        for url in [
            "postgres://localhost/x",
            "postgresql://localhost/x",
            "postgres://u@localhost",
            "postgres://u:s3cret@[::1]:5433/x?schema=asia",
            "postgres://u:s3cret@[::1]/x",
            "postgres://u:p%40%2F%3A%3F%23%25@h:5432/x",
            "postgres://u:a:b#c!d@h/x",
            "postgres://u@one:5432,two:5433/x",
            "postgres://u@%2Frun%2Fpostgresql/x",
            "postgres://h/x?application_name=a%40b&connect_timeout=3&schema=a",
            "postgres://h/x?schema=a%5Fb",
        ] {
            let parsed =
                ParsedUrl::parse(url, Path::new("")).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert!(matches!(parsed.source, Source::Postgres(_)), "{url}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn bad_server_urls_are_refused_with_the_right_spelling() {
        for (url, remedy) in [
            ("postgres:localhost/x", "`//`"),
            ("postgresql:/localhost/x", "`//`"),
            ("postgres:///x", "names no host"),
            ("postgres://u:s3@cret@h/x", "`%40`"),
            ("postgres://u:s3/cret@h/x", "`%2F`"),
            ("postgres://u:s3?cret@h/x", "`%3F`"),
            ("postgres://u:s3%cret@h/x", "`%25`"),
            ("postgres://u:s3%@h/x", "`%25`"),
            ("postgres://h/x?application_name=s3@b", "`%40`"),
            ("postgres://root:secret@host:port/x", "1 to 65535"),
            ("postgres://root:secret@host:0/x", "not `0`"),
            ("postgres://root:secret@host:65536/x", "not `65536`"),
            ("postgres://root:secret@host:-1/x", "1 to 65535"),
            ("postgres://root:secret@host:/x", "1 to 65535"),
            ("postgres://root:secret", "1 to 65535"),
            ("postgres://u@::1/x", "`postgres://[::1]:5432/database`"),
            ("postgres://u@[::1/x", "no `]`"),
            ("postgres://u@[::1]5432/x", "1 to 65535"),
            ("postgres://localhost/x?schema=", "1 to 63"),
            ("postgres://localhost/x?schema=a-b", "1 to 63"),
            ("postgres://localhost/x?schema=pg_catalog", "PostgreSQL's own"),
            ("postgres://localhost/x?schema=a&schema=b", "twice"),
            ("postgres://localhost/x?no_such_setting=secret", "`no_such_setting`"),
            ("postgres://localhost/x?prefix=a_", "`schema`"),
            ("postgres://localhost/x?schema", "`name=value`"),
            ("postgres://localhost/x?connect_timeout=secret", "PostgreSQL URL"),
        ] {
            is_refused(url, remedy);
        }
    }
}
