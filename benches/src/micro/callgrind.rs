//! Running a program under valgrind and reading what callgrind has counted.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::{Error, Result};

/// Functions of the C library that give memory, as often as they are called.
const ALLOCATORS: [&str; 6] = [
    "malloc",
    "calloc",
    "realloc",
    "memalign",
    "posix_memalign",
    "aligned_alloc",
];

/// The option that says where counts are written when the program ends.
pub(super) fn counts_option(counts: &Path) -> OsString {
    let mut option = OsStr::new("--callgrind-out-file=").to_owned();
    option.push(counts);
    option
}

/// `program` under callgrind, which counts in functions of this name only, and in what they call.
pub(super) fn command(program: &Path, counts: &Path, function: &str) -> Command {
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--tool=callgrind"])
        .arg(counts_option(counts))
        .arg(format!("--toggle-collect={function}"))
        .arg(program);
    command
}

/// Runs a command to its end and returns what it said on its standard output.
///
/// # Errors
/// [`Error::Void`] for a program that fails.
pub(super) async fn output(mut command: Command) -> Result<String> {
    let command = command.stderr(Stdio::inherit()).kill_on_drop(true);
    let output = command.output().await;
    let output = output.map_err(Error::io("start a call"))?;
    if !output.status.success() {
        let status = output.status;
        return Err(Error::Void(format!("a call failed: {status}")));
    }
    String::from_utf8(output.stdout).map_err(|fault| Error::Void(fault.to_string()))
}

/// Whether there is a valgrind to run.
///
/// # Errors
/// [`Error::Refused`] if not, with what to do.
pub(super) async fn check() -> Result<()> {
    let version = Command::new("valgrind").arg("--version").output().await;
    match version {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Err(Error::Refused(
            "valgrind, which counts instructions, is not installed: apt-get install valgrind; \
             `micro steps --allocations-only` does without"
                .to_owned(),
        )),
        version => version.map(drop).map_err(Error::io("start valgrind")),
    }
}

/// What a program has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Instructions of all functions together.
    pub(super) instructions: u64,
    /// How often memory was asked for from the C library.
    pub(super) allocations: u64,
}

impl Counts {
    /// Reads a file of callgrind's.
    ///
    /// # Errors
    /// If it is none, or nothing was counted.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(Error::io("read what callgrind counted"))?;
        Self::parse(&text).ok_or_else(|| Error::Void("callgrind has counted nothing".to_owned()))
    }

    /// A function that is called stands in a line `cfn=(number) name`, without its name from the second
    /// time on; the next line says `calls=` how often.
    fn parse(text: &str) -> Option<Self> {
        let mut allocators = Vec::new();
        let (mut is_allocator, mut allocations) = (false, 0);
        for line in text.lines() {
            let named = line.strip_prefix("cfn=").or(line.strip_prefix("fn="));
            if let Some((number, name)) = named.and_then(|it| it.split_once(')')) {
                // A version of the symbol or a `'2` for recursion may follow.
                let name = name.trim_start().split(['@', '\'']).next();
                if name.is_some_and(|name| ALLOCATORS.contains(&name)) {
                    allocators.push(number);
                }
                is_allocator = line.starts_with('c') && allocators.contains(&number);
            } else if let Some(calls) = line.strip_prefix("calls=").filter(|_| is_allocator) {
                allocations += calls.split(' ').next()?.parse::<u64>().ok()?;
            }
        }
        let totals = text.lines().find_map(|line| line.strip_prefix("totals:"));
        let instructions = totals?.split_whitespace().next()?.parse().ok()?;
        (instructions > 0).then_some(Self {
            instructions,
            allocations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_and_the_calls_of_allocators_are_read() {
        let text = "version: 1\nevents: Ir\nfn=(1) main\n7 5\ncfn=(2) malloc\ncalls=3 0\n9 40\n\
                    cfn=(3) free\ncalls=8 0\n9 4\n\nfn=(2)\n1 2\n\nfn=(4) other\ncob=(2)\ncfn=(2)\n\
                    calls=4 0\n2 3\ncfn=(5) malloc_consolidate\ncalls=9 0\n1 1\n\ntotals: 4711\n";
        let counts = Counts {
            instructions: 4711,
            allocations: 7,
        };
        assert_eq!(Counts::parse(text), Some(counts));
    }

    #[test]
    fn without_a_count_there_is_no_figure() {
        assert_eq!(Counts::parse("totals: 0\n"), None, "nothing was collected");
        assert_eq!(
            Counts::parse("version: 1\n"),
            None,
            "not written to its end"
        );
    }
}
