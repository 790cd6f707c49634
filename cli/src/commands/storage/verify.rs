//! `towpath storage verify`.

use std::io::{self, Write};
use std::ops::ControlFlow;

use serde_json::{Map, Value as Json, json};
use towpath_broker::StartError;
use towpath_broker::offline::verify_folder;
use towpath_storage::verify::{Effect, Finding, Summary, Told};

use super::super::serve::start_failure;
use super::{Outcome, Session, folder};
use crate::args::FolderArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Report, bytes, count, count_of, json_line};

pub(super) fn run(args: &FolderArgs, session: &Session<'_>) -> Result<Outcome, Failure> {
    let data_dir = args.data_dir();
    let vfs = folder(&data_dir)?;
    let progress = session.output.progress("verifying", None);
    let mut printer = session.output.reports();
    let mut printed = Ok(());
    let verified = verify_folder(vfs, &mut |told| {
        match told {
            Told::Finding(finding) => printed = printer.report(&FindingReport(finding)),
            Told::Checked { record_count, .. } => progress.advance(record_count),
            // Nothing else is told by this release.
            _ => {}
        }
        if printed.is_err() || session.interrupt.has_come() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    drop(progress);
    let summary =
        verified.map_err(|error| start_failure(StartError::from_open(&data_dir, error)))?;
    if session.interrupt.has_come() {
        return Err(Failure::interrupted());
    }
    printed
        .and_then(|()| printer.report(&SummaryReport(summary)))
        .and_then(|()| printer.flush())?;
    match failure_of(&summary) {
        Some(failure) => Err(failure),
        None => Ok(Outcome::silent(Exit::Done)),
    }
}

/// Why a folder is not whole, if it is not.
fn failure_of(summary: &Summary) -> Option<Failure> {
    let failed = |message: String| Failure::new(Exit::Failed, message);
    if summary.is_refused {
        return Some(failed("a broker does not start with this folder".to_owned()).hint(
            "restore it from a copy, or see with `towpath storage repair` whether it can be got over",
        ));
    }
    if summary.lost_record_count > 0 {
        let lost = count_of(summary.lost_record_count, "record");
        return Some(failed(format!("{lost} cannot be read any more")).hint(
            "restore the folder from a copy; a broker starts with it, tells readers of them, and serves the rest",
        ));
    }
    if summary.finding_count > summary.harmless_count {
        return Some(failed("some rows of indexes cannot be read".to_owned()).hint(
            "restore the folder from a copy; a broker starts with it, refuses what needs them, and serves the rest",
        ));
    }
    None
}

struct FindingReport<'a>(&'a Finding);

impl Report for FindingReport<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.0)
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let Finding {
            path,
            positions,
            what,
            effect,
        } = self.0;
        let mut fields = Map::new();
        let mut put = |name: &str, value: Json| drop(fields.insert(name.to_owned(), value));
        put("item", "finding".into());
        put("path", path.display().to_string().into());
        if let Some(positions) = positions {
            put("start_position", positions.start.into());
            put("end_position", positions.end.into());
        }
        put("what", what.as_str().into());
        put("effect", effect.name().into());
        match effect {
            Effect::Lost { partition, range } => {
                put("topic_id", partition.topic.get().into());
                put("partition", partition.partition.into());
                put("start_offset", range.start.get().into());
                put("end_offset", range.end.get().into());
            }
            Effect::Harmless { why } => put("why", (*why).into()),
            Effect::IndexRows | Effect::Refused => {}
        }
        json_line(out, &fields)
    }
}

struct SummaryReport(Summary);

impl Report for SummaryReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let it = &self.0;
        writeln!(
            out,
            "{} records in {} files with {} checked, {} findings, {} of them harmless",
            count(it.record_count),
            count(it.file_count),
            bytes(it.byte_count),
            count(it.finding_count),
            count(it.harmless_count),
        )
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let it = &self.0;
        json_line(
            out,
            &json!({
                "item": "summary",
                "file_count": it.file_count,
                "byte_count": it.byte_count,
                "record_count": it.record_count,
                "lost_record_count": it.lost_record_count,
                "finding_count": it.finding_count,
                "harmless_count": it.harmless_count,
                "is_refused": it.is_refused,
            }),
        )
    }
}
