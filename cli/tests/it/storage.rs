use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

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

/// A folder with one record in a segment, and one more in the journal alone.
pub(crate) fn folder_of_a_stopped_broker() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for value in ["first", "second"] {
        let broker = ServeProcess::start(folder.path());
        let url = broker.url().to_owned();
        let create = ["topic", "create", "t", "--partitions", "1", "--url", &url];
        if value == "first" {
            stdout_of(&mut towpath(&create));
        }
        stdout_of(&mut towpath(&["produce", "t", value, "--url", &url]));
        broker.process.signal(Signal::TERM);
        broker.process.wait();
    }
    folder
}

fn flip(path: &Path, position: u64) {
    let file = File::options().read(true).write(true).open(path);
    let file = file.expect("the file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).expect("a byte");
    file.write_all_at(&[!byte[0]], position).expect("written");
}

#[test]
fn a_whole_folder_is_verified_and_damage_is_named_with_what_is_lost() {
    let folder = folder_of_a_stopped_broker();
    let verify = |args: &[&str]| {
        let mut command = towpath(&[&["storage", "verify"], args].concat());
        command.arg("--data-dir").arg(folder.path());
        command
    };
    let told = stdout_of(&mut verify(&[]));
    assert!(told.starts_with("2 records in "), "{told}");
    assert!(
        told.ends_with(" 0 findings, 0 of them harmless\n"),
        "{told}"
    );

    let segment = folder.path().join("topics/1-t/0/00000000000000000000.log");
    flip(&segment, 4096 + 64 + 3);
    let output = run(&mut verify(&["-o", "json"]));
    assert_eq!(output.status.code(), Some(1));
    let items = json_lines(&text(&output.stdout));
    assert_eq!(field(&items, "item"), ["finding", "summary"]);
    let finding = &items[0];
    assert_eq!(finding["effect"], "lost");
    assert_eq!(finding["path"], "topics/1-t/0/00000000000000000000.log");
    assert_eq!(finding["start_position"], 4096);
    assert_eq!(
        (&finding["start_offset"], &finding["end_offset"]),
        (&0.into(), &1.into())
    );
    assert_eq!(items[1]["lost_record_count"], 1);
    let error = fails(1, &mut verify(&[]));
    assert!(
        error.contains("1 record cannot be read any more"),
        "{error}"
    );
}

#[test]
fn a_folder_that_a_broker_uses_is_neither_verified_nor_repaired() {
    let broker = TestBroker::with_topic("t", 1);
    for command in ["verify", "repair"] {
        let mut command = towpath(&["storage", command, "--data-dir"]);
        let error = fails(6, command.arg(broker.data_dir()));
        assert!(error.contains("is in use by another process"), "{error}");
    }
}

#[test]
fn a_damaged_journal_is_repaired_once_the_loss_is_accepted() {
    let folder = folder_of_a_stopped_broker();
    let repair = |args: &[&str]| {
        let mut command = towpath(&[&["storage", "repair"], args].concat());
        stdout_of(command.arg("--data-dir").arg(folder.path()))
    };
    let told = repair(&[]);
    assert!(told.starts_with("nothing to repair: "), "{told}");

    // The second entry of the last life: the first names the segment's file.
    let journal = folder.path().join("journal");
    let dump = stdout_of(
        towpath(&[
            "storage",
            "dump",
            "--only",
            "journal",
            "-o",
            "json",
            "--data-dir",
        ])
        .arg(folder.path()),
    );
    let items = json_lines(&dump);
    let is_append = |it: &&serde_json::Value| it["item"] == "append";
    let append = items
        .iter()
        .rposition(|it| is_append(&it))
        .expect("an append");
    let entry = items[..append].iter().rfind(|it| it["item"] == "entry");
    let entry = entry.expect("its entry");
    let number = entry["file"].as_u64().expect("a number");
    let position = entry["position"].as_u64().expect("a number");
    flip(
        &journal.join(format!("{number:020}.journal")),
        position + 20,
    );

    let verified = fails(
        1,
        towpath(&["storage", "verify", "--data-dir"]).arg(folder.path()),
    );
    assert!(
        verified.contains("does not start with this folder"),
        "{verified}"
    );
    let told = repair(&[]);
    let lost = "would be lost: records 1..2 of partition 1/0; new records get these offsets\n";
    // The damaged entry is the one with the record: only what is not to be seen is lost.
    assert!(
        told.contains(lost) || told.contains("cannot be read\n"),
        "{told}"
    );
    assert!(
        told.ends_with("nothing was changed: --accept-loss does it\n"),
        "{told}"
    );
    assert!(!folder.path().join("lost+found").exists());

    let told = repair(&["--accept-loss"]);
    assert!(
        told.ends_with("done: the broker starts with this folder\n"),
        "{told}"
    );
    assert!(folder.path().join("lost+found").exists());
    let broker = ServeProcess::start(folder.path());
    let mut consume = towpath(&[
        "consume",
        "t",
        "--from",
        "beginning",
        "-e",
        "--url",
        broker.url(),
    ]);
    assert_eq!(stdout_of(&mut consume), "first\n");
}
