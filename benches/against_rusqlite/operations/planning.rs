//! Prunes the shards of a query and writes its SQL, without running it.

use std::fmt::Write as _;
use std::hint::black_box;

use shard_runtime::Sharded;
use shard_runtime::sqlite::rusqlite::types::Value;

use crate::by_hand::shard_of;
use crate::data::{Data, SHARDS};
use crate::measure::{Failure, Pair};
use crate::models::{Account, Turns};

const PER_BLOCK: usize = 200;

/// A key, a number and a pattern.
pub fn three_conditions(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    let (mut ids, mut own_ids) = (Turns::new(&set.ids), Turns::new(&set.ids));
    let framework = move || {
        let mut sum = 0;
        for &id in ids.take(PER_BLOCK) {
            let filter = Account::ID.eq(id) & Account::CENTS.gt(10) & Account::OWNER.like("owner%");
            let explain = set.cluster.explain(&Account::select().filter(filter))?;
            for shard in explain.shards() {
                sum += set.cluster.shards().require(shard)?.index() as u64;
            }
        }
        Ok(sum)
    };
    let by_hand = move || {
        let mut sum = 0;
        for &id in own_ids.take(PER_BLOCK) {
            let mut sql = "SELECT id, owner, cents FROM accounts".to_owned();
            let mut values: Vec<Value> = Vec::new();
            for (condition, value) in
                [("id =", id.into()), ("cents >", 10.into()), ("owner GLOB", "owner*".to_owned().into())]
            {
                values.push(value);
                let word = if values.len() == 1 { "WHERE" } else { "AND" };
                write!(sql, " {word} {condition} ?{}", values.len())?;
            }
            black_box((sql, values));
            sum += shard_of(id) as u64;
        }
        Ok(sum)
    };
    Ok(Pair { per_block: PER_BLOCK as u32, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}

/// Ten thousand keys, of which each shard gets its own.
pub fn long_list(data: &Data) -> Result<Pair<'_>, Failure> {
    let set = data.accounts()?;
    let ids = &set.ids[..data.effort.rows(10_000) as usize];
    let framework = move || {
        let query = Account::select().filter(Account::ID.is_in(ids.iter().copied()));
        Ok(set.cluster.explain(&query)?.shards().len() as u64)
    };
    let by_hand = move || {
        let mut lists: [Vec<Value>; SHARDS.len()] = Default::default();
        for &id in ids {
            lists[shard_of(id)].push(id.into());
        }
        let mut asked = 0;
        for list in lists.into_iter().filter(|list| !list.is_empty()) {
            let sql = "SELECT id, owner, cents FROM accounts WHERE id IN rarray(?1)".to_owned();
            black_box((sql, list));
            asked += 1;
        }
        Ok(asked)
    };
    Ok(Pair { per_block: 1, framework: Box::new(framework), by_hand: Box::new(by_hand) })
}
