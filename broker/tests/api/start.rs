//! Brokers that do not start, and what they say.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use towpath_broker::{Broker, Config, StartError};
use towpath_storage::vfs::sim::{Fault, Injection, OperationKind};

use crate::harness::{TestBroker, config, simulated, soon};

async fn start_error(config: Config) -> StartError {
    soon(Broker::start(config))
        .await
        .expect_err("it does not start")
}

fn config_in(dir: &Path) -> Config {
    Config {
        data_dir: dir.to_owned(),
        ..config()
    }
}

#[tokio::test]
async fn an_address_that_is_in_use_is_named() {
    let first = TestBroker::start().await;
    let dir = TempDir::new().unwrap();
    let listen = first.broker.local_addr().unwrap();
    let second = Config {
        listen: Some(listen),
        ..config_in(dir.path())
    };
    let error = start_error(second).await;
    assert!(matches!(error, StartError::PortInUse { .. }), "{error:?}");
    assert!(error.to_string().contains(&listen.to_string()), "{error}");
    assert!(error.hint().contains("--listen"), "{}", error.hint());
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "nothing was made: {left:?}");
}

#[tokio::test]
async fn an_address_of_another_machine_is_named() {
    let dir = TempDir::new().unwrap();
    let config = Config {
        // Reserved for documentation: no machine has it.
        listen: "192.0.2.1:7600".parse().ok(),
        insecure_allow_remote: true,
        ..config_in(dir.path())
    };
    let error = start_error(config).await;
    assert!(
        matches!(error, StartError::CannotListen { .. }),
        "{error:?}"
    );
    assert!(error.source().is_some(), "what the operating system says");
}

#[tokio::test]
async fn a_folder_that_is_in_use_names_the_process() {
    let first = TestBroker::start().await;
    let error = start_error(config_in(&first.config.data_dir)).await;
    let pid = std::process::id();
    match &error {
        StartError::FolderInUse { pid: found, .. } => assert_eq!(*found, Some(pid)),
        other => panic!("{other:?}"),
    }
    assert!(error.to_string().contains(&format!("pid {pid}")), "{error}");
}

#[tokio::test]
async fn a_folder_of_a_newer_format_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let newer = "towpath data folder\nformat 999\nof a later release\n";
    std::fs::write(dir.path().join("FORMAT"), newer).unwrap();
    let error = start_error(config_in(dir.path())).await;
    assert!(
        matches!(error, StartError::NewerFormat { found: 999, .. }),
        "{error:?}"
    );
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["FORMAT"], "nothing was made");
    let found = std::fs::read_to_string(dir.path().join("FORMAT")).unwrap();
    assert_eq!(found, newer);
}

#[tokio::test]
async fn a_folder_whose_format_is_damaged_is_not_used() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("FORMAT"), "garbage").unwrap();
    let error = start_error(config_in(dir.path())).await;
    assert!(
        matches!(error, StartError::FolderNotUsable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_folder_that_cannot_be_opened_brings_the_reason() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    for path in [file, dir.path().join("missing").join("folder")] {
        let error = start_error(config_in(&path)).await;
        assert!(
            matches!(error, StartError::FolderNotOpened { .. }),
            "{error:?}"
        );
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        assert!(error.hint().contains("--data-dir"), "{}", error.hint());
    }
}

#[tokio::test]
async fn a_folder_that_lacks_something_is_to_be_restored() {
    let dir = TempDir::new().unwrap();
    let broker = soon(Broker::start(config_in(dir.path()))).await.unwrap();
    soon(broker.shutdown()).await;
    drop(broker);
    std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
    let error = start_error(config_in(dir.path())).await;
    assert!(matches!(error, StartError::Storage { .. }), "{error:?}");
    assert!(error.hint().contains("from a copy"), "{}", error.hint());
}

#[tokio::test]
async fn a_disk_that_cannot_be_read_brings_the_file() {
    let (disk, environment) = simulated(1 << 30);
    let broker = TestBroker::start_in(config(), environment.clone()).await;
    broker.broker.shutdown().await;
    drop(broker);
    disk.inject(
        Injection::new(Fault::Io)
            .on(OperationKind::Read)
            .under("checkpoint"),
    );
    let error = soon(Broker::start_in(config(), environment))
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::Storage { .. }), "{error:?}");
    let source = error.source().unwrap().to_string();
    assert!(source.contains("checkpoint"), "{source}");
}

#[tokio::test]
async fn a_disk_without_room_for_a_broker_says_so() {
    let (_disk, environment) = simulated(64 * 1024);
    let error = soon(Broker::start_in(config(), environment))
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::Storage { .. }), "{error:?}");
    assert_eq!(error.hint(), "make room on the disk");
}

#[tokio::test]
async fn other_machines_are_let_in_only_when_told_so() {
    let dir = TempDir::new().unwrap();
    let remote = Config {
        listen: "0.0.0.0:0".parse().ok(),
        ..config_in(&dir.path().join("data"))
    };
    let error = start_error(remote.clone()).await;
    assert!(
        matches!(error, StartError::RemoteRefused { .. }),
        "{error:?}"
    );
    assert!(
        error.hint().contains("--insecure-allow-remote"),
        "{}",
        error.hint()
    );
    assert!(!remote.data_dir.exists(), "nothing was made");
    let allowed = Config {
        insecure_allow_remote: true,
        ..remote
    };
    let broker = soon(Broker::start(allowed)).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test]
async fn settings_that_are_not_allowed_are_all_told() {
    let dir = TempDir::new().unwrap();
    let mut wrong = config_in(&dir.path().join("data"));
    wrong.drain_deadline = Duration::from_secs(3600);
    wrong.limits.stream_count_max = 0;
    let error = start_error(wrong.clone()).await;
    match &error {
        StartError::InvalidConfig { problems } => assert_eq!(problems.len(), 2),
        other => panic!("{other:?}"),
    }
    let text = error.to_string();
    assert!(text.contains("--drain-deadline is 3600000ms"), "{text}");
    assert!(text.contains("--stream-count-max is 0"), "{text}");
    assert!(!wrong.data_dir.exists(), "nothing was made");
}
