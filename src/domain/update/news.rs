//! What is new of an update, as facts. Sentences are made where they are sent.

use super::Update;
use crate::domain::reason::Reason;

/// What is new of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It was written, or the cluster runs what was written to Git.
    Updated(Update),
    /// It is in Git, or in a request.
    Committed(Update, Reason),
    /// An admission or a Git server refused it, in its words.
    Refused(Update, String),
    /// It could not be written, or how it stands could not be found out; it is tried again.
    Failed(Update, String),
}
