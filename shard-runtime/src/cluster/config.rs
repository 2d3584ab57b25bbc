//! A cluster in a TOML file: the same content as [`Builder`]'s methods.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::Builder;
use crate::driver::Synchronous;
use crate::error::{Error, ErrorKind, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    control: Option<String>,
    busy_timeout_ms: Option<u64>,
    synchronous: Option<Level>,
    connections: Option<u32>,
    async_sessions: Option<u32>,
    cache_kib: Option<u32>,
    mapped_bytes: Option<u64>,
    #[serde(default, rename = "shard")]
    shards: Vec<Shard>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shard {
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
    /// Adds what a TOML file says. Relative paths in it start from the file's folder.
    ///
    /// ```toml
    /// control = "sqlite:control.db"   # optional, as is everything but the shards
    /// busy_timeout_ms = 5000
    /// synchronous = "full"            # or "normal"
    /// connections = 40                # to all databases together
    /// async_sessions = 10             # in the middle of a unit of work at once
    /// cache_kib = 65536
    /// mapped_bytes = 268435456
    ///
    /// [[shard]]
    /// name = "asia"
    /// url = "sqlite:asia.db"
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the file cannot be read, [`ErrorKind::Configuration`] where it is not such a file.
    pub fn config_file(mut self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(ErrorKind::Io, format!("{} cannot be read: {error}", path.display()))
                .with_source(error)
        })?;
        let file: File = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = 1 + before.matches('\n').count();
            let said = format!("{}, line {line}: {}", path.display(), error.message());
            Error::new(ErrorKind::Configuration, said).with_source(error)
        })?;
        if file.shards.is_empty() {
            let said = format!("{} names no shard; write `[[shard]]` with `name` and `url`", path.display());
            return Err(Error::new(ErrorKind::Configuration, said));
        }
        self.folder = path.parent().unwrap_or(Path::new("")).to_owned();
        for Shard { name, url } in file.shards {
            self = self.shard(name, url);
        }
        if let Some(url) = file.control {
            self = self.control(url);
        }
        if let Some(milliseconds) = file.busy_timeout_ms {
            self = self.busy_timeout(Duration::from_millis(milliseconds));
        }
        if let Some(level) = file.synchronous {
            self = self.synchronous(match level {
                Level::Full => Synchronous::Full,
                Level::Normal => Synchronous::Normal,
            });
        }
        if let Some(connections) = file.connections {
            self = self.connections(connections);
        }
        if let Some(sessions) = file.async_sessions {
            self = self.async_sessions(sessions);
        }
        if let Some(kib) = file.cache_kib {
            self = self.cache_kib(kib);
        }
        if let Some(bytes) = file.mapped_bytes {
            self = self.mapped_bytes(bytes);
        }
        Ok(self)
    }
}
