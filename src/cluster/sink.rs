//! Reads single workloads, and writes approved plans: one guarded JSON Patch each.
//!
//! The first try needs no reading: the patch tests what was decided on. Before every further try the workload is read,
//! so a lost answer is found out and nothing is written twice.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use jiff::Timestamp;
use kube::{
    Client, Resource as _,
    api::{GetParams, Patch, PatchParams},
    core::Request,
};
use serde_json::Value;

use super::{
    failure, in_time,
    object::Object,
    patch::{Stands, is_unchanged, stands},
    shared::Shared,
    status::template,
};
use crate::{
    domain::{
        plan::{Approved, Plan, Proposed},
        rollout::{RolloutView, State, judge},
        update::{LAST_UPDATE, Update},
        workload::{KindSpec, Workload, WorkloadId},
    },
    net::foreign,
    ports::{Clock, ClusterError, ImageManager, Observed, Outcome, Rehearsal, Sink, Standing, Workloads, Written},
};

/// The cluster's workloads, one by one.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Objects")
    }
}

/// Who writes, in managedFields.
const FIELD_MANAGER: &str = "supercargo";
/// How many plans of one call are written at a time.
const AT_ONCE: usize = 8;
/// How often one plan is tried before it is given back.
const TRIES: u32 = 4;

impl Objects {
    /// Makes no request yet.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock }
    }

    async fn read(&self, id: &WorkloadId) -> Result<Option<Read>, ClusterError> {
        let failed = |why: String| ClusterError(format!("{id} could not be read: {why}"));
        let kind = id.kind.spec().ok_or_else(|| ClusterError(format!("{id}: supercargo does not know this kind")))?;
        let request = Request::new(Object::url_path(&kind, Some(&id.namespace)));
        let request = request.get(&id.name, &GetParams::default()).map_err(|error| failed(error.to_string()))?;
        match in_time(&self.clock, self.client.request_text(request)).await {
            None => Err(failed("the API server did not answer in time".to_owned())),
            Some(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Some(Err(error)) => Err(failed(failure(&error))),
            Some(Ok(text)) => {
                let read = Read::new(kind, text);
                read.map(Some).map_err(|reason| ClusterError(format!("{id} could not be decoded: {reason}")))
            }
        }
    }

    /// Writes it, or has the API server say what it would answer.
    async fn write<State>(&self, plan: &Plan<State>, dry_run: bool) -> Outcome {
        let update = plan.update();
        let id = &update.workload;
        let Some(kind) = id.kind.spec() else {
            return Outcome::Failed(format!("{id}: supercargo does not know this kind"));
        };
        let at = to_the_second(self.clock.now());
        let mut last = String::new();
        // A 422 may be a failed test or a refusal: what was tried, and in what words it was answered.
        let mut doubt: Option<(Vec<Value>, String)> = None;
        for attempt in 0..TRIES {
            if attempt > 0 && doubt.is_none() {
                self.clock.sleep_until(self.clock.monotonic() + Duration::from_millis(200 << attempt)).await;
            }
            let decided_on = plan.decided_on().filter(|_| attempt == 0);
            let read = match decided_on {
                Some(_) => None,
                None => match self.read(id).await {
                    Ok(Some(read)) => Some(read),
                    Ok(None) => return Outcome::Gone,
                    Err(error) => {
                        last = error.0;
                        continue;
                    }
                },
            };
            let Some(workload) = decided_on.map(|known| &**known).or(read.as_ref().map(|read| &read.workload)) else {
                continue;
            };
            let operations = match (stands(update, kind, workload, at), &read) {
                (Stands::Ready(operations), _) => operations,
                (Stands::Done, Some(read)) => return Outcome::Applied(read.written(kind)),
                // What the server has is to be seen first.
                (Stands::Done, None) => continue,
                (Stands::Stale, _) => return Outcome::Stale,
            };
            match doubt.take() {
                Some((before, words)) if before == operations => return Outcome::Refused(words),
                _ => {}
            }
            match self.patch(kind, update, &operations, dry_run).await {
                PatchState::Written(outcome) => return outcome,
                PatchState::Ambiguous(words) => {
                    last.clone_from(&words);
                    doubt = Some((operations, words));
                }
                PatchState::Again(words) => last = words,
            }
        }
        Outcome::Failed(last)
    }

    async fn patch(&self, kind: &'static KindSpec, update: &Update, operations: &[Value], dry_run: bool) -> PatchState {
        let id = &update.workload;
        let patch = match serde_json::from_value(Value::Array(operations.to_vec())) {
            Ok(patch) => Patch::Json::<()>(patch),
            Err(error) => {
                return PatchState::Written(Outcome::Failed(format!("{id}: the patch is malformed: {error}")));
            }
        };
        let field_manager = Some(FIELD_MANAGER.to_owned());
        let params = PatchParams { dry_run, field_manager, ..PatchParams::default() };
        let url = Object::url_path(&kind, Some(&id.namespace));
        let request = match Request::new(url).patch(&id.name, &params, &patch) {
            Ok(request) => request,
            Err(error) => {
                return PatchState::Written(Outcome::Failed(format!("{id}: the patch is malformed: {error}")));
            }
        };
        match in_time(&self.clock, self.client.request_text(request)).await {
            None => PatchState::Again(format!("{id} could not be written: the API server did not answer in time")),
            Some(Err(error)) => answer(id, &error),
            Some(Ok(text)) => match Read::new(kind, text) {
                Ok(read) if is_unchanged(update, &read.workload) => PatchState::Written(Outcome::Refused(
                    "the change was accepted, but an admission put the images back as they were".to_owned(),
                )),
                Ok(read) => PatchState::Written(Outcome::Applied(read.answered(kind))),
                Err(reason) => PatchState::Again(format!("{id}: the answer could not be decoded: {reason}")),
            },
        }
    }
}

