//! Batches as producers send them.

use bytes::{Bytes, BytesMut};
use towpath_proto::batch::NewRecord;

/// What the records of a batch are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// For people, and to be named on the command line.
    pub name: &'static str,
    /// Records of a batch.
    pub record_count: u32,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Whether each record has a key, of about eight bytes.
    pub has_keys: bool,
}

/// Those that are measured. Each is about 128 KiB, as the SDK sends them.
pub const SHAPES: [Shape; 3] = [
    Shape {
        name: "1KiBx128",
        record_count: 128,
        value_bytes: 1024,
        has_keys: false,
    },
    Shape {
        name: "100Bx1000",
        record_count: 1000,
        value_bytes: 100,
        has_keys: false,
    },
    Shape {
        name: "100Bx1000-keys",
        record_count: 1000,
        value_bytes: 100,
        has_keys: true,
    },
];

impl Shape {
    /// The shape of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SHAPES.iter().find(|shape| shape.name == name)
    }

    /// Keys and values of a batch: JSON, so that what compresses them finds something. The same each time.
    pub fn records(&self) -> Vec<(Option<Bytes>, Bytes)> {
        let mut random = fastrand::Rng::with_seed(self.value_bytes as u64);
        let numbers = 0..self.record_count;
        numbers
            .map(|number| {
                let key = { self.has_keys }.then(|| format!("key-{number:04}").into());
                (key, self.value(number, &mut random))
            })
            .collect()
    }

    fn value(&self, number: u32, random: &mut fastrand::Rng) -> Bytes {
        let mut value = format!("{{\"order\":{number},\"lines\":[");
        while value.len() < self.value_bytes {
            let (item, total) = (random.u32(..), random.u16(..));
            let line = format!("{{\"item\":\"{item:08x}\",\"total\":{total}}},");
            value.push_str(&line);
        }
        value.truncate(self.value_bytes);
        value.into()
    }

    /// An encoded batch.
    pub fn batch(&self) -> Bytes {
        let mut batch = BytesMut::new();
        put_all(&self.records(), &mut batch);
        batch.freeze()
    }
}

/// Encodes records into a batch, one after the other.
pub(super) fn put_all(records: &[(Option<Bytes>, Bytes)], batch: &mut BytesMut) {
    for (key, value) in records {
        let record = NewRecord {
            key: key.as_deref(),
            value: Some(value),
            headers: std::iter::empty(),
            event_time_ms: None,
        };
        record.put(batch);
    }
}
