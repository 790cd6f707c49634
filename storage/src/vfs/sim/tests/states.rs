//! The enumeration of crash states against a plain model, and the samples against the enumeration.

use proptest::prelude::*;

use super::*;
use crate::environment::testing::seeded;

#[test]
fn a_disk_with_nothing_pending_has_one_state_besides_the_kill() {
    let disk = disk();
    create_durable(&disk, "f", b"x");
    let states = disk.crash_states(0);
    assert!(!states.is_complete(), "one is more than none");
    let states: Vec<_> = disk.crash_states(1).collect();
    assert_eq!(states.len(), 2);
    assert_eq!(states[0].description, "kill");
    assert!(
        states
            .iter()
            .all(|state| state.disk.content_hash() == disk.content_hash()),
        "same"
    );
}

#[test]
fn the_content_hash_tells_trees_apart() {
    let hash = |paths: &[&str]| {
        let disk = disk();
        for path in paths {
            disk.vfs().create_dir(Path::new(path)).unwrap();
        }
        disk.content_hash()
    };
    assert_eq!(
        hash(&["a", "b"]),
        hash(&["b", "a"]),
        "the order of creation is not content"
    );
    let trees: [&[&str]; 5] = [&[], &["a"], &["a", "b"], &["a", "a/b"], &["a", "a/b", "b"]];
    let hashes: BTreeSet<_> = trees.map(hash).into();
    assert_eq!(hashes.len(), trees.len());
}

#[test]
fn states_are_distinct_and_say_what_survived() {
    let disk = disk();
    let file = create(&disk, "f");
    write(&file, 0, &sectors(1, 3));
    let states: Vec<_> = disk.crash_states(10_000).skip(1).collect();
    let hashes: BTreeSet<_> = states
        .iter()
        .map(|state| state.disk.content_hash())
        .collect();
    assert_eq!(hashes.len(), states.len());
    let texts: BTreeSet<_> = states.iter().map(|state| &state.description).collect();
    assert_eq!(texts.len(), states.len());
    // No name; length 0; of each of three sectors the bytes, zeros or noise.
    assert_eq!(states.len(), 1 + 1 + (8 + 7), "{texts:#?}");
}

#[test]
fn what_is_cut_and_written_again_may_show_anything() {
    let disk = disk_with_sectors(4096);
    let file = create_durable(&disk, "f", &[1; 4096]);
    file.set_len(0).unwrap();
    write(&file, 0, &[2; 4096]);
    let found = all_outcomes(&disk, "f");
    for plain in [vec![1; 4096], vec![], vec![0; 4096], vec![2; 4096]] {
        assert!(found.contains(&Some(plain)), "the plain outcomes");
    }
    assert_eq!(found.len(), 5, "and noise");
}

#[test]
fn too_many_states_are_sampled_and_that_is_said() {
    let disk = disk();
    let file = create_durable(&disk, "f", &sectors(0, 40));
    write(&file, 0, &sectors(1, 40));
    let states = disk.crash_states(200);
    assert!(!states.is_complete(), "two to the fortieth");
    let found: Vec<_> = states
        .skip(1)
        .map(|state| read(&state.disk, "f").unwrap())
        .collect();
    assert_eq!(found.len(), 200);
    let distinct: BTreeSet<_> = found.iter().collect();
    assert_eq!(distinct.len(), 200);
    let mut without_first = sectors(1, 40);
    without_first[..SECTOR].fill(0);
    let mut without_last = sectors(1, 40);
    without_last[39 * SECTOR..].fill(0);
    for plain in [sectors(0, 40), sectors(1, 40), without_first, without_last] {
        assert!(
            distinct.contains(&plain),
            "the characteristic ones are among them"
        );
    }
}

#[test]
fn a_sample_tries_each_name_and_file_alone() {
    let disk = disk();
    for number in 0..12 {
        let file = create(&disk, &format!("f{number:02}"));
        write(&file, 0, &sectors(1, 1));
    }
    let states = disk.crash_states(400);
    assert!(!states.is_complete(), "two to the twelfth, and more");
    let names =
        |state: &CrashState| -> BTreeSet<String> { state.disk.paths().into_iter().collect() };
    let whole = |state: &CrashState| -> BTreeSet<String> {
        let is_whole = |path: &String| read(&state.disk, path).unwrap() == sectors(1, 1);
        names(state).into_iter().filter(is_whole).collect()
    };
    let found: BTreeSet<_> = states.map(|state| (names(&state), whole(&state))).collect();
    let all: BTreeSet<_> = (0..12).map(|number| format!("f{number:02}")).collect();
    let none = BTreeSet::new();
    assert!(found.contains(&(all.clone(), all.clone())), "all kept");
    assert!(found.contains(&(none.clone(), none.clone())), "all lost");
    assert!(
        found.contains(&(all.clone(), none)),
        "names kept, bytes lost"
    );
    for name in &all {
        let only: BTreeSet<_> = [name.clone()].into();
        let others: BTreeSet<_> = &all - &only;
        assert!(
            found.contains(&(all.clone(), others.clone())),
            "only the bytes of {name} lost"
        );
        assert!(
            found.contains(&(all.clone(), only.clone())),
            "only the bytes of {name} kept"
        );
        assert!(
            found.contains(&(others.clone(), others)),
            "only the name {name} lost"
        );
        assert!(
            found.contains(&(only.clone(), only)),
            "only the name {name} kept"
        );
    }
}