impl Sink for Objects {
    fn apply<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Outcome>> {
        let each = futures::stream::iter(plans).map(async move |plan| self.write(&plan, false).await);
        each.buffered(AT_ONCE).collect().boxed()
    }

    /// A patch is seen by the watch: nothing is left to be found out.
    fn check<'a>(&'a self, plans: Vec<Plan<Approved>>) -> BoxFuture<'a, Vec<Standing>> {
        std::future::ready(vec![Standing::Due; plans.len()]).boxed()
    }

    fn rehearse<'a>(&'a self, plan: &'a Plan<Proposed>) -> BoxFuture<'a, Rehearsal> {
        async move {
            match self.write(plan, true).await {
                // An admission webhook with side effects that it does not leave out
                // (Kubernetes: Dynamic Admission Control, "Side effects").
                Outcome::Refused(words) if words.contains("does not support dry run") => Rehearsal::Unknown(words),
                Outcome::Refused(words) => Rehearsal::Refused(words),
                Outcome::Failed(words) => Rehearsal::Unknown(words),
                Outcome::Stale | Outcome::Gone => Rehearsal::Unknown("the workload has changed".to_owned()),
                Outcome::Applied(_) | Outcome::Committed(_) | Outcome::Partly(..) => Rehearsal::Accepted,
                Outcome::Blocked(_) | Outcome::MovedBack(..) => Rehearsal::Accepted,
            }
        }
        .boxed()
    }
}

impl Workloads for Objects {
    fn get<'a>(&'a self, id: &'a WorkloadId) -> BoxFuture<'a, Result<Option<Observed>, ClusterError>> {
        async move {
            let observed = |Read { object, workload, text }: Read| {
                let image_managers = image_managers(&object);
                let object: Value = serde_json::from_str(&text).unwrap_or_default();
                let template = workload.id.kind.spec().map(|kind| template(&object, kind)).unwrap_or_default();
                Observed { workload, image_managers, template }
            };
            Ok(self.read(id).await?.map(observed))
        }
        .boxed()
    }
}

/// What an attempt to write came to.
#[derive(Debug, PartialEq)]
enum PatchState {
    /// It ends with this.
    Written(Outcome),
    /// A test that failed, or a refusal: reading again tells.
    Ambiguous(String),
    /// Perhaps written, perhaps not: read, and try again.
    Again(String),
}

