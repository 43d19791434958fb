//! Keys: bytes whose order is the order of what they stand for.
//!
//! Versions and natural order are both lists of numbers of any length and of text. Written so that plain byte
//! comparison gives the right answer, they need no comparison of their own: an order of bytes is total. No key is
//! the beginning of another one, so the first 16 bytes can be compared as one number.
//!
//! - A number is the count of its bytes plus one, then its bytes; from 20 decimal digits on it is [`LONG`], the
//!   count of its digits, and its digits. Leading zeros do not count.
//! - Text is [`TEXT`], its bytes and an end.
//! - A list ends with [`END`], which is below all of them.

use std::cmp::Ordering;

/// Ends a list or a text, below everything that could go on.
pub(super) const END: u8 = 0;
/// Starts a number of 20 digits or more; shorter ones start with 1 to 9.
const LONG: u8 = 10;
/// Starts text, above every number.
const TEXT: u8 = 0x20;

/// A finished key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    head: [u8; 16],
    tail: Box<[u8]>,
}

/// A key, or one whose tail stands among those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyRef<'k> {
    pub(super) head: [u8; 16],
    pub(super) tail: &'k [u8],
}

impl Key {
    /// Takes the bytes of one whole list.
    pub(super) fn new(mut bytes: Vec<u8>) -> Self {
        Self::take(&mut bytes)
    }

    /// The same; what is left in the buffer means nothing.
    pub(super) fn take(bytes: &mut Vec<u8>) -> Self {
        let length = bytes.len();
        // Sizes that the compiler knows: most keys are short, and there are many.
        bytes.extend_from_slice(&[0; 16]);
        let mut head = [0; 16];
        head.copy_from_slice(&bytes[..16]);
        Self { head, tail: if length > 16 { bytes[16..length].into() } else { Box::default() } }
    }

    #[inline]
    pub(super) fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { head: self.head, tail: &self.tail }
    }
}

impl KeyRef<'_> {
    /// The first 16 bytes as a number, which decides between most keys.
    #[inline]
    fn number(&self) -> u128 {
        u128::from_be_bytes(self.head)
    }

    /// Compares only as far as `bytes` goes: `Equal` if the key starts with it.
    #[inline]
    pub(super) fn cmp_start(&self, bytes: &[u8]) -> Ordering {
        if bytes.len() <= 16 {
            return self.head[..bytes.len()].cmp(bytes);
        }
        let (first, rest) = bytes.split_at(16);
        self.head[..].cmp(first).then_with(|| self.tail[..rest.len().min(self.tail.len())].cmp(rest))
    }

    /// Whether the key starts with `bytes`.
    #[inline]
    pub(super) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.cmp_start(bytes).is_eq()
    }
}

impl Ord for KeyRef<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number()).then_with(|| self.tail.cmp(other.tail))
    }
}

impl PartialOrd for KeyRef<'_> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_ref().cmp(&other.as_ref())
    }
}

impl PartialOrd for Key {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Appends a number, given as ASCII digits.
pub(super) fn push_number(out: &mut Vec<u8>, digits: &[u8]) {
    let zeros = digits.iter().take_while(|&&b| b == b'0').count();
    let digits = &digits[zeros..];
    if digits.len() < 20 {
        let value = digits.iter().fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        match value {
            0 => return out.push(1),
            1..0x100 => return out.extend_from_slice(&[2, value as u8]),
            0x100..0x1_0000 => return out.extend_from_slice(&[3, (value >> 8) as u8, value as u8]),
            _ => {}
        }
        let bytes = 8 - value.leading_zeros() as usize / 8;
        out.push(1 + bytes as u8);
        out.extend_from_slice(&value.to_be_bytes()[8 - bytes..]);
    } else {
        out.push(LONG);
        out.extend_from_slice(&(digits.len() as u32).to_be_bytes());
        out.extend_from_slice(digits);
    }
}

/// Appends text, in lower case.
pub(super) fn push_lower(out: &mut Vec<u8>, text: &[u8]) {
    push_text(out, text);
    let start = out.len() - 1 - text.len();
    out[start..].make_ascii_lowercase();
}

/// Appends text.
pub(super) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(TEXT);
    out.extend_from_slice(text);
    out.push(END);
}

/// Appends natural order: digit runs as numbers, other runs by bytes, a digit run before other text.
pub(super) fn push_natural(out: &mut Vec<u8>, text: &[u8]) {
    for run in text.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        if run[0].is_ascii_digit() { push_number(out, run) } else { push_text(out, run) }
    }
    out.push(END);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn natural(text: &str) -> Key {
        let mut bytes = Vec::new();
        push_natural(&mut bytes, text.as_bytes());
        Key::new(bytes)
    }

    #[rstest::rstest]
    #[case("", "1")]
    #[case("1", "2")]
    #[case("9", "10")]
    #[case("255", "256")]
    #[case("9999999999999999999", "10000000000000000000")]
    #[case("18446744073709551615", "18446744073709551616")]
    #[case("99999999999999999999", "100000000000000000000")]
    #[case("1", "a")]
    #[case("a", "a1")]
    #[case("a1", "ab")]
    #[case("1.2.1", "1.2.x")]
    #[case("build-9", "build-10")]
    #[case("a-long-common-beginning-9", "a-long-common-beginning-10")]
    fn natural_order_counts_digit_runs(#[case] lower: &str, #[case] greater: &str) {
        assert!(natural(lower) < natural(greater));
        assert!(natural(greater) > natural(lower));
    }

    #[test]
    fn leading_zeros_do_not_count() {
        assert_eq!(natural("1.02"), natural("1.2"));
        assert_eq!(natural("000"), natural("0"));
    }

    /// The order as the page says it, without keys.
    fn plainly(a: &str, b: &str) -> Ordering {
        let runs = |text: &'_ str| -> Vec<Vec<u8>> {
            text.as_bytes()
                .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
                .map(|run| match run.iter().position(|&b| b != b'0') {
                    _ if !run[0].is_ascii_digit() => run.to_vec(),
                    Some(at) => run[at..].to_vec(),
                    None => b"0".to_vec(),
                })
                .collect()
        };
        let (a, b) = (runs(a), runs(b));
        for (a, b) in a.iter().zip(&b) {
            let order = match (a[0].is_ascii_digit(), b[0].is_ascii_digit()) {
                (true, true) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => a.cmp(b),
            };
            if order.is_ne() {
                return order;
            }
        }
        a.len().cmp(&b.len())
    }

    proptest! {
        #[test]
        fn keys_compare_as_what_they_stand_for(a in "[0-2a-c.-]{0,8}[0-9]{0,25}", b in "[0-2a-c.-]{0,8}[0-9]{0,25}") {
            prop_assert_eq!(natural(&a).cmp(&natural(&b)), plainly(&a, &b));
        }
    }
}
