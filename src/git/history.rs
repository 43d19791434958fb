//! What our own commits set: trailers tell, so that nothing is set again that a person moved back.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use super::find::Asked;
use crate::domain::{
    image::ImageRef,
    target::Write,
    update::{Change, Phase, Update, UpdateId},
    workload::WorkloadId,
};

/// The trailer that names an update.
pub(super) const UPDATE: &str = "Supercargo-Update";
/// The trailer of one change: workload, container, old image, new image.
pub(super) const CHANGE: &str = "Supercargo-Change";
/// The trailer of a workload's label `app.kubernetes.io/instance`, on branches of requests.
pub(super) const INSTANCE: &str = "Supercargo-Instance";

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

/// What a commit of ours on a request's branch brings, by its message; nothing if it is not ours.
pub(super) fn brought(message: &str, write: &Write, group: Option<&Arc<str>>, now: Timestamp) -> Vec<Asked> {
    let mut instances: HashMap<WorkloadId, Arc<str>> = HashMap::new();
    let mut changes: Vec<(WorkloadId, Vec<Change>)> = Vec::new();
    for line in message.lines() {
        if let Some(rest) = line.strip_prefix(INSTANCE).and_then(|rest| rest.strip_prefix(": "))
            && let Some((workload, instance)) = rest.trim().rsplit_once(' ')
            && let Ok(workload) = workload.parse()
        {
            instances.insert(workload, instance.into());
        }
        let Some(rest) = line.strip_prefix(CHANGE).and_then(|rest| rest.strip_prefix(": ")) else { continue };
        let Some((workload, change)) = read(rest.trim()) else { continue };
        match changes.iter_mut().find(|(id, _)| *id == workload) {
            Some((_, of)) => of.push(change),
            None => changes.push((workload, vec![change])),
        }
    }
    let asked = |(workload, changes): (WorkloadId, Vec<Change>)| {
        let policies = changes.iter().map(|_| Arc::from("")).collect();
        let update = Update {
            id: UpdateId::of(&workload, &changes),
            policies,
            evidence: Vec::new(),
            write: write.clone(),
            group: group.cloned(),
            phase: Phase::Applying,
            proposed: now,
            changes,
            workload,
        };
        let instance = instances.get(&update.workload).cloned();
        Asked { update, instance, sources: Vec::new() }
    };
    changes.into_iter().map(asked).collect()
}

/// Reads what [`trailer`] writes.
fn read(text: &str) -> Option<(WorkloadId, Change)> {
    let mut parts = text.rsplitn(4, ' ');
    let (to, from, container, workload) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (init, container) = container.strip_prefix("init:").map_or((false, container), |name| (true, name));
    let change =
        Change { container: container.into(), init, from: ImageRef::parse(from).ok()?, to: ImageRef::parse(to).ok()? };
    Some((workload.parse().ok()?, change))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::workload::KINDS;

    #[test]
    fn a_requests_branch_tells_what_it_brings() {
        let image = |tag: &str| ImageRef::parse(&format!("r.io/web:{tag}")).unwrap();
        let change = |container: &str, init: bool| Change {
            container: container.into(),
            init,
            from: image("1"),
            to: image("2"),
        };
        let workload: WorkloadId = "shop/Deployment/web".parse().unwrap();
        let changes = vec![change("web", false), change("migrate", true)];
        let lines: String = changes.iter().map(|c| format!("{CHANGE}: {}\n", trailer(&workload, c))).collect();
        let message = format!("Update\n\n{lines}{INSTANCE}: {workload} shop_web\n");
        let found = brought(&message, &Write::Request("prod".into()), None, Timestamp::UNIX_EPOCH);
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].update.changes, found[0].instance.as_deref()), (&changes, Some("shop_web")));
        assert_eq!(found[0].update.id, UpdateId::of(&workload, &changes));
        assert!(brought("Fix a typo", &Write::Cluster, None, Timestamp::UNIX_EPOCH).is_empty());
    }

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
