//! The file `FORMAT` at the root of a data folder: its version and identity, as text for people.

use super::FORMAT_VERSION;
use crate::ids::BrokerId;

/// What the format file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatFile {
    /// Version of the folder, at most [`FORMAT_VERSION`].
    pub version: u32,
    /// Identity of the folder.
    pub broker_id: BrokerId,
}

/// Why a format file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatFileError {
    /// It names a version that is newer than this release.
    Newer {
        /// The version.
        found: u32,
    },
    /// It is not what any release wrote.
    Damaged,
}

impl FormatFile {
    /// The file's text.
    pub fn encode(&self) -> String {
        let body = format!(
            "towpath data folder\nformat {}\nbroker {}\n",
            self.version, self.broker_id
        );
        format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes()))
    }

    /// Reads the file. The version is judged before the checksum, since a newer release may have
    /// added lines.
    ///
    /// # Errors
    /// [`FormatFileError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatFileError> {
        let text = str::from_utf8(bytes).ok().ok_or(FormatFileError::Damaged)?;
        let mut lines = text.lines();
        if lines.next() != Some("towpath data folder") {
            return Err(FormatFileError::Damaged);
        }
        let version = lines
            .next()
            .and_then(|line| line.strip_prefix("format ")?.parse().ok());
        let version = match version {
            Some(found) if found > FORMAT_VERSION => return Err(FormatFileError::Newer { found }),
            Some(version) if version > 0 => version,
            _ => return Err(FormatFileError::Damaged),
        };
        let broker_id = lines
            .next()
            .and_then(|line| parse_hex(line.strip_prefix("broker ")?))
            .ok_or(FormatFileError::Damaged)?;
        let file = Self { version, broker_id };
        if file.encode().as_bytes() == bytes {
            Ok(file)
        } else {
            Err(FormatFileError::Damaged)
        }
    }
}

fn parse_hex(text: &str) -> Option<BrokerId> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        let start = place.checked_mul(2)?;
        *byte = u8::from_str_radix(text.get(start..start.checked_add(2)?)?, 16).ok()?;
    }
    Some(BrokerId::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_file_survives_the_round_trip_and_no_changed_byte() {
        for version in 1..=FORMAT_VERSION {
            let file = FormatFile {
                version,
                broker_id: BrokerId::new(*b"0123456789abcdef"),
            };
            let text = file.encode();
            assert_eq!(FormatFile::decode(text.as_bytes()), Ok(file));
            for place in 0..text.len() {
                let mut damaged = text.clone().into_bytes();
                damaged[place] ^= 0x03;
                assert!(FormatFile::decode(&damaged).is_err(), "place={place}");
            }
        }
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let text = b"towpath data folder\nformat 12\nwhatever came later\n";
        assert_eq!(
            FormatFile::decode(text),
            Err(FormatFileError::Newer { found: 12 })
        );
        assert_eq!(
            FormatFile::decode(b"towpath data folder\nformat 0\n"),
            Err(FormatFileError::Damaged)
        );
        assert_eq!(FormatFile::decode(b""), Err(FormatFileError::Damaged));
    }
}
