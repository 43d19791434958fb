//! When a repository is due.

/// How often to look (surface.md §1, `poll`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Every so often, at a place within the interval that a hash of the source gives.
    Every(std::time::Duration),
    /// Only when a webhook comes.
    Never,
}
