//! Records in a file of SQLite, for where there is no cluster to keep them. Several processes may share the file.
//!
//! A file that is damaged, or that something else or a newer supercargo wrote, is reported and left as it is.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use futures::future::BoxFuture;
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, Transaction, TransactionBehavior, named_params};
use serde::{Serialize, de::DeserializeOwned};
use tokio::task;

use crate::{
    domain::{
        update::{KEPT, Tracked, UpdateId, WorkloadState},
        workload::WorkloadId,
    },
    ports::{ClusterChange, PutError, RecordError, Records, Version},
};

/// Updates in one table, in the order in which they came; what is remembered by a workload's name in another.
#[derive(Debug, Clone)]
pub struct Sqlite {
    file: Arc<Opened>,
}

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    // Held only on threads that may block.
    connection: Mutex<Connection>,
}

/// Marks a file as ours (`PRAGMA application_id`): "SCGO".
const APPLICATION: i32 = 0x5343_474f;

/// Each brings the file from the format of its place to the next. Old ones are never changed.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE updates (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        body TEXT NOT NULL CHECK (json_valid(body))
    ) STRICT;
    CREATE INDEX updates_of ON updates (kind, namespace, name, number);
",
    "
    ALTER TABLE updates ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE updates ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;
    UPDATE updates SET body = json_set(body, '$.phase', 'Succeeded') WHERE body ->> '$.phase' = 'Progressing';
    UPDATE updates SET ended = 1 WHERE body ->> '$.phase' IN ('Succeeded', 'Superseded');
    CREATE TABLE states (
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        body TEXT NOT NULL CHECK (json_valid(body)),
        PRIMARY KEY (kind, namespace, name)
    ) STRICT;
",
];

/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(10);
/// How long to wait before asking again where SQLite itself does not wait.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a file cannot be used.
enum SqliteError {
    Sqlite(rusqlite::Error),
    File(io::Error),
    /// Not ours, or not of this version.
    Other(String),
}

impl Sqlite {
    /// Opens the file, making it and its folder if they are not there. It must be on a local disk. Blocks while it
    /// reads it.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let connection = connect(path).map_err(|trouble| explain(path, trouble))?;
        let file = Opened { path: path.to_owned(), connection: Mutex::new(connection) };
        Ok(Self { file: Arc::new(file) })
    }

    /// Runs `work` on a thread that may block. It ends also when nobody waits for it any more.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, SqliteError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, RecordError>> {
        let file = self.file.clone();
        Box::pin(async move {
            let path = file.path.clone();
            let done = task::spawn_blocking(move || {
                let mut connection = file.connection.lock().unwrap_or_else(PoisonError::into_inner);
                work(&mut connection).map_err(|trouble| explain(&file.path, trouble))
            });
            done.await.unwrap_or_else(|error| Err(RecordError(format!("{}: {error}", path.display()))))
        })
    }
}

impl Sqlite {
    /// The updates that have not ended, and what is remembered by the names of workloads.
    pub fn known(&self) -> BoxFuture<'static, Result<Vec<ClusterChange>, RecordError>> {
        self.run(|file| {
            let updates = all(file, "SELECT body, version FROM updates WHERE ended = 0 ORDER BY number", [])?;
            let updates = updates.into_iter().map(|(update, version)| ClusterChange::Record(Box::new(update), version));
            let states = all(file, "SELECT body, version FROM states", [])?;
            let states = states.into_iter().map(|(state, version)| ClusterChange::State(state, version));
            Ok(states.chain(updates).collect())
        })
    }
}

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

/// All or nothing. Writers wait for one another at its begin: of two that began as readers, one would fail at once.
fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, SqliteError>,
) -> Result<T, SqliteError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

fn connect(path: &Path) -> Result<Connection, SqliteError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // SQLite gives its other files the mode of this one.
    File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    // Without the flag for URIs: a name such as `file:x?mode=memory` is a name.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // Looked at before anything in it changes.
    version(&connection)?;
    write_ahead(&connection)?;
    // What a loss of power may take, never a kill, is the newest commits: they are in the repository's history too.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    transact(&mut connection, migrate)?;
    let health: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if health == "ok" { Ok(connection) } else { Err(SqliteError::Other(format!("it is damaged ({health}); {ASIDE}"))) }
}

/// The format of the file, 0 if it is new. An error if it is not ours.
fn version(connection: &Connection) -> Result<usize, SqliteError> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (application, version, tables) == (0, 0, 0) {
        return Ok(0);
    }
    if application != APPLICATION {
        return Err(SqliteError::Other("another program's database: name another file".to_owned()));
    }
    match usize::try_from(version) {
        Ok(version) if version <= MIGRATIONS.len() => Ok(version),
        _ => Err(SqliteError::Other(format!(
            "format {version} is not known here, only up to {}: run the newer supercargo that wrote it, or name another \
             file",
            MIGRATIONS.len()
        ))),
    }
}

fn migrate(file: &Transaction<'_>) -> Result<(), SqliteError> {
    // Another process may have come first.
    for (n, step) in MIGRATIONS.iter().enumerate().skip(version(file)?) {
        file.execute_batch(step)?;
        file.pragma_update(None, "application_id", APPLICATION)?;
        file.pragma_update(None, "user_version", n as i64 + 1)?;
    }
    Ok(())
}

/// Readers and a writer do not wait for one another. SQLite does not wait for others that switch this on.
fn write_ahead(connection: &Connection) -> Result<(), SqliteError> {
    let mut waited = Duration::ZERO;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) && waited < BUSY => {
                thread::sleep(PAUSE);
                waited += PAUSE;
            }
            done => return Ok(done?),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// What to do about a file that cannot be read; it is never overwritten.
const ASIDE: &str = "move it aside, together with its -wal and -shm, or put a copy in its place";

fn explain(path: &Path, trouble: SqliteError) -> RecordError {
    let what = match trouble {
        SqliteError::Other(what) => what,
        SqliteError::File(error) => format!("{error}; the file and its folder must be writable, or name another file"),
        SqliteError::Sqlite(error) => match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => format!("no database, or a damaged one; {ASIDE}, or name another file"),
            Some(ErrorCode::DatabaseCorrupt) => format!("it is damaged ({error}); {ASIDE}"),
            Some(ErrorCode::DiskFull) => "the disk is full: make room".to_owned(),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
                format!("{error}; the file and its folder must be writable, or name another file")
            }
            _ if is_busy(&error) => format!("another process has held it for {} s", BUSY.as_secs()),
            _ => error.to_string(),
        },
    };
    RecordError(format!("{}: {what}", path.display()))
}

impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<io::Error> for SqliteError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}
