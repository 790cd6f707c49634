//! Topics that look at records: repeated events, versions of keys and of entities, keys' histories.

mod commits;
mod entities;
mod events;
pub(crate) mod histories;
mod redriven;
mod versions;

use prost::Message;
use towpath_broker::Config;
use towpath_proto::v1;
use towpath_proto::wire::ProduceBatch;

use crate::harness::{TestBroker, config, record, soon};

/// Every round begins a checkpoint, so that what is remembered is looked up on disk.
fn config_with_checkpoints() -> Config {
    let mut config = config();
    config.engine.sequencer.checkpoint_row_count = 1;
    config
}

pub(crate) async fn create(
    broker: &TestBroker,
    name: &str,
    partition_count: u32,
    config: v1::TopicConfig,
) {
    let request = v1::CreateTopicRequest {
        name: name.to_owned(),
        partition_count,
        config: Some(config),
        ..v1::CreateTopicRequest::default()
    };
    soon(broker.topics().create_topic(request)).await.unwrap();
}

pub(crate) fn with_dedupe(window_ms: u64) -> v1::TopicConfig {
    v1::TopicConfig {
        dedupe_window_ms: Some(window_ms),
        ..v1::TopicConfig::default()
    }
}

pub(crate) fn with_versions() -> v1::TopicConfig {
    v1::TopicConfig {
        key_versions: true,
        ..v1::TopicConfig::default()
    }
}

fn header(name: &str, value: &str) -> v1::Header {
    v1::Header {
        name: name.to_owned(),
        value: value.to_owned().into(),
    }
}

/// A record of the event `id` of one source.
pub(crate) fn event(id: &str, value: &str) -> v1::Record {
    v1::Record {
        headers: vec![header("ce-source", "/shop"), header("ce-id", id)],
        ..record(None, value)
    }
}

/// A batch for partition 0 under handle 1.
fn batch(sequence: u64, records: Vec<v1::Record>) -> ProduceBatch {
    ProduceBatch {
        handle: 1,
        sequence,
        batch: v1::RecordBatch { records }.encode_to_vec().into(),
        ..ProduceBatch::default()
    }
}

pub(crate) fn repeated(index: u32, partition: u32, offset: u64) -> v1::UnwrittenRecord {
    v1::UnwrittenRecord {
        index,
        cause: Some(v1::unwritten_record::Cause::RepeatedEvent(
            v1::RecordPosition {
                partition,
                offset,
                is_repeated: true,
            },
        )),
    }
}

fn stale(index: u32, current: u64) -> v1::UnwrittenRecord {
    v1::UnwrittenRecord {
        index,
        cause: Some(v1::unwritten_record::Cause::StaleEntityVersion(current)),
    }
}
