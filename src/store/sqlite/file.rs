//! The file itself: opened, brought to this format, worked on.

use std::{
    fmt,
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tokio::task;

use crate::ports::{Clock, RecordError};

/// A file of what is remembered.
#[derive(Clone)]
pub struct Sqlite {
    file: Arc<Opened>,
    clock: Arc<dyn Clock>,
}

struct Opened {
    path: PathBuf,
    is_new: bool,
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
    "
    CREATE TABLE sightings (
        repository TEXT NOT NULL,
        tag TEXT NOT NULL,
        digest TEXT NOT NULL,
        first_seen TEXT NOT NULL,
        pushed TEXT,
        PRIMARY KEY (repository, tag, digest)
    ) STRICT, WITHOUT ROWID;
",
];

/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(10);
/// How long to wait before asking again where SQLite itself does not wait.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a file cannot be used.
pub(super) enum SqliteError {
    Sqlite(rusqlite::Error),
    File(io::Error),
    /// Not ours, or not of this version.
    Other(String),
}

impl Sqlite {
    /// Opens the file, making it and its folder if they are not there. It must be on a local disk. Blocks while it
    /// reads it.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, RecordError> {
        let (connection, is_new) = connect(path).map_err(|trouble| explain(path, trouble))?;
        let file = Opened { path: path.to_owned(), is_new, connection: Mutex::new(connection) };
        Ok(Self { file: Arc::new(file), clock })
    }

    /// Whether there was nothing in the file before it was opened here. What is to wait for its age then waits from now
    /// on, and for ever where the file is not kept from one run to the next.
    pub fn is_new(&self) -> bool {
        self.file.is_new
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs `work` on a thread that may block. It ends also when nobody waits for it any more.
    pub(super) fn run<T: Send + 'static>(
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

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.file.path).finish_non_exhaustive()
    }
}

/// All or nothing. Writers wait for one another at its begin: of two that began as readers, one would fail at once.
pub(super) fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, SqliteError>,
) -> Result<T, SqliteError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

/// And whether it is new.
fn connect(path: &Path) -> Result<(Connection, bool), SqliteError> {
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
    let is_new = transact(&mut connection, migrate)?;
    let health: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if health != "ok" {
        return Err(SqliteError::Other(format!("it is damaged ({health}); {ASIDE}")));
    }
    Ok((connection, is_new))
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

/// Whether it was new.
fn migrate(file: &Transaction<'_>) -> Result<bool, SqliteError> {
    // Another process may have come first.
    let version = version(file)?;
    for (n, step) in MIGRATIONS.iter().enumerate().skip(version) {
        file.execute_batch(step)?;
        file.pragma_update(None, "application_id", APPLICATION)?;
        file.pragma_update(None, "user_version", n as i64 + 1)?;
    }
    Ok(version == 0)
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
pub(super) const ASIDE: &str = "move it aside, together with its -wal and -shm, or put a copy in its place";

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
