//! What is recorded, for people: as it stands in the API server, also what this version does not know.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use kube::{
    Client, Resource as _,
    api::ListParams,
    core::{ObjectList, Request},
};
use serde::Serialize;

use super::{
    names,
    object::Found,
    requests::collection,
    store::WORKLOAD,
    update::{ImageUpdate, Spec, Status},
};
use crate::{
    cluster::{failure, in_time},
    domain::workload::WorkloadId,
    ports::{Clock, ClusterError},
};

/// As many are read at once. The API server may say so many more times that there are more.
const PAGE: u32 = 250;

/// Whose updates.
#[derive(Debug, Clone)]
pub enum Of {
    /// Of every namespace.
    All,
    /// Of one namespace.
    Namespace(String),
    /// Of one workload.
    Workload(WorkloadId),
}

/// An update as it is recorded. As JSON: one object with the fields of `spec` and `status`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// The object's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    #[serde(flatten)]
    spec: Spec,
    #[serde(flatten)]
    status: Status,
}

/// Every update, and why some are left out.
pub async fn recorded(
    client: Client,
    clock: Arc<dyn Clock>,
    of: &Of,
) -> Result<(Vec<Recorded>, Vec<String>), ClusterError> {
    let mut params = ListParams::default().limit(PAGE);
    let collection = match of {
        Of::All => Request::new(Found::<ImageUpdate>::url_path(&(), None)),
        Of::Namespace(namespace) => collection::<ImageUpdate>(namespace).map_err(ClusterError)?,
        Of::Workload(workload) => {
            params = params.labels(&format!("{WORKLOAD}={}", names::label(workload)));
            collection::<ImageUpdate>(&workload.namespace).map_err(ClusterError)?
        }
    };
    let (mut updates, mut left_out) = (Vec::new(), Vec::new());
    loop {
        let request = collection.list(&params).map_err(|error| ClusterError(error.to_string()))?;
        let page: ObjectList<Found<ImageUpdate>> = match in_time(&clock, client.request(request)).await {
            Some(page) => page.map_err(|error| ClusterError(why(&error, of)))?,
            None => return Err(ClusterError("the API server did not answer in time".to_owned())),
        };
        for found in page.items {
            match Recorded::new(&found) {
                Ok(update) => updates.push(update),
                Err(why) => left_out.push(format!("{}/{}: left out: {why}", found.namespace(), found.name())),
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok((updates, left_out)),
        }
    }
}

fn why(error: &kube::Error, of: &Of) -> String {
    let said = failure(error);
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!(
                "the updates {of} may not be read: {said}; ask for the right to list imageupdates of supercargo.dev"
            )
        }
        kube::Error::Api(status) if status.code == 404 => "this cluster does not have the definitions of supercargo's records: an administrator runs `supercargo crds | kubectl \
             apply --server-side -f -`"
            .to_owned(),
        _ => said,
    }
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("of all namespaces"),
            Self::Namespace(namespace) => write!(f, "of the namespace {namespace}"),
            Self::Workload(workload) => write!(f, "of {workload}"),
        }
    }
}

impl Recorded {
    fn new(found: &Found<ImageUpdate>) -> Result<Self, String> {
        let object = found.object.as_ref().map_err(Clone::clone)?;
        Ok(Self {
            name: found.name().to_owned(),
            namespace: found.namespace().to_owned(),
            created_at: object.metadata.creation_timestamp,
            spec: object.spec.clone(),
            status: object.status.clone().unwrap_or_default(),
        })
    }

    /// `shop/Deployment/web`
    pub fn workload(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.spec.workload.kind, self.spec.workload.name)
    }

    /// The image that was there and the image to run, of the first container.
    pub fn images(&self) -> [&str; 2] {
        self.spec.images()
    }

    /// Empty where nothing was said of it yet.
    pub fn phase(&self) -> &str {
        &self.status.phase
    }

    /// The code of the reason, or nothing.
    pub fn waiting_for(&self) -> &str {
        self.status.code()
    }

    /// Whether nothing more is done for it.
    pub fn is_over(&self) -> bool {
        super::update::ENDS.contains(&self.phase())
    }
}
