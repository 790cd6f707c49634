use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{fails, json as one_json, json_lines, numbers, run, stdout_of, text, towpath};
use crate::running::Running;
use crate::serve_process::ServeProcess;

/// Why a broker does not start on this folder.
#[track_caller]
fn refused(code: i32, data_dir: &Path, args: &[&str]) -> String {
    let mut command = towpath(&["serve", "--listen", "127.0.0.1:0"]);
    fails(code, command.arg("--data-dir").arg(data_dir).args(args))
}

#[test]
fn a_broker_says_where_it_listens_and_what_to_try() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let broker = ServeProcess::start(&data_dir);
    assert_eq!(broker.ready["is_new"], true, "{}", broker.ready);
    assert_eq!(broker.ready["incarnation"], 1, "{}", broker.ready);
    assert_eq!(
        broker.ready["pid"],
        broker.process.pid(),
        "{}",
        broker.ready
    );
    let version = one_json(&stdout_of(&mut towpath(&[
        "version",
        "-o",
        "json",
        "--url",
        broker.url(),
    ])));
    assert_eq!(
        version["broker"]["broker_id"], broker.ready["broker_id"],
        "{version}"
    );
}

#[test]
fn what_was_written_survives_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = ServeProcess::start(folder.path());
    let command = |args: &[&str]| stdout_of(&mut towpath(args));
    command(&["topic", "create", "t", "--url", broker.url()]);
    command(&["produce", "t", "before", "-p", "0", "--url", broker.url()]);
    broker.process.signal(Signal::KILL);
    assert_eq!(broker.process.wait().0, None, "killed");

    let broker = ServeProcess::start(folder.path());
    assert_eq!(broker.ready["is_new"], false, "{}", broker.ready);
    assert_eq!(broker.ready["incarnation"], 2, "{}", broker.ready);
    let address = command(&["produce", "t", "after", "-p", "0", "--url", broker.url()]);
    assert_eq!(address, "t/0@1\n", "address");
    let values = command(&["consume", "t", "-e", "--url", broker.url()]);
    assert_eq!(values, "before\nafter\n", "values");
}

#[test]
fn a_producer_goes_on_over_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = ServeProcess::start(folder.path());
    stdout_of(&mut towpath(&[
        "topic",
        "create",
        "t",
        "--partitions",
        "3",
        "--url",
        broker.url(),
    ]));
    let listen = broker.listen().to_owned();
    let url = broker.url().to_owned();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let args = ["produce", "t", "-o", "json", "--url", &url];
    let producing = Running::start_with(&args, reader);
    let write = |range: std::ops::Range<u32>| {
        std::io::Write::write_all(&mut &writer, numbers(range).as_bytes()).expect("written");
    };
    write(0..5_000);
    // Until some of it has arrived, so that the broker is killed in the middle.
    let is_there = || {
        let topic = one_json(&stdout_of(&mut towpath(&[
            "topic", "get", "t", "-o", "json", "--url", &url,
        ])));
        topic["record_count"].as_u64() > Some(0)
    };
    assert!((0..1_000).any(|_| is_there()), "something arrives");
    broker.process.signal(Signal::KILL);
    write(5_000..10_000);
    broker.process.wait();
    let broker = ServeProcess::start_on(folder.path(), &listen, &[]);
    drop(writer);
    assert_eq!(
        one_json(&producing.stdout.next())["records"],
        10_000,
        "acknowledged"
    );
    assert_eq!(producing.wait().0, Some(0), "exit code");
    let values = stdout_of(&mut towpath(&["consume", "t", "-e", "--url", broker.url()]));
    let mut numbers: Vec<u32> = values
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..10_000), "each once");
}

#[test]
fn both_signals_stop_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().expect("a folder");
        let broker = ServeProcess::start(folder.path());
        broker.process.signal(signal);
        let (code, log) = broker.process.wait();
        assert_eq!(code, Some(0), "{log}");
        let messages = json_lines(&log);
        let last = messages.last().expect("a line");
        assert_eq!(last["message"], "stopped", "{log}");
    }
}

#[test]
fn a_second_signal_waits_for_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = ServeProcess::start_on(folder.path(), "127.0.0.1:0", &["--drain-deadline", "10m"]);
    let url = broker.url().to_owned();
    stdout_of(&mut towpath(&["topic", "create", "t", "--url", &url]));
    stdout_of(&mut towpath(&["produce", "t", "v", "--url", &url]));
    let follower = Running::start(&["consume", "t", "--from", "beginning", "--url", &url]);
    assert_eq!(follower.stdout.next(), "v", "it is connected");
    // A client that stands still holds the drain up.
    follower.signal(Signal::STOP);
    broker.process.signal(Signal::TERM);
    broker.process.stderr.until("\"stopping\"");
    broker.process.signal(Signal::TERM);
    let (code, log) = broker.process.wait();
    assert_eq!(code, Some(130), "{log}");
}

