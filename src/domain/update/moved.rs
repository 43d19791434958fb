//! Who moved an image that we had set, by `managedFields`, and what follows from that.
//!
//! Kubernetes keeps of each field who set it last, with which operation (API concepts, "Server-Side Apply"). kubectl calls
//! itself by its command, so that a person's hand can be told from a manifest that was applied again, and both from a
//! deployer.

use std::{str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Applied, Change, Hold, How};
use crate::domain::{
    decide::is_newer,
    image::ImageRef,
    nearest::listed,
    policy::Policy,
    workload::{ImageManager, Observed},
};

/// What is done when `kubectl apply` or Helm sets an older image again: the annotation `on-reapply`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReapply {
    /// It cannot be told from a rollback, and is respected as one.
    #[default]
    Hold,
    /// What we had set is set again.
    Again,
}

impl FromStr for OnReapply {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "hold" => Ok(Self::Hold),
            "again" => Ok(Self::Again),
            _ => Err(listed(text, &["hold", "again"])),
        }
    }
}

/// What must be known of a workload's rule to judge a move.
#[derive(Debug, Clone, Default)]
pub struct Judging {
    /// By what the images of its containers are compared.
    pub policies: Vec<(Arc<str>, bool, Policy)>,
    /// What is done about manifests and releases.
    pub on_reapply: OnReapply,
}

/// What somebody did to an image that we had set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Move {
    /// It was moved back.
    Back(Hold),
    /// It was moved on, or to another repository, or we did it: that is the current one now.
    On,
}

/// Deployers that set what Git or a release says, whatever operation they use.
const DEPLOYERS: &[&str] = &[
    "argocd-controller",
    "argocd-application-controller",
    "kustomize-controller",
    "helm-controller",
    "fleetagent",
    "fleet-agent",
    "kapp-controller",
    "sveltos",
];
const OURS: &str = "supercargo";

/// What became of an image that we had set, by a fresh reading; `None` if it is there, or its container is not.
pub(super) fn moved(
    applied: &Applied,
    ran: impl Fn(&ImageRef) -> bool,
    observed: &Observed,
    judging: &Judging,
    now: Timestamp,
) -> Option<Move> {
    let Change { container, init, from, to } = &applied.change;
    let mut containers = observed.workload.containers.iter();
    let there = containers.find(|each| each.name == *container && each.init == *init)?;
    if is(&there.image, to) {
        return None;
    }
    let image = ImageRef::parse(&there.image).ok();
    let is_on = image.as_ref().is_some_and(|image| {
        let was_there = image == from || ran(image);
        image.repository != to.repository || !was_there && is_higher(judging, &applied.change, image)
    });
    let hold = || by_whom(Hold::on(&applied.change, there.image.clone(), "", now), observed);
    Some(if is_on { Move::On } else { hold().map_or(Move::On, Move::Back) })
}

/// What is held where somebody had set an image over ours, newer than that, and ours is there again.
pub(super) fn undone(
    applied: &Applied,
    left: &str,
    observed: &Observed,
    judging: &Judging,
    now: Timestamp,
) -> Option<Hold> {
    let change = &applied.change;
    let left = ImageRef::parse(left).ok().filter(|left| left.repository == change.to.repository)?;
    let is_lower = is_higher(judging, change, &left);
    let change = Change { to: left, ..change.clone() };
    let hold = || by_whom(Hold::on(&change, applied.change.to.to_string(), "", now), observed);
    is_lower.then(hold).flatten()
}

/// Who did that, when and in what way, as far as that is kept; `None` if we did.
fn by_whom(hold: Hold, observed: &Observed) -> Option<Hold> {
    let Some(manager) = manager(observed, &hold.container) else {
        return Some(Hold { by: "another field manager".into(), ..hold });
    };
    let ours = manager.manager == OURS;
    let (name, at) = (manager.manager.as_str().into(), manager.time.unwrap_or(hold.at));
    (!ours).then(|| Hold { by: name, at, how: by(manager), ..hold })
}

/// Whether an image is that one, however it is written.
pub(super) fn is(image: &str, one: &ImageRef) -> bool {
    *image == *one.to_string() || ImageRef::parse(image).ok().as_ref() == Some(one)
}

/// Whether an image comes after the one that a change had set, by the policy of its container.
pub(super) fn is_higher(judging: &Judging, change: &Change, image: &ImageRef) -> bool {
    let Change { container, init, to, .. } = change;
    let is_its = |(name, is_init, _): &&(Arc<str>, bool, Policy)| (name, is_init) == (container, init);
    let policy = judging.policies.iter().find(is_its).map(|(.., policy)| policy);
    let tags = image.tag.as_ref().zip(to.tag.as_ref());
    policy.zip(tags).is_some_and(|(policy, (tag, than))| is_newer(policy, tag, than))
}

/// Who set the image of a container last, as far as that is kept. Several may have set the same: then it is the one who would
/// set it again.
fn manager<'o>(observed: &'o Observed, container: &str) -> Option<&'o ImageManager> {
    let managers = || observed.image_managers.iter().filter(|manager| manager.container == *container);
    let of = |how: How| managers().find(move |manager| by(manager) == how);
    let newest = || managers().max_by_key(|manager| manager.time);
    managers().find(|manager| manager.manager == OURS).or_else(|| of(How::Deployer)).or_else(newest)
}

