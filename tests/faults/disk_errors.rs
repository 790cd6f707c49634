//! Errors of the disk at one call: the broker ends or goes on, and says why; nothing is lost.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;
use towpath_tests::fault::{Strace, When, report};
use towpath_tests::load::{Load, LoadOptions};
use towpath_tests::process::{BrokerProcess, BrokerSetup};

use crate::cli::cli;
use crate::layout::{index_files, journal_files, segment_files};
use crate::{BROKER_FAILED, Need, PATIENCE, can, seed};

/// How long it is looked whether a call was changed before somebody is asked to do more.
const LOOK: Duration = Duration::from_millis(50);
/// How often it is looked whether a broker ends that may or may not.
const LOOKS: u32 = 5;
/// More threads than the broker reads with.
const READ_THREADS_MAX: usize = 10;
/// In use, kept for later, and a few that were made ready.
const JOURNAL_FILES_MAX: usize = 10;
/// Calls of one kind that are let fail during a start, one in each; a small folder needs fewer.
const START_CALLS_MAX: u32 = 40;

/// An error and what has to become of it.
struct Case {
    calls: &'static str,
    error: &'static str,
    /// Where the call goes to.
    files: Files,
    when: When,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy)]
enum Files {
    Journal,
    Segments,
    Indexes,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// What the disk holds is not known: the broker ends with its exit code.
    Ends,
    /// The work is put off.
    GoesOn,
    /// Either.
    EndsOrGoesOn,
}

const fn case(
    calls: &'static str,
    error: &'static str,
    files: Files,
    number: u32,
    outcome: Outcome,
) -> Case {
    Case {
        calls,
        error,
        files,
        when: When::Nth(number),
        outcome,
    }
}

#[test]
fn an_error_at_one_call_loses_nothing() {
    if !can("errors of the disk", &[Need::Strace]) {
        return;
    }
    let cases = [
        case("fdatasync", "EIO", Files::Journal, 1, Outcome::Ends),
        case("fdatasync", "EIO", Files::Journal, 2, Outcome::Ends),
        case("fdatasync", "EIO", Files::Journal, 9, Outcome::Ends),
        case("fdatasync", "EIO", Files::Journal, 30, Outcome::Ends),
        case("pwritev", "EIO", Files::Journal, 1, Outcome::Ends),
        case("pwritev", "EIO", Files::Journal, 4, Outcome::Ends),
        case("pwritev", "EIO", Files::Journal, 20, Outcome::Ends),
        case("pwritev", "EIO", Files::Segments, 1, Outcome::Ends),
        case("pwritev", "EIO", Files::Segments, 7, Outcome::Ends),
        case("pwritev", "EIO", Files::Indexes, 1, Outcome::Ends),
        case("pwritev", "ENOSPC", Files::Journal, 2, Outcome::Ends),
        case("pwritev", "ENOSPC", Files::Segments, 3, Outcome::Ends),
        case("fallocate", "ENOSPC", Files::All, 1, Outcome::GoesOn),
        case("fallocate", "ENOSPC", Files::All, 2, Outcome::GoesOn),
    ];
    let mut bench = Bench::start();
    let before = bench.load.counts().in_doubt;
    cases.iter().for_each(|case| bench.go_through(case));
    let in_doubt = bench.load.counts().in_doubt - before;
    let (calls, ends) = (cases.len(), bench.ends);
    report(
        "errors of the disk",
        format_args!("{calls}, {ends} of which ended the broker; {in_doubt} records in doubt"),
    );
    bench.finish();
    assert!(in_doubt > 0, "a round that failed is in doubt");
}

#[test]
fn an_error_at_a_checkpoint_loses_nothing() {
    if !can("errors at a checkpoint", &[Need::Strace]) {
        return;
    }
    let cases = [
        case("renameat", "EIO", Files::All, 1, Outcome::EndsOrGoesOn),
        case("renameat", "EIO", Files::All, 2, Outcome::EndsOrGoesOn),
        case("openat", "EIO", Files::All, 1, Outcome::EndsOrGoesOn),
        case("openat", "EIO", Files::All, 3, Outcome::EndsOrGoesOn),
        case("fsync", "EIO", Files::All, 1, Outcome::EndsOrGoesOn),
        case("fsync", "EIO", Files::All, 2, Outcome::EndsOrGoesOn),
        case("unlinkat", "EIO", Files::All, 1, Outcome::EndsOrGoesOn),
        case("unlinkat", "EIO", Files::All, 3, Outcome::EndsOrGoesOn),
    ];
    let mut bench = Bench::start();
    // A second after a topic was deleted, which the load does all the time.
    cases.iter().for_each(|case| bench.go_through(case));
    let (calls, ends) = (cases.len(), bench.ends);
    report(
        "errors at a checkpoint",
        format_args!("{calls}, {ends} of which ended the broker"),
    );
    bench.finish();
}

impl Case {
    fn strace(&self, data_dir: &Path) -> Strace {
        let strace = Strace::failing(self.calls, self.error, self.when);
        match self.files {
            Files::Journal => strace.on(journal_files(data_dir)),
            Files::Segments => strace.on(segment_files(data_dir)),
            Files::Indexes => strace.on(index_files(data_dir)),
            Files::All => strace,
        }
    }

