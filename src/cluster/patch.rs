//! The one JSON Patch of an update: it holds only for the object and the images that were decided on, touches nothing else,
//! and leaves a note for people.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::{
    update::{Change, LAST_UPDATE, LastUpdate, Update},
    workload::{KindSpec, Workload},
};

/// How an update stands to the workload as it is now.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stands {
    /// To be written by this JSON Patch.
    Ready(Vec<Value>),
    /// Written already, by this very update.
    Done,
    /// An image or a container is no longer what was decided on.
    Stale,
}

/// Compares an update with the workload as just read. `at` is the time that the note will say.
pub(super) fn stands(update: &Update, kind: &KindSpec, workload: &Workload, at: Timestamp) -> Stands {
    // One that was deleted and made again may be under another policy.
    if update.items.is_empty() || !update.uid.is_empty() && update.uid != workload.uid {
        return Stands::Stale;
    }
    if is_done(update, workload) {
        return Stands::Done;
    }
    // It was written, which nobody answered, and somebody has moved it back since.
    if LastUpdate::of(workload).is_some_and(|note| note.proves(update)) {
        return Stands::Stale;
    }
    let mut operations = Vec::new();
    if !update.uid.is_empty() {
        operations.push(json!({"op": "test", "path": "/metadata/uid", "value": update.uid}));
    }
    for change in update.changes() {
        let Some(container) = find(change, workload).filter(|c| *c.image == change.from.to_string()) else {
            return Stands::Stale;
        };
        let list = if change.init { "initContainers" } else { "containers" };
        let path = format!("{}/{list}/{}", kind.pod_spec, container.index);
        operations.push(json!({"op": "test", "path": format!("{path}/name"), "value": change.container}));
        operations.push(json!({"op": "test", "path": format!("{path}/image"), "value": change.from}));
        operations.push(json!({"op": "replace", "path": format!("{path}/image"), "value": change.to}));
    }
    operations.extend(note(update, workload, at));
    Stands::Ready(operations)
}

/// Whether the API server, or an admission, left every image as it was.
pub(super) fn is_unchanged(update: &Update, workload: &Workload) -> bool {
    update.changes().all(|change| find(change, workload).is_some_and(|c| *c.image == change.from.to_string()))
}

fn find<'w>(change: &Change, workload: &'w Workload) -> Option<&'w crate::domain::workload::Container> {
    workload.containers.iter().find(|c| c.init == change.init && c.name == change.container)
}

/// The images alone would not do: another field manager may have set the same.
fn is_done(update: &Update, workload: &Workload) -> bool {
    LastUpdate::of(workload).is_some_and(|note| note.id == update.id)
        && update.changes().all(|change| find(change, workload).is_some_and(|c| *c.image == change.to.to_string()))
}

