//! What is held of a workload's images, and a person's word that nothing of it is changed.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Change;
use crate::domain::{hours::to_the_second, image::ImageRef, reason::Code, workload::WorkloadId};

/// Images that are held of each workload.
pub const HOLDS: usize = 20;

/// An image that we had set and somebody took away again: neither it nor what is not newer is set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// The container's name.
    pub container: Arc<str>,
    /// Whether it stands under `initContainers`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// What is held.
    pub to: ImageRef,
    /// What was put in its place.
    pub back_to: Arc<str>,
    /// The field manager that did, or the person.
    pub by: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// In what way.
    #[serde(default, skip_serializing_if = "How::is_default")]
    pub how: How,
    /// Whether it ends with the process, as the cluster has no kind of object for it.
    #[serde(skip)]
    pub in_memory: bool,
}

/// In what way an image was moved back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum How {
    /// A person did, or wished it.
    #[default]
    Person,
    /// A manifest was applied again.
    Manifest,
    /// A release of Helm's was.
    Release,
    /// Another deployer sets it, and would again.
    Deployer,
}

/// A person's word that nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldBy {
    /// Whose.
    pub by: Arc<str>,
    /// Who that is elsewhere, where supercargo wrote it for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Arc<str>>,
    /// Why, in their words.
    #[serde(default)]
    pub reason: Arc<str>,
    /// When.
    pub at: Timestamp,
}

impl How {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Hold {
    /// On what a change had set, by a person.
    pub fn on(change: &Change, back_to: impl Into<Arc<str>>, by: impl Into<Arc<str>>, at: Timestamp) -> Self {
        let Change { container, init, to, .. } = change.clone();
        let (back_to, by) = (back_to.into(), by.into());
        Self { container, init, to, back_to, by, at, how: How::Person, in_memory: false }
    }

    /// Whether it is of that container.
    pub fn is_in(&self, container: &str, init: bool) -> bool {
        (&*self.container, self.init) == (container, init)
    }

    /// Whether it is of the same container and image.
    pub fn is(&self, container: &str, init: bool, image: &ImageRef) -> bool {
        self.is_in(container, init) && self.to == *image
    }

    /// Of which code what is said of it is.
    pub fn code(&self) -> Code {
        match self.how {
            How::Deployer => Code::FoughtOver,
            How::Release => Code::Reverted,
            How::Person | How::Manifest if self.in_memory => Code::Reverted,
            How::Person | How::Manifest => Code::Held,
        }
    }

    /// Who did what, what follows, and how that ends.
    pub fn why(&self, workload: &WorkloadId) -> String {
        let Self { container, to, back_to, by, at, how, in_memory, .. } = self;
        let at = to_the_second(*at);
        let end = match in_memory {
            true => format!(
                "setting {to} by hand ends the hold, as does `supercargo resume {workload}` once the cluster has \
                 the definitions of `supercargo crds`"
            ),
            false => format!("`supercargo resume {workload}` ends the hold"),
        };
        let who = match how {
            How::Person => format!("{by} moved"),
            How::Manifest => format!("`kubectl apply` ({by}) set"),
            How::Release => "Helm set".to_owned(),
            How::Deployer => {
                return format!(
                    "{by} sets container {container} ({at}: {back_to}, where supercargo had set {to}), and would again: \
                     nothing is changed; write to Git instead (`write: git:<target>`), or take the image out of what {by} \
                     deploys; then {end}"
                );
            }
        };
        format!("{who} container {container} from {to} back to {back_to} ({at}): only a newer version is set; {end}")
    }
}

impl HeldBy {
    /// What is said of a workload, or of all.
    pub fn why(&self, resume: &str) -> String {
        let Self { by, on_behalf_of, reason, at } = self;
        let also = on_behalf_of.as_ref().map(|who| format!(" ({who})")).unwrap_or_default();
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        format!("held by {by}{also} since {}{why}; `supercargo resume {resume}` ends that", to_the_second(*at))
    }
}

/// Both, each once; where there are too many, the oldest go.
pub(super) fn merged(mut ours: Vec<Hold>, theirs: Vec<Hold>) -> Vec<Hold> {
    for theirs in theirs {
        if !ours.iter().any(|ours| ours.is(&theirs.container, theirs.init, &theirs.to)) {
            ours.push(theirs);
        }
    }
    ours.sort_by_key(|hold| hold.at);
    ours.drain(..ours.len().saturating_sub(HOLDS));
    ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::a_person(How::Person, Code::Reverted, Code::Held)]
    #[case::a_manifest(How::Manifest, Code::Reverted, Code::Held)]
    #[case::a_release(How::Release, Code::Reverted, Code::Reverted)]
    #[case::a_deployer(How::Deployer, Code::FoughtOver, Code::FoughtOver)]
    fn what_is_held_in_memory_can_be_resumed_only_once_the_cluster_keeps_it(
        #[case] how: How,
        #[case] in_memory: Code,
        #[case] recorded: Code,
    ) {
        let image = |tag: &str| ImageRef::parse(&format!("r.io/web:{tag}")).unwrap();
        let change = Change { container: "web".into(), init: false, from: image("1.0.0"), to: image("1.1.0") };
        let hold = Hold { how, ..Hold::on(&change, "r.io/web:1.0.0", "alice", Timestamp::UNIX_EPOCH) };
        let workload = "shop/Deployment/web".parse().unwrap();
        let (code, why) = (hold.code(), hold.why(&workload));
        assert!(code == recorded && !why.contains("by hand") && why.contains("`supercargo resume"), "{code}: {why}");
        let hold = Hold { in_memory: true, ..hold };
        let (code, why) = (hold.code(), hold.why(&workload));
        assert!(code == in_memory && why.contains("setting r.io/web:1.1.0 by hand ends the hold"), "{code}: {why}");
    }
}
