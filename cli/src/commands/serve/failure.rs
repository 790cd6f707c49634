//! Why a broker did not start, as the command line tells it.

use std::error::Error as _;
use std::io;

use towpath_broker::StartError;

use crate::exit::Exit;
use crate::failure::Failure;

/// Takes over why a broker did not start, with what to do about it.
pub(in crate::commands) fn start_failure(error: StartError) -> Failure {
    let hint = error.hint();
    let failure = Failure::new(exit_of(&error), error.to_string());
    let failure = match error.source() {
        Some(source) => failure.because(source),
        None => failure,
    };
    failure.hint(hint)
}

#[warn(clippy::wildcard_enum_match_arm)]
fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::InvalidConfig { .. } | StartError::RemoteRefused { .. } => Exit::Usage,
        StartError::PortInUse { .. }
        | StartError::FolderInUse { .. }
        | StartError::NewerFormat { .. }
        | StartError::FolderNotUsable { .. } => Exit::Conflict,
        StartError::CannotListen { source, .. } | StartError::FolderNotOpened { source, .. } => {
            Exit::of_io(source)
        }
        StartError::Storage { source, .. } => {
            let source = source
                .source()
                .and_then(|source| source.downcast_ref::<io::Error>());
            source.map_or(Exit::Failed, Exit::of_io)
        }
        StartError::JournalDamaged { .. } => Exit::Failed,
        StartError::NoThread { .. } => Exit::Limit,
    }
}
