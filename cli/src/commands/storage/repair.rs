//! `towpath storage repair`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use towpath_broker::StartError;
use towpath_broker::offline::{plan_repair, repair_folder};
use towpath_storage::repair::Plan;
use towpath_storage::{Environment, SystemClock, SystemEntropy};

use super::super::serve::start_failure;
use super::{Outcome, folder};
use crate::args::RepairArgs;
use crate::failure::Failure;
use crate::output::{Report, count_of, json_line};

pub(super) fn run(args: &RepairArgs) -> Result<Outcome, Failure> {
    let data_dir = args.folder.data_dir();
    let failed = |error| start_failure(StartError::from_open(&data_dir, error));
    let environment = Environment {
        vfs: folder(&data_dir)?,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let plan = plan_repair(&environment).map_err(failed)?;
    if let Some(plan) = plan.as_ref().filter(|_| args.accept_loss) {
        repair_folder(&environment, plan).map_err(failed)?;
    }
    Ok(Outcome::of(RepairReport {
        data_dir,
        plan,
        is_done: args.accept_loss,
    }))
}

/// What a repair gives up, or has given up.
struct RepairReport {
    data_dir: PathBuf,
    plan: Option<Plan>,
    is_done: bool,
}

impl Report for RepairReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(plan) = &self.plan else {
            return writeln!(
                out,
                "nothing to repair: the journal in {} is whole as far as it goes",
                self.data_dir.display()
            );
        };
        let [lose, keep] = match self.is_done {
            true => ["lost", "kept"],
            false => ["would be lost", "would be kept"],
        };
        writeln!(
            out,
            "the journal is damaged behind lsn {}: {}",
            plan.after_lsn, plan.what
        )?;
        match plan.last_lsn {
            Some(last) => writeln!(
                out,
                "{lose}: everything from lsn {} on; what is to be seen of it reaches to lsn {last}, with {} to topics, groups, subscriptions and indexes",
                plan.after_lsn.next(),
                count_of(plan.row_count, "change"),
            )?,
            None => writeln!(
                out,
                "{lose}: everything behind lsn {}; nothing of it is to be seen",
                plan.after_lsn
            )?,
        }
        if let Some(unreadable @ 1..) = plan.unreadable_count() {
            let changes = count_of(unreadable, "lsn");
            writeln!(
                out,
                "{lose}: what {changes} of them had changed, which cannot be read"
            )?;
        }
        for (partition, range) in &plan.lost {
            writeln!(
                out,
                "{lose}: records {range} of partition {partition}; new records get these offsets"
            )?;
        }
        for path in &plan.kept_aside {
            writeln!(out, "{keep} in lost+found: {}", path.display())?;
        }
        match self.is_done {
            true => writeln!(out, "done: the broker starts with this folder"),
            false => writeln!(out, "nothing was changed: --accept-loss does it"),
        }
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(plan) = &self.plan else {
            return json_line(out, &json!({ "is_needed": false, "is_done": false }));
        };
        let lost = plan.lost.iter().map(|(partition, range)| {
            json!({
                "topic_id": partition.topic.get(),
                "partition": partition.partition,
                "start_offset": range.start.get(),
                "end_offset": range.end.get(),
            })
        });
        let kept = plan
            .kept_aside
            .iter()
            .map(|path| path.display().to_string());
        json_line(
            out,
            &json!({
                "is_needed": true,
                "is_done": self.is_done,
                "what": plan.what,
                "after_lsn": plan.after_lsn.get(),
                "last_lsn": plan.last_lsn.map(towpath_storage::Lsn::get),
                "entry_count": plan.entry_count,
                "unreadable_count": plan.unreadable_count(),
                "row_count": plan.row_count,
                "lost": lost.collect::<Vec<_>>(),
                "kept_aside": kept.collect::<Vec<_>>(),
            }),
        )
    }
}
