//! Reads a file or standard input on a thread of its own, a few blocks ahead.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::InputForm;
use super::lines::{self, Block, LINE_BYTES_MAX, LineBlocks};

/// Blocks that may wait; with the one being filled and the one being sent this bounds what is kept.
const BLOCKS_AHEAD: usize = 2;

/// Lines on their way in.
#[derive(Debug)]
pub(crate) enum Input {
    /// One value from the command line, until it is taken.
    Value(Option<Bytes>),
    /// What a thread reads.
    Stream(mpsc::Receiver<Result<Block, ReadFault>>),
}

/// Why reading stopped before the end.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {input} at line {line}")]
pub(crate) struct ReadFault {
    /// Which input.
    input: String,
    /// The line that was being read, from 1.
    line: u64,
    /// What the operating system said.
    source: io::Error,
}

impl Input {
    /// A value from the command line, which is never cut.
    pub(crate) const fn of_value(value: Bytes) -> Self {
        Self::Value(Some(value))
    }

    /// Begins to read standard input.
    pub(crate) fn of_stdin(form: InputForm) -> Self {
        Self::read(io::stdin(), "standard input".to_owned(), form)
    }

    /// Begins to read a file.
    ///
    /// # Errors
    ///
    /// What opening it met.
    pub(crate) fn of_file(path: &Path, form: InputForm) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self::read(
            file,
            PathBuf::from(path).display().to_string(),
            form,
        ))
    }

    /// Returns the next lines; none at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`ReadFault`]; the lines before it were all returned.
    pub(crate) async fn next_block(&mut self) -> Result<Option<Block>, ReadFault> {
        match self {
            Self::Value(value) => Ok(value.take().map(Block::Whole)),
            Self::Stream(blocks) => blocks.recv().await.transpose(),
        }
    }

    fn read(reader: impl Read + Send + 'static, name: String, form: InputForm) -> Self {
        let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
        // Not a task of the runtime: nothing waits for a thread that waits for a silent terminal.
        std::thread::spawn(move || match form {
            InputForm::Lines | InputForm::Json => send_blocks(reader, &name, &sender),
            InputForm::Whole => send_whole(reader, &name, &sender),
        });
        Self::Stream(receiver)
    }
}

type Blocks = mpsc::Sender<Result<Block, ReadFault>>;

fn send_blocks(reader: impl Read, name: &str, sender: &Blocks) {
    let mut blocks = LineBlocks::new(reader);
    loop {
        let outcome = match blocks.next_block() {
            Ok(Some(block)) => Ok(block),
            Ok(None) => return,
            Err(error) => Err(ReadFault::new(name, blocks.next_line(), error)),
        };
        let is_last = outcome.is_err();
        // A receiver that has gone wants no more.
        if sender.blocking_send(outcome).is_err() || is_last {
            return;
        }
    }
}

fn send_whole(mut reader: impl Read, name: &str, sender: &Blocks) {
    let outcome = lines::read_whole(&mut reader)
        .map(Block::Whole)
        .map_err(|error| ReadFault::new(name, 1, error));
    // A receiver that has gone wants nothing.
    drop(sender.blocking_send(outcome));
}

impl ReadFault {
    fn new(input: &str, line: u64, error: io::Error) -> Self {
        let source = match error.kind() {
            io::ErrorKind::FileTooLarge => io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("longer than {LINE_BYTES_MAX} bytes"),
            ),
            _ => error,
        };
        Self {
            input: input.to_owned(),
            line,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Line;
    use super::*;

    async fn lines_of(mut input: Input) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(block) = input.next_block().await.expect("no fault") {
            lines.extend(block.lines());
        }
        lines
    }

    fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        file
    }

    #[tokio::test]
    async fn a_file_comes_in_lines_or_whole() {
        let file = file_of(b"one\ntwo\n");
        let input = Input::of_file(file.path(), InputForm::Lines).expect("open");
        let texts: Vec<_> = lines_of(input)
            .await
            .into_iter()
            .map(|line| line.bytes)
            .collect();
        assert_eq!(texts, ["one", "two"], "lines");
        let input = Input::of_file(file.path(), InputForm::Whole).expect("open");
        let texts: Vec<_> = lines_of(input)
            .await
            .into_iter()
            .map(|line| line.bytes)
            .collect();
        assert_eq!(texts, ["one\ntwo\n"], "whole");
    }

    #[tokio::test]
    async fn an_empty_file_has_no_line_but_is_one_whole() {
        let file = file_of(b"");
        let input = Input::of_file(file.path(), InputForm::Lines).expect("open");
        assert_eq!(lines_of(input).await, [], "lines");
        let input = Input::of_file(file.path(), InputForm::Whole).expect("open");
        assert_eq!(lines_of(input).await.len(), 1, "whole");
    }

    #[tokio::test]
    async fn a_value_is_never_cut() {
        let input = Input::of_value(Bytes::from_static(b"one\ntwo"));
        let line = Line {
            number: 1,
            bytes: Bytes::from_static(b"one\ntwo"),
        };
        assert_eq!(lines_of(input).await, [line], "value");
    }

    #[test]
    fn a_folder_is_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Input::of_file(folder.path(), InputForm::Lines).expect_err("a folder");
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory, "{error}");
    }
}
