//! Whether a subscription has anything left to hand out now.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use towpath_client::{Admin, CaughtUpWatch, Subscriber, SubscriptionCaughtUp, SubscriptionName};

use super::rest::Rest;
use crate::commands::consume::until::at;
use crate::output::{Output, count_of};

/// So long others may have records before the user is told: most of them are quick.
const OTHERS_PATIENCE: Duration = Duration::from_millis(750);
/// How long the broker is left alone when it did not say what is left.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Waits for the end of a subscription, on behalf of one of its consumers.
#[derive(Debug)]
pub(in crate::commands::consume) struct Lookout {
    admin: Admin,
    name: SubscriptionName,
    watch: CaughtUpWatch,
    /// What was told last, and when, unless a record came since.
    told: Option<(SubscriptionCaughtUp, Instant)>,
    consumer_id: String,
    output: Output,
    /// Whether the user knows that others are waited for.
    knows_of_others: bool,
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
            watch: subscriber.caught_up_watch(),
            told: None,
            consumer_id: subscriber.consumer_id(),
            output: output.clone(),
            knows_of_others: false,
        }
    }

    /// A record came: what was told before is over.
    pub(in crate::commands::consume) fn put_off(&mut self) {
        self.told = None;
    }

    /// Waits until nothing is left to be handed out now, while this consumer keeps `held` records that it
    /// does not settle. Safe to drop.
    pub(in crate::commands::consume) async fn nothing_left(&mut self, held: u64) -> Rest {
        while !self.told.as_ref().is_some_and(|(it, _)| is_end(it, held)) {
            let others = self.told.as_ref().filter(|_| !self.knows_of_others);
            let others = others.filter(|(it, _)| it.elsewhere_in_flight_records > 0);
            let patience = others.map(|(_, since)| *since + OTHERS_PATIENCE);
            tokio::select! {
                told = self.watch.next() => match told {
                    Some(told) => {
                        let since = self.told.as_ref().map_or_else(Instant::now, |(_, since)| *since);
                        self.told = Some((told, since));
                    }
                    // The subscriber has ended, which its stream tells.
                    None => std::future::pending().await,
                },
                () = at(patience) => self.tell_of_others(),
            }
        }
        self.rest().await
    }

    /// What is left.
    pub(in crate::commands::consume) async fn rest(&self) -> Rest {
        loop {
            match self.admin.subscription(self.name.as_str()).await {
                Ok(found) => return Rest::of(&found, &self.consumer_id),
                // The consumer hears of what is for good.
                Err(_) => sleep(ASK_AGAIN).await,
            }
        }
    }

    fn tell_of_others(&mut self) {
        self.knows_of_others = true;
        let Some((told, _)) = &self.told else {
            return;
        };
        let name = &self.name;
        let records = count_of(told.elsewhere_in_flight_records, "record");
        self.output.note(format_args!(
            "other consumers of subscription {name} have {records}; this one ends when they are \
             settled, or takes them when they are given back"
        ));
    }
}

/// Whether nothing can come any more by itself but what waits for its time: nobody has a record that he could
/// give back.
const fn is_end(told: &SubscriptionCaughtUp, held: u64) -> bool {
    // What this consumer has settled counts until the broker has heard of it.
    let is_known = told.in_flight_records <= held;
    is_known && (told.is_paused || told.elsewhere_in_flight_records == 0)
}
