//! The admission policies that say who may vote: whether they are there as this version has them, and when they were
//! changed last.
//!
//! That they are in force is proved by a request (`proof`). That proves but one of their lines, so all of them are compared
//! here; and what was proved before a change is proved anew.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::admissionregistration::v1::{
        ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicySpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, Resource, runtime::watcher};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::follow::{ChangeSender, Closed, Reading, Source, Without, follow, may_be_read};
use crate::ports::ClusterChange;

/// By this label the policies and their bindings are found, whatever their names.
const GUARDS: &str = "supercargo.dev/guards";
/// What it says, and the policy as it must be.
const PARTS: [(&str, &str); 2] = [
    ("reviews", include_str!("../../deploy/approvals/reviews.yaml")),
    ("records", include_str!("../../deploy/approvals/records.yaml")),
];

const MISSING: &str = "approvals are asked for, and what says who may give them is not there or cannot be read: an \
                       administrator applies deploy/approvals (Kubernetes 1.30 or newer)";

/// What is there of them.
#[derive(Debug, Default)]
pub(super) struct Installed(Mutex<State>);

/// Kind, part and name.
type Key = (&'static str, &'static str, String);

#[derive(Debug, Default)]
struct State {
    /// When each was changed last, and what is wrong with it.
    seen: BTreeMap<Key, (Timestamp, Option<String>)>,
    /// Why votes cannot be read, if they cannot.
    unread: Option<&'static str>,
    /// How often something was said.
    number: u64,
}

impl State {
    fn said(&self) -> Result<Timestamp, Arc<str>> {
        if let Some(why) = self.unread {
            return Err(why.into());
        }
        let kinds = [ValidatingAdmissionPolicy::NAME, ValidatingAdmissionPolicyBinding::NAME];
        let all = kinds.into_iter().flat_map(|kind| PARTS.map(|(part, _)| (kind, part)));
        let is_there = |(kind, part): &(&str, &str)| self.seen.keys().any(|(k, p, _)| (k, p) == (kind, part));
        let missing =
            all.filter(|each| !is_there(each)).map(|(kind, part)| format!("there is no {kind} of the {part}"));
        let wrong = self.seen.iter().filter_map(|((kind, _, name), (_, wrong))| {
            wrong.as_ref().map(|wrong| format!("the {kind} {name} is another than this version's: {wrong}"))
        });
        let all: Vec<String> = missing.chain(wrong).collect();
        match all.len() {
            0 => Ok(self.seen.values().map(|(at, _)| *at).max().unwrap_or(Timestamp::UNIX_EPOCH)),
            4 if self.seen.is_empty() => Err(MISSING.into()),
            _ => Err(format!("{MISSING}: {}", all.join(", ")).into()),
        }
    }
}

impl Installed {
    fn change(&self, change: impl FnOnce(&mut State)) -> ClusterChange {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.number += 1;
        ClusterChange::Policies(state.number, state.said())
    }

    /// Whether votes can be read: if not, it does not matter who may vote.
    pub(super) fn can_read(&self, read: Result<(), &'static str>) -> ClusterChange {
        self.change(|state| state.unread = read.err())
    }
}

/// What is looked at of a policy or a binding.
trait Guard: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static {
    const NAME: &str;

    /// What is wrong with it, as the one of that part.
    fn wrong(&self, part: &str) -> Option<String>;
}

impl Guard for ValidatingAdmissionPolicy {
    const NAME: &str = "ValidatingAdmissionPolicy";

    fn wrong(&self, part: &str) -> Option<String> {
        let (Some(is), Some(ours)) = (self.spec.as_ref(), OURS.get(part)) else { return Some("spec".to_owned()) };
        let field = [
            ("failurePolicy", is.failure_policy.as_deref().unwrap_or("Fail") == "Fail"),
            ("matchConditions", is.match_conditions.as_ref().is_none_or(Vec::is_empty)),
            ("matchConstraints", matches(is) == matches(ours)),
            ("variables", variables(is) == variables(ours)),
            ("validations", validations(is) == validations(ours)),
        ];
        field.into_iter().find(|(_, is_right)| !is_right).map(|(name, _)| name.to_owned())
    }
}

impl Guard for ValidatingAdmissionPolicyBinding {
    const NAME: &str = "ValidatingAdmissionPolicyBinding";

