//! Takes away each site of `tests/mutants/list.md` and `damage.md` in turn and shows that its test
//! fails.
//!
//! `cargo run -p towpath-tests --bin mutants [NAME|PACKAGE...]`: all of them, those whose names begin
//! like that, or those that the tests of a package notice.
//! The copy of the tree and what is built of it lie in the target folder.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it finds is for people"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use towpath_tests::mutants::list::{LIST, Mutant, read};
use towpath_tests::mutants::tree;
use towpath_tests::mutants::trial::{Outcome, Programs};

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match run(&names) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all were noticed.
fn run(names: &[String]) -> Result<bool, String> {
    let all = read(LIST);
    let is_chosen = |it: &&Mutant| {
        names.is_empty()
            || names
                .iter()
                .any(|name| it.name.starts_with(name.as_str()) || it.test.package == *name)
    };
    let chosen: Vec<_> = all.iter().filter(is_chosen).cloned().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let copy = target.join("mutants");
    tree::make(&root, &copy, &all)?;
    let programs = Programs::build(&copy, &chosen)?;
    let mut tests: Vec<_> = chosen.iter().map(|it| &it.test).collect();
    tests.sort();
    tests.dedup();
    for test in tests {
        if programs.run(test, None)? != Outcome::Passed {
            return Err(format!(
                "cargo test {test} fails with everything in its place"
            ));
        }
    }
    let mut survivor_count = 0;
    for mutant in &chosen {
        let told = match programs.run(&mutant.test, Some(&mutant.name))? {
            Outcome::Failed => "killed",
            Outcome::Hung => "killed, by not ending",
            Outcome::Passed => {
                survivor_count += 1;
                "SURVIVED"
            }
        };
        println!("{:<24} {told}: cargo test {}", mutant.name, mutant.test);
    }
    println!("{} sites, {survivor_count} survived", chosen.len());
    Ok(survivor_count == 0)
}
