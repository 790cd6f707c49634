//! `towpath storage`: looking at data folders without a broker.

mod repair;
mod verify;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use towpath_storage::dump::{Dump, Item, Value};
use towpath_storage::vfs::RealVfs;

use super::{Outcome, Session};
use crate::args::{DumpArgs, StorageCommand};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Report, count_of, json_line};

/// Carries out one command about data folders.
pub(super) fn run(command: &StorageCommand, session: &Session<'_>) -> Result<Outcome, Failure> {
    match command {
        // It reads files from its beginning to its end, and nothing else goes on meanwhile.
        StorageCommand::Dump(args) => tokio::task::block_in_place(|| dump(args, session)),
        StorageCommand::Verify(args) => tokio::task::block_in_place(|| verify::run(args, session)),
        StorageCommand::Repair(args) => tokio::task::block_in_place(|| repair::run(args)),
    }
}

/// A folder that is there already.
fn folder(data_dir: &Path) -> Result<Arc<RealVfs>, Failure> {
    let opened = RealVfs::new(data_dir);
    let vfs = opened.map_err(|error| {
        Failure::io(
            format!("cannot open data folder {}", data_dir.display()),
            &error,
        )
        .hint("--data-dir says which folder")
    })?;
    Ok(Arc::new(vfs))
}

fn dump(args: &DumpArgs, session: &Session<'_>) -> Result<Outcome, Failure> {
    let vfs = folder(&args.data_dir())?;
    let mut printer = session.output.reports();
    let mut trouble_count = 0;
    let mut printed = Ok(());
    Dump::new(vfs).run(&args.selection(), &mut |item| {
        trouble_count += u64::from(item.is_trouble());
        printed = printer.report(&ItemReport(item));
        if printed.is_err() || session.interrupt.has_come() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    printed.and_then(|()| printer.flush())?;
    if session.interrupt.has_come() {
        return Err(Failure::interrupted());
    }
    if trouble_count > 0 {
        let places = count_of(trouble_count, "place");
        return Err(Failure::new(
            Exit::Failed,
            format!("something is wrong in {places}"),
        ));
    }
    Ok(Outcome::silent(Exit::Done))
}

/// One fact about a data folder.
#[derive(Debug)]
struct ItemReport<'a>(&'a Item);

impl Report for ItemReport<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{:width$}{}", "", self.0, width = 2 * self.0.depth())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut fields = Map::new();
        fields.insert("item".to_owned(), self.0.name().into());
        for (name, value) in self.0.fields() {
            fields.insert(name.to_owned(), to_json(&value));
        }
        json_line(out, &fields)
    }
}

fn to_json(value: &Value<'_>) -> Json {
    match value {
        Value::Number(number) => (*number).into(),
        Value::TimeMs(time_ms) => (*time_ms).into(),
        Value::Flag(flag) => (*flag).into(),
        Value::Text(text) => text.as_ref().into(),
        // Bytes, as hexadecimal digits, and what later versions add.
        other => other.to_string().into(),
    }
}
