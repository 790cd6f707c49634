//! The read model: one row for each account, in SQLite.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};
use towpath_client::{Batch, ReceivedRecord};

use crate::{AccountEvent, Change, Error};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS account (
        name TEXT PRIMARY KEY,
        cents INTEGER NOT NULL,
        is_open INTEGER NOT NULL,
        change_count INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS applied (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        next_offset INTEGER NOT NULL,
        PRIMARY KEY (topic, partition)
    ) STRICT, WITHOUT ROWID;
";

/// Balances of all accounts, and how far the events were applied to them.
///
/// Both change in one transaction. A group hands records out at least once; what comes again is
/// recognised by its offset and passed over, so that every event counts exactly once, whatever dies
/// when.
#[derive(Debug)]
pub struct Balances {
    database: Connection,
}

impl Balances {
    /// Opens the database, or makes it.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let database = Connection::open(path)?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.execute_batch(SCHEMA)?;
        Ok(Self { database })
    }

    /// Applies the records of a batch that were not applied before; returns how many that were.
    ///
    /// # Errors
    ///
    /// What SQLite says, or that a record is no event of an account. Nothing was applied then.
    pub fn apply(&mut self, batch: &Batch) -> Result<u64, Error> {
        let transaction = self.database.transaction()?;
        let place = (batch.topic().as_str(), batch.partition().get());
        let next = next_offset(&transaction, place)?;
        let mut count = 0;
        for record in batch.records() {
            if record.offset().get() >= next {
                apply(&transaction, &record)?;
                count += 1;
            }
        }
        let next = next.max(batch.offsets().end().get());
        transaction.execute(
            "INSERT OR REPLACE INTO applied VALUES (?1, ?2, ?3)",
            params![place.0, place.1, i64::try_from(next)?],
        )?;
        transaction.commit()?;
        Ok(count)
    }

    /// Every account by name: cents, whether it is open, and how many events it had.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn accounts(&self) -> Result<Vec<(String, i64, bool, u64)>, Error> {
        let query = "SELECT name, cents, is_open, change_count FROM account ORDER BY name";
        let mut statement = self.database.prepare(query)?;
        let rows = statement.query_map((), |row| {
            let change_count: i64 = row.get(3)?;
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                change_count.unsigned_abs(),
            ))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn next_offset(transaction: &Transaction<'_>, place: (&str, u32)) -> Result<u64, Error> {
    let query = "SELECT next_offset FROM applied WHERE topic = ?1 AND partition = ?2";
    let mut statement = transaction.prepare_cached(query)?;
    let mut rows = statement.query(place)?;
    match rows.next()? {
        Some(row) => Ok(u64::try_from(row.get::<_, i64>(0)?)?),
        None => Ok(0),
    }
}

fn apply(transaction: &Transaction<'_>, record: &ReceivedRecord) -> Result<(), Error> {
    let AccountEvent { account, change } = record.json()?;
    let (cents, is_open) = match change {
        Change::Opened => (0, true),
        Change::Deposited { cents } => (cents, true),
        Change::Withdrawn { cents } => (-cents, true),
        Change::Closed => (0, false),
    };
    let mut statement = transaction.prepare_cached(
        "INSERT INTO account VALUES (?1, ?2, ?3, 1) ON CONFLICT (name) DO UPDATE SET
            cents = cents + ?2, is_open = ?3, change_count = change_count + 1",
    )?;
    statement.execute(params![account, cents, is_open])?;
    Ok(())
}