#[test]
fn the_banner_is_for_people() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let data_dir = data_dir.to_str().expect("a path in UTF-8");
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir];
    let broker = Running::start(&[&args[..], &["--admin-listen", "127.0.0.1:0"]].concat());
    let lines: Vec<_> = (0..6).map(|_| broker.stdout.next()).collect();
    assert!(lines[0].starts_with("towpath 0.1.0 ready in "), "{lines:?}");
    assert!(
        lines[1].starts_with("  listening   127.0.0.1:"),
        "{lines:?}"
    );
    let admin = "  admin       http://127.0.0.1:";
    assert!(lines[2].starts_with(admin), "{lines:?}");
    assert!(lines[3].ends_with("data (new)"), "{lines:?}");
    assert!(
        lines[4].starts_with("try: export TOWPATH_URL=http://127.0.0.1:"),
        "{lines:?}"
    );
    assert!(
        lines[5].starts_with("try: towpath topic create orders"),
        "{lines:?}"
    );
}

/// What an HTTP address answers.
fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn health_and_metrics_answer_where_the_broker_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = ServeProcess::start(folder.path());
    assert!(broker.ready["admin_listen"].is_null(), "{}", broker.ready);
    broker.process.signal(Signal::TERM);
    broker.process.wait();
    let args = ["--admin-listen", "localhost:0"];
    let broker = ServeProcess::start_on(folder.path(), "127.0.0.1:0", &args);
    let listen = broker.ready["admin_listen"].as_str().expect("an address");
    let url = format!("http://{listen}");
    assert_eq!(broker.ready["admin_url"], url, "{}", broker.ready);
    let ready = http_get(listen, "/readyz");
    assert!(ready.ends_with("\r\n\r\nready\n"), "{ready}");
    let metrics = http_get(listen, "/metrics");
    assert!(metrics.contains("\ntowpath_ready 1\n"), "{metrics}");
    let version = "towpath_build_info{version=\"0.1.0\"} 1";
    assert!(metrics.contains(version), "{metrics}");
}

#[test]
fn an_admin_address_is_refused_as_the_other_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = listener.local_addr().expect("an address").to_string();
    let error = refused(6, &folder.path().join("data"), &["--admin-listen", &listen]);
    assert!(error.contains(&format!("{listen} is in use")), "{error}");
    assert!(error.contains("with --admin-listen"), "{error}");
    let args = ["serve", "--check-config", "--admin-listen", "0.0.0.0:0"];
    let error = fails(2, &mut towpath(&args));
    assert!(error.contains("names of topics and groups"), "{error}");
    stdout_of(towpath(&args).arg("--insecure-allow-remote"));
    let args = [
        "serve",
        "--check-config",
        "--admin-listen",
        "127.0.0.1:7600",
    ];
    let error = fails(2, &mut towpath(&args));
    assert!(
        error.contains("any address but that of --listen"),
        "{error}"
    );
}

#[test]
fn a_port_in_use_is_a_conflict() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = listener.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let error = fails(
        6,
        towpath(&["serve", "--listen", &listen, "--data-dir"]).arg(folder.path().join("data")),
    );
    assert!(error.contains(&format!("{listen} is in use")), "{error}");
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn a_folder_in_use_names_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = ServeProcess::start(folder.path());
    let error = refused(6, folder.path(), &[]);
    assert!(
        error.contains(&format!("(pid {})", broker.process.pid())),
        "{error}"
    );
}

#[test]
fn folders_that_cannot_be_used_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = refused(4, &folder.path().join("no/parent"), &[]);
    assert!(error.contains("cannot open data folder"), "{error}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    let error = refused(1, &file, &[]);
    assert!(error.contains("something else has this name"), "{error}");
}

/// Name and content of every file in a folder.
fn files_of(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_of(&path));
        } else {
            files.insert(path.clone(), std::fs::read(path).expect("a file"));
        }
    }
    files
}

