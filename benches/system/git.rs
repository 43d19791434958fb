//! A commit of exact edits to a large repository, against what git itself takes for the same: a shallow clone, the edit
//! of files that are known, a commit, a push. One server serves both, over smart HTTP on loopback.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use supercargo::{
    clock::SystemClock,
    domain::{
        gate,
        image::ImageRef,
        plan::{Approved, Plan},
        reason::Code,
        target::Route,
        update::{Change, Update},
        workload::{KINDS, WorkloadId},
    },
    git::{Credentials, Remote, Scope, Target, TargetSettings, Template},
    ports::{Outcome, Sink as _},
};

use crate::{
    Table, median, milliseconds,
    repository::{self, APPS},
    support::git_server::{BareRepo, GitServer, git, run as run_git},
};

/// What the process that writes is told to be.
pub(crate) const WRITER: &str = "git-writer";
const ROUNDS: usize = 7;
const EDITS: [usize; 2] = [1, 500];

pub(crate) async fn run(table: &mut Table) {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        // A slow disk is slowest where git checks 20,000 files out, and would make every ratio look better than it is.
        tempfile::env::override_temp_dir(memory).expect("nobody else has set it");
    }
    let server = GitServer::start().await;
    table.noted("files are in", tempfile::env::temp_dir().display().to_string());
    eprintln!("creating a repository of {} files", repository::FILES);
    let repo = repository::create(&server);
    let measured = tokio::task::spawn_blocking(move || measure(&server, &repo)).await.expect("it is measured");
    for (edits, times) in EDITS.into_iter().zip(&measured.times) {
        let what = format!("{edits} edit{} committed and pushed", if edits == 1 { "" } else { "s" });
        let of = |part: fn(&Times) -> f64| median(times.iter().map(part).collect());
        let (own, cold, warm) = (of(|t| t.own), of(|t| t.cold), of(|t| t.warm));
        table.noted(format!("{what}: medians"), format!("git's own {own:.0} ms; cold {cold:.0} ms, warm {warm:.0} ms"));
        table.bounded(format!("{what}, cold ÷ git's own, median of {ROUNDS}"), of(|t| t.cold / t.own), 1.0, "");
        table.bounded(format!("{what}, warm ÷ git's own, median of {ROUNDS}"), of(|t| t.warm / t.own), 0.3, "");
    }
    table.bounded("memory, ours and git's together, peak", measured.memory, 200.0, " MB");
    table.noted("memory, ours alone, peak", format!("{:.1} MB", measured.alone));
    for (what, requests) in measured.polls {
        // Of protocol 2: what the server can, and its branches.
        let listed = requests.iter().filter(|request| request.ends_with("info/refs")).count();
        let other = requests.iter().filter(|request| !request.ends_with("info/refs")).count().saturating_sub(listed);
        table.noted(format!("{what}, nothing changed: requests"), requests.join(", "));
        table.bounded(format!("{what}, nothing changed: `ls-remote`s"), (listed + other) as f64, 1.0, "");
    }
}

/// In ms.
struct Times {
    own: f64,
    cold: f64,
    warm: f64,
}

