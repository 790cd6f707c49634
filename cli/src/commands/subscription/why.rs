//! `towpath subscription why`.

use std::io::{self, Write};

use serde::Serialize;
use towpath_client::{Address, Admin, FilterVerdict, RecordExplanation, SubscriptionName};

use super::super::Outcome;
use super::pending::PendingReport;
use crate::failure::Failure;
use crate::output::{Report, json_line, printable};

/// Explains one record.
pub(super) async fn run(
    name: &SubscriptionName,
    record: &Address,
    admin: &Admin,
) -> Result<Outcome, Failure> {
    let topic = admin.subscription(name.as_str()).await?.topic;
    if topic != record.topic {
        let failure = Failure::usage(format!("subscription {name} is of topic {topic}"));
        let (partition, offset) = (record.partition, record.offset);
        return Err(failure.hint(format!("name a record of it: {topic}/{partition}@{offset}")));
    }
    let explained = admin.explain_record(name.as_str(), record.partition, record.offset);
    Ok(Outcome::of(WhyReport::of(name, record, &explained.await?)))
}

/// An explanation as JSON shows it.
#[derive(Debug, Serialize)]
struct WhyReport {
    subscription: String,
    address: String,
    record: PendingReport,
    obstacles: Vec<String>,
    filter: Option<String>,
    filter_verdict: Option<&'static str>,
    filter_detail: Option<String>,
    dead_letter_topic: Option<String>,
    dead_letter_offset: Option<u64>,
    redriven: Option<PendingReport>,
    note: Option<String>,
}

impl WhyReport {
    fn of(name: &SubscriptionName, address: &Address, explained: &RecordExplanation) -> Self {
        let letter = explained.dead_letter.as_ref();
        let verdict = explained.filter_verdict.map(|verdict| match verdict {
            FilterVerdict::Match => "match",
            FilterVerdict::NoMatch => "no-match",
            FilterVerdict::Unjudged => "unjudged",
            _ => "unknown",
        });
        Self {
            subscription: name.to_string(),
            address: address.to_string(),
            record: PendingReport::of(&explained.record),
            obstacles: explained
                .obstacles
                .iter()
                .map(|it| it.detail.clone())
                .collect(),
            filter: explained.filter.clone(),
            filter_verdict: verdict,
            filter_detail: explained.filter_detail.clone(),
            dead_letter_topic: letter.map(|(topic, _)| topic.clone()),
            dead_letter_offset: letter.map(|(_, offset)| offset.get()),
            redriven: explained.redriven.as_ref().map(PendingReport::of),
            note: explained.note.clone(),
        }
    }
}

impl Report for WhyReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let text = |text: &str| printable(text.as_bytes()).to_string();
        writeln!(out, "{}", self.record.line())?;
        self.record.write_failures(out)?;
        for obstacle in &self.obstacles {
            writeln!(out, "because {}", text(obstacle))?;
        }
        if let (Some(filter), Some(verdict)) = (&self.filter, self.filter_verdict) {
            let detail = self
                .filter_detail
                .as_deref()
                .map(|it| format!(" ({})", text(it)));
            let detail = detail.unwrap_or_default();
            writeln!(out, "filter {verdict}{detail}: {}", text(filter))?;
        }
        if let (Some(topic), Some(offset)) = (&self.dead_letter_topic, self.dead_letter_offset) {
            writeln!(
                out,
                "dead letter {topic}/{}@{offset}",
                self.record.partition
            )?;
        }
        if let Some(redriven) = &self.redriven {
            writeln!(out, "redriven {}", redriven.line())?;
            redriven.write_failures(out)?;
        }
        self.note
            .iter()
            .try_for_each(|note| writeln!(out, "{}", text(note)))
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}
