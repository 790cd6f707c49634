//! Towpath beside others: the same work on the same machine, in turn.
//!
//! ```text
//! start everybody
//! for each job:  what is to be read is written
//!   for each round:  everybody does the job once, each round begun by another
//! ```
//!
//! A system may take part in several classes of durability: what its own default promises, and with a
//! sync of each record. Each row says its class. What cannot be run is said, and the rest goes on.

mod chart;
mod peer;
mod peers;
mod plan;
mod process;
mod rows;
mod summary;
#[cfg(test)]
mod testing;
mod text;
mod tools;
mod work;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

pub use chart::Chart;
pub use plan::{PeerName, Plan};
pub use rows::{Card, Done, LeftOut, Row, Run};
pub use summary::Median;
pub use text::Comparison;
pub use work::{Class, Job, Work};

use tokio::time::sleep;

use crate::host::{Machine, Meter, memory_bytes_max, process_ticks};
use crate::{Error, Result};
use peer::{Peer, Room};
use tools::Tools;

/// How often is looked whether the servers rest, and how many times at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const LOOKS_MAX: u32 = 25;
/// Processor time of all servers in that interval when they rest, in clock ticks.
const RESTING_TICKS: u64 = 4;
/// The system that all others are compared with.
const TOWPATH: &str = "towpath";

/// Measures the whole plan below `dir`, which must be empty.
///
/// Dropping the future kills all servers.
///
/// # Errors
/// The first one of Towpath itself, of the machine or of the report. What ails the others is reported.
pub async fn run<W: Write>(plan: &Plan, dir: &Path, report: &mut Comparison<W>) -> Result<()> {
    report.add(Row::Machine(Machine::describe(Some(dir))?))?;
    let tools = Tools::new(plan.tools.as_deref().unwrap_or(&dir.join("tools")))?;
    let room = Room {
        plan,
        tools: &tools,
        dir,
    };
    let mut systems = start(room, report).await?;
    for job in plan.jobs() {
        measure(plan, &job, &mut systems, report).await?;
    }
    Ok(())
}

/// Takes the rows of earlier runs instead.
///
/// # Errors
/// Those of the files and of the report.
pub fn read<W: Write>(plan: &Plan, report: &mut Comparison<W>) -> Result<()> {
    rows::read(&plan.from)?
        .into_iter()
        .try_for_each(|row| report.add(row))
}

async fn start<W: Write>(room: Room<'_>, report: &mut Comparison<W>) -> Result<Vec<Box<dyn Peer>>> {
    let mut systems = vec![peers::start_towpath(room).await?];
    for name in &room.plan.peers {
        match peers::start(*name, room).await {
            Ok(started) => systems.extend(started),
            Err(error) => report.add(Row::LeftOut(LeftOut {
                system: format!("{name:?}").to_lowercase(),
                class: None,
                work: None,
                reason: with_causes(&error),
            }))?,
        }
    }
    for system in &systems {
        report.add(Row::System(system.card().clone()))?;
    }
    Ok(systems)
}

async fn measure<W: Write>(
    plan: &Plan,
    job: &Job,
    systems: &mut [Box<dyn Peer>],
    report: &mut Comparison<W>,
) -> Result<()> {
    let amount = plan.amount(job);
    let servers: Vec<u32> = systems.iter().filter_map(|system| system.pid()).collect();
    let mut able: Vec<&mut Box<dyn Peer>> = Vec::new();
    for system in systems {
        let prepared = match system.lacks(job) {
            Some(reason) => Err(Error::Refused(reason.to_owned())),
            None => system.prepare(job, amount).await,
        };
        match prepared {
            Ok(()) => able.push(system),
            Err(error) => report.add(left_out(system.card(), job, &error))?,
        }
    }
    for round in 1..=plan.rounds {
        let mut still_able = Vec::new();
        for system in able {
            let name = report.next_name();
            come_to_rest(&servers).await;
            match run_once(system, job, plan, round, &name).await {
                Ok(run) => {
                    report.add(Row::Run(run))?;
                    still_able.push(system);
                }
                Err(error) if system.card().system == TOWPATH => return Err(error),
                Err(error) => report.add(left_out(system.card(), job, &error))?,
            }
        }
        // Another one begins.
        let begun = usize::from(!still_able.is_empty());
        still_able.rotate_left(begun);
        able = still_able;
    }
    Ok(())
}

/// Waits until what earlier runs left behind is written and the servers have nothing to do.
async fn come_to_rest(servers: &[u32]) {
    rustix::fs::sync();
    // One that has ended is met when it is to run.
    let spent = || -> u64 {
        servers
            .iter()
            .map(|pid| process_ticks(*pid).unwrap_or(0))
            .sum()
    };
    let mut before = spent();
    for _ in 0..LOOKS_MAX {
        sleep(LOOK_INTERVAL).await;
        let now = spent();
        if now.saturating_sub(before) <= RESTING_TICKS {
            break;
        }
        before = now;
    }
}

async fn run_once(
    system: &mut Box<dyn Peer>,
    job: &Job,
    plan: &Plan,
    round: u32,
    name: &str,
) -> Result<Run> {
    let meter = Meter::start_with_children(system.pid())?;
    let done = system.run(job, plan.amount(job), name).await?;
    let usage = meter.stop()?;
    let mut run = Run::new(round, system.card(), job, done);
    run.server_memory_bytes_max = system.pid().map(memory_bytes_max).transpose()?;
    run.steal_percent = usage.steal_percent;
    run.others_percent = usage.others_percent;
    Ok(run)
}

fn left_out(card: &Card, job: &Job, error: &Error) -> Row {
    Row::LeftOut(LeftOut {
        system: card.system.clone(),
        class: Some(card.class),
        work: Some(job.work),
        reason: with_causes(error),
    })
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
