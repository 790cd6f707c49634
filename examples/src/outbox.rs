//! Orders in SQLite, and the events that tell of them: written together, sent by a relay, billed once.
//!
//! An order and its event are written in one transaction (an *outbox*). A relay sends the events and notes
//! that it has; what it had sent when it died is sent again, and the topic knows it by its id. Who bills
//! writes the id of the event and the invoice in one transaction (an *inbox*); what is delivered again is
//! there already.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};
use towpath_client::{
    Client, ErrorReason, NewSubscription, NewTopic, Record, Start, SubscriberItem,
};

use crate::Error;

/// The topic of the events.
pub const SHOP_TOPIC: &str = "shop.orders";
/// The subscription of whoever bills.
pub const BILLING: &str = "billing";
/// Where the events come from.
const SOURCE: &str = "/shop";

const SHOP_SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS orders (
        id INTEGER PRIMARY KEY,
        customer TEXT NOT NULL,
        cents INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        event_key TEXT NOT NULL,
        payload TEXT NOT NULL
    ) STRICT;
";

const BILLING_SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS inbox (
        event_id TEXT PRIMARY KEY
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS invoice (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        customer TEXT NOT NULL,
        cents INTEGER NOT NULL
    ) STRICT;
";

/// Something that has just happened, after which a program may die.
pub type Moment<'a> = &'a mut dyn FnMut(&'static str);

/// Makes the topic and the subscription, if they are not there.
///
/// # Errors
///
/// What the broker says.
pub async fn prepare(client: &Client) -> Result<(), Error> {
    let admin = client.admin();
    // As long as a relay may be away.
    let topic = NewTopic::new(SHOP_TOPIC).dedupe_window(Duration::from_hours(24));
    admin.ensure_topic(topic).await?;
    // Whoever dies with an order has not failed it: it is given up late, and tried again soon.
    let billing = NewSubscription::new(BILLING, SHOP_TOPIC, Start::Beginning)
        .attempts_max(1_000)
        .backoff(Duration::from_millis(10), Duration::from_millis(100));
    match admin.create_subscription(billing).await {
        Err(error) if error.reason() != Some(ErrorReason::SubscriptionExists) => Err(error.into()),
        _ => Ok(()),
    }
}

/// The database of the shop.
#[derive(Debug)]
pub struct Shop {
    database: Connection,
}

impl Shop {
    /// Opens the database, or makes it.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            database: open(path, SHOP_SCHEMA)?,
        })
    }

    /// Places an order: it and its event, or neither.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn place(&mut self, customer: &str, cents: i64) -> Result<(), Error> {
        let transaction = self.database.transaction()?;
        let order = "INSERT INTO orders (customer, cents) VALUES (?1, ?2)";
        transaction.execute(order, params![customer, cents])?;
        let event = "INSERT INTO outbox (event_key, payload) VALUES (?1, ?2)";
        transaction.execute(event, params![customer, cents.to_string()])?;
        transaction.commit()?;
        Ok(())
    }

    /// Sends what the outbox holds, in its order, until it is empty; returns how many events that were.
    ///
    /// # Errors
    ///
    /// What SQLite or the broker says. What was sent and not noted is sent again by the next relay.
    pub async fn relay(&self, client: &Client, moment: Moment<'_>) -> Result<u64, Error> {
        let producer = client.producer(SHOP_TOPIC).build();
        let mut count = 0;
        while let Some((id, key, payload)) = self.next_event()? {
            moment("read");
            // The id is that of the outbox: the same each time.
            let event = Record::new(payload).key(key).event(SOURCE, id.to_string());
            producer.send(event).await?;
            moment("sent");
            let noted = "DELETE FROM outbox WHERE id = ?1";
            self.database.execute(noted, params![id])?;
            moment("noted");
            count += 1;
        }
        producer.close().await?;
        Ok(count)
    }

    fn next_event(&self) -> Result<Option<(i64, String, String)>, Error> {
        let query = "SELECT id, event_key, payload FROM outbox ORDER BY id LIMIT 1";
        let mut statement = self.database.prepare_cached(query)?;
        let found = statement.query_row((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        Ok(found.optional()?)
    }
}

/// The database of whoever bills.
#[derive(Debug)]
pub struct Ledger {
    database: Connection,
}

impl Ledger {
    /// Opens the database, or makes it.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            database: open(path, BILLING_SCHEMA)?,
        })
    }

    /// Bills what is delivered until nothing is left; returns how many invoices were written.
    ///
    /// # Errors
    ///
    /// What SQLite or the broker says.
    pub async fn bill(&mut self, client: &Client, moment: Moment<'_>) -> Result<u64, Error> {
        let mut subscriber = client.subscriber(BILLING).max_in_flight(1).build();
        let mut count = 0;
        while let Some(item) = subscriber.next_item().await {
            let delivery = match item? {
                SubscriberItem::Delivery(delivery) => delivery,
                // What waits is tried again soon.
                SubscriberItem::CaughtUp(it) if it.is_idle() && it.waiting_records == 0 => break,
                _ => continue,
            };
            moment("received");
            let id = delivery.ce_id().ok_or("an order without an id")?;
            let customer = delivery.key().ok_or("an order without a customer")?;
            let customer = str::from_utf8(customer)?;
            let cents = str::from_utf8(delivery.value().unwrap_or_default())?.parse()?;
            count += u64::from(self.write_invoice(id, customer, cents)?);
            moment("billed");
            delivery.confirmed_ack().await?;
            moment("acked");
        }
        subscriber.close().await;
        Ok(count)
    }

    /// Returns whether the event was not there yet.
    fn write_invoice(&mut self, event: &str, customer: &str, cents: i64) -> Result<bool, Error> {
        let transaction = self.database.transaction()?;
        let seen = "INSERT OR IGNORE INTO inbox VALUES (?1)";
        let is_new = transaction.execute(seen, params![event])? == 1;
        if is_new {
            let invoice = "INSERT INTO invoice (customer, cents) VALUES (?1, ?2)";
            transaction.execute(invoice, params![customer, cents])?;
        }
        transaction.commit()?;
        Ok(is_new)
    }

    /// Every invoice, in the order in which they were written: customer and cents.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn invoices(&self) -> Result<Vec<(String, i64)>, Error> {
        let query = "SELECT customer, cents FROM invoice ORDER BY number";
        let mut statement = self.database.prepare(query)?;
        let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn open(path: &Path, schema: &str) -> Result<Connection, Error> {
    let database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.execute_batch(schema)?;
    Ok(database)
}
