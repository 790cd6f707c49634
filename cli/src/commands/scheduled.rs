//! `towpath scheduled`: listing, cancelling and moving records that are not due yet.

mod report;

use towpath_client::{Admin, Due, ScheduleList, TopicName};

use super::{Outcome, Session};
use crate::args::ScheduledCommand;
use crate::failure::Failure;
use crate::output::count_of;

use report::{CancelledReports, MovedReport, ScheduledReport, ScheduledReports};

/// Carries out one command about scheduled records.
pub(super) async fn run(
    command: &ScheduledCommand,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let admin = session.client()?.admin();
    match command {
        ScheduledCommand::List { topic, limit } => {
            list(topic.as_ref(), *limit as usize, &admin, session).await
        }
        ScheduledCommand::Cancel { topic, ids } => cancel(topic.as_str(), ids, &admin).await,
        ScheduledCommand::Reschedule { topic, id, due } => {
            let due = due
                .due()
                .ok_or_else(|| Failure::usage("say --delay or --at"))?;
            reschedule(topic.as_str(), id, due, &admin).await
        }
    }
}

async fn list(
    topic: Option<&TopicName>,
    limit: usize,
    admin: &Admin,
    session: &Session<'_>,
) -> Result<Outcome, Failure> {
    let page_size = u32::try_from(limit).unwrap_or(u32::MAX);
    let list = ScheduleList::new().page_size(page_size);
    let mut next = Some(match topic {
        Some(topic) => list.topic(topic.as_str()),
        None => list,
    });
    let mut records = Vec::new();
    let mut scheduled_count = 0;
    while let Some(list) = next
        && records.len() < limit
    {
        let page = admin.list_schedules(list).await?;
        let of_page = page.records.into_iter().map(ScheduledReport::of);
        records.extend(of_page.take(limit - records.len()));
        scheduled_count = page.scheduled_count;
        next = page.next;
    }
    if scheduled_count > limit as u64 {
        let all = count_of(scheduled_count, "record");
        let output = session.output;
        output.note(format_args!("{all} are scheduled; -n shows more"));
    }
    Ok(Outcome::of(ScheduledReports { records }))
}

/// Those that are there are cancelled, whatever becomes of the others.
async fn cancel(topic: &str, ids: &[String], admin: &Admin) -> Result<Outcome, Failure> {
    let mut cancelled = CancelledReports::new(topic);
    let mut problem = None;
    for id in ids {
        match admin.cancel_schedule(topic, id).await {
            Ok(due_time) => cancelled.push(id, due_time),
            Err(error) => problem = problem.or(Some(Failure::from(error))),
        }
    }
    Ok(Outcome::of(cancelled).with_failure(problem))
}

async fn reschedule(topic: &str, id: &str, due: Due, admin: &Admin) -> Result<Outcome, Failure> {
    let due_time = admin.reschedule(topic, id, due).await?;
    Ok(Outcome::of(MovedReport::new(topic, id, due_time)))
}
