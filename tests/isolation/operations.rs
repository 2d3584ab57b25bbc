//! The operations that write: each does one thing to the rows of the beginning, and returns what it found.

use shard_runtime::{AsyncSession, Result, Session, Sharded, Sql, Stored, count};

use crate::world::{Account, Currency, Note, User, user};

/// The subject of an operation; pairs are made of operations that can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Users,
    Accounts,
    Currencies,
    /// Users and currencies.
    Both,
    /// All tables.
    Everything,
}

impl About {
    pub fn meets(self, other: About) -> bool {
        self == other
            || matches!(
                (self, other),
                (About::Everything, _)
                    | (_, About::Everything)
                    | (About::Both, About::Users | About::Currencies)
                    | (About::Users | About::Currencies, About::Both)
            )
    }
}

pub struct Operation {
    pub name: &'static str,
    pub about: About,
    pub run: Run,
}

/// An operation, by the kind of session that it runs in.
#[derive(Clone, Copy)]
pub enum Run {
    Sync(fn(&mut Session) -> Result<String>),
    Async(fn(&mut AsyncSession) -> Result<String>),
}

macro_rules! operations {
    ($($kind:ident $about:ident: $($name:ident),* $(,)?;)*) => {
        pub const ALL: &[Operation] =
            &[$($(Operation { name: stringify!($name), about: About::$about, run: Run::$kind($name) }),*),*];
    };
}

operations! {
    Sync Users: add, add_other, save, save_new, update, update_lookup, update_read_to_write, delete, bulk_update,
        bulk_update_by_lookup, bulk_update_children, bulk_delete, bulk_delete_by_lookup, bulk_delete_returning, relocate_up,
        relocate_down, relocate_child, add_child, update_child, update_child_lookup, delete_child, bulk_delete_children,
        sql_update, sql_delete, sum_to_write, groups_to_write, sum_to_write_by_lookup;
    Async Users: async_read_to_write;
    Sync Accounts: account_add, account_save, account_update, account_delete, account_bulk_update, account_bulk_delete,
        account_relocate_up, account_relocate_down, account_relocate_back, account_sql;
    Sync Currencies: reference_add, reference_save, reference_save_new, reference_update, reference_delete, reference_bulk_update,
        reference_bulk_delete, reference_sql;
    Sync Both: refer;
    Sync Everything: repair;
}

/// The row that an operation is about is not there.
pub const ABSENT: &str = "absent";

fn done(count: u64) -> Result<String> {
    Ok(count.to_string())
}

fn found(session: &mut Session) -> Result<Option<Stored<User>>> {
    session.get::<User>(1)
}

fn add(session: &mut Session) -> Result<String> {
    session.add(user(9, "c", Some("e9")))?;
    session.flush()?;
    done(1)
}

/// Takes the values that `add`, `save_new` and `update_lookup` take, too.
fn add_other(session: &mut Session) -> Result<String> {
    session.add(user(8, "a", Some("e9")))?;
    session.flush()?;
    done(1)
}

fn save(session: &mut Session) -> Result<String> {
    session.save(User { name: "saved".into(), ..user(1, "b", Some("e1")) })?;
    done(1)
}

fn save_new(session: &mut Session) -> Result<String> {
    session.save(User { name: "saved".into(), ..user(9, "c", Some("e9")) })?;
    done(1)
}

fn update(session: &mut Session) -> Result<String> {
    let Some(mut row) = found(session)? else { return Ok(ABSENT.into()) };
    row.name = "updated".into();
    session.update(&mut row)?;
    session.flush()?;
    done(1)
}

fn update_lookup(session: &mut Session) -> Result<String> {
    let Some(mut row) = found(session)? else { return Ok(ABSENT.into()) };
    row.email = Some("e9".into());
    session.update(&mut row)?;
    session.flush()?;
    done(1)
}

fn update_read_to_write(session: &mut Session) -> Result<String> {
    let query = User::select().filter(User::ID.eq(1)).all_shards().for_update();
    let Some(mut row) = session.first(query)? else { return Ok(ABSENT.into()) };
    row.cents += 10;
    session.update(&mut row)?;
    session.flush()?;
    done(1)
}

fn async_read_to_write(session: &mut AsyncSession) -> Result<String> {
    smol::block_on(async {
        let query = User::select().filter(User::ID.eq(1)).all_shards().for_update();
        let Some(mut row) = session.first(query).await? else { return Ok(ABSENT.into()) };
        row.cents += 10;
        session.update(&mut row).await?;
        session.flush().await?;
        done(1)
    })
}

/// Writes what an aggregate has found into a row that it does not read.
fn write_found(session: &mut Session, found: &impl std::fmt::Debug) -> Result<String> {
    let found = format!("{found:?}");
    session.execute(User::update().set(User::NAME, &*found).filter(User::ID.eq(3)).on_shard("c"))?;
    Ok(found)
}

