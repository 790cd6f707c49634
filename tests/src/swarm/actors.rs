//! Producers and readers.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use prost::Message as _;
use towpath_proto::compression::{Codec, Compression, compress};
use towpath_proto::v1;
use towpath_storage::{Offset, ProducerId, ReadCursor};

use crate::history::{Item, Place};

/// A batch that was sent and not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Unanswered {
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
    /// How the payload is compressed, if it is.
    pub(super) codec: Option<Codec>,
    pub(super) record_count: u32,
}

/// What a producer has under way in one partition.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) next_sequence: u64,
    pub(super) unanswered: VecDeque<Unanswered>,
}

/// An idempotent producer, as the SDK's is: it sends again what was not answered, in order.
#[derive(Debug)]
pub(super) struct Producer {
    pub(super) number: u64,
    pub(super) lanes: BTreeMap<Place, Lane>,
    /// How many keys its records have; 0 if what it sends are no records.
    key_count: u64,
}

impl Producer {
    pub(super) fn new(number: u64, key_count: u64) -> Self {
        Self {
            number,
            lanes: BTreeMap::new(),
            key_count,
        }
    }

    pub(super) fn id(&self) -> ProducerId {
        producer_id(self.number)
    }

    /// Makes the next batch for a partition.
    pub(super) fn next(&mut self, place: Place, random: &mut Rng) -> Unanswered {
        let lane = self.lanes.entry(place).or_default();
        let sequence = lane.next_sequence;
        lane.next_sequence += 1;
        let item = Item {
            producer: self.number,
            place,
            sequence,
        };
        let length = payload_bytes(random);
        let payload = payload(item, length);
        let record_count = random.u32(1..5);
        let compression = match random.u8(..8) {
            0 => Some(Compression::Lz4),
            1 => Some(Compression::Zstd { level: 1 }),
            _ => None,
        };
        let payload = match compression {
            // Noise alone does not become smaller.
            Some(_) => [&payload[..], &vec![0; length]].concat().into(),
            None => payload,
        };
        let plain = match self.key_count {
            0 => payload,
            _ => records(&payload, record_count, self.key_count, random),
        };
        let compressed = compression.and_then(|it| Some((compress(&plain, it)?, it.codec())));
        let (payload, codec) = match compressed {
            Some((payload, codec)) => (payload, Some(codec)),
            None => (plain, None),
        };
        let batch = Unanswered {
            sequence,
            payload,
            codec,
            record_count,
        };
        lane.unanswered.push_back(batch.clone());
        batch
    }
}

pub(super) fn producer_id(number: u64) -> ProducerId {
    let mut bytes = [1; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    ProducerId::new(bytes)
}

/// Sizes of batches as they occur.
pub(super) fn payload_bytes(random: &mut Rng) -> usize {
    match random.u8(..10) {
        0 => random.usize(8_000..20_000),
        1..4 => random.usize(500..5_000),
        _ => random.usize(16..200),
    }
}

/// Bytes that name the item, then noise.
pub(super) fn payload(item: Item, length: usize) -> Bytes {
    let numbers = [
        item.producer,
        item.place.topic,
        u64::from(item.place.partition),
        item.sequence,
    ];
    let mut bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let mut random = Rng::with_seed(digest(&bytes));
    let start = bytes.len();
    bytes.resize(start + length, 0);
    random.fill(&mut bytes[start..]);
    bytes.into()
}

/// Records with keys; the first has these bytes.
fn records(bytes: &Bytes, count: u32, key_count: u64, random: &mut Rng) -> Bytes {
    let records = (0..count).map(|place| v1::Record {
        key: (random.u8(..10) != 0).then(|| {
            let key = random.u64(..key_count);
            Bytes::copy_from_slice(&key.to_le_bytes())
        }),
        value: (place == 0).then(|| bytes.clone()),
        ..v1::Record::default()
    });
    let records = records.collect();
    v1::RecordBatch { records }.encode_to_vec().into()
}

/// FNV-1a over words of eight bytes: a run spends its time with the broker, not here.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let rest = rest.iter().map(|byte| u64::from(*byte));
    words.chain(rest).fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29)
    })
}

/// Follows one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    pub(super) number: u64,
    pub(super) place: Place,
    pub(super) offset: Offset,
    pub(super) cursor: Option<ReadCursor>,
}
