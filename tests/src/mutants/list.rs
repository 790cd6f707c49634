//! The list of sites.

use std::fmt;

/// The lists, as they were when this was compiled.
pub const LIST: &str = concat!(
    include_str!("../../mutants/list.md"),
    "\n",
    include_str!("../../mutants/damage.md")
);

/// Marks where a site begins within what is needed to find it.
const BEGIN: char = '«';
/// Marks where it ends.
const END: char = '»';

/// A site, and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// Its name.
    pub name: String,
    /// The file, from the root of the repository.
    pub file: String,
    /// What stands before the site, as far as it is needed to find it.
    pub before: String,
    /// The site: an expression or statements.
    pub site: String,
    /// What stands behind it.
    pub behind: String,
    /// What takes its place.
    pub replacement: String,
    /// What must fail then.
    pub test: TestCommand,
}

/// A test program, and which of its tests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestCommand {
    /// Name of the package.
    pub package: String,
    /// Name of the test program; none for the tests in the library.
    pub program: Option<String>,
    /// Parts of the names of the tests; none for all of them.
    pub filters: Vec<String>,
}

impl TestCommand {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let package = words.next().filter(|it| *it == "-p").and(words.next())?;
        let program = match words.next()? {
            "--lib" => None,
            "--test" => Some(words.next()?.to_owned()),
            _ => return None,
        };
        Some(Self {
            package: package.to_owned(),
            program,
            filters: words.map(str::to_owned).collect(),
        })
    }
}

impl fmt::Display for TestCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-p {}", self.package)?;
        match &self.program {
            Some(program) => write!(f, " --test {program}")?,
            None => f.write_str(" --lib")?,
        }
        self.filters.iter().try_for_each(|it| write!(f, " {it}"))
    }
}

/// Reads a list.
///
/// # Panics
/// If a section is not of the form that the list explains.
pub fn read(list: &str) -> Vec<Mutant> {
    let sections = list.split("\n## ").skip(1);
    sections.map(section).collect()
}

fn section(text: &str) -> Mutant {
    let name = text.lines().next().unwrap_or_default();
    let value = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key));
        found.unwrap_or_else(|| panic!("{name} has no line that begins with {key:?}"))
    };
    let blocks = text.split("```").skip(1).step_by(2);
    let mut blocks = blocks.map(|block| block.trim_start_matches("rust\n").trim());
    let Some(found) = blocks.next() else {
        panic!("{name} has no code");
    };
    let (before, site, behind) = match found.split_once(BEGIN) {
        None => ("", found, ""),
        Some((before, rest)) => {
            let (site, behind) = rest.split_once(END).expect("an end for each begin");
            (before, site, behind)
        }
    };
    Mutant {
        name: name.to_owned(),
        file: value("- in: ").to_owned(),
        before: before.to_owned(),
        site: site.to_owned(),
        behind: behind.to_owned(),
        replacement: blocks.next().unwrap_or_default().to_owned(),
        test: TestCommand::parse(value("- test: "))
            .expect("-p PACKAGE, --lib or --test PROGRAM, names"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::mutants::tree::plant;

    #[test]
    fn each_site_is_there_once_and_has_a_name_of_its_own() {
        let mutants = read(LIST);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for mutant in &mutants {
            let source = std::fs::read_to_string(root.join(&mutant.file)).unwrap();
            plant(&source, std::slice::from_ref(&mutant)).unwrap();
        }
        let names: BTreeSet<_> = mutants.iter().map(|it| &it.name).collect();
        assert_eq!(names.len(), mutants.len(), "names");
        assert!(mutants.len() > 40, "{} sites", mutants.len());
    }

    #[test]
    fn a_section_says_where_what_and_which_test() {
        let list = "# L\n\n## a\n\nWhy.\n\n- in: x.rs\n- test: -p p --test t one two\n\n```rust\n    if «b» {\n```\n\n```rust\nfalse\n```\n";
        let expected = Mutant {
            name: "a".to_owned(),
            file: "x.rs".to_owned(),
            before: "if ".to_owned(),
            site: "b".to_owned(),
            behind: " {".to_owned(),
            replacement: "false".to_owned(),
            test: TestCommand::parse("-p p --test t one two").unwrap(),
        };
        assert_eq!(read(list), [expected]);
    }
}