    fn wrong(&self, _: &str) -> Option<String> {
        let Some(spec) = &self.spec else { return Some("spec".to_owned()) };
        let denies = spec.validation_actions.iter().flatten().any(|action| action == "Deny");
        // Which namespaces it holds in is proved in each of them.
        let is_narrow = spec.match_resources.as_ref().is_some_and(|resources| {
            let selects = resources.object_selector.as_ref();
            let is_empty = |selector: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector| {
                selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
                    && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
            };
            !selects.is_none_or(is_empty)
                || resources.exclude_resource_rules.as_ref().is_some_and(|all| !all.is_empty())
        });
        match (denies, is_narrow) {
            (true, false) => None,
            (false, _) => Some("validationActions".to_owned()),
            (true, true) => Some("matchResources".to_owned()),
        }
    }
}

/// The policies as they must be.
static OURS: LazyLock<BTreeMap<&str, ValidatingAdmissionPolicySpec>> = LazyLock::new(|| {
    let read = |(part, yaml): (&'static str, &str)| {
        let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).ok()?;
        let policy: ValidatingAdmissionPolicy = serde_json::from_value(documents.into_iter().next()?).ok()?;
        Some((part, policy.spec?))
    };
    PARTS.into_iter().filter_map(read).collect()
});

/// On what it is asked. The API server adds what is asked for where nothing is said.
fn matches(spec: &ValidatingAdmissionPolicySpec) -> Vec<[Vec<String>; 4]> {
    let Some(constraints) = &spec.match_constraints else { return Vec::new() };
    let sorted = |list: &Option<Vec<String>>| {
        let mut list = list.clone().unwrap_or_default();
        list.sort();
        list
    };
    if constraints.exclude_resource_rules.as_ref().is_some_and(|all| !all.is_empty()) {
        return Vec::new();
    }
    let rules = constraints.resource_rules.iter().flatten();
    rules
        .map(|rule| {
            let names = rule.resource_names.clone().unwrap_or_default();
            let resources = [sorted(&rule.resources), names].concat();
            [sorted(&rule.api_groups), sorted(&rule.api_versions), resources, sorted(&rule.operations)]
        })
        .collect()
}

/// What its lines refer to, but for who the operator is.
fn variables(spec: &ValidatingAdmissionPolicySpec) -> Vec<(&str, &str)> {
    let all = spec.variables.iter().flatten().map(|variable| (&*variable.name, &*variable.expression));
    all.filter(|(name, _)| *name != "operator").collect()
}

/// Its lines, in whatever words they refuse.
fn validations(spec: &ValidatingAdmissionPolicySpec) -> Vec<(&str, Option<&str>)> {
    let all = spec.validations.iter().flatten();
    all.map(|validation| (&*validation.expression, validation.reason.as_deref())).collect()
}

/// Tells of policies.
pub(super) async fn policies(client: Client, installed: Arc<Installed>, sender: ChangeSender) {
    // Nobody listens any more: the watch ends at once, too.
    _ = sender.send(installed.change(|_| {})).await;
    watch::<ValidatingAdmissionPolicy>(client, installed, sender).await;
}

/// Tells of bindings.
pub(super) async fn bindings(client: Client, installed: Arc<Installed>, sender: ChangeSender) {
    watch::<ValidatingAdmissionPolicyBinding>(client, installed, sender).await;
}

async fn watch<K: Guard>(client: Client, installed: Arc<Installed>, sender: ChangeSender) {
    let (api, mut sender) = (Api::<K>::all(client), sender);
    while tell(&api, &installed, &sender).await.is_ok() {
        may_be_read(&api, &sender).await;
        sender = sender.again();
    }
}

async fn tell<K: Guard>(api: &Api<K>, installed: &Installed, sender: &ChangeSender) -> Result<(), Closed> {
    let kind = K::NAME;
    let hashes = RandomState::new();
    let name = |object: &K| object.meta().name.clone().unwrap_or_default();
    let read = |object: K| {
        let (name, meta) = (name(&object), object.meta());
        let said = meta.labels.as_ref().and_then(|labels| labels.get(GUARDS));
        let Some((part, _)) = PARTS.into_iter().find(|(part, _)| said.is_some_and(|said| said == part)) else {
            return (name, Reading::Dropped(None));
        };
        let (at, wrong) = (changed(meta), object.wrong(part));
        // That its status is written is no change of it.
        let hash = hashes.hash_one((&meta.uid, meta.generation, at, &wrong));
        let change = installed.change(|state| {
            state.seen.retain(|(k, _, n), _| (*k, n) != (kind, &name));
            state.seen.insert((kind, part, name.clone()), (at, wrong));
        });
        (name, Reading::Told(hash, change))
    };
    let gone =
        |name: String| Some(installed.change(|state| state.seen.retain(|(k, _, n), _| (*k, n) != (kind, &name))));
    let without = Without { note: "nothing is approved", change: None };
    let config = watcher::Config::default().labels(GUARDS);
    let source = Source { without: Some(without), ..Source::new(api.clone(), config, format!("{kind} objects")) };
    follow(source, read, name, gone, sender).await
}

