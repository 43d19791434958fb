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
        update::{Phase, Tracked, UpdateId},
        workload::WorkloadId,
    },
    ports::Records,
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
        "phase": "Proposed",
        "proposed": "2026-03-01T12:00:00Z",
    });
    serde_json::from_value(update).unwrap()
}

async fn versions(records: &dyn Records, of: &str) -> Vec<String> {
    let found = records.of(&workload(of)).await.unwrap();
    found.iter().map(|tracked| tracked.update.id.0.rsplit(' ').next().unwrap().to_owned()).collect()
}

#[rstest]
#[tokio::test]
async fn the_ten_newest_updates_of_a_workload_are_kept(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    assert_eq!(store.one.get(&UpdateId("web 1".into())).await.unwrap(), None);
    assert_eq!(versions(&*store.one, "web").await, [""; 0]);
    for version in 1..=12 {
        store.one.put(update("web", version)).await.unwrap();
    }
    store.one.put(update("api", 1)).await.unwrap();
    let kept = ["12", "11", "10", "9", "8", "7", "6", "5", "4", "3"];
    assert_eq!(versions(&*store.other, "web").await, kept);
    assert_eq!(versions(&*store.other, "api").await, ["1"]);
    assert_eq!(store.other.get(&UpdateId("web 2".into())).await.unwrap(), None);
    assert_eq!(store.other.get(&UpdateId("web 3".into())).await.unwrap(), Some(update("web", 3)));
}

#[rstest]
#[tokio::test]
async fn an_update_that_goes_on_takes_its_own_place(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    for version in 1..=10 {
        store.one.put(update("web", version)).await.unwrap();
    }
    let further = Tracked { phase: Phase::Progressing, ..update("web", 1) };
    store.one.put(further.clone()).await.unwrap();
    assert_eq!(store.other.get(&further.update.id).await.unwrap(), Some(further.clone()));
    let all = store.other.of(&further.update.workload).await.unwrap();
    assert_eq!((all.len(), all.last()), (10, Some(&further)));
}

#[rstest]
#[tokio::test]
async fn a_workload_is_forgotten_alone(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    for of in ["web", "web2"] {
        store.one.put(update(of, 1)).await.unwrap();
    }
    store.one.forget(&workload("web")).await.unwrap();
    store.one.forget(&workload("never")).await.unwrap();
    assert_eq!(store.other.get(&update("web", 1).update.id).await.unwrap(), None);
    assert_eq!(versions(&*store.other, "web").await, [""; 0]);
    assert_eq!(versions(&*store.other, "web2").await, ["1"]);
    store.one.put(update("web", 2)).await.unwrap();
    assert_eq!(versions(&*store.other, "web").await, ["2"]);
}

#[rstest]
#[tokio::test]
async fn names_are_any_text(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    let names = ["", "'", "\"; DROP TABLE updates; --", "a/b", "a", "A", "ä\u{301}", "日本", "\0", "%", "\\", "\n"];
    for name in names {
        store.one.put(update(name, 1)).await.unwrap();
    }
    for name in names {
        assert_eq!(store.other.of(&workload(name)).await.unwrap(), [update(name, 1)], "{name:?}");
    }
    // What stands before and after a slash is not mixed up.
    let split = WorkloadId { namespace: "shop/a".into(), ..workload("b") };
    assert_eq!(store.other.of(&split).await.unwrap(), []);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_of_writers_at_once(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind);
    let writers = (0..8).map(|writer| {
        let records = if writer % 2 == 0 { store.one.clone() } else { store.other.clone() };
        tokio::spawn(async move {
            for version in 0..25 {
                records.put(update(&format!("own-{writer}"), version)).await.unwrap();
                records.put(update("shared", writer * 100 + version)).await.unwrap();
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
            store.one.put(update(&format!("web-{of}"), version)).await.unwrap();
        }
    }
    for of in 0..1000 {
        assert_eq!(versions(&*store.one, &format!("web-{of}")).await.len(), 10);
    }
    let last = update("web-999", 10);
    assert_eq!(store.other.get(&last.update.id).await.unwrap(), Some(last));
}

#[tokio::test]
async fn a_file_is_for_its_owner_only_and_outlives_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/updates.db");
    let store = Sqlite::open(&path).unwrap();
    store.put(update("web", 1)).await.unwrap();
    for name in ["updates.db", "updates.db-wal", "updates.db-shm"] {
        let mode = fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    drop(store);
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.of(&workload("web")).await.unwrap(), [update("web", 1)]);
}

const WRITER: &str = "SUPERCARGO_TEST_STORE";

/// The test is two processes: it runs itself again, as the one that writes.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the tests' own environment, not the program's")]
async fn what_a_killed_process_has_written_is_there_for_another_with_the_same_file() {
    if let Some(path) = std::env::var_os(WRITER) {
        let store = Sqlite::open(Path::new(&path)).unwrap();
        for n in 0.. {
            store.put(update(&format!("web-{n}"), 1)).await.unwrap();
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
        store.put(update("own", written)).await.unwrap();
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
        store.put(update(&format!("web-{of}"), 1)).await.unwrap();
    }
}

#[rstest]
#[case::text(|path: &Path| fs::write(path, "updates: []\n").unwrap(), "no database, or a damaged one; move it aside")]
#[case::zeros(|path: &Path| fs::write(path, [0; 8192]).unwrap(), "move it aside")]
#[case::foreign(|path: &Path| sql(path, "CREATE TABLE updates (id)"), "another program's database: name another file")]
#[case::foreign_marked(|path: &Path| sql(path, "PRAGMA application_id = 7"), "another program's database: name another file")]
#[case::newer(|path: &Path| sql_of_ours(path, "PRAGMA user_version = 99"), "format 99 is not known here, only up to 1: run the newer")]
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
        store.put(update(of, 1)).await.unwrap();
    }
    sql(&path, "UPDATE updates SET body = '{}' WHERE name = 'web'");
    let error = store.of(&workload("web")).await.unwrap_err().to_string();
    assert!(error.contains("one of its updates does not read (missing field"), "{error}");
    assert_eq!(versions(&store, "api").await, ["1"]);
    sql(&path, "DROP TABLE updates");
    let error = store.put(update("web", 2)).await.unwrap_err().to_string();
    assert!(error.contains("no such table"), "{error}");
}
