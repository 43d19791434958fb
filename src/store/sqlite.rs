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
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, named_params,
};
use tokio::task;

use super::KEPT;
use crate::{
    domain::{
        update::{Tracked, UpdateId},
        workload::WorkloadId,
    },
    ports::{RecordError, Records},
};

/// Updates in one table, in the order in which they came.
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
const MIGRATIONS: &[&str] = &["
    CREATE TABLE updates (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        body TEXT NOT NULL CHECK (json_valid(body))
    ) STRICT;
    CREATE INDEX updates_of ON updates (kind, namespace, name, number);
"];

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

impl Records for Sqlite {
    fn put(&self, tracked: Tracked) -> BoxFuture<'_, Result<(), RecordError>> {
        self.run(move |file| transact(file, |all| put(all, &tracked)))
    }

    fn get<'a>(&'a self, id: &'a UpdateId) -> BoxFuture<'a, Result<Option<Tracked>, RecordError>> {
        let id = id.clone();
        self.run(move |file| {
            let sql = "SELECT body FROM updates WHERE id = ?1";
            let body: Option<String> = file.query_row(sql, [&*id.0], |row| row.get(0)).optional()?;
            body.map(|body| read(&body)).transpose()
        })
    }

    fn of<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<Vec<Tracked>, RecordError>> {
        let WorkloadId { kind, namespace, name } = workload.clone();
        self.run(move |file| {
            let sql = "SELECT body FROM updates WHERE kind = ?1 AND namespace = ?2 AND name = ?3 ORDER BY number DESC";
            let mut found = file.prepare(sql)?;
            let bodies = found.query_map([kind.as_str(), &namespace, &name], |row| row.get::<_, String>(0))?;
            bodies.map(|body| read(&body?)).collect()
        })
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

fn put(all: &Transaction<'_>, tracked: &Tracked) -> Result<(), SqliteError> {
    let update = &tracked.update;
    let body =
        serde_json::to_string(tracked).map_err(|e| SqliteError::Other(format!("it cannot hold {}: {e}", update.id)))?;
    let WorkloadId { kind, namespace, name } = &update.workload;
    all.execute(
        "INSERT INTO updates (id, kind, namespace, name, body) VALUES (:id, :kind, :namespace, :name, :body)
         ON CONFLICT (id) DO UPDATE SET kind = :kind, namespace = :namespace, name = :name, body = :body",
        named_params! {
            ":id": &*update.id.0, ":kind": kind.as_str(), ":namespace": &**namespace, ":name": &**name, ":body": body,
        },
    )?;
    all.execute(
        "DELETE FROM updates WHERE number IN (
             SELECT number FROM updates WHERE kind = :kind AND namespace = :namespace AND name = :name
             ORDER BY number DESC LIMIT -1 OFFSET :kept)",
        named_params! {
            ":kind": kind.as_str(), ":namespace": &**namespace, ":name": &**name, ":kept": KEPT as i64,
        },
    )?;
    Ok(())
}

fn read(body: &str) -> Result<Tracked, SqliteError> {
    serde_json::from_str(body)
        .map_err(|e| SqliteError::Other(format!("one of its updates does not read ({e}); {ASIDE}")))
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
