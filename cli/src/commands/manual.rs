//! `towpath completions` and `towpath man`: the command line as it describes itself to shells and to
//! readers of manuals.

use std::io::{self, Write};
use std::path::Path;

use clap::Command;

use super::Outcome;
use super::version::VERSION;
use crate::args::{CompletionsArgs, ManArgs, command};
use crate::failure::Failure;
use crate::output::{Report, count_of, json_line};

/// The name of the program, which pages and completions are for.
const PROGRAM: &str = "towpath";

/// Prints the completions of a shell.
pub(super) fn complete(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), PROGRAM, &mut script);
    Outcome::of(Document::new(format!("{PROGRAM}.{}", args.shell), &script))
}

/// Prints one page, or writes all.
pub(super) fn describe(args: &ManArgs) -> Result<Outcome, Failure> {
    let mut root = command().disable_help_subcommand(true);
    // Names every command by its whole path, such as `towpath-topic-create`.
    root.build();
    if let Some(dir) = &args.dir {
        return write_all(&root, dir);
    }
    let mut chosen = &root;
    for name in &args.command {
        let found = chosen.find_subcommand(name);
        chosen = found.ok_or_else(|| unknown(chosen, name))?;
    }
    let mut page = Vec::new();
    render(chosen, &mut page).map_err(|error| Failure::output(&error))?;
    Ok(Outcome::of(Document::new(file_of(chosen), &page)))
}

fn unknown(parent: &Command, name: &str) -> Failure {
    let names: Vec<_> = parent.get_subcommands().map(Command::get_name).collect();
    let parent = path_of(parent).replace('-', " ");
    let failure = Failure::usage(format!("{parent} has no command {name:?}"));
    match names.is_empty() {
        true => failure,
        false => failure.hint(format!("it has: {}", names.join(", "))),
    }
}

fn write_all(root: &Command, dir: &Path) -> Result<Outcome, Failure> {
    let failed = |path: &Path, error: &io::Error| {
        Failure::io(format!("cannot write {}", path.display()), error)
    };
    std::fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    let (mut waiting, mut written) = (vec![root], 0);
    while let Some(command) = waiting.pop() {
        let mut page = Vec::new();
        render(command, &mut page).map_err(|error| Failure::output(&error))?;
        let path = dir.join(file_of(command));
        std::fs::write(&path, page).map_err(|error| failed(&path, &error))?;
        waiting.extend(command.get_subcommands());
        written += 1;
    }
    Ok(Outcome::of(Written {
        pages: written,
        dir: dir.display().to_string(),
    }))
}

/// What the page of a command is called, without its section.
fn path_of(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn file_of(command: &Command) -> String {
    format!("{}.1", path_of(command))
}

/// Writes a page. Examples stand where manuals have them, which clap does not know of.
fn render(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let examples = command.get_before_help().map(ToString::to_string);
    let shown = command.clone().before_help(None).version(None);
    clap_mangen::Man::new(shown)
        .title(path_of(command))
        .source(format!("{PROGRAM} {VERSION}"))
        .manual("Towpath Manual")
        .render(page)?;
    let Some(examples) = examples else {
        return Ok(());
    };
    let lines = examples.lines().filter(|line| *line != "Examples:");
    let mut roff = clap_mangen::roff::Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in lines {
        roff.text([clap_mangen::roff::roman(line)]);
    }
    roff.control("fi", []);
    roff.to_writer(page)
}

/// A text that others read, and the file that it would be.
#[derive(serde::Serialize)]
struct Document {
    file: String,
    text: String,
}

impl Document {
    fn new(file: String, text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text).into_owned();
        Self { file, text }
    }
}

impl Report for Document {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.text.as_bytes())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }
}

/// Pages that were written.
#[derive(serde::Serialize)]
struct Written {
    pages: u64,
    dir: String,
}

impl Report for Written {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { pages, dir } = self;
        writeln!(out, "wrote {} to {dir}", count_of(*pages, "page"))
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        json_line(out, self)
    }

    fn is_data(&self) -> bool {
        false
    }
}
