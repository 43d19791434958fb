//! Tags read as versions, and their order (docs/policy.md §1).

use std::{borrow::Cow, cmp::Ordering, fmt};

use super::sortkey::{END, Key, KeyRef, push_number};

mod segments;

pub(super) use segments::push_identifier;
use segments::{is_commit, read_rest};

/// In a key, after the core: what follows is a pre-release.
pub(super) const PRERELEASE: u8 = 1;
/// In a key, after the core: a release.
pub(super) const RELEASE: u8 = 2;

/// A tag read as a version. It compares as a version: flavour and spelling do not count, so that two different tags
/// can be equal. It prints as the tag that it was read from.
#[derive(Debug, Clone)]
pub struct Version<'t> {
    prefix: &'t str,
    core: &'t str,
    rest: &'t str,
    numbers: u8,
    flags: Flags,
    flavour: Cow<'t, str>,
    key: Key,
}

/// What a version is, beside its place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags {
    /// Lower than the release of the same core.
    pub(super) prerelease: bool,
    /// With at least one revision.
    pub(super) revision: bool,
    /// Of a commit.
    pub(super) commit: bool,
    /// The first number is 1000 or more.
    pub(super) calendar: bool,
    /// Which later numbers are dates, a bit for each; the last bit stands for all from the 16th on.
    pub(super) dates: u16,
}

/// Buffers that parsing needs and that can be used again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    key: Vec<u8>,
    revisions: Vec<u8>,
}

impl<'t> Version<'t> {
    /// Reads a tag; `None` if it is no version.
    pub fn parse(tag: &'t str) -> Option<Self> {
        Self::parse_with(tag, &mut Scratch::default())
    }

    /// The same, without new buffers for each tag.
    pub(super) fn parse_with(tag: &'t str, scratch: &mut Scratch) -> Option<Self> {
        let bytes = tag.as_bytes();
        let start = core_start(bytes)?;
        let prefix = &tag[..start];
        let mut end = start + digits(&bytes[start..]);
        let mut numbers = 1;
        let mut dates = 0;
        while bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            let length = digits(&bytes[end + 1..]);
            if length >= 8 && is_date(&bytes[end + 1..=end + length]) {
                dates |= 1 << (numbers - 1).min(15);
            }
            end += 1 + length;
            numbers += 1;
        }
        if numbers == 1 && (end - start > 3 || !base_of(prefix).is_empty()) {
            return None;
        }
        // Of more numbers after no word, what comes before the first separator is the first of them.
        let may_be_commit = numbers == 1 || start > 1;
        if may_be_commit && is_commit(bytes.split(|&b| is_separator(b)).next().unwrap_or_default()) {
            return None;
        }
        let (core, rest) = (&tag[start..end], &tag[end..]);

        scratch.key.clear();
        push_core(&mut scratch.key, core.as_bytes().split(|&b| b == b'.'));
        let (flags, flavour) = read_rest(rest, scratch);
        let calendar = core.bytes().take_while(|&b| b != b'.').skip_while(|&b| b == b'0').nth(3).is_some();
        let flags = Flags { calendar, dates, ..flags };
        let numbers = u8::try_from(numbers).unwrap_or(u8::MAX);
        Some(Self { prefix, core, rest, numbers, flags, flavour, key: Key::take(&mut scratch.key) })
    }

    /// What stands before the first number.
    pub fn prefix(&self) -> &'t str {
        self.prefix
    }

    /// The prefix without its last `v`.
    pub fn base(&self) -> &'t str {
        base_of(self.prefix)
    }

    /// The numbers with their dots.
    pub fn core(&self) -> &'t str {
        self.core
    }

    /// How many numbers there are.
    pub fn precision(&self) -> usize {
        self.numbers.into()
    }

    /// The flavour segments, joined by `-`; empty if there are none.
    pub fn flavour(&self) -> &str {
        &self.flavour
    }

    /// Whether it is lower than the release of its core.
    pub fn is_prerelease(&self) -> bool {
        self.flags.prerelease
    }

    /// Whether it names a commit.
    pub fn is_commit_build(&self) -> bool {
        self.flags.commit
    }

    /// Whether it has a revision (`-r5`, `-ls12`, `-3`).
    pub fn has_revision(&self) -> bool {
        self.flags.revision
    }

    pub(super) fn flags(&self) -> Flags {
        self.flags
    }

    pub(super) fn numbers(&self) -> u8 {
        self.numbers
    }

    pub(super) fn key(&self) -> KeyRef<'_> {
        self.key.as_ref()
    }

    pub(super) fn into_key(self) -> Key {
        self.key
    }

    /// With what the keys of all versions begin whose first numbers are these `count` (1 or 2).
    pub(super) fn start_of(&self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in self.core.split('.').chain(["0", "0"]).take(count.min(2)) {
            push_number(&mut bytes, number.as_bytes());
        }
        bytes
    }

    /// With what the keys of all versions of this core begin.
    pub(super) fn start_of_core(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_core(&mut bytes, self.core.as_bytes().split(|&b| b == b'.'));
        bytes
    }
}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.prefix, self.core, self.rest)
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Version<'_> {}

