use rustix::process::Signal;

use crate::harness::{TestBroker, fails, field, json_lines, run, stdout_of, text, towpath};
use crate::serve_process::ServeProcess;

#[test]
fn a_dump_tells_what_the_folder_of_a_stopped_broker_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = ServeProcess::start(folder.path());
    let url = broker.url().to_owned();
    stdout_of(&mut towpath(&[
        "topic",
        "create",
        "t",
        "--partitions",
        "1",
        "--url",
        &url,
    ]));
    stdout_of(&mut towpath(&["produce", "t", "hello", "--url", &url]));
    let value = "hello ".repeat(100);
    let compressed = [
        "produce",
        "t",
        &value,
        "--compression",
        "zstd",
        "--url",
        &url,
    ];
    stdout_of(&mut towpath(&compressed));
    broker.process.signal(Signal::TERM);
    broker.process.wait();

    let dump = |args: &[&str]| {
        let mut command = towpath(&[&["storage", "dump"], args].concat());
        stdout_of(command.arg("--data-dir").arg(folder.path()))
    };
    let items = json_lines(&dump(&["-o", "json"]));
    let names = field(&items, "item");
    assert_eq!(names[0], "folder", "{names:?}");
    for name in [
        "checkpoint",
        "journal_file",
        "entry",
        "append",
        "journal_end",
        "segment",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let journal = dump(&["--only", "journal"]);
    for codec in [" codec=none", " codec=zstd"] {
        assert!(journal.contains(codec), "{codec} in {journal}");
    }
    let codecs = items.iter().filter_map(|it| it["codec"].as_str());
    assert!(codecs.clone().any(|it| it == "zstd"), "in JSON, too");
    assert!(journal.starts_with("folder path="), "{journal}");
    assert!(
        journal.contains("\njournal_end ") && !journal.contains("\nsegment "),
        "{journal}"
    );
    let rows = dump(&["--only", "checkpoints", "--rows"]);
    assert!(!rows.contains("\njournal_file "), "{rows}");
}

#[test]
fn the_folder_of_a_running_broker_names_its_process() {
    let broker = TestBroker::with_topic("t", 1);
    let mut command = towpath(&["storage", "dump", "--only", "checkpoints", "--data-dir"]);
    let told = stdout_of(command.arg(broker.data_dir()));
    assert!(
        told.contains(&format!("user_pid={}", std::process::id())),
        "{told}"
    );
}

#[test]
fn a_folder_that_is_missing_is_not_made_and_another_one_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing");
    let error = fails(4, towpath(&["storage", "dump", "--data-dir"]).arg(&missing));
    assert!(error.contains("cannot open data folder"), "{error}");
    assert!(!missing.exists(), "nothing was made");

    let output = run(towpath(&["storage", "dump", "--data-dir"]).arg(folder.path()));
    let (told, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{told}{error}");
    assert!(told.contains("there is no FORMAT file"), "{told}");
    assert!(
        error.starts_with("error: something is wrong in "),
        "{error}"
    );
}
