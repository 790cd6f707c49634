//! Members of a group, consumers of a subscription, and workers that commit.

use std::convert::Infallible;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;
use towpath_client::{
    Admin, ByKey, Client, DeliveredRecord, Error, Record, RedriveDeadLetters, Start,
};

use super::notes::{Key, Lane, Notes, Observer};
use super::readers::RESULTS;
use super::writers::GIVE_UP_AFTER;

const GROUP: &str = "members";
/// Whose failures are tried again, and die.
pub(super) const SUBSCRIPTION: &str = "consumers";
/// What is made of each record lies in [`RESULTS`].
pub(super) const WORKERS: &str = "workers";
/// Attempts until a record of [`SUBSCRIPTION`] dies.
pub(super) const ATTEMPTS_MAX: u32 = 3;
/// Of so many records one fails at first, and of so many of one key one fails until it is dead.
const FAILING_EACH: u64 = 100;
const DYING_EACH: u64 = 50;
const DYING_KEY: u64 = 0;
/// Of so many commits of a member one is awaited.
const AWAITED_EACH: u64 = 16;
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// Keys that one worker handles side by side.
const PARALLEL: usize = 8;
const REDRIVE_PAUSE: Duration = Duration::from_secs(5);

/// Handles what a member of a group gets, until it is dropped.
///
/// # Errors
/// It cannot go on.
pub(super) async fn be_member(client: Client, notes: Notes) -> Result<(), Error> {
    let group = client.group(GROUP).topics(Lane::ALL.map(Lane::topic));
    let group = group.start(Start::Beginning).give_up_after(GIVE_UP_AFTER);
    let mut consumer = group.build();
    let mut batch_count = 0_u64;
    while let Some(batch) = consumer.next_batch().await? {
        for record in batch.records() {
            notes.see_again(Observer::Group, &record);
        }
        // It is under way without being awaited. If it fails, they come again, here or elsewhere.
        let committed = consumer.commit(&batch);
        batch_count += 1;
        if batch_count.is_multiple_of(AWAITED_EACH) && committed.await.is_err() {
            notes.note_other("stale commits");
        }
    }
    Ok(())
}

/// Handles what a consumer of a subscription gets, now and then in vain, until it is dropped.
///
/// # Errors
/// It cannot go on.
pub(super) async fn consume(client: Client, notes: Notes) -> Result<(), Error> {
    let mut random = Rng::new();
    let subscriber = client.subscriber(SUBSCRIPTION).give_up_after(GIVE_UP_AFTER);
    let mut subscriber = subscriber.build();
    while let Some(delivery) = subscriber.next_delivery().await? {
        let is_deadly = is_deadly(&delivery) && !delivery.is_redriven();
        if is_deadly || random.u64(..FAILING_EACH) == 0 && !delivery.is_redriven() {
            notes.note_other("failures");
            delivery.nack(Some(RETRY_AFTER), "it fails now and then");
            continue;
        }
        if delivery.is_redriven() {
            notes.note_other("redriven");
        }
        notes.see_again(Observer::Subscription, &delivery);
        delivery.ack();
    }
    Ok(())
}

fn is_deadly(delivery: &DeliveredRecord) -> bool {
    Key::of(delivery).is_some_and(|(key, number)| {
        key.number == DYING_KEY && number % DYING_EACH == DYING_EACH - 1
    })
}

/// Makes something of each record with one commit, until it is dropped.
///
/// # Errors
/// It cannot go on.
pub(super) async fn work(client: Client) -> Result<(), Error> {
    let subscriber = client.subscriber(WORKERS).give_up_after(GIVE_UP_AFTER);
    let subscriber = subscriber.build();
    let work = subscriber.for_each_commit(ByKey(PARALLEL), async |record, commit| {
        let result = Record::new(record.value_bytes().unwrap_or_default());
        let result = result.key(record.key_bytes().unwrap_or_default());
        Ok::<_, Infallible>(commit.append(RESULTS, result))
    });
    Box::pin(work).await
}

/// Gives dead letters back, again and again.
///
/// # Errors
/// It cannot go on.
pub(super) async fn redrive(admin: Admin) -> Result<(), Error> {
    loop {
        sleep(REDRIVE_PAUSE).await;
        let job = admin.redrive(RedriveDeadLetters::new(SUBSCRIPTION));
        job.finish().await?;
    }
}
