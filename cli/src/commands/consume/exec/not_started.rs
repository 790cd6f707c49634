//! Why a command was not started, and whom that concerns.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// Why a command was not started for a record.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// What is said of this record is more than the operating system hands over.
    RecordTooLarge(io::Error),
    /// This machine is short of something: later, or elsewhere, it may be started.
    ForNow(io::Error),
    /// No command can be started.
    Never(io::Error),
}

impl From<io::Error> for NotStarted {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            // This process was started with the same environment, and with the command: what does not
            // fit is the record's.
            Some(Errno::TOOBIG) => Self::RecordTooLarge(error),
            Some(
                Errno::AGAIN
                | Errno::NOMEM
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOSPC
                | Errno::DQUOT
                | Errno::TXTBSY,
            ) => Self::ForNow(error),
            _ => Self::Never(error),
        }
    }
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordTooLarge(error) => write!(
                f,
                "the command could not be started: the key and headers are too large for its \
                 environment: {error}"
            ),
            Self::ForNow(error) | Self::Never(error) => {
                write!(f, "the command could not be started: {error}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_a_record_or_a_moment_is_told_from_what_never_works() {
        let check = |errno: Errno, expected: fn(&NotStarted) -> bool| {
            let why = NotStarted::from(io::Error::from(errno));
            assert!(expected(&why), "{errno:?}: {why:?}");
        };
        check(Errno::TOOBIG, |it| {
            matches!(it, NotStarted::RecordTooLarge(_))
        });
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NOSPC] {
            check(errno, |it| matches!(it, NotStarted::ForNow(_)));
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOEXEC] {
            check(errno, |it| matches!(it, NotStarted::Never(_)));
        }
        let other = NotStarted::from(io::Error::other("no number"));
        assert!(matches!(other, NotStarted::Never(_)), "{other:?}");
    }
}
