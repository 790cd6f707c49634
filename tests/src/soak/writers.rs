//! Producers, each life of which has keys of its own.

use std::time::Duration;

use super::crew::Stop;
use fastrand::Rng;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use towpath_client::{Client, Compression, Error, Producer, Receipt, Record};

use super::notes::{Key, Lane, Notes};

/// Keys of each life of a producer.
const KEY_COUNT: usize = 16;
const TICK: Duration = Duration::from_millis(20);
const TICKS_PER_SECOND: u64 = 50;
/// Longer than the broker is ever away.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_mins(10);
const VALUE_BYTES: std::ops::Range<usize> = 20..1_000;
/// Receipts that wait to be looked at.
const UNANSWERED_MAX: usize = 4_096;
/// Of so many events in a lane with a dedupe window one is sent twice.
const REPEATED_EACH: u64 = 50;

/// A record on its way.
struct Sent {
    key: Key,
    number: u64,
    is_repeated: bool,
    receipt: Receipt,
}

/// A life of the producer of a lane writes at a rate until it is told to stop; then all is on disk.
///
/// # Errors
/// A record was refused or given up.
pub(super) async fn write(
    client: Client,
    (lane, life): (Lane, u64),
    rate: u64,
    notes: Notes,
    stop: Stop,
) -> Result<(), Error> {
    let producer = client.producer(lane.topic()).give_up_after(GIVE_UP_AFTER);
    let producer = match lane {
        Lane::Plain => producer,
        Lane::Lz4 => producer.compression(Compression::Lz4),
        Lane::Zstd => producer.compression(Compression::Zstd { level: 3 }),
    };
    let producer = producer.build();
    let (queue, mut sent) = mpsc::channel(UNANSWERED_MAX);
    let sending = async {
        let outcome = send(&producer, (lane, life), rate, &notes, queue, &stop).await;
        producer.close().await?;
        outcome
    };
    let hearing = async {
        while let Some(Sent {
            key,
            number,
            is_repeated,
            receipt,
        }) = sent.recv().await
        {
            let position = receipt.await?;
            match is_repeated {
                true if !position.is_repeated => {
                    notes.complain(format_args!("{number} of {key} was written twice"));
                }
                true => notes.note_other("left out"),
                false => notes.note_acked(key, number),
            }
        }
        Ok(())
    };
    tokio::try_join!(sending, hearing).map(|((), ())| ())
}

async fn send(
    producer: &Producer,
    (lane, life): (Lane, u64),
    rate: u64,
    notes: &Notes,
    queue: mpsc::Sender<Sent>,
    stop: &Stop,
) -> Result<(), Error> {
    let mut random = Rng::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut numbers = [0_u64; KEY_COUNT];
    let each_tick = (rate / TICKS_PER_SECOND).max(1);
    while !stop.is_told() {
        ticks.tick().await;
        if notes.is_far_behind(lane) {
            continue;
        }
        for _ in 0..each_tick {
            let place = random.usize(..numbers.len());
            let number = numbers[place];
            numbers[place] += 1;
            let key = Key {
                lane,
                life,
                number: place as u64,
            };
            notes.note_sent(key, number);
            let record = record(key, number, &mut random);
            let is_sent_twice = lane == Lane::Lz4 && random.u64(..REPEATED_EACH) == 0;
            let copies = if is_sent_twice { 2 } else { 1 };
            for copy in 0..copies {
                let receipt = producer.enqueue(record.clone()).await;
                let receipt = receipt.map_err(|error| error.into_parts().1)?;
                let sent = Sent {
                    key,
                    number,
                    is_repeated: copy > 0,
                    receipt,
                };
                if queue.send(sent).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn record(key: Key, number: u64, random: &mut Rng) -> Record {
    let noise = "noise ".repeat(random.usize(VALUE_BYTES) / 6);
    let record = Record::new(format!("{number} {noise}")).key(key.to_string());
    record.event("soak", format!("{key}/{number}"))
}
