//! `semver:<range>`: the grammar of Masterminds/semver v3, evaluated on versions of docs/policy.md §1 (§2.2).
//!
//! A comparator becomes tests against beginnings of version keys. A beginning that ends with the core stands for
//! the version with all its pre-releases, which is how a bound keeps its own pre-releases out.

use std::cmp::Ordering;

use super::PolicyError;
use crate::domain::{
    image::excerpt,
    sortkey::{END, KeyRef},
    version::{PRERELEASE, RELEASE, push_core, push_identifier},
};

/// Alternatives, any of which may hold.
#[derive(Debug)]
pub(in crate::domain) struct Range(Vec<Group>);

/// Comparators that must all hold.
#[derive(Debug, Default)]
struct Group {
    tests: Vec<Test>,
    /// Some comparator names a pre-release, so that pre-releases may pass.
    names_prerelease: bool,
}

/// One comparison with the beginning of a key.
#[derive(Debug)]
enum Test {
    Never,
    Is(Vec<u8>),
    IsNot(Vec<u8>),
    Below(Vec<u8>),
    AtMost(Vec<u8>),
    Above(Vec<u8>),
    AtLeast(Vec<u8>),
    /// Below the first, or not below the second.
    Outside(Vec<u8>, Vec<u8>),
}

/// How a version stands to a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RangeFit {
    Inside,
    Outside,
    /// It would be inside if pre-releases were taken.
    Prerelease,
}

/// A partial version of a comparator.
struct Partial<'t> {
    /// None for a wildcard alone.
    numbers: Vec<&'t str>,
    prerelease: Option<&'t str>,
}

impl Range {
    /// Reads a range.
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let read = |alternative| Reader { rest: alternative }.group();
        text.split("||").map(read).collect::<Result<_, _>>().map(Self).map_err(|why| {
            PolicyError(format!("`{}` is no range: {why}; write for example >=1.2 <2 or ^1.2 || 3.x", excerpt(text)))
        })
    }

    /// Where a version stands. `allow` takes pre-releases whatever the range names.
    pub(super) fn standing(&self, version: KeyRef<'_>, is_prerelease: bool, allow: bool) -> RangeFit {
        let mut standing = RangeFit::Outside;
        for group in &self.0 {
            if group.tests.iter().all(|test| test.holds(version)) {
                if !is_prerelease || allow || group.names_prerelease {
                    return RangeFit::Inside;
                }
                standing = RangeFit::Prerelease;
            }
        }
        standing
    }

    /// Whether some alternative names a pre-release.
    pub(super) fn names_prerelease(&self) -> bool {
        self.0.iter().any(|group| group.names_prerelease)
    }
}

impl Test {
    #[inline]
    fn holds(&self, version: KeyRef<'_>) -> bool {
        match self {
            Self::Never => false,
            Self::Is(start) => version.starts_with(start),
            Self::IsNot(start) => !version.starts_with(start),
            Self::Below(start) => version.cmp_start(start) == Ordering::Less,
            Self::AtMost(start) => version.cmp_start(start) != Ordering::Greater,
            Self::Above(start) => version.cmp_start(start) == Ordering::Greater,
            Self::AtLeast(start) => version.cmp_start(start) != Ordering::Less,
            Self::Outside(from, to) => version.cmp_start(from).is_lt() || version.cmp_start(to).is_ge(),
        }
    }
}

impl Group {
    fn add(&mut self, operator: &str, version: &Partial<'_>) {
        self.names_prerelease |= version.prerelease.is_some();
        let count = version.numbers.len();
        if count == 0 {
            // Any version, or, with an operator that leaves the bound out, none.
            if matches!(operator, "!=" | ">" | "<") {
                self.tests.push(Test::Never);
            }
            return;
        }
        // The core after all versions that share the first `count` numbers.
        let after = |count| core(&next(&version.numbers[..count]));
        let full = count == 3;
        let release = version.prerelease.is_none();
        let own_core = core(&version.numbers);
        let bound = version.bound();
        let tests = match operator {
            "" | "=" if full => vec![Test::Is(bound)],
            "" | "=" => vec![Test::AtLeast(bound), Test::Below(after(count))],
            "!=" if !full => vec![Test::Outside(own_core, after(count))],
            "!=" => vec![Test::IsNot(if release { own_core } else { bound })],
            ">" if full => vec![Test::Above(bound)],
            ">" => vec![Test::AtLeast(released(after(count)))],
            ">=" | "=>" => vec![Test::AtLeast(bound)],
            "<" => vec![Test::Below(if release { own_core } else { bound })],
            "<=" | "=<" if !full => vec![Test::Below(after(count))],
            "<=" | "=<" if release => vec![Test::AtMost(bound), Test::IsNot(prereleases(own_core))],
            "<=" | "=<" => vec![Test::AtMost(bound)],
            "~" | "~>" => vec![Test::AtLeast(bound), Test::Below(after(count.min(2)))],
            // `^`: up to the first number that is not 0, or else the last one written.
            _ => {
                let zeros = version.numbers.iter().take_while(|n| n.bytes().all(|b| b == b'0')).count();
                vec![Test::AtLeast(bound), Test::Below(after((zeros + 1).min(count)))]
            }
        };
        self.tests.extend(tests);
    }
}

