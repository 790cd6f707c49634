//! Money is neither made nor lost, however many move it at once, ask for the same transfer, and lose their
//! broker meanwhile.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use towpath_client::{Client, KeyItem};
use towpath_examples::event_sourced::{Account, Entry, LEDGER_TOPIC, Ledger, Outcome};
use towpath_tests::process::BrokerSetup;

const ACCOUNTS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const CENTS_EACH: i64 = 1_000;
const TRANSFERS: usize = 60;
const WORKERS: usize = 6;
/// So often the broker is killed.
const KILLS: u32 = 2;
const PATIENCE: Duration = Duration::from_mins(5);

/// From where, to where, how much; its place is its id.
type Transfer = (&'static str, &'static str, i64);

fn client(setup: &BrokerSetup) -> Client {
    let client = Client::builder().url(setup.url()).give_up_after(PATIENCE);
    client.build().unwrap()
}

fn transfers(seed: u64) -> Vec<Transfer> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut transfers = Vec::new();
    while transfers.len() < TRANSFERS {
        let [from, to] = [(); 2].map(|()| ACCOUNTS[random.usize(..ACCOUNTS.len())]);
        transfers.push((from, to, random.i64(1..600)));
    }
    transfers
}

/// Every transfer is asked for by two workers.
async fn work(worker: usize, setup_client: Client, transfers: Vec<Transfer>) -> Vec<Outcome> {
    let ledger = Ledger::open(&setup_client).await.unwrap();
    let mut outcomes = Vec::new();
    for (number, (from, to, cents)) in transfers.into_iter().enumerate() {
        let is_mine = number % WORKERS == worker || (number + 1) % WORKERS == worker;
        let outcome = match is_mine {
            true => ledger
                .transfer(&number.to_string(), (from, to), cents)
                .await
                .unwrap(),
            false => Outcome::Refused,
        };
        outcomes.push(outcome);
    }
    outcomes
}

/// The events of all accounts, each once: cents by transfer and account.
async fn posted(client: &Client) -> BTreeMap<(String, String), i64> {
    let mut reader = client.reader([LEDGER_TOPIC]).build();
    let mut posted = BTreeMap::new();
    while let Some(record) = reader.next_record().await.unwrap() {
        let id = record.ce_id().unwrap();
        let (transfer, account) = id.split_once('/').unwrap();
        assert_eq!(record.key_str(), Some(account), "{id}");
        let Entry { cents } = record.json().unwrap();
        let place = (transfer.to_owned(), account.to_owned());
        assert_eq!(posted.insert(place, cents), None, "{id} is there twice");
    }
    posted
}

/// An account by its events alone; it has never less than nothing.
async fn replayed(client: &Client, name: &'static str) -> Account {
    let mut account = Account::default();
    let mut history = client.read_key(LEDGER_TOPIC, name).build();
    while let Some(item) = history.next_item().await {
        let KeyItem::Record(it) = item.unwrap() else {
            panic!("a gap");
        };
        account.apply(it.version, &it.record).unwrap();
        assert!(account.cents() >= 0, "{name} at {}", it.version);
    }
    account
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_neither_made_nor_lost() {
    let folder = tempfile::tempdir().unwrap();
    let setup = BrokerSetup::new(folder.path().join("data"));
    let mut broker = setup.start();
    let seed = fastrand::u64(..);
    println!("SEED={seed}");
    let transfers = transfers(seed);
    let ledger = Ledger::open(&client(&setup)).await.unwrap();
    for name in ACCOUNTS {
        let opened = ledger.deposit("opening", name, CENTS_EACH).await.unwrap();
        assert_eq!(opened, Outcome::Done, "{name}");
        let again = ledger.deposit("opening", name, CENTS_EACH).await.unwrap();
        assert_eq!(again, Outcome::DoneBefore, "{name}");
    }
    let mut working = JoinSet::new();
    for worker in 0..WORKERS {
        working.spawn(work(worker, client(&setup), transfers.clone()));
    }
    for _ in 0..KILLS {
        sleep(Duration::from_millis(300)).await;
        drop(broker.kill());
        broker = setup.start();
    }
    let outcomes = timeout(PATIENCE, working.join_all()).await.unwrap();
    let client = client(&setup);
    let posted = posted(&client).await;
    for (number, (from, to, cents)) in transfers.iter().enumerate() {
        let of_it = || outcomes.iter().map(|it| it[number]);
        let done = of_it().filter(|it| *it == Outcome::Done).count();
        assert!(done <= 1, "transfer {number} was done {done} times");
        let is_done = of_it().any(|it| it != Outcome::Refused);
        let side = |name: &str| posted.get(&(number.to_string(), name.to_owned())).copied();
        let expected = is_done.then_some((-cents, *cents));
        assert_eq!(side(from).zip(side(to)), expected, "transfer {number}");
    }
    let mut total = 0;
    for name in ACCOUNTS {
        let account = replayed(&client, name).await;
        assert_eq!(
            ledger.account(name).await.unwrap(),
            account,
            "by its snapshot"
        );
        total += account.cents();
    }
    assert_eq!(total, CENTS_EACH * 4, "neither made nor lost");
    drop(broker.kill());
}
