use serde_json::Value;

use crate::harness::{TestBroker, json_lines, stdout_of};
use crate::storage::folder_of_a_stopped_broker;

const LEAF_COMMANDS: &str = include_str!("../leaf_commands.txt");

#[test]
fn every_command_prints_json_and_nothing_else() {
    let broker = TestBroker::start();
    let stopped = folder_of_a_stopped_broker();
    let lines = LEAF_COMMANDS.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let args: Vec<_> = line.split(' ').chain(["-o", "json"]).collect();
        let mut command = broker.command(&args);
        let folder = match line.starts_with("storage ") {
            true => stopped.path(),
            false => &broker.data_dir(),
        };
        let printed = stdout_of(command.env("TOWPATH_DATA_DIR", folder));
        let values = json_lines(&printed);
        assert!(!values.is_empty(), "{line}");
        assert!(values.iter().all(Value::is_object), "{line}: {printed}");
    }
}
