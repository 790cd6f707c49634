//! Orders in JSON, as services send them to each other: the same words again and again around numbers that
//! differ.

use serde_json::json;

const CITIES: [&str; 8] = [
    "Amsterdam",
    "Berlin",
    "Cork",
    "Delft",
    "Essen",
    "Ghent",
    "Leeds",
    "Utrecht",
];
const STATUSES: [&str; 4] = ["placed", "paid", "shipped", "returned"];
const WORDS: [&str; 16] = [
    "please", "leave", "the", "parcel", "at", "back", "door", "if", "nobody", "is", "home", "call",
    "before", "noon", "no", "gift",
];

/// What JSON allows before a value.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];
/// As many as a mark has bytes.
const MARK_CHARS: usize = 8;

/// Draws orders.
#[derive(Debug)]
pub(super) struct Orders {
    random: fastrand::Rng,
}

impl Orders {
    pub(super) const fn new(random: fastrand::Rng) -> Self {
        Self { random }
    }

    /// Fills a region with values of one size: one order each, with a note as long as it takes. An order
    /// that is longer than that is cut.
    pub(super) fn fill(&mut self, region: &mut [u8], size: usize) {
        for value in region.chunks_mut(size) {
            let bare = MARK_CHARS + self.order("").len();
            let note = self.note(size.saturating_sub(bare));
            let order = format!("{}{}", self.mark(), self.order(&note));
            // Numbers are as long as they come; blanks are JSON as well.
            value.fill(b' ');
            for (to, from) in value.iter_mut().zip(order.bytes()) {
                *to = from;
            }
        }
    }

    /// Blanks before an order, by which it is known: the first bytes of a value are its mark, and every order
    /// begins alike.
    fn mark(&mut self) -> String {
        let blank = |_| BLANKS[self.random.usize(..BLANKS.len())];
        (0..MARK_CHARS).map(blank).collect()
    }

    fn order(&mut self, note: &str) -> String {
        let random = &mut self.random;
        let (high, low) = (random.u64(..), random.u64(..));
        let order = json!({
            "id": format!("{high:016x}{low:016x}"),
            "customer": format!("customer-{:06}", random.u32(..100_000)),
            "status": STATUSES[random.usize(..STATUSES.len())],
            "placed_at_ms": 1_790_000_000_000_u64 + random.u64(..10_000_000_000),
            "address": {
                "city": CITIES[random.usize(..CITIES.len())],
                "postcode": format!("{:05}", random.u32(..100_000)),
            },
            "items": [{
                "sku": format!("SKU-{:05}", random.u32(..5_000)),
                "quantity": random.u32(1..10),
                "price_cents": random.u32(100..100_000),
            }],
            "note": note,
        });
        order.to_string()
    }

    fn note(&mut self, size: usize) -> String {
        let mut note = String::with_capacity(size + 8);
        while note.len() < size {
            note.push_str(WORDS[self.random.usize(..WORDS.len())]);
            note.push(' ');
        }
        note.truncate(size.saturating_sub(8));
        note
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_json_of_the_size_and_differ() {
        let mut region = vec![0; 3_000];
        Orders::new(fastrand::Rng::with_seed(7)).fill(&mut region, 1_000);
        let values: Vec<serde_json::Value> = region
            .chunks(1_000)
            .map(|value| serde_json::from_slice(value).expect("JSON"))
            .collect();
        assert_ne!(values[0]["id"], values[1]["id"]);
        let mut short = vec![0; 100];
        Orders::new(fastrand::Rng::with_seed(7)).fill(&mut short, 50);
        assert_ne!(short[..8], short[50..58], "marks");
    }
}
