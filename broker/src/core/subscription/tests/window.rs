//! What a window keeps of its records.

use super::super::settled::{Settled, WORD_RECORDS};
use super::super::window::Window;
use super::*;

fn record(offset: u64) -> InspectedRecord {
    InspectedRecord {
        key: KeyHash(offset % 7),
        bytes: offset as u32,
        verdict: FilterVerdict::Deliver,
    }
}

#[test]
fn what_is_known_of_a_record_stays_its_own_while_the_floor_moves() {
    let (start, end) = (WORD_RECORDS + 5, 5 * WORD_RECORDS);
    let settled = Settled::below(Offset::new(start));
    for is_ordered in [true, false] {
        let mut window = Window::new(Offset::new(start), is_ordered);
        (start..end).for_each(|offset| window.push(record(offset), &settled));
        for floor in [start, 2 * WORD_RECORDS, 4 * WORD_RECORDS + 1] {
            window.set_floor(Offset::new(floor));
            for offset in floor..end {
                let (offset, expected) = (Offset::new(offset), record(offset));
                assert_eq!(
                    window.bytes(offset),
                    expected.bytes,
                    "{offset} from {floor}"
                );
                let key = if is_ordered { expected.key } else { KeyHash(0) };
                assert_eq!(window.key(offset), key, "{offset} from {floor}");
            }
        }
    }
}
