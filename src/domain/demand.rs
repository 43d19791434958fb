//! What annotations, policy files and guards ask for before an update, the strictest of all that apply.

use std::{fmt, sync::Arc, time::Duration};

use crate::domain::poll::show_duration;

/// What is asked for, each with the place that set it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates {
    /// How old a version must be. Boxed: few containers have one.
    pub min_age: Option<Box<Demand<Duration>>>,
}

/// A value, and the place that set it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Demand<T> {
    /// The value.
    pub value: T,
    /// For people: an annotation, a policy, a guard.
    pub by: Arc<str>,
}

impl Gates {
    /// The longest age that any place asks for; of equal ones the first.
    pub fn with_min_age(ages: impl IntoIterator<Item = Demand<Duration>>) -> Self {
        let longer = |one: Demand<Duration>, other: Demand<Duration>| if other.value > one.value { other } else { one };
        let longest = ages.into_iter().reduce(longer).filter(|age| !age.value.is_zero());
        Self { min_age: longest.map(Box::new) }
    }
}

impl fmt::Display for Demand<Duration> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at least {} by {}", show_duration(self.value), self.by)
    }
}
