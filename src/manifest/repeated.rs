//! A mapping has each key once.

use std::collections::HashSet;

use super::{
    ManifestError,
    tree::{Id, Tree},
};
use crate::domain::image::excerpt;

impl Tree<'_> {
    /// An error if a mapping has a key twice.
    pub(super) fn refuse_repeated_keys(&self, mapping: Id) -> Result<(), ManifestError> {
        let repeated = {
            let mut seen = HashSet::new();
            self.entries(mapping).find(|(key, _)| self.scalar(*key).is_some_and(|name| !seen.insert(name)))
        };
        match repeated {
            None => Ok(()),
            Some((key, _)) => {
                let name = excerpt(self.scalar(key).unwrap_or_default());
                let reason = format!("the key `{name}` is given twice in one mapping: remove one of them");
                Err(ManifestError::new(self.line(key), reason))
            }
        }
    }
}
