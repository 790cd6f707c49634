//! The server as a process of its own, so that its processor time can be told from the client's.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use clap::ValueEnum;

use super::server::Listening;
use crate::round_file::RoundFileOptions;
use crate::{Error, Result};

/// A running server; it is killed when this is dropped, and ends by itself when its parent does.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    listening: Listening,
}

impl ServerProcess {
    /// Starts `program serve` on a free port and waits until it has written its file and listens.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be started; [`Error::Void`] when it ended before it listened (it
    /// has then said why on stderr).
    pub(crate) fn start(program: &Path, file: &RoundFileOptions) -> Result<Self> {
        let child = Command::new(program)
            .args(["serve", "--until-stdin-closes", "--listen", "127.0.0.1:0"])
            .arg("--dir")
            .arg(&file.dir)
            .args([
                "--write",
                &value_name(file.write),
                "--file",
                &value_name(file.kind),
            ])
            .args(["--sync", &value_name(file.durability)])
            .args(["--file-bytes", &file.file_bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::io("start the server"))?;
        // Wrapped before anything else can fail, so that it is killed in any case.
        let address = ([127, 0, 0, 1], 0).into();
        let mut server = Self {
            child,
            listening: Listening {
                address,
                write: file.write,
            },
        };
        server.listening = server.read_listening()?;
        Ok(server)
    }

    pub(crate) fn listening(&self) -> Listening {
        self.listening
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn read_listening(&mut self) -> Result<Listening> {
        let mut line = String::new();
        if let Some(stdout) = self.child.stdout.as_mut() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(Error::io("read from the server"))?;
        }
        if line.is_empty() {
            return Err(Error::Void("the server did not start".to_owned()));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It keeps nothing, so there is nothing to end in order; and if it is gone, all is well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The word that the command line takes for a value.
fn value_name(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}