/// The prefix without its last `v` or `V`.
pub(super) fn base_of(prefix: &str) -> &str {
    prefix.strip_suffix(['v', 'V']).unwrap_or(prefix)
}

/// Whether a tag is a signature, an attestation or a referrer: `sha256-`, 64 hexadecimal digits, and nothing or
/// anything after a dot.
pub(super) fn is_signature(tag: &str) -> bool {
    tag.strip_prefix("sha256-")
        .and_then(|rest| rest.as_bytes().split_at_checked(64))
        .is_some_and(|(hex, after)| hex.iter().all(is_lower_hex) && matches!(after.first(), None | Some(b'.')))
}

/// Appends a core. Missing numbers are 0, so that zeros at the end do not count; the first two are always there.
pub(super) fn push_core<'a>(out: &mut Vec<u8>, numbers: impl Iterator<Item = &'a [u8]>) {
    let (mut count, mut keep) = (0, out.len());
    for number in numbers {
        let before = out.len();
        push_number(out, number);
        count += 1;
        // A zero is one byte.
        if count <= 2 || out.len() > before + 1 {
            keep = out.len();
        }
    }
    out.truncate(keep);
    if count == 1 {
        push_number(out, b"0");
    }
    out.push(END);
}

/// Where the core begins, after the shortest prefix that fits.
fn core_start(tag: &[u8]) -> Option<usize> {
    let is_digit_at = |at: usize| tag.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    loop {
        match tag.get(at)? {
            b'0'..=b'9' => return Some(at),
            b'v' | b'V' if is_digit_at(at + 1) => return Some(at + 1),
            b if !b.is_ascii_alphabetic() => return None,
            _ => {}
        }
        at += tag[at..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        match tag.get(at)? {
            b'-' | b'_' => {}
            // The digits of a word that ends with some are glued to what follows: `go1.22.3` is no version.
            b'.' if !tag[at - 1].is_ascii_digit() => {}
            _ => return None,
        }
        at += 1;
    }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_digit()).count()
}

/// Whether digits begin with a day of a year of four digits, and hold a time or nothing after it.
fn is_date(digits: &[u8]) -> bool {
    let two = |at: usize| (digits[at] - b'0') * 10 + digits[at + 1] - b'0';
    matches!(digits.len(), 8 | 10 | 12 | 14)
        && matches!(two(0), 19 | 20)
        && matches!(two(4), 1..=12)
        && matches!(two(6), 1..=31)
}

fn is_lower_hex(b: &u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(b)
}

fn is_separator(b: u8) -> bool {
    matches!(b, b'-' | b'_' | b'+' | b'.')
}