impl Partial<'_> {
    /// The version itself, without revisions.
    fn bound(&self) -> Vec<u8> {
        let mut bytes = core(&self.numbers);
        match self.prerelease {
            None => released(bytes),
            Some(text) => {
                bytes.push(PRERELEASE);
                for part in text.split(['.', '-']).filter(|part| !part.is_empty()) {
                    push_identifier(&mut bytes, part.as_bytes());
                }
                bytes.push(END);
                bytes
            }
        }
    }
}

fn core<T: AsRef<str>>(numbers: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_core(&mut bytes, numbers.iter().map(|number| number.as_ref().as_bytes()));
    bytes
}

fn released(mut core: Vec<u8>) -> Vec<u8> {
    core.push(RELEASE);
    core
}

fn prereleases(mut core: Vec<u8>) -> Vec<u8> {
    core.push(PRERELEASE);
    core
}

/// The numbers with the last one counted up.
fn next(numbers: &[&str]) -> Vec<String> {
    let mut numbers: Vec<String> = numbers.iter().map(|&number| number.to_owned()).collect();
    if let Some(last) = numbers.last_mut() {
        let kept = last.trim_end_matches('9').len();
        let nines = last.len() - kept;
        let counted = match last[..kept].char_indices().next_back() {
            Some((at, digit)) => format!("{}{}", &last[..at], char::from(digit as u8 + 1)),
            None => "1".to_owned(),
        };
        *last = counted + &"0".repeat(nines);
    }
    numbers
}

/// Reads one alternative.
struct Reader<'t> {
    rest: &'t str,
}

const OPERATORS: &[&str] = &["!=", ">=", "=>", "<=", "=<", "~>", "=", ">", "<", "~", "^"];

