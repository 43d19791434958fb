//! What our own commits set: trailers tell, so that nothing is set again that a person moved back.

use std::collections::HashMap;

use crate::domain::{image::ImageRef, update::Change, workload::WorkloadId};

/// The trailer that names an update.
pub(super) const UPDATE: &str = "Supercargo-Update";
/// The trailer of one change: workload, container, old image, new image.
pub(super) const CHANGE: &str = "Supercargo-Change";

/// The newest change of ours for each container, and its commit.
#[derive(Debug, Default)]
pub(super) struct History(HashMap<String, Set>);

/// What a commit of ours set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    /// The image.
    pub(super) to: ImageRef,
    /// The commit.
    pub(super) commit: String,
}

/// The value of a change's trailer.
pub(super) fn trailer(workload: &WorkloadId, change: &Change) -> String {
    format!("{} {} {}", key(workload, change), change.from, change.to)
}

fn key(workload: &WorkloadId, change: &Change) -> String {
    format!("{workload} {}{}", if change.init { "init:" } else { "" }, change.container)
}

impl History {
    /// Reads `%H%x00` and the values of our trailers, each on a line of its own; commits end with `%x01`, newest first.
    pub(super) fn parse(log: &str) -> Self {
        let mut history = Self::default();
        for entry in log.split('\u{1}') {
            let Some((commit, trailers)) = entry.trim_start().split_once('\0') else { continue };
            for line in trailers.lines() {
                // From the right: neither image holds a blank, a workload of a file may.
                let mut parts = line.trim().rsplitn(3, ' ');
                let (Some(to), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else { continue };
                let Ok(to) = ImageRef::parse(to) else { continue };
                history.0.entry(key.to_owned()).or_insert(Set { to, commit: commit.to_owned() });
            }
        }
        history
    }

    /// What we set last for that container.
    pub(super) fn last(&self, workload: &WorkloadId, change: &Change) -> Option<&Set> {
        self.0.get(&key(workload, change))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::workload::KINDS;

    #[test]
    fn the_newest_change_counts_and_names_with_blanks_are_kept() {
        let workload = WorkloadId { kind: KINDS[0].kind.clone(), namespace: "shop".into(), name: "a b.yaml".into() };
        let image = |tag: &str| ImageRef::parse(&format!("r.io/web:{tag}")).unwrap();
        let change =
            |from: &str, to: &str| Change { container: "app".into(), init: false, from: image(from), to: image(to) };
        let (old, new) = (change("1", "2"), change("2", "3"));
        let log =
            format!("bbb\0{}\n\u{1}\nccc\0\n\u{1}\naaa\0{}\n\u{1}", trailer(&workload, &new), trailer(&workload, &old));
        let history = History::parse(&log);
        assert_eq!(history.last(&workload, &old), Some(&Set { to: image("3"), commit: "bbb".into() }));
        let other = Change { init: true, ..old };
        assert_eq!(history.last(&workload, &other), None);
    }
}
