//! Bytes that are not text, as text.

use std::fmt;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The bytes in base64, with padding, as they print.
pub(crate) fn base64_text(bytes: &[u8]) -> impl fmt::Display {
    Base64Display::new(bytes, &BASE64)
}
