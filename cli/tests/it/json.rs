use crate::harness::{TestBroker, json_lines};

const LEAF_COMMANDS: &str = include_str!("../leaf_commands.txt");

#[test]
fn every_command_prints_json_and_nothing_else() {
    let broker = TestBroker::start();
    let lines = LEAF_COMMANDS.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let args: Vec<_> = line.split(' ').chain(["-o", "json"]).collect();
        let printed = broker.ok(&args);
        let values = json_lines(&printed);
        assert_eq!(values.len(), 1, "{line}: {printed}");
        assert!(values[0].is_object(), "{line}: {printed}");
    }
}
