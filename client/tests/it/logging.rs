//! What the SDK logs: outages once, losses always, payloads never.

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use towpath_client::Record;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::fake::{FakeBroker, OnBatch};

/// Lines of the SDK's own log, from info on.
#[derive(Debug, Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Log {
    /// Takes what this thread logs until the guard is dropped.
    fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(log.clone());
        (log, guard)
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

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("towpath_client") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
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
