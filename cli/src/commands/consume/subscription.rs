//! `towpath consume --subscription`: what a subscription hands out, printed or given to a command.

mod lookout;
mod printing;
mod rest;

use tokio::time::Instant;
use towpath_client::{Client, SubscriberBuilder, Subscription, SubscriptionMode, SubscriptionName};

use super::exec;
use super::until::Until;
use super::{Outcome, Session};
use crate::args::{AckWhen, ConsumeArgs};
use crate::failure::Failure;
use crate::output::Output;

pub(super) use lookout::Lookout;
use printing::Printing;
pub(super) use rest::Rest;

/// So many records are taken ahead, unless fewer are asked for.
const IN_FLIGHT_RECORDS: u64 = 1_000;
/// The same where nothing is acked.
const UNACKED_RECORDS: u64 = 65_536;

/// Prints or handles what the subscription hands out.
pub(super) async fn run(
    name: &SubscriptionName,
    args: &ConsumeArgs,
    client: &Client,
    deadline: Option<Instant>,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    // Consumers wait for a broker as long as it takes; a command does not.
    let admin = client.admin();
    let found = session
        .until_interrupted(async { Ok(admin.subscription(name.as_str()).await?) })
        .await?;
    tell_of_obstacles(&found, session.output);
    let until = Until {
        count: args.count,
        deadline,
        interrupt: &session.interrupt,
    };
    let builder = client.subscriber(name.as_str());
    if let Some(command) = args.subscription.exec() {
        let ends_at_end = args.end.then_some(admin);
        return exec::run(name, command, builder, until, ends_at_end, session).await;
    }
    let ack = args.subscription.ack;
    let subscriber = ahead(builder, in_flight(ack), args.count).build();
    let lookout = args
        .end
        .then(|| Lookout::new(admin, name, &subscriber, session.output));
    let printing = Printing::new(subscriber, ack, lookout, session.output, until);
    printing.run().await
}

/// How many records a consumer may have that are not acked.
const fn in_flight(ack: AckWhen) -> u64 {
    match ack {
        AckWhen::OnPrint => IN_FLIGHT_RECORDS,
        AckWhen::Never => UNACKED_RECORDS,
    }
}

/// What others could handle is not taken from them without need.
pub(super) fn ahead(
    builder: SubscriberBuilder,
    records: u64,
    count: Option<u64>,
) -> SubscriberBuilder {
    builder.max_in_flight(records.min(count.unwrap_or(u64::MAX)).max(1))
}

/// Tells why nothing may come although there is something.
fn tell_of_obstacles(found: &Subscription, output: &Output) {
    let name = &found.name;
    if found.is_paused {
        output.note(format_args!(
            "subscription {name} is paused: nothing is handed out until: towpath subscription \
             resume {name}"
        ));
    }
    let is_taken = found.consumers.iter().any(|it| it.is_active);
    if found.config.mode == SubscriptionMode::Exclusive && is_taken {
        output.note(format_args!(
            "another consumer has the exclusive subscription {name}; this one takes over when it goes"
        ));
    }
}
