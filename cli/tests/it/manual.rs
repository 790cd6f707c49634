//! What the command line says of itself to shells and to readers of manuals.

use std::collections::BTreeSet;

use crate::harness::{fails, run, stdout_of, text, towpath};

#[test]
fn a_page_has_examples_and_what_help_has() {
    let page = stdout_of(&mut towpath(&["man", "topic", "create"]));
    let (head, examples) = page.split_once(".SH EXAMPLES").expect("examples");
    assert!(head.contains(".TH towpath-topic-create 1"), "{head}");
    assert!(head.contains(r"\-\-retention\-age"), "{head}");
    assert!(
        examples.contains("towpath topic create orders"),
        "{examples}"
    );
    let program = stdout_of(&mut towpath(&["man"]));
    assert!(program.contains("Exit codes:"), "{program}");
}

#[test]
fn every_command_has_a_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("man1");
    let said = run(&mut towpath(&["man", "--dir", &dir.display().to_string()]));
    let said = text(&said.stderr);
    assert!(said.starts_with("wrote "), "{said}");
    let written = std::fs::read_dir(&dir).expect("it was made");
    let written: BTreeSet<_> = written
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    // What is agreed on as help has one file for each command.
    let helps = std::fs::read_dir("tests/help").expect("help");
    let expected = helps.map(|entry| {
        let path = entry.expect("an entry").path().with_extension("1");
        path.file_name().expect("a name").to_owned()
    });
    assert_eq!(written, expected.collect());
}

#[test]
fn a_page_that_is_not_there_is_bad_usage() {
    let said = fails(2, &mut towpath(&["man", "topic", "bogus"]));
    assert!(said.contains("it has: create, get"), "{said}");
}

#[test]
fn every_shell_completes_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = stdout_of(&mut towpath(&["completions", shell]));
        for word in ["consume", "retention-age", "towpath"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
    }
}
