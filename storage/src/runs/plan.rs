//! Which runs are to be merged next. Pure.
//!
//! Runs stand by age and only neighbours are merged, so that what is newer stays newer. A run's *tier*
//! is its size on a scale of fours; one that is older than a run of a higher tier counts as of that
//! tier. So tiers fall from the oldest run to the newest, and at four runs of a tier they become one.
//!
//! Of each tier at most three runs are left: 3 * (2 + log4(bytes / 1 MiB)) in all. A row is written about
//! once for each tier that it passes through, and 2.5 times if runs of very different sizes alternate.

use std::ops::Range;

/// So many runs of a tier are merged.
const MERGE_RUNS_MIN: usize = 4;
/// At most so many at once: each is an open block.
const MERGE_RUNS_MAX: usize = 16;
/// Runs up to this size are of one tier, the lowest.
const TIER_BYTES: u64 = 1024 * 1024;

/// What is asked of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlanRun {
    pub(super) bytes: u64,
    /// Left as it is: a merge would stop in the middle of it.
    pub(super) is_damaged: bool,
}

fn tier(bytes: u64) -> u32 {
    match bytes.div_ceil(TIER_BYTES) {
        0 | 1 => 0,
        units => (units - 1).ilog2() / 2 + 1,
    }
}

/// The runs to be merged, as places in `runs`, which stand oldest first; `None` if nothing is to be done.
pub(super) fn plan(runs: &[PlanRun]) -> Option<Range<usize>> {
    let mut found: Option<(u32, Range<usize>)> = None;
    // Runs of one tier, and the tier, from the newest on.
    let (mut places, mut high) = (runs.len()..runs.len(), 0);
    for (place, run) in runs.iter().enumerate().rev() {
        let own = tier(run.bytes);
        if run.is_damaged {
            (places, high) = (place..place, 0);
            continue;
        }
        if own > high {
            (places, high) = (place + 1..place + 1, own);
        }
        places.start = place;
        let is_due = places.len() >= MERGE_RUNS_MIN;
        // The lowest tier first: it is the cheapest, and comes again the soonest.
        if is_due && found.as_ref().is_none_or(|(tier, _)| high <= *tier) {
            let end = places.end.min(places.start + MERGE_RUNS_MAX);
            found = Some((high, places.start..end));
        }
    }
    found.map(|(_, places)| places)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn plan_of(sizes: &[u64]) -> Option<Range<usize>> {
        let run = |bytes: &u64| PlanRun {
            bytes: *bytes,
            is_damaged: false,
        };
        plan(&sizes.iter().map(run).collect::<Vec<_>>())
    }

    #[test]
    fn tiers_are_a_scale_of_fours() {
        let sizes = [
            0,
            MIB,
            MIB + 1,
            4 * MIB,
            4 * MIB + 1,
            16 * MIB,
            17 * MIB,
            64 * MIB,
        ];
        // A run of four of a tier is of the next one.
        assert_eq!(sizes.map(tier), [0, 0, 1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn four_neighbours_of_a_size_are_merged() {
        assert_eq!(plan_of(&[]), None);
        assert_eq!(plan_of(&[9, 9, 9]), None);
        assert_eq!(plan_of(&[9, 9, 9, 9]), Some(0..4));
        assert_eq!(plan_of(&[50 * MIB, 9, 9, 9]), None, "the large one is left");
        assert_eq!(plan_of(&[50 * MIB, 9, 9, 9, 9]), Some(1..5));
    }

    #[test]
    fn older_ones_that_are_smaller_go_along() {
        assert_eq!(plan_of(&[9, 9, 9, 50 * MIB]), Some(0..4));
        assert_eq!(plan_of(&[9, 50 * MIB, 9, 9, 9]), None);
    }

    #[test]
    fn the_lowest_tier_comes_first_and_not_too_many_at_once() {
        let large = [50 * MIB; 4];
        assert_eq!(plan_of(&[&large[..], &[9; 4]].concat()), Some(4..8));
        assert_eq!(plan_of(&[9; 40]), Some(0..16));
    }

    #[test]
    fn a_damaged_run_is_left_and_parts_the_others() {
        let run = |is_damaged| PlanRun {
            bytes: 9,
            is_damaged,
        };
        let mut runs = vec![run(false); 7];
        runs[3] = run(true);
        assert_eq!(plan(&runs), None);
        runs.push(run(false));
        assert_eq!(plan(&runs), Some(4..8));
    }

    #[test]
    fn the_number_of_runs_and_what_is_written_again_are_bounded() {
        let mut random = crate::environment::random::SplitMix::new(7);
        // Each checkpoint adds up to a few MiB, now and then much more.
        for burst in [1, 64] {
            let (mut runs, mut written, mut added) = (Vec::new(), 0, 0);
            for _ in 0..3_000 {
                let factor = if random.below(10) == 0 { burst } else { 1 };
                let bytes = (random.below(2 * MIB) + 1) * factor;
                runs.push(bytes);
                (added, written) = (added + bytes, written + bytes);
                while let Some(places) = plan_of(&runs) {
                    let merged: u64 = runs[places.clone()].iter().sum();
                    written += merged;
                    runs.splice(places, [merged]);
                }
                let tiers = tier(runs.iter().sum()) as usize + 1;
                assert!(
                    runs.len() <= 3 * tiers,
                    "{} runs, {tiers} tiers",
                    runs.len()
                );
            }
            let (times, tiers) = (written / added, u64::from(tier(added)) + 1);
            println!("burst={burst} written={times} times, tiers={tiers}");
            assert!(times <= tiers, "written {times} times in {tiers} tiers");
        }
    }
}
