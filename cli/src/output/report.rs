//! What a command has to say once it is done.

use std::io::{self, Write};

/// A result that prints itself, in full and in no other form than these two.
pub(crate) trait Report {
    /// Writes it for people, with line feeds.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Writes it as JSON: one object, or one a line where there are many.
    ///
    /// # Errors
    ///
    /// What `out` says.
    fn write_json(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Whether its text is data, for standard output, or a remark, for standard error.
    fn is_data(&self) -> bool {
        true
    }
}
