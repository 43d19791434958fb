//! Argo CD's Applications, of which only the names and destinations matter: a workload there whose instance label names
//! one is Argo CD's, and after a push to Git they are asked to look there.
//!
//! Whether Argo CD is installed is asked once, at the start. Without the right to list Applications the label says
//! nothing, as without Argo CD.

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use futures::future::BoxFuture;
use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::watcher,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    failure,
    follow::{ChangeSender, Closed, MAX_DELAY, Reading, Source, Without, delays, follow},
    in_time,
};
use crate::{
    domain::workload::{Application, ApplicationId},
    net::foreign,
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

/// An Application, of which its status, by far the most, is not kept. Decoding never fails for what tenants may write
/// into it, so that one odd object does not cost the whole list.
#[derive(Debug, Clone, Deserialize)]
struct Object {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
}

/// They may be large.
const PAGE: u32 = 20;

/// Tells of every Application.
pub(super) async fn watch(client: Client, sender: ChangeSender) {
    let _: Result<(), Closed> = async {
        if !is_installed(&client, &sender).await {
            return sender.delivered().await;
        }
        let api: Api<Object> = Api::all_with(client, &resource());
        let config = watcher::Config::default().page_size(PAGE);
        let without = Without { note: "an instance label does not tell that Argo CD sets an image", change: None };
        let source = Source::new(api, config, "applications of Argo CD".to_owned());
        let source = Source { without: Some(without), ..source };
        let hashes = RandomState::new();
        let read = |object: Object| {
            let application = Application { id: id(&object), destination: destination(&object.spec) };
            let hash = hashes.hash_one(&application);
            (application.id.clone(), Reading::Told(hash, ClusterChange::Application(application)))
        };
        follow(source, read, id, |id| Some(ClusterChange::ApplicationGone(id)), &sender).await
    }
    .await;
}

async fn is_installed(client: &Client, sender: &ChangeSender) -> bool {
    let mut delays = delays();
    loop {
        let request = Request::get(format!("/apis/{GROUP}/{VERSION}")).body(Vec::new());
        let Ok(request) = request else { return false };
        let why = match in_time(&sender.clock, client.request::<ResourceList>(request)).await {
            Some(Ok(list)) => return list.resources.iter().any(|resource| resource.kind == KIND),
            Some(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404) => return false,
            Some(Err(error)) => failure(&error),
            None => "the API server did not answer in time".to_owned(),
        };
        tracing::warn!(error = why, "whether Argo CD is installed could not be asked");
        sender.clock.sleep_until(sender.clock.monotonic() + delays.next().unwrap_or(MAX_DELAY)).await;
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

impl Resource for Object {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn destination(spec: &Value) -> String {
    spec.pointer("/destination/namespace").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn id(object: &Object) -> ApplicationId {
    ApplicationId { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}
