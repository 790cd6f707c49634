//! Committed offsets: commits and seeks.

use super::*;

#[test]
fn commits_never_move_back_and_never_beyond_the_end() {
    let mut bench = Bench::new();
    bench.join(member(1));
    bench.pass(100);
    let commit = |offset| Commit {
        partition: PartitionRef {
            topic: TopicId::new(1),
            partition: 0,
        },
        generation: Generation(1),
        offset: Offset::new(offset),
        gaps: Vec::new(),
    };
    bench.state.partition_mut(commit(0).partition).unwrap().end = Offset::new(10);
    let committed = |offset| CommitVerdict::Committed(Offset::new(offset));
    assert_eq!(bench.commit(member(1), commit(7)), committed(7));
    assert_eq!(bench.commit(member(1), commit(3)), committed(7));
    let range = OffsetRange {
        start: Offset::ZERO,
        end: Offset::new(10),
    };
    let requested = Offset::new(11);
    let beyond = CommitVerdict::Refused(CommitRefusal::BeyondEnd { requested, range });
    assert_eq!(bench.commit(member(1), commit(11)), beyond);
    let stale = CommitVerdict::Refused(CommitRefusal::Stale);
    assert_eq!(bench.commit(member(2), commit(8)), stale);
    let older = Commit {
        generation: Generation(0),
        ..commit(8)
    };
    assert_eq!(bench.commit(member(1), older), stale);
    bench.seek(vec![(bench.place(0), Offset::new(2))]).unwrap();
    assert_eq!(bench.commit(member(1), commit(8)), stale);
    assert_eq!(
        bench.group().partition(bench.place(0)).unwrap().committed,
        Offset::new(2)
    );
}

#[test]
fn a_commit_counts_what_it_passes_over_and_is_written_if_it_moves() {
    let mut bench = Bench::new();
    bench.join(member(1));
    bench.pass(100);
    let place = bench.place(0);
    let gap = |start, end| OffsetRange {
        start: Offset::new(start),
        end: Offset::new(end),
    };
    let commit = |offset, gaps| Commit {
        partition: place,
        generation: Generation(1),
        offset: Offset::new(offset),
        gaps,
    };
    bench.state.partition_mut(place).unwrap().end = Offset::new(10);
    let skipped = |bench: &Bench| bench.group().partition(place).unwrap().skipped_count;
    bench.commit(member(1), commit(7, vec![gap(2, 4), gap(6, 9)]));
    assert_eq!(skipped(&bench), 3, "as far as it goes");
    let committed = CommitVerdict::Committed(Offset::new(10));
    let verdict = bench.commit(member(1), commit(10, vec![gap(6, 9)]));
    assert_eq!(verdict, committed, "up to the end");
    assert_eq!(skipped(&bench), 5, "each once");
    let again = [commit(10, Vec::new())];
    let (verdicts, rows) = bench
        .state
        .commit_offsets(bench.id(), member(1), &again, 1_000_200);
    assert_eq!((verdicts, rows), (vec![committed], Vec::new()));
    let check = |bench: &Bench, commit: &Commit| {
        let (id, state) = (bench.id(), &bench.state);
        state.check_commit(id, member(1), commit)
    };
    assert_eq!(check(&bench, &again[0]), Ok(Some(Offset::new(10))));
    let stale = Commit {
        generation: Generation(2),
        ..again[0].clone()
    };
    assert_eq!(check(&bench, &stale), Err(CommitRefusal::Stale));
    bench.state.partition_mut(place).unwrap().end = Offset::new(11);
    assert_eq!(
        check(&bench, &commit(11, Vec::new())),
        Ok(None),
        "it would move"
    );
}

#[test]
fn a_group_without_partitions_is_not_moved() {
    let mut bench = Bench::new();
    bench.join(member(1));
    bench.pass(100);
    let name = "orders".parse().unwrap();
    let (_, rows) = bench.state.delete_topic(&name, None).unwrap();
    bench.apply(rows);
    let generation = bench.group().generation();
    bench.seek(Vec::new()).unwrap();
    assert_eq!(bench.group().generation(), generation, "nothing moved");
}