fn sum_to_write(session: &mut Session) -> Result<String> {
    let rows = User::select().filter(User::ID.lt(3)).all_shards().for_update();
    let found = session.one(rows.aggregate(User::CENTS.sum()))?;
    write_found(session, &found)
}

fn groups_to_write(session: &mut Session) -> Result<String> {
    let rows = User::select().filter(User::ID.lt(3)).all_shards().for_update();
    let found = session.all(rows.group_by(User::NAME).aggregate((count(), User::CENTS.sum())))?;
    write_found(session, &found)
}

fn sum_to_write_by_lookup(session: &mut Session) -> Result<String> {
    let rows = User::select().filter(User::EMAIL.eq("e1")).for_update();
    let found = session.one(rows.aggregate((count(), User::CENTS.sum())))?;
    write_found(session, &found)
}

fn delete(session: &mut Session) -> Result<String> {
    let Some(row) = found(session)? else { return Ok(ABSENT.into()) };
    for note in session.all(row.children::<Note>())? {
        session.delete(&note)?;
    }
    session.delete(&row)?;
    session.flush()?;
    done(1)
}

fn bulk_update(session: &mut Session) -> Result<String> {
    done(session.execute(User::update().set(User::CENTS, User::CENTS + 1).all_shards())?)
}

fn bulk_update_by_lookup(session: &mut Session) -> Result<String> {
    let update = User::update().set(User::CENTS, User::CENTS + 100).filter(User::EMAIL.eq("e1"));
    done(session.execute(update)?)
}

fn bulk_update_children(session: &mut Session) -> Result<String> {
    done(session.execute(Note::update().set(Note::TEXT, "bulk").all_shards())?)
}

fn bulk_delete(session: &mut Session) -> Result<String> {
    let notes = session.execute(Note::delete().filter(Note::ID.lt(20)).all_shards())?;
    let users = session.execute(User::delete().filter(User::ID.eq(1)).all_shards())?;
    Ok(format!("{notes}, {users}"))
}

fn bulk_delete_by_lookup(session: &mut Session) -> Result<String> {
    let notes = session.execute(Note::delete().filter(Note::ID.lt(20)).all_shards())?;
    let users = session.execute(User::delete().filter(User::EMAIL.eq("e1")))?;
    Ok(format!("{notes}, {users}"))
}

fn bulk_delete_returning(session: &mut Session) -> Result<String> {
    let notes = session.execute(Note::delete().filter(Note::ID.lt(20)).all_shards().returning())?;
    let users = session.execute(User::delete().filter(User::ID.eq(1)).all_shards().returning())?;
    let mut ids: Vec<i64> = notes.iter().map(|note| note.id).collect();
    ids.sort_unstable();
    Ok(format!("{ids:?}, {users:?}"))
}

fn relocate(session: &mut Session, home: &str) -> Result<String> {
    let Some(mut row) = found(session)? else { return Ok(ABSENT.into()) };
    let relocated = session.relocate(&mut row, |row| row.home = home.into())?;
    done(relocated.rows)
}

fn relocate_up(session: &mut Session) -> Result<String> {
    relocate(session, "a")
}

fn relocate_down(session: &mut Session) -> Result<String> {
    relocate(session, "c")
}

/// A note comes to a user on another shard.
fn relocate_child(session: &mut Session) -> Result<String> {
    let other = session.get::<User>(2)?;
    let (Some(mut note), Some(other)) = (session.get::<Note>(11)?, other) else { return Ok(ABSENT.into()) };
    let relocated = session.relocate(&mut note, |note| note.user = other.link())?;
    done(relocated.rows)
}

fn add_child(session: &mut Session) -> Result<String> {
    let Some(row) = found(session)? else { return Ok(ABSENT.into()) };
    session.add(Note { id: 13, user: row.link(), tag: Some("t13".into()), text: "added".into() })?;
    session.flush()?;
    done(1)
}

fn update_child(session: &mut Session) -> Result<String> {
    let Some(mut note) = session.get::<Note>(11)? else { return Ok(ABSENT.into()) };
    note.text = "updated".into();
    session.update(&mut note)?;
    session.flush()?;
    done(1)
}

fn update_child_lookup(session: &mut Session) -> Result<String> {
    let Some(mut note) = session.get::<Note>(11)? else { return Ok(ABSENT.into()) };
    note.tag = Some("t13".into());
    session.update(&mut note)?;
    session.flush()?;
    done(1)
}

fn delete_child(session: &mut Session) -> Result<String> {
    let Some(note) = session.get::<Note>(11)? else { return Ok(ABSENT.into()) };
    session.delete(&note)?;
    session.flush()?;
    done(1)
}

