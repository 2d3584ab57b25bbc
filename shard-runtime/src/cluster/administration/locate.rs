//! The shard of a key.

use crate::error::{Error, ErrorKind, Result};
use crate::planner::route;
use crate::query::{Pin, Sharded};
#[cfg(feature = "admin")]
use crate::schema::{ColumnDef, KeyColumns, Table, key_literal};
use crate::schema::{DecidesShard, Shard};
use crate::transaction::Cluster;
#[cfg(feature = "admin")]
use crate::value::{ColumnType, Value};

impl Cluster {
    /// Returns the shard that holds the rows of a model with this key. A child has the key of its parent. No database is read.
    ///
    /// ```
    /// # use shard_runtime::{Cluster, Sharded};
    /// # #[derive(Sharded, Clone, Debug)]
    /// # struct Account {
    /// #     #[id]
    /// #     #[shard_key(hash)]
    /// #     id: i64,
    /// # }
    /// # fn main() -> shard_runtime::Result<()> {
    /// # let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
    /// assert_eq!(cluster.locate::<Account>(7)?.name(), "b");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::UnmappedKey`](crate::ErrorKind::UnmappedKey) if the key is placed on no shard,
    /// [`ErrorKind::UnknownModel`](crate::ErrorKind::UnknownModel) if the cluster does not hold the model.
    pub fn locate<T: Sharded<Key: DecidesShard>>(&self, key: impl Into<T::Key>) -> Result<&Shard> {
        let cluster = self.latest();
        cluster.layout().model(T::TABLE)?;
        cluster.shard_at(route::pin_shard(T::TABLE, &Pin::key(&key.into()), cluster.shards())?)
    }

    fn shard_at(&self, index: usize) -> Result<&Shard> {
        let unknown = || Error::new(ErrorKind::UnknownShard, "the cluster has no shard with this index");
        self.layout().shards().by_index(index).ok_or_else(unknown)
    }
}

#[cfg(feature = "admin")]
impl Cluster {
    /// Does the same as [`Cluster::locate`], with the name of a table or a model and a text for each column of the key.
    ///
    /// The second value is the key's own line in the recorded layout, if it has one.
    pub(crate) fn locate_text(&self, name: &str, key: &[String]) -> Result<(&Shard, Option<String>)> {
        let (root, values) = self.key_of_text(name, key)?;
        let shards = self.layout().shards();
        let index = root.place(&values, shards);
        let shard = self.shard_at(index.map_err(|error| error.in_table(root.name))?)?;
        let has_line =
            shards.rule(root).is_some_and(|rule| rule.keys().iter().any(|(key, _)| *key == values));
        let line = has_line.then(|| format!("key {} => {shard}", key_literal(&values)));
        Ok((shard, line))
    }

    /// Reads a key as text, for a table or a model by its name. Returns the table that has the key: the root of a child.
    pub(crate) fn key_of_text(
        &self,
        name: &str,
        key: &[String],
    ) -> Result<(&'static Table, Vec<Value<'static>>)> {
        let is_named = |table: &&'static Table| table.name == name || table.model == name;
        let Some(table) = self.layout().tables().find(is_named) else {
            let known: Vec<&str> = self.layout().tables().map(|table| table.name).collect();
            let message = format!("unknown table `{name}`; the cluster has {}", known.join(", "));
            return Err(Error::new(ErrorKind::UnknownModel, message));
        };
        if table.is_reference() {
            let message =
                "every shard holds every row of a reference table; name a table whose rows have a key";
            return Err(Error::new(ErrorKind::Query, message).in_table(table.name));
        }
        // A child has the key of its parent.
        let mut root = table;
        while let Some(parent) = root.parent {
            root = parent.table;
        }
        let KeyColumns::Columns(columns) = root.key else {
            return Err(Error::new(ErrorKind::Query, "the table has no key").in_table(table.name));
        };
        let columns: Vec<_> = columns.iter().filter_map(|&column| root.columns.get(column)).collect();
        if columns.len() != key.len() {
            let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
            let message =
                format!("expected a value for each of {}, found {} values", names.join(", "), key.len());
            return Err(Error::new(ErrorKind::Value, message).in_table(root.name));
        }
        // The check of a key's type is the same on each shard.
        let shard = self.shard_at(0)?;
        let value = |(column, text): (&&ColumnDef, &String)| {
            let value = value_of(column.kind, text)
                .and_then(|value| column.check(value.borrowed(), shard).map(|()| value).map_err(Error::from));
            value.map_err(|error| error.in_table(root.name).at_column(column.name))
        };
        Ok((root, columns.iter().zip(key).map(value).collect::<Result<Vec<_>>>()?))
    }
}

/// Parses a value as [`Value`] prints it.
#[cfg(feature = "admin")]
fn value_of(kind: ColumnType, text: &str) -> Result<Value<'static>> {
    let wrong = |expected: &str| Error::new(ErrorKind::Value, format!("expected {expected}, got `{text}`"));
    let bytes = |text: &str| -> Option<Vec<u8>> {
        let digits = text.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.map(|pair| byte(pair).filter(|_| pair.len() == 2)).collect()
    };
    Ok(match kind {
        ColumnType::Integer => Value::Integer(text.parse().map_err(|_| wrong("integer"))?),
        ColumnType::Boolean => Value::Boolean(text.parse().map_err(|_| wrong("boolean"))?),
        ColumnType::Bytes => Value::Bytes(bytes(text).ok_or_else(|| wrong("bytes in hexadecimal"))?.into()),
        ColumnType::Uuid => {
            let uuid = bytes(&text.replace('-', "")).and_then(|bytes| bytes.try_into().ok());
            Value::Uuid(uuid.ok_or_else(|| wrong("UUID"))?)
        }
        _ => Value::Text(text.to_owned().into()),
    })
}
