//! What comes of answers, by rules and against every way in which a stream may break.

use super::*;
use crate::testing::for_seeds;

/// A key with so many records, of which those below a version are trimmed.
#[derive(Clone, Copy)]
struct Key {
    current: u64,
    first_kept: u64,
}

fn topic() -> TopicName {
    TopicName::new("accounts").unwrap()
}

fn record(version: u64) -> v1::KeyRecord {
    v1::KeyRecord {
        version,
        position: Some(v1::RecordPosition::default()),
        lsn: version,
        append_time_ms: 0,
        record: Some(v1::Record::default()),
    }
}

fn gap(first_version: u64, last_version: u64) -> v1::KeyGap {
    v1::KeyGap {
        first_version,
        last_version,
        reason: v1::key_gap::Reason::Trimmed.into(),
    }
}

fn response(current: u64, versions: &[u64], gap: Option<v1::KeyGap>) -> v1::ReadKeyResponse {
    v1::ReadKeyResponse {
        current_version: current,
        records: versions.iter().copied().map(record).collect(),
        gap,
        ..v1::ReadKeyResponse::default()
    }
}

impl Key {
    /// What the broker answers, a record or a gap at a time.
    fn answer(self, request: &v1::ReadKeyRequest) -> Vec<v1::ReadKeyResponse> {
        let wanted = request.from_version.max(1)..=self.current;
        let kept: Vec<u64> = wanted.clone().filter(|it| *it >= self.first_kept).collect();
        let mut records: Vec<_> = kept.iter().map(|it| response(0, &[*it], None)).collect();
        let is_trimmed = *wanted.start() < self.first_kept && !wanted.is_empty();
        let last_gone = (self.first_kept - 1).min(self.current);
        let gone = is_trimmed.then(|| response(0, &[], Some(gap(*wanted.start(), last_gone))));
        if request.newest_first {
            records.reverse();
        }
        let records = match request.record_count_max {
            0 => records,
            max => records
                .into_iter()
                .take(usize::try_from(max).unwrap())
                .collect(),
        };
        let mut answers = match request.newest_first {
            true => records.into_iter().chain(gone).collect::<Vec<_>>(),
            false => gone.into_iter().chain(records).collect(),
        };
        match answers.first_mut() {
            Some(first) => first.current_version = self.current,
            None => answers.push(response(self.current, &[], None)),
        }
        answers
    }
}

/// The versions of an item.
fn versions(item: &KeyItem) -> Vec<u64> {
    match item {
        KeyItem::Record(record) => vec![record.version],
        KeyItem::Gap(gap) => gap.versions.clone().collect(),
    }
}

#[test]
fn every_version_comes_once_however_often_the_stream_breaks() {
    for_seeds(2_000, |mut random| {
        let mut key = Key {
            current: random.u64(0..12),
            first_kept: random.u64(1..9),
        };
        let began_at = key.current;
        let wish = Wish {
            from_version: random.u64(0..9),
            is_newest_first: random.bool(),
            record_count_max: random.bool().then(|| random.u64(1..9)),
            ..Wish::all(Bytes::from_static(b"k"))
        };
        let mut progress = Progress::new(wish.clone());
        let mut items = Vec::new();
        let mut tries = 0;
        while !progress.is_over() {
            tries += 1;
            assert!(tries < 1_000, "comes to an end");
            let request = progress.request("accounts");
            let answers = key.answer(&request);
            let heard = random.usize(0..=answers.len());
            for answer in answers.into_iter().take(heard) {
                progress.take(&topic(), answer).unwrap();
            }
            items.extend(std::iter::from_fn(|| progress.take_item()));
            // Somebody writes, and retention lets go of more.
            key.current += random.u64(0..2);
            key.first_kept += u64::from(random.u8(0..4) == 0);
        }
        items.extend(std::iter::from_fn(|| progress.take_item()));
        let told: Vec<u64> = match wish.is_newest_first {
            false => items.iter().flat_map(versions).collect(),
            true => items
                .iter()
                .flat_map(|it| versions(it).into_iter().rev())
                .collect(),
        };
        let is_record = |it: &&KeyItem| matches!(it, KeyItem::Record(_));
        let record_count = items.iter().filter(is_record).count() as u64;
        // Before the first answer somebody may have written.
        let end = progress.current_version().unwrap_or(0);
        assert!(end >= began_at, "ends with what there was");
        let mut expected: Vec<u64> = (wish.from_version.max(1)..=end).collect();
        if wish.is_newest_first {
            expected.reverse();
        }
        match wish.record_count_max {
            Some(max) if record_count == max => {
                expected.truncate(told.len());
            }
            _ => {}
        }
        assert_eq!(told, expected, "versions");
    });
}

