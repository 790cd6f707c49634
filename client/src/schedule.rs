//! Records that are delivered later.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use towpath_proto::ids::PartitionId;
use towpath_proto::v1;

use crate::client::Shared;
use crate::time::{from_ms, to_ms, whole_ms};
use crate::{Commit, Error, Record};

/// When a record is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At this time of the broker's clock. Up to 5 seconds in the past is due at once.
    At(SystemTime),
    /// So long after the broker has accepted it, by its clock.
    After(Duration),
}

impl Due {
    pub(crate) fn to_proto(self) -> v1::ScheduleTime {
        use v1::schedule_time::Time;
        let time = match self {
            Self::At(time) => Time::AtMs(to_ms(time)),
            // A fraction more is not early.
            Self::After(delay) => {
                let ms = whole_ms(delay);
                Time::DelayMs(ms + u64::from(Duration::from_millis(ms) < delay))
            }
        };
        v1::ScheduleTime { time: Some(time) }
    }
}

impl From<Duration> for Due {
    fn from(delay: Duration) -> Self {
        Self::After(delay)
    }
}

impl From<SystemTime> for Due {
    fn from(time: SystemTime) -> Self {
        Self::At(time)
    }
}

/// A record that is written to a topic when it is due.
#[derive(Debug, Clone)]
#[must_use = "does nothing before it is given to `Commit::schedule`"]
pub struct Schedule {
    topic: String,
    record: Record,
    due: Option<Due>,
    id: String,
}

impl Schedule {
    /// A record for this topic. It needs a time.
    pub fn new(topic: impl Into<String>, record: impl Into<Record>) -> Self {
        Self {
            topic: topic.into(),
            record: record.into(),
            due: None,
            id: String::new(),
        }
    }

    /// It is due at this time of the broker's clock.
    pub fn at(self, time: SystemTime) -> Self {
        self.due(time)
    }

    /// It is due so long after the broker has accepted it.
    pub fn after(self, delay: Duration) -> Self {
        self.due(delay)
    }

    /// Sets when it is due.
    pub fn due(mut self, due: impl Into<Due>) -> Self {
        self.due = Some(due.into());
        self
    }

    /// Names it within its topic for as long as it is scheduled, to cancel or to reschedule it. At most 128
    /// bytes, and not beginning with `@`. While another record has the id it is refused
    /// ([`ErrorReason::ScheduleExists`](crate::ErrorReason::ScheduleExists)). Without one the broker makes
    /// an id.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    pub(crate) const fn record(&self) -> &Record {
        &self.record
    }

    /// # Errors
    ///
    /// There is no time, or the record expects an offset.
    pub(crate) fn to_proto(&self, source: &str) -> Result<v1::ScheduleRecord, Error> {
        let Some(due) = self.due else {
            let text = "it is not said when the record is due";
            return Err(Error::invalid("time", text).with("topic", &self.topic));
        };
        if self.record.expected_offset().is_some() {
            let text = "a scheduled record expects no offset";
            return Err(Error::invalid("expected_offset", text).with("topic", &self.topic));
        }
        Ok(v1::ScheduleRecord {
            topic: self.topic.clone(),
            record: Some(self.record.to_proto(source)),
            partition: self.record.chosen_partition().map(PartitionId::get),
            time: Some(due.to_proto()),
            schedule_id: self.id.clone(),
        })
    }
}

/// Where a scheduled record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scheduled {
    /// What names it within its topic.
    pub id: String,
    /// The partition that it goes to.
    pub partition: PartitionId,
    /// When it is due, by the broker's clock.
    pub due_time: SystemTime,
}

impl Scheduled {
    pub(crate) fn from_proto(scheduled: &v1::ScheduledPosition) -> Self {
        Self {
            id: scheduled.schedule_id.clone(),
            partition: PartitionId::new(scheduled.partition),
            due_time: from_ms(scheduled.due_ms),
        }
    }
}

/// A record that is to be scheduled.
///
/// It is scheduled once however often it is sent: the call has a random key by which the broker knows it
/// again, as a [`Commit`] has.
#[derive(Debug)]
#[must_use = "nothing is scheduled before it is sent"]
pub struct ScheduleCall {
    commit: Commit,
    schedule: Schedule,
}

impl ScheduleCall {
    pub(crate) fn new(client: Arc<Shared>, topic: String, record: Record) -> Self {
        Self {
            commit: Commit::new(client),
            schedule: Schedule::new(topic, record),
        }
    }

    /// As [`Schedule::at`].
    pub fn at(mut self, time: SystemTime) -> Self {
        self.schedule = self.schedule.at(time);
        self
    }

    /// As [`Schedule::after`].
    pub fn after(mut self, delay: Duration) -> Self {
        self.schedule = self.schedule.after(delay);
        self
    }

    /// As [`Schedule::due`].
    pub fn due(mut self, due: impl Into<Due>) -> Self {
        self.schedule = self.schedule.due(due);
        self
    }

    /// As [`Schedule::id`].
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.schedule = self.schedule.id(id);
        self
    }

    /// As [`Commit::idempotency_key`].
    pub fn idempotency_key(mut self, key: impl Into<Bytes>) -> Self {
        self.commit = self.commit.idempotency_key(key);
        self
    }

    /// Sets how long the outcome is waited for, instead of what the client says.
    pub fn give_up_after(mut self, duration: Duration) -> Self {
        self.commit = self.commit.give_up_after(duration);
        self
    }

    /// Schedules it, and returns where it stands once that is on disk.
    ///
    /// Dropping the future leaves open whether it is scheduled.
    ///
    /// # Errors
    ///
    /// [`ErrorReason::InvalidArgument`](crate::ErrorReason::InvalidArgument) for a time that is more than 5
    /// seconds in the past or more than 366 days ahead,
    /// [`ErrorReason::ScheduleExists`](crate::ErrorReason::ScheduleExists) if another record of the topic
    /// has the id, [`ErrorReason::LimitReached`](crate::ErrorReason::LimitReached) if too many are
    /// scheduled.
    pub async fn send(self) -> Result<Scheduled, Error> {
        let committed = self.commit.schedule(self.schedule).send().await?;
        let scheduled = committed.scheduled().next().cloned();
        scheduled.ok_or_else(|| Error::protocol("the broker does not say what it scheduled"))
    }
}

#[cfg(test)]
mod tests {
    use v1::schedule_time::Time;

    use super::*;

    #[test]
    fn a_delay_is_never_shorter_than_asked_for() {
        for (delay, expected_ms) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(7), 7),
            (Duration::from_micros(7_001), 8),
        ] {
            let time = Due::from(delay).to_proto().time;
            assert_eq!(time, Some(Time::DelayMs(expected_ms)), "{delay:?}");
        }
    }

    #[test]
    fn a_record_without_a_time_or_with_an_expectation_is_not_scheduled() {
        let refused = |schedule: Schedule| {
            let error = schedule.to_proto("").unwrap_err();
            error.metadata("field").map(ToOwned::to_owned)
        };
        let plain = || Schedule::new("reminders", Record::new("v"));
        assert_eq!(refused(plain()).as_deref(), Some("time"));
        let expecting = Record::new("v").expect_offset(towpath_proto::ids::Offset::new(1));
        let expecting = Schedule::new("reminders", expecting).after(Duration::ZERO);
        assert_eq!(refused(expecting).as_deref(), Some("expected_offset"));
        let made = plain()
            .after(Duration::from_secs(1))
            .id("one")
            .to_proto("")
            .unwrap();
        assert_eq!((made.schedule_id.as_str(), made.partition), ("one", None));
    }
}
