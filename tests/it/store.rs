//! Stores of updates: one suite for all, and what only a file has to show.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use rstest::rstest;
use rusqlite::Connection;
use supercargo::{
    domain::{
        update::{Phase, Tracked, WorkloadState},
        workload::WorkloadId,
    },
    ports::{PutError, Records},
    store::{Memory, Sqlite},
};
use tempfile::TempDir;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Memory,
    File,
}

/// Two handles of one store: of a file, opened twice.
struct Store {
    one: Arc<dyn Records>,
    other: Arc<dyn Records>,
    _folder: TempDir,
}

fn store(kind: Kind) -> Store {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/updates.db");
    let [one, other]: [Arc<dyn Records>; 2] = match kind {
        Kind::Memory => {
            let one = Arc::new(Memory::default());
            [one.clone(), one]
        }
        Kind::File => [Arc::new(Sqlite::open(&path).unwrap()), Arc::new(Sqlite::open(&path).unwrap())],
    };
    Store { one, other, _folder: folder }
}

fn workload(name: &str) -> WorkloadId {
    WorkloadId {
        kind: supercargo::domain::workload::Kind("Deployment".into()),
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn update(of: &str, version: usize) -> Tracked {
    let image = |version: usize| format!("registry.test/web:1.0.{version}");
    let update = serde_json::json!({
        "id": format!("{of} {version}"),
        "workload": {"kind": "Deployment", "namespace": "shop", "name": of},
        "items": [{
            "container": "web", "from": image(0), "to": image(version), "policy": "minor",
            "evidence": {"tag": format!("1.0.{version}"), "digest": null, "seen": "2026-03-01T12:00:00.123456789Z"},
        }],
        "phase": "Succeeded",
        "proposed": "2026-03-01T12:00:00Z",
    });
    serde_json::from_value(update).unwrap()
}

/// Writes over whatever is there.
async fn put(records: &dyn Records, tracked: Tracked) {
    let seen = records.get(&tracked.update.workload, &tracked.update.id).await.unwrap().map(|(_, version)| version);
    records.put(&tracked, seen.as_ref()).await.unwrap();
}

async fn get(records: &dyn Records, like: &Tracked) -> Option<Tracked> {
    records.get(&like.update.workload, &like.update.id).await.unwrap().map(|(tracked, _)| tracked)
}

async fn of(records: &dyn Records, workload: &WorkloadId) -> Vec<Tracked> {
    records.of(workload).await.unwrap().into_iter().map(|(tracked, _)| tracked).collect()
}

async fn versions(records: &dyn Records, of: &str) -> Vec<String> {
    let found = self::of(records, &workload(of)).await;
    found.iter().map(|tracked| tracked.update.id.0.rsplit(' ').next().unwrap().to_owned()).collect()
}

fn state(of: &str, applied: usize, undone: &[usize]) -> WorkloadState {
    let image = |version: usize| format!("registry.test/web:1.0.{version}");
    let at = |version: usize| format!("2026-03-01T12:00:{version:02}.5Z");
    let undone = undone.iter().map(|n| {
        let (by, to, back_to, at) = ("kubectl-set", image(*n), image(0), at(*n));
        serde_json::json!({"container": "web", "to": to, "backTo": back_to, "by": by, "at": at})
    });
    let state = serde_json::json!({
        "workload": {"kind": "Deployment", "namespace": "shop", "name": of},
        "uid": "u1",
        "applied": [{"container": "web", "from": image(0), "to": image(applied), "at": at(applied)}],
        "undone": undone.collect::<Vec<_>>(),
    });
    serde_json::from_value(state).unwrap()
}

#[rstest]
#[tokio::test]
async fn nothing_is_written_over_that_was_not_seen(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    let conflict = Err(PutError::Conflict);
    let open = Tracked { phase: Phase::Applying, ..update("web", 1) };
    let first = store.one.put(&open, None).await.unwrap();
    assert_eq!(store.other.put(&open, None).await, conflict);
    let second = store.other.put(&open, Some(&first)).await.unwrap();
    assert_eq!(store.one.put(&update("web", 1), Some(&first)).await, conflict);
    assert_eq!(store.one.get(&open.update.workload, &open.update.id).await.unwrap(), Some((open, second.clone())));
    store.one.put(&update("web", 1), Some(&second)).await.unwrap();
    assert_eq!(get(&*store.other, &update("web", 1)).await, Some(update("web", 1)));
    // One that is not there was not seen either.
    assert_eq!(store.one.put(&update("web", 2), Some(&second)).await, conflict);

    let id = workload("web");
    assert_eq!(store.one.state(&id).await.unwrap(), None);
    let first = store.one.put_state(&state("web", 1, &[]), None).await.unwrap();
    assert_eq!(store.other.put_state(&state("web", 2, &[]), None).await, conflict);
    let second = store.other.put_state(&state("web", 2, &[1]), Some(&first)).await.unwrap();
    assert_eq!(store.one.put_state(&state("web", 3, &[]), Some(&first)).await, conflict);
    assert_eq!(store.one.state(&id).await.unwrap(), Some((state("web", 2, &[1]), second)));
    assert_eq!(store.one.state(&workload("api")).await.unwrap(), None);
}

#[rstest]
#[tokio::test]
async fn what_is_remembered_by_a_name_outlives_the_updates(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    put(&*store.one, update("web", 1)).await;
    let version = store.one.put_state(&state("web", 2, &[1]), None).await.unwrap();
    store.one.forget(&workload("web")).await.unwrap();
    assert_eq!(of(&*store.other, &workload("web")).await, []);
    assert_eq!(store.other.state(&workload("web")).await.unwrap(), Some((state("web", 2, &[1]), version)));
}

#[rstest]
#[tokio::test]
async fn updates_that_have_not_ended_are_kept_beside_ten_that_have(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    let open = Tracked { phase: Phase::Applying, ..update("web", 0) };
    put(&*store.one, open.clone()).await;
    for version in 1..=12 {
        put(&*store.one, update("web", version)).await;
    }
    let kept = of(&*store.other, &workload("web")).await;
    assert_eq!((kept.len(), kept.last()), (11, Some(&open)));
}

#[rstest]
#[tokio::test]
async fn the_ten_newest_updates_of_a_workload_are_kept(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    assert_eq!(get(&*store.one, &update("web", 1)).await, None);
    assert_eq!(versions(&*store.one, "web").await, [""; 0]);
    for version in 1..=12 {
        put(&*store.one, update("web", version)).await;
    }
    put(&*store.one, update("api", 1)).await;
    let kept = ["12", "11", "10", "9", "8", "7", "6", "5", "4", "3"];
    assert_eq!(versions(&*store.other, "web").await, kept);
    assert_eq!(versions(&*store.other, "api").await, ["1"]);
    assert_eq!(get(&*store.other, &update("web", 2)).await, None);
    assert_eq!(get(&*store.other, &update("web", 3)).await, Some(update("web", 3)));
}

#[rstest]
#[tokio::test]
async fn an_update_that_goes_on_takes_its_own_place(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    for version in 1..=10 {
        put(&*store.one, update("web", version)).await;
    }
    let further = Tracked { phase: Phase::Superseded, ..update("web", 1) };
    put(&*store.one, further.clone()).await;
    assert_eq!(get(&*store.other, &further).await, Some(further.clone()));
    let all = of(&*store.other, &further.update.workload).await;
    assert_eq!((all.len(), all.last()), (10, Some(&further)));
}

#[rstest]
#[tokio::test]
async fn a_workload_is_forgotten_alone(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    for of in ["web", "web2"] {
        put(&*store.one, update(of, 1)).await;
    }
    store.one.forget(&workload("web")).await.unwrap();
    store.one.forget(&workload("never")).await.unwrap();
    assert_eq!(get(&*store.other, &update("web", 1)).await, None);
    assert_eq!(versions(&*store.other, "web").await, [""; 0]);
    assert_eq!(versions(&*store.other, "web2").await, ["1"]);
    put(&*store.one, update("web", 2)).await;
    assert_eq!(versions(&*store.other, "web").await, ["2"]);
}

#[rstest]
#[tokio::test]
async fn names_are_any_text(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    let names = ["", "'", "\"; DROP TABLE updates; --", "a/b", "a", "A", "ä\u{301}", "日本", "\0", "%", "\\", "\n"];
    for name in names {
        put(&*store.one, update(name, 1)).await;
    }
    for name in names {
        assert_eq!(of(&*store.other, &workload(name)).await, [update(name, 1)], "{name:?}");
    }
    // What stands before and after a slash is not mixed up.
    let split = WorkloadId { namespace: "shop/a".into(), ..workload("b") };
    assert_eq!(of(&*store.other, &split).await, []);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_of_writers_at_once(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    let writers = (0..8).map(|writer| {
        let records = if writer % 2 == 0 { store.one.clone() } else { store.other.clone() };
        tokio::spawn(async move {
            for version in 0..25 {
                put(&*records, update(&format!("own-{writer}"), version)).await;
                put(&*records, update("shared", writer * 100 + version)).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    for writer in 0..8 {
        let want: Vec<_> = (15..25).rev().map(|version| version.to_string()).collect();
        assert_eq!(versions(&*store.one, &format!("own-{writer}")).await, want);
    }
    assert_eq!(versions(&*store.one, "shared").await, versions(&*store.other, "shared").await);
    assert_eq!(versions(&*store.one, "shared").await.len(), 10);
}

#[rstest]
#[tokio::test]
async fn ten_thousand_updates_are_held(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    for version in 1..=10 {
        for of in 0..1000 {
            put(&*store.one, update(&format!("web-{of}"), version)).await;
        }
    }
    for of in 0..1000 {
        assert_eq!(versions(&*store.one, &format!("web-{of}")).await.len(), 10);
    }
    let last = update("web-999", 10);
    assert_eq!(get(&*store.other, &last).await, Some(last));
}

#[tokio::test]
async fn a_file_is_for_its_owner_only_and_outlives_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/updates.db");
    let store = Sqlite::open(&path).unwrap();
    put(&store, update("web", 1)).await;
    for name in ["updates.db", "updates.db-wal", "updates.db-shm"] {
        let mode = fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    drop(store);
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(of(&store, &workload("web")).await, [update("web", 1)]);
}

const WRITER: &str = "SUPERCARGO_TEST_STORE";

/// The test is two processes: it runs itself again, as the one that writes.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the tests' own environment, not the program's")]
async fn what_a_killed_process_has_written_is_there_for_another_with_the_same_file() {
    if let Some(path) = std::env::var_os(WRITER) {
        let store = Sqlite::open(Path::new(&path)).unwrap();
        for n in 0.. {
            put(&store, update(&format!("web-{n}"), 1)).await;
            println!("\nwrote {n}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updates.db");
    let store = Sqlite::open(&path).unwrap();
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("store::what_a_killed_process_has_written_is_there_for_another_with_the_same_file")
        .env(WRITER, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut written = 0;
    for line in lines.map(Result::unwrap).filter(|line| line.starts_with("wrote ")) {
        written += 1;
        // Between the other's.
        put(&store, update("own", written)).await;
        if line == "wrote 50" {
            break;
        }
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert_eq!(written, 51);
    for store in [store, Sqlite::open(&path).unwrap()] {
        for n in 0..=50 {
            assert_eq!(versions(&store, &format!("web-{n}")).await, ["1"]);
        }
        assert_eq!(versions(&store, "own").await[0], "51");
    }
}

/// A file of a few pages, closed.
async fn written(path: &Path) {
    let store = Sqlite::open(path).unwrap();
    for of in 0..100 {
        put(&store, update(&format!("web-{of}"), 1)).await;
    }
}

#[rstest]
#[case::text(|path: &Path| fs::write(path, "updates: []\n").unwrap(), "no database, or a damaged one; move it aside")]
#[case::zeros(|path: &Path| fs::write(path, [0; 8192]).unwrap(), "move it aside")]
#[case::foreign(|path: &Path| sql(path, "CREATE TABLE updates (id)"), "another program's database: name another file")]
#[case::foreign_marked(|path: &Path| sql(path, "PRAGMA application_id = 7"), "another program's database: name another file")]
#[case::newer(|path: &Path| sql_of_ours(path, "PRAGMA user_version = 99"), "format 99 is not known here, only up to 2: run the newer")]
#[case::negative(|path: &Path| sql_of_ours(path, "PRAGMA user_version = -1"), "format -1 is not known here")]
#[case::cut(|path: &Path| damage(path, |bytes| bytes.truncate(bytes.len() / 2)), "damaged")]
#[case::page(|path: &Path| damage(path, |bytes| bytes[4096..12288].fill(0xff)), "damaged")]
#[tokio::test]
async fn a_file_that_is_not_ours_is_reported_and_left_as_it_is(#[case] make: fn(&Path), #[case] words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updates.db");
    // Also for the cases that change a good one.
    written(&folder.path().join("good.db")).await;
    make(&path);
    let before = fs::read(&path).unwrap();
    let error = Sqlite::open(&path).unwrap_err().to_string();
    assert!(error.contains(words) && error.contains(path.to_str().unwrap()), "{error}");
    assert!(fs::read(&path).unwrap() == before, "the file has changed");
}

fn sql(path: &Path, text: &str) {
    Connection::open(path).unwrap().execute_batch(text).unwrap();
}

fn sql_of_ours(path: &Path, text: &str) {
    damage(path, |_| ());
    sql(path, text);
}

fn damage(path: &Path, how: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path.with_file_name("good.db")).unwrap();
    how(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_place_where_no_file_can_be_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [folder.path().to_owned(), file.join("below/updates.db")] {
        let error = Sqlite::open(&path).unwrap_err().to_string();
        assert!(error.contains("must be writable, or name another file"), "{error}");
    }
}

#[tokio::test]
async fn damage_that_comes_later_is_reported_and_the_rest_still_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updates.db");
    let store = Sqlite::open(&path).unwrap();
    for of in ["web", "api"] {
        put(&store, update(of, 1)).await;
    }
    sql(&path, "UPDATE updates SET body = '{}' WHERE name = 'web'");
    let error = store.of(&workload("web")).await.unwrap_err().to_string();
    assert!(error.contains("one of its records does not read (missing field"), "{error}");
    assert_eq!(versions(&store, "api").await, ["1"]);
    sql(&path, "DROP TABLE updates");
    let error = store.put(&update("web", 2), None).await.unwrap_err().to_string();
    assert!(error.contains("no such table"), "{error}");
}
