//! Who names tags.

/// Who named a tag, and whether it is one that somebody could take. What is named and fits nobody uses up nothing that
/// others need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sender {
    pub(super) name: &'static str,
    pub(super) fits: bool,
}

#[cfg(test)]
impl Sender {
    /// Who names what fits.
    pub(crate) fn of(name: &'static str) -> Self {
        Self { name, fits: true }
    }
}
