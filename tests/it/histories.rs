//! Stores of when tags were first seen: the suite for those without a cluster, and what only a file has to show.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use rusqlite::Connection;
use supercargo::{
    domain::{
        history::{Seen, Sighting},
        image::Repository,
    },
    ports::{ClusterChange, Histories, Records},
    store::{Memory, Sqlite},
};

use crate::support::{
    clock::SimClock,
    histories::{Store, repository, sighting},
};

const NOW: &str = "2026-03-01T12:00:00.123456789Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, Arc::new(SimClock::at(NOW))).unwrap()
}

async fn add(store: &Sqlite, of: &str, sightings: Vec<Sighting>) {
    store.add(&Seen { repository: repository(of), sightings, listed: None }).await.unwrap();
}

/// What a store tells at the start of each repository.
async fn histories(store: &Sqlite) -> Vec<(Repository, Vec<Sighting>)> {
    let history = |change| match change {
        ClusterChange::History(repository, sightings) => Some((repository, sightings)),
        _ => None,
    };
    store.known().await.unwrap().into_iter().filter_map(history).collect()
}

async fn of(store: &Sqlite, wanted: &Repository) -> Vec<Sighting> {
    let all = histories(store).await.into_iter();
    let mut of: Vec<_> = all.filter(|(repository, _)| repository == wanted).map(|(_, sightings)| sightings).collect();
    assert!(of.len() < 2, "each is told once");
    of.pop().unwrap_or_default()
}

fn sql(path: &Path, text: &str) {
    Connection::open(path).unwrap().execute_batch(text).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_holds_what_was_seen() {
    let memory = Arc::new(Memory::new(Arc::new(SimClock::at(NOW))));
    let read = async |repository: &Repository| memory.sightings(repository);
    let histories: Arc<dyn Histories> = memory.clone();
    Store { handles: &[histories], now: now(), read }.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_holds_what_was_seen_of_all_that_have_it_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/updates.db");
    let handles: [Arc<dyn Histories>; 4] = std::array::from_fn(|_| Arc::new(open(&path)) as _);
    // Opened again each time.
    let read = async |repository: &Repository| of(&open(&path), repository).await;
    Store { handles: &handles, now: now(), read }.holds().await;
}

/// What is added to is read only when nobody else writes any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_is_about_to_write_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updates.db");
    let store = open(&path);
    add(&store, "web", vec![sighting("1.0", 'a', now())]).await;
    let other = Connection::open(&path).unwrap();
    let write =
        "BEGIN IMMEDIATE; INSERT INTO sightings SELECT repository, '1.1', digest, first_seen, pushed FROM sightings";
    other.execute_batch(write).unwrap();
    let adding = {
        let store = store.clone();
        tokio::spawn(async move { add(&store, "web", vec![sighting("1.2", 'a', now())]).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!adding.is_finished(), "it waits for the other");
    other.execute_batch("COMMIT").unwrap();
    adding.await.unwrap();
    let tags = ["1.0", "1.1", "1.2"].map(|tag| sighting(tag, 'a', now()));
    assert_eq!(of(&store, &repository("web")).await, tags);
}

#[tokio::test]
async fn a_file_tells_every_repository_once_and_times_to_the_nanosecond() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updates.db");
    let store = open(&path);
    let kept = |changes: Vec<ClusterChange>| {
        changes.into_iter().filter(|change| matches!(change, ClusterChange::HistoriesKept(Ok(())))).count()
    };
    assert_eq!((histories(&store).await, kept(store.known().await.unwrap())), (vec![], 1));
    let pushed = Sighting { pushed: Some(now()), ..sighting("1.1", 'b', now()) };
    add(&store, "web", vec![sighting("1.0", 'a', now())]).await;
    add(&store, "api", vec![sighting("1.0", 'a', now())]).await;
    add(&store, "web", vec![pushed.clone()]).await;
    let wanted = [
        (repository("api"), vec![sighting("1.0", 'a', now())]),
        (repository("web"), vec![sighting("1.0", 'a', now()), pushed]),
    ];
    for store in [store, open(&path)] {
        assert_eq!(histories(&store).await, wanted);
        assert_eq!(kept(store.known().await.unwrap()), 1);
    }
}

#[tokio::test]
async fn a_file_is_new_but_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updates.db");
    let first = open(&path);
    assert!(first.is_new());
    assert!(!open(&path).is_new());
    assert!(first.is_new(), "of this opening");
    // As `mktemp` leaves one.
    std::fs::write(folder.path().join("empty"), "").unwrap();
    assert!(open(&folder.path().join("empty")).is_new());
}

