//! Updates in one table, in the order in which they came; what is remembered by a workload's name in another.

use futures::future::BoxFuture;
use rusqlite::{Connection, ToSql, Transaction, named_params};
use serde::{Serialize, de::DeserializeOwned};

use super::file::{ASIDE, Sqlite, SqliteError, transact};
use crate::{
    domain::{
        update::{KEPT, Tracked, UpdateId, WorkloadState},
        workload::WorkloadId,
    },
    ports::{ClusterChange, PutError, RecordError, Records, Version},
};

impl Records for Sqlite {
    fn put<'a>(&'a self, update: &'a Tracked, seen: Option<&'a Version>) -> BoxFuture<'a, Result<Version, PutError>> {
        let (update, seen) = (update.clone(), seen.cloned());
        let put = self.run(move |file| transact(file, |all| put(all, &update, seen.as_ref())));
        Box::pin(async move { put.await?.ok_or(PutError::Conflict) })
    }

    fn get<'a>(
        &'a self,
        workload: &'a WorkloadId,
        id: &'a UpdateId,
    ) -> BoxFuture<'a, Result<Option<(Tracked, Version)>, RecordError>> {
        let (id, workload) = (id.clone(), workload.clone());
        self.run(move |file| {
            let found: Vec<(Tracked, Version)> =
                all(file, "SELECT body, version FROM updates WHERE id = ?1", [&*id.0])?;
            Ok(found.into_iter().find(|(found, _)| found.update.workload == workload))
        })
    }

    fn of<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<Vec<(Tracked, Version)>, RecordError>> {
        let WorkloadId { kind, namespace, name } = workload.clone();
        self.run(move |file| {
            let sql = "SELECT body, version FROM updates WHERE kind = ?1 AND namespace = ?2 AND name = ?3
                 ORDER BY number DESC";
            all(file, sql, [kind.as_str(), &namespace, &name])
        })
    }

    fn state<'a>(
        &'a self,
        workload: &'a WorkloadId,
    ) -> BoxFuture<'a, Result<Option<(WorkloadState, Version)>, RecordError>> {
        let WorkloadId { kind, namespace, name } = workload.clone();
        self.run(move |file| {
            let sql = "SELECT body, version FROM states WHERE kind = ?1 AND namespace = ?2 AND name = ?3";
            Ok(all(file, sql, [kind.as_str(), &namespace, &name])?.pop())
        })
    }

    fn put_state<'a>(
        &'a self,
        state: &'a WorkloadState,
        seen: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Version, PutError>> {
        let (state, seen) = (state.clone(), seen.cloned());
        let put = self.run(move |file| transact(file, |all| put_state(all, &state, seen.as_ref())));
        Box::pin(async move { put.await?.ok_or(PutError::Conflict) })
    }

    fn forget<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), RecordError>> {
        let WorkloadId { kind, namespace, name } = workload.clone();
        self.run(move |file| {
            let sql = "DELETE FROM updates WHERE kind = ?1 AND namespace = ?2 AND name = ?3";
            file.execute(sql, [kind.as_str(), &namespace, &name])?;
            Ok(())
        })
    }
}

/// The updates that have not ended, and what is remembered by the names of workloads.
pub(super) fn known(file: &Connection) -> Result<Vec<ClusterChange>, SqliteError> {
    let updates = all(file, "SELECT body, version FROM updates WHERE ended = 0 ORDER BY number", [])?;
    let updates = updates.into_iter().map(|(update, version)| ClusterChange::Record(Box::new(update), version, None));
    let states = all(file, "SELECT body, version FROM states", [])?;
    let states = states.into_iter().map(|(state, version)| ClusterChange::State(state, version, None));
    Ok(states.chain(updates).collect())
}

/// The version that it has now; `None` if it is not there as it was seen.
fn put(all: &Transaction<'_>, tracked: &Tracked, seen: Option<&Version>) -> Result<Option<Version>, SqliteError> {
    let update = &tracked.update;
    let WorkloadId { kind, namespace, name } = &update.workload;
    let (id, body, ended) = (&*update.id.0, json(tracked, &update.workload)?, tracked.phase.is_over());
    let changed = match number(seen) {
        None => all.execute(
            "INSERT INTO updates (id, kind, namespace, name, body, ended)
             VALUES (:id, :kind, :namespace, :name, :body, :ended) ON CONFLICT (id) DO NOTHING",
            named_params! {
                ":id": id, ":kind": kind.as_str(), ":namespace": &**namespace, ":name": &**name, ":body": body,
                ":ended": ended,
            },
        )?,
        Some(seen) => all.execute(
            "UPDATE updates SET body = :body, ended = :ended, version = version + 1 WHERE id = :id AND version = :seen",
            named_params! { ":id": id, ":body": body, ":ended": ended, ":seen": seen },
        )?,
    };
    all.execute(
        "DELETE FROM updates WHERE number IN (
             SELECT number FROM updates WHERE kind = :kind AND namespace = :namespace AND name = :name AND ended
             ORDER BY number DESC LIMIT -1 OFFSET :kept)",
        named_params! {
            ":kind": kind.as_str(), ":namespace": &**namespace, ":name": &**name, ":kept": KEPT as i64,
        },
    )?;
    Ok((changed > 0).then(|| next(seen)))
}

/// As [`put`].
fn put_state(
    all: &Transaction<'_>,
    state: &WorkloadState,
    seen: Option<&Version>,
) -> Result<Option<Version>, SqliteError> {
    let WorkloadId { kind, namespace, name } = &state.workload;
    let key = [(":kind", kind.as_str()), (":namespace", &**namespace), (":name", &**name)];
    let body = json(state, &state.workload)?;
    let mut values: Vec<(&str, &dyn ToSql)> = key.iter().map(|(name, value)| (*name, value as &dyn ToSql)).collect();
    values.push((":body", &body));
    let seen_number = number(seen);
    let sql = match &seen_number {
        None => {
            "INSERT INTO states (kind, namespace, name, version, body) VALUES (:kind, :namespace, :name, 1, :body)
             ON CONFLICT DO NOTHING"
        }
        Some(seen) => {
            values.push((":seen", seen));
            "UPDATE states SET body = :body, version = version + 1
             WHERE kind = :kind AND namespace = :namespace AND name = :name AND version = :seen"
        }
    };
    Ok((all.execute(sql, &values[..])? > 0).then(|| next(seen)))
}

/// The number of a version; what no version of ours is was never given.
fn number(version: Option<&Version>) -> Option<i64> {
    version.map(|Version(text)| text.parse().unwrap_or(-1))
}

fn next(seen: Option<&Version>) -> Version {
    Version((number(seen).unwrap_or(0) + 1).to_string().into())
}

fn json(what: &impl Serialize, of: &WorkloadId) -> Result<String, SqliteError> {
    serde_json::to_string(what)
        .map_err(|e| SqliteError::Other(format!("it cannot hold what is remembered of {of}: {e}")))
}

/// Rows of a body and its version.
fn all<T: DeserializeOwned>(
    file: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<(T, Version)>, SqliteError> {
    let mut found = file.prepare(sql)?;
    let rows = found.query_map(params, |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let read = |row: rusqlite::Result<(String, i64)>| {
        let (body, version) = row?;
        let read = serde_json::from_str(&body);
        let read = read.map_err(|e| SqliteError::Other(format!("one of its records does not read ({e}); {ASIDE}")))?;
        Ok((read, Version(version.to_string().into())))
    };
    rows.map(read).collect()
}