fn note(update: &Update, workload: &Workload, at: Timestamp) -> Vec<Value> {
    let note = LastUpdate { id: update.id.clone(), at, changes: update.changes().cloned().collect() }.to_string();
    if workload.has_annotations {
        let path = format!("/metadata/annotations/{}", LAST_UPDATE.replace('~', "~0").replace('/', "~1"));
        // What was written in between, by whom it ever was, must be seen first: also what somebody has moved back since.
        let known = workload.annotations.get(LAST_UPDATE);
        vec![json!({"op": "test", "path": path, "value": known}), json!({"op": "add", "path": path, "value": note})]
    } else {
        // A map that somebody adds in between must not be lost: null also matches an absent key.
        vec![
            json!({"op": "test", "path": "/metadata/annotations", "value": null}),
            json!({"op": "add", "path": "/metadata/annotations", "value": {LAST_UPDATE: note}}),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::domain::{
        image::ImageRef,
        target::Route,
        update::Item,
        workload::{Container, WorkloadId},
    };

    fn at() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn image(text: &str) -> ImageRef {
        ImageRef::parse(text).unwrap()
    }

    fn workload(kind: &str, containers: &[(&str, &str, bool)]) -> Workload {
        let id = WorkloadId {
            kind: KindSpec::find(kind).unwrap().kind.clone(),
            namespace: "shop".into(),
            name: "web".into(),
        };
        let mut counts = [0, 0];
        let containers = containers.iter().map(|&(name, image, init)| {
            let index = counts[usize::from(init)];
            counts[usize::from(init)] += 1;
            Container { name: name.into(), image: image.into(), init, index }
        });
        Workload {
            id,
            uid: "u".into(),
            resource_version: "7".into(),
            annotations: Arc::default(),
            labels: BTreeMap::new(),
            written: None,
            has_annotations: true,
            containers: containers.collect(),
            owner: None,
            instance: None,
            pull_secrets: Vec::new(),
        }
    }

    fn update(workload: &Workload, changes: &[(&str, bool, &str, &str)]) -> Update {
        let item = |&(container, init, from, to): &(&str, bool, &str, &str)| {
            Item::from(Change { container: container.into(), init, from: image(from), to: image(to) })
        };
        Update::new(workload.id.clone(), changes.iter().map(item).collect(), Route::Cluster, at())
    }

    fn stand(update: &Update, workload: &Workload) -> Stands {
        stands(update, workload.id.kind.spec().unwrap(), workload, at())
    }

    #[test]
    fn the_patch_tests_name_and_image_of_each_container_and_adds_a_note() {
        let w = workload("Deployment", &[("log", "log:1", false), ("web", "web:1", false), ("init", "web:1", true)]);
        let update = update(&w, &[("web", false, "web:1", "web:2"), ("init", true, "web:1", "web:2")]);
        let Stands::Ready(operations) = stand(&update, &w) else { panic!("not ready") };
        let note = json!({"id": update.id, "at": "2026-01-02T03:04:05Z", "changes": [
            {"container": "web", "from": "web:1", "to": "web:2"},
            {"container": "init", "init": true, "from": "web:1", "to": "web:2"},
        ]});
        let pod = "/spec/template/spec";
        assert_eq!(
            operations[..6],
            [
                json!({"op": "test", "path": format!("{pod}/containers/1/name"), "value": "web"}),
                json!({"op": "test", "path": format!("{pod}/containers/1/image"), "value": "web:1"}),
                json!({"op": "replace", "path": format!("{pod}/containers/1/image"), "value": "web:2"}),
                json!({"op": "test", "path": format!("{pod}/initContainers/0/name"), "value": "init"}),
                json!({"op": "test", "path": format!("{pod}/initContainers/0/image"), "value": "web:1"}),
                json!({"op": "replace", "path": format!("{pod}/initContainers/0/image"), "value": "web:2"}),
            ]
        );
        let [Value::Object(test), Value::Object(add)] = &operations[6..] else { panic!("{operations:?}") };
        assert_eq!((&test["op"], &test["path"], &test["value"]), (&json!("test"), &add["path"], &json!(null)));
        assert_eq!(
            (&add["op"], &add["path"]),
            (&json!("add"), &json!("/metadata/annotations/supercargo.dev~1last-update"))
        );
        assert_eq!(serde_json::from_str::<Value>(add["value"].as_str().unwrap()).unwrap(), note);
    }

    #[test]
    fn where_there_is_no_annotation_the_map_is_added_but_only_if_it_is_still_absent() {
        let mut w = workload("CronJob", &[("job", "job:1", false)]);
        w.has_annotations = false;
        let Stands::Ready(operations) = stand(&update(&w, &[("job", false, "job:1", "job:2")]), &w) else {
            panic!("not ready")
        };
        assert_eq!(operations[0]["path"], "/spec/jobTemplate/spec/template/spec/containers/0/name");
        assert_eq!(operations[3], json!({"op": "test", "path": "/metadata/annotations", "value": null}));
        assert_eq!((&operations[4]["op"], &operations[4]["path"]), (&json!("add"), &json!("/metadata/annotations")));
        assert!(operations[4]["value"][LAST_UPDATE].is_string());
    }

    #[rstest::rstest]
    #[case(&[("web", "web:3", false)])]
    #[case(&[("other", "web:1", false)])]
    #[case(&[("web", "web:1", true)])]
    #[case(&[])]
    fn what_is_no_longer_so_is_stale(#[case] now: &[(&str, &str, bool)]) {
        let decided_on = workload("Deployment", &[("web", "web:1", false)]);
        let update = update(&decided_on, &[("web", false, "web:1", "web:2")]);
        assert_eq!(stand(&update, &workload("Deployment", now)), Stands::Stale);
    }

    #[test]
    fn what_was_deleted_and_made_again_is_another_one() {
        let w = workload("Deployment", &[("web", "web:1", false)]);
        let of = |uid: &str| Update { uid: uid.into(), ..update(&w, &[("web", false, "web:1", "web:2")]) };
        let Stands::Ready(operations) = stand(&of("u"), &w) else { panic!("not ready") };
        assert_eq!(operations[0], json!({"op": "test", "path": "/metadata/uid", "value": "u"}));
        assert_eq!(stand(&of("u0"), &w), Stands::Stale);
    }

    #[test]
    fn one_stale_image_of_two_holds_back_both() {
        let w = workload("Deployment", &[("a", "a:1", false), ("b", "b:9", false)]);
        let update = update(&w, &[("a", false, "a:1", "a:2"), ("b", false, "b:1", "b:2")]);
        assert_eq!(stand(&update, &w), Stands::Stale);
    }

    #[test]
    fn done_is_what_this_update_did_and_not_what_another_hand_did_alike() {
        let mut w = workload("Deployment", &[("web", "web:1", false)]);
        let update = update(&w, &[("web", false, "web:1", "web:2")]);
        w.containers[0].image = "web:2".into();
        assert_eq!(stand(&update, &w), Stands::Stale);
        let note = LastUpdate { id: update.id.clone(), at: at(), changes: update.changes().cloned().collect() };
        Arc::make_mut(&mut w.annotations).insert(LAST_UPDATE.to_owned(), serde_json::to_string(&note).unwrap());
        assert_eq!(stand(&update, &w), Stands::Done);
    }
}