#[tokio::test]
async fn what_does_not_read_is_as_if_it_had_not_been_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updates.db");
    let store = open(&path);
    let good = sighting("1.0", 'a', now());
    let all = ["1.1", "1.2", "1.3", "1.4"].map(|tag| Sighting { pushed: Some(now()), ..sighting(tag, 'a', now()) });
    add(&store, "web", all.to_vec()).await;
    add(&store, "web", vec![good.clone()]).await;
    add(&store, "api", vec![good.clone()]).await;
    sql(
        &path,
        "UPDATE sightings SET tag = '/' WHERE tag = '1.1';
         UPDATE sightings SET digest = 'sha256:A' WHERE tag = '1.2';
         UPDATE sightings SET first_seen = 'yesterday' WHERE tag = '1.3';
         UPDATE sightings SET pushed = '' WHERE tag = '1.4';
         UPDATE sightings SET repository = '' WHERE repository LIKE '%api';",
    );
    assert_eq!(histories(&store).await, [(repository("web"), vec![good.clone()])]);
    // It is seen anew.
    let again = sighting("1.3", 'a', now());
    add(&store, "web", vec![again.clone()]).await;
    assert_eq!(histories(&store).await, [(repository("web"), vec![good, again])]);
}

/// A file as the program left it that knew no sightings, of one update and one state.
const FORMAT_2: &str = r#"
    PRAGMA journal_mode = WAL;
    CREATE TABLE updates (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        body TEXT NOT NULL CHECK (json_valid(body))
    , version INTEGER NOT NULL DEFAULT 1, ended INTEGER NOT NULL DEFAULT 0) STRICT;
    CREATE INDEX updates_of ON updates (kind, namespace, name, number);
    CREATE TABLE states (
        kind TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        body TEXT NOT NULL CHECK (json_valid(body)),
        PRIMARY KEY (kind, namespace, name)
    ) STRICT;
    INSERT INTO updates VALUES (1, '0123456789abcdef', 'Deployment', 'shop', 'web', '{
        "id": "0123456789abcdef", "workload": {"kind": "Deployment", "namespace": "shop", "name": "web"},
        "items": [{"container": "web", "from": "r.test/web:1", "to": "r.test/web:2", "policy": "minor", "evidence":
            {"tag": "2", "digest": null, "seen": "2026-03-01T12:00:00Z"}}],
        "phase": "Applying", "proposed": "2026-03-01T12:00:00Z"}', 3, 0);
    INSERT INTO states VALUES ('Deployment', 'shop', 'web', 2, '{
        "workload": {"kind": "Deployment", "namespace": "shop", "name": "web"}, "uid": "u1",
        "applied": [{"container": "web", "from": "r.test/web:0", "to": "r.test/web:1", "at": "2026-03-01T12:00:00Z"}],
        "undone": []}');
    PRAGMA application_id = 0x5343474f;
    PRAGMA user_version = 2;
"#;

#[tokio::test]
async fn a_file_that_knew_no_sightings_keeps_its_records_and_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updates.db");
    sql(&path, FORMAT_2);
    let seen = sighting("1.0", 'a', now());
    let store = open(&path);
    assert!(!store.is_new());
    add(&store, "web", vec![seen.clone()]).await;
    for store in [store, open(&path)] {
        let known = store.known().await.unwrap();
        let [ClusterChange::State(_, state, _), ClusterChange::Record(tracked, update, _), ..] = &known[..] else {
            panic!("{known:?}")
        };
        assert_eq!((&*state.0, &*update.0), ("2", "3"));
        assert_eq!(&*tracked.update.id.0, "0123456789abcdef");
        assert_eq!(store.of(&tracked.update.workload).await.unwrap().len(), 1);
        assert_eq!(histories(&store).await, [(repository("web"), vec![seen.clone()])]);
    }
}

#[tokio::test]
async fn a_file_forgets_by_the_time_of_its_clock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updates.db");
    let clock = SimClock::at(NOW);
    let store = Sqlite::open(&path, Arc::new(clock.clone())).unwrap();
    let gone = || Seen { repository: repository("web"), sightings: vec![], listed: Some(Default::default()) };
    add(&store, "web", vec![sighting("1.0", 'a', now())]).await;
    let day = Duration::from_secs(24 * 3600);
    for (days, left) in [(89, 1), (2, 0)] {
        clock.advance(day * days).await;
        store.add(&gone()).await.unwrap();
        assert_eq!(of(&store, &repository("web")).await.len(), left);
    }
}
