//! How far a reader has come: what it asks for, what it makes of what it gets.
//!
//! A pure state machine. Whatever happens to the connection, [`Progress::request`] asks for exactly
//! what was not delivered yet, of the same topics that were found first.

mod check;
mod partition;
mod source;

use std::collections::VecDeque;

use towpath_proto::ids::{Lsn, Offset, PartitionId};
use towpath_proto::names::TopicName;
use towpath_proto::v1;
use towpath_proto::wire::FetchedBatch;
use towpath_proto::wire::fetch_response::Response;

use super::builder::ReaderOptions;
use super::item::ReaderItem;
use crate::{Error, ErrorReason};
use source::SourceProgress;

use check::accepted_codecs;
pub(crate) use check::{check, received_bytes};
pub(crate) use partition::PartitionProgress;

/// What is to be handed to the reader's owner.
type Delivery = VecDeque<Result<ReaderItem, Error>>;

/// What a reader has read and is going to read.
#[derive(Debug)]
pub(super) struct Progress {
    sources: Vec<SourceProgress>,
    follow: bool,
    merged: bool,
    skip_data_loss: bool,
    /// The broker that was found first: the same offsets of another one are other records.
    broker_id: Option<String>,
    /// Which source each handle of the present stream stands for.
    handles: Vec<usize>,
    delivery: Delivery,
    /// A batch that arrived damaged: once may be the way here, twice is the broker.
    damaged: Option<(usize, PartitionId, Offset)>,
}

/// What a message means for the stream it came on.
#[derive(Debug)]
pub(super) enum Heard {
    /// It goes on.
    GoOn,
    /// The topics are open: the broker is well.
    Opened,
    /// It is of no use any more.
    Broken(Error),
}

impl Progress {
    pub(super) fn new(options: &ReaderOptions) -> Self {
        let sources = options.sources.iter();
        let nothing = || Err(Error::invalid("sources", "a reader needs a topic"));
        Self {
            sources: sources
                .map(|source| SourceProgress::new(source, options))
                .collect(),
            follow: options.follow,
            merged: options.merged,
            skip_data_loss: options.skip_data_loss,
            broker_id: None,
            handles: Vec::new(),
            delivery: options
                .sources
                .is_empty()
                .then(nothing)
                .into_iter()
                .collect(),
            damaged: None,
        }
    }

    /// Takes what is to be delivered next.
    pub(super) fn take_delivery(&mut self) -> Option<Result<ReaderItem, Error>> {
        self.delivery.pop_front()
    }

    /// Whether nothing is left to read.
    pub(super) fn is_finished(&self) -> bool {
        !self.sources.iter().any(SourceProgress::is_wanted)
    }

    /// The next offset of each partition that is known, finished or not.
    pub(super) fn next_offsets(&self) -> Vec<(TopicName, PartitionId, Offset)> {
        self.sources
            .iter()
            .flat_map(SourceProgress::next_offsets)
            .collect()
    }

    /// Asks for what was not delivered yet, and gets ready for the answer.
    pub(super) fn request(&mut self) -> v1::FetchRequest {
        let wanted = (0..)
            .zip(&self.sources)
            .filter(|(_, source)| source.is_wanted());
        let (handles, sources) = wanted
            .map(|(place, source)| (place, source.to_request()))
            .unzip();
        self.handles = handles;
        v1::FetchRequest {
            sources,
            follow: self.follow,
            merge_by_lsn: self.merged,
            skip_data_loss: self.skip_data_loss,
            broker_id: self.broker_id.clone(),
            accepted_codecs: accepted_codecs(),
        }
    }

    /// Takes a message of the broker.
    pub(super) fn take(&mut self, response: Option<Response>) -> Heard {
        let heard = match response {
            Some(Response::Opened(opened)) => self.take_opened(&opened),
            Some(Response::Batch(batch)) => self.take_batch(batch),
            Some(Response::CaughtUp(caught_up)) => self.take_caught_up(caught_up),
            Some(Response::Gap(gap)) => self.take_gap(gap),
            Some(Response::Failed(failed)) => self.take_failed(failed),
            Some(Response::Heartbeat(_) | Response::Draining(_)) | None => Ok(Heard::GoOn),
        };
        heard.unwrap_or_else(Heard::Broken)
    }

