//! Updates of which some containers can be brought and others cannot: they are brought without these. Pure.

use super::{asked::Asked, find::Places};
use crate::{
    domain::{
        reason::Reason,
        update::{Change, Item, LeftOut},
    },
    ports::Outcome,
};

/// A part of an update, and the number of that.
pub(super) type Part = (usize, Asked);

impl Asked {
    /// With some of its changes only.
    pub(super) fn only(&self, keep: impl Fn(&Change) -> bool) -> Self {
        let mut only = self.clone();
        only.update.items.retain(|item| keep(&item.change));
        only
    }
}

/// The updates, those that are blocked and have several changes as one for each of these; none if there is no such one.
pub(super) fn parts(asked: &[Asked], told: &[Result<Places, Reason>]) -> Option<Vec<Part>> {
    let is_divided = |(asked, told): (&Asked, &Result<Places, Reason>)| told.is_err() && asked.update.items.len() > 1;
    if !asked.iter().zip(told).any(is_divided) {
        return None;
    }
    let each = asked.iter().zip(told).enumerate().flat_map(|(number, (asked, told))| {
        let parts = match is_divided((asked, told)) {
            true => asked.update.changes().map(|own| asked.only(|change| change == own)).collect(),
            false => vec![asked.clone()],
        };
        parts.into_iter().map(move |part| (number, part))
    });
    Some(each.collect())
}

/// The updates without what of them cannot be brought, as `told` says of each part, and that. One of which nothing can be
/// brought is whole.
pub(super) fn possible(
    asked: &[Asked],
    parts: &[Part],
    told: Vec<Result<Places, Reason>>,
) -> (Vec<Asked>, Vec<Vec<LeftOut>>) {
    let mut left: Vec<Vec<LeftOut>> = vec![Vec::new(); asked.len()];
    for ((number, part), told) in parts.iter().zip(told) {
        if let (Err(reason), [Item { change, .. }]) = (told, &part.update.items[..]) {
            left[*number].push(LeftOut { container: change.container.clone(), init: change.init, reason });
        }
    }
    let reduced = asked.iter().zip(&mut left).map(|(asked, left)| {
        if left.len() == asked.update.items.len() {
            left.clear();
        }
        asked.only(|change| !left.iter().any(|left| left.is(change)))
    });
    (reduced.collect(), left)
}

/// What of an update is left out, for people; empty if it is whole.
fn shown(left: &[LeftOut]) -> String {
    left.iter().map(|left| format!("; without the container {}: {}", left.container, left.reason.message)).collect()
}

/// What is said of an update of which something is left out.
pub(super) fn partly(mut said: Reason, left: &[LeftOut]) -> Reason {
    said.message.push_str(&shown(left));
    said
}

/// An outcome of which something is left out.
pub(super) fn without(outcome: Outcome, left: Vec<LeftOut>) -> Outcome {
    match outcome {
        Outcome::Committed(said) if !left.is_empty() => Outcome::Partly(partly(said, &left), left),
        other => other,
    }
}
