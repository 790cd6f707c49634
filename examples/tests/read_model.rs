//! The read model counts every event once, whatever dies when.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_client::{Client, Drain, GroupConsumer, Start};
use towpath_examples::{
    AccountEvent, Balances, Change, InProcess, TOPIC, caught_up, lag, project, random_events, write,
};

const ACCOUNTS: usize = 40;
const EVENTS: usize = 3_000;
const PATIENCE: Duration = Duration::from_secs(30);

fn consumer(client: &Client, group: &str) -> GroupConsumer {
    let builder = client.group(group).topics([TOPIC]);
    builder.start(Start::Beginning).build()
}

/// The balances by the events alone: cents, whether it is open, how many events.
fn expected(events: &[AccountEvent]) -> Vec<(String, i64, bool, u64)> {
    let mut accounts: BTreeMap<&str, (i64, bool, u64)> = BTreeMap::new();
    for AccountEvent { account, change } in events {
        let (cents, is_open, count) = accounts.entry(account).or_default();
        match change {
            Change::Opened => *is_open = true,
            Change::Deposited { cents: more } => *cents += more,
            Change::Withdrawn { cents: less } => *cents -= less,
            Change::Closed => *is_open = false,
        }
        *count += 1;
    }
    let rows = accounts.into_iter();
    rows.map(|(name, (cents, is_open, count))| (name.to_owned(), cents, is_open, count))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_the_same_after_a_death_and_when_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let InProcess { broker, client } = InProcess::start(&data_dir).await.unwrap();
    let admin = client.admin();
    admin.ensure_topic(TOPIC).await.unwrap();
    let seed = fastrand::u64(..);
    println!("SEED={seed}");
    let events = random_events(seed, ACCOUNTS, EVENTS);
    write(&client, &events).await.unwrap();

    // One that dies after SQLite has a batch and before the broker knows: the batch comes again.
    let mut balances = Balances::open(&folder.path().join("first.db")).unwrap();
    let mut dying = consumer(&client, "balances");
    let batch = dying.next_batch().await.unwrap().unwrap();
    let applied_before = balances.apply(&batch).unwrap();
    assert_eq!(applied_before, u64::from(batch.record_count()));
    drop(dying);
    let behind = lag(&admin, "balances").await.unwrap().unwrap();
    assert_eq!(behind.records, EVENTS as u64, "nothing is committed");

    let mut rebuilt = Balances::open(&folder.path().join("second.db")).unwrap();
    for (group, balances, applied) in [
        ("balances", &mut balances, EVENTS as u64 - applied_before),
        ("rebuilt", &mut rebuilt, EVENTS as u64),
    ] {
        let consumer = consumer(&client, group);
        let stop = consumer.shutdown_handle();
        let supervising = async {
            let done = caught_up(&admin, group, |_| {}).await;
            stop.shutdown(Drain::FinishWithin(PATIENCE));
            done
        };
        let (done, count) = tokio::join!(supervising, project(consumer, balances));
        done.unwrap();
        assert_eq!(count.unwrap(), applied, "events applied by {group}");
    }
    let expected = expected(&events);
    assert_eq!(balances.accounts().unwrap(), expected, "balances");
    assert_eq!(rebuilt.accounts().unwrap(), expected, "made again");
    client.close().await;
    broker.shutdown().await;
}
