//! Measuring steps, each in a process of its own.

use std::io::Write;
use std::path::Path;

use clap::Args;
use tempfile::TempDir;
use tokio::process::Command;

use super::callgrind::Counts;
use super::{Cost, CostSetting, SHAPES, SUBJECTS, Shape, Subject, callgrind, measure};
use crate::allocations::Allocations;
use crate::report::Report;
use crate::{Error, Result};

/// Callgrind counts in this function only.
const COUNTED_FUNCTION: &str = "*::micro::measured*";

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct MicroPlan {
    /// Only steps whose name has one of these in it [default: all]
    #[arg(long, value_delimiter = ',')]
    pub subjects: Vec<String>,
    /// Only batches of these shapes [default: all]
    #[arg(long, value_delimiter = ',')]
    pub shapes: Vec<String>,
    /// Batches of each.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=40))]
    pub calls: u32,
    /// Count no instructions, for which valgrind is needed.
    #[arg(long)]
    pub allocations_only: bool,
}

/// Measures what was asked for.
///
/// # Errors
/// [`Error::Refused`] without valgrind, or where nothing is asked for; the first one of any step.
pub async fn run<W: Write>(plan: &MicroPlan, report: &mut Report<W, Cost>) -> Result<()> {
    let subjects = SUBJECTS
        .iter()
        .filter(|it| is_wanted(&plan.subjects, it.name));
    let subjects: Vec<_> = subjects.collect();
    let shapes = SHAPES.iter().filter(|it| is_wanted(&plan.shapes, it.name));
    let shapes: Vec<_> = shapes.collect();
    if subjects.is_empty() || shapes.is_empty() {
        return Err(Error::Refused(format!(
            "nothing is left to be measured: the steps are {}, the shapes {}",
            names(SUBJECTS.iter().map(|it| it.name)),
            names(SHAPES.iter().map(|it| it.name))
        )));
    }
    if !plan.allocations_only {
        callgrind::check().await?;
    }
    let folder = TempDir::new().map_err(Error::io("make a folder for counts"))?;
    let program = std::env::current_exe().map_err(Error::io("find this program"))?;
    for subject in subjects {
        for shape in &shapes {
            let setting = CostSetting::new(subject, shape, plan.calls as usize);
            let counts = folder.path().join("counts");
            let mut command = match plan.allocations_only {
                true => Command::new(&program),
                false => callgrind::command(&program, &counts, COUNTED_FUNCTION),
            };
            let calls = plan.calls.to_string();
            command.args(["call", subject.name, shape.name, &calls]);
            let said = callgrind::output(command).await?;
            let allocations = Allocations {
                count: said.trim().parse().map_err(|_number| unexpected(&said))?,
                held_bytes: 0,
            };
            let instructions = instructions(plan, &counts)?;
            report.add(1, setting, setting.cost(instructions, allocations))?;
        }
    }
    Ok(())
}

fn instructions(plan: &MicroPlan, counts: &Path) -> Result<Option<u64>> {
    match plan.allocations_only {
        true => Ok(None),
        false => Counts::read(counts).map(|it| Some(it.instructions)),
    }
}

fn is_wanted(wanted: &[String], name: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|it| name.contains(it.as_str()))
}

fn names(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn unexpected(said: &str) -> Error {
    Error::Void(format!("a call said {said:?} instead of a number"))
}

/// What the process does that is measured: prepares, calls, and prints the number of allocations.
///
/// # Errors
/// Those of the step; a name that there is not.
pub fn call(subject: &str, shape: &str, calls: usize, out: &mut impl Write) -> Result<()> {
    let subject: Option<&Subject> = SUBJECTS.iter().find(|it| it.name == subject);
    let (Some(subject), Some(shape)) = (subject, Shape::named(shape)) else {
        return Err(Error::Refused(format!(
            "there is no step {subject:?} {shape:?}"
        )));
    };
    let allocations = measure(subject, shape, calls)?;
    writeln!(out, "{}", allocations.count).map_err(Error::io("print a number"))
}
