//! The models of a next release: an account has one field more, which has to be there after the contract.

use shard_runtime::{Parent, Sharded, migrate::Migrations};

use super::models::{Currency, Invoice, Office};

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "accounts")]
pub struct Account {
    #[id(sequence)]
    pub id: i64,
    #[shard_key(hash)]
    pub owner: String,
    #[lookup]
    pub email: String,
    #[references(Currency)]
    pub currency: String,
    pub cents: i64,
    pub nickname: Option<String>,
}

#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "transfers")]
pub struct Transfer {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub account: Parent<Account>,
    pub cents: i64,
}

pub type Models = (Currency, Account, Transfer, Office, Invoice);

pub fn migrations() -> Migrations {
    Migrations::new()
        .step(2, "nickname", |m| {
            m.backfill::<Account>(|account| account.nickname = Some(format!("nick of {}", account.owner)))
        })
        .step(3, "nickname is required", |m| m.require(Account::NICKNAME))
}

/// A table of another program, which is adopted.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(table = "loans", index(reader))]
pub struct Loan {
    #[id(auto)]
    pub id: i64,
    #[shard_key(list("north" => "a", "south" => "b"))]
    pub branch: String,
    pub reader: String,
    #[lookup]
    pub book: String,
}
