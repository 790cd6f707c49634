//! Many syncs at once: a file system carries out those that wait together with one commit of its own.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{SyncPace, SyncTarget};

/// Threads that sync at once.
const FAST_THREAD_COUNT_MAX: usize = 16;
/// The same beside the journal. With 16 its syncs took 5 to 7 ms instead of 0.3, one after the other, for as long
/// as a checkpoint synced 256 segments, and 300,000 records a second had a p99 of 20 instead of 6 ms; with one or
/// two a checkpoint takes longer, and so do they.
const GENTLE_THREAD_COUNT_MAX: usize = 4;
/// Fewer syncs than this are not worth another thread.
const SYNCS_PER_THREAD_MIN: usize = 4;

/// Calls `sync` for every target, from several threads if there are many. After a failure no further
/// one is begun. All threads have ended on return.
pub(super) fn sync_all(
    targets: &[SyncTarget<'_>],
    pace: SyncPace,
    sync: impl Fn(&SyncTarget<'_>) -> io::Result<()> + Sync,
) -> Result<(), (usize, io::Error)> {
    let next = AtomicUsize::new(0);
    let is_failed = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let work = || {
        while !is_failed.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(target) = targets.get(place) else {
                return;
            };
            if let Err(error) = sync(target) {
                is_failed.store(true, Ordering::Relaxed);
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert((place, error));
            }
        }
    };
    let thread_count_max = match pace {
        SyncPace::Fast => FAST_THREAD_COUNT_MAX,
        SyncPace::Gentle => GENTLE_THREAD_COUNT_MAX,
    };
    let helper_count = (targets.len() / SYNCS_PER_THREAD_MIN).min(thread_count_max - 1);
    thread::scope(|scope| {
        for _ in 0..helper_count {
            let helper = thread::Builder::new().name("towpath-sync".to_owned());
            // Without another thread those that there are take longer.
            if helper.spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn paths(count: usize) -> Vec<PathBuf> {
        let names = (0..count).map(|place| place.to_string());
        names.map(PathBuf::from).collect()
    }

    fn targets(paths: &[PathBuf]) -> Vec<SyncTarget<'_>> {
        paths.iter().map(|path| SyncTarget::Dir(path)).collect()
    }

    fn check(count: usize, pace: SyncPace) {
        let paths = paths(count);
        let targets = targets(&paths);
        let synced = Mutex::new(Vec::new());
        let note = |target: &SyncTarget<'_>| {
            if let SyncTarget::Dir(path) = target {
                synced.lock().unwrap().push(path.to_path_buf());
            }
            Ok(())
        };
        sync_all(&targets, pace, note).unwrap();
        let mut synced = synced.into_inner().unwrap();
        let mut wanted = paths.clone();
        synced.sort();
        wanted.sort();
        assert_eq!(synced, wanted, "each once");
    }

    #[test]
    fn each_target_is_synced_once_however_many_there_are() {
        for count in [0, 1, 3, 4, 64, 1000] {
            check(count, SyncPace::Fast);
            check(count, SyncPace::Gentle);
        }
    }

    #[test]
    fn beside_the_journal_few_threads_sync() {
        let paths = paths(1000);
        let targets = targets(&paths);
        let threads = Mutex::new(HashSet::new());
        let note = |_: &SyncTarget<'_>| {
            threads.lock().unwrap().insert(thread::current().id());
            thread::yield_now();
            Ok(())
        };
        sync_all(&targets, SyncPace::Gentle, note).unwrap();
        let thread_count = threads.into_inner().unwrap().len();
        assert!(thread_count <= GENTLE_THREAD_COUNT_MAX, "{thread_count}");
    }

    #[test]
    fn one_that_fails_is_named() {
        let paths = paths(100);
        let targets = targets(&paths);
        let fail = |target: &SyncTarget<'_>| match target {
            SyncTarget::Dir(path) if *path == Path::new("70") => {
                Err(io::Error::other("the disk is gone"))
            }
            _ => Ok(()),
        };
        let (place, error) = sync_all(&targets, SyncPace::Fast, fail).unwrap_err();
        assert_eq!(
            (place, error.to_string().as_str()),
            (70, "the disk is gone")
        );
    }
}
