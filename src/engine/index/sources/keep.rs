//! What is kept of sources between looks, which has a total.

use std::sync::Arc;

use super::Sources;
use crate::engine::look::room;

impl Sources {
    /// Whether what is kept has room beside the look under way.
    #[cfg(test)]
    pub(crate) fn has_room(&self) -> bool {
        self.kept == 0 || self.kept + self.taken() <= self.most
    }

    /// What the look under way counts for.
    fn taken(&self) -> usize {
        self.in_use.as_ref().map_or(0, |source| self.size(source).in_use())
    }

    /// Leaves out the largest until the tags of all have room. What namespaces share counts for each in part.
    pub(crate) fn make_room(&mut self) {
        let taken = self.taken();
        while self.kept > 0 && self.kept + taken > self.most {
            let kept = self.known.iter().flat_map(|(source, known)| {
                known.shares(known.bytes()).map(move |(namespace, bytes)| (source, namespace, bytes))
            });
            let in_use = self.in_use.as_ref().and_then(|source| self.known.get(source));
            let in_use = in_use.into_iter().flat_map(|known| known.shares(taken));
            let Some(largest) = room::largest(kept.filter(|(.., bytes)| *bytes > 0), in_use).cloned() else { break };
            let Some(known) = self.known.get_mut(&largest) else { break };
            let bytes = known.bytes();
            self.kept -= bytes;
            known.snapshot = known.snapshot.take().map(|snapshot| Arc::new(snapshot.without_tags()));
            if known.left_out.replace(bytes).is_none() {
                self.dropped.push(largest);
            }
        }
    }
}
