//! What our own commits set: trailers tell, so that nothing is set again that a person moved back. In commits of others
//! they are text.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    asked::Asked,
    forges::{Request, RequestState},
    own::Made,
    proposal::{Marks, Memo, mark},
};
use crate::domain::{
    image::ImageRef,
    target::Route,
    text::is_hidden,
    update::{Change, Item, PutsBack, Update, UpdateId},
    workload::WorkloadId,
};

/// The trailer that names an update.
pub(super) const UPDATE: &str = "Supercargo-Update";
/// The trailer that names the update which is put back.
pub(super) const ROLLBACK: &str = "Supercargo-Rollback";
/// The trailer of one change: workload, container, old image, new image.
pub(super) const CHANGE: &str = "Supercargo-Change";
/// The trailer of a workload's label `app.kubernetes.io/instance`, on branches of requests.
pub(super) const INSTANCE: &str = "Supercargo-Instance";

/// A commit of the branch, and the values of our trailers in it.
#[derive(Debug)]
pub(super) struct LoggedCommit<'a> {
    pub(super) made: Made<'a>,
    trailers: &'a str,
}

/// Commits that the forge made of requests of ours that were merged, and the changes that these held. A squashed or
/// rebased commit has the forge or a person as its committer.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// The branches whose requests the forge has listed.
    pub(super) listed: HashSet<String>,
    held: HashMap<String, Marks>,
}

/// What commits of ours set for each container, the newest first.
#[derive(Debug, Default)]
pub(super) struct History(HashMap<String, Vec<Set>>);

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
    let init = if change.init { "init:" } else { "" };
    format!("{} {init}{}", word(&workload.to_string()), word(&change.container))
}

/// A name as one word of a trailer. Those of files may hold anything, and an end of line would begin a trailer.
pub(super) fn word(name: &str) -> String {
    let mut word = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            c if c == '%' || c.is_whitespace() || is_hidden(c) => word.push_str(&format!("%{:X};", u32::from(c))),
            c => word.push(c),
        }
    }
    word
}

/// What [`word`] was given.
fn unworded(word: &str) -> String {
    let mut name = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('%') {
        name.push_str(before);
        let code = after.split_once(';').and_then(|(code, rest)| {
            let c = u32::from_str_radix(code, 16).ok().and_then(char::from_u32)?;
            Some((c, rest))
        });
        match code {
            Some((c, after)) => {
                name.push(c);
                rest = after;
            }
            None => {
                name.push('%');
                rest = after;
            }
        }
    }
    name.push_str(rest);
    name
}

impl<'a> LoggedCommit<'a> {
    /// Reads commit, author, committer and the values of our trailers, each on a line of its own. NUL ends each of them,
    /// and no message can hold it. Those without such a trailer are left out.
    pub(super) fn read(log: &'a str) -> Vec<Self> {
        let fields: Vec<&str> = log.split('\0').collect();
        let (entries, _) = fields.as_chunks();
        let entries = entries
            .iter()
            .map(|&[commit, an, ae, cn, ce, trailers]| Self { made: Made { commit, who: [an, ae, cn, ce] }, trailers });
        entries.filter(|entry| !entry.trailers.trim().is_empty()).collect()
    }
}

impl Merged {
    /// Takes in what the forge says of a request, if it is merged.
    pub(super) fn note(&mut self, request: &Request) {
        if request.state == RequestState::Merged
            && let Some(commit) = &request.merge_commit
        {
            self.held.insert(commit.clone(), Memo::read(&request.body).holds);
        }
    }
}

impl History {
    /// What the trailers of these commits tell, newest first; of one that is not ours only what a merged request held.
    pub(super) fn new<'a>(entries: impl IntoIterator<Item = (&'a LoggedCommit<'a>, bool)>, merged: &Merged) -> Self {
        let mut history = Self::default();
        for (LoggedCommit { made: Made { commit, .. }, trailers }, is_own) in entries {
            let held = merged.held.get(*commit);
            for line in trailers.lines() {
                let Some((workload, change)) = read(line.trim()) else { continue };
                if is_own || held.is_some_and(|held| held.contains(&mark(&workload, &change))) {
                    let set = Set { to: change.to.clone(), commit: (*commit).to_owned() };
                    history.0.entry(key(&workload, &change)).or_default().push(set);
                }
            }
        }
        history
    }

    /// What we set for that container, the newest first.
    pub(super) fn of(&self, workload: &WorkloadId, change: &Change) -> &[Set] {
        self.0.get(&key(workload, change)).map_or(&[], Vec::as_slice)
    }
}

/// What a commit of ours on a request's branch brings, by the trailers that end its message; nothing if it is not ours.
pub(super) fn changes_of(message: &str, route: &Route, now: Timestamp) -> Vec<Asked> {
    let mut instances: HashMap<WorkloadId, Arc<str>> = HashMap::new();
    let mut changes: Vec<(WorkloadId, Vec<Change>, Option<PutsBack>)> = Vec::new();
    let mut back = None;
    let trailers = message.trim_end().rsplit("\n\n").next().unwrap_or_default();
    for line in trailers.lines() {
        if let Some(rest) = line.strip_prefix(INSTANCE).and_then(|rest| rest.strip_prefix(": "))
            && let Some((workload, instance)) = rest.trim().rsplit_once(' ')
            && let Ok(workload) = unworded(workload).parse()
        {
            instances.insert(workload, unworded(instance).into());
        }
        // What is put back stands between the update's own trailer and those of its changes.
        if line.starts_with(UPDATE) {
            back = None;
        } else if let Some(update) = line.strip_prefix(ROLLBACK).and_then(|rest| rest.strip_prefix(": ")) {
            back = Some(PutsBack { update: UpdateId(update.trim().into()), template: None });
        }
        let Some(rest) = line.strip_prefix(CHANGE).and_then(|rest| rest.strip_prefix(": ")) else { continue };
        let Some((workload, change)) = read(rest.trim()) else { continue };
        match changes.iter_mut().find(|(id, ..)| *id == workload) {
            Some((_, of, _)) => of.push(change),
            None => changes.push((workload, vec![change], back.clone())),
        }
    }
    let asked = |(workload, changes, puts_back): (WorkloadId, Vec<Change>, Option<PutsBack>)| {
        let policy: Arc<str> = if puts_back.is_some() { "rollback".into() } else { "".into() };
        let items = changes.into_iter().map(|change| Item { policy: policy.clone(), ..Item::from(change) }).collect();
        let update = Update { puts_back, ..Update::new(workload, items, route.clone(), now) };
        let instance = instances.get(&update.workload).cloned();
        Asked { update, instance, wishes: Arc::default() }
    };
    changes.into_iter().map(asked).collect()
}

