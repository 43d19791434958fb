//! Follows rollouts: what a workload says of itself comes from the watch that is there anyway, what its pods say from a
//! watch of those of the new revision, which lasts as long as the rollout.
//!
//! | | requests |
//! |---|---|
//! | the workload, as it was when it began to be followed | one GET |
//! | which revision is the new one (`revision`) | one LIST of ReplicaSets or ControllerRevisions; none of a StatefulSet, which names it |
//! | its pods (`pods`) | one LIST and one watch |
//! | of a StatefulSet that goes back, the pods in the way (`free`) | one GET and one LIST every two seconds, one DELETE each |

mod free;
mod pods;
mod revision;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use kube::{Client, Resource as _, api::GetParams, core::Request};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};

use self::{
    pods::tell_pods,
    revision::{Revision, Selected, Unread},
};
use super::{failure, follow::delays, in_time, object::Object, status::template};
use crate::{
    domain::{
        rollout::{Pods, RolloutView},
        update::Change,
        workload::WorkloadId,
    },
    ports::{Clock, ClusterChange, Rollouts},
};

/// Rollouts whose pods are watched at once; the others are judged by what the workloads say until it is their turn.
const WATCHES: usize = 200;
/// Of one namespace.
const WATCHES_OF_ONE: usize = 50;
/// As many revisions and pods are read at a time, in pages of all lists: one may have 1.5 MB.
const READ_AT_ONCE: usize = 60;
/// When what could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// How often the revisions of a workload are asked for before its rollout is judged without its pods.
const TRIES: u32 = 6;

/// Follows the rollouts of workloads that it is told of.
#[derive(Clone)]
pub struct Followed(Arc<Shared>);

struct Shared {
    client: Client,
    clock: Arc<dyn Clock>,
    changes: mpsc::Sender<ClusterChange>,
    rollouts: Mutex<HashMap<WorkloadId, Rollout>>,
    reads: Semaphore,
    turns: Semaphore,
    turns_of: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
}

/// One that is followed, until this is dropped.
struct Rollout {
    views: watch::Sender<Option<RolloutView>>,
    task: JoinHandle<()>,
}

impl Drop for Rollout {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Followed")
    }
}

impl Followed {
    /// Follows nothing yet. What is seen goes to `changes`.
    pub fn new(client: Client, clock: Arc<dyn Clock>, changes: mpsc::Sender<ClusterChange>) -> Self {
        let (reads, turns) = (Semaphore::new(READ_AT_ONCE), Semaphore::new(WATCHES));
        let (rollouts, turns_of) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { client, clock, changes, rollouts, reads, turns, turns_of }))
    }

    /// Takes in what the watch says of a workload, if that is followed.
    pub(super) fn saw(&self, id: &WorkloadId, view: impl FnOnce() -> Option<RolloutView>) {
        if let Some(rollout) = self.rollouts().get(id) {
            rollout.views.send_replace(view());
        }
    }

    fn rollouts(&self) -> std::sync::MutexGuard<'_, HashMap<WorkloadId, Rollout>> {
        self.0.rollouts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rollouts for Followed {
    fn follow(&self, id: &WorkloadId) {
        let (views, seen) = watch::channel(None);
        let (shared, of) = (self.0.clone(), id.clone());
        let task = tokio::spawn(async move { _ = shared.follow(of, seen).await });
        self.rollouts().insert(id.clone(), Rollout { views, task });
    }

    fn unfollow(&self, id: &WorkloadId) {
        self.rollouts().remove(id);
    }

    fn free(&self, id: &WorkloadId, failed: Vec<Change>) {
        let (shared, id) = (self.0.clone(), id.clone());
        tokio::spawn(async move { shared.free(&id, &failed).await });
    }
}

/// Whether its controller has made the revision. Where the old pods go first that comes with the first new pod.
fn is_under_way(view: &RolloutView) -> bool {
    view.observed >= view.generation && (view.updated > 0 || !view.is_recreate) && !view.is_paused
}

/// Nobody listens any more, or the workload is gone.
struct Ended;