struct Measured {
    times: [Vec<Times>; 2],
    /// In MB (10^6 bytes).
    memory: f64,
    alone: f64,
    polls: Vec<(&'static str, Vec<String>)>,
}

fn measure(server: &GitServer, repo: &BareRepo) -> Measured {
    let url = server.url("fleet");
    let mut first = 0..;
    let mut both = EDITS.map(|count| [(); 2].map(|()| Apps { first: first.next().expect("endless"), count, minor: 0 }));
    // Not timed, as being watched takes time; and so that everything is in the page cache.
    let (mut memory, mut alone, mut polls) = (0.0_f64, 0.0_f64, Vec::new());
    for [theirs, ours] in &mut both {
        let mut writer = Writer::start(&url);
        let watch = Watch::start(writer.child.id());
        writer.commit(repo, ours);
        own(&url, repo, theirs);
        writer.commit(repo, ours);
        memory = memory.max(watch.peak());
        alone = alone.max(writer.memory());
        writer.ask("poll");
        polls.clear();
        for (what, order) in [("a poll", "poll".to_owned()), ("the same updates again", ours.order())] {
            let before = server.requests().len();
            writer.ask(&order);
            let seen = server.requests().split_off(before);
            polls.push((what, seen.iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()));
        }
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for ([theirs, ours], times) in both.iter_mut().zip(&mut times) {
            let mut writer = Writer::start(&url);
            let cold = writer.commit(repo, ours);
            // In between, so that the branch has moved when the clone is used again.
            let own = own(&url, repo, theirs);
            let warm = writer.commit(repo, ours);
            eprintln!("{} edits: git's own {own:.0} ms, cold {cold:.0} ms, warm {warm:.0} ms", ours.count);
            times.push(Times { own, cold, warm });
        }
    }
    Measured { times, memory, alone, polls }
}

/// Apps that are always updated together, and by nobody else.
struct Apps {
    first: usize,
    count: usize,
    minor: usize,
}

impl Apps {
    /// All over the repository.
    fn all(&self) -> impl Iterator<Item = usize> {
        let (first, step) = (self.first, APPS / EDITS[1]);
        (0..self.count).map(move |n| first + n * step)
    }

    /// The tag that they have before and after the newest update.
    fn tags(&self) -> [String; 2] {
        [self.minor - 1, self.minor].map(|minor| format!("1.{minor}.0"))
    }

    /// The newest update, as a line for the process that writes.
    fn order(&self) -> String {
        format!("{} {} {}", self.first, self.count, self.minor)
    }

    fn read(order: &str) -> Option<Self> {
        let mut numbers = order.split(' ').map_while(|number| number.parse().ok());
        Some(Self { first: numbers.next()?, count: numbers.next()?, minor: numbers.next()? })
    }

    /// Panics if the branch does not have the newest update, and in one commit.
    fn check(&self, repo: &BareRepo, before: &str) {
        let diff = String::from_utf8(repo.git(&["diff", "--unified=0", before, "main"])).unwrap();
        let lines = |sign: &str| {
            let lines = diff.lines().filter_map(|line| line.strip_prefix(sign)).filter(|line| line.starts_with(' '));
            lines.map(str::to_owned).collect::<BTreeSet<_>>()
        };
        for (sign, tag) in ["-", "+"].into_iter().zip(self.tags()) {
            let image = |app| format!("          image: {}", repository::image(app, &tag));
            assert_eq!(lines(sign), self.all().map(image).collect());
        }
        assert_eq!(repo.git(&["rev-list", "--count", &format!("{before}..main")]), b"1\n");
    }
}

/// What a person or a pipeline does, who knows the files: in ms.
fn own(url: &str, repo: &BareRepo, apps: &mut Apps) -> f64 {
    apps.minor += 1;
    let before = repo.head();
    let folder = tempfile::tempdir().unwrap();
    let in_clone = |args: &[&str]| run_git(git().arg("-C").arg(folder.path()).args(args), b"");
    let [from, to] = apps.tags();
    let began = Instant::now();
    run_git(git().args(["clone", "--quiet", "--depth=1", "--branch=main", url]).arg(folder.path()), b"");
    for app in apps.all() {
        let path = folder.path().join(repository::manifest(app));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&repository::image(app, &from), &repository::image(app, &to))).unwrap();
    }
    in_clone(&["commit", "--quiet", "--all", "--message=Update images"]);
    in_clone(&["push", "--quiet", "origin", "main"]);
    let took = milliseconds(began.elapsed());
    apps.check(repo, &before);
    took
}

