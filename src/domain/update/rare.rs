//! What few workloads have any of: it takes no room in the records of all others.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::{HeldBy, Hold, Quarantined, Refused};
use crate::domain::{
    rollout::Following,
    votes::Review,
    wish::{Wish, WishAnswer},
    workload::Workload,
};

/// What few workloads have any of, if this one has.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rare(Option<Box<Few>>);

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Few {
    /// Images that are not set again as somebody moved them back.
    pub(super) holds: Vec<Hold>,
    /// Who has stopped all changes.
    pub(super) held: Option<Box<HeldBy>>,
    /// Why what was remembered of it cannot be read.
    pub(super) undecodable: Option<Arc<str>>,
    /// When a person last had holds lifted, and what did not run freed.
    pub(super) lifted: Option<Timestamp>,
    pub(super) freed: Option<Timestamp>,
    /// When what a manifest or a release took away was set again.
    pub(super) set_again: Vec<Timestamp>,
    /// Images that did not run.
    pub(super) quarantined: Vec<Quarantined>,
    /// Images that people did not want.
    pub(super) refused: Vec<Refused>,
    /// What people have said of the current update.
    pub(super) reviews: Vec<Review>,
    /// What came of a person's last wish.
    pub(super) answer: Option<Box<WishAnswer>>,
    /// A wish that came while something was under way.
    pub(super) wish: Option<Box<Wish>>,
    /// The rollout of the current update, while it goes on.
    pub(super) following: Option<Box<Following>>,
    /// What came to be known while it was being written.
    pub(super) missed: Option<Arc<Workload>>,
    /// When it is to be tried or checked again.
    pub(super) wait: Option<Wait>,
    /// Until when the plan waits for the other looks of its workload, and whether that time has come.
    pub(super) together: Option<(Duration, bool)>,
    /// When it was last read who moved an image.
    pub(super) read: Option<Duration>,
    /// A person has said that it goes on, before it was known who moved an image: it was not moved back then.
    pub(super) pardoned: bool,
}

/// Why nothing is tried before a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It was not written.
    NotWritten,
    /// It stands in Git, or may not go there: that is seen to again.
    Check,
    /// It was read just now who moved an image.
    Read,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wait {
    pub(super) why: Why,
    pub(super) failures: u32,
    pub(super) until: Duration,
    /// Whether that time has come.
    pub(super) is_over: bool,
}

static NONE: Few = Few {
    holds: Vec::new(),
    held: None,
    undecodable: None,
    lifted: None,
    freed: None,
    set_again: Vec::new(),
    quarantined: Vec::new(),
    refused: Vec::new(),
    reviews: Vec::new(),
    answer: None,
    wish: None,
    following: None,
    missed: None,
    wait: None,
    together: None,
    read: None,
    pardoned: false,
};

impl Rare {
    /// Takes no room any more if there is none of it.
    pub(super) fn tidy(&mut self) {
        self.0.take_if(|few| **few == NONE);
    }
}

impl Deref for Rare {
    type Target = Few;

    fn deref(&self) -> &Few {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Rare {
    fn deref_mut(&mut self) -> &mut Few {
        self.0.get_or_insert_default()
    }
}
