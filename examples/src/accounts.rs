//! The events of accounts.

use serde::{Deserialize, Serialize};
use towpath_client::{Client, Event};

use crate::Error;

/// The topic that the events are in, keyed by account: the events of one account stay in order.
pub const TOPIC: &str = "accounts";

/// Something that happened to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountEvent {
    /// Which account.
    pub account: String,
    /// What happened.
    #[serde(flatten)]
    pub change: Change,
}

/// What happens to accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// It exists from now on.
    Opened,
    /// Money came in.
    Deposited {
        /// How much, cents.
        cents: i64,
    },
    /// Money went out.
    Withdrawn {
        /// How much, cents.
        cents: i64,
    },
    /// It cannot be used any more.
    Closed,
}

impl Change {
    const fn event_type(self) -> &'static str {
        match self {
            Self::Opened => "account.opened",
            Self::Deposited { .. } => "account.deposited",
            Self::Withdrawn { .. } => "account.withdrawn",
            Self::Closed => "account.closed",
        }
    }
}

/// Makes up the lives of some accounts, mixed as they happened.
pub fn random_events(seed: u64, account_count: usize, event_count: usize) -> Vec<AccountEvent> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut is_open = vec![false; account_count];
    let mut events = Vec::with_capacity(event_count);
    while events.len() < event_count {
        let number = random.usize(..account_count);
        let change = match (is_open[number], random.u8(..50)) {
            (false, _) => Change::Opened,
            (true, 0) => Change::Closed,
            (true, kind) => {
                let cents = random.i64(1..100_000);
                match kind % 2 {
                    0 => Change::Deposited { cents },
                    _ => Change::Withdrawn { cents },
                }
            }
        };
        match change {
            Change::Opened => is_open[number] = true,
            Change::Closed => is_open[number] = false,
            Change::Deposited { .. } | Change::Withdrawn { .. } => {}
        }
        events.push(AccountEvent {
            account: format!("account-{number}"),
            change,
        });
    }
    events
}

/// Writes events. They are on disk when this returns.
///
/// # Errors
///
/// Why one of them is not.
pub async fn write(client: &Client, events: &[AccountEvent]) -> Result<(), Error> {
    let producer = client.producer(TOPIC).build();
    let mut receipts = Vec::with_capacity(events.len());
    for event in events {
        let key = event.account.clone();
        let event = Event::json(event.change.event_type(), event)?.key(key);
        // Waits for room only, so that many are on their way at once.
        receipts.push(producer.enqueue(event).await?);
    }
    producer.flush().await?;
    for receipt in receipts {
        receipt.await?;
    }
    producer.close().await?;
    Ok(())
}
