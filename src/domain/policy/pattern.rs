//! `glob:` and `regex:` (docs/policy.md §2.3), and the patterns of the filters: whole tags, in linear time.

use regex::{Regex, RegexBuilder, bytes};

use super::{Judge, Order, PolicyError};
use crate::domain::{
    decide::Asked,
    image::excerpt,
    listing::{EXPLAINED, Entry, TagId, greatest},
    reason::Code,
    sortkey::{Key, push_natural, push_number, push_text},
    version::Version,
};

/// What a compiled pattern may take.
const MAX_COMPILED: usize = 1 << 20;
/// What the cache of one pattern may take while it matches.
const MAX_CACHE: usize = 1 << 18;

/// A glob or a regex that a tag must match as a whole.
#[derive(Debug)]
pub(in crate::domain) enum Pattern {
    Glob(bytes::Regex),
    Regex(Regex),
}

impl Pattern {
    /// Compiles a glob: `*`, `?`, `[...]` (negated by `!` or `^`), `{a,b}`.
    pub(super) fn glob(text: &str) -> Result<Self, PolicyError> {
        let bad = |why: String| PolicyError(format!("`{}` is no glob: {why}; write for example main-*", excerpt(text)));
        let glob = globset::GlobBuilder::new(text)
            .empty_alternates(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| bad(error.kind().to_string()))?;
        let regex = bytes::RegexBuilder::new(glob.regex()).size_limit(MAX_COMPILED).dfa_size_limit(MAX_CACHE).build();
        regex.map(Self::Glob).map_err(|error| bad(said(&error)))
    }

    /// Compiles a regex.
    pub(super) fn regex(text: &str) -> Result<Self, PolicyError> {
        let build = |text: &str| RegexBuilder::new(text).size_limit(MAX_COMPILED).dfa_size_limit(MAX_CACHE).build();
        let bad = |error: regex::Error| {
            PolicyError(format!(
                "`{}` is no regex that can be used: {}; write for example main-(?P<order>\\d+), without \
                 look-around and back-references",
                excerpt(text),
                said(&error)
            ))
        };
        // On its own first, so that it cannot end the group that is put around it.
        build(text).map_err(bad)?;
        // A comment at its end (under `(?x)`) would take the rest of the line with it.
        build(&format!(r"\A(?:{text})\z"))
            .or_else(|_| build(&format!("\\A(?:{text}\n)\\z")))
            .map(Self::Regex)
            .map_err(bad)
    }

    /// Whether the whole tag matches.
    pub(super) fn matches(&self, tag: &str) -> bool {
        match self {
            Self::Glob(glob) => glob.is_match(tag.as_bytes()),
            Self::Regex(regex) => regex.is_match(tag),
        }
    }

    /// What is compared of a tag: all of it, or what the group `order` matched.
    fn part<'t>(&self, tag: &'t str) -> Part<'t> {
        match self {
            Self::Regex(regex) if regex.capture_names().flatten().any(|name| name == "order") => {
                match regex.captures(tag) {
                    None => Part::Unmatched,
                    Some(captures) => captures.name("order").map_or(Part::Absent, |part| Part::Of(part.as_str())),
                }
            }
            _ if self.matches(tag) => Part::Of(tag),
            _ => Part::Unmatched,
        }
    }
}

enum Part<'t> {
    Unmatched,
    Absent,
    Of(&'t str),
}

/// A pattern, and how what it matches is compared.
#[derive(Debug)]
pub(in crate::domain) struct Ordered {
    pub(super) pattern: Pattern,
    pub(super) order: Order,
}

/// Why a tag has no place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unordered {
    NoMatch,
    NoKey,
}

impl Ordered {
    /// The place of a tag in the order.
    pub(super) fn key(&self, tag: &str) -> Result<Key, Unordered> {
        match self.pattern.part(tag) {
            Part::Unmatched => Err(Unordered::NoMatch),
            Part::Absent => Err(Unordered::NoKey),
            Part::Of(part) => self.key_of(part).ok_or(Unordered::NoKey),
        }
    }

    fn key_of(&self, part: &str) -> Option<Key> {
        let mut bytes = Vec::with_capacity(part.len() + 8);
        match self.order {
            Order::Natural => push_natural(&mut bytes, part.as_bytes()),
            Order::Alphabetical => push_text(&mut bytes, part.as_bytes()),
            Order::Numeric if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) => {
                push_number(&mut bytes, part.as_bytes());
            }
            Order::Numeric => return None,
            Order::Semver => return Some(Version::parse(part)?.into_key()),
        }
        Some(Key::new(bytes))
    }
}