/// A text of one to eight parts, the same for the same seed.
#[cfg(test)]
pub(super) fn generated(seed: u64, parts: &[&str], out: &mut String) {
    // splitmix64
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)) >> 11) % below
    };
    out.clear();
    for _ in 0..=random(8) {
        out.push_str(parts[random(parts.len() as u64) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(tag: &str) -> Version<'_> {
        Version::parse(tag).unwrap_or_else(|| panic!("{tag} is a version"))
    }

    #[rstest::rstest]
    #[case("1.27.3", "", "1.27.3", "")]
    #[case("v7", "v", "7", "")]
    #[case("release-1.2.3", "release-", "1.2.3", "")]
    #[case("my_app.V1.2-alpine", "my_app.V", "1.2", "alpine")]
    #[case("py3-1.2.3", "py3-", "1.2.3", "")]
    #[case("1.9.3-eksbuild.2", "", "1.9.3", "eksbuild")]
    #[case("1.9.3-alpine-hotfix.2", "", "1.9.3", "alpine-hotfix")]
    #[case("1.9.3-alpine_Hotfix.2", "", "1.9.3", "alpine-Hotfix")]
    #[case("1.9.3-hotfix.2-alpine", "", "1.9.3", "hotfix.2-alpine")]
    #[case("1.9.3-x.2", "", "1.9.3", "x.2")]
    #[case("1.9.3-rancher1", "", "1.9.3", "")]
    #[case("9.4-949.1714662671", "", "9.4", "")]
    #[case("9.4-v949.171466", "", "9.4", "")]
    #[case("1.4.2-3.11", "", "1.4.2", "3.11")]
    #[case("1.2.3-debian-12-r5", "", "1.2.3", "debian-12")]
    #[case("3.9.7-temurin-17", "", "3.9.7", "temurin-17")]
    #[case("1.2.3-alpine3.18", "", "1.2.3", "alpine3.18")]
    #[case("4.0.1-dev", "", "4.0.1", "dev")]
    #[case("1.2.3-x_rc1-x-y", "", "1.2.3", "x-x-y")]
    #[case("1.2.3-x-rc1-x-y", "", "1.2.3", "x-x-y")]
    #[case("1.2.3--slim--bookworm-", "", "1.2.3", "slim-bookworm")]
    #[case("1.2.3_a_b_c", "", "1.2.3", "a-b-c")]
    fn a_version_is_taken_apart(#[case] tag: &str, #[case] prefix: &str, #[case] core: &str, #[case] flavour: &str) {
        let version = version(tag);
        assert_eq!((version.prefix(), version.core(), version.flavour()), (prefix, core, flavour));
        assert_eq!(version.to_string(), tag);
    }

    #[rstest::rstest]
    #[case("")]
    #[case("v")]
    #[case("latest")]
    #[case("alpine3.18")]
    #[case("app1.2.3")]
    #[case("go1.22.3")]
    #[case("build-9")]
    #[case("2022")]
    #[case("3b12345")]
    #[case("7e1f2a3-alpine")]
    #[case("abc1234-1.2.3")]
    #[case("sha-1.2.3")]
    #[case("-1.2")]
    #[case("v2024-1.2.3")]
    fn what_has_no_core_is_no_version(#[case] tag: &str) {
        assert!(Version::parse(tag).is_none());
    }

    #[rstest::rstest]
    #[case("1.2", "1.2.0.1")]
    #[case("0.0", "0.0.1")]
    #[case("1.2-rc1", "1.2")]
    #[case("1.2", "1.2-1")]
    #[case("1.2.3-rc9", "1.2.3-rc10")]
    #[case("1.2.3-rc.9", "1.2.3-rc.x")]
    #[case("1.2.3-rc", "1.2.3-rc1")]
    #[case("1.2.3-alpha.beta9", "1.2.3-alpha.beta10")]
    #[case("1.2.3-r9", "1.2.3-r10")]
    #[case("1.2.3-1-x-r9", "1.2.3-2-x-r1")]
    #[case("1.2.3-eksbuild.9", "1.2.3-eksbuild.10")]
    #[case("9.4-949.1714662671", "9.4-1123")]
    #[case("9.4-1123", "9.4-1123.1717085015")]
    #[case("1.99999999999999999999", "1.100000000000000000000")]
    fn versions_have_their_order(#[case] lower: &str, #[case] greater: &str) {
        assert!(version(lower) < version(greater));
    }

    #[rstest::rstest]
    #[case("1.2", "v1.2.0")]
    #[case("0", "0.0.0")]
    #[case("1.2-RC1", "1.2.0-rc.1")]
    #[case("1.2-rc-1", "1.2.0-rc1-alpine")]
    #[case("1.2.3-abc1234", "1.2.3-def5678")]
    fn spelling_and_flavour_do_not_count(#[case] a: &str, #[case] b: &str) {
        assert_eq!(version(a), version(b));
    }

    #[rstest::rstest]
    #[case("1.20231014.2", 0b01)]
    #[case("1.2.20231014", 0b10)]
    #[case("1.2.20231014120000.19991231", 0b110)]
    #[case("20231014.1", 0)]
    #[case("1.20231301", 0)]
    #[case("1.20230132", 0)]
    #[case("1.18991231", 0)]
    #[case("1.202310141", 0)]
    #[case("1.2023101", 0)]
    fn dates_at_later_places_are_known(#[case] tag: &str, #[case] dates: u16) {
        assert_eq!(version(tag).flags().dates, dates);
    }

    #[test]
    fn signatures_are_told_from_tags() {
        let hex = "0123456789abcdef".repeat(4);
        assert!(is_signature(&format!("sha256-{hex}")));
        assert!(is_signature(&format!("sha256-{hex}.sig")));
        assert!(!is_signature(&format!("sha256-{hex}-x")));
        assert!(!is_signature("sha256-0123"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic_and_prints_back(tag in any::<String>()) {
            if let Some(version) = Version::parse(&tag) {
                prop_assert_eq!(version.to_string(), tag);
            }
        }
    }
    #[test]
    fn a_million_generated_tags_are_read_and_print_back() {
        const PARTS: &[&str] = &[
            "1",
            "2",
            "9",
            "10",
            "0",
            "00",
            "07",
            "16",
            "999",
            "1000",
            "2024",
            "20240115",
            "18446744073709551616",
            ".",
            ".",
            ".",
            ".",
            "-",
            "-",
            "_",
            "+",
            "v",
            "V",
            "rc",
            "RC",
            "rc1",
            "beta",
            "b1",
            "hotfix.3",
            "m",
            "dev",
            "sha",
            "abc1234",
            "gabc1234",
            "3b12345",
            "r5",
            "ls12",
            "build",
            "p1",
            "k3s1",
            "alpine",
            "alpine3.18",
            "12",
            "app",
            "x",
            "é",
        ];
        let (mut scratch, mut text, mut versions) = (Scratch::default(), String::new(), 0);
        for seed in 0..1_000_000 {
            generated(seed, PARTS, &mut text);
            if let Some(version) = Version::parse_with(&text, &mut scratch) {
                versions += 1;
                let printed = [version.prefix, version.core, version.rest];
                assert!(printed.iter().try_fold(&*text, |text, part| text.strip_prefix(part)) == Some(""), "{text}");
            }
        }
        assert!(versions > 100_000, "{versions} of the tags are versions");
    }
}
