//! Help as it is printed, and blocks of commands as a README shows them.

use crate::harness::TestBroker;

#[test]
fn help_is_what_was_agreed_on() {
    trycmd::TestCases::new().case("tests/help/*.trycmd");
}

#[test]
fn blocks_of_commands_print_what_they_show() {
    let broker = TestBroker::start();
    trycmd::TestCases::new()
        .env("TOWPATH_URL", broker.url())
        .case("tests/blocks/*.md");
}

#[test]
fn the_blocks_of_the_readme_print_what_they_show() {
    let broker = TestBroker::start();
    trycmd::TestCases::new()
        .env("TOWPATH_URL", broker.url())
        .case("../README.md");
}

#[test]
fn the_blocks_of_the_documents_print_what_they_show() {
    for page in [
        "../docs/compaction.md",
        "../docs/exact-writes.md",
        "../docs/exec.md",
        "../docs/retention.md",
    ] {
        let broker = TestBroker::start();
        trycmd::TestCases::new()
            .env("TOWPATH_URL", broker.url())
            .case(page);
    }
}
