//! The inputs to begin with, made from what they mean: so they follow the formats when these change.

mod calls;
mod files;
mod messages;
mod text;

/// An input that a fuzzer begins with.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Name of the target.
    pub target: &'static str,
    /// What it is.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

impl Seed {
    fn new(target: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            target,
            name: name.into(),
            bytes: bytes.into(),
        }
    }
}

/// All of them; each target has at least one.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = files::seeds();
    seeds.extend(messages::seeds());
    seeds.extend(text::seeds());
    seeds.extend(calls::seeds());
    seeds
}
