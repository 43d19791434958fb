//! Small repositories from practice (`tests/data/cases`): a command, and what must come of it.
//!
//! `REGISTRY`, `SHA(repository:tag)`, `REPO` and `CASE` stand for what is only known when a case runs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::{
    registry::fault_server::FaultServer,
    support::{
        git_server::{BareRepo, git, run},
        registry::{Image, Registry},
    },
};

mod faulty;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "about")]
    _about: String,
    registry: faulty::Spec,
    run: Vec<String>,
    expect: Expect,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expect {
    exit: Option<OneOrMany<i32>>,
    /// What becomes of single lines; every other byte stays.
    changed: Option<BTreeMap<String, BTreeMap<usize, String>>>,
    unchanged: bool,
    /// What is said; the words of an inner list on one line.
    says: Vec<OneOrMany<String>>,
    /// Likewise, and is not.
    never_says: Vec<OneOrMany<String>>,
    /// One of these holds, too.
    any: Vec<Expect>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn all(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

type Texts = BTreeMap<String, Vec<u8>>;

/// What came of a case.
struct Outcome {
    exit: i32,
    said: String,
    before: Texts,
    after: Texts,
}

impl Outcome {
    /// What is not as expected.
    fn wrong(&self, expect: &Expect) -> Vec<String> {
        let mut wrong = Vec::new();
        if expect.exit.as_ref().is_some_and(|exit| !exit.all().contains(&self.exit)) {
            wrong.push(format!("exit {}", self.exit));
        }
        if expect.unchanged || expect.changed.is_some() {
            let mut texts = self.before.clone();
            for (path, lines) in expect.changed.iter().flatten() {
                let old = String::from_utf8(texts[path].clone()).unwrap();
                let new = old.split('\n').enumerate().map(|(n, line)| lines.get(&(n + 1)).map_or(line, |new| new));
                texts.insert(path.clone(), new.collect::<Vec<_>>().join("\n").into_bytes());
            }
            let differs = texts.iter().filter(|(path, text)| self.after.get(*path) != Some(*text));
            wrong.extend(differs.map(|(path, _)| {
                format!("{path}: {}", String::from_utf8_lossy(self.after.get(path).map_or(b"gone", |text| text)))
            }));
            assert_eq!(texts.len(), self.after.len(), "no file comes or goes");
        }
        let is_said = |words: &OneOrMany<String>| {
            self.said.lines().any(|line| words.all().iter().all(|word| line.contains(&**word)))
        };
        wrong.extend(expect.says.iter().filter(|words| !is_said(words)).map(|words| format!("said no {words:?}")));
        wrong.extend(expect.never_says.iter().filter(|words| is_said(words)).map(|words| format!("said {words:?}")));
        let each: Vec<Vec<String>> = expect.any.iter().map(|one| self.wrong(one)).collect();
        if !each.is_empty() && each.iter().all(|wrong| !wrong.is_empty()) {
            wrong.push(format!("none of these: {each:?}"));
        }
        wrong
    }
}

fn files(folder: &Path, within: &Path, found: &mut Texts) {
    for entry in fs::read_dir(within).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => files(folder, &entry, found),
            false => {
                let path = entry.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(path, fs::read(&entry).unwrap());
            }
        }
    }
}

fn read(folder: &Path) -> Texts {
    let mut found = Texts::new();
    files(folder, folder, &mut found);
    found
}

/// The texts with what is only known now.
fn fill(text: &str, words: &[(String, String)]) -> String {
    words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
}

/// A registry: a real one, unless the case names faults.
enum Host {
    Real(Registry),
    Faulty(FaultServer),
}

impl Host {
    fn name(&self) -> &str {
        match self {
            Self::Real(registry) => &registry.host,
            Self::Faulty(server) => &server.host,
        }
    }

    /// The digest of an image that is there from now on, without its `sha256:`.
    async fn image(&self, path: &str, tag: &str) -> String {
        match self {
            Self::Real(registry) => {
                registry.push(path, tag, &Image::unique()).await.to_string().replacen("sha256:", "", 1)
            }
            Self::Faulty(_) => faulty::digest(path, tag),
        }
    }
}

async fn run_case(folder: &Path) -> Vec<String> {
    let room = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(folder.join("case.yaml")).unwrap();
    let case: Case = serde_saphyr::from_str(&text).unwrap();
    let registry = match case.registry.is_plain() {
        true => Host::Real(Registry::start().await),
        false => Host::Faulty(faulty::start(&case.registry).await),
    };
    let with_git = case.run.contains(&"--git".to_owned());
    let (bare, work) = (room.path().join("repo.git"), room.path().join("repo"));
    let repo = if with_git { &bare } else { &work };
    let mut words = vec![
        ("REGISTRY".to_owned(), registry.name().to_owned()),
        ("REPO".to_owned(), repo.to_str().unwrap().to_owned()),
        ("CASE".to_owned(), room.path().to_str().unwrap().to_owned()),
    ];
    for (path, tags) in &case.registry.repositories {
        for tag in tags {
            words.push((format!("SHA({path}:{tag})"), registry.image(path, tag).await));
        }
    }
    let case: Case = serde_saphyr::from_str(&fill(&text, &words)).unwrap();
    for (path, text) in read(folder) {
        let to = room.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, fill(std::str::from_utf8(&text).unwrap(), &words)).unwrap();
    }
    let before = read(&work);
    let made = with_git.then(|| {
        let files: Vec<(&str, &[u8])> = before.iter().map(|(path, text)| (&**path, &**text)).collect();
        BareRepo::create(&bare, &files)
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    command.args(&case.run).current_dir(room.path()).env_remove("KUBERNETES_SERVICE_HOST");
    for (name, folder) in [("HOME", "home"), ("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache")] {
        command.env(name, room.path().join(folder));
    }
    command.env("DOCKER_CONFIG", room.path().join("home/.docker")).env("KUBECONFIG", "/dev/null");
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    let after = match made {
        Some(_) => {
            let clone: PathBuf = room.path().join("clone");
            run(git().arg("clone").arg("-q").arg(&bare).arg(&clone), b"");
            fs::remove_dir_all(clone.join(".git")).unwrap();
            read(&clone)
        }
        None => read(&work),
    };
    let outcome = Outcome { exit: done.status.code().unwrap(), said, before, after };
    let mut wrong = outcome.wrong(&case.expect);
    if !wrong.is_empty() {
        wrong.push(outcome.said);
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_ends_as_it_should() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cases");
    let mut folders: Vec<PathBuf> = fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    let mut failed = Vec::new();
    for folder in folders {
        let wrong = run_case(&folder).await;
        if !wrong.is_empty() {
            failed.push(format!("{}: {}", folder.file_name().unwrap().display(), wrong.join("\n")));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
