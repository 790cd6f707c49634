//! The records of one key, oldest or newest first.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use prost::Message;
use towpath_proto::problem::Problem;
use towpath_proto::v1;
use towpath_proto::v1::key_gap::Reason;

use super::Shared;
use super::lookup::{FoundKey, KeyName, ReadRecord, Records};
use crate::core::KeyVersion;

/// Versions that are looked up at once.
const PAGE_VERSIONS: u64 = 256;
/// Versions after which a gap is told: looking up so many takes a while.
const GAP_VERSIONS: u64 = 64 * PAGE_VERSIONS;
/// Bytes of records after which a response is sent, about.
const RESPONSE_BYTES: usize = 256 * 1024;

/// One `ReadKey` stream.
pub(super) struct History {
    shared: Arc<Shared>,
    name: KeyName,
    records: Records,
    /// The version of the key when the stream began.
    current_version: u64,
    is_told: bool,
    is_newest_first: bool,
    /// Versions that were not told, both included; none at the end.
    rest: Option<(u64, u64)>,
    /// How many records may still be told.
    count_left: u64,
    /// Those of the next versions that are remembered, and which were looked up.
    page: BTreeMap<u64, KeyVersion>,
    looked_up: Range<u64>,
}

impl History {
    pub(super) async fn open(
        shared: &Arc<Shared>,
        request: v1::ReadKeyRequest,
    ) -> Result<Self, Problem> {
        shared.refuse_when_draining()?;
        shared.check_broker(request.broker_id.as_deref())?;
        let name = KeyName::new(shared, &request.topic, request.topic_id, request.key)?;
        if !name.topic.settings().config.has_key_versions {
            let message = format!("keys of topic \"{}\" have no history", name.topic.name());
            return Err(Problem::invalid_field("topic", message).with_hint(
                "create a topic with key versions (--key-versions), or fetch and filter by key",
            ));
        }
        let first = request.from_version.max(1);
        let page = match request.newest_first {
            true => 0..0,
            false => first..end_of_page(first, u64::MAX),
        };
        let found = name.look_up(shared, page.clone()).await?;
        let FoundKey { head, versions } = found;
        let current_version = head.map_or(0, |head| head.version);
        Ok(Self {
            shared: Arc::clone(shared),
            records: Records::new(&name),
            name,
            current_version,
            is_told: false,
            is_newest_first: request.newest_first,
            rest: (first <= current_version).then_some((first, current_version)),
            count_left: match request.record_count_max {
                0 => u64::MAX,
                count => count,
            },
            page: versions,
            looked_up: page,
        })
    }

    /// The next response; none at the end, which a failure is as well.
    pub(super) async fn next(&mut self) -> Option<Result<v1::ReadKeyResponse, Problem>> {
        if self.is_told && (self.rest.is_none() || self.count_left == 0) {
            return None;
        }
        let response = self.fill().await;
        if response.is_err() {
            self.rest = None;
        }
        Some(response)
    }

    async fn fill(&mut self) -> Result<v1::ReadKeyResponse, Problem> {
        let mut response = v1::ReadKeyResponse::default();
        if !self.is_told {
            response.current_version = self.current_version;
            response.topic_id = self.name.topic.id().get();
            response.broker_id = self.shared.identity.broker_id.to_string();
            self.is_told = true;
        }
        let mut bytes = 0;
        while let Some(version) = self.next_version()
            && self.count_left > 0
            && bytes < RESPONSE_BYTES
        {
            let reason = match self.read(version).await? {
                Ok(record) => {
                    bytes += record.encoded_len();
                    response.records.push(record);
                    self.count_left -= 1;
                    self.pass(version);
                    continue;
                }
                Err(reason) => reason,
            };
            response.gap = Some(self.gap(version, reason).await?);
            break;
        }
        // The connection may take its time with it.
        self.records.forget();
        Ok(response)
    }

    /// The version that is told next.
    fn next_version(&self) -> Option<u64> {
        let (first, last) = self.rest?;
        Some(if self.is_newest_first { last } else { first })
    }

    fn pass(&mut self, version: u64) {
        let Some((first, last)) = self.rest else {
            return;
        };
        let rest = match self.is_newest_first {
            true => (first, version - 1),
            false => (version + 1, last),
        };
        self.rest = (rest.0 <= rest.1).then_some(rest);
    }

    /// Reads the record of a version, or says why it is gone.
    async fn read(&mut self, version: u64) -> Result<Result<v1::KeyRecord, Reason>, Problem> {
        let Some(place) = self.place(version).await? else {
            // INVARIANT: rows of versions go only with their records.
            self.records.trimmed()?;
            return Ok(Err(Reason::Trimmed));
        };
        let place = (place.partition, place.offset);
        let read = self.records.read(&self.shared, place, version).await?;
        Ok(match read {
            ReadRecord::Found(record) => Ok(*record),
            ReadRecord::Trimmed => Err(Reason::Trimmed),
            ReadRecord::Compacted => Err(Reason::Compacted),
            ReadRecord::Damaged(_) => Err(Reason::Damaged),
        })
    }

    async fn place(&mut self, version: u64) -> Result<Option<KeyVersion>, Problem> {
        if !self.looked_up.contains(&version) {
            let page = match self.is_newest_first {
                true => version.saturating_sub(PAGE_VERSIONS - 1).max(1)..version + 1,
                false => version..end_of_page(version, self.current_version),
            };
            self.looked_up = page.clone();
            self.page = self.name.look_up(&self.shared, page).await?.versions;
        }
        Ok(self.page.get(&version).copied())
    }

    /// Versions from one on that are gone for the same reason; passes over them. Of very many there are several
    /// gaps, so that something is told in time.
    async fn gap(&mut self, version: u64, reason: Reason) -> Result<v1::KeyGap, Problem> {
        let (mut first, mut last) = (version, version);
        self.pass(version);
        if reason != Reason::Damaged {
            // Record by record it would take long where a million are gone: whole pages have no row at all.
            while let Some(next) = self.next_version()
                && last - first < GAP_VERSIONS
            {
                let is_like = match self.place(next).await? {
                    None => reason == Reason::Trimmed,
                    Some(_) => self.read(next).await? == Err(reason),
                };
                if !is_like {
                    break;
                }
                (first, last) = (first.min(next), last.max(next));
                self.pass(next);
            }
        }
        Ok(v1::KeyGap {
            first_version: first,
            last_version: last,
            reason: reason.into(),
        })
    }
}

/// One past the last version that is looked up together with `first`, if `last` is the last that there is.
fn end_of_page(first: u64, last: u64) -> u64 {
    let end = first.saturating_add(PAGE_VERSIONS);
    end.min(last.saturating_add(1))
}
