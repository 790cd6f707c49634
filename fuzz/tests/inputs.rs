//! Every target with the inputs that it begins with, and with those that once found something.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use towpath_fuzz::seeds;
use towpath_fuzz::targets::TARGETS;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn names(path: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.collect()
}

fn targets() -> BTreeSet<String> {
    TARGETS.iter().map(|it| it.name.to_owned()).collect()
}

/// Says which input it was.
fn attempt(target: &str, name: &str, bytes: &[u8]) {
    let run = TARGETS.iter().find(|it| it.name == target).unwrap().run;
    let outcome = std::panic::catch_unwind(|| run(bytes));
    assert!(outcome.is_ok(), "target {target}, input {name}");
}

#[test]
fn the_inputs_to_begin_with_find_nothing() {
    let seeds = seeds();
    for seed in &seeds {
        attempt(seed.target, &seed.name, &seed.bytes);
        // Cut short they are still inputs.
        attempt(seed.target, &seed.name, &seed.bytes[..seed.bytes.len() / 2]);
    }
    let seeded: BTreeSet<_> = seeds.iter().map(|it| it.target.to_owned()).collect();
    assert_eq!(seeded, targets(), "each target has something to begin with");
}

#[test]
fn what_was_found_stays_fixed() {
    if !folder("regressions").exists() {
        return;
    }
    for target in names(&folder("regressions")) {
        assert!(targets().contains(&target), "no target {target}");
        let inputs = folder("regressions").join(&target);
        for name in names(&inputs) {
            attempt(&target, &name, &fs::read(inputs.join(&name)).unwrap());
        }
    }
}

#[test]
fn each_target_has_a_program() {
    let programs = names(&folder("libfuzzer/fuzz_targets"));
    let expected = targets().into_iter().map(|name| format!("{name}.rs"));
    assert_eq!(programs, expected.collect(), "programs of cargo fuzz");
    for name in targets() {
        let program = folder("libfuzzer/fuzz_targets").join(format!("{name}.rs"));
        let program = fs::read_to_string(program).unwrap();
        let call = format!("towpath_fuzz::targets::{name}(data)");
        assert!(program.contains(&call), "{name} runs {call}");
    }
}
