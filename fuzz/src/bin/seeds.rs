//! Writes the inputs to begin with: one folder for each target, below the one that is named.

#![expect(clippy::print_stderr, reason = "what went wrong is for people")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use towpath_fuzz::seeds;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: seeds FOLDER");
        return ExitCode::from(2);
    };
    for seed in seeds() {
        let folder = folder.join(seed.target);
        let written = fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join(&seed.name), &seed.bytes));
        if let Err(error) = written {
            eprintln!("cannot write into {}: {error}", folder.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