/// When its spec, or any of its metadata, was changed last; where that is not known, when it was made.
fn changed(metadata: &ObjectMeta) -> Timestamp {
    let made = metadata.creation_timestamp.as_ref().map(|time| time.0);
    let managers = metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let written = managers.filter_map(|entry| entry.time.as_ref()).map(|time| time.0);
    made.into_iter().chain(written).max().unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = ValidatingAdmissionPolicy::NAME;
    const BINDING: &str = ValidatingAdmissionPolicyBinding::NAME;

    #[test]
    fn what_is_missing_or_another_is_named_and_the_last_change_counts() {
        let installed = Installed::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let said = |change: ClusterChange| match change {
            ClusterChange::Policies(_, said) => said.map_err(|why| why.to_string()),
            other => panic!("{other:?}"),
        };
        assert_eq!(said(installed.change(|_| {})), Err(MISSING.to_owned()));
        let put = |kind, part: &'static str, second, wrong: Option<&str>| {
            let (key, wrong) = ((kind, part, format!("shop-{part}")), wrong.map(str::to_owned));
            said(installed.change(|state| _ = state.seen.insert(key, (at(second), wrong))))
        };
        let [reviews, records] = PARTS.map(|(part, _)| part);
        assert!(put(POLICY, reviews, 1, None).is_err() && put(BINDING, records, 2, None).is_err());
        let why = put(POLICY, records, 4, None).unwrap_err();
        assert!(why.ends_with("there is no ValidatingAdmissionPolicyBinding of the reviews"), "{why}");
        assert_eq!(put(BINDING, reviews, 7, None), Ok(at(7)));
        let why = put(POLICY, reviews, 9, Some("validations")).unwrap_err();
        assert!(
            why.ends_with("ValidatingAdmissionPolicy shop-reviews is another than this version's: validations"),
            "{why}"
        );
        assert_eq!(said(installed.can_read(Err("no right"))), Err("no right".to_owned()));
    }

    fn policy(part: &str) -> Value {
        let yaml = PARTS.into_iter().find(|(name, _)| *name == part).unwrap().1;
        serde_saphyr::from_multiple::<Value>(yaml).unwrap().swap_remove(0)
    }

    fn wrong(part: &str, change: impl FnOnce(&mut Value)) -> Option<String> {
        let mut policy = policy(part);
        change(&mut policy["spec"]);
        serde_json::from_value::<ValidatingAdmissionPolicy>(policy).unwrap().wrong(part)
    }

    #[test]
    fn a_policy_that_lets_more_through_is_told_from_ours() {
        for (part, _) in PARTS {
            assert_eq!(wrong(part, |_| {}), None);
            let named = Some("validations".to_owned());
            assert_eq!(wrong(part, |spec| _ = spec["validations"].as_array_mut().unwrap().pop()), named);
            assert_eq!(wrong(part, |spec| spec["validations"][0]["expression"] = "true".into()), named);
            assert_eq!(wrong(part, |spec| spec["validations"][0]["message"] = "in other words".into()), None);
            assert_eq!(wrong(part, |spec| spec["failurePolicy"] = "Ignore".into()), Some("failurePolicy".to_owned()));
            let condition = serde_json::json!([{"name": "never", "expression": "false"}]);
            assert_eq!(wrong(part, |spec| spec["matchConditions"] = condition), Some("matchConditions".to_owned()));
            let rules =
                |spec: &mut Value| spec["matchConstraints"]["resourceRules"][0]["resources"] = serde_json::json!(["x"]);
            assert_eq!(wrong(part, rules), Some("matchConstraints".to_owned()));
            assert_eq!(
                wrong(part, |spec| spec["variables"][0]["expression"] = "'me'".into()),
                None,
                "who the operator is"
            );
        }
        let named = Some("variables".to_owned());
        assert_eq!(wrong("reviews", |spec| spec["variables"][1]["expression"] = "true".into()), named);
    }
}