/// A process that holds a target and nothing else: at first without a clone.
struct Writer {
    child: Child,
    answers: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Writer {
    fn start(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--bench", WRITER, url]).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut writer = Self { child, answers, _folder: folder };
        // It is there.
        writer.answer();
        writer
    }

    /// Updates the apps: in ms.
    fn commit(&mut self, repo: &BareRepo, apps: &mut Apps) -> f64 {
        apps.minor += 1;
        let before = repo.head();
        let took = self.ask(&apps.order());
        apps.check(repo, &before);
        took
    }

    fn ask(&mut self, order: &str) -> f64 {
        writeln!(self.child.stdin.as_mut().expect("a pipe"), "{order}").expect("it runs");
        self.answer()
    }

    fn answer(&mut self) -> f64 {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        line.trim().parse().unwrap_or_else(|_| panic!("not a time: {line:?}"))
    }

    /// The most that it has had itself so far, in MB.
    fn memory(&self) -> f64 {
        field(self.child.id(), "VmHWM:").expect("it runs") as f64 * 1024.0 / 1e6
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It ends with its orders.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The process that writes: does what each line orders, and answers how long that took.
pub(crate) async fn write(url: &str, folder: &Path) {
    let target =
        Target::new(settings(url, folder), Arc::new(SystemClock::default()), supercargo::config::git_environment());
    println!("0");
    for order in std::io::stdin().lines() {
        let order = order.unwrap();
        let apps = Apps::read(&order);
        let plans: Vec<_> = apps.iter().flat_map(|apps| apps.all().map(|app| plan(app, &apps.tags()))).collect();
        let began = Instant::now();
        if apps.is_some() {
            let outcomes = target.apply(plans).await;
            let is_committed =
                |outcome: &Outcome| matches!(outcome, Outcome::Committed(reason) if reason.code == Code::Committed);
            assert!(outcomes.iter().all(is_committed), "{outcomes:?}");
        } else {
            let found = target.workloads().await.expect("the branch is read");
            assert_eq!(found.workloads.len(), APPS);
        }
        println!("{}", milliseconds(began.elapsed()));
    }
}

fn settings(url: &str, folder: &Path) -> TargetSettings {
    TargetSettings {
        name: "prod".into(),
        remote: Remote {
            url: url.to_owned(),
            credentials: Credentials::None,
            ca: None,
            proxy: None,
            folder: folder.join("prod.git"),
        },
        branch: "main".to_owned(),
        scope: Scope::target("prod", "prod"),
        author: ("supercargo".to_owned(), "supercargo@example.test".to_owned()),
        one_each: false,
        message: Template::default(),
        signing: None,
        deployers: Vec::new(),
    }
}

fn plan(app: usize, tags: &[String; 2]) -> Plan<Approved> {
    let [from, to] = tags.each_ref().map(|tag| ImageRef::parse(&repository::image(app, tag)).unwrap());
    let (namespace, name) = (repository::namespace(app).into(), repository::name(app).into());
    let workload = WorkloadId { kind: KINDS[0].kind.clone(), namespace, name };
    let items = vec![Change { container: "app".into(), init: false, from, to }.into()];
    let proposed = "2026-01-01T00:00:00Z".parse().unwrap();
    let update = Update::new(workload, items, Route::Commit("prod".into()), proposed);
    gate::pass(Plan::propose(update), &gate::Context::default()).unwrap()
}

/// Looks every other millisecond at what a process and all that it has started have in memory.
struct Watch {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Watch {
    fn start(process: u32) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let until = ended.clone();
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            while !until.load(Ordering::Relaxed) {
                peak = peak.max(resident(process));
                std::thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        Self { ended, thread }
    }

    /// The most that was seen, in MB.
    fn peak(self) -> f64 {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().expect("it has watched") as f64 * 1024.0 / 1e6
    }
}

/// The resident memory of a process and all its descendants in KiB; what two share counts twice.
fn resident(process: u32) -> u64 {
    let own = field(process, "VmRSS:").unwrap_or_default();
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<u32> =
        children.flat_map(|c| c.split_whitespace().map_while(|id| id.parse().ok()).collect::<Vec<_>>()).collect();
    own + children.into_iter().map(resident).sum::<u64>()
}

fn field(process: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}