fn by(ImageManager { manager, operation, .. }: &ImageManager) -> How {
    match (manager.as_str(), operation.as_str()) {
        ("helm", _) => How::Release,
        ("kubectl-client-side-apply", _) | ("kubectl", "Apply") => How::Manifest,
        (manager, operation) if operation == "Apply" || DEPLOYERS.contains(&manager) => How::Deployer,
        _ => How::Person,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        policy::{NamedPolicies, Options},
        workload::{Container, Workload},
    };

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn image(text: &str) -> ImageRef {
        ImageRef::parse(&format!("r.io/web{text}")).unwrap()
    }

    fn judging(policy: &str) -> Judging {
        let policy = Policy::parse(policy, &Options::default(), &NamedPolicies::default()).unwrap();
        Judging { policies: vec![("web".into(), false, policy)], on_reapply: OnReapply::Hold }
    }

    fn observed(now: &str, managers: &[(&str, &str)]) -> Observed {
        let container = Container { name: "web".into(), image: now.into(), init: false, index: 0 };
        let manager = |&(manager, operation): &(&str, &str)| ImageManager {
            container: "web".to_owned(),
            manager: manager.to_owned(),
            operation: operation.to_owned(),
            time: Some(NOW),
        };
        let workload = Workload::of("shop/Deployment/web".parse().unwrap(), vec![container]);
        Observed { workload, image_managers: managers.iter().map(manager).collect(), template: "".into() }
    }

    fn applied(from: &str, to: &str) -> Applied {
        let change = Change { container: "web".into(), init: false, from: image(from), to: image(to) };
        Applied { change, at: NOW, since: None }
    }

    #[rstest::rstest]
    #[case::set(&[("kubectl-set", "Update")], Some(How::Person))]
    #[case::edit(&[("kubectl-edit", "Update")], Some(How::Person))]
    #[case::undo(&[("kubectl-rollout", "Update")], Some(How::Person))]
    #[case::a_program(&[("my-ci", "Update")], Some(How::Person))]
    #[case::unknown(&[], Some(How::Person))]
    #[case::client_side(&[("kubectl-client-side-apply", "Update")], Some(How::Manifest))]
    #[case::server_side(&[("kubectl", "Apply")], Some(How::Manifest))]
    #[case::helm(&[("helm", "Update")], Some(How::Release))]
    #[case::helm_4(&[("helm", "Apply")], Some(How::Release))]
    #[case::argo(&[("argocd-controller", "Update")], Some(How::Deployer))]
    #[case::flux(&[("kustomize-controller", "Apply")], Some(How::Deployer))]
    #[case::who_applies(&[("kubectl-set", "Update"), ("my-controller", "Apply")], Some(How::Deployer))]
    #[case::ours(&[("kubectl-client-side-apply", "Update"), ("supercargo", "Update")], None)]
    fn who_moved_an_image_back_is_told_by_its_field_manager(
        #[case] managers: &[(&str, &str)],
        #[case] how: Option<How>,
    ) {
        let observed = observed("r.io/web:1.1.0", managers);
        let moved = moved(&applied(":1.1.0", ":1.2.0"), |_| false, &observed, &judging("minor"), NOW);
        match (how, moved) {
            (Some(how), Some(Move::Back(hold))) => {
                let by = managers.first().map_or("another field manager", |(manager, _)| manager);
                assert_eq!((hold.how, hold.to, &*hold.back_to), (how, image(":1.2.0"), "r.io/web:1.1.0"));
                assert!(managers.len() > 1 || *hold.by == *by);
            }
            (None, Some(Move::On)) => {}
            (how, moved) => panic!("{how:?} {moved:?}"),
        }
    }

    #[rstest::rstest]
    // It was there before, or ran, whatever the policy says.
    #[case("minor", ":1.1.0", "r.io/web:1.1.0", true)]
    #[case("minor", ":2.0.0", "r.io/web:2.0.0", true)]
    #[case("minor", ":1.1.0", "r.io/web:9.9.9", true)]
    // By the policy's order.
    #[case("minor", ":1.1.0", "r.io/web:1.1.9", true)]
    #[case("minor", ":1.1.0", "r.io/web:1.2.1", false)]
    #[case("patch", ":1.1.0", "r.io/web:3.0.0", false)]
    #[case("semver:<2", ":1.1.0", "r.io/web:3.0.0", false)]
    #[case("glob:main-*", ":main-1", "r.io/web:main-3", false)]
    // What cannot be compared is taken for a way back.
    #[case("minor", ":1.1.0", "r.io/web:latest", true)]
    #[case("minor", ":1.1.0", "r.io/web", true)]
    #[case("digest", ":1.1.0", "r.io/web:1.3.0", true)]
    #[case("minor", ":1.1.0", "no image!", true)]
    // Another repository is another matter.
    #[case("minor", ":1.1.0", "r.io/api:1.0.0", false)]
    fn an_image_is_moved_back_unless_it_comes_after_ours(
        #[case] policy: &str,
        #[case] from: &str,
        #[case] now: &str,
        #[case] back: bool,
    ) {
        let to = if policy.starts_with("glob") { ":main-2" } else { ":1.2.0" };
        let observed = observed(now, &[("kubectl-edit", "Update")]);
        let ran = |image: &ImageRef| image.tag.as_ref().is_some_and(|tag| tag.as_str() == "9.9.9");
        let moved = moved(&applied(from, to), ran, &observed, &judging(policy), NOW).unwrap();
        assert_eq!(matches!(moved, Move::Back(_)), back, "{moved:?}");
    }

    #[test]
    fn what_is_there_or_has_no_container_was_not_moved() {
        let set = |now| moved(&applied(":1", ":2"), |_| false, &observed(now, &[]), &Judging::default(), NOW);
        assert_eq!(set("r.io/web:2"), None);
        let other =
            Applied { change: Change { container: "log".into(), ..applied(":1", ":2").change }, ..applied(":1", ":2") };
        assert_eq!(moved(&other, |_| false, &observed("r.io/web:1", &[]), &Judging::default(), NOW), None);
    }
}
