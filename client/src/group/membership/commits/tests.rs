//! Which commits become one, when they go, and who hears what became of them.

use towpath_proto::problem::Problem;
use towpath_proto::reason::ErrorReason;

use super::*;

type Answered = oneshot::Receiver<Result<(), Error>>;

fn offsets(commits: &[(u32, u64)], generation: u64) -> BTreeMap<Place, v1::OffsetCommit> {
    let commits = commits.iter().map(|(partition, offset)| {
        let commit = v1::OffsetCommit {
            handle: 0,
            partition: *partition,
            generation,
            offset: *offset,
        };
        ((0, *partition), commit)
    });
    commits.collect()
}

/// Commits partitions in generation 1.
fn commit(commits: &mut Commits, places: &[(u32, u64)]) -> Answered {
    let (answer, answered) = oneshot::channel();
    commits.push(offsets(places, 1), true, answer);
    answered
}

/// What is sent now, each commit as its partitions and offsets.
fn sent(commits: &mut Commits) -> Vec<Vec<(u32, u64)>> {
    let mut sent = Vec::new();
    while commits.is_due() {
        let request = commits.take_request().expect("a commit that is due");
        let offsets = request.offsets.iter();
        sent.push(offsets.map(|it| (it.partition, it.offset)).collect());
    }
    sent
}

/// Answers the oldest one; `refused` of its partitions with an error.
fn answer(commits: &mut Commits, count: usize, refused: &[usize]) {
    let result = |index| {
        let stale = || Problem::new(ErrorReason::GenerationStale, "stale").into();
        v1::CommitResult {
            error: refused.contains(&index).then(stale),
            ..v1::CommitResult::default()
        }
    };
    let results = (0..count).map(result).collect();
    commits.take(v1::Committed { results }).expect("an answer");
}

#[test]
fn what_is_committed_while_one_is_on_its_way_goes_as_one() {
    let mut commits = Commits::default();
    let mut answered = vec![commit(&mut commits, &[(0, 1)])];
    commits.hurry();
    assert_eq!(sent(&mut commits), [[(0, 1)]], "the first");
    for place in [(0, 2), (1, 5), (0, 4), (1, 3)] {
        answered.push(commit(&mut commits, &[place]));
        commits.hurry();
        assert_eq!(sent(&mut commits).len(), 0, "one is on its way");
    }
    answer(&mut commits, 1, &[]);
    assert_eq!(sent(&mut commits), [[(0, 4), (1, 5)]], "the others");
    assert!(answered[1].try_recv().is_err(), "not answered yet");
    answer(&mut commits, 2, &[]);
    for mut answered in answered {
        answered.try_recv().expect("an answer").expect("success");
    }
    assert!(commits.is_empty(), "{commits:?}");
}

#[test]
fn what_nobody_waits_for_is_sent_when_it_is_time() {
    let mut commits = Commits::default();
    assert!(!commits.is_idle(), "nothing");
    (1..4).for_each(|offset| drop(commit(&mut commits, &[(0, offset)])));
    assert_eq!(sent(&mut commits).len(), 0, "not yet");
    assert!(commits.is_idle(), "it waits for its time");
    commits.hurry();
    assert!(!commits.is_idle(), "no longer");
    assert_eq!(sent(&mut commits), [[(0, 3)]], "all as one");
}

#[test]
fn each_caller_hears_of_its_own_partitions() {
    let mut commits = Commits::default();
    let mut lucky = commit(&mut commits, &[(0, 1), (2, 1)]);
    let mut unlucky = commit(&mut commits, &[(0, 1), (1, 1)]);
    commits.hurry();
    assert_eq!(sent(&mut commits), [[(0, 1), (1, 1), (2, 1)]]);
    answer(&mut commits, 3, &[1]);
    lucky.try_recv().expect("an answer").expect("success");
    let refused = unlucky.try_recv().expect("an answer").unwrap_err();
    assert_eq!(refused.reason(), Some(ErrorReason::GenerationStale));
}

#[test]
fn what_may_be_refused_for_its_own_reasons_goes_alone() {
    let mut commits = Commits::default();
    drop(commit(&mut commits, &[(0, 1)]));
    for (places, generation, is_sound) in [(&[(0, 90)], 1, false), (&[(0, 2)], 2, true)] {
        let (answer, _) = oneshot::channel();
        commits.push(offsets(places, generation), is_sound, answer);
    }
    drop(commit(&mut commits, &[(0, 3)]));
    commits.hurry();
    let expected = [[(0, 1)], [(0, 90)], [(0, 2)]];
    assert_eq!(sent(&mut commits), expected, "in their order");
    (0..3).for_each(|_| answer(&mut commits, 1, &[]));
    assert_eq!(sent(&mut commits), [[(0, 3)]], "another generation");
}

#[test]
fn what_was_said_before_partitions_are_given_back_waits_for_nothing() {
    let mut commits = Commits::default();
    drop(commit(&mut commits, &[(0, 1)]));
    commits.hurry();
    assert_eq!(sent(&mut commits), [[(0, 1)]]);
    drop(commit(&mut commits, &[(0, 2)]));
    commits.close();
    assert_eq!(sent(&mut commits), [[(0, 2)]], "although nobody hurries");
    drop(commit(&mut commits, &[(1, 7)]));
    commits.begin();
    commits.hurry();
    let again = sent(&mut commits);
    assert_eq!(again, [[(0, 1)], [(0, 2)]], "again over a new stream");
}
