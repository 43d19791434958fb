//! Argo CD's Applications, of which only the names matter: a workload whose instance label names one is Argo CD's, and
//! after a push to Git they are asked to look there.
//!
//! Whether Argo CD is installed is asked once, at the start. Without the right to list Applications the label says
//! nothing, as without Argo CD.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use futures::future::BoxFuture;
use http::Request;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
    runtime::watcher,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    failure, foreign, in_time,
    watch::{Closed, MAX_DELAY, Outlet, Source, Without, delays, follow},
};
use crate::{
    domain::workload::ApplicationId,
    ports::{Clock, ClusterChange, ClusterError, Refresh},
};

const GROUP: &str = "argoproj.io";
const VERSION: &str = "v1alpha1";
const KIND: &str = "Application";
/// Argo CD takes it away when it has looked.
const REFRESH: &str = "argocd.argoproj.io/refresh";

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<ApiObject>,
}

#[derive(Deserialize)]
struct ApiObject {
    kind: String,
}

type Application = PartialObjectMeta<DynamicObject>;

/// Tells of every Application.
pub(super) async fn watch(client: Client, outlet: Outlet) {
    let _: Result<(), Closed> = async {
        if !is_installed(&client, &outlet).await {
            return outlet.delivered().await;
        }
        let api: Api<Application> = Api::all_with(client, &resource());
        let source = Source {
            api,
            config: watcher::Config::default(),
            what: "applications of Argo CD".to_owned(),
            without: Some(Without { note: "an instance label does not tell that Argo CD sets an image", change: None }),
        };
        let hashes = RandomState::new();
        let read = |object: Application| {
            let id = id(&object);
            (id.clone(), hashes.hash_one(&id), ClusterChange::Application(id))
        };
        follow(source, read, id, ClusterChange::ApplicationGone, &outlet).await
    }
    .await;
}

async fn is_installed(client: &Client, outlet: &Outlet) -> bool {
    let mut delays = delays();
    loop {
        let request = Request::get(format!("/apis/{GROUP}/{VERSION}")).body(Vec::new());
        let Ok(request) = request else { return false };
        let why = match in_time(&outlet.clock, client.request::<ResourceList>(request)).await {
            Some(Ok(list)) => return list.resources.iter().any(|resource| resource.kind == KIND),
            Some(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404) => return false,
            Some(Err(error)) => failure(&error),
            None => "the API server did not answer in time".to_owned(),
        };
        tracing::warn!(error = why, "whether Argo CD is installed could not be asked");
        outlet.clock.sleep_until(outlet.clock.monotonic() + delays.next().unwrap_or(MAX_DELAY)).await;
    }
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, KIND))
}

/// Asks Argo CD to look at Git.
#[derive(Clone)]
pub struct Applications {
    client: Client,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Applications {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Applications")
    }
}

impl Applications {
    /// Makes no request yet.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self { client, clock }
    }

    async fn asked<T>(&self, what: &str, request: impl Future<Output = kube::Result<T>>) -> Result<T, ClusterError> {
        let why = match in_time(&self.clock, request).await {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(kube::Error::Api(status))) if status.code == 403 => {
                format!("{}; grant it (see deploy/components/argocd-refresh)", foreign(&status.message))
            }
            Some(Err(error)) => failure(&error),
            None => "the API server did not answer in time".to_owned(),
        };
        Err(ClusterError(format!("{what}: {why}")))
    }
}

impl Refresh for Applications {
    fn refresh<'a>(
        &'a self,
        namespace: &'a str,
        wanted: &'a (dyn Fn(&str) -> bool + Send + Sync),
    ) -> BoxFuture<'a, Result<usize, ClusterError>> {
        Box::pin(async move {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource());
            let everything = ListParams::default();
            let all = self.asked("the Applications could not be listed", api.list_metadata(&everything)).await?;
            let names: Vec<String> =
                all.items.iter().map(ResourceExt::name_any).filter(|name| wanted(name.as_str())).collect();
            let patch = Patch::Merge(json!({"metadata": {"annotations": {REFRESH: "normal"}}}));
            for name in &names {
                let what = format!("the Application {name} could not be refreshed");
                self.asked(&what, api.patch_metadata(name, &PatchParams::default(), &patch)).await?;
            }
            Ok(names.len())
        })
    }
}

fn id(object: &Application) -> ApplicationId {
    ApplicationId { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}