    /// The broker refuses the whole request: delivers why, and gives up what it is about, or all. A
    /// reader that has begun goes on where the log starts if it was overtaken by that.
    pub(super) fn refuse(&mut self, error: Error) {
        let topic = error.metadata("topic");
        let mut sources = self.sources.iter_mut();
        let source = sources.find(|source| source.is_open() && Some(source.topic()) == topic);
        // A reader that has not begun gets all of its topics or none.
        let Some(source) = source else {
            return self.fail(error);
        };
        if !source.take_trimmed(&error, &mut self.delivery) {
            source.fail();
            self.delivery.push_back(Err(error));
        }
    }

    /// Gives everything up: delivers why.
    pub(super) fn fail(&mut self, error: Error) {
        self.sources.iter_mut().for_each(SourceProgress::fail);
        self.delivery.push_back(Err(error));
    }

    fn take_opened(&mut self, opened: &v1::FetchOpened) -> Result<Heard, Error> {
        let lsn = Lsn::new(opened.lsn);
        for topic in &opened.topics {
            let (_, source) = find(&self.handles, &mut self.sources, topic.handle)?;
            source.open(topic, self.follow, lsn, &mut self.delivery)?;
        }
        self.broker_id.get_or_insert(opened.broker_id.clone());
        Ok(Heard::Opened)
    }

    fn take_batch(&mut self, mut batch: FetchedBatch) -> Result<Heard, Error> {
        let (place, source) = find(&self.handles, &mut self.sources, batch.handle)?;
        let partition = PartitionId::new(batch.partition);
        let checked = check(&mut batch).and_then(|()| source.check_order(&batch));
        let Err(error) = checked else {
            source.take_batch(batch, &mut self.delivery)?;
            return Ok(Heard::GoOn);
        };
        let offset = Offset::new(batch.base_offset);
        let error = error
            .with("topic", source.topic())
            .with("partition", partition)
            .with("offset", offset);
        // Once more; a second time the partition is given up.
        if self.damaged.replace((place, partition, offset)) != Some((place, partition, offset)) {
            return Err(error);
        }
        source.fail_partition(partition)?;
        self.delivery.push_back(Err(error));
        Ok(Heard::GoOn)
    }

    fn take_caught_up(&mut self, caught_up: v1::CaughtUp) -> Result<Heard, Error> {
        let (_, source) = find(&self.handles, &mut self.sources, caught_up.handle)?;
        // Without follow the end is the one that was there at first, which the reader sees itself.
        if self.follow {
            source.take_caught_up(&caught_up, &mut self.delivery)?;
        }
        Ok(Heard::GoOn)
    }

    fn take_gap(&mut self, gap: v1::Gap) -> Result<Heard, Error> {
        let (_, source) = find(&self.handles, &mut self.sources, gap.handle)?;
        source.take_gap(&gap, &mut self.delivery)?;
        Ok(Heard::GoOn)
    }

    fn take_failed(&mut self, failed: v1::SourceFailed) -> Result<Heard, Error> {
        let (_, source) = find(&self.handles, &mut self.sources, failed.handle)?;
        let error = Error::from_stream(&failed.error.unwrap_or_default());
        let mut error = error.with("topic", source.topic());
        // A broker that stops gives up nothing for good.
        if error.reason() == Some(ErrorReason::ShuttingDown) {
            return Err(error);
        }
        match failed.partition {
            None => source.fail(),
            Some(partition) => {
                error = error.with("partition", partition);
                source.fail_partition(PartitionId::new(partition))?;
            }
        }
        self.delivery.push_back(Err(error));
        Ok(Heard::GoOn)
    }
}

/// Finds the source that a handle stands for.
fn find<'a>(
    handles: &[usize],
    sources: &'a mut [SourceProgress],
    handle: u32,
) -> Result<(usize, &'a mut SourceProgress), Error> {
    let place = handles.get(handle as usize).copied();
    let found = place.and_then(|place| Some((place, sources.get_mut(place)?)));
    found.ok_or_else(|| Error::protocol("the broker tells of a topic that was not asked for"))
}

#[cfg(test)]
mod tests;
