//! How far the history of a key was told: which version comes next, and what another stream is asked for.
//!
//! Pure: no time, no network. Every version from the first that is wanted to the last comes once, as a record
//! or in a gap; an answer that leaves one out is refused.

use std::collections::VecDeque;

use bytes::Bytes;
use towpath_proto::names::TopicName;
use towpath_proto::problem::Problem;
use towpath_proto::v1;

use super::{KeyGap, KeyGapReason, KeyItem, KeyRecord};
use crate::{Error, ErrorReason};

/// What is to be read.
#[derive(Clone)]
pub(super) struct Wish {
    pub(super) key: Bytes,
    /// The lowest version that is wanted; 0 is as good as 1.
    pub(super) from_version: u64,
    pub(super) is_newest_first: bool,
    pub(super) record_count_max: Option<u64>,
}

/// What was told so far.
pub(super) struct Progress {
    wish: Wish,
    /// The version that the key had when it was asked first.
    current_version: Option<u64>,
    /// Which life of the topic's name it was asked of, and of which broker: another one has other records.
    origin: Option<(u64, String)>,
    /// The version that comes next; of meaning only with a current version.
    next: u64,
    /// A stream was asked for, and has not answered yet: its first answer tells the version.
    is_first: bool,
    /// Versions above the next one were told on an earlier stream, or were not there then.
    skips_newer: bool,
    is_over: bool,
    items: VecDeque<KeyItem>,
}

impl Wish {
    /// The whole history of a key.
    pub(super) const fn all(key: Bytes) -> Self {
        Self {
            key,
            from_version: 0,
            is_newest_first: false,
            record_count_max: None,
        }
    }
}

impl Progress {
    pub(super) fn new(wish: Wish) -> Self {
        Self {
            is_over: wish.record_count_max == Some(0),
            next: wish.from_version.max(1),
            wish,
            current_version: None,
            origin: None,
            is_first: true,
            skips_newer: false,
            items: VecDeque::new(),
        }
    }

    pub(super) const fn current_version(&self) -> Option<u64> {
        self.current_version
    }

    pub(super) fn take_item(&mut self) -> Option<KeyItem> {
        self.items.pop_front()
    }

    /// Whether nothing more is to be heard.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// What to ask a new stream for.
    pub(super) fn request(&mut self, topic: &str) -> v1::ReadKeyRequest {
        self.is_first = true;
        // Back from the newest, versions that were told come again, and perhaps newer ones before them: how
        // many is not known.
        let is_repeated = self.wish.is_newest_first && self.current_version.is_some();
        let record_count_max = self.wish.record_count_max.filter(|_| !is_repeated);
        v1::ReadKeyRequest {
            topic: topic.to_owned(),
            key: self.wish.key.clone(),
            from_version: match self.wish.is_newest_first {
                true => self.wish.from_version,
                false => self.next,
            },
            newest_first: self.wish.is_newest_first,
            record_count_max: record_count_max.unwrap_or(0),
            topic_id: self.origin.as_ref().map(|(topic_id, _)| *topic_id),
            broker_id: self.origin.as_ref().map(|(_, broker)| broker.clone()),
        }
    }

    /// Takes an answer; returns whether it led further.
    ///
    /// # Errors
    ///
    /// It leaves versions out, or belongs to another history.
    pub(super) fn take(
        &mut self,
        topic: &TopicName,
        response: v1::ReadKeyResponse,
    ) -> Result<bool, Error> {
        if std::mem::take(&mut self.is_first) {
            let origin = (response.topic_id, response.broker_id);
            if *self.origin.get_or_insert_with(|| origin.clone()) != origin {
                return Err(recreated());
            }
            self.begin(response.current_version)?;
        }
        let before = self.next;
        for record in response.records {
            let version = record.version;
            if self.passes(version, version)? {
                self.items
                    .push_back(KeyItem::Record(KeyRecord::from_proto(topic, record)?));
                self.advance(version);
                self.count();
            }
        }
        if let Some(gap) = response.gap
            && self.passes(gap.first_version, gap.last_version)?
        {
            self.take_gap(&gap);
        }
        Ok(self.is_over || self.next != before)
    }

    /// The first answer of a stream.
    fn begin(&mut self, current: u64) -> Result<(), Error> {
        match self.current_version {
            None => {
                self.current_version = Some(current);
                if self.wish.is_newest_first {
                    self.next = current;
                }
                let lowest = self.wish.from_version.max(1);
                self.is_over |= current < lowest;
                Ok(())
            }
            Some(known) if current < known => Err(recreated()),
            Some(_) => {
                self.skips_newer = self.wish.is_newest_first;
                Ok(())
            }
        }
    }

    /// Whether versions are those that come next, rather than ones that were told or are not wanted.
    fn passes(&self, first: u64, last: u64) -> Result<bool, Error> {
        if self.is_over || (self.skips_newer && self.next < first && first <= last) {
            return Ok(false);
        }
        let is_next = match self.wish.is_newest_first {
            false => first == self.next && first <= last,
            true => {
                let may_begin = last == self.next || (self.skips_newer && self.next < last);
                may_begin && (1..=self.next).contains(&first)
            }
        };
        is_next.then_some(true).ok_or_else(left_out)
    }

    fn take_gap(&mut self, gap: &v1::KeyGap) {
        let lowest = self.wish.from_version.max(1);
        let highest = self.current_version.unwrap_or(0);
        let (first, last) = match self.wish.is_newest_first {
            true => (gap.first_version.max(lowest), self.next),
            false => (self.next, gap.last_version.min(highest)),
        };
        self.items.push_back(KeyItem::Gap(KeyGap {
            versions: first..last.saturating_add(1),
            reason: KeyGapReason::from_proto(gap.reason()),
        }));
        self.advance(match self.wish.is_newest_first {
            true => first,
            false => last,
        });
    }

    /// Goes on behind a version.
    fn advance(&mut self, version: u64) {
        let end = match self.wish.is_newest_first {
            true => self.wish.from_version.max(1),
            false => self.current_version.unwrap_or(0),
        };
        self.is_over |= version == end;
        self.next = match self.wish.is_newest_first {
            true => version.saturating_sub(1),
            false => version.saturating_add(1),
        };
    }

    /// A record was told.
    fn count(&mut self) {
        if let Some(left) = &mut self.wish.record_count_max {
            *left = left.saturating_sub(1);
            self.is_over |= *left == 0;
        }
    }
}

fn recreated() -> Error {
    let text = "the topic was deleted and created again while a key of it was read";
    Error::from_problem(&Problem::new(ErrorReason::TopicNotFound, text))
}

fn left_out() -> Error {
    Error::protocol("the broker left versions of the key out, or told them out of order")
}

#[cfg(test)]
mod tests;
