use super::*;

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

/// Every command that does something, as its words.
fn leaf_commands(command: &clap::Command, path: &str, leaves: &mut Vec<String>) {
    let mut inner = command.get_subcommands().peekable();
    if inner.peek().is_none() {
        leaves.push(path.trim().to_owned());
    }
    for command in inner {
        leaf_commands(command, &format!("{path} {}", command.get_name()), leaves);
    }
}

#[test]
fn every_command_is_tested_to_print_json() {
    let mut leaves = Vec::new();
    leaf_commands(&command(), "", &mut leaves);
    let tested: Vec<_> = include_str!("../../tests/leaf_commands.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    for leaf in &leaves {
        let is_tested = |line: &&str| *line == leaf || line.starts_with(&format!("{leaf} "));
        assert!(
            tested.iter().any(is_tested),
            "{leaf} is missing in leaf_commands.txt"
        );
    }
    assert!(!leaves.is_empty(), "there are commands");
}

#[test]
fn every_command_has_examples() {
    fn check(command: &clap::Command) {
        let examples = command
            .get_before_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(
            examples.starts_with("Examples:\n"),
            "{} has none",
            command.get_name()
        );
        command.get_subcommands().for_each(check);
    }
    check(&command());
}
