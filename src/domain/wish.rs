//! What a person wishes for a workload, as the API server let it be written, and what came of that.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::reason::Reason;

/// A person's last wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The object that it stands in, by its uid.
    pub object: Arc<str>,
    /// How often that was changed: a wish is carried out once.
    pub generation: i64,
    /// Whose.
    pub by: Arc<str>,
    /// Who that is elsewhere, where supercargo wrote it for them.
    pub on_behalf_of: Option<Arc<str>>,
    /// Why, in their words.
    pub reason: Arc<str>,
    /// What.
    pub what: What,
}

/// What is wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// What ran before: after that update, or the last that is known to have run.
    Rollback(Option<Arc<str>>),
    /// That nothing is changed.
    Hold,
    /// That it goes on, whoever stopped or moved back what.
    Resume {
        /// Whether what did not run stays as it is.
        keep_quarantine: bool,
    },
}

/// What came of a wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishAnswer {
    /// [`Wish::object`]
    pub object: Arc<str>,
    /// [`Wish::generation`]
    pub generation: i64,
    /// When.
    pub at: Timestamp,
    /// Whether it is, or was, carried out; and what is done, or why nothing is.
    pub done: bool,
    /// The same in words.
    #[serde(flatten)]
    pub reason: Reason,
}

impl Wish {
    /// Whether nothing has come of it yet, where that was the last that was answered.
    pub fn is_new(&self, last: Option<&WishAnswer>) -> bool {
        last.is_none_or(|last| last.object != self.object || last.generation < self.generation)
    }

    /// Who, for people.
    pub fn who(&self) -> String {
        let also = self.on_behalf_of.as_ref().map(|who| format!(" ({who})")).unwrap_or_default();
        let why = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("{}{also} asks for it{why}", self.by)
    }
}

impl WishAnswer {
    /// Whether the first is the newer one. Of one object its generation tells: clocks differ.
    pub(super) fn is_newer(one: Option<&Self>, other: Option<&Self>) -> bool {
        one.is_some_and(|one| {
            other.is_none_or(|other| match other.object == one.object {
                true => other.generation < one.generation,
                false => other.at < one.at,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        reason::Code,
        update::{HeldBy, WorkloadState},
    };

    #[test]
    fn of_two_answers_in_one_object_the_later_wish_counts_whatever_the_clocks_say() {
        let answer = |object: &str, generation, second| {
            let (at, reason) = (Timestamp::from_second(second).unwrap(), Reason::new(Code::Resumed, ""));
            Box::new(WishAnswer { object: object.into(), generation, at, done: true, reason })
        };
        let state = |wish, held: bool| {
            let at = Timestamp::UNIX_EPOCH;
            let held = held.then(|| HeldBy { by: "alice".into(), on_behalf_of: None, reason: "".into(), at });
            let held = held.map(Box::new);
            WorkloadState {
                held,
                wish: Some(wish),
                ..WorkloadState::new("shop/Deployment/web".parse().unwrap(), "u".into())
            }
        };
        // Who held it had a clock that is ahead.
        let (resumed, held) = (state(answer("o", 2, 100), false), state(answer("o", 1, 500), true));
        assert_eq!(resumed.clone().with(held.clone()).held, None);
        assert_eq!(held.with(resumed).held, None);
        // Of another object only the time is known.
        let (resumed, held) = (state(answer("o", 2, 100), false), state(answer("p", 1, 500), true));
        assert!(resumed.with(held).held.is_some());
    }
}