    /// Whether the error ends the broker, as it should or may.
    fn ends(&self, broker: &mut BrokerProcess, load: &Load) -> bool {
        match self.outcome {
            Outcome::Ends => true,
            Outcome::GoesOn => false,
            Outcome::EndsOrGoesOn => {
                let mut looks = (0..LOOKS).map(|_| load.run_for(LOOK));
                looks.any(|_| broker.has_ended())
            }
        }
    }
}

#[test]
fn an_error_during_a_start_loses_nothing() {
    if !can("errors during a start", &[Need::Strace]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let setup = BrokerSetup::new(folder.path().join("data"));
    let broker = setup.start();
    let load = Load::start(&setup.url(), &LoadOptions::new(seed()));
    load.await_ack(PATIENCE).expect("acknowledged");
    load.run_for(2 * LOOK);
    broker.kill();
    let data_dir = setup.data_dir();
    let mut refusals = 0;
    for calls in ["fdatasync", "fsync", "pwritev", "renameat", "fallocate"] {
        refusals += fail_each(&setup, |when| Strace::failing(calls, "EIO", when));
    }
    refusals += fail_each(&setup, |when| {
        Strace::failing("openat", "EIO", when).on([data_dir])
    });
    refusals += fail_each(&setup, |when| {
        Strace::failing("pread64", "EIO", when).on(journal_files(data_dir))
    });
    let broker = setup.start();
    load.finish()
        .assert_acknowledged("after errors during starts");
    broker.kill();
    report(
        "errors during a start",
        format_args!("{refusals} starts refused"),
    );
}

#[test]
fn records_that_cannot_be_read_are_an_error_of_that_read() {
    if !can("errors of reads", &[Need::Strace]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let setup = BrokerSetup::new(folder.path().join("data"));
    let broker = setup.start();
    let url = setup.url();
    cli(&url, &["topic", "create", "t", "--partitions", "1"]).ok();
    cli(&url, &["produce", "t", "value"]).ok();
    broker.terminate(PATIENCE);
    // After a start nothing is in memory.
    let broker = setup.start();
    let segments = segment_files(setup.data_dir());
    // The first call looks at the frame that the index names; if it fails, the index is not believed.
    let strace = Strace::failing("pread64", "EIO", When::Nth(2)).on(segments);
    let attached = strace.attach(broker.ready().pid);
    let read = || cli(&url, &["consume", "t", "-e"]);
    let said = read().failed(1);
    assert!(said.contains("cannot be read from disk"), "{said}");
    assert!(said.contains("STORAGE_FAILED"), "{said}");
    // Each reading thread has such calls.
    let mut answers = (0..READ_THREADS_MAX).map(|_| read());
    let answer = answers.find(|answer| answer.code == Some(0));
    let answer = answer.expect("it can be read again");
    assert_eq!(answer.stdout, "value\n");
    drop(attached);
    cli(&url, &["produce", "t", "more"]).ok();
    broker.kill();
}

/// Starts a broker again and again, with an error at its first call, its second and so on, until it
/// does not get that far; returns how many starts were refused for the error.
fn fail_each(setup: &BrokerSetup, error: impl Fn(When) -> Strace) -> usize {
    let mut refusals = 0;
    for number in 1..=START_CALLS_MAX {
        let strace = error(When::Nth(number));
        match setup.clone().under(strace.wrapper()).try_start() {
            Err(ended) => {
                assert_eq!(ended.code(), Some(1), "{ended}");
                assert!(ended.stderr.contains("Input/output error"), "{ended}");
                let journal_count = journal_files(setup.data_dir()).len();
                assert!(
                    journal_count <= JOURNAL_FILES_MAX,
                    "starts that fail leave {journal_count} journal files"
                );
                refusals += 1;
            }
            Ok(broker) => {
                let is_over = strace.change_count() == 0;
                drop(broker);
                if is_over {
                    return refusals;
                }
            }
        }
    }
    refusals
}

/// A broker at work that meets one error after the other.
struct Bench {
    load: Load,
    broker: Option<BrokerProcess>,
    setup: BrokerSetup,
    _folder: TempDir,
    /// How often an error has ended the broker.
    ends: usize,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let setup = BrokerSetup::new(folder.path().join("data"));
        let broker = setup.start();
        let load = Load::start(&setup.url(), &LoadOptions::new(seed()));
        Self {
            load,
            broker: Some(broker),
            setup,
            _folder: folder,
            ends: 0,
        }
    }

    /// Lets a call fail under load and sees what comes of it.
    fn go_through(&mut self, case: &Case) {
        let context = format!(
            "{} of {:?} {} at {}",
            case.error, case.files, case.calls, case.when
        );
        self.load.forget_acks();
        self.load.await_ack(PATIENCE).expect("service resumes");
        let mut broker = self.broker.take().expect("it runs");
        let strace = case.strace(self.setup.data_dir());
        let attached = strace.attach(broker.ready().pid);
        let deadline = Instant::now() + PATIENCE;
        while strace.change_count() == 0 {
            assert!(Instant::now() < deadline, "{context}: no such call");
            self.load.run_for(LOOK);
        }
        if case.ends(&mut broker, &self.load) {
            let ended = broker.wait(PATIENCE);
            assert_eq!(ended.code(), Some(BROKER_FAILED), "{context}: {ended}");
            assert!(ended.stderr.contains("cannot go on"), "{context}: {ended}");
            self.ends += 1;
            broker = self.setup.start();
        }
        drop(attached);
        self.broker = Some(broker);
    }

    fn finish(self) {
        self.load.finish().assert_acknowledged("after all errors");
    }
}