/// A pattern asked from one current tag.
struct Matching<'a> {
    asked: Asked<'a>,
    ordered: &'a Ordered,
    current: Option<Key>,
}

impl Ordered {
    pub(super) fn judge<'a>(&'a self, asked: &Asked<'a>) -> Box<dyn Judge + 'a> {
        let current = asked.current.tag.and_then(|tag| self.key(tag.as_str()).ok());
        Box::new(Matching { asked: *asked, ordered: self, current })
    }
}

impl Judge for Matching<'_> {
    fn best(&self) -> Vec<TagId> {
        let filters = self.asked.policy.filters();
        let greater = self.asked.listing.tags().filter_map(|(id, tag)| {
            let key = self.ordered.key(tag.as_str()).ok()?;
            let newer = self.current.as_ref().is_none_or(|current| key > *current);
            (newer && filters.pass(tag.as_str())).then_some(((key, tag), id))
        });
        greatest(EXPLAINED, greater)
    }

    fn refusal(&self, tag: TagId, _: Option<&Entry>) -> Option<(Code, String)> {
        match (self.ordered.key(self.asked.listing.tag(tag).as_str()), &self.current, self.asked.current.tag) {
            (Err(Unordered::NoMatch), ..) => Some((Code::NoMatch, format!("does not match `{}`", self.asked.policy))),
            (Err(Unordered::NoKey), ..) => {
                let what = match self.ordered.order {
                    Order::Numeric => "digits alone, which `order: numeric` compares",
                    Order::Semver => "a version, which `order: semver` compares",
                    Order::Natural | Order::Alphabetical => "a part that the group `order` matched",
                };
                Some((Code::NoOrderKey, format!("has not {what}")))
            }
            (Ok(key), Some(current), Some(tag)) if key <= *current => {
                let than = if key == *current { "the same place in the order as" } else { "before" };
                Some((Code::NotNewer, format!("{than} `{tag}`")))
            }
            _ => None,
        }
    }
}

/// The last line of a compiler's message, which says what is wrong.
fn said(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it is too large when compiled".to_owned(),
        error => {
            let text = error.to_string();
            let line = text.lines().last().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[rstest::rstest]
    #[case("{1,2}.*", "2.0", true)]
    #[case("1{,-alpine}", "1", true)]
    #[case("1{,-alpine}", "1-alpine", true)]
    #[case("[]a]", "]", true)]
    #[case("**", "a.b", true)]
    #[case("*", "1.2-x_y", true)]
    #[case("a*b", "axxb", true)]
    #[case("a*b", "axxbc", false)]
    fn globs_match_whole_tags(#[case] glob: &str, #[case] tag: &str, #[case] expected: bool) {
        assert_eq!(Pattern::glob(glob).unwrap().matches(tag), expected);
    }

    #[rstest::rstest]
    #[case("a|ab", "ab", true)]
    #[case("(?x) a b # a comment", "ab", true)]
    #[case("(?i)rc", "RC", true)]
    #[case("a", "ab", false)]
    #[case("^a$", "a", true)]
    fn regexes_match_whole_tags(#[case] regex: &str, #[case] tag: &str, #[case] expected: bool) {
        assert_eq!(Pattern::regex(regex).unwrap().matches(tag), expected);
    }

    #[rstest::rstest]
    #[case("a)|(b")]
    #[case("a)(?:b")]
    #[case("(?=a)")]
    #[case(r"(.)\1")]
    #[case(r"\w{1000}{1000}")]
    #[case("(?P<order>a)(?P<order>b)")]
    fn what_does_not_compile_is_refused(#[case] regex: &str) {
        assert!(Pattern::regex(regex).is_err());
    }

    proptest! {
        #[test]
        fn no_pattern_makes_matching_panic(text in r"[a-c*?\[\]{},!^\\()|+.0-9-]{0,30}|.{0,30}", tag in "[a-c0-9.-]{1,20}") {
            for pattern in [Pattern::glob(&text), Pattern::regex(&text)].into_iter().flatten() {
                pattern.matches(&tag);
            }
        }
    }
}
