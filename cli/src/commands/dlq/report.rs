//! What is told about dead letters.

use std::io::{self, Write};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use towpath_client::{
    DeadLetter, DeadLetterKind, DeadLetterProgress, DeadLetterState, FailedAttempt, Offset,
};

use crate::output::{Align, Report, Table, base64_text, bytes, count_of, json_line, printable};

/// A reason in a list is cut after so many characters.
const SHORT_REASON_LEN: usize = 60;

/// A dead letter as JSON shows it.
#[derive(Debug, Serialize)]
pub(super) struct LetterReport {
    subscription: String,
    partition: u32,
    offset: u64,
    state: &'static str,
    kind: &'static str,
    death_time: String,
    origin_topic: String,
    origin_offset: u64,
    origin_append_time: String,
    attempts: u32,
    reason: String,
    failures: Vec<FailureReport>,
    redrive_failures: Vec<FailureReport>,
    behind_offset: Option<u64>,
    /// `key` and `value` as text, or as `key_b64` and `value_b64`.
    #[serde(flatten)]
    record: Map<String, Value>,
    value_bytes: u64,
    headers: Vec<Value>,
    #[serde(skip)]
    key: String,
}

#[derive(Debug, Serialize)]
struct FailureReport {
    time: String,
    reason: String,
}

impl LetterReport {
    pub(super) fn of(subscription: &str, letter: &DeadLetter) -> Self {
        let mut record = Map::new();
        let key = letter.record.key_bytes().map(|it| it.as_ref());
        text_or_base64(&mut record, "key", key);
        let value = letter.record.value_bytes().map(|it| it.as_ref());
        text_or_base64(&mut record, "value", value);
        let headers = letter.record.headers().iter().map(|header| {
            let mut shown = Map::new();
            shown.insert("name".to_owned(), header.name().into());
            text_or_base64(&mut shown, "value", Some(header.value()));
            Value::Object(shown)
        });
        let failures = |of: &[FailedAttempt]| of.iter().map(FailureReport::of).collect();
        Self {
            subscription: subscription.to_owned(),
            partition: letter.partition.get(),
            offset: letter.offset.get(),
            state: match letter.state {
                DeadLetterState::Dead => "DEAD",
                DeadLetterState::Redriven => "REDRIVEN",
                _ => "UNKNOWN",
            },
            kind: match letter.kind {
                DeadLetterKind::Dead => "DEAD",
                DeadLetterKind::Parked => "PARKED",
                _ => "UNKNOWN",
            },
            death_time: time_text(letter.death_time),
            origin_topic: letter.origin_topic.clone(),
            origin_offset: letter.origin_offset.get(),
            origin_append_time: time_text(letter.origin_append_time),
            attempts: letter.attempts,
            reason: letter.reason.clone(),
            failures: failures(&letter.failures),
            redrive_failures: failures(&letter.redrive_failures),
            behind_offset: letter.behind_offset.map(Offset::get),
            record,
            value_bytes: letter.value_bytes,
            headers: headers.collect(),
            key: key.map_or_else(|| "-".to_owned(), printable),
        }
    }

    /// The one of its key that is dead again and keeps it.
    fn behind(&self) -> Option<String> {
        let offset = self.behind_offset?;
        Some(format!("{}@{offset}, which is dead again", self.partition))
    }

    fn origin(&self) -> String {
        match self.origin_topic.as_str() {
            "" => "-".to_owned(),
            topic => format!("{topic}/{}@{}", self.partition, self.origin_offset),
        }
    }
}

impl FailureReport {
    fn of(failed: &FailedAttempt) -> Self {
        Self {
            time: time_text(failed.time),
            reason: failed.reason.clone(),
        }
    }
}

fn text_or_base64(to: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, str::from_utf8(bytes))) {
        None => to.insert(name.to_owned(), Value::Null),
        Some((_, Ok(text))) => to.insert(name.to_owned(), text.into()),
        Some((bytes, Err(_))) => {
            to.insert(format!("{name}_b64"), base64_text(bytes).to_string().into())
        }
    };
}

