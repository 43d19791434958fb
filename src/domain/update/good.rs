//! What is known to have run in a workload, and the way back to it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Change, Good, PutsBack, Quarantined, Record, Update, Way, Written, state::with_good};
use crate::domain::{image::ImageRef, reason::Code, wish::WishAnswer};

impl Record {
    /// Remembers that a container ran with that image.
    fn ran(&mut self, one: Good) {
        self.good = with_good(std::mem::take(&mut self.good).into_vec(), one).into();
    }

    /// Remembers that all pods ran what an update set, with that pod template but for the images, where it is known.
    pub(super) fn runs_well<'c>(
        &mut self,
        images: impl Iterator<Item = (&'c Change, &'c ImageRef)>,
        template: Option<&Arc<str>>,
        at: Timestamp,
    ) {
        for (Change { container, init, .. }, image) in images {
            let (container, init, image) = (container.clone(), *init, image.clone());
            self.ran(Good { container, init, image, template: template.cloned(), at });
        }
    }

    /// Remembers whether the images ran that an update has taken the place of.
    pub(super) fn ran_before(&mut self, update: &Update, written: &Written, at: Timestamp) {
        if written.was_done {
            let before = update.changes().map(|change| (change, &change.from));
            return self.runs_well(before, Some(&written.template), at);
        }
        let is_before = |good: &Good| update.changes().any(|change| good.is_in(change) && good.image == change.from);
        self.good.iter_mut().filter(|good| is_before(good)).for_each(|good| good.template = None);
    }

    /// The pod template with which the images ran that were there before an update, or which of them did not, as is known.
    pub(super) fn template_before(&self, update: &Update) -> Result<Arc<str>, String> {
        let mut template: Option<Arc<str>> = None;
        for change in update.changes() {
            let good = self.good.iter().find(|good| good.is_in(change) && good.image == change.from);
            let Some(good) = good else { return Err(format!("whether {} ran is not known", change.from)) };
            let Some(its) = &good.template else {
                return Err(format!(
                    "whether all pods of {} were available when {} was set is not known",
                    change.from, change.to
                ));
            };
            if template.as_ref().is_some_and(|other| other != its) {
                return Err("what ran before did so with other pod templates".to_owned());
            }
            template = Some(its.clone());
        }
        Ok(template.unwrap_or_default())
    }

    /// What a container last ran with, other than that image, and nobody has left since.
    pub(super) fn ran_other(&self, container: &str, init: bool, image: &ImageRef) -> Option<&ImageRef> {
        let is_of = |good: &&Good| (&*good.container, good.init) == (container, init) && good.image != *image;
        self.good.iter().rev().find(|good| is_of(good) && !self.is_left(good)).map(|good| &good.image)
    }

    /// Whether somebody took it away, or it did not run, since it is known to have run.
    fn is_left(&self, Good { container, init, image, at, .. }: &Good) -> bool {
        let holds = self.rare.holds.iter().filter(|holds| holds.is(container, *init, image)).map(|holds| holds.at);
        let is_it = |bad: &&Quarantined| (&bad.container, bad.init, &bad.to) == (container, *init, image);
        holds.chain(self.rare.quarantined.iter().filter(is_it).map(|bad| bad.at)).any(|left| left >= *at)
    }

    /// What came of a person's last wish.
    pub fn answer(&self) -> Option<&WishAnswer> {
        self.rare.answer.as_deref()
    }

    /// What is to be written, or seen to, so that the images are there again that were before.
    pub fn way_back(&self) -> Option<Update> {
        let current = self.current().filter(|current| current.way().is_some_and(|way| way != Way::Written))?;
        let back = current.back()?;
        let (why, _) = current.why_back()?;
        let template =
            (why.code == Code::RolloutFailed).then(|| self.template_before(&current.update).unwrap_or_default());
        Some(Update { puts_back: Some(PutsBack { update: current.update.id.clone(), template }), ..back })
    }
}
