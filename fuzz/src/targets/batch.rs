//! The walk over an encoded batch against the generated decoder, and everything that reads what it passes.

use bytes::{Bytes, BytesMut};
use prost::Message;
use towpath_proto::batch::{
    BatchLimits, Edit, NewRecord, OwnedRecords, RecordView, Records, edit, walk,
};
use towpath_proto::v1;

/// An encoded `RecordBatch`.
pub fn batch(data: &[u8]) {
    if let Ok(typed) = v1::RecordBatch::decode(data) {
        canonical(&typed);
    }
    let limited = walk(data, &BatchLimits::default());
    let summary = walk(data, &BatchLimits::NONE);
    skipping(data);
    let Ok(summary) = summary else {
        assert!(limited.is_err(), "limits let nothing more pass");
        faulty(data);
        return;
    };
    if let Ok(limited) = limited {
        assert_eq!(limited, summary, "limits change no count");
    }
    let typed =
        v1::RecordBatch::decode(data).expect("what the walk passes every client can decode");
    let views: Vec<_> = Records::new(data)
        .map(|view| view.expect("passed"))
        .collect();
    assert_eq!(views.len(), summary.record_count as usize);
    assert_eq!(views.len(), typed.records.len());
    let values = views.iter().filter_map(RecordView::value);
    assert_eq!(values.map(<[u8]>::len).sum::<usize>(), summary.value_bytes);
    let owned = OwnedRecords::new(Bytes::copy_from_slice(data));
    let mut put = BytesMut::new();
    for ((view, typed), owned) in views.iter().zip(&typed.records).zip(owned) {
        let owned = owned.expect("passed");
        assert_eq!(record_of(view), *typed, "borrowed");
        assert_eq!(owned.key(), view.key(), "owned key");
        assert_eq!(owned.value_bytes().as_deref(), view.value(), "owned value");
        assert_eq!(owned.event_time_ms(), view.event_time_ms(), "owned time");
        assert!(owned.headers().eq(view.headers()), "owned headers");
        assert_eq!(view.headers().count(), view.header_count() as usize);
        let end = view.position() + view.bytes().len();
        assert_eq!(&data[view.position()..end], view.bytes(), "place");
        let new = NewRecord {
            key: view.key(),
            value: view.value(),
            headers: view.headers(),
            event_time_ms: view.event_time_ms(),
        };
        let before = put.len();
        new.put(&mut put);
        assert_eq!(put.len() - before, new.batch_len(), "grows by what it said");
    }
    assert_eq!(
        v1::RecordBatch::decode(&put[..]).as_ref(),
        Ok(&typed),
        "put again"
    );
    edited(data, &typed);
}

/// What a client encodes is walked to the same records.
fn canonical(typed: &v1::RecordBatch) {
    let encoded = typed.encode_to_vec();
    let is_nameless = |record: &v1::Record| record.headers.iter().any(|it| it.name.is_empty());
    let is_right = !typed.records.is_empty() && !typed.records.iter().any(is_nameless);
    let walked = walk(&encoded, &BatchLimits::NONE);
    assert_eq!(walked.is_ok(), is_right, "{walked:?}");
    let views = Records::new(&encoded).map_while(Result::ok);
    if is_right {
        assert!(
            views
                .map(|it| record_of(&it))
                .eq(typed.records.iter().cloned())
        );
    }
}

/// Borrowed and owned views find the same fault at the same record.
fn faulty(data: &[u8]) {
    let borrowed = Records::new(data).find_map(Result::err);
    let owned = OwnedRecords::new(Bytes::copy_from_slice(data)).find_map(Result::err);
    assert_eq!(borrowed, owned, "fault");
}

/// Passing over records gets as far as looking into them, as long as nothing is wrong inside.
fn skipping(data: &[u8]) {
    let (mut passing, mut looking) = (Records::new(data), Records::new(data));
    while let Some(Ok(_)) = looking.next() {
        assert!(passing.pass(), "there is a record");
        assert_eq!(passing.next_position(), looking.next_position());
        assert_eq!(passing.record_count(), looking.record_count());
    }
    while passing.pass() {
        assert!(passing.next_position() <= data.len(), "inside");
    }
}

fn edited(data: &[u8], typed: &v1::RecordBatch) {
    let decode = |bytes: Bytes| v1::RecordBatch::decode(bytes).expect("a batch");
    assert_eq!(decode(edit(data, |_| Edit::Keep)), *typed, "kept");
    let odd = decode(edit(data, |number| match number % 2 {
        0 => Edit::Drop,
        _ => Edit::AddHeader("n", b"v"),
    }));
    let header = v1::Header {
        name: "n".to_owned(),
        value: Bytes::from_static(b"v"),
    };
    let left = typed.records.iter().skip(1).step_by(2).cloned();
    let left = left.map(|mut record| {
        record.headers.push(header.clone());
        record
    });
    assert!(left.eq(odd.records), "every second one, with a header more");
}

fn record_of(view: &RecordView<'_>) -> v1::Record {
    let header = |(name, value): (&str, &[u8])| v1::Header {
        name: name.to_owned(),
        value: Bytes::copy_from_slice(value),
    };
    v1::Record {
        key: view.key().map(Bytes::copy_from_slice),
        value: view.value().map(Bytes::copy_from_slice),
        headers: view.headers().map(header).collect(),
        event_time_ms: view.event_time_ms(),
    }
}
