//! What a stream of responses holds, moment by moment.

use std::time::Duration;

use tokio::time::advance;

use super::*;
use crate::memory::Budget;

const SECOND: Duration = Duration::from_secs(1);

/// How many seconds the client has taken nothing.
fn seconds(unread: &Unread) -> Option<u64> {
    Some(unread.untaken_since()?.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_client_is_waited_for_only_while_it_could_take_something() {
    let budget = Budget::new(1 << 20, SECOND);
    let unread = Unread::new(&Share::new(&budget, 1 << 20));
    advance(SECOND).await;
    assert_eq!(seconds(&unread), Some(1), "it has made no room yet");
    unread.pause();
    advance(SECOND).await;
    assert_eq!(seconds(&unread), None, "the broker has nothing for it");
    let [first, second] = [0, 1].map(|_| unread.hand_out(7, 0, Vec::new()));
    unread.pause();
    advance(SECOND).await;
    assert_eq!(seconds(&unread), Some(1), "it has taken neither");
    drop(first);
    advance(SECOND).await;
    assert_eq!(seconds(&unread), Some(1), "nothing since the first");
    drop(second);
    assert_eq!(seconds(&unread), None, "it would take more");
    drop(unread.hand_out(7, 0, Vec::new()));
    advance(SECOND).await;
    assert_eq!(seconds(&unread), Some(1), "there is no room for more");
}

const KIB: usize = 1024;

/// A stream with a turn, and the budget of all.
async fn with_turn(budget_bytes: usize) -> (Budget, Arc<Unread>) {
    let budget = Budget::new(budget_bytes, SECOND);
    let unread = Unread::new(&Share::new(&budget, budget_bytes));
    unread.begin_turn().await;
    (budget, unread)
}

fn held_bytes(budget: &Budget) -> usize {
    budget.bytes() - budget.free_bytes()
}

fn buffer(bytes: usize) -> Vec<u8> {
    vec![0; bytes]
}

#[tokio::test(start_paused = true)]
async fn a_buffer_is_counted_as_a_whole_and_once_until_its_last_slice_has_gone() {
    let (budget, unread) = with_turn(64 * KIB * KIB).await;
    let [first, other] = [300, 400].map(|kib| buffer(kib * KIB));
    let [first, other] = [&first, &other].map(|it| Backing::of_all(it));
    let pin = |backing| unread.pin(backing, 20 * KIB).expect("there is plenty");
    let chunk = unread.hand_out(100, 40 * KIB, vec![pin(first), pin(first)]);
    assert_eq!(held_bytes(&budget), 300 * KIB + 100, "once, and the copy");
    unread.begin_turn().await;
    let later = unread.hand_out(0, 40 * KIB, vec![pin(first), pin(other)]);
    assert_eq!(held_bytes(&budget), 700 * KIB + 100, "the other as well");
    drop(chunk);
    assert_eq!(held_bytes(&budget), 700 * KIB, "the copy has gone");
    drop(later);
    assert_eq!(held_bytes(&budget), 0, "and all of it");
}

#[tokio::test(start_paused = true)]
async fn what_a_turn_pins_leaves_room_for_a_copy() {
    let (budget, unread) = with_turn(64 * KIB * KIB).await;
    let large = Backing::of_all(&buffer(PINNED_BYTES_MAX - 100 * KIB));
    let pinned = unread.pin(large, 20 * KIB).expect("there is plenty");
    let more = Backing::of_all(&buffer(101 * KIB));
    assert!(unread.pin(more, 101 * KIB).is_none(), "too much for a turn");
    let sent = unread.hand_out(BATCH_BYTES_MAX, 20 * KIB, vec![pinned]);
    let all = PINNED_BYTES_MAX - 100 * KIB + BATCH_BYTES_MAX;
    assert_eq!(held_bytes(&budget), all, "both are counted");
    unread.begin_turn().await;
    assert!(unread.pin(more, 101 * KIB).is_some(), "in the next turn");
    drop(sent);
}

#[tokio::test(start_paused = true)]
async fn a_small_part_of_a_buffer_is_copied_when_memory_is_short() {
    let (budget, unread) = with_turn(2 * TURN_BYTES_MAX).await;
    let large = Backing::of_all(&buffer(1024 * KIB));
    let small = Backing::of_all(&buffer(200 * KIB));
    assert!(
        unread.pin(large, 15 * KIB).is_none(),
        "too small in any case"
    );
    assert!(unread.pin(large, 100 * KIB).is_none(), "half is taken");
    assert!(unread.pin(small, 100 * KIB).is_some(), "a large part");
    drop(budget);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_pinned_without_memory() {
    let (_budget, unread) = with_turn(64 * KIB * KIB).await;
    unread.pause();
    let backing = Backing::of_all(&buffer(100 * KIB));
    assert!(unread.pin(backing, 100 * KIB).is_none(), "no turn");
}
