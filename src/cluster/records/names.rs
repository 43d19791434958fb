//! The names of our objects: made of a workload's kind and name and an update's id, whatever text these are.
//!
//! Where all of that may stand in a name, it does: `deployment-web`, `deployment-web-0123456789abcdef`. Anything else is
//! made to fit, with a hash of what it was and a point after the kind, where no other name has one.

use crate::domain::{
    update::{UpdateId, hash},
    workload::{KINDS, KindSpec, WorkloadId},
};

/// The longest name of an object (RFC 1123, subdomain).
const NAME: usize = 253;
/// The longest value of a label.
const LABEL: usize = 63;

/// The name of what is wished for all workloads; of a workload it is none, as that begins with its kind.
pub(in crate::cluster) const ALL: &str = "supercargo-all";

/// The name of what is remembered by a workload's name.
pub(in crate::cluster) fn state(workload: &WorkloadId) -> String {
    if workload.is_all() {
        return ALL.to_owned();
    }
    name(workload, None, NAME)
}

/// Of whom the state of that name tells, where the name says it whole.
pub(super) fn workload(namespace: &str, name: &str) -> Option<WorkloadId> {
    if name == ALL {
        return Some(WorkloadId::all(namespace));
    }
    let mut all = KINDS.iter().filter_map(|KindSpec { kind, .. }| {
        let rest = name.strip_prefix(&kind.as_str().to_lowercase())?.strip_prefix('-')?;
        Some(WorkloadId { kind: kind.clone(), namespace: namespace.into(), name: rest.into() })
    });
    all.find(|workload| state(workload) == name)
}

/// The name of an update.
pub(super) fn update(workload: &WorkloadId, id: &UpdateId) -> String {
    name(workload, Some(id), NAME)
}

/// What the label of a workload's updates says.
pub(super) fn label(workload: &WorkloadId) -> String {
    name(workload, None, LABEL)
}

fn name(workload: &WorkloadId, id: Option<&UpdateId>, most: usize) -> String {
    let WorkloadId { kind, name, .. } = workload;
    let end = id.map(|id| format!("-{id}")).unwrap_or_default();
    let is_known = kind.spec().is_some() && id.is_none_or(is_id);
    let plain = format!("{}-{name}{end}", kind.as_str().to_lowercase());
    if is_known && plain.len() <= most && is_subdomain(name) {
        return plain;
    }
    let parts = [kind.as_str(), name, id.map(|id| &*id.0).unwrap_or_default()];
    let hash = hash(parts.iter().map(|part| format!("{part:?}")));
    let end = if id.is_none_or(is_id) { format!("{hash}{end}") } else { hash.to_string() };
    let kind: String = kind.as_str().chars().filter(char::is_ascii_alphabetic).take(20).collect();
    let kind = if kind.is_empty() { "x".to_owned() } else { kind.to_ascii_lowercase() };
    let room = most.saturating_sub(kind.len() + end.len() + 2);
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(allowed).take(room).collect();
    match name.trim_matches('-') {
        "" => format!("{kind}.{end}"),
        name => format!("{kind}.{name}-{end}"),
    }
}

/// Whether it is made as ours are: 16 hexadecimal digits, and a number where the same change is made again.
fn is_id(UpdateId(id): &UpdateId) -> bool {
    let (hash, number) = id.split_once('-').map_or((&**id, None), |(hash, number)| (hash, Some(number)));
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let is_number = |text: &str| text.parse::<u32>().is_ok_and(|number| number > 1 && number.to_string() == text);
    hash.len() == 16 && hash.bytes().all(is_digit) && number.is_none_or(is_number)
}

