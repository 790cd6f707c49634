//! A handler over the records of a group whose commits also say how far the group is.

use std::sync::Arc;

use super::{Done, Failure, ForEach, ForEachError, Lanes};
use crate::group::membership::Membership;
use crate::group::{GroupConsumer, GroupRecord, ToGroupOffsets};
use crate::{Commit, ErrorReason};

/// Handlers run for so many partitions at a time, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByPartition(pub usize);

impl GroupConsumer {
    /// As [`GroupConsumer::for_each`], for handlers whose writes belong together with how far the group is.
    /// Each gets a new [`Commit`], adds to it, and returns it: then that happens and the group has handled the
    /// record, both or neither. So what is made of a record is written exactly once.
    ///
    /// Since the group has one offset for each partition, the records of a partition are handled one after the
    /// other, whatever their keys; handlers run for up to so many partitions at a time. A commit without
    /// operations costs nothing of its own: it is gathered with others, as [`GroupConsumer::for_each`] does.
    ///
    /// While the broker is out of reach a commit is sent again until it is known what became of it. One whose
    /// partition belongs to another member by now is refused, and nothing more of the partition is begun.
    ///
    /// ```no_run
    /// use towpath_client::{ByPartition, Client, Record, Start};
    ///
    /// # fn bill(_: &[u8]) -> Result<Vec<u8>, std::io::Error> { Ok(Vec::new()) }
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::connect("http://127.0.0.1:7600")?;
    /// let orders = client.group("billing").topics(["orders"]).start(Start::Beginning).build();
    /// orders
    ///     .for_each_commit(ByPartition(16), async |order, commit| {
    ///         let bill = bill(order.value().unwrap_or_default())?;
    ///         Ok::<_, std::io::Error>(commit.append("bills", Record::new(bill)))
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`GroupConsumer::for_each`], and [`ForEachError::Commit`] with the first commit that is refused for
    /// another reason, such as a version of a key that is not there any more: no more is begun then, and the
    /// record is not committed.
    pub async fn for_each_commit<F, Fut, E>(
        self,
        parallel: ByPartition,
        mut handler: F,
    ) -> Result<(), ForEachError<E>>
    where
        F: FnMut(GroupRecord, Commit) -> Fut,
        Fut: Future<Output = Result<Commit, E>> + Send + 'static,
        E: Send + 'static,
    {
        let (client, seat) = (Arc::clone(&self.client), Arc::clone(&self.seat));
        let committer = self.committer();
        let handler = move |record: GroupRecord| {
            let (seat, committer) = (Arc::clone(&seat), committer.clone());
            let (assignment, offsets) = (record.assignment(), record.to_group_offsets());
            let handling = handler(record, Commit::new(Arc::clone(&client)));
            async move {
                let commit = handling.await.map_err(Failure::Handler)?;
                if commit.is_empty() {
                    return Ok(Done::ToCommit);
                }
                let is_wanted = || !seat.look(Membership::is_ended);
                let commit = commit.offsets_by(committer, offsets);
                let own = commit.last_operation();
                match commit.send_until_known(is_wanted).await {
                    Ok(_) => Ok(Done::Committed),
                    Err(failed) => match failed.error().reason() {
                        // Of another group whose offsets the handler commits, it says nothing about this one.
                        Some(ErrorReason::GenerationStale)
                            if failed.operation().is_none() || failed.operation() == own =>
                        {
                            Err(Failure::NotOwned(assignment))
                        }
                        _ => Err(Failure::Commit(failed.into())),
                    },
                }
            }
        };
        ForEach::new(self, Lanes::ByPartition, parallel.0, handler)
            .run()
            .await
    }
}
