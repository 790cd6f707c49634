//! Topics and subscriptions that come and go.

use std::time::Duration;

use tokio::time::sleep;
use towpath_client::{
    Client, Error, ErrorReason, NewSubscription, NewTopic, Record, Start, TopicDeletion,
};

use super::crew::Stop;
use super::latest;
use super::notes::Notes;

const PAUSE: Duration = Duration::from_secs(1);
const PARTITIONS: u32 = 3;
const RECORDS: usize = 20;
const VALUE_BYTES: usize = 500;
/// Of so many rounds one compacts.
const COMPACTED_EACH: u64 = 30;

/// Creates, fills and deletes one after the other until it is told to stop.
///
/// # Errors
/// Something was refused.
pub(super) async fn keep_house(client: Client, notes: Notes, stop: Stop) -> Result<(), Error> {
    let admin = client.admin();
    let mut number = 0_u64;
    while !stop.is_told() {
        sleep(PAUSE).await;
        number += 1;
        let name = format!("passing-{number}");
        let topic = NewTopic::new(&name).partitions(PARTITIONS);
        unless_done(admin.create_topic(topic).await)?;
        let records =
            (0..RECORDS).map(|it| Record::new(vec![b'x'; VALUE_BYTES]).key(it.to_string()));
        unless_done(client.publish(&name, records).await)?;
        let subscription = NewSubscription::new(&name, &name, Start::Beginning);
        unless_done(admin.create_subscription(subscription).await)?;
        unless_done(admin.delete_subscription(&name).await)?;
        unless_done(admin.delete_topic(TopicDeletion::new(&name)).await)?;
        notes.note_other("topics");
        if number.is_multiple_of(COMPACTED_EACH) {
            unless_done(admin.compact_topic(latest::TOPIC).await)?;
        }
    }
    Ok(())
}

/// A call whose answer was lost, or that had happened before, is none to worry about.
fn unless_done<T>(outcome: Result<T, Error>) -> Result<(), Error> {
    let Err(error) = outcome else {
        return Ok(());
    };
    let is_done = matches!(
        error.reason(),
        Some(
            ErrorReason::TopicExists
                | ErrorReason::TopicNotFound
                | ErrorReason::SubscriptionExists
                | ErrorReason::SubscriptionNotFound
        )
    );
    match is_done || error.may_have_happened() {
        true => Ok(()),
        false => Err(error),
    }
}
