//! Collations of text columns, for the databases and for the merge of their answers. Uses `value`.

use std::cmp::Ordering;

use crate::value::Value;

/// The order and equality of the texts of a column. A column is `Binary` unless its field has `#[sharded(collate =
/// nocase)]`.
///
/// It applies to comparisons, lists, patterns, prefixes, order, pages, distinct rows, groups, minima, maxima, distinct
/// counts and unique indexes. Several spellings can be one value: in distinct rows, in the value of a group, and in the
/// minimum or maximum of a column. The answer then has the least spelling byte by byte, over all shards. In a row or
/// group of several columns this holds for each column.
///
/// ```
/// use shard_runtime::{Cluster, Sharded, count};
///
/// #[derive(Sharded, Clone, Debug)]
/// struct Account {
///     #[id]
///     #[shard_key(hash)]
///     id: i64,
///     #[sharded(collate = nocase)]
///     owner: String,
/// }
///
/// # fn main() -> shard_runtime::Result<()> {
/// let cluster = Cluster::in_memory::<Account>(["a", "b"])?;
/// let mut session = cluster.session();
/// session.add_all([(1, "ada"), (2, "Bob"), (3, "Ada")].map(|(id, owner)| Account { id, owner: owner.into() }))?;
///
/// let owners = Account::select().all_shards().group_by(Account::OWNER).aggregate(count());
/// assert_eq!(session.all(owners)?, [("Ada".to_owned(), 2), ("Bob".to_owned(), 1)]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Collation {
    /// Byte by byte.
    #[default]
    Binary,
    /// `A` to `Z` equal `a` to `z`; all other characters are compared byte by byte, so that `É` and `é` differ.
    /// SQLite's `NOCASE`.
    NoCase,
}

impl Collation {
    /// Compares two values of one column: texts by this collation, other values by [`Value::order`].
    pub fn order(self, a: &Value<'_>, b: &Value<'_>) -> Ordering {
        match (self, a, b) {
            (Collation::NoCase, Value::Text(a), Value::Text(b)) => folded(a).cmp(folded(b)),
            _ => a.order(b),
        }
    }

    /// Returns whether the first of two values is to be taken as the minimum, or as the maximum. Of equal spellings it
    /// is the least byte by byte in both cases.
    pub(crate) fn prefers(self, a: &Value<'_>, b: &Value<'_>, greatest: bool) -> bool {
        let order = self.order(a, b);
        let order = if greatest { order.reverse() } else { order };
        order.then_with(|| a.order(b)).is_lt()
    }
}

/// Folds to lower case, as SQLite does: the characters between `Z` and `a` are less than both.
fn folded(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().map(|byte| byte.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r25_texts_are_ordered_as_sqlite_orders_them() {
        let raw = rusqlite::Connection::open_in_memory().unwrap();
        let sql = "SELECT (?1 > ?2 COLLATE NOCASE) - (?1 < ?2 COLLATE NOCASE)";
        let texts = ["", "a", "A", "Z", "z", "[", "_", "@", "`", "{", "Ab", "aB", "abc", "É", "é", "ß", "SS"];
        for a in texts {
            for b in texts {
                let sqlite: i64 = raw.query_row(sql, [a, b], |row| row.get(0)).unwrap();
                let own = Collation::NoCase.order(&Value::Text(a.into()), &Value::Text(b.into()));
                assert_eq!(own, sqlite.cmp(&0), "{a} and {b}");
            }
        }
    }

    #[test]
    fn the_least_of_several_spellings_is_returned() {
        let text = |text: &'static str| Value::Text(text.into());
        for greatest in [false, true] {
            assert!(Collation::NoCase.prefers(&text("Ada"), &text("ada"), greatest));
            assert!(!Collation::NoCase.prefers(&text("ada"), &text("Ada"), greatest));
            assert!(!Collation::Binary.prefers(&text("ada"), &text("ada"), greatest));
        }
        assert!(Collation::NoCase.prefers(&text("b"), &text("A"), true));
        assert!(Collation::Binary.prefers(&text("b"), &text("C"), true));
        assert!(Collation::NoCase.prefers(&Value::Integer(1), &Value::Integer(2), false));
    }
}
