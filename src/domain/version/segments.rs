//! What follows the core of a version: pre-releases, commits, revisions and flavours (docs/policy.md §1).

use std::borrow::Cow;

use super::{Flags, PRERELEASE, RELEASE, Scratch, is_lower_hex};
use crate::domain::sortkey::{END, push_lower, push_number};

/// Words before the digits of a revision.
const REVISION_WORDS: &[&str] = &["r", "ls", "rev", "build", "p", "pl", "patch", "k3s", "rke2r", "rancher"];

/// Reads what follows the core, and finishes the key.
pub(super) fn read_rest<'t>(rest: &'t str, scratch: &mut Scratch) -> (Flags, Cow<'t, str>) {
    let mut flags = Flags::default();
    let mut flavour = Flavour::default();
    let marker = scratch.key.len();
    scratch.key.push(RELEASE);
    if rest.is_empty() {
        scratch.key.push(END);
        return (flags, flavour.0);
    }
    scratch.revisions.clear();

    let whole = rest.strip_prefix(['-', '_', '+', '.']).unwrap_or(rest).trim_end_matches(['-', '_', '+']);
    let (mut at, mut first, mut in_prerelease) = (0, true, false);
    for bytes in whole.as_bytes().split(|b| matches!(b, b'-' | b'_' | b'+')) {
        let (start, end) = (at, at + bytes.len());
        at = end + 1;
        if bytes.is_empty() {
            continue;
        }
        if in_prerelease && is_digits(bytes) {
            push_number(&mut scratch.key, bytes);
            continue;
        }
        in_prerelease = false;
        if bytes.eq_ignore_ascii_case(b"dev") {
            flavour.add(whole, start, end);
        } else if starts_prerelease(bytes) {
            in_prerelease = true;
            flags.prerelease = true;
            for part in bytes.split(|&b| b == b'.').filter(|part| !part.is_empty()) {
                if is_commit(part) {
                    flags.commit = true;
                } else {
                    push_identifier(&mut scratch.key, part);
                }
            }
        } else if bytes.split(|&b| b == b'.').any(is_commit) {
            flags.commit = true;
        } else if let Some(numbers) = revision(bytes, first, end == whole.len()) {
            flags.revision = true;
            for number in numbers.split(|&b| b == b'.') {
                push_number(&mut scratch.revisions, number);
            }
        } else if let Some(word) = counted(bytes, end == whole.len()) {
            flags.revision = true;
            flavour.add(whole, start, start + word);
            push_number(&mut scratch.revisions, &bytes[word + 1..]);
        } else {
            flavour.add(whole, start, end);
        }
        first = false;
    }

    if flags.prerelease {
        scratch.key[marker] = PRERELEASE;
        scratch.key.push(END);
    }
    scratch.key.extend_from_slice(&scratch.revisions);
    scratch.key.push(END);
    (flags, flavour.0)
}

/// Flavour segments, joined by `-`; borrowed while they stand so in the tag.
#[derive(Default)]
struct Flavour<'t>(Cow<'t, str>);

impl<'t> Flavour<'t> {
    fn add(&mut self, whole: &'t str, start: usize, end: usize) {
        let segment = &whole[start..end];
        match &mut self.0 {
            joined if joined.is_empty() => *joined = Cow::Borrowed(segment),
            Cow::Borrowed(joined) => {
                let from = start.checked_sub(joined.len() + 1);
                // The same text further left would do as well as the segments themselves.
                match from.and_then(|from| whole.get(from..end)) {
                    Some(run) if run.starts_with(*joined) && run.as_bytes()[joined.len()] == b'-' => {
                        self.0 = Cow::Borrowed(run);
                    }
                    _ => self.0 = Cow::Owned(format!("{joined}-{segment}")),
                }
            }
            Cow::Owned(joined) => {
                joined.push('-');
                joined.push_str(segment);
            }
        }
    }
}