#[test]
fn a_folder_of_a_newer_format_is_refused_untouched() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = ServeProcess::start(folder.path());
    broker.process.signal(Signal::TERM);
    broker.process.wait();
    let path = folder.path().join("FORMAT");
    let text = std::fs::read_to_string(&path).expect("the format file");
    std::fs::write(&path, text.replacen("format 3", "format 999", 1)).expect("written");
    // The lock names whoever tried last.
    let lock = folder.path().join("LOCK");
    let mut before = files_of(folder.path());
    let error = refused(6, folder.path(), &[]);
    assert!(
        error.contains("has format 999, this release reads up to"),
        "{error}"
    );
    let mut after = files_of(folder.path());
    assert!(
        before.remove(&lock).is_some() && after.remove(&lock).is_some(),
        "a lock"
    );
    assert_eq!(before, after, "files");
}

#[test]
fn a_folder_of_somebody_else_is_not_allowed() {
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("towpath"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data_dir);
    if rustix::process::getuid().is_root() {
        // Nothing is closed to root; the folder is closed to anybody else.
        command.uid(NOBODY);
    } else {
        let closed = std::fs::Permissions::from_mode(0o500);
        std::fs::set_permissions(folder.path(), closed).expect("closed");
    }
    let output = command.output().expect("the command runs");
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{error}");
    assert!(error.contains("cannot open data folder"), "{error}");
    assert!(error.contains("give this user the folder"), "{error}");
}

#[test]
fn an_address_beyond_loopback_needs_consent() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = towpath(&["serve", "--listen", "0.0.0.0:0", "--data-dir"]);
    let error = fails(2, command.arg(folder.path().join("data")));
    assert!(
        error.contains("no encryption and no authentication"),
        "{error}"
    );
    assert!(error.contains("--insecure-allow-remote"), "{error}");
    let args = ["serve", "--check-config", "--listen", "0.0.0.0:0"];
    fails(2, &mut towpath(&args));
    stdout_of(towpath(&args).arg("--insecure-allow-remote"));
    stdout_of(towpath(&args).env("TOWPATH_INSECURE_ALLOW_REMOTE", "true"));
    fails(
        2,
        towpath(&args).env("TOWPATH_INSECURE_ALLOW_REMOTE", "false"),
    );
}

#[test]
fn a_name_of_loopback_is_an_address_to_listen_on() {
    let listen = |name: &str| {
        let args = ["serve", "--check-config", "-o", "json", "--listen", name];
        let settings = one_json(&stdout_of(&mut towpath(&args)));
        settings["changed"]["listen"]
            .as_str()
            .unwrap_or("-")
            .to_owned()
    };
    for name in ["localhost:7601", "127.0.0.1:7601"] {
        let address: SocketAddr = listen(name).parse().expect("an address");
        assert!(address.ip().is_loopback(), "{name}: {address}");
        assert_eq!(address.port(), 7601, "{name}: {address}");
    }
    let args = ["serve", "--check-config", "--listen", "localhost"];
    let error = fails(2, &mut towpath(&args));
    assert!(error.contains("localhost:7600"), "{error}");
}

#[test]
fn settings_come_from_flags_then_from_the_environment() {
    let check = |args: &[&str]| {
        let args = [&["serve", "--check-config", "-o", "json"], args].concat();
        let mut command = towpath(&args);
        command
            .env("TOWPATH_DATA_DIR", "/environment")
            .env("TOWPATH_DRAIN_DEADLINE", "3s");
        one_json(&stdout_of(&mut command))
    };
    let report = check(&["--data-dir", "/flag"]);
    let expected =
        json!({"data_dir": "/flag", "drain_deadline": report["changed"]["drain_deadline"]});
    assert_eq!(
        (&report["is_allowed"], &report["changed"]),
        (&true.into(), &expected),
        "{report}"
    );
    let text =
        stdout_of(towpath(&["serve", "--check-config"]).env("TOWPATH_STREAM_COUNT_MAX", "9"));
    assert!(
        text.starts_with("--stream-count-max 9\nallowed; "),
        "{text}"
    );
}

#[test]
fn all_settings_that_are_not_allowed_are_told_at_once() {
    let args = [
        "serve",
        "--check-config",
        "--drain-deadline",
        "1h",
        "--stream-count-max",
        "0",
    ];
    let output = run(&mut towpath(&args));
    let error = text(&output.stderr);
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(2), 0),
        "{error}"
    );
    assert!(
        error.contains("--drain-deadline") && error.contains("--stream-count-max"),
        "{error}"
    );
    let mut command = towpath(&["serve"]);
    let error = fails(2, command.env("TOWPATH_LOG", "towpath=loud"));
    assert!(error.contains("TOWPATH_LOG"), "{error}");
}