fn time_text(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

impl Report for LetterReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let place = format!("{}@{}", self.partition, self.offset);
        writeln!(
            out,
            "dead letter {place} of subscription {}",
            self.subscription
        )?;
        writeln!(out, "state     {}", self.state)?;
        writeln!(out, "kind      {}", self.kind)?;
        if let Some(behind) = self.behind() {
            writeln!(out, "waits for {behind}")?;
        }
        writeln!(out, "came      {}", self.death_time)?;
        writeln!(
            out,
            "from      {}, appended {}",
            self.origin(),
            self.origin_append_time
        )?;
        if !self.reason.is_empty() {
            writeln!(out, "reason    {}", printable(self.reason.as_bytes()))?;
        }
        writeln!(out, "attempts  {}", self.attempts)?;
        let failures = { self.failures.iter() }.map(|it| ("failed", it));
        let since = { self.redrive_failures.iter() }.map(|it| ("redriven, failed", it));
        for (what, failure) in failures.chain(since) {
            let reason = printable(failure.reason.as_bytes());
            writeln!(out, "{what}  {}  {reason}", failure.time)?;
        }
        writeln!(out, "key       {}", self.key)?;
        for header in &self.headers {
            let name = header["name"].as_str().unwrap_or_default();
            let value = header["value"].as_str().or(header["value_b64"].as_str());
            let value = printable(value.unwrap_or_default().as_bytes());
            writeln!(out, "header    {}: {value}", printable(name.as_bytes()))?;
        }
        let value = match (&self.record.get("value"), self.record.get("value_b64")) {
            (Some(Value::String(text)), _) => printable(text.as_bytes()),
            (_, Some(Value::String(text))) => format!("(base64) {text}"),
            _ => "-".to_owned(),
        };
        writeln!(out, "value     {} ({})", value, bytes(self.value_bytes))
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}

/// Dead letters, one a line.
#[derive(Debug)]
pub(super) struct LetterList {
    letters: Vec<LetterReport>,
}

impl LetterList {
    pub(super) const fn new(letters: Vec<LetterReport>) -> Self {
        Self { letters }
    }
}

impl Report for LetterList {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            ("LETTER", Align::Left),
            ("STATE", Align::Left),
            ("KIND", Align::Left),
            ("CAME", Align::Left),
            ("FROM", Align::Left),
            ("KEY", Align::Left),
            ("ATTEMPTS", Align::Right),
            ("REASON", Align::Left),
        ]);
        for it in &self.letters {
            let last = it.redrive_failures.last().map(|it| it.reason.as_str());
            let reason = match it.behind() {
                Some(behind) => format!("behind {behind}"),
                None => printable(last.unwrap_or(&it.reason).as_bytes()),
            };
            table.row([
                format!("{}@{}", it.partition, it.offset),
                it.state.to_owned(),
                it.kind.to_owned(),
                it.death_time.clone(),
                it.origin(),
                it.key.clone(),
                it.attempts.to_string(),
                reason.chars().take(SHORT_REASON_LEN).collect(),
            ]);
        }
        write!(out, "{table}")
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        { self.letters.iter() }.try_for_each(|letter| json_line(out, letter))
    }
}

/// What was done with dead letters.
#[derive(Debug)]
pub(super) enum Deed {
    /// They were delivered again, or appended to a topic.
    Redrive {
        /// Which topic.
        topic: Option<String>,
    },
    /// They were settled.
    Discard,
}

/// How many were redriven or discarded, or would be.
#[derive(Debug, Serialize)]
pub(super) struct MovedLetters {
    subscription: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redriven_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded_count: Option<u64>,
    passed_count: u64,
    kept_count: u64,
    /// Those that were named and are not there.
    missing: Vec<String>,
    is_dry_run: bool,
}

impl MovedLetters {
    pub(super) fn new(
        subscription: &str,
        deed: Deed,
        progress: &DeadLetterProgress,
        is_dry_run: bool,
    ) -> Self {
        let (to_topic, is_redrive) = match deed {
            Deed::Redrive { topic } => (topic, true),
            Deed::Discard => (None, false),
        };
        let count = progress.done_count;
        Self {
            subscription: subscription.to_owned(),
            to_topic,
            redriven_count: is_redrive.then_some(count),
            discarded_count: (!is_redrive).then_some(count),
            passed_count: progress.passed_count,
            kept_count: progress.kept_count,
            missing: { progress.missing.iter() }
                .map(|(partition, offset)| format!("{partition}@{offset}"))
                .collect(),
            is_dry_run,
        }
    }
}

impl Report for MovedLetters {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let (verb, count) = match (self.redriven_count, self.discarded_count, self.is_dry_run) {
            (Some(count), _, false) => ("redrove", count),
            (Some(count), _, true) => ("would redrive", count),
            (None, count, false) => ("discarded", count.unwrap_or_default()),
            (None, count, true) => ("would discard", count.unwrap_or_default()),
        };
        let letters = count_of(count, "dead letter");
        let target = match &self.to_topic {
            Some(topic) => format!(" to topic {topic}"),
            None => String::new(),
        };
        writeln!(
            out,
            "{verb} {letters} of subscription {}{target}",
            self.subscription
        )?;
        if self.passed_count > 0 {
            let passed = count_of(self.passed_count, "other");
            writeln!(out, "{passed} had been redriven before")?;
        }
        if self.kept_count > 0 {
            let kept = count_of(self.kept_count, "other");
            writeln!(out, "{kept} stay: consumers have them at the moment")?;
        }
        if !self.missing.is_empty() {
            writeln!(out, "not there: {}", self.missing.join(", "))?;
        }
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}
