//! Small numbers in few bytes: seven bits a byte, lowest first, the highest bit set on all but the last.

use bytes::BufMut;

/// Appends a number, one to five bytes.
pub(super) fn put(out: &mut impl BufMut, mut number: u32) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.put_u8(low);
        }
        out.put_u8(low | 0x80);
    }
}

/// Takes a number from the front; `None` if it is cut short or does not fit.
pub(super) fn take(input: &mut &[u8]) -> Option<u32> {
    let mut number = 0;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        let bits = u32::from(byte & 0x7f);
        if shift == 28 && bits > 0x0f {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_round_trip() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x0fff_ffff, u32::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            bytes.push(9);
            let mut input = &bytes[..];
            assert_eq!(take(&mut input), Some(number));
            assert_eq!(input, [9]);
            for length in 0..bytes.len() - 1 {
                assert_eq!(take(&mut &bytes[..length]), None, "cut to {length}");
            }
        }
        assert_eq!(take(&mut &[0xff; 9][..]), None, "more than 32 bits");
    }
}
