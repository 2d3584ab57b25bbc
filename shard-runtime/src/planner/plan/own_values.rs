//! Which of a query's values can match on a shard: each shard gets its part of a list. Uses `layout`.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::planner::Layout;
use crate::planner::sql::ShardFilter;
use crate::query::{Operand, Target};
use crate::schema::{KeyColumns, Table};
use crate::value::Value;

/// The lists of a query, each split by shard: the places of the shard's values. Every value is placed once for all shards.
#[derive(Default)]
pub(super) struct SplitLists(RefCell<HashMap<*const Operand, Vec<Vec<usize>>>>);

/// The values of a query that can match on one shard. A pin overrides the placement of a key, but not the shard of a
/// link.
pub(super) struct OwnValues<'a> {
    pub(super) target: &'a Target,
    pub(super) layout: &'a Layout,
    pub(super) shard: usize,
    pub(super) lists: &'a SplitLists,
}

/// The shards that rows with a value can be on.
enum Home {
    Any,
    One(usize),
    /// No row has a key that maps to no shard.
    None,
}

impl OwnValues<'_> {
    fn home(&self, table: &Table, column: usize, operand: &Operand) -> Home {
        let shards = self.layout.shards();
        if let Some(link) = &operand.shard {
            let home = shards.get(link.name()).filter(|shard| *shard == link);
            return home.map_or(Home::None, |shard| Home::One(shard.index()));
        }
        match (table.key, operand.known()) {
            (KeyColumns::Columns(&[key]), Some(value)) if key == column => {
                self.home_of_key(table, std::slice::from_ref(value))
            }
            _ => Home::Any,
        }
    }

    fn home_of_key(&self, table: &Table, key: &[Value<'_>]) -> Home {
        match self.target.pins.is_empty() {
            true => table.place(key, self.layout.shards()).map_or(Home::None, Home::One),
            false => Home::Any,
        }
    }

    fn is_here(&self, home: Home) -> bool {
        match home {
            Home::Any => true,
            Home::One(shard) => shard == self.shard,
            Home::None => false,
        }
    }

    fn split(&self, table: &Table, column: usize, operands: &[Operand]) -> Vec<Vec<usize>> {
        let mut lists = vec![Vec::new(); self.layout.shards().len()];
        for (place, operand) in operands.iter().enumerate() {
            match self.home(table, column, operand) {
                Home::Any => lists.iter_mut().for_each(|list| list.push(place)),
                Home::One(shard) => lists.get_mut(shard).into_iter().for_each(|list| list.push(place)),
                Home::None => {}
            }
        }
        lists
    }
}

impl ShardFilter for OwnValues<'_> {
    fn holds(&self, table: &Table, column: usize, operand: &Operand) -> bool {
        self.is_here(self.home(table, column, operand))
    }

    fn held<'o>(&self, table: &Table, column: usize, operands: &'o [Operand]) -> Vec<&'o Operand> {
        let decides = match table.key {
            KeyColumns::Columns(&[key]) => key == column && self.target.pins.is_empty(),
            _ => false,
        };
        if !decides && operands.iter().all(|operand| operand.shard.is_none()) {
            return operands.iter().collect();
        }
        let mut lists = self.lists.0.borrow_mut();
        let lists = lists.entry(operands.as_ptr()).or_insert_with(|| self.split(table, column, operands));
        let own = lists.get(self.shard).into_iter().flatten();
        own.filter_map(|&place| operands.get(place)).collect()
    }

    fn holds_key(&self, table: &Table, key: &[Value<'_>]) -> bool {
        self.is_here(self.home_of_key(table, key))
    }
}
