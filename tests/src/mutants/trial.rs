//! Building the tests once, and running them with one site after the other taken away.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::list::{Mutant, TestCommand};
use super::tree::SWITCH;

/// Longest that a test may take; one that hangs without its site has noticed.
const PATIENCE: Duration = Duration::from_secs(600);

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It passed: nobody noticed.
    Passed,
    /// It failed.
    Failed,
    /// It did not end.
    Hung,
}

/// A test program that was built, and the folder of its package.
#[derive(Debug, Clone)]
struct Program {
    path: PathBuf,
    folder: PathBuf,
}

/// The test programs of a tree.
#[derive(Debug)]
pub struct Programs {
    programs: BTreeMap<(String, Option<String>), Program>,
}

impl Programs {
    /// Builds what the mutants are tried with.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub fn build(tree: &Path, mutants: &[Mutant]) -> Result<Self, String> {
        let mut programs = BTreeMap::new();
        for mutant in mutants {
            let TestCommand {
                package, program, ..
            } = &mutant.test;
            let key = (package.clone(), program.clone());
            if let Entry::Vacant(place) = programs.entry(key) {
                place.insert(build(tree, package, program.as_deref())?);
            }
        }
        Ok(Self { programs })
    }

    /// Runs a test, with the site of a mutant taken away if one is named.
    ///
    /// # Errors
    /// What went wrong, for people; no test of that name is such a thing.
    pub fn run(&self, test: &TestCommand, mutant: Option<&str>) -> Result<Outcome, String> {
        let key = (test.package.clone(), test.program.clone());
        let program = self.programs.get(&key).ok_or("the program was not built")?;
        let mut command = Command::new(&program.path);
        command.args(&test.filters).current_dir(&program.folder);
        if mutant.is_none() {
            check_filters(program, test)?;
        }
        command.env(SWITCH, mutant.unwrap_or_default());
        command.env("CARGO_MANIFEST_DIR", &program.folder);
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .map_err(|error| format!("{test}: {error}"))?;
        wait(child).map_err(|error| format!("{test}: {error}"))
    }
}

/// Each name must be that of a test, lest passing means nothing.
fn check_filters(program: &Program, test: &TestCommand) -> Result<(), String> {
    for filter in &test.filters {
        let mut command = Command::new(&program.path);
        let listed = command
            .args([filter, "--list"])
            .current_dir(&program.folder);
        let listed = listed
            .output()
            .map_err(|error| format!("{test}: {error}"))?;
        if !String::from_utf8_lossy(&listed.stdout).contains(": test") {
            return Err(format!("{test}: no test is named {filter}"));
        }
    }
    Ok(())
}

fn build(tree: &Path, package: &str, program: Option<&str>) -> Result<Program, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(tree)
        // Its own: cargo names what it builds by the place in the workspace, so elsewhere what has switches
        // would be taken for what has none.
        .env("CARGO_TARGET_DIR", tree.join("target"))
        .args(["test", "--no-run", "--locked", "-p", package]);
    match program {
        Some(program) => command.args(["--test", program]),
        None => command.arg("--lib"),
    };
    let command = command.arg("--message-format=json-render-diagnostics");
    let output = command
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        // Of a build that succeeds the warnings are about the switches.
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the tests of {package} cannot be built\n{said}"));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut built = messages.filter_map(|message: serde_json::Value| {
        let is_test = message["profile"]["test"] == true;
        let path = message["executable"].as_str().filter(|_| is_test)?;
        let manifest = PathBuf::from(message["manifest_path"].as_str()?);
        Some(Program {
            path: path.into(),
            folder: manifest.parent()?.to_path_buf(),
        })
    });
    built
        .next_back()
        .ok_or_else(|| format!("cargo tells of no test program of {package}"))
}

fn wait(mut child: Child) -> std::io::Result<Outcome> {
    let id = child.id();
    let (sender, ended) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        // Whoever waits may have given up.
        drop(sender.send(child.wait()));
    });
    let outcome = match ended.recv_timeout(PATIENCE) {
        Ok(status) => match status?.success() {
            true => Outcome::Passed,
            false => Outcome::Failed,
        },
        Err(_late) => {
            if let Some(pid) = i32::try_from(id)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
            }
            Outcome::Hung
        }
    };
    drop(waiter.join());
    Ok(outcome)
}
