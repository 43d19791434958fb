//! What people were told of an update in another system, as its record keeps it: so that it is told once, whatever
//! breaks off in between, and is brought up to date until the update's end.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PhaseName;

/// As many channels can be told of one update.
pub const MESSAGES: usize = 8;

/// One message, in one channel. Without [`Message::ts`] it is being posted: that is written before it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The channel, as the other system calls it.
    pub channel: Arc<str>,
    /// When it was first to be posted.
    pub at: Timestamp,
    /// Its name in that channel, once it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<Arc<str>>,
    /// How many lines of the update's story were told below it.
    #[serde(default)]
    pub replies: u8,
    /// Which the last of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<StoryLine>,
    /// Whether that one is being posted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replying: bool,
    /// What it showed when it was last kept, as a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Arc<str>>,
    /// Whether it shows the update's end, or will never be there: nothing more is done for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// A line of an update's story: several may have come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryLine {
    /// When it came to be.
    pub at: Timestamp,
    /// How far the update had come then.
    pub phase: PhaseName,
}

impl Message {
    /// One that is posted next.
    pub fn new(channel: Arc<str>, at: Timestamp) -> Self {
        Self { channel, at, ts: None, replies: 0, told: None, replying: false, shown: None, done: false }
    }
}
