//! Programs that write under one name, each of which goes on when the next has come, while the broker is
//! killed again and again.
//!
//! `LIVES` is the number of programs, `SEED` what the moments come from. A program marks in a topic
//! beside that its life has begun: no record of an older one may have a higher LSN than that mark, in
//! no partition.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use towpath_client::{Client, Error, Lsn, PartitionId, Position, Producer, Record};
use towpath_tests::process::BrokerSetup;

use crate::flights::run;
use crate::{number, seed};

const TOPIC: &str = "orders";
const MARKS: &str = "marks";
const PARTITION_COUNT: u32 = 4;
/// Longest that anything waits for the broker; reached only when something hangs.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a broker lives, and how long after a kill the next program comes.
const PAUSE_MS: std::ops::Range<u64> = 0..300;
/// How long a program hesitates that may write: meanwhile no partition knows of it.
const HESITATION: Duration = Duration::from_millis(30);

#[test]
fn a_program_that_was_replaced_writes_nothing_through_any_kill() {
    let (count, seed) = (number("LIVES", 12), seed("lives"));
    let folder = tempfile::tempdir().expect("a folder");
    let setup = BrokerSetup::new(folder.path().join("data"));
    let mut broker = setup.start();
    run(&setup, &["topic", "create", TOPIC, "--partitions", "4"]);
    run(&setup, &["topic", "create", MARKS, "--partitions", "1"]);
    let mut random = Rng::with_seed(seed);
    let runtime = Runtime::new().expect("a runtime");
    let mut programs = Vec::new();
    for life in 0..count {
        let url = setup.url();
        let beginning = runtime.spawn(Program::begin(life, url));
        let pause = |random: &mut Rng| {
            let pause = Duration::from_millis(random.u64(PAUSE_MS));
            runtime.block_on(async { tokio::time::sleep(pause).await });
        };
        pause(&mut random);
        drop(broker.kill());
        broker = setup.start();
        let program = runtime.block_on(beginning).expect("it begins");
        programs.push(program);
        pause(&mut random);
    }
    // Those that have written nothing since do not know yet.
    runtime.block_on(check(&setup.url(), programs, seed));
    drop(broker.kill());
}

/// A program at work.
struct Program {
    mark: Lsn,
    working: JoinHandle<Work>,
    producer: Producer,
}

/// What came of it.
struct Work {
    /// Number of the record by position.
    acknowledged: Vec<(Position, u64)>,
    end: Error,
}

impl Program {
    /// Begins a life, marks that, and works until it is told to stop.
    async fn begin(life: u64, url: String) -> Self {
        let client = Client::builder().url(url).give_up_after(PATIENCE);
        let client = client.build().expect("a client");
        let producer = client.producer(TOPIC).name("relay").build();
        producer.ready().await.expect("a life begins");
        let marks = client.producer(MARKS).build();
        let mark = marks
            .send(Record::new(life.to_string()))
            .await
            .expect("a mark")
            .lsn;
        tokio::time::sleep(HESITATION).await;
        let working = tokio::spawn(work(life, producer.clone()));
        Self {
            mark,
            working,
            producer,
        }
    }
}

async fn work(life: u64, producer: Producer) -> Work {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let partition = PartitionId::new(u32::try_from(number).expect("few") % PARTITION_COUNT);
        let record = Record::new(format!("{life} {number}")).partition(partition);
        match producer.send(record).await {
            Ok(position) => acknowledged.push((position, number)),
            Err(refused) => {
                let end = refused.into_parts().1;
                return Work { acknowledged, end };
            }
        }
    }
    unreachable!("it writes until it is refused")
}

async fn check(url: &str, programs: Vec<Program>, seed: u64) {
    let marks: Vec<_> = programs.iter().map(|program| program.mark).collect();
    let mut expected = BTreeMap::new();
    let last = programs.len() - 1;
    for (life, program) in programs.into_iter().enumerate() {
        if life == last {
            program.producer.close().await.expect("all is on disk");
        }
        let work = program.working.await.expect("it ends");
        assert_eq!(
            work.end.is_fenced(),
            life != last,
            "SEED={seed}: life {life} ended with {}",
            work.end
        );
        expected.extend(
            work.acknowledged
                .into_iter()
                .map(|(position, number)| (format!("{life} {number}"), position)),
        );
    }
    let found = read(url).await;
    println!("{} lives wrote {} records", marks.len(), found.len());
    for (text, position) in &expected {
        let is_there = found.get(text) == Some(&(position.partition, position.lsn));
        assert!(is_there, "SEED={seed}: {text} is not at {position:?}");
    }
    for (text, (_, lsn)) in &found {
        let life: usize = text.split(' ').next().expect("a life").parse().expect(text);
        let next = marks.get(life + 1);
        let is_in_time = next.is_none_or(|mark| lsn < mark);
        assert!(is_in_time, "SEED={seed}: {text} came behind the next life");
    }
}

/// Everything that is there, none of it twice.
async fn read(url: &str) -> BTreeMap<String, (PartitionId, Lsn)> {
    let client = Client::connect(url).expect("a client");
    let mut reader = client.reader([TOPIC]).build();
    let mut found = BTreeMap::new();
    while let Some(record) = reader.next_record().await.expect("it is read") {
        let text = record.value_str().expect("text").to_owned();
        let place = (record.partition(), record.lsn());
        assert_eq!(found.insert(text, place), None, "it is there twice");
    }
    found
}
