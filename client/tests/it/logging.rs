//! What the SDK logs: outages once, losses always, payloads never.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use towpath_client::Record;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::fake::{FakeBroker, OnBatch};

thread_local! {
    /// Where the lines of this thread go.
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Lines of the SDK's own log, from info on.
#[derive(Debug, Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
}

/// Ends the log of its thread.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        LOG.set(None);
    }
}

/// Hands what a thread logs to the log of that thread, if it has one.
///
/// One for the process, and there before the first client: a subscriber of one thread only misses every place that another thread
/// logs from first, for tracing remembers of such a place that nobody listens.
struct ByThread;

/// Listens to every thread of the process from now on.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(ByThread).unwrap());
}

impl Log {
    /// Takes what this thread logs until the guard is dropped.
    fn start() -> (Self, Guard) {
        let log = Self::default();
        LOG.set(Some(log.clone()));
        (log, Guard)
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    #[track_caller]
    fn check(&self, beginnings: &[&str]) {
        let lines = self.lines();
        let is_expected = lines.len() == beginnings.len()
            && lines
                .iter()
                .zip(beginnings)
                .all(|(line, start)| line.starts_with(start));
        assert!(is_expected, "{lines:#?}");
    }
}

impl Subscriber for ByThread {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("towpath_client") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        LOG.with_borrow(|log| {
            let Some(log) = log else { return };
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            log.lines.lock().unwrap().push(line.0);
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_logged_once_when_it_begins_and_once_when_it_ends() {
    let (broker, client) = FakeBroker::with_topic("orders", 2);
    let producer = client.producer("orders").build();
    producer.send(Record::new("v")).await.unwrap();
    producer.send(Record::new("v")).await.unwrap();
    let mut reader = client.reader(["orders"]).follow().build();
    reader.next_record().await.unwrap().unwrap();
    let (log, _guard) = Log::start();
    broker.go_down();
    let reading = tokio::spawn(async move { while reader.next_batch().await.is_ok() {} });
    for _ in 0..4 {
        drop(producer.enqueue(Record::new("v")).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    log.check(&["WARN broker out of reach"]);
    broker.go_up();
    tokio::time::sleep(Duration::from_secs(20)).await;
    log.check(&["WARN broker out of reach", "INFO broker back"]);
    reading.abort();
}

#[tokio::test(start_paused = true)]
async fn records_that_are_dropped_with_their_producer_are_logged() {
    let (broker, client) = FakeBroker::with_topic("orders", 1);
    let (log, _guard) = Log::start();
    let closed = client.producer("orders").build();
    closed.send(Record::new("v")).await.unwrap();
    drop(closed);
    log.check(&[]);
    let dropped = client.producer("orders").build();
    broker.on_batches([OnBatch::AppendInSilence]);
    drop(
        dropped
            .enqueue(Record::new("secret").key("secret"))
            .await
            .unwrap(),
    );
    drop(dropped);
    log.check(&["ERROR producer dropped before its records were acknowledged"]);
    assert!(!log.lines()[0].contains("secret"), "{:?}", log.lines());
}
