//! Reads the settings of a [`Builder`] from a TOML file.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::Builder;
use crate::driver::Durability;
use crate::error::{Error, ErrorKind, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    control: Option<String>,
    busy_timeout_ms: Option<u64>,
    durability: Option<Level>,
    connections: Option<u32>,
    async_sessions: Option<u32>,
    cache_size: Option<u32>,
    mmap_size: Option<u64>,
    wal_size_limit: Option<u64>,
    #[serde(default)]
    without_prepared_transactions: bool,
    #[serde(default, rename = "shard")]
    shards: Vec<ShardConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShardConfig {
    name: String,
    url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Full,
    Normal,
}

impl Builder {
    /// Adds the shards and settings of a TOML file. Relative paths in it start from the file's folder.
    ///
    /// ```toml
    /// control = "sqlite:control.db"   # optional, as is everything but the shards
    /// busy_timeout_ms = 5000
    /// durability = "full"             # or "normal"
    /// connections = 40                # to all databases together
    /// async_sessions = 10             # in the middle of a transaction at once
    /// cache_size = 65536
    /// mmap_size = 268435456
    /// wal_size_limit = 16777216
    /// without_prepared_transactions = false
    ///
    /// [[shard]]
    /// name = "asia"
    /// url = "sqlite:asia.db"
    ///
    /// [[shard]]
    /// name = "europe"
    /// url = "postgres://weather:${WEATHER_PASSWORD}@europe.example/weather"
    /// ```
    ///
    /// `${NAME}` in a URL is replaced by the environment variable of that name, so that the file need not have a password. In a
    /// server's URL the value may have any characters: it is percent-encoded, as one part of the URL.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be read, [`ErrorKind::Configuration`] if its content is wrong or an environment
    /// variable is not set.
    pub fn config_file(mut self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(ErrorKind::Io, format!("{} cannot be read: {error}", path.display()))
                .with_source(error)
        })?;
        let file: File = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = 1 + before.matches('\n').count();
            // The parser's error is not the source: it prints the line, which may hold a password.
            let message = format!("{}, line {line}: {}", path.display(), without_value(error.message()));
            Error::new(ErrorKind::Configuration, message)
        })?;
        if file.shards.is_empty() {
            let message = format!("{} has no shard; add `[[shard]]` with `name` and `url`", path.display());
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        self.folder = super::sources::absolute(path.parent().unwrap_or(Path::new("")))?;
        let placed = |url: &str| {
            with_environment(url, |name| std::env::var(name).ok()).map_err(|message| {
                Error::new(ErrorKind::Configuration, format!("{}: {message}", path.display()))
            })
        };
        for ShardConfig { name, url } in file.shards {
            let url = placed(&url).map_err(|error| error.on_shard(&name))?;
            self = self.shard(name, url);
        }
        if let Some(url) = file.control {
            let wrong = |error| Error::new(ErrorKind::Configuration, format!("`control`: {error}"));
            self = self.control(placed(&url).map_err(wrong)?);
        }
        if let Some(milliseconds) = file.busy_timeout_ms {
            self = self.busy_timeout(Duration::from_millis(milliseconds));
        }
        if let Some(level) = file.durability {
            self = self.durability(match level {
                Level::Full => Durability::Full,
                Level::Normal => Durability::Normal,
            });
        }
        if let Some(connections) = file.connections {
            self = self.connections(connections);
        }
        if let Some(sessions) = file.async_sessions {
            self = self.async_sessions(sessions);
        }
        if let Some(kib) = file.cache_size {
            self = self.cache_size(kib);
        }
        if let Some(bytes) = file.mmap_size {
            self = self.mmap_size(bytes);
        }
        if let Some(bytes) = file.wal_size_limit {
            self = self.wal_size_limit(bytes);
        }
        if file.without_prepared_transactions {
            self = self.without_prepared_transactions();
        }
        Ok(self)
    }
}

/// Returns a URL with each `${NAME}` replaced by the environment variable. The text of an error does not quote the URL, which
/// may hold a password.
fn with_environment(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let is_server = url.contains("://");
    let (mut placed, mut rest) = (String::new(), url);
    while let Some((before, after)) = rest.split_once("${") {
        let named = after.split_once('}').filter(|(name, _)| is_name(name));
        let Some((name, after)) = named else {
            return Err("`${` must be followed by the name of an environment variable and `}`".to_owned());
        };
        let Some(value) = variable(name) else {
            return Err(format!("environment variable `{name}` is not set, or is not UTF-8; set it"));
        };
        placed.push_str(before);
        // A path may hold these characters, the path of a URL may not.
        let in_path = || value.replace('%', "%25").replace('?', "%3F");
        placed.push_str(&if is_server { encoded(&value) } else { in_path() });
        rest = after;
    }
    placed.push_str(rest);
    Ok(placed)
}

/// Returns a parser's message without the value that it quotes.
fn without_value(message: &str) -> String {
    // The text may hold quotes itself: it ends at the last one.
    let quoted = [("string \"", "\"", "a string"), ("unknown variant `", "`, expected", "unknown value")];
    let found = quoted.iter().find_map(|(begin, end, instead)| {
        let (before, rest) = message.split_once(begin)?;
        let after = rest.get(rest.rfind(end)? + 1..)?;
        Some(format!("{before}{instead}{after}"))
    });
    found.unwrap_or_else(|| message.to_owned())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// Returns a text as one part of a URL, percent-encoded.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(url: &str) -> Result<String, String> {
        with_environment(url, |name| match name {
            "PASSWORD" => Some("p@ss:w/rd?#% ü".to_owned()),
            "FOLDER" => Some("a b/c".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn the_environment_is_put_into_urls() {
        assert_eq!(placed("sqlite:a.db").unwrap(), "sqlite:a.db");
        assert_eq!(placed("sqlite:${FOLDER}/$x.db").unwrap(), "sqlite:a b/c/$x.db");
        assert_eq!(
            placed("postgres://${EMPTY}u:${PASSWORD}@h/${FOLDER}").unwrap(),
            "postgres://u:p%40ss%3Aw%2Frd%3F%23%25%20%C3%BC@h/a%20b%2Fc"
        );
    }

    #[test]
    fn a_missing_variable_is_named_without_the_url() {
        assert!(placed("postgres://u:s3cret@${HOST}/db").unwrap_err().contains("`HOST` is not set"));
        for url in
            ["postgres://u:s3cret${", "postgres://u:${s3cret", "postgres://u:${s3-cret}@h", "sqlite:${}"]
        {
            let message = placed(url).unwrap_err();
            assert!(message.contains("`${`") && !message.contains("s3"), "{message}");
        }
    }

    /// The driver decodes the encoded text.
    #[cfg(feature = "postgres")]
    #[test]
    fn any_password_may_be_in_the_environment() {
        let url = placed("postgres://u:${PASSWORD}@h/db").unwrap();
        let config: tokio_postgres::Config = url.parse().unwrap();
        assert_eq!(config.get_password(), Some("p@ss:w/rd?#% ü".as_bytes()));
    }
}