fn bulk_delete_children(session: &mut Session) -> Result<String> {
    done(session.execute(Note::delete().filter(Note::TAG.eq("t11")))?)
}

fn sql_update(session: &mut Session) -> Result<String> {
    done(session.execute(Sql::new("UPDATE {users} SET cents = cents + 1000 WHERE id = 1").all_shards())?)
}

fn sql_delete(session: &mut Session) -> Result<String> {
    done(session.execute(Sql::new("DELETE FROM {notes} WHERE id = 12").all_shards())?)
}

fn account_add(session: &mut Session) -> Result<String> {
    session.add(Account { id: 9, home: "c".into(), version: 1, cents: 5 })?;
    session.flush()?;
    done(1)
}

fn account_save(session: &mut Session) -> Result<String> {
    session.save(Account { id: 1, home: "b".into(), version: 1, cents: 7 })?;
    done(1)
}

fn with_account(
    session: &mut Session,
    run: impl FnOnce(&mut Session, &mut Stored<Account>) -> Result<()>,
) -> Result<String> {
    let Some(mut row) = session.get::<Account>(1)? else { return Ok(ABSENT.into()) };
    run(session, &mut row)?;
    session.flush()?;
    done(1)
}

fn account_update(session: &mut Session) -> Result<String> {
    with_account(session, |session, row| {
        row.cents += 10;
        session.update(row)
    })
}

fn account_delete(session: &mut Session) -> Result<String> {
    with_account(session, |session, row| session.delete(row))
}

fn account_bulk_update(session: &mut Session) -> Result<String> {
    done(session.execute(Account::update().set(Account::CENTS, Account::CENTS + 1).all_shards())?)
}

fn account_bulk_delete(session: &mut Session) -> Result<String> {
    done(session.execute(Account::delete().filter(Account::ID.eq(1)).all_shards())?)
}

fn account_relocate_up(session: &mut Session) -> Result<String> {
    with_account(session, |session, row| session.relocate(row, |row| row.home = "a".into()).map(drop))
}

fn account_relocate_down(session: &mut Session) -> Result<String> {
    with_account(session, |session, row| session.relocate(row, |row| row.home = "c".into()).map(drop))
}

/// A change through `relocate` that keeps the shard.
fn account_relocate_back(session: &mut Session) -> Result<String> {
    with_account(session, |session, row| session.relocate(row, |row| row.cents += 3).map(drop))
}

fn account_sql(session: &mut Session) -> Result<String> {
    let sql = "UPDATE {accounts} SET cents = cents + 1000, version = version + 1 WHERE id = 1";
    done(session.execute(Sql::new(sql).all_shards())?)
}

fn currency(code: &str, name: &str) -> Currency {
    Currency { code: code.into(), name: name.into() }
}

fn reference_add(session: &mut Session) -> Result<String> {
    session.add(currency("CHF", "added"))?;
    session.flush()?;
    done(1)
}

fn reference_save(session: &mut Session) -> Result<String> {
    session.save(currency("USD", "saved"))?;
    done(1)
}

fn reference_save_new(session: &mut Session) -> Result<String> {
    session.save(currency("CHF", "saved"))?;
    done(1)
}

fn reference_update(session: &mut Session) -> Result<String> {
    let Some(mut row) = session.get::<Currency>("USD".to_owned())? else { return Ok(ABSENT.into()) };
    row.name = "updated".into();
    session.update(&mut row)?;
    session.flush()?;
    done(1)
}

fn reference_delete(session: &mut Session) -> Result<String> {
    let Some(row) = session.get::<Currency>("USD".to_owned())? else { return Ok(ABSENT.into()) };
    session.delete(&row)?;
    session.flush()?;
    done(1)
}

fn reference_bulk_update(session: &mut Session) -> Result<String> {
    let update = Currency::update().set(Currency::NAME, "bulk").filter(Currency::CODE.ne("EUR"));
    done(session.execute(update)?)
}

fn reference_bulk_delete(session: &mut Session) -> Result<String> {
    done(session.execute(Currency::delete().filter(Currency::CODE.ne("EUR")))?)
}

fn reference_sql(session: &mut Session) -> Result<String> {
    done(session.execute(Sql::new("UPDATE {currencies} SET name = 'sql' WHERE code <> 'EUR'").all_shards())?)
}

fn refer(session: &mut Session) -> Result<String> {
    let Some(mut row) = session.get::<User>(3)? else { return Ok(ABSENT.into()) };
    row.currency = Some("USD".into());
    session.update(&mut row)?;
    session.flush()?;
    done(1)
}

/// Finds nothing to repair, also while other transactions are running. It runs in transactions of its own.
fn repair(session: &mut Session) -> Result<String> {
    let report = session.cluster().repair()?;
    Ok(report.is_sound().to_string())
}
