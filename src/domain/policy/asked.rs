//! What a policy is asked, and what it answers.

use std::{cell::Cell, collections::HashMap, fmt};

use jiff::Timestamp;

use super::{Policy, Ready};
use crate::domain::{
    ages::Wait,
    image::{Digest, Tag},
    listing::Listing,
    reason::{Code, Reason},
};

/// What is known of a tag beside its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagFacts {
    /// What it points to.
    pub digest: Option<Digest>,
    /// When it was pushed, as the registry records it.
    pub pushed: Option<Timestamp>,
    /// `created` of the image's configuration.
    pub created: Option<Timestamp>,
}

/// What runs now.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// The tag as written.
    pub tag: Option<&'a Tag>,
    /// The digest as written.
    pub digest: Option<&'a Digest>,
}

/// What to run instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The tag.
    pub tag: Tag,
    /// What it points to, where that is known; always under policy `digest`.
    pub digest: Option<Digest>,
}

/// What a policy came to, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Best first, at most 20: where a gate refuses one, the next is tried.
    pub eligible: Vec<Candidate>,
    /// Why nothing can be decided until somebody fixes something. It is the first of the reasons too.
    pub problem: Option<Reason>,
    /// For the whole first, then for each of the newest 20 tags that lost.
    pub reasons: Vec<Reason>,
    /// Of the better ones that are too young the one that is old enough first.
    pub young: Option<Young>,
}

/// A version that the policy takes once it is old enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Young {
    /// Its tag.
    pub tag: Tag,
    /// How long it waits.
    pub wait: Wait,
}

/// One question: what a policy is asked about.
#[derive(Clone, Copy)]
pub(in crate::domain) struct Asked<'a> {
    pub(in crate::domain) policy: &'a Policy,
    pub(in crate::domain) current: Current<'a>,
    pub(in crate::domain) listing: &'a Listing,
    pub(in crate::domain) facts: &'a HashMap<Tag, TagFacts>,
    /// Those of the policy.
    pub(in crate::domain) filters: &'a Ready,
    pub(in crate::domain) limit: &'a Limit<'a>,
    /// Why a tag that is taken otherwise is to wait.
    pub(in crate::domain) waits: &'a dyn Fn(&str) -> Option<Wait>,
}

/// Ends a decision that takes too long: loops over all tags ask it, and what it ended is not used.
pub(in crate::domain) struct Limit<'a> {
    over: &'a dyn Fn() -> bool,
    asked: Cell<usize>,
    pub(in crate::domain) is_over: Cell<bool>,
}

impl<'a> Limit<'a> {
    pub(in crate::domain) fn new(over: &'a dyn Fn() -> bool) -> Self {
        Self { over, asked: Cell::new(0), is_over: Cell::new(false) }
    }

    /// Whether there is time for one more tag.
    pub(in crate::domain) fn goes_on(&self) -> bool {
        /// Tags between two looks at the clock.
        const STRETCH: usize = 512;
        let asked = self.asked.replace(self.asked.get() + 1);
        if asked % STRETCH == STRETCH - 1 && (self.over)() {
            self.is_over.set(true);
        }
        !self.is_over.get()
    }
}

impl Decision {
    /// The best candidate.
    pub fn choice(&self) -> Option<&Candidate> {
        self.eligible.first()
    }

    /// One that says what is to be fixed.
    pub fn problem(reason: Reason) -> Self {
        Self { problem: Some(reason.clone()), ..Self::nothing(reason) }
    }

    /// Takes out the best candidates, for these reasons, which come behind the first one.
    pub fn pass_over(&mut self, passed: &[Reason]) {
        if passed.is_empty() {
            return;
        }
        self.eligible.drain(..passed.len().min(self.eligible.len()));
        let of = |reason: &Reason, tag: &Tag| reason.code == Code::NotBest && reason.tag.as_ref() == Some(tag);
        let chosen = self.choice().map(|candidate| candidate.tag.clone());
        match &chosen {
            Some(chosen) => {
                for reason in self.reasons.iter_mut().filter(|reason| reason.code == Code::Chosen) {
                    reason.tag = Some(chosen.clone());
                    reason.message.push_str(", of those that can be taken");
                }
                self.reasons.retain(|reason| !of(reason, chosen));
            }
            None => self.reasons.retain(|reason| reason.code != Code::Chosen),
        }
        for reason in passed {
            self.reasons.retain(|old| !reason.tag.as_ref().is_some_and(|tag| of(old, tag)));
        }
        let behind = self.reasons.len().min(usize::from(chosen.is_some()));
        self.reasons.splice(behind..behind, passed.iter().cloned());
    }

    pub(in crate::domain) fn nothing(reason: Reason) -> Self {
        Self { eligible: Vec::new(), problem: None, reasons: vec![reason], young: None }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.digest {
            Some(digest) => write!(f, "{}@{digest}", self.tag),
            None => write!(f, "{}", self.tag),
        }
    }
}

/// A line for each reason.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reason) in self.reasons.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match &reason.tag {
                Some(tag) => write!(f, "{tag}: {}: {}", reason.code, reason.message)?,
                None => write!(f, "{}: {}", reason.code, reason.message)?,
            }
        }
        Ok(())
    }
}
