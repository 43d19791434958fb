//! When it was first seen what tags point to. What does not read is as if it had not been seen: it makes a version younger,
//! never older.

use std::cmp::Reverse;

use futures::future::BoxFuture;
use rusqlite::{Connection, Row, Transaction, named_params};

use super::file::{Sqlite, SqliteError, transact};
use crate::{
    domain::{
        history::{Seen, Sighting},
        image::{Digest, Repository, Tag},
    },
    ports::{ClusterChange, Histories, PutError},
};

impl Histories for Sqlite {
    fn add<'a>(&'a self, seen: &'a Seen) -> BoxFuture<'a, Result<Vec<Sighting>, PutError>> {
        let (seen, now) = (seen.clone(), self.now());
        let added = self.run(move |file| {
            transact(file, |all| {
                let before = of(all, &seen.repository)?;
                let merged = seen.merged(before.iter().cloned(), now);
                if merged != before {
                    replace(all, &seen.repository, &merged)?;
                }
                Ok(merged)
            })
        });
        Box::pin(async move { Ok(added.await?) })
    }
}

/// What was seen of every repository.
pub(super) fn known(file: &Connection) -> Result<Vec<ClusterChange>, SqliteError> {
    let mut known: Vec<(Repository, Vec<Sighting>)> = Vec::new();
    let mut all =
        file.prepare("SELECT tag, digest, first_seen, pushed, repository FROM sightings ORDER BY repository")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let Ok(repository) = Repository::parse(&row.get::<_, String>("repository")?) else { continue };
        let Some(sighting) = sighting(row)? else { continue };
        match known.last_mut().filter(|(last, _)| *last == repository) {
            Some((_, sightings)) => sightings.push(sighting),
            None => known.push((repository, vec![sighting])),
        }
    }
    let known = known.into_iter().map(|(repository, sightings)| ClusterChange::History(repository, sightings));
    Ok(known.chain([ClusterChange::HistoriesKept(Ok(()))]).collect())
}

/// In the order of [`Seen::merged`].
fn of(all: &Transaction<'_>, repository: &Repository) -> Result<Vec<Sighting>, SqliteError> {
    let mut of = all
        .prepare("SELECT tag, digest, first_seen, pushed FROM sightings WHERE repository = ?1 ORDER BY tag, digest")?;
    let mut rows = of.query([repository.to_string()])?;
    let mut sightings = Vec::new();
    while let Some(row) = rows.next()? {
        sightings.extend(sighting(row)?);
    }
    sightings.sort_by_key(|sighting: &Sighting| Reverse(sighting.first_seen));
    Ok(sightings)
}

/// `None` if it does not read.
fn sighting(row: &Row<'_>) -> Result<Option<Sighting>, SqliteError> {
    let (tag, digest): (String, String) = (row.get("tag")?, row.get("digest")?);
    let (first_seen, pushed): (String, Option<String>) = (row.get("first_seen")?, row.get("pushed")?);
    let read = || {
        Some(Sighting {
            tag: Tag::parse(&tag).ok()?,
            digest: Digest::parse(&digest).ok()?,
            first_seen: first_seen.parse().ok()?,
            pushed: pushed.map(|pushed| pushed.parse()).transpose().ok()?,
        })
    };
    Ok(read())
}

fn replace(all: &Transaction<'_>, repository: &Repository, sightings: &[Sighting]) -> Result<(), SqliteError> {
    let repository = repository.to_string();
    all.execute("DELETE FROM sightings WHERE repository = ?1", [&repository])?;
    let mut insert = all.prepare(
        "INSERT INTO sightings (repository, tag, digest, first_seen, pushed)
         VALUES (:repository, :tag, :digest, :first_seen, :pushed)",
    )?;
    for Sighting { tag, digest, first_seen, pushed } in sightings {
        insert.execute(named_params! {
            ":repository": repository, ":tag": tag.as_str(), ":digest": digest.as_str(),
            ":first_seen": first_seen.to_string(), ":pushed": pushed.map(|pushed| pushed.to_string()),
        })?;
    }
    Ok(())
}
