//! `allow` and `ignore`, which remove tags before a policy sees them (docs/policy.md §2.4).

use std::sync::Arc;

use super::{MAX_TEXT, Options, PolicyError, compiled::Matcher, pattern::Pattern};
use crate::domain::{image::excerpt, reason::Code};

/// How many globs `ignore` may hold.
const MAX_GLOBS: usize = 64;

/// The filters of a policy.
#[derive(Debug)]
pub(in crate::domain) struct Filters {
    allow: Vec<(Arc<str>, Pattern)>,
    ignore: Vec<(Arc<str>, Pattern)>,
}

impl Filters {
    pub(super) fn new(options: &Options) -> Result<Self, PolicyError> {
        let compile = |option: &str, text: &Arc<str>, pattern: fn(&str) -> Result<Pattern, PolicyError>| {
            if text.len() > MAX_TEXT {
                return Err(PolicyError(format!("{option}: longer than {MAX_TEXT} bytes: shorten it")));
            }
            let compiled = pattern(text).map_err(|error| PolicyError(format!("{option}: {error}")))?;
            Ok((text.clone(), compiled))
        };
        let globs = options.ignore.as_deref().unwrap_or_default();
        if globs.len() > MAX_GLOBS {
            return Err(PolicyError(format!("ignore: more than {MAX_GLOBS} globs: join some with {{a,b}}")));
        }
        Ok(Self {
            allow: options.allow.iter().map(|text| compile("allow", text, Pattern::regex)).collect::<Result<_, _>>()?,
            ignore: globs.iter().map(|text| compile("ignore", text, Pattern::glob)).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.allow.iter().chain(&self.ignore).map(|(_, pattern)| pattern.as_str())
    }

    /// The filters, ready to be matched.
    pub(in crate::domain) fn ready(&self) -> Result<Ready, PolicyError> {
        let ready = |option: &str, (text, pattern): &(Arc<str>, Pattern)| {
            let matcher = pattern.matcher().map_err(|error| PolicyError(format!("{option}: {error}")))?;
            Ok::<_, PolicyError>((text.clone(), matcher))
        };
        let allow = self.allow.iter().map(|allow| ready("allow", allow)).collect::<Result<_, _>>()?;
        let ignore = self.ignore.iter().map(|ignore| ready("ignore", ignore)).collect::<Result<_, _>>()?;
        Ok(Ready { allow, ignore })
    }
}

/// Filters in use by one decision.
#[derive(Debug)]
pub(in crate::domain) struct Ready {
    allow: Vec<(Arc<str>, Matcher)>,
    ignore: Vec<(Arc<str>, Matcher)>,
}

impl Ready {
    /// Whether a tag stays.
    pub(in crate::domain) fn pass(&self, tag: &str) -> bool {
        self.allow.iter().all(|(_, allow)| allow.matches(tag))
            && !self.ignore.iter().any(|(_, ignore)| ignore.matches(tag))
    }

    /// Why it does not.
    pub(in crate::domain) fn refusal(&self, tag: &str) -> Option<(Code, String)> {
        if let Some((text, _)) = self.allow.iter().find(|(_, allow)| !allow.matches(tag)) {
            return Some((Code::NotAllowed, format!("does not match `allow`: {}", excerpt(text))));
        }
        let (text, _) = self.ignore.iter().find(|(_, ignore)| ignore.matches(tag))?;
        Some((Code::Ignored, format!("matches `ignore`: {}", excerpt(text))))
    }
}
