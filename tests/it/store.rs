//! Stores of updates: one suite for all, and what only a file has to show.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use rstest::rstest;
use rusqlite::Connection;
use supercargo::{
    clock::SystemClock,
    cluster::CustomResources,
    domain::{
        update::{LogEntry, Phase, Tracked, WorkloadState},
        workload::WorkloadId,
    },
    engine,
    ports::{Clock, PutError, RecordError, Records},
    store::{Memory, Sqlite},
};
use tempfile::TempDir;

use crate::support::{
    self,
    control_plane::{ADMIN, shared},
    eventually,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Memory,
    File,
    Cluster,
}

/// Two handles of one store: of a file, opened twice; of a cluster, two clients.
struct Store {
    one: Arc<dyn Records>,
    other: Arc<dyn Records>,
    /// Of its workloads.
    namespace: String,
    _folder: TempDir,
}

async fn store(kind: Kind) -> Store {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/updates.db");
    let mut namespace = "shop".to_owned();
    let [one, other]: [Arc<dyn Records>; 2] = match kind {
        Kind::Memory => {
            let one = Arc::new(Memory::new(clock()));
            [one.clone(), one]
        }
        Kind::File => [Arc::new(open(&path).unwrap()), Arc::new(open(&path).unwrap())],
        Kind::Cluster => {
            namespace = shared().await.namespace("shop").await.name;
            [cluster().await, cluster().await]
        }
    };
    Store { one, other, namespace, _folder: folder }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

fn open(path: &Path) -> Result<Sqlite, RecordError> {
    Sqlite::open(path, clock())
}

async fn cluster() -> Arc<dyn Records> {
    let client = shared().await.client(ADMIN).await;
    Arc::new(CustomResources::new(client, clock(), Arc::new(Memory::new(clock()))))
}

impl Store {
    fn workload(&self, name: &str) -> WorkloadId {
        WorkloadId { namespace: self.namespace.as_str().into(), ..workload(name) }
    }

    fn update(&self, of: &str, version: usize) -> Tracked {
        let mut tracked = update(of, version);
        tracked.update.workload = self.workload(of);
        tracked
    }

    fn state(&self, of: &str, applied: usize, holds: &[usize]) -> WorkloadState {
        WorkloadState { workload: self.workload(of), ..state(of, applied, holds) }
    }

    /// The versions of a workload's updates, by the other handle. Old ones may be cleared away a moment later.
    async fn keeps(&self, of: &str, wanted: &[&str]) {
        let mut found = Vec::new();
        let kept = support::within_minutes(5, async || {
            found = versions(&*self.other, &self.workload(of)).await;
            (found == wanted).then_some(())
        });
        assert!(kept.await.is_some(), "{found:?}, not {wanted:?}");
    }
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
        "proposed": format!("2026-03-01T12:{:02}:{:02}Z", version / 60, version % 60),
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

async fn versions(records: &dyn Records, workload: &WorkloadId) -> Vec<String> {
    let found = of(records, workload).await;
    found.iter().map(|tracked| tracked.update.id.0.rsplit(' ').next().unwrap().to_owned()).collect()
}

fn state(of: &str, applied: usize, holds: &[usize]) -> WorkloadState {
    let image = |version: usize| format!("registry.test/web:1.0.{version}");
    let at = |version: usize| format!("2026-03-01T12:00:{version:02}.5Z");
    let holds = holds.iter().map(|n| {
        let (by, to, back_to, at) = ("kubectl-set", image(*n), image(0), at(*n));
        serde_json::json!({"container": "web", "to": to, "backTo": back_to, "by": by, "at": at})
    });
    let state = serde_json::json!({
        "workload": {"kind": "Deployment", "namespace": "shop", "name": of},
        "uid": "u1",
        "applied": [{"container": "web", "from": image(0), "to": image(applied), "at": at(applied)}],
        "holds": holds.collect::<Vec<_>>(),
    });
    serde_json::from_value(state).unwrap()
}

#[rstest]
#[tokio::test]
async fn nothing_is_written_over_that_was_not_seen(#[values(Kind::Memory, Kind::File, Kind::Cluster)] kind: Kind) {
    let store = store(kind).await;
    let conflict = Err(PutError::Conflict);
    let open = Tracked { phase: Phase::Applying, ..store.update("web", 1) };
    let first = store.one.put(&open, None).await.unwrap();
    assert_eq!(store.other.put(&open, None).await, conflict);
    let open = Tracked { phase: Phase::Progressing, ..open };
    let second = store.other.put(&open, Some(&first)).await.unwrap();
    assert_eq!(store.one.put(&store.update("web", 1), Some(&first)).await, conflict);
    assert_eq!(store.one.get(&open.update.workload, &open.update.id).await.unwrap(), Some((open, second.clone())));
    store.one.put(&store.update("web", 1), Some(&second)).await.unwrap();
    assert_eq!(get(&*store.other, &store.update("web", 1)).await, Some(store.update("web", 1)));
    // One that is not there was not seen either.
    assert_eq!(store.one.put(&store.update("web", 2), Some(&second)).await, conflict);

    let id = store.workload("web");
    assert_eq!(store.one.state(&id).await.unwrap(), None);
    let first = store.one.put_state(&store.state("web", 1, &[]), None).await.unwrap();
    assert_eq!(store.other.put_state(&store.state("web", 2, &[]), None).await, conflict);
    let second = store.other.put_state(&store.state("web", 2, &[1]), Some(&first)).await.unwrap();
    assert_eq!(store.one.put_state(&store.state("web", 3, &[]), Some(&first)).await, conflict);
    assert_eq!(store.one.state(&id).await.unwrap(), Some((store.state("web", 2, &[1]), second)));
    assert_eq!(store.one.state(&store.workload("api")).await.unwrap(), None);
}

#[rstest]
#[tokio::test]
async fn a_command_does_not_write_over_what_has_ended_meanwhile(
    #[values(Kind::Memory, Kind::File, Kind::Cluster)] kind: Kind,
) {
    let store = store(kind).await;
    let ours = Tracked { phase: Phase::Applying, ..store.update("web", 1) };
    let mut theirs = store.update("web", 1);
    let at = "2026-03-01T13:00:00Z".parse().unwrap();
    theirs.log.push(LogEntry { at, phase: theirs.phase.name(), reason: None });
    store.one.put(&theirs, None).await.unwrap();
    let remembered = engine::remember(&store.other, vec![ours]);
    tokio::time::timeout(Duration::from_secs(300), remembered).await.expect("it ends").unwrap();
    assert_eq!(get(&*store.one, &theirs).await, Some(theirs));
}

#[rstest]
#[tokio::test]
async fn what_is_remembered_by_a_name_outlives_the_updates(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind).await;
    put(&*store.one, store.update("web", 1)).await;
    let version = store.one.put_state(&store.state("web", 2, &[1]), None).await.unwrap();
    store.one.forget(&store.workload("web")).await.unwrap();
    assert_eq!(of(&*store.other, &store.workload("web")).await, []);
    assert_eq!(store.other.state(&store.workload("web")).await.unwrap(), Some((store.state("web", 2, &[1]), version)));
}

#[rstest]
#[tokio::test]
async fn updates_that_have_not_ended_are_kept_beside_ten_that_have(
    #[values(Kind::Memory, Kind::File, Kind::Cluster)] kind: Kind,
) {
    let store = store(kind).await;
    let open = Tracked { phase: Phase::Applying, ..store.update("web", 0) };
    put(&*store.one, open.clone()).await;
    for version in 1..=12 {
        put(&*store.one, store.update("web", version)).await;
    }
    store.keeps("web", &["12", "11", "10", "9", "8", "7", "6", "5", "4", "3", "0"]).await;
    assert_eq!(get(&*store.other, &open).await, Some(open));
}

#[rstest]
#[tokio::test]
async fn the_ten_newest_updates_of_a_workload_are_kept(#[values(Kind::Memory, Kind::File, Kind::Cluster)] kind: Kind) {
    let store = store(kind).await;
    assert_eq!(get(&*store.one, &store.update("web", 1)).await, None);
    assert_eq!(versions(&*store.one, &store.workload("web")).await, [""; 0]);
    for version in 1..=12 {
        put(&*store.one, store.update("web", version)).await;
    }
    put(&*store.one, store.update("api", 1)).await;
    store.keeps("web", &["12", "11", "10", "9", "8", "7", "6", "5", "4", "3"]).await;
    store.keeps("api", &["1"]).await;
    assert_eq!(get(&*store.other, &store.update("web", 2)).await, None);
    assert_eq!(get(&*store.other, &store.update("web", 3)).await, Some(store.update("web", 3)));
}

#[rstest]
#[tokio::test]
async fn an_update_that_goes_on_takes_its_own_place(#[values(Kind::Memory, Kind::File, Kind::Cluster)] kind: Kind) {
    let store = store(kind).await;
    for version in 1..=10 {
        put(&*store.one, store.update("web", version)).await;
    }
    let further = Tracked { phase: Phase::Superseded, ..store.update("web", 1) };
    put(&*store.one, further.clone()).await;
    assert_eq!(get(&*store.other, &further).await, Some(further.clone()));
    let all = of(&*store.other, &further.update.workload).await;
    assert_eq!((all.len(), all.last()), (10, Some(&further)));
}

#[rstest]
#[tokio::test]
async fn a_workload_is_forgotten_alone(#[values(Kind::Memory, Kind::File)] kind: Kind) {
    let store = store(kind).await;
    for of in ["web", "web2"] {
        put(&*store.one, store.update(of, 1)).await;
    }
    store.one.forget(&store.workload("web")).await.unwrap();
    store.one.forget(&store.workload("never")).await.unwrap();
    assert_eq!(get(&*store.other, &store.update("web", 1)).await, None);
    store.keeps("web", &[]).await;
    store.keeps("web2", &["1"]).await;
    put(&*store.one, store.update("web", 2)).await;
    store.keeps("web", &["2"]).await;
}

#[rstest]
#[tokio::test]
async fn names_are_any_text(#[values(Kind::Memory, Kind::File, Kind::Cluster)] kind: Kind) {
    let store = store(kind).await;
    let names = ["", "'", "\"; DROP TABLE updates; --", "a/b", "a", "A", "ä\u{301}", "日本", "\0", "%", "\\", "\n"];
    for name in names {
        put(&*store.one, store.update(name, 1)).await;
    }
    for name in names {
        assert_eq!(of(&*store.other, &store.workload(name)).await, [store.update(name, 1)], "{name:?}");
    }
    // What stands before and after a slash is not mixed up.
    let split = WorkloadId { namespace: "shop/a".into(), ..workload("b") };
    assert_eq!(of(&*store.other, &split).await, []);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_of_writers_at_once(#[values(Kind::Memory, Kind::File, Kind::Cluster)] kind: Kind) {
    let store = store(kind).await;
    let writers = (0..8).map(|writer| {
        let records = if writer % 2 == 0 { store.one.clone() } else { store.other.clone() };
        let own = (0..25).map(|version| store.update(&format!("own-{writer}"), version));
        let shared = (0..25).map(|version| store.update("shared", writer * 100 + version));
        let all: Vec<(Tracked, Tracked)> = own.zip(shared).collect();
        tokio::spawn(async move {
            for (own, shared) in all {
                put(&*records, own).await;
                put(&*records, shared).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let kept = ["24", "23", "22", "21", "20", "19", "18", "17", "16", "15"];
    for writer in 0..8 {
        store.keeps(&format!("own-{writer}"), &kept).await;
    }
    let shared = store.workload("shared");
    eventually("ten are kept", async || (versions(&*store.one, &shared).await.len() == 10).then_some(())).await;
    assert_eq!(versions(&*store.one, &shared).await, versions(&*store.other, &shared).await);
}

#[rstest]
#[tokio::test]
async fn very_many_updates_are_held(#[values(Kind::Memory, Kind::File, Kind::Cluster)] kind: Kind) {
    let store = store(kind).await;
    // The benchmark `records` has 100,000 in the cluster.
    let workloads = if kind == Kind::Cluster { 200 } else { 1000 };
    for version in 1..=10 {
        let all = stream::iter(0..workloads).map(|of| put(&*store.one, store.update(&format!("web-{of}"), version)));
        all.buffer_unordered(16).collect::<Vec<()>>().await;
    }
    for of in (0..workloads).step_by(if kind == Kind::Cluster { 10 } else { 1 }) {
        assert_eq!(versions(&*store.one, &store.workload(&format!("web-{of}"))).await.len(), 10);
    }
    let last = store.update(&format!("web-{}", workloads - 1), 10);
    assert_eq!(get(&*store.other, &last).await, Some(last));
}

#[tokio::test]
async fn a_file_is_for_its_owner_only_and_outlives_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/updates.db");
    let store = open(&path).unwrap();
    put(&store, update("web", 1)).await;
    for name in ["updates.db", "updates.db-wal", "updates.db-shm"] {
        let mode = fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    drop(store);
    let store = open(&path).unwrap();
    assert_eq!(of(&store, &workload("web")).await, [update("web", 1)]);
}

const WRITER: &str = "SUPERCARGO_TEST_STORE";

/// The test is two processes: it runs itself again, as the one that writes.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the tests' own environment, not the program's")]
async fn what_a_killed_process_has_written_is_there_for_another_with_the_same_file() {
    if let Some(path) = std::env::var_os(WRITER) {
        let store = open(Path::new(&path)).unwrap();
        for n in 0.. {
            put(&store, update(&format!("web-{n}"), 1)).await;
            println!("\nwrote {n}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updates.db");
    let store = open(&path).unwrap();
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
    for store in [store, open(&path).unwrap()] {
        for n in 0..=50 {
            assert_eq!(versions(&store, &workload(&format!("web-{n}"))).await, ["1"]);
        }
        assert_eq!(versions(&store, &workload("own")).await[0], "51");
    }
}

/// A file of a few pages, closed.
async fn written(path: &Path) {
    let store = open(path).unwrap();
    for of in 0..100 {
        put(&store, update(&format!("web-{of}"), 1)).await;
    }
}

#[rstest]
#[case::text(|path: &Path| fs::write(path, "updates: []\n").unwrap(), "no database, or a damaged one; move it aside")]
#[case::zeros(|path: &Path| fs::write(path, [0; 8192]).unwrap(), "move it aside")]
#[case::foreign(|path: &Path| sql(path, "CREATE TABLE updates (id)"), "another program's database: name another file")]
#[case::foreign_marked(|path: &Path| sql(path, "PRAGMA application_id = 7"), "another program's database: name another file")]
#[case::newer(|path: &Path| sql_of_ours(path, "PRAGMA user_version = 99"), "format 99 is not known here, only up to 3: run the newer")]
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
    let error = open(&path).unwrap_err().to_string();
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
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("must be writable, or name another file"), "{error}");
    }
}

#[tokio::test]
async fn damage_that_comes_later_is_reported_and_the_rest_still_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updates.db");
    let store = open(&path).unwrap();
    for of in ["web", "api"] {
        put(&store, update(of, 1)).await;
    }
    sql(&path, "UPDATE updates SET body = '{}' WHERE name = 'web'");
    let error = store.of(&workload("web")).await.unwrap_err().to_string();
    assert!(error.contains("one of its records does not read (missing field"), "{error}");
    assert_eq!(versions(&store, &workload("api")).await, ["1"]);
    sql(&path, "DROP TABLE updates");
    let error = store.put(&update("web", 2), None).await.unwrap_err().to_string();
    assert!(error.contains("no such table"), "{error}");
}
