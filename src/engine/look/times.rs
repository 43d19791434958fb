//! The times of tags, which `newest` policies compare.

use std::collections::{BTreeSet, HashSet};

use futures::{StreamExt, TryStreamExt, stream};

use super::question::{Order, Snapshot};
use crate::{
    domain::image::{Digest, Tag},
    ports::{Registry, RegistryError, RegistryErrorKind},
};

/// Requests of one look that may be under way at once.
const CONCURRENT: usize = 4;

/// Asks for the digest of every tag that `newest` policies must compare, and for the times of digests not yet known.
pub(crate) async fn fetch_times(
    registry: &dyn Registry,
    order: &Order,
    mut wanted: BTreeSet<Tag>,
    narrow: bool,
    snapshot: &mut Snapshot,
) -> Result<(), RegistryError> {
    if narrow {
        wanted.retain(|tag| !snapshot.digests.contains_key(tag) || order.hinted.contains(tag));
    }
    let known = &snapshot.times;
    let source = &*order.source;
    let found: Vec<_> = stream::iter(wanted)
        .map(|tag| async move {
            let digest = match registry.digest(source, &tag).await {
                Ok(digest) => digest,
                // Deleted since the listing.
                Err(error) if error.kind == RegistryErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            if known.contains_key(&digest) {
                return Ok(Some((tag, digest, None)));
            }
            let image = registry.image(source, &tag).await?;
            Ok(Some((tag, image.digest, Some((image.pushed, image.created)))))
        })
        .buffer_unordered(CONCURRENT)
        .try_collect()
        .await?;
    for (tag, digest, times) in found.into_iter().flatten() {
        if let Some(times) = times {
            snapshot.times.insert(digest.clone(), times);
        }
        snapshot.digests.insert(tag, digest);
    }
    // Times of images that no tag points to any more are not kept.
    let live: HashSet<&Digest> = snapshot.digests.values().collect();
    snapshot.times.retain(|digest, _| live.contains(digest));
    Ok(())
}