/// Whether a segment's first dot-part makes it a pre-release.
fn starts_prerelease(segment: &[u8]) -> bool {
    let first = segment.split(|&b| b == b'.').next().unwrap_or_default();
    prerelease_word(first).is_some() && !is_commit(first)
}

/// A word of the list and the digits attached to it (for `m a b c` there must be some).
fn prerelease_word(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let letters = part.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let (word, number) = part.split_at(letters);
    let listed = match word {
        [] => false,
        [b'm' | b'a' | b'b' | b'c' | b'M' | b'A' | b'B' | b'C'] => !number.is_empty(),
        _ => is_prerelease_word(word),
    };
    (listed && number.iter().all(u8::is_ascii_digit)).then_some((word, number))
}

/// Whether a word makes a segment a pre-release, with digits attached or not.
fn is_prerelease_word(word: &[u8]) -> bool {
    let words: &[&str] = match word.len() {
        2 => &["rc", "cr", "ea"],
        3 => &["pre", "dev"],
        4 => &["beta", "next", "edge", "test"],
        5 => &["alpha"],
        6 => &["canary"],
        7 => &["preview", "nightly"],
        8 => &["snapshot", "unstable"],
        9 => &["milestone"],
        10 => &["prerelease"],
        12 => &["experimental"],
        _ => &[],
    };
    words.iter().any(|listed| word.eq_ignore_ascii_case(listed.as_bytes()))
}

/// `sha`, 7 to 40 lower-case hexadecimal digits with a letter and a decimal digit among them, or `g` and 7 to 40.
pub(super) fn is_commit(part: &[u8]) -> bool {
    let is_hex = |part: &[u8]| (7..=40).contains(&part.len()) && part.iter().all(is_lower_hex);
    match part {
        [b'g' | b'G', rest @ ..] => is_hex(rest),
        _ if part.len() < 7 => part.eq_ignore_ascii_case(b"sha"),
        _ => is_hex(part) && part.iter().any(u8::is_ascii_digit) && part.iter().any(u8::is_ascii_lowercase),
    }
}

/// How long the word of a counted flavour is (`eksbuild.13`).
fn counted(segment: &[u8], last: bool) -> Option<usize> {
    let word = segment.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let number = segment[word..].strip_prefix(b".").filter(|_| last && word >= 2)?;
    is_digits(number).then_some(word)
}

/// The digits of a revision, with dots between them where it has several numbers.
fn revision(segment: &[u8], first: bool, last: bool) -> Option<&[u8]> {
    if is_digits(segment) {
        return (first || last && segment.len() >= 5).then_some(segment);
    }
    if first {
        let numbers = segment.strip_prefix(b"v").or_else(|| segment.strip_prefix(b"V")).unwrap_or(segment);
        if is_digits(numbers) || is_dotted_build(numbers) {
            return Some(numbers);
        }
    }
    if !(first || last) || !segment.last()?.is_ascii_digit() {
        return None;
    }
    REVISION_WORDS.iter().find_map(|word| {
        let (start, number) = segment.split_at_checked(word.len())?;
        let number = number.strip_prefix(b".").unwrap_or(number);
        (start.eq_ignore_ascii_case(word.as_bytes()) && is_digits(number)).then_some(number)
    })
}

/// Appends a part of a pre-release between dots: a number, a word and the number attached to it, or text.
pub(in crate::domain) fn push_identifier(out: &mut Vec<u8>, part: &[u8]) {
    if is_digits(part) {
        return push_number(out, part);
    }
    match prerelease_word(part) {
        Some((word, number)) if !number.is_empty() => {
            push_lower(out, word);
            push_number(out, number);
        }
        _ => push_lower(out, part),
    }
}

/// `949.1714662671`: a build's number and its time, not a version of something else.
fn is_dotted_build(text: &[u8]) -> bool {
    let mut numbers = text.rsplit(|&b| b == b'.');
    numbers.next().is_some_and(|last| last.len() >= 5 && is_digits(last)) && numbers.all(is_digits)
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}
