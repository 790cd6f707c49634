//! A few records at once, all of them or none, without a producer.

use towpath_proto::ids::{Lsn, Offset, PartitionId};
use towpath_proto::v1;
use towpath_proto::v1::produce_service_client::ProduceServiceClient;

use crate::client::Repetition;
use crate::time::from_ms;
use crate::{Client, Error, Position, Record};

impl Client {
    /// Writes a few records to a topic at once: all of them or none, under one LSN. They are on
    /// disk when this returns their positions, in the order they were given.
    ///
    /// The broker places each record by its key; those without one go to one partition of its
    /// choice. Records with a [`Record::partition`] must all name the same one. None may have a
    /// [`Record::expect_offset`] or [`Record::expect_version`].
    ///
    /// Not idempotent: a call whose answer was lost is not repeated but fails with an error of which
    /// [`Error::may_have_happened`] is true. A [`Producer`](crate::Producer) writes without this
    /// doubt, and faster.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::TopicNotFound`](crate::ErrorReason::TopicNotFound), a record or all of them
    /// together over the limit, a full disk. Unless it may have happened, nothing was written.
    pub async fn publish<R: Into<Record>>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Vec<Position>, Error> {
        let records: Vec<Record> = records.into_iter().map(Into::into).collect();
        if records.iter().any(|it| it.expectation().is_some()) {
            let text = "records that are published have no expected offset or version";
            let error = Error::invalid("records", text).with("topic", topic);
            return Err(error.with_hint("a producer or a commit checks it"));
        }
        let source = &self.shared().source;
        let request = v1::PublishRequest {
            topic: topic.to_owned(),
            partition: common_partition(&records)?.map(PartitionId::get),
            records: records.iter().map(|it| it.to_proto(source)).collect(),
        };
        let call = |channel| {
            let request = request.clone();
            async move { ProduceServiceClient::new(channel).publish(request).await }
        };
        let client = self.shared();
        let response = client
            .call(client.give_up_after, Repetition::AfterNoEffect, call)
            .await?;
        let (lsn, append_time) = (Lsn::new(response.lsn), from_ms(response.append_time_ms));
        let positions = response.positions.iter().map(|position| Position {
            partition: PartitionId::new(position.partition),
            offset: Offset::new(position.offset),
            lsn,
            append_time,
            is_repeated: position.is_repeated,
        });
        if response.positions.len() == records.len() {
            Ok(positions.collect())
        } else {
            Err(Error::protocol("not as many positions as records"))
        }
    }
}

fn common_partition(records: &[Record]) -> Result<Option<PartitionId>, Error> {
    let first = records.first().and_then(Record::chosen_partition);
    if records.iter().all(|it| it.chosen_partition() == first) {
        Ok(first)
    } else {
        Err(Error::invalid(
            "partition",
            "records that are published together name different partitions",
        ))
    }
}
