//! Records that cannot be read on their way to the dead letters.

use super::*;

impl Bench {
    /// Moves what is on its way to the dead letters, but for what cannot be read and what is behind it.
    fn bury_without(&mut self, unreadable: &[u64]) {
        for wish in std::mem::take(&mut self.burials) {
            let mut keys = BTreeSet::new();
            let (left, made): (Vec<_>, Vec<_>) = wish.records.iter().cloned().partition(|it| {
                if unreadable.contains(&it.offset.get()) {
                    keys.insert(it.key);
                }
                keys.contains(&it.key)
            });
            let part = |records| BurialWish {
                records,
                ..wish.clone()
            };
            if !left.is_empty() {
                let failure = BurialFailure::Unreadable("damaged".to_owned());
                let (id, now_ms) = (self.id, self.now_ms);
                self.state.burial_failed(id, &part(left), failure, now_ms);
            }
            if !made.is_empty() {
                self.bury_now(&part(made));
            }
        }
        self.subscription().audit();
        self.step();
    }

    fn dead_letter_problem(&self) -> Option<String> {
        self.subscription().summary().dead_letter_problem
    }
}

#[test]
fn a_record_that_cannot_be_read_keeps_only_its_key_from_the_dead_letters() {
    let mut bench = Bench::new(config(Mode::KeyShared), 1);
    bench.append(0, &[1, 2, 2, 3]);
    bench.connect(1, 100);
    for place in bench.held() {
        bench.say(place, dead());
    }
    let others = bench.burials.len();
    bench.bury_without(&[1]);
    assert_eq!(bench.letters[0], [0, 3], "of {others} wishes");
    assert_eq!(bench.dead_letter_problem().as_deref(), Some("damaged"));
    bench.append(0, &[1, 2]);
    bench.step();
    bench.bury_without(&[4]);
    assert_eq!(bench.letters[0], [0, 3], "now one that is parked");
    bench.pass(60_000);
    bench.bury_without(&[1]);
    bench.pass(60_000);
    for _ in 0..4 {
        bench.bury(true);
    }
    assert_eq!(
        bench.letters[0],
        [0, 3, 4, 1, 2, 5],
        "tried again in the end"
    );
    assert_eq!(bench.dead_letter_problem(), None);
}

#[test]
fn each_record_that_cannot_be_read_is_tried_again_in_its_own_time() {
    let mut bench = Bench::new(config(Mode::KeyShared), 2);
    bench.append(0, &[1, 2]);
    bench.append(1, &[3]);
    bench.connect(1, 100);
    for (place, ms) in [((0, 0), 20_000), ((0, 1), 20_000), ((1, 0), 19_999)] {
        bench.say(place, dead());
        bench.bury_without(&[0, 1]);
        bench.pass(ms);
    }
    assert_eq!(
        bench.burials,
        [],
        "a minute less a millisecond after the first"
    );
    let tried = |bench: &mut Bench, ms| {
        bench.pass(ms);
        let wishes = bench.burials.iter();
        let records = wishes.flat_map(|wish| wish.records.iter().map(|it| (wish.partition, it)));
        let places: Vec<_> = records
            .map(|(number, it)| (number, it.offset.get()))
            .collect();
        bench.bury(true);
        places
    };
    assert_eq!(tried(&mut bench, 1), [(0, 0)]);
    assert_eq!(bench.dead_letter_problem().as_deref(), Some("damaged"));
    assert_eq!(tried(&mut bench, 19_999), []);
    assert_eq!(tried(&mut bench, 1), [(0, 1)]);
    assert_eq!(tried(&mut bench, 20_000), [(1, 0)]);
    assert_eq!(bench.dead_letter_problem(), None);
    assert_eq!(bench.letters, [vec![0, 1], vec![0]]);
}

#[test]
fn without_order_a_record_that_cannot_be_read_is_tried_again_too() {
    let mut bench = Bench::new(config(Mode::Shared), 1);
    bench.append(0, &[1]);
    bench.connect(1, 1);
    bench.say((0, 0), dead());
    bench.bury_without(&[0]);
    bench.pass(59_999);
    bench.bury(true);
    assert_eq!(bench.letters[0].len(), 0);
    bench.pass(1);
    bench.bury(true);
    assert_eq!(bench.letters[0], [0]);
}

#[test]
fn of_many_records_that_cannot_be_read_each_is_looked_at_once_a_minute() {
    const COUNT: u64 = 1_000;
    for mode in [Mode::KeyShared, Mode::Shared] {
        let mut bench = Bench::new(config(mode), 1);
        bench.append(0, &(0..COUNT).collect::<Vec<_>>());
        bench.connect(1, COUNT);
        for offset in 0..COUNT {
            bench.say((0, offset), dead());
        }
        // Of ten one can be read.
        let unreadable: Vec<_> = (0..COUNT).filter(|it| it % 10 != 0).collect();
        let mut looked_at = Vec::new();
        while !bench.burials.is_empty() {
            let records = bench.burials.iter().flat_map(|it| &it.records);
            looked_at.extend(records.map(|it| it.offset.get()));
            bench.bury_without(&unreadable);
        }
        looked_at.sort_unstable();
        assert_eq!(looked_at, (0..COUNT).collect::<Vec<_>>(), "{mode:?}");
        assert_eq!(bench.letters[0].len() as u64, COUNT / 10);
    }
}
