//! A copy of the sources in which every site has a switch.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::list::Mutant;

/// The variable whose value is the name of the site that is to be taken away.
pub const SWITCH: &str = "TOWPATH_MUTANT";

/// Copies what git knows of below `root` to `copy`, and plants the mutants. What is as it should be already
/// is left alone, so that nothing is built twice.
///
/// # Errors
/// What went wrong, for people.
pub fn make(root: &Path, copy: &Path, mutants: &[Mutant]) -> Result<(), String> {
    let mut of_file: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        of_file.entry(&mutant.file).or_default().push(mutant);
    }
    for name in tracked(root)? {
        let (source, target) = (root.join(&name), copy.join(&name));
        let mut bytes = match fs::read(&source) {
            Ok(bytes) => bytes,
            // Removed, and not yet for git.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{}: {error}", source.display())),
        };
        if let Some(mutants) = of_file.get(name.as_str()) {
            let text = String::from_utf8_lossy(&bytes);
            let planted = plant(&text, mutants).map_err(|error| format!("{name}: {error}"))?;
            bytes = planted.into_bytes();
        }
        write(&target, &bytes).map_err(|error| format!("{}: {error}", target.display()))?;
    }
    Ok(())
}

fn tracked(root: &Path) -> Result<Vec<String>, String> {
    let mut command = Command::new("git");
    let command = command.args(["ls-files", "-z"]).current_dir(root);
    let output = command.output().map_err(|error| format!("git: {error}"))?;
    let names = String::from_utf8_lossy(&output.stdout);
    let names = names.split('\0').filter(|name| !name.is_empty());
    match output.status.success() {
        true => Ok(names.map(str::to_owned).collect()),
        false => Err("git ls-files fails".to_owned()),
    }
}

fn write(target: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if fs::read(target).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(target, bytes)
}

/// The source with a switch at each site.
///
/// # Errors
/// A site that is not there exactly once.
pub fn plant(source: &str, mutants: &[impl std::borrow::Borrow<Mutant>]) -> Result<String, String> {
    let mut planted = source.to_owned();
    for mutant in mutants {
        let mutant = mutant.borrow();
        let Mutant {
            name,
            before,
            site,
            behind,
            replacement,
            ..
        } = mutant;
        let whole = format!("{before}{site}{behind}");
        let count = planted.matches(&whole).count();
        if count != 1 {
            return Err(format!("the site {name} is there {count} times"));
        }
        // In parentheses an expression may stand anywhere, and nothing else may.
        let (open, close) = match site.ends_with(';') {
            true => ("", ""),
            false => ("(", ")"),
        };
        let switched = format!(
            "{before}{open}{{ static IS_GONE: ::std::sync::LazyLock<bool> = ::std::sync::LazyLock::new(|| \
             ::std::env::var_os(\"{SWITCH}\").is_some_and(|it| it == \"{name}\")); \
             if *IS_GONE {{ {replacement} }} else {{ {site} }} }}{close}{behind}"
        );
        planted = planted.replacen(&whole, &switched, 1);
    }
    Ok(planted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::list::read;

    #[test]
    fn a_site_gets_a_switch_and_must_be_there_once() {
        let list =
            "\n## a\n- in: x\n- test: -p p --lib\n```rust\nif «b» {\n```\n```rust\nfalse\n```\n";
        let mutants = read(list);
        let planted = plant("if b { c }", &mutants).unwrap();
        assert!(planted.starts_with("if ({ static"), "{planted}");
        assert!(
            planted.ends_with("if *IS_GONE { false } else { b } }) { c }"),
            "{planted}"
        );
        assert!(plant("if b { if b { } }", &mutants).is_err(), "twice");
        assert!(plant("c", &mutants).is_err(), "never");
    }
}
