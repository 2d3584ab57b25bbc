//! The values of a query that can match on a shard: each shard gets its part of a list. Uses `layout`.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::planner::Layout;
use crate::planner::sql::ShardFilter;
use crate::query::{Operand, Target};
use crate::schema::{KeyColumns, Table};
use crate::value::Value;

/// The lists of a query, each split by shard: the indexes of the values that each shard gets. Every value is placed once for
/// all shards.
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
enum PossibleShards {
    Any,
    One(usize),
    /// No row has a key that maps to no shard.
    None,
}

impl OwnValues<'_> {
    fn possible_shards(&self, table: &Table, column: usize, operand: &Operand) -> PossibleShards {
        let shards = self.layout.shards();
        if let Some(link) = &operand.shard {
            let shard = shards.get(link.name()).filter(|shard| *shard == link);
            return shard.map_or(PossibleShards::None, |shard| PossibleShards::One(shard.index()));
        }
        match (table.key, operand.known()) {
            (KeyColumns::Columns(&[key]), Some(value)) if key == column => {
                self.shards_of_key(table, std::slice::from_ref(value))
            }
            _ => PossibleShards::Any,
        }
    }

    fn shards_of_key(&self, table: &Table, key: &[Value<'_>]) -> PossibleShards {
        match self.target.pins.is_empty() {
            true => table.place(key, self.layout.shards()).map_or(PossibleShards::None, PossibleShards::One),
            false => PossibleShards::Any,
        }
    }

    fn is_here(&self, possible: PossibleShards) -> bool {
        match possible {
            PossibleShards::Any => true,
            PossibleShards::One(shard) => shard == self.shard,
            PossibleShards::None => false,
        }
    }

    fn split(&self, table: &Table, column: usize, operands: &[Operand]) -> Vec<Vec<usize>> {
        let mut lists = vec![Vec::new(); self.layout.shards().len()];
        for (index, operand) in operands.iter().enumerate() {
            match self.possible_shards(table, column, operand) {
                PossibleShards::Any => lists.iter_mut().for_each(|list| list.push(index)),
                PossibleShards::One(shard) => {
                    lists.get_mut(shard).into_iter().for_each(|list| list.push(index))
                }
                PossibleShards::None => {}
            }
        }
        lists
    }
}

impl ShardFilter for OwnValues<'_> {
    fn holds(&self, table: &Table, column: usize, operand: &Operand) -> bool {
        self.is_here(self.possible_shards(table, column, operand))
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
        own.filter_map(|&index| operands.get(index)).collect()
    }

    fn holds_key(&self, table: &Table, key: &[Value<'_>]) -> bool {
        self.is_here(self.shards_of_key(table, key))
    }
}