/// A change of a file that is all allocated and durable: four sectors, a value for each.
#[derive(Debug, Clone)]
enum Change {
    Write {
        start: usize,
        count: usize,
        value: u8,
    },
    SetLen {
        sectors: usize,
    },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..4_usize, 1..3_usize, 1..200_u8)
            .prop_map(|(start, count, value)| Change::Write { start, count, value }),
        1 => (0..5_usize).prop_map(|sectors| Change::SetLen { sectors }),
    ]
}

/// All outcomes, by trying for every prefix of lengths every subset of (change, sector, value),
/// where a cut writes zeros behind itself: a subset counts if no sector has a later write without
/// its earlier ones, and nothing of what is written after a lost cut to nothing, which gave all
/// blocks back.
fn model(changes: &[Change]) -> BTreeSet<Vec<u8>> {
    let units = units(changes);
    let mut outcomes = BTreeSet::new();
    for lengths in 0..=changes.len() {
        for subset in 0..1_u32 << units.len() {
            let is_kept = |place: usize| subset & (1 << place) != 0;
            let is_in_order = (0..units.len()).all(|later| {
                let earlier = (0..later).filter(|earlier| units[*earlier].1 == units[later].1);
                !is_kept(later) || earlier.into_iter().all(is_kept)
            });
            if is_in_order {
                let kept = (0..units.len()).filter(|place| is_kept(*place));
                let kept: Vec<_> = kept.map(|place| units[place]).collect();
                outcomes.extend(outcome(changes, lengths, &kept));
            }
        }
    }
    outcomes
}

/// What each change writes, as (change, sector, value).
fn units(changes: &[Change]) -> Vec<(usize, usize, u8)> {
    let mut length = 4;
    let mut units = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        match *change {
            Change::Write {
                start,
                count,
                value,
            } => {
                units.extend((start..start + count).map(|sector| (index, sector, value)));
                length = length.max(start + count);
            }
            Change::SetLen { sectors } => {
                if sectors > 0 {
                    units.extend((sectors..length).map(|sector| (index, sector, 0)));
                }
                length = sectors;
            }
        }
    }
    units
}

/// The file if so many lengths and these units survive; none if they cannot.
fn outcome(changes: &[Change], lengths: usize, kept: &[(usize, usize, u8)]) -> Option<Vec<u8>> {
    let mut file = [9, 9, 9, 9, 0, 0, 0, 0];
    let (mut length, mut live_length, mut is_cut_lost) = (4, 4, false);
    for (index, change) in changes.iter().enumerate() {
        let is_length_kept = index < lengths;
        let after = match *change {
            Change::Write { start, count, .. } => live_length.max(start + count),
            Change::SetLen { sectors } => sectors,
        };
        if is_length_kept {
            length = after;
        }
        if after == 0 && is_length_kept {
            file = [0; 8];
        }
        is_cut_lost |= after == 0 && live_length > 0 && !is_length_kept;
        live_length = after;
        for (_, sector, value) in kept.iter().filter(|(of, _, _)| *of == index) {
            if is_cut_lost {
                return None;
            }
            file[*sector] = *value;
        }
    }
    Some(
        file[..length]
            .iter()
            .flat_map(|value| sectors(*value, 1))
            .collect(),
    )
}

/// Noise differs from draw to draw, and the model has none.
fn is_noisy(outcome: &[u8]) -> bool {
    outcome
        .chunks(SECTOR)
        .any(|sector| sector.iter().any(|byte| *byte != sector[0]))
}

fn run(changes: &[Change]) -> SimDisk {
    let disk = disk();
    let file = create(&disk, "f");
    // Allocated as far as any write goes, so that no block shows noise before it is cut away.
    file.allocate(0, 8 * SECTOR_AT).unwrap();
    file.set_len(4 * SECTOR_AT).unwrap();
    write(&file, 0, &sectors(9, 4));
    file.sync_data().unwrap();
    sync_dir(&disk, "");
    for change in changes {
        match change {
            Change::Write {
                start,
                count,
                value,
            } => {
                write(&file, *start as u64 * SECTOR_AT, &sectors(*value, *count));
            }
            Change::SetLen { sectors } => file.set_len(*sectors as u64 * SECTOR_AT).unwrap(),
        }
    }
    disk
}

proptest! {
    #![proptest_config(seeded(48))]

    #[test]
    fn the_enumeration_visits_exactly_what_can_happen(
        changes in prop::collection::vec(change(), 0..5),
    ) {
        let disk = run(&changes);
        let mut found: BTreeSet<_> = all_outcomes(&disk, "f").into_iter().flatten().collect();
        found.retain(|outcome| !is_noisy(outcome));
        prop_assert_eq!(found, model(&changes));
    }

    #[test]
    fn what_is_drawn_is_what_can_happen(changes in prop::collection::vec(change(), 1..5)) {
        let disk = run(&changes);
        let possible = all_outcomes(&disk, "f");
        for mode in [
            |seed| LossMode::Prefix { seed },
            |seed| LossMode::Sectors { seed },
            |seed| LossMode::Mixed { seed },
        ] {
            for seed in 0..40 {
                let drawn = after(&disk, mode(seed), "f");
                let is_noisy = drawn.as_deref().is_some_and(is_noisy);
                prop_assert!(is_noisy || possible.contains(&drawn), "mode={:?}", mode(seed));
            }
        }
    }
}
