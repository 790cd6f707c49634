//! Whether a subscription has anything left to hand out now.

use std::time::Duration;

use tokio::time::Instant;
use towpath_client::{Admin, Subscriber, SubscriptionName};

use super::rest::Rest;
use crate::commands::consume::until::at;
use crate::output::Output;

/// After this long without a record the broker is asked whether there are more; then more and more rarely.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// Longest time between two looks.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// So many looks have to find others with records before the user is told: most of them are quick.
const LOOKS_OTHERS: u32 = 4;

/// Looks at a subscription from time to time, on behalf of one of its consumers.
#[derive(Debug)]
pub(in crate::commands::consume) struct Lookout {
    admin: Admin,
    name: SubscriptionName,
    consumer_id: String,
    due: Instant,
    interval: Duration,
    /// What was found last, and how often since the last record.
    found: Option<(Rest, u32)>,
    output: Output,
    /// Whether the user knows that others are waited for.
    is_told: bool,
}

impl Lookout {
    pub(in crate::commands::consume) fn new(
        admin: Admin,
        name: &SubscriptionName,
        subscriber: &Subscriber,
        output: &Output,
    ) -> Self {
        Self {
            admin,
            name: name.clone(),
            consumer_id: subscriber.consumer_id(),
            due: Instant::now() + FIRST_LOOK,
            interval: FIRST_LOOK,
            found: None,
            output: output.clone(),
            is_told: false,
        }
    }

    /// A record came: there is no need to ask.
    pub(in crate::commands::consume) fn put_off(&mut self) {
        self.interval = FIRST_LOOK;
        self.due = Instant::now() + FIRST_LOOK;
        self.found = None;
    }

    /// Waits until nothing is left to be handed out now, while this consumer keeps `held` records that it
    /// does not settle. Safe to drop.
    pub(in crate::commands::consume) async fn nothing_left(&mut self, held: u64) -> Rest {
        loop {
            at(Some(self.due)).await;
            let found = self.admin.subscription(self.name.as_str()).await;
            self.interval = (self.interval * 2).min(LOOK_INTERVAL_MAX);
            self.due = Instant::now() + self.interval;
            // While the broker does not answer, nobody knows; the consumer hears of what is for good.
            let Ok(found) = found else { continue };
            let rest = Rest::of(&found, &self.consumer_id);
            let looks = match self.found.take() {
                Some((before, looks)) if before == rest => looks + 1,
                _ => 1,
            };
            if rest
                .looks_needed(held)
                .is_some_and(|needed| looks >= needed)
            {
                return rest;
            }
            if looks >= LOOKS_OTHERS && rest.is_with_others() && !self.is_told {
                self.is_told = true;
                rest.tell_of_others(&self.output);
            }
            self.found = Some((rest, looks));
        }
    }
}
