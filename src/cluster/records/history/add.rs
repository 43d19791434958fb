//! The port: what was seen is merged into what stands there, and written where that has not changed meanwhile.

use futures::future::BoxFuture;
use serde_json::json;

use super::{INSTALL, ImageHistory, There, name, read, status};
use crate::{
    cluster::records::{
        object::Custom,
        requests::Failure,
        store::{CustomResources, MANAGED_BY},
    },
    domain::history::{Seen, Sighting},
    ports::{Histories, PutError, Version},
};

/// As often it is read again where somebody else has written meanwhile. Each time that one has got on.
const TRIES: usize = 100;

impl Histories for CustomResources {
    fn add<'a>(&'a self, seen: &'a Seen) -> BoxFuture<'a, Result<Vec<Sighting>, PutError>> {
        Box::pin(async move {
            let namespace = self.requests.client.default_namespace();
            for _ in 0..TRIES {
                match self.add_once(namespace, seen).await {
                    Ok(merged) => return Ok(merged),
                    Err(Failure::NotAsSeen | Failure::Taken) => {}
                    Err(failure) => return Err(put_error(failure, namespace)),
                }
            }
            Err(PutError::Conflict)
        })
    }
}

impl CustomResources {
    async fn add_once(&self, namespace: &str, seen: &Seen) -> Result<Vec<Sighting>, Failure> {
        let name = name(&seen.repository);
        let (there, version) = match self.requests.read::<ImageHistory>(namespace, &name).await? {
            Some(found) => {
                let not_ours = |why| {
                    let kind = ImageHistory::KIND;
                    Failure::Refused(format!(
                        "the {kind} {name} in the namespace {namespace} is no record of ours, delete it: {why}"
                    ))
                };
                let (of, there) = read(&found).map_err(&not_ours)?;
                if of != seen.repository {
                    return Err(not_ours(format!("it is of {of}")));
                }
                (there, Version(found.resource_version().into()))
            }
            None => (There::default(), self.create_history(namespace, &name, seen).await?),
        };
        let merged = seen.merged(there.sightings.iter().cloned(), self.requests.clock.now());
        if merged == there.sightings {
            return Ok(merged);
        }
        let status = status(&merged, there.more);
        self.requests.put_status::<ImageHistory>(namespace, &name, &version, &status).await?;
        Ok(merged)
    }

    async fn create_history(&self, namespace: &str, name: &str, seen: &Seen) -> Result<Version, Failure> {
        let metadata = json!({"name": name, "namespace": namespace, "labels": {MANAGED_BY: "supercargo"}});
        let spec = json!({"repository": seen.repository.to_string()});
        self.requests.create::<ImageHistory>(namespace, metadata, spec).await
    }
}

/// With what to do about it.
fn put_error(failure: Failure, namespace: &str) -> PutError {
    match failure {
        Failure::NoKind(words) => PutError::Unavailable(format!("{words}; {INSTALL}")),
        Failure::NoRight(words) => {
            let role = format!("an administrator gives the rights of deploy/base in the namespace {namespace}");
            PutError::Refused(format!("{words}; {role}"))
        }
        failure => failure.into(),
    }
}
