//! What is remembered of repositories in all namespaces, for commands.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use kube::{
    Client, Resource as _,
    api::ListParams,
    core::{ObjectList, Request},
};

use super::{ImageHistory, read};
use crate::{
    cluster::{
        failure, in_time,
        records::{object::Found, requests::PAGE},
    },
    domain::{
        history::Sighting,
        image::{Digest, Repository, Tag},
    },
    ports::{Clock, ClusterError},
};

/// By tag and digest.
type OfRepository = HashMap<(Tag, Digest), Sighting>;

/// What is remembered of every repository, read once. Where several operators remember the same, the youngest of it counts:
/// nothing is shown older than it is to one of them. `None` where the cluster does not have the kind.
pub async fn histories(
    client: Client,
    clock: Arc<dyn Clock>,
) -> Result<Option<Vec<(Repository, Vec<Sighting>)>>, ClusterError> {
    let collection = Request::new(Found::<ImageHistory>::url_path(&(), None));
    let mut params = ListParams::default().limit(PAGE);
    let mut all: HashMap<Repository, OfRepository> = HashMap::new();
    loop {
        let request = collection.list(&params).map_err(|error| ClusterError(error.to_string()))?;
        let page: ObjectList<Found<ImageHistory>> = match in_time(&clock, client.request(request)).await {
            Some(Ok(page)) => page,
            Some(Err(kube::Error::Api(status))) if status.code == 404 => return Ok(None),
            Some(Err(kube::Error::Api(status))) if status.code == 403 => {
                return Err(ClusterError("the right to list imagehistories in all namespaces is missing".to_owned()));
            }
            Some(Err(error)) => return Err(ClusterError(failure(&error))),
            None => return Err(ClusterError("the API server did not answer in time".to_owned())),
        };
        for (repository, there) in page.items.iter().filter_map(|found| read(found).ok()) {
            let known = all.entry(repository).or_default();
            there.sightings.into_iter().for_each(|sighting| take(known, sighting));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => break,
        }
    }
    Ok(Some(all.into_iter().map(|(repository, known)| (repository, known.into_values().collect())).collect()))
}

fn take(known: &mut OfRepository, sighting: Sighting) {
    let since = |sighting: &Sighting| -> Timestamp { sighting.pushed.unwrap_or(sighting.first_seen) };
    let key = (sighting.tag.clone(), sighting.digest.clone());
    let other = known.get(&key);
    if other.is_none_or(|other| since(other) < since(&sighting)) {
        known.insert(key, sighting);
    }
}
