//! Memory is asked for once a batch, never once a record.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use towpath_client::{Bytes, Record};

use crate::fake::FakeBroker;

/// Counts what each thread asks for; a test has a thread of its own.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "there is no other way to count allocations")]
// SAFETY: passes everything on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps to the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

fn count_of<T>(action: impl FnOnce() -> T) -> (usize, T) {
    let before = COUNT.get();
    let result = action();
    (COUNT.get() - before, result)
}

#[tokio::test(start_paused = true)]
async fn queueing_allocates_once_a_batch() {
    let (_broker, client) = FakeBroker::with_topic("orders", 4);
    let producer = client.producer("orders").build();
    // The first batch tells how large the next will be.
    for _ in 0..3_000 {
        drop(
            producer
                .enqueue(Record::new(Bytes::from_static(&[b'x'; 100])))
                .await
                .unwrap(),
        );
    }
    producer.flush().await.unwrap();

    let key = Bytes::from_static(b"key");
    let value = Bytes::from_static(&[b'x'; 100]);
    let mut receipts = Vec::with_capacity(20_000);
    let (count, ()) = count_of(|| {
        for _ in 0..20_000 {
            let record = Record::new(value.clone()).key(key.clone());
            receipts.push(producer.try_enqueue(record).unwrap());
        }
    });
    // About 1,200 records of this size are a batch: 17 of them, each with its buffer and its
    // outcome, and what the queues between take to grow.
    assert!(
        count <= 17 * 4 + 20,
        "{count} allocations for 20,000 records"
    );
    producer.flush().await.unwrap();
    for receipt in receipts {
        receipt.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn going_through_a_batch_allocates_nothing() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    broker.append("orders", 0, &["value"; 1_000]);
    let mut reader = client.reader(["orders"]).build();
    let batch = reader.next_batch().await.unwrap().unwrap();
    let (count, bytes) = count_of(|| {
        let records = batch.records();
        let bytes = records.map(|it| it.value().unwrap_or_default().len() + it.headers().count());
        bytes.sum::<usize>()
    });
    assert_eq!((count, bytes), (0, 5_000), "allocations and bytes");
}
