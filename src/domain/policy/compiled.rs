//! Compiled patterns: made when a decision needs them, and kept while there is room.
//!
//! Whoever may annotate a workload may write patterns, and a compiled one takes up to a hundred thousand times its text.
//! So a policy holds texts only. What is compiled is kept here for all, least recently used out first; what a search
//! needs besides belongs to the decision that makes it, and goes with it.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use regex_automata::{
    Input, PatternID,
    meta::{BuildError, Cache, Config, Regex},
    util::{captures::Captures, syntax},
};

/// What one compiled pattern may take, in bytes.
pub(super) const MAX_COMPILED: usize = 256 * 1024;
/// What all that are kept may take together, in bytes.
const MAX_KEPT: usize = 16 * 1024 * 1024;
/// What an entry takes beside the pattern and its text.
const OVERHEAD: usize = 512;

/// A pattern in use by one decision.
#[derive(Debug)]
pub(crate) struct Matcher {
    regex: Regex,
    search: RefCell<Search>,
    /// Which group is named `order`, if one is.
    order: Option<usize>,
}

#[derive(Debug)]
struct Search {
    cache: Cache,
    captures: Captures,
}

/// What is compared of a tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Unmatched,
    /// It matches, but the group `order` took no part in that.
    Absent,
    Of(&'t str),
}

impl Matcher {
    /// The pattern of that text; compiled unless it is kept.
    pub(crate) fn of(text: &Arc<str>) -> Result<Self, Box<BuildError>> {
        let known = lock().get(text);
        let regex = match known {
            Some(regex) => regex,
            None => {
                let regex = compile(text)?;
                lock().keep(text.clone(), regex.clone());
                regex
            }
        };
        let order = regex.group_info().to_index(PatternID::ZERO, "order");
        let search = RefCell::new(Search { cache: regex.create_cache(), captures: regex.create_captures() });
        Ok(Self { regex, search, order })
    }

    /// Whether the tag, or the name, matches.
    pub(crate) fn matches(&self, tag: &str) -> bool {
        let cache = &mut self.search.borrow_mut().cache;
        self.regex.search_half_with(cache, &Input::new(tag).earliest(true)).is_some()
    }

    /// All of the tag, or what the group `order` matched.
    pub(super) fn part<'t>(&self, tag: &'t str) -> Part<'t> {
        let Some(order) = self.order else {
            return if self.matches(tag) { Part::Of(tag) } else { Part::Unmatched };
        };
        let Search { cache, captures } = &mut *self.search.borrow_mut();
        self.regex.search_captures_with(cache, &Input::new(tag), captures);
        match captures.get_group(order) {
            _ if !captures.is_match() => Part::Unmatched,
            None => Part::Absent,
            Some(part) => Part::Of(&tag[part.range()]),
        }
    }
}

/// Tags are ASCII, so patterns need not know of more: that makes them small. One that names what only Unicode has is
/// compiled with it.
fn compile(text: &str) -> Result<Regex, Box<BuildError>> {
    let build = |unicode: bool| {
        Regex::builder()
            .syntax(syntax::Config::new().utf8(false).unicode(unicode))
            .configure(
                Config::new()
                    .utf8_empty(false)
                    .nfa_size_limit(Some(MAX_COMPILED))
                    .onepass_size_limit(Some(MAX_COMPILED))
                    .hybrid_cache_capacity(MAX_COMPILED),
            )
            .build(text)
            .map_err(Box::new)
    };
    build(false).or_else(|_| build(true))
}

/// What is kept of compiled patterns. It can be made again at any time, so a decision never depends on it.
#[derive(Default)]
struct CompiledPatterns {
    patterns: HashMap<Arc<str>, CachedPattern>,
    bytes: usize,
    uses: u64,
}

struct CachedPattern {
    regex: Regex,
    bytes: usize,
    used: u64,
}

fn lock() -> std::sync::MutexGuard<'static, CompiledPatterns> {
    static KEPT: LazyLock<Mutex<CompiledPatterns>> = LazyLock::new(Mutex::default);
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CompiledPatterns {
    fn get(&mut self, text: &Arc<str>) -> Option<Regex> {
        self.uses += 1;
        let entry = self.patterns.get_mut(text)?;
        entry.used = self.uses;
        Some(entry.regex.clone())
    }

    fn keep(&mut self, text: Arc<str>, regex: Regex) {
        let bytes = regex.memory_usage() + text.len() + OVERHEAD;
        self.uses += 1;
        let entry = CachedPattern { regex, bytes, used: self.uses };
        self.bytes += bytes;
        self.bytes -= self.patterns.insert(text, entry).map_or(0, |old| old.bytes);
        while self.bytes > MAX_KEPT {
            let oldest = self.patterns.iter().min_by_key(|(_, entry)| entry.used).map(|(text, _)| text.clone());
            let Some(entry) = oldest.and_then(|text| self.patterns.remove(&text)) else { break };
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stays_within_its_bytes_and_the_least_recently_used_goes() {
        let mut kept = CompiledPatterns::default();
        let text = |n: usize| Arc::from(format!(r"\A(?:[a-z]{{{}}}-{n})\z", 500 + n % 100));
        let first: Arc<str> = text(0);
        for n in 0..2000 {
            let text = text(n);
            kept.keep(text.clone(), compile(&text).unwrap());
            assert!(kept.get(&first).is_some(), "it is used all the time");
            assert!(kept.bytes <= MAX_KEPT);
        }
        assert!(kept.patterns.len() < 2000, "the patterns of this test are too small to fill it");
        assert_eq!(kept.bytes, kept.patterns.values().map(|entry| entry.bytes).sum::<usize>());
        assert!(kept.get(&text(1)).is_none());
    }

    #[rstest::rstest]
    #[case(r"\A(?:[\w.]{100}-\d{8})\z")]
    #[case(r"\A(?:\p{Greek}?1)\z")]
    fn ordinary_patterns_are_small(#[case] text: &str) {
        assert!(compile(text).unwrap().memory_usage() < MAX_COMPILED / 2);
    }
}