impl<'t> Reader<'t> {
    fn group(mut self) -> Result<Group, String> {
        let mut group = Group::default();
        self.space();
        loop {
            let operator = OPERATORS.iter().find(|operator| self.rest.starts_with(**operator)).copied();
            self.rest = &self.rest[operator.map_or(0, str::len)..];
            self.space();
            let version = self.version()?;
            let spaced = self.space();
            let upper = (operator.is_none() && spaced).then(|| self.hyphen()).flatten().transpose()?;
            let spaced = if let Some(upper) = upper {
                group.add(">=", &version);
                group.add("<=", &upper);
                self.space()
            } else {
                group.add(operator.unwrap_or_default(), &version);
                spaced
            };
            if self.rest.is_empty() {
                return Ok(group);
            }
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
                self.space();
            } else if !spaced {
                return Err(format!("`{}` follows without a space or a comma", excerpt(self.rest)));
            }
        }
    }

    /// ` - ` and a version, after a version.
    fn hyphen(&mut self) -> Option<Result<Partial<'t>, String>> {
        let mut ahead = Reader { rest: self.rest.strip_prefix('-')? };
        ahead.space().then_some(())?;
        let version = ahead.version();
        self.rest = ahead.rest;
        Some(version)
    }

    fn version(&mut self) -> Result<Partial<'t>, String> {
        let whole = self.rest;
        let expected = || match whole {
            "" => "a version is missing".to_owned(),
            _ => format!("a version was expected at `{}`", excerpt(whole)),
        };
        self.rest = self.rest.strip_prefix('v').unwrap_or(self.rest);
        let (mut numbers, mut wild) = (Vec::new(), false);
        for place in 0..3 {
            if place > 0 {
                let Some(rest) = self.rest.strip_prefix('.') else { break };
                self.rest = rest;
            }
            if let Some(rest) = self.rest.strip_prefix(['x', 'X', '*']) {
                self.rest = rest;
                wild = true;
                continue;
            }
            let number = self.take(|b| b.is_ascii_digit());
            if number.is_empty() {
                return Err(expected());
            }
            if !wild {
                numbers.push(number);
            }
        }
        let mut suffix = |mark| {
            let Some(rest) = self.rest.strip_prefix(mark) else { return Ok(None) };
            self.rest = rest;
            let text = self.take(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
            if text.split('.').any(str::is_empty) { Err(expected()) } else { Ok(Some(text)) }
        };
        let prerelease = suffix('-')?;
        // Build metadata is allowed and means nothing.
        suffix('+')?;
        Ok(Partial { numbers, prerelease })
    }

    fn space(&mut self) -> bool {
        !self.take(|b| b.is_ascii_whitespace()).is_empty()
    }

    fn take(&mut self, fits: impl Fn(u8) -> bool) -> &'t str {
        let end = self.rest.bytes().position(|b| !fits(b)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::version::{Version, generated};

    /// With pre-releases allowed, unless `release` is asked for.
    fn inside(range: &str, version: &str, allow: bool) -> bool {
        let version = Version::parse(version).unwrap();
        let range = Range::parse(range).unwrap();
        range.standing(version.key(), version.is_prerelease(), allow) == RangeFit::Inside
    }

    #[rstest::rstest]
    #[case("<=2.0.0", "2.0.0", true)]
    #[case("<=2.0.0", "2.0.0-rc1", false)]
    #[case("<=2.0.0", "2.0.0.1", false)]
    #[case("<=2.0.0", "1.9.9-rc1", true)]
    #[case("1.0 - 2.0.0", "2.0.0-rc1", false)]
    #[case("!=4.1.0", "4.1.0-rc1", false)]
    #[case("!=4.1.0-rc1", "4.1.0-rc2", true)]
    #[case("!=4.1.0-rc1", "4.1.0-rc1", false)]
    #[case("!=4.1", "4.2.0-rc1", true)]
    #[case("^*", "3.0", true)]
    #[case("~*", "3.0", true)]
    #[case("<=*", "3.0", true)]
    #[case("<*", "3.0", false)]
    #[case(">1.9", "2.0", true)]
    #[case(">1.9", "1.10", true)]
    #[case(">1.99", "1.100", true)]
    #[case("^0.0.0", "0.0.0.5", true)]
    #[case("^0.0.0", "0.0.1", false)]
    #[case("^1.2.3-rc2", "1.2.3-rc10", true)]
    #[case("^1.2.3-rc2", "1.2.3-rc1", false)]
    #[case("1.2.3+build", "1.2.3", true)]
    #[case("=1.2.3-rc.1", "1.2.3-rc1", true)]
    #[case("1.2 - 1.4 !=1.3", "1.3.1", false)]
    #[case("\t1.2\t-\t1.4 ", "1.4.9", true)]
    #[case("<99999999999999999999", "99999999999999999998", true)]
    fn bounds_hold(#[case] range: &str, #[case] version: &str, #[case] expected: bool) {
        let version = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
        assert_eq!(inside(range, &version, true), expected);
    }

    #[rstest::rstest]
    #[case("")]
    #[case(" ")]
    #[case("||")]
    #[case("1 ||")]
    #[case(">=")]
    #[case("1.2.3.4")]
    #[case("1.")]
    #[case("1,")]
    #[case(",1")]
    #[case("1-")]
    #[case("1-a..b")]
    #[case(">=1 - 2")]
    #[case("1 -2")]
    #[case("V1")]
    #[case("1x")]
    #[case("x1")]
    #[case("1.2.3 é")]
    fn what_is_no_range_is_refused(#[case] range: &str) {
        assert!(Range::parse(range).is_err());
    }

    #[test]
    fn a_prerelease_passes_only_where_one_is_named() {
        assert!(!inside("<2", "1.0-rc1", false));
        assert!(inside("<2 >=1.0.0-0", "1.0-rc1", false));
        assert!(!inside("<2 || >=3.0.0-0", "1.0-rc1", false));
    }

    proptest! {
        #[test]
        fn no_text_makes_parsing_panic(text in "[0-9xv.|,<>=!~^* -]{0,20}|.{0,20}") {
            let _ = Range::parse(&text);
        }

        #[test]
        fn numbers_are_counted_up(number in 0_u64..100_000) {
            prop_assert_eq!(next(&[&number.to_string()]), vec![(number + 1).to_string()]);
        }
    }
    #[test]
    fn a_million_generated_ranges_are_read_or_refused() {
        const PARTS: &[&str] = &[
            ">=", "<=", "=>", "!=", "~>", "=", ">", "<", "~", "^", "||", " ", " ", " ", ",", " - ", "*", "x", "1", "2",
            "2.3", "1.2.3", "1.2.3", "0", "-rc1", "-0", "+b", ".", "v", "é",
        ];
        let version = Version::parse("1.2.3-rc1-r5").unwrap();
        let (mut text, mut ranges) = (String::new(), 0);
        for seed in 0..1_000_000 {
            generated(seed, PARTS, &mut text);
            if let Ok(range) = Range::parse(&text) {
                ranges += 1;
                let standing = range.standing(version.key(), true, true);
                assert_ne!(standing, RangeFit::Prerelease, "{text}");
            }
        }
        assert!(ranges > 50_000, "{ranges} of the texts are ranges");
    }
}
