//! Argo CD's Applications, of which only the names matter: a workload whose instance label names one is Argo CD's.
//!
//! Whether Argo CD is installed is asked once, at the start. Without the right to list Applications the label says
//! nothing, as without Argo CD.

use std::hash::{BuildHasher, RandomState};

use http::Request;
use kube::{
    Api, Client, ResourceExt,
    core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
    runtime::watcher,
};
use serde::Deserialize;

use super::{
    failure, in_time,
    watch::{Closed, MAX_DELAY, Outlet, Source, Without, delays, follow},
};
use crate::{domain::workload::ApplicationId, ports::ClusterChange};

const GROUP: &str = "argoproj.io";
const VERSION: &str = "v1alpha1";
const KIND: &str = "Application";

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
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, KIND));
        let api: Api<Application> = Api::all_with(client, &resource);
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

fn id(object: &Application) -> ApplicationId {
    ApplicationId { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}
