//! What fuzzing calls, and what the tests call on stable with the inputs that are kept.
//!
//! A target says what must hold of any bytes: not only that nothing panics, but that what is read is what
//! was written, that two readers agree, and that bounds are kept. The programs of `cargo fuzz` in
//! `libfuzzer/` are a line each.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_assert_message,
    reason = "a target panics where it finds something, and the line says what"
)]

mod given;
mod seal;
mod seeds;
pub mod targets;

pub use seeds::{Seed, seeds};

// Rooms of other crates that are closed to the outside are read in as they are, file by file, so that what
// is fuzzed is what ships and nothing has to be opened for it.

use towpath_broker::core;

#[path = "../../broker/src"]
mod broker_rooms {
    pub(crate) mod filter;
}

use cli_rooms::input;

#[path = "../../cli/src"]
#[expect(dead_code, unused_imports, reason = "a target uses a part of the room")]
mod cli_rooms {
    pub(crate) mod input;

    #[path = "commands/commit"]
    pub(crate) mod commit {
        mod plan;

        /// Reads a plan.
        ///
        /// # Errors
        /// What is wrong with it, for people.
        pub(crate) fn read_plan(text: &str) -> Result<(), String> {
            plan::Plan::parse(text)
                .map(drop)
                .map_err(|fault| fault.to_string())
        }
    }
}

#[path = "../../storage/tests/it"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "a target uses a part of the driver, in which a failed step is a failed test"
)]
mod storage_rooms {
    pub(crate) mod driver;
}