impl Shared {
    async fn follow(
        self: Arc<Self>,
        id: WorkloadId,
        mut seen: watch::Receiver<Option<RolloutView>>,
    ) -> Result<(), Ended> {
        // Boxed, as what only begins it is not to take room for as long as it lasts.
        let Some((first, selected)) = self.read(&id).boxed().await else { return Ok(()) };
        // What was seen meanwhile is newer, and may be of the same template.
        let (template, of) = first.as_ref().map(|view| (view.template.clone(), view.generation)).unwrap_or_default();
        let known =
            |view: RolloutView| RolloutView { template: template.clone().filter(|_| view.generation == of), ..view };
        let mut view = seen.borrow_and_update().clone().map(known).or(first);
        let mut revision: Option<Revision> = None;
        let mut of_generation = None;
        let nothing = || std::future::pending().boxed();
        let mut pods: BoxFuture<'_, Result<(), Ended>> = nothing();
        loop {
            if let Some(view) = &view {
                self.send(ClusterChange::Rollout(id.clone(), view.clone())).await?;
            }
            // While it is paused nothing is told of it, and others have its turn.
            if view.as_ref().is_some_and(|view| view.is_paused) {
                (revision, of_generation, pods) = (None, None, nothing());
            }
            let under_way = view.as_ref().filter(|view| is_under_way(view));
            if let Some(view) = under_way.filter(|view| of_generation != Some(view.generation)) {
                of_generation = Some(view.generation);
                match self.revision(&id, &selected, view).boxed().await {
                    Ok(found) if found != revision => {
                        // What the pods of another one said does not count.
                        self.send(ClusterChange::Pods(id.clone(), Pods::default())).await?;
                        pods = match &found {
                            Some(new) => self.clone().pods(id.clone(), selected.of(new)).boxed(),
                            None => nothing(),
                        };
                        revision = found;
                    }
                    Ok(_) => {}
                    Err(why) => pods = self.clone().unread(id.clone(), why).boxed(),
                }
            }
            tokio::select! {
                changed = seen.changed() => {
                    changed.map_err(|_| Ended)?;
                    view = seen.borrow_and_update().clone().or(view);
                }
                ended = &mut pods => {
                    ended?;
                    (revision, of_generation, pods) = (None, None, nothing());
                }
            }
        }
    }

    /// Which is the new revision. What fails may do so for a moment only.
    async fn revision(
        &self,
        id: &WorkloadId,
        selected: &Selected,
        view: &RolloutView,
    ) -> Result<Option<Revision>, String> {
        let mut delays = delays();
        for _ in 1..TRIES {
            match revision::newest(self, id, selected, view).await {
                Err(Unread { is_forbidden: false, .. }) => {
                    let delay = delays.next().unwrap_or(super::follow::MAX_DELAY);
                    self.clock.sleep_until(self.clock.monotonic() + delay).await;
                }
                found => return found.map_err(|unread| unread.why),
            }
        }
        revision::newest(self, id, selected, view).await.map_err(|unread| unread.why)
    }

    /// The pods of a namespace's rollouts are watched in turn.
    async fn pods(self: Arc<Self>, id: WorkloadId, selector: String) -> Result<(), Ended> {
        let of_namespace = self.turns_of(&id.namespace);
        let own = of_namespace.acquire().await.map_err(|_| Ended)?;
        let turn = self.turns.acquire().await.map_err(|_| Ended)?;
        let why = tell_pods(&self, &id, &selector).await?;
        drop((own, turn));
        self.unread(id, why).await
    }

    fn turns_of(&self, namespace: &Arc<str>) -> Arc<Semaphore> {
        let mut all = self.turns_of.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turns| turns.strong_count() > 0);
        let known = all.get(namespace).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turns = Arc::new(Semaphore::new(WATCHES_OF_ONE));
            all.insert(namespace.clone(), Arc::downgrade(&turns));
            turns
        })
    }

    async fn send(&self, change: ClusterChange) -> Result<(), Ended> {
        self.changes.reserve().await.map_err(|_| Ended)?.send(change);
        Ok(())
    }

    /// Its pods may not be read: it is judged by what it says itself, until that is tried again.
    async fn unread(self: Arc<Self>, id: WorkloadId, why: String) -> Result<(), Ended> {
        tracing::warn!(workload = %id, why, "its pods cannot be read: its rollout is judged by its status alone");
        self.send(ClusterChange::Pods(id, Pods { unread: Some(why), ..Pods::default() })).await?;
        self.clock.sleep_until(self.clock.monotonic() + AGAIN).await;
        Ok(())
    }

    /// The workload as it is now, and which pods are its; `None` if it is gone. Without the right to read it, what the watch
    /// says is all there is.
    async fn read(&self, id: &WorkloadId) -> Option<(Option<RolloutView>, Selected)> {
        let kind = id.kind.spec()?;
        let mut delays = delays();
        loop {
            let request = Request::new(Object::url_path(&kind, Some(&id.namespace)));
            let request = request.get(&id.name, &GetParams::default()).ok()?;
            let why = match in_time(&self.clock, self.client.request_text(request)).await {
                Some(Err(kube::Error::Api(status))) if status.code == 404 => return None,
                Some(Ok(text)) => {
                    let object: Object = serde_json::from_str(&text).ok()?;
                    let template = serde_json::from_str(&text).ok().map(|object| template(&object, kind));
                    let view = object.rollout().map(|view| RolloutView { template, ..view });
                    return Some((view, Selected::read(&text)));
                }
                Some(Err(kube::Error::Api(status))) if status.code == 403 => {
                    let why = failure(&kube::Error::Api(status));
                    tracing::warn!(workload = %id, why, "its rollout is judged by what its watch says alone");
                    return Some((None, Selected::default()));
                }
                Some(Err(error)) => failure(&error),
                None => "the API server did not answer in time".to_owned(),
            };
            let delay = delays.next().unwrap_or(super::follow::MAX_DELAY);
            tracing::debug!(workload = %id, why, ?delay, "its rollout cannot be read yet");
            self.clock.sleep_until(self.clock.monotonic() + delay).await;
        }
    }
}
