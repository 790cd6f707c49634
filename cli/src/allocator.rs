//! How the C library gives memory back.

/// Blocks from this size on are given back to the system when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const RETURNED_BYTES_MIN: libc::c_int = 256 * 1024;

/// Free memory that each arena keeps at its end.
///
/// Batches are received into blocks that are below [`RETURNED_BYTES_MIN`] and live until their round is
/// on disk. With glibc's 128 KiB nearly each of them would be given back and taken again, and the
/// system would clear every page once for each batch: an eighth of the broker's processor time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES_MAX: libc::c_int = 32 * 1024 * 1024;

/// Has large blocks given back to the system as soon as they are freed, and keeps small ones.
///
/// glibc does so from 128 KiB on, until the first such block is freed: from then on it keeps blocks up
/// to that block's size (mallopt(3), `M_MMAP_THRESHOLD`). A broker that has taken a burst of large
/// messages would stay several times as large as everything that it holds. To be called before there is
/// a second thread.
pub(crate) fn give_large_blocks_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, bytes) in [
        (libc::M_MMAP_THRESHOLD, RETURNED_BYTES_MIN),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX),
    ] {
        #[expect(unsafe_code, reason = "there is no safe way to ask for this")]
        // SAFETY: it takes two numbers, and changes how later allocations are made.
        let is_set = unsafe { libc::mallopt(parameter, bytes) };
        debug_assert_eq!(is_set, 1, "glibc takes any number of bytes up to 32 MiB");
    }
}