#[track_caller]
fn check_refused(is_newest_first: bool, answers: &[v1::ReadKeyResponse]) {
    let mut progress = Progress::new(Wish {
        is_newest_first,
        ..Wish::all(Bytes::new())
    });
    progress.request("accounts");
    let mut taken = answers.iter().map(|it| progress.take(&topic(), it.clone()));
    let error = taken.find_map(Result::err).expect("refused");
    assert_eq!(error.kind(), crate::ErrorKind::Internal, "{error}");
}

#[test]
fn an_answer_that_leaves_versions_out_is_refused() {
    check_refused(false, &[response(3, &[2], None)]);
    check_refused(false, &[response(3, &[1, 3], None)]);
    check_refused(false, &[response(3, &[1, 1], None)]);
    check_refused(false, &[response(3, &[], Some(gap(2, 3)))]);
    check_refused(false, &[response(3, &[1], Some(gap(2, 1)))]);
    check_refused(true, &[response(3, &[2], None)]);
    check_refused(true, &[response(3, &[4, 3], None)]);
    check_refused(true, &[response(3, &[3], Some(gap(0, 2)))]);
    check_refused(true, &[response(3, &[3], Some(gap(1, 1)))]);
    let nameless = v1::KeyRecord {
        position: None,
        ..record(1)
    };
    let incomplete = v1::ReadKeyResponse {
        current_version: 1,
        records: vec![nameless],
        ..v1::ReadKeyResponse::default()
    };
    check_refused(false, &[incomplete]);
}

#[test]
fn what_is_told_ends_with_the_version_that_was_told_first() {
    let mut progress = Progress::new(Wish::all(Bytes::new()));
    progress.request("accounts");
    progress.take(&topic(), response(2, &[1], None)).unwrap();
    let request = progress.request("accounts");
    assert_eq!(request.from_version, 2, "goes on");
    // Two more were written meanwhile, and everything was trimmed.
    progress
        .take(&topic(), response(4, &[], Some(gap(2, 4))))
        .unwrap();
    assert!(progress.is_over(), "over");
    progress.take_item();
    let Some(KeyItem::Gap(gap)) = progress.take_item() else {
        panic!("no gap");
    };
    assert_eq!(gap.versions, 2..3, "of the history as it was");
}

#[test]
fn a_history_that_is_shorter_than_before_is_another_one() {
    let mut progress = Progress::new(Wish::all(Bytes::new()));
    progress.request("accounts");
    progress.take(&topic(), response(3, &[1], None)).unwrap();
    progress.request("accounts");
    let error = progress
        .take(&topic(), response(2, &[2], None))
        .unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::TopicNotFound), "{error}");
}

#[test]
fn a_history_of_another_topic_or_broker_is_another_one() {
    let of = |topic_id, broker_id: &str| v1::ReadKeyResponse {
        topic_id,
        broker_id: broker_id.to_owned(),
        ..response(3, &[], Some(gap(1, 1)))
    };
    for (topic_id, broker_id) in [(8, "one"), (7, "two")] {
        let mut progress = Progress::new(Wish::all(Bytes::new()));
        assert_eq!(progress.request("accounts").topic_id, None, "any");
        progress.take(&topic(), of(7, "one")).unwrap();
        let request = progress.request("accounts");
        let asked = (request.topic_id, request.broker_id.as_deref());
        assert_eq!(asked, (Some(7), Some("one")), "the same");
        let answered = progress.take(&topic(), of(topic_id, broker_id));
        let reason = answered.unwrap_err().reason();
        assert_eq!(reason, Some(ErrorReason::TopicNotFound));
    }
}

#[test]
fn a_key_without_records_is_over_at_once() {
    for is_newest_first in [false, true] {
        let mut progress = Progress::new(Wish {
            is_newest_first,
            ..Wish::all(Bytes::new())
        });
        progress.request("accounts");
        assert!(progress.take(&topic(), response(0, &[], None)).unwrap());
        assert!(progress.is_over(), "over");
        assert_eq!(progress.current_version(), Some(0), "version");
        assert!(progress.take_item().is_none(), "nothing");
    }
}
