//! Subscriptions that are measured.

use std::num::{NonZeroU32, NonZeroU64};

use clap::{Args, ValueEnum};
use towpath_client::SubscriptionMode;

use crate::args::number::parse_count;

/// A subscription that is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchSubscription {
    /// The records.
    #[command(flatten)]
    pub(crate) source: BenchSource,
    /// Records that each client may have that are not settled [default: the SDK's]
    #[arg(long, value_name = "N", value_parser = parse_count::<NonZeroU64>)]
    pub(crate) in_flight: Option<NonZeroU64>,
}

/// Which records a subscription hands out, and how.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct BenchSource {
    /// Who gets records, and in which order
    #[arg(long, value_enum, default_value_t = BenchMode::KeyShared)]
    pub(crate) mode: BenchMode,
    /// Keys that the records have, drawn at random [default: none has a key]
    #[arg(long, value_name = "N", value_parser = parse_count::<NonZeroU32>)]
    pub(crate) keys: Option<NonZeroU32>,
}

impl BenchSource {
    /// How many keys have to come in order.
    pub(crate) fn ordered_keys(self) -> usize {
        match self.mode {
            BenchMode::Shared => 0,
            BenchMode::KeyShared => self.keys.map_or(0, NonZeroU32::get) as usize,
        }
    }
}

/// Modes that several clients share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchMode {
    /// Any record to anyone
    Shared,
    /// Each key in order, to one client at a time
    KeyShared,
}

impl BenchMode {
    /// What the flag says.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::KeyShared => "key-shared",
        }
    }
}

impl From<BenchMode> for SubscriptionMode {
    fn from(mode: BenchMode) -> Self {
        match mode {
            BenchMode::Shared => Self::Shared,
            BenchMode::KeyShared => Self::KeyShared,
        }
    }
}