fn answer(id: &WorkloadId, error: &kube::Error) -> PatchState {
    let kube::Error::Api(status) = error else {
        return PatchState::Again(format!("{id} could not be written: {}", failure(error)));
    };
    let words = foreign(&status.message);
    let causes = status.details.as_ref().is_some_and(|details| !details.causes.is_empty());
    match status.code {
        404 => PatchState::Written(Outcome::Gone),
        422 if !causes => PatchState::Ambiguous(words),
        // Authorization and admission both answer 403; only the words differ.
        403 if words.contains(" cannot patch resource ") => PatchState::Written(Outcome::Failed(format!(
            "supercargo has no right to change {id}: {words}; grant `patch` on it (see deploy/)"
        ))),
        401 => PatchState::Written(Outcome::Failed(format!(
            "the API server does not accept supercargo's credentials for {id}: {words}"
        ))),
        409 | 429 | 500.. => PatchState::Again(format!("{id} could not be written: {}", failure(error))),
        _ => PatchState::Written(Outcome::Refused(words)),
    }
}

/// An object as the API server answered it.
struct Read {
    object: Object,
    workload: Workload,
    text: String,
}

impl Read {
    fn new(kind: &'static KindSpec, text: String) -> Result<Self, String> {
        let object: Object = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let workload = object.workload(kind, &mut Shared::default())?;
        Ok(Self { object, workload, text })
    }

    /// What is told of it as a write of its images answers it: what it says of its rollout is of those before.
    fn answered(&self, kind: &KindSpec) -> Written {
        let before = |view: RolloutView| RolloutView { generation: view.generation - 1, ..view };
        let was_done = self.object.rollout().is_some_and(|view| judge(&kind.kind, &before(view)) == State::Done);
        Written { was_done, ..self.written(kind) }
    }

    /// What is told of it after a write.
    fn written(&self, kind: &KindSpec) -> Written {
        let object: Value = serde_json::from_str(&self.text).unwrap_or_default();
        Written {
            resource_version: self.workload.resource_version.clone(),
            note: self.workload.annotations.get(LAST_UPDATE).cloned().unwrap_or_default(),
            generation: object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default(),
            images: self.workload.containers.iter().map(|c| (c.name.clone(), c.image.clone())).collect(),
            template: template(&object, kind),
            was_done: false,
        }
    }
}

fn image_managers(object: &Object) -> Vec<ImageManager> {
    let entries = object.managed().iter().filter(|entry| entry.subresource.is_empty());
    let managers = entries.flat_map(|entry| {
        entry.images.0.iter().map(|container| ImageManager {
            container: container.clone(),
            manager: entry.manager.clone(),
            operation: entry.operation.clone(),
            time: entry.time,
        })
    });
    managers.collect()
}

fn to_the_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn id() -> WorkloadId {
        WorkloadId {
            kind: crate::domain::workload::KINDS[0].kind.clone(),
            namespace: "shop".into(),
            name: "web".into(),
        }
    }

    fn api(code: u16, message: &str, causes: usize) -> kube::Error {
        let cause = serde_json::json!({"reason": "r", "message": "m", "field": "f"});
        let details = serde_json::from_value(serde_json::json!({"causes": vec![cause; causes]})).unwrap();
        kube::Error::Api(Status::failure(message, "R").with_code(code).with_details(details).boxed())
    }

    #[test]
    fn a_refusal_keeps_its_own_words_and_a_missing_right_says_what_to_grant() {
        let refused = |text: &str| PatchState::Written(Outcome::Refused(text.to_owned()));
        assert_eq!(
            answer(&id(), &api(403, "web is forbidden: no Fridays", 0)),
            refused("web is forbidden: no Fridays")
        );
        assert_eq!(answer(&id(), &api(400, "denied the request", 0)), refused("denied the request"));
        assert_eq!(answer(&id(), &api(422, "image is too long", 1)), refused("image is too long"));
        assert_eq!(
            answer(&id(), &api(422, "the server rejected", 0)),
            PatchState::Ambiguous("the server rejected".to_owned())
        );
        let rbac = "deployments.apps \"web\" is forbidden: User \"x\" cannot patch resource \"deployments\"";
        let PatchState::Written(Outcome::Failed(words)) = answer(&id(), &api(403, rbac, 0)) else { panic!() };
        assert!(words.contains("no right") && words.contains("grant `patch`"), "{words}");
    }

    #[rstest::rstest]
    #[case(409)]
    #[case(429)]
    #[case(500)]
    #[case(504)]
    fn what_may_have_been_written_is_tried_again(#[case] code: u16) {
        assert!(matches!(answer(&id(), &api(code, "x", 0)), PatchState::Again(_)));
    }
}
