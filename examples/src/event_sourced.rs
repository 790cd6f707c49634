//! Accounts whose truth is their events: what an account holds is made from them, and each new one is
//! written only behind those that were looked at.
//!
//! Three things that a topic can be asked for are enough: versions of keys, so that of two who decide on the
//! same state one writes; a dedupe window, so that what is asked for twice happens once; and for snapshots,
//! versions of entities, so that an older one never takes the place of a newer one.

mod account;

use std::time::Duration;

use towpath_client::{
    Client, ErrorReason, Event, KeyItem, NewTopic, Producer, Record, StaleRecords,
};

use crate::Error;

pub use account::{Account, Entry};

/// The topic of the events, keyed by account.
pub const LEDGER_TOPIC: &str = "ledger";
/// The topic of the snapshots, keyed by account.
pub const SNAPSHOTS_TOPIC: &str = "ledger-snapshots";
/// An account gets a snapshot after so many events.
const SNAPSHOT_EVERY: u64 = 20;
/// For how long a transfer that is asked for again is known again.
const DEDUPE_WINDOW: Duration = Duration::from_hours(24);

/// What became of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was done before.
    DoneBefore,
    /// It is not done: somebody has not that much.
    Refused,
}

/// Writes and reads accounts. Any number of processes may do so at once.
#[derive(Debug, Clone)]
pub struct Ledger {
    client: Client,
    snapshots: Producer,
}

impl Ledger {
    /// Makes the topics unless they are there.
    ///
    /// # Errors
    ///
    /// Why they cannot be made, or that there are others of these names.
    pub async fn open(client: &Client) -> Result<Self, Error> {
        let ledger = NewTopic::new(LEDGER_TOPIC).key_versions();
        let snapshots = NewTopic::new(SNAPSHOTS_TOPIC).stale_records(StaleRecords::Refuse);
        let admin = client.admin();
        admin
            .ensure_topic(ledger.dedupe_window(DEDUPE_WINDOW))
            .await?;
        admin.ensure_topic(snapshots).await?;
        Ok(Self {
            client: client.clone(),
            snapshots: client.producer(SNAPSHOTS_TOPIC).build(),
        })
    }

    /// An account as it is now: its newest snapshot, and the events behind that.
    ///
    /// # Errors
    ///
    /// Those of reading, or that events behind the snapshot are gone.
    pub async fn account(&self, name: &str) -> Result<Account, Error> {
        let latest = self
            .client
            .get_latest(SNAPSHOTS_TOPIC, name.to_owned())
            .await?;
        let snapshot = latest.record.map(|it| it.record.json());
        let mut account: Account = snapshot.transpose()?.unwrap_or_default();
        let history = self.client.read_key(LEDGER_TOPIC, name.to_owned());
        let mut events = history.from_version(account.version() + 1).build();
        while let Some(item) = events.next_item().await {
            match item? {
                KeyItem::Record(it) => account.apply(it.version, &it.record)?,
                other => return Err(format!("events of {name} are missing: {other:?}").into()),
            }
        }
        Ok(account)
    }

    /// Puts money on an account, from outside. Asked for again with the same id it does nothing.
    ///
    /// # Errors
    ///
    /// Those of reading and writing; it may be asked for again.
    pub async fn deposit(&self, id: &str, to: &str, cents: i64) -> Result<Outcome, Error> {
        self.post(id, &[(to, cents)]).await
    }

    /// Moves money from one account to another, all of it or nothing. Asked for again with the same id it
    /// does nothing.
    ///
    /// # Errors
    ///
    /// Those of reading and writing; it may be asked for again.
    pub async fn transfer(
        &self,
        id: &str,
        (from, to): (&str, &str),
        cents: i64,
    ) -> Result<Outcome, Error> {
        if from == to {
            return Ok(Outcome::Refused);
        }
        self.post(id, &[(from, -cents), (to, cents)]).await
    }

    /// Reads, decides and writes, until nobody else has written in between.
    async fn post(&self, id: &str, changes: &[(&str, i64)]) -> Result<Outcome, Error> {
        loop {
            let mut commit = self.client.commit();
            let mut accounts = Vec::new();
            for (name, cents) in changes {
                let account = self.account(name).await?;
                let event_id = format!("{id}/{name}");
                if account.has(&event_id) {
                    return Ok(Outcome::DoneBefore);
                }
                if account.cents() + cents < 0 {
                    return Ok(Outcome::Refused);
                }
                let event = Event::json("posted", &Entry { cents: *cents })?
                    .source("/ledger")
                    .id(event_id)
                    .key((*name).to_owned())
                    .expect_version(account.version());
                commit = commit.append(LEDGER_TOPIC, event);
                accounts.push((*name, account.version()));
            }
            match commit.send().await {
                Ok(done) if done.positions().any(|it| it.is_repeated) => {
                    return Ok(Outcome::DoneBefore);
                }
                Ok(_) => {
                    for (name, version) in accounts {
                        self.keep_snapshot(name, version + 1).await?;
                    }
                    return Ok(Outcome::Done);
                }
                // Somebody was faster: what was decided on is not so any more.
                Err(failed)
                    if failed.error().reason() == Some(ErrorReason::ExpectedVersionMismatch) => {}
                // The ids of the events tell whether it was.
                Err(failed) if failed.may_have_happened() => {}
                Err(failed) => return Err(failed.into()),
            }
        }
    }

    /// Writes a snapshot now and then, so that loading an account reads few events.
    async fn keep_snapshot(&self, name: &str, version: u64) -> Result<(), Error> {
        if !version.is_multiple_of(SNAPSHOT_EVERY) {
            return Ok(());
        }
        let account = self.account(name).await?;
        let snapshot = Record::new(serde_json::to_vec(&account)?)
            .key(name.to_owned())
            .entity_version(account.version());
        match self.snapshots.send(snapshot).await {
            // Another process has kept a newer one.
            Err(refused) if refused.error().reason() == Some(ErrorReason::StaleEntityVersion) => {
                Ok(())
            }
            sent => Ok(sent.map(|_position| ())?),
        }
    }
}
