//! How much of the disk is kept back for what makes room: settlements, trims, deletes, checkpoints.

use towpath_storage::Space;

/// The part of the disk that is kept back...
const RESERVE_DIVISOR: u64 = 20;
/// ... or this many bytes, if that is less.
const RESERVE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Whether less is left than what is kept back.
pub(super) fn is_low(space: Space) -> bool {
    !has_room(space, 0)
}

/// Whether what is kept back is left when so many bytes more are taken.
pub(super) fn has_room(space: Space, bytes: u64) -> bool {
    let reserve_bytes = (space.total_bytes / RESERVE_DIVISOR).min(RESERVE_BYTES_MAX);
    space.available_bytes >= reserve_bytes.saturating_add(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(total_bytes: u64, available_bytes: u64) -> Space {
        Space {
            total_bytes,
            available_bytes,
        }
    }

    #[test]
    fn a_twentieth_of_a_small_disk_and_a_gibibyte_of_a_large_one_are_kept_back() {
        assert!(is_low(space(1000, 49)), "below a twentieth");
        assert!(!is_low(space(1000, 50)), "a twentieth");
        assert!(!is_low(space(1 << 50, 1 << 30)), "a gibibyte is enough");
        assert!(is_low(space(1 << 50, (1 << 30) - 1)), "below");
    }

    #[test]
    fn what_is_taken_leaves_the_reserve() {
        assert!(has_room(space(1000, 60), 10), "it is left");
        assert!(!has_room(space(1000, 60), 11), "it is touched");
        assert!(!has_room(space(1000, 60), u64::MAX), "more than there is");
    }
}
