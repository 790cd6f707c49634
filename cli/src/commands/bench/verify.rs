//! Whether every record is where it should be: a run in which one was lost, doubled, moved or changed is
//! void.
//!
//! Writers keep a `Fingerprint` of what was acknowledged, readers of what they got: `Acknowledged` and
//! `Reading` look at the order besides. `Ledger` is for records that are handled one by one, `Outputs` for
//! what commits have written.

mod acknowledged;
mod fingerprint;
mod ledger;
mod outputs;
mod reading;

pub(super) use acknowledged::Acknowledged;
pub(super) use fingerprint::{Fingerprint, mark_of};
pub(super) use ledger::Ledger;
pub(super) use outputs::Outputs;
pub(super) use reading::Reading;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::count;

/// Whether as many records were counted as there must be.
///
/// # Errors
///
/// There were not: the run is void.
pub(super) fn expect_count(who: &str, found: u64, expected: u64) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (count(found), count(expected));
    Err(void(format!("{who} {found} records instead of {expected}")))
}

/// A run that does not count.
fn void(what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("void: {what}"))
}