fn is_subdomain(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(is_inner) && !part.starts_with('-') && !part.ends_with('-');
    text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::HashMap};

    use proptest::prelude::*;

    use super::*;
    use crate::domain::workload::Kind;

    fn id(kind: &str, name: &str) -> WorkloadId {
        WorkloadId { kind: Kind(Cow::Owned(kind.to_owned())), namespace: "shop".into(), name: name.into() }
    }

    const ID: &str = "0123456789abcdef";

    #[rstest::rstest]
    #[case("Deployment", "web", "deployment-web")]
    #[case("CronJob", "a.b-c", "cronjob-a.b-c")]
    #[case("Deployment", "", "deployment.4435f447771ace63")]
    #[case("Deployment", "Web 1", "deployment.web-1-71a035d9e085315e")]
    #[case("Widget", "web", "widget.web-46da005ba0020458")]
    fn a_name_is_made_of_what_may_stand_in_one(#[case] kind: &str, #[case] name: &str, #[case] expected: &str) {
        assert_eq!(state(&id(kind, name)), expected);
        // Where the whole of it stands there, it is found again.
        let is_whole = !expected.starts_with(&format!("{}.", kind.to_lowercase()));
        assert_eq!(workload("shop", expected), is_whole.then(|| id(kind, name)));
    }

    #[test]
    fn a_name_that_is_none_of_ours_tells_of_nobody() {
        assert_eq!(workload("shop", ALL), Some(WorkloadId::all("shop")));
        for name in ["", "deployment", "deployment-", "deployment-Web", "widget-web", "web-deployment-web"] {
            assert_eq!(workload("shop", name), None, "{name}");
        }
    }

    #[test]
    fn a_long_name_is_cut_in_the_middle() {
        let long = id("StatefulSet", &"a".repeat(240));
        assert_eq!(state(&long), format!("statefulset-{}", "a".repeat(240)));
        let update = update(&long, &UpdateId(format!("{ID}-2").into()));
        assert!(update.starts_with("statefulset.aaa") && update.ends_with(&format!("-{ID}-2")), "{update}");
        assert_eq!(update.len(), 253);
        assert_eq!(label(&long).len(), 63);
    }

    #[rstest::rstest]
    #[case(ID, true)]
    #[case("0123456789abcdef-2", true)]
    #[case("0123456789abcdef-1", false)]
    #[case("0123456789abcdef-02", false)]
    #[case("0123456789abcdef-2-3", false)]
    #[case("0123456789ABCDEF", false)]
    #[case("web", false)]
    #[case("", false)]
    fn an_id_is_told_from_other_text(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_id(&UpdateId(text.into())), expected);
    }

    fn text() -> impl Strategy<Value = String> {
        let near = "[a-z0-9.-]{0,12}";
        prop_oneof![any::<String>(), near.prop_map(String::from), "[a-z]{50,260}", "[a-cA-C./-]{0,5}"]
    }

    fn kind() -> impl Strategy<Value = String> {
        prop_oneof![Just("Deployment".to_owned()), Just("CronJob".to_owned()), any::<String>(), "[A-Za-z.-]{0,30}"]
    }

    fn id_text() -> impl Strategy<Value = String> {
        prop_oneof!["[0-9a-f]{16}", "[0-9a-f]{16}-[0-9]{1,2}", any::<String>()]
    }

    proptest! {
        #[test]
        fn any_text_gives_a_name_that_fits_and_is_no_other_ones(
            all in prop::collection::vec((kind(), text(), id_text()), 1..20),
        ) {
            let (mut updates, mut states, mut labels) = (HashMap::new(), HashMap::new(), HashMap::new());
            for (kind, name, of) in all {
                let (workload, of) = (id(&kind, &name), UpdateId(of.into()));
                for (name, most) in [(update(&workload, &of), 253), (state(&workload), 253), (label(&workload), 63)] {
                    prop_assert!(name.len() <= most && is_subdomain(&name), "{name:?}");
                }
                let other = updates.insert(update(&workload, &of), (workload.clone(), of.clone()));
                prop_assert!(other.is_none_or(|other| other == (workload.clone(), of)));
                let other = states.insert(state(&workload), workload.clone());
                prop_assert!(other.is_none_or(|other| other == workload));
                let other = labels.insert(label(&workload), workload.clone());
                prop_assert!(other.is_none_or(|other| other == workload));
            }
        }
    }
}