/// Reads what [`trailer`] writes.
fn read(text: &str) -> Option<(WorkloadId, Change)> {
    let mut parts = text.rsplitn(4, ' ');
    let (to, from, container, workload) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (init, container) = container.strip_prefix("init:").map_or((false, container), |name| (true, name));
    let change = Change {
        container: unworded(container).into(),
        init,
        from: ImageRef::parse(from).ok()?,
        to: ImageRef::parse(to).ok()?,
    };
    Some((unworded(workload).parse().ok()?, change))
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
        let found = changes_of(&message, &Route::Request("prod".into(), None), Timestamp::UNIX_EPOCH);
        assert_eq!(found.len(), 1);
        let held: Vec<Change> = found[0].update.changes().cloned().collect();
        assert_eq!(
            (&found[0].update.workload, &held, found[0].instance.as_deref()),
            (&workload, &changes, Some("shop_web"))
        );
        assert!(found[0].update.puts_back.is_none());
        assert!(changes_of("Fix a typo", &Route::Cluster, Timestamp::UNIX_EPOCH).is_empty());
    }

    #[test]
    fn what_goes_back_is_told_from_what_does_not() {
        let change = |name: &str| {
            let workload: WorkloadId = format!("shop/Deployment/{name}").parse().unwrap();
            let image = |tag: &str| ImageRef::parse(&format!("r.io/web:{tag}")).unwrap();
            trailer(&workload, &Change { container: "web".into(), init: false, from: image("2"), to: image("1") })
        };
        let message = format!(
            "Update\n\n{UPDATE}: a\n{ROLLBACK}: b\n{CHANGE}: {}\n{UPDATE}: c\n{CHANGE}: {}\n",
            change("back"),
            change("on")
        );
        let found = changes_of(&message, &Route::Cluster, Timestamp::UNIX_EPOCH);
        let back = |asked: &Asked| asked.update.puts_back.as_ref().map(|back| back.update.0.to_string());
        assert_eq!(found.iter().map(back).collect::<Vec<_>>(), [Some("b".to_owned()), None]);
    }

    #[rstest::rstest]
    #[case("shop/Deployment/web", "shop/Deployment/web")]
    #[case("a b\nSupercargo-Change: x", "a%20;b%A;Supercargo-Change:%20;x")]
    #[case("50%", "50%25;")]
    #[case("ä\u{2028}", "ä%2028;")]
    fn a_name_is_one_word_of_a_trailer(#[case] name: &str, #[case] shown: &str) {
        assert_eq!((word(name), unworded(shown)), (shown.to_owned(), name.to_owned()));
        assert_eq!(unworded("%zz;%"), "%zz;%");
    }

    #[test]
    fn a_trailer_counts_at_the_end_only() {
        let line = format!("{CHANGE}: shop/Deployment/web web r.io/web:1 r.io/web:2");
        let count = |message: &str| changes_of(message, &Route::Cluster, Timestamp::UNIX_EPOCH).len();
        assert_eq!(count(&format!("Update\n\n{line}\n\nSupercargo-Update: 1\n")), 0);
        assert_eq!(count(&format!("Update\n\nSupercargo-Update: 1\n{line}\n")), 1);
    }

    #[test]
    fn the_newest_change_counts_and_names_with_blanks_are_kept() {
        let workload = WorkloadId { kind: KINDS[0].kind.clone(), namespace: "shop".into(), name: "a b.yaml".into() };
        let image = |tag: &str| ImageRef::parse(&format!("r.io/web:{tag}")).unwrap();
        let change =
            |from: &str, to: &str| Change { container: "app".into(), init: false, from: image(from), to: image(to) };
        let (old, new) = (change("1", "2"), change("2", "3"));
        let who = "a\0a@b\0a\0a@b";
        let (newer, older) = (trailer(&workload, &new), trailer(&workload, &old));
        let log = format!("bbb\0{who}\0{newer}\n\0ccc\0{who}\0\0ddd\0{who}\0{older}\n\0aaa\0{who}\0{older}\n\0");
        let entries = LoggedCommit::read(&log);
        assert_eq!(entries.iter().map(|entry| entry.made.commit).collect::<Vec<_>>(), ["bbb", "ddd", "aaa"]);
        let history = History::new(entries.iter().zip([true, false, true]), &Merged::default());
        let sets = [Set { to: image("3"), commit: "bbb".into() }, Set { to: image("2"), commit: "aaa".into() }];
        assert_eq!(history.of(&workload, &old), sets);
        let other = Change { init: true, ..old };
        assert_eq!(history.of(&workload, &other), []);
    }
}
