//! What is written of any update and any state is taken by what reads it, and no object breaks that.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    object::{Custom, Found},
    state::{self, ImageState},
    update::{ImageUpdate, Spec, Status},
};
use crate::domain::{
    image::{Digest, ImageRef, Tag},
    reason::{Code, Reason},
    target::Route,
    update::{
        Applied, Change, Evidence, Hold, How, Item, LeftOut, LogEntry, Phase, PhaseName, Tracked, Update, WorkloadState,
    },
    workload::WorkloadId,
};

fn found<T: Custom>(object: &Value) -> Found<T> {
    serde_json::from_str(&object.to_string()).unwrap()
}

fn metadata() -> Value {
    json!({"name": "n", "namespace": "shop", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-03-01T12:00:00Z"})
}

fn object(tracked: &Tracked) -> Value {
    json!({"metadata": metadata(), "spec": Spec::new(&tracked.update), "status": Status::new(tracked)})
}

fn read(object: &Value) -> Result<Tracked, String> {
    found::<ImageUpdate>(object).object.and_then(|object| object.tracked())
}

fn read_state(object: &Value) -> Result<Option<WorkloadState>, String> {
    found::<ImageState>(object).object.and_then(|object| object.state())
}

fn workload() -> WorkloadId {
    "shop/Deployment/web".parse().unwrap()
}

prop_compose! {
    fn arb_image()(tag in "[a-z0-9][a-z0-9.-]{0,20}", path in "[a-z]{1,20}", digest in any::<bool>()) -> ImageRef {
        let digest = if digest { format!("@sha256:{}", "0a".repeat(32)) } else { String::new() };
        ImageRef::parse(&format!("r.io/{path}:{tag}{digest}")).unwrap()
    }
}

prop_compose! {
    fn arb_reason()(code in prop::sample::select(Code::ALL), message in any::<String>()) -> Reason {
        Reason::new(code, message)
    }
}

prop_compose! {
    fn arb_change()(
        container in "\\PC{0,40}", init in any::<bool>(), from in arb_image(), to in arb_image(),
    ) -> Change {
        Change { container: container.into(), init, from, to }
    }
}

prop_compose! {
    fn arb_time()(nanoseconds in 0..4_000_000_000_000_000_000_i128) -> Timestamp {
        Timestamp::from_nanosecond(nanoseconds).unwrap()
    }
}

prop_compose! {
    fn arb_item()(
        change in arb_change(), policy in any::<String>(), seen in arb_time(),
        passed in prop::collection::vec(arb_reason(), 0..3), has_evidence in any::<bool>(),
    ) -> Item {
        let tag = Tag::parse("1.0.1").unwrap();
        let digest = Digest::parse(&format!("sha256:{}", "0b".repeat(32))).ok();
        let passed = passed.into_iter().map(|reason| Reason { tag: Some(tag.clone()), ..reason }).collect();
        let evidence = has_evidence.then_some(Evidence { tag, digest, seen, passed });
        Item { change, policy: policy.into(), evidence, source: None }
    }
}

prop_compose! {
    fn arb_entry()(
        at in arb_time(), phase in prop::sample::select(PhaseName::ALL), reason in prop::option::of(arb_reason()),
    ) -> LogEntry {
        LogEntry { at, phase, reason }
    }
}

prop_compose! {
    fn arb_tracked()(
        items in prop::collection::vec(arb_item(), 1..5), proposed in arb_time(), name in prop::sample::select(PhaseName::ALL),
        reason in arb_reason(), log in prop::collection::vec(arb_entry(), 1..20), group in prop::option::of("[a-z]{1,9}"),
        way in 0..3, uid in "[0-9a-f-]{0,36}",
    ) -> Tracked {
        let route = match way {
            0 => Route::Cluster,
            1 => Route::Commit("prod".into()),
            _ => Route::Request("prod".into(), group.map(Into::into)),
        };
        let update = Update { uid: uid.into(), ..Update::new(workload(), items, route, proposed) };
        let left = vec![LeftOut { container: "none of these".into(), init: true, reason: reason.clone() }];
        Tracked::recorded(update, Phase::recorded(name, Some(reason), left).unwrap(), log)
    }
}

prop_compose! {
    fn arb_state()(
        applied in prop::collection::vec((arb_change(), arb_time()), 0..64),
        holds in prop::collection::vec((arb_change(), any::<String>(), any::<String>(), arb_time()), 0..20),
    ) -> WorkloadState {
        let applied = applied.into_iter().map(|(change, at)| Applied { change, at, since: None });
        let holds = holds.into_iter().map(|(Change { container, init, to, .. }, back_to, by, at)| {
            let (back_to, by) = (back_to.into(), by.into());
            Hold { container, init, to, back_to, by, at, how: How::Person, in_memory: false }
        });
        let (applied, holds) = (applied.collect(), holds.collect());
        WorkloadState { applied, holds, ..WorkloadState::new(workload(), "u".into()) }
    }
}

fn arb_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The places of a value.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| pointers(item, &format!("{at}/{n}"), all)),
        Value::Object(map) => map.iter().for_each(|(key, item)| pointers(item, &format!("{at}/{key}"), all)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_update_is_read_as_it_was_written(tracked in arb_tracked()) {
        let once = read(&object(&tracked)).unwrap();
        // Long and hidden text is shown otherwise, once.
        prop_assert_eq!(&read(&object(&once)).unwrap(), &once);
        prop_assert_eq!(&once.update.id, &tracked.update.id);
        prop_assert_eq!((&once.update.uid, &once.update.route), (&tracked.update.uid, &tracked.update.route));
        prop_assert_eq!(once.update.proposed, tracked.update.proposed);
        prop_assert!(once.update.changes().eq(tracked.update.changes()));
        prop_assert_eq!(once.phase.name(), tracked.phase.name());
        prop_assert_eq!(once.phase.reason().map(|r| r.code), tracked.phase.reason().map(|r| r.code));
        let story = |tracked: &Tracked| -> Vec<_> {
            tracked.log.iter().map(|entry| (entry.at, entry.phase, entry.reason.as_ref().map(|r| r.code))).collect()
        };
        prop_assert_eq!(story(&once), story(&tracked));
    }

    #[test]
    fn a_state_is_read_as_it_was_written(state in arb_state()) {
        let object = json!({"metadata": metadata(), "spec": {}, "status": state::Status::new(&state)});
        prop_assert_eq!(read_state(&object).unwrap(), Some(state));
    }

    #[test]
    fn no_object_breaks_the_reader(
        tracked in arb_tracked(), state in arb_state(), odd in arb_json(), place in any::<prop::sample::Index>(),
    ) {
        let update = object(&tracked);
        let state = json!({"metadata": metadata(), "spec": {}, "status": state::Status::new(&state)});
        for mut object in [update, state] {
            let mut all = Vec::new();
            pointers(&object, "", &mut all);
            let at = &all[place.index(all.len())];
            *object.pointer_mut(at).unwrap() = odd.clone();
            // However it is read, it ends.
            let update = found::<ImageUpdate>(&object);
            if let Ok(update) = &update.object {
                _ = (update.tracked(), update.is_over(), update.holds_more(), update.age());
            }
            _ = read_state(&object);
        }
    }
}

fn one(phase: Phase) -> Tracked {
    let image = |tag: &str| ImageRef::parse(&format!("r.io/web:{tag}")).unwrap();
    let change =
        |container: &str| Change { container: container.into(), init: false, from: image("1"), to: image("2") };
    let items = vec![Item::from(change("web")), Item::from(change("side"))];
    let update = Update::new(workload(), items, Route::Commit("prod".into()), Timestamp::UNIX_EPOCH);
    let log = vec![LogEntry { at: Timestamp::UNIX_EPOCH, phase: phase.name(), reason: phase.reason().cloned() }];
    Tracked::recorded(update, phase, log)
}

#[test]
fn one_of_which_nothing_was_said_is_being_applied() {
    let tracked = one(Phase::Succeeded);
    for status in [Value::Null, json!({}), json!({"conditions": []})] {
        let object = json!({"metadata": metadata(), "spec": Spec::new(&tracked.update), "status": status});
        let read = read(&object).unwrap();
        assert_eq!((&read.phase, read.is_recorded()), (&Phase::Applying, true));
    }
}

#[test]
fn what_is_left_out_is_no_change_of_it_also_when_the_rest_has_ended() {
    let reason = Reason::new(Code::GitNoPlace, "no file names it");
    let left = vec![LeftOut { container: "side".into(), init: false, reason: reason.clone() }];
    let phase = Phase::InGit { reason: Reason::new(Code::Committed, "abc"), left };
    let in_git = json!({"metadata": metadata(), "spec": Spec::new(&one(Phase::Applying).update), "status": Status::new(&one(phase))});
    let containers = |tracked: &Tracked| tracked.update.changes().map(|c| c.container.to_string()).collect::<Vec<_>>();
    let read_back = read(&in_git).unwrap();
    assert_eq!(containers(&read_back), ["web"]);
    let there = found::<ImageUpdate>(&in_git).object.unwrap();
    assert!(there.holds_more());
    let status = Status::new(&one(Phase::Succeeded)).over(there.status.as_ref().unwrap());
    let ended = json!({"metadata": metadata(), "spec": in_git["spec"], "status": status});
    assert_eq!(containers(&read(&ended).unwrap()), ["web"]);
}

#[test]
fn what_is_not_ours_stays_where_it_stands() {
    let tracked = one(Phase::Applying);
    let mut there = object(&tracked);
    there["status"]["votes"] = json!([{"by": "ann"}]);
    let ready =
        json!({"type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": null, "more": 1});
    there["status"]["conditions"].as_array_mut().unwrap().push(ready.clone());
    there["spec"]["more"] = json!({"x": 1});
    let found = found::<ImageUpdate>(&there).object.unwrap();
    assert_eq!(found.tracked().unwrap(), tracked);
    assert!(found.holds_more());
    let written =
        serde_json::to_value(Status::new(&one(Phase::Succeeded)).over(found.status.as_ref().unwrap())).unwrap();
    assert_eq!((&written["votes"], &written["phase"]), (&there["status"]["votes"], &json!("Succeeded")));
    let conditions = written["conditions"].as_array().unwrap();
    assert_eq!((conditions.len(), &conditions[1]), (2, &ready));
}

#[rstest::rstest]
#[case("/status/phase", json!("Done"), "status.phase: `Done` is not known here")]
#[case("/status/reason/code", json!("new-gate"), "status.reason.code: `new-gate` is not known here")]
#[case("/spec/changes", json!([]), "spec.changes is empty")]
#[case("/spec/changes", json!(vec![json!({"container": "c", "from": "a", "to": "b"}); 65]), "spec.changes has 65 items; at most 64")]
#[case("/spec/changes/0/to", json!("r.io/$IMAGE"), "to: ")]
#[case("/spec/changes/0/container", json!("c".repeat(1025)), "container has 1025 bytes; at most 1024")]
#[case("/spec/write", json!("s3:bucket"), "spec.write: write `cluster`")]
#[case("/spec/proposedAt", json!("yesterday"), "")]
#[case("/spec/workload/name", json!(7), "")]
fn why_one_cannot_be_read_is_told(#[case] at: &str, #[case] value: Value, #[case] words: &str) {
    let mut object = object(&one(Phase::Waiting { reason: Reason::new(Code::RequestLimit, "two are open") }));
    *object.pointer_mut(at).unwrap() = value;
    let why = read(&object).unwrap_err();
    assert!(why.contains(words) && !why.is_empty(), "{why}");
}

#[test]
fn codes_and_phases_of_newer_versions_in_its_story_are_passed_over() {
    let mut object = object(&one(Phase::Applying));
    object["status"]["log"] = json!([
        {"at": "2026-03-01T12:00:00Z", "phase": "Shelved"},
        {"at": "2026-03-01T12:00:01Z", "phase": "Applying", "code": "window-closed", "message": "until nine"},
    ]);
    let read = read(&object).unwrap();
    assert_eq!(
        read.log.iter().map(|entry| (entry.phase, entry.reason.clone())).collect::<Vec<_>>(),
        [(PhaseName::Applying, None)]
    );
}

#[test]
fn the_condition_says_since_when_the_cluster_runs_it() {
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let entry = |second, phase| LogEntry { at: at(second), phase, reason: None };
    let update = one(Phase::Applying).update;
    let log = [entry(1, PhaseName::Applying), entry(2, PhaseName::Progressing), entry(3, PhaseName::Succeeded)];
    for (phase, lines, status, since) in [(Phase::Progressing, 2, "Unknown", 1), (Phase::Succeeded, 3, "True", 3)] {
        let tracked = Tracked::recorded(update.clone(), phase, log[..lines].to_vec());
        let condition = &serde_json::to_value(Status::new(&tracked)).unwrap()["conditions"][0];
        assert_eq!((&condition["status"], &condition["lastTransitionTime"]), (&json!(status), &json!(at(since))));
    }
}

#[test]
fn a_state_keeps_what_was_set_last_where_there_is_too_much() {
    let change = |n: usize| Change {
        container: Arc::from(format!("c{n}")),
        ..one(Phase::Applying).update.items[0].change.clone()
    };
    let applied = (0..70).map(|n| Applied { change: change(n), at: Timestamp::UNIX_EPOCH, since: None }).collect();
    let state = WorkloadState { applied, ..WorkloadState::new(workload(), "u".into()) };
    let object = json!({"metadata": metadata(), "spec": {}, "status": state::Status::new(&state)});
    let read = read_state(&object).unwrap().unwrap();
    assert_eq!((read.applied.len(), &*read.applied[0].change.container), (64, "c6"));
}
