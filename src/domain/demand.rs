//! What annotations, policy files and guards ask for before an update, the strictest of all that apply.

use std::{fmt, sync::Arc, time::Duration};

use crate::domain::{hold::HoldRule, poll::show_duration};

/// What is asked for, each with the place that set it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gates {
    /// How old a version must be. Boxed: few containers have one.
    pub min_age: Option<Box<Demand<Duration>>>,
    /// What is neither left nor taken. Boxed: few containers have one.
    pub hold: Option<Box<Demand<HoldRule>>>,
}

/// A value, and the place that set it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Demand<T> {
    /// The value.
    pub value: T,
    /// For people: an annotation, a policy, a guard.
    pub by: Arc<str>,
    /// Whether it is a guard's, which no person overrides.
    pub is_floor: bool,
}

impl<T> Demand<T> {
    /// What an annotation or a policy asks for.
    pub fn new(value: T, by: impl Into<Arc<str>>) -> Self {
        Self { value, by: by.into(), is_floor: false }
    }

    /// What a guard asks for.
    pub fn floor(value: T, by: impl Into<Arc<str>>) -> Self {
        Self { value, by: by.into(), is_floor: true }
    }
}

/// That people must approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvals {
    /// How many.
    pub needed: Demand<u8>,
    /// How long they are waited for, counted while updates may start.
    pub timeout: Duration,
}

impl Gates {
    /// The longest age that any place asks for; of equal ones the first.
    pub fn with_min_age(ages: impl IntoIterator<Item = Demand<Duration>>) -> Self {
        let longer = |one: Demand<Duration>, other: Demand<Duration>| if other.value > one.value { other } else { one };
        let longest = ages.into_iter().reduce(longer).filter(|age| !age.value.is_zero());
        Self { min_age: longest.map(Box::new), hold: None }
    }
}

impl fmt::Display for Demand<Duration> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at least {} by {}", show_duration(self.value), self.by)
    }
}
