//! What may go wrong in one run: each seed turns some of it on.

use std::time::Duration;

use fastrand::Rng;
use towpath_storage::vfs::sim::{
    CrashMode, Fault, Filling, Injection, LossMode, OperationKind, SimDisk,
};

/// The faults of one run.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    pub(super) has_crashes: bool,
    pub(super) has_power_loss: bool,
    pub(super) has_clock_jumps: bool,
    /// Faults, of which operations, and how many of a million of those they hit.
    faults: Vec<(Fault, OperationKind, u32)>,
    lies: bool,
    /// Size of the disk.
    pub(super) total_bytes: u64,
}

impl Weather {
    /// Draws the weather of a run.
    pub(super) fn draw(random: &mut Rng) -> Self {
        let candidates = [
            (Fault::Short, OperationKind::Write, 50_000),
            (Fault::Short, OperationKind::Read, 50_000),
            (Fault::Io, OperationKind::SyncData, 2_000),
            (Fault::Io, OperationKind::Write, 1_000),
            (Fault::Io, OperationKind::Allocate, 2_000),
            (Fault::Io, OperationKind::SyncDir, 2_000),
            (Fault::Io, OperationKind::Read, 1_000),
            (Fault::NoSpace, OperationKind::Allocate, 50_000),
            (Fault::NoSpace, OperationKind::Create, 20_000),
            (Fault::NoDescriptor, OperationKind::Open, 2_000),
            (
                Fault::Slow(Duration::from_millis(200)),
                OperationKind::Write,
                50_000,
            ),
            (
                Fault::Slow(Duration::from_secs(5)),
                OperationKind::SyncData,
                20_000,
            ),
        ];
        let faults = candidates
            .into_iter()
            .filter(|_| random.u8(..4) == 0)
            .collect();
        Self {
            has_crashes: random.u8(..4) != 0,
            has_power_loss: random.u8(..3) != 0,
            has_clock_jumps: random.u8(..3) == 0,
            faults,
            lies: false,
            total_bytes: if random.u8(..4) == 0 {
                16 << 20
            } else {
                1 << 30
            },
        }
    }

    /// Turns the faults on.
    pub(super) fn apply(&self, disk: &SimDisk) {
        for (fault, kind, rate) in &self.faults {
            disk.inject(Injection::new(*fault).on(*kind).per_million(*rate));
        }
        if self.lies {
            let lie = Injection::new(Fault::LyingSync).on(OperationKind::SyncData);
            disk.inject(lie.under("journal/").per_million(300_000));
        }
    }

    /// A disk that sometimes only says that it has synced the journal, under power losses: nothing can
    /// be promised.
    pub(super) fn lying() -> Self {
        Self {
            has_crashes: true,
            has_power_loss: true,
            has_clock_jumps: false,
            faults: Vec::new(),
            lies: true,
            total_bytes: 1 << 30,
        }
    }

    /// How the next crash ends.
    pub(super) fn crash_mode(&self, random: &mut Rng) -> CrashMode {
        if !self.has_power_loss || random.u8(..3) == 0 {
            return CrashMode::Kill;
        }
        let seed = random.u64(..);
        CrashMode::PowerLoss(match random.u8(..8) {
            0 => LossMode::Everything,
            1 => LossMode::Nothing,
            2 => LossMode::Prefix { seed },
            3 => LossMode::Sectors { seed },
            4 => LossMode::SizeFirst(Filling::Zeros),
            5 => LossMode::SizeFirst(Filling::Noise(seed)),
            _ => LossMode::Mixed { seed },
        })
    }
}
