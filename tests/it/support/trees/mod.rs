//! Random trees of kustomizations: supercargo edits them in Git, and `kubectl kustomize` says what they render before and
//! after. Each image that a policy wants is there then and nothing else differs, or the update was refused.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;

use self::{
    images::Images,
    make::{Tree, id, make},
    rows::{Row, rows},
};
use super::{
    bin,
    git_server::{BareRepo, git, run},
    registry::Registry,
    write_below,
};

mod images;
mod make;
mod rows;
mod yaml;

/// Trees that lie in one repository: building and committing them one by one takes too long.
const BATCH: u64 = 20;

/// What came of all trees.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Trees that Kustomize builds.
    pub(crate) trees: usize,
    /// Trees that it does not build: they are passed over.
    pub(crate) broken: usize,
    /// Trees in which at least one image was changed.
    pub(crate) edited: usize,
    /// Containers that were to have another image.
    pub(crate) wanted: usize,
    /// Those that have it.
    pub(crate) updated: usize,
    /// Why the others have it not, and how often.
    pub(crate) refused: BTreeMap<String, usize>,
    /// What is wrong, a tree each.
    pub(crate) wrong: Vec<String>,
}

/// Checks that many trees, the first of them that of the seed, the next that of the next seed.
pub(crate) async fn check(trees: u64, seed: u64) -> Outcome {
    println!("SUPERCARGO_SEED={seed}, {trees} trees");
    let registry = Registry::start().await;
    let images = Images::push(&registry).await;
    tokio::task::spawn_blocking(move || {
        let (next, outcome) = (AtomicU64::new(0), Mutex::new(Outcome::default()));
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let first = next.fetch_add(BATCH, Ordering::Relaxed);
                        if first >= trees {
                            return;
                        }
                        let seeds = (first..trees.min(first + BATCH)).map(|number| seed.wrapping_add(number));
                        let found = batch(seeds.map(|seed| make(seed, &images)).collect(), &images);
                        outcome.lock().unwrap().add(found);
                    }
                });
            }
        });
        drop(registry);
        outcome.into_inner().unwrap()
    })
    .await
    .expect("the check ends")
}

impl Outcome {
    /// Panics if a tree is wrong, or if too little was tried or edited to tell anything.
    pub(crate) fn hold(&self) {
        let Self { trees, broken, edited, wanted, updated, refused, wrong } = self;
        println!("{trees} trees, {broken} do not build, {edited} edited; {wanted} images wanted, {updated} updated");
        for (why, count) in refused {
            println!("{count} refused: {why}");
        }
        assert!(wrong.is_empty(), "{} trees are wrong: see above", wrong.len());
        assert!(broken * 20 <= *trees, "the trees do not build");
        assert!(edited * 2 >= *trees && updated * 2 >= *wanted, "too much is refused");
        // Elsewhere than at a place that others share, hardly anything is.
        let other: usize = refused.iter().filter(|(why, _)| **why != rows::SHARED).map(|(_, count)| count).sum();
        assert!(other * 12 <= *wanted, "too much is refused");
    }

    fn add(&mut self, other: Self) {
        let Self { trees, broken, edited, wanted, updated, refused, wrong } = other;
        if (self.trees + trees) / 1000 > self.trees / 1000 {
            println!("{} trees, {} of them wrong", self.trees + trees, self.wrong.len() + wrong.len());
        }
        self.trees += trees;
        self.broken += broken;
        self.edited += edited;
        self.wanted += wanted;
        self.updated += updated;
        refused.into_iter().for_each(|(why, count)| *self.refused.entry(why).or_default() += count);
        for each in wrong {
            println!("{each}");
            self.wrong.push(each);
        }
    }
}

type Texts = BTreeMap<String, String>;
/// The objects that the leaves of a tree render, in their order.
type Objects = Vec<Value>;

/// What Kustomize says of trees under `root`: one run for all; where it fails, one for each half.
fn render(root: &Path, trees: &[&Tree]) -> BTreeMap<u64, Result<Objects, String>> {
    let leaves: Vec<String> =
        trees.iter().flat_map(|tree| tree.leaves.iter().map(|leaf| format!("../{leaf}"))).collect();
    let collector = root.join(format!("collect{}", trees[0].seed));
    fs::create_dir_all(&collector).unwrap();
    let text = serde_json::json!({"resources": leaves}).to_string();
    fs::write(collector.join("kustomization.yaml"), text).unwrap();
    let mut command = Command::new(bin("kubectl"));
    // Nothing is fetched.
    command.arg("kustomize").arg(&collector).env("HTTPS_PROXY", "http://127.0.0.1:1").env("PATH", "");
    let output = command.output().expect("kubectl runs");
    if output.status.success() {
        let mut found: BTreeMap<u64, Result<Objects, String>> =
            trees.iter().map(|tree| (tree.seed, Ok(Vec::new()))).collect();
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        for document in text.split("\n---\n").filter(|document| !document.trim().is_empty()) {
            let object: Value = serde_saphyr::from_str(document).expect("an object");
            let name = object["metadata"]["name"].as_str().expect("a name");
            let is_of = |tree: &&&Tree| name.contains(&id(tree.seed));
            let tree = trees.iter().find(is_of).unwrap_or_else(|| panic!("{name} is of no tree"));
            found.get_mut(&tree.seed).unwrap().as_mut().unwrap().push(object);
        }
        return found;
    }
    if let [one] = trees {
        return BTreeMap::from([(one.seed, Err(String::from_utf8_lossy(&output.stderr).into_owned()))]);
    }
    let (left, right) = trees.split_at(trees.len() / 2);
    let mut found = render(root, left);
    found.extend(render(root, right));
    found
}

fn batch(trees: Vec<Tree>, images: &Images) -> Outcome {
    let room = tempfile::tempdir().unwrap();
    let (before, after) = (room.path().join("before"), room.path().join("after"));
    trees.iter().for_each(|tree| write_below(&before, &tree.files));
    let rendered = render(&before, &trees.iter().collect::<Vec<_>>());
    let mut outcome = Outcome::default();
    let mut good: BTreeMap<u64, (Tree, Objects)> = BTreeMap::new();
    for tree in trees {
        match &rendered[&tree.seed] {
            // Two containers of one name no cluster takes.
            Ok(objects) if objects.iter().filter_map(rows::Rendered::of).any(|workload| workload.has_namesakes()) => {
                outcome.broken += 1;
            }
            Ok(objects) => _ = good.insert(tree.seed, (tree, objects.clone())),
            Err(_) => outcome.broken += 1,
        }
    }
    outcome.trees = good.len();
    let files: Texts = good.values().flat_map(|(tree, _)| tree.files.clone()).collect();
    let repository = room.path().join("repo.git");
    let texts: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (&**path, text.as_bytes())).collect();
    BareRepo::create(&repository, &texts);
    let (rows, said) = update(&repository, room.path());
    run(git().arg("clone").arg("-q").arg(&repository).arg(&after), b"");
    let edited: Texts =
        files.keys().map(|path| (path.clone(), fs::read_to_string(after.join(path)).expect("no file goes"))).collect();
    let is_edited = |tree: &Tree| tree.files.iter().any(|(path, text)| edited[path] != *text);
    let changed: Vec<&Tree> = good.values().map(|(tree, _)| tree).filter(|tree| is_edited(tree)).collect();
    let mut again = if changed.is_empty() { BTreeMap::new() } else { render(&after, &changed) };
    outcome.edited = changed.len();
    for (seed, (tree, objects)) in &good {
        // What is not edited renders the same.
        let now = again.remove(seed).unwrap_or_else(|| Ok(objects.clone()));
        let judged = now.map_err(|why| format!("it does not build any more: {why}"));
        let judged = judged.and_then(|now| judge(objects, &now, &rows, images, &mut outcome));
        let known: Vec<String> = objects.iter().filter_map(rows::Rendered::of).map(|workload| workload.id).collect();
        let own = |row: &&Row| row.workload.contains(&id(*seed));
        let judged = judged.and(match rows.iter().filter(own).find(|row| !known.contains(&row.workload)) {
            Some(row) => Err(format!("{} is rendered by nothing", row.workload)),
            None => Ok(()),
        });
        let own = |line: &&str| line.contains(&id(*seed));
        let said: String = said.lines().filter(own).flat_map(|line| [line, "\n"]).collect();
        let judged = match said.is_empty() {
            true => judged,
            false => judged.and(Err("something was said of it".to_owned())),
        };
        if let Err(why) = judged {
            let mut text = format!("SUPERCARGO_SEED={seed}: {why}\n{said}");
            for row in rows.iter().filter(|row| row.workload.contains(&id(*seed))) {
                writeln!(text, "{row:?}").unwrap();
            }
            for (path, before) in &tree.files {
                let after = &edited[path];
                writeln!(text, "==== {path}\n{before}").unwrap();
                if before != after {
                    writeln!(text, "==== {path}, edited\n{after}").unwrap();
                }
            }
            outcome.wrong.push(text);
        }
    }
    outcome
}

/// What `run --git` says of each container of a repository, and what else it says.
fn update(repository: &Path, room: &Path) -> (Vec<Row>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    command.arg("run").arg("--git").arg(repository).args(["--once", "--log-level", "error"]).current_dir(room);
    command.arg("--git-cache").arg(room.join("cache")).env("XDG_STATE_HOME", room.join("state"));
    command.env_remove("KUBERNETES_SERVICE_HOST").env("KUBECONFIG", "/dev/null").env("HOME", room);
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    (rows(&String::from_utf8_lossy(&output.stdout)), said)
}

/// Holds what a tree renders after the edits against what was to come of it.
fn judge(
    before: &Objects,
    after: &Objects,
    rows: &[Row],
    images: &Images,
    outcome: &mut Outcome,
) -> Result<(), String> {
    // Two tags make no image: what shares a place with it, only the last check holds.
    let images_of = |object| rows::Rendered::of(object).map(|workload| workload.containers()).unwrap_or_default();
    let has_two_tags =
        |image: &str| image.replace("@sha256:", "").rsplit('/').next().unwrap_or("").matches(':').count() > 1;
    let is_odd = before.iter().flat_map(images_of).any(|(.., image)| has_two_tags(&image));
    if before.len() != after.len() {
        return Err(format!("{} objects, and {} after the edit", before.len(), after.len()));
    }
    for (before, after) in before.iter().zip(after) {
        let mut expected = before.clone();
        let Some(workload) = rows::Rendered::of(before) else {
            if before != after {
                return Err(format!("another object differs:\n{before}\n{after}"));
            }
            continue;
        };
        for (list, index, name, image) in workload.containers() {
            let at = format!("{}, container {name}", workload.id);
            let wanted = workload.wanted(list, name, &image, images);
            let row = rows.iter().find(|row| row.workload == workload.id && row.container == name);
            let row = match row {
                Some(row) => row,
                None if !workload.is_asked() => continue,
                None => return Err(format!("{at}: no row")),
            };
            // A replacement has put a name there, and what one sets is not followed.
            if !image.contains('/') && row.image.starts_with("$(set by the replacement at ") {
                continue;
            }
            if row.image != image {
                return Err(format!("{at} has {image}, and the row says {}", row.image));
            }
            match (&wanted[..], &*row.decision) {
                ([], "update") => return Err(format!("{at} is to stay, and is updated to {}", row.to)),
                ([], _) => {}
                (wanted, "blocked") => {
                    outcome.wanted += 1;
                    // Another update of the same place may bring it.
                    let path = format!("{}/{list}/{index}/image", workload.pod);
                    if let Some(now) = after.pointer(&path).and_then(Value::as_str)
                        && wanted.iter().any(|wanted| wanted == now)
                    {
                        *expected.pointer_mut(&path).unwrap() = now.into();
                    }
                    let why = row.why();
                    if let Some(unfit) = rows::UNFIT.iter().find(|unfit| row.reason.contains(**unfit))
                        && !is_odd
                    {
                        return Err(format!("{at}: {unfit}: {}", row.reason));
                    }
                    *outcome.refused.entry(why).or_default() += 1;
                }
                (wanted, "update") => {
                    outcome.wanted += 1;
                    let now = after.pointer(&format!("{}/{list}/{index}/image", workload.pod)).and_then(Value::as_str);
                    match now.filter(|now| wanted.iter().any(|wanted| wanted == now)) {
                        Some(now) => {
                            outcome.updated += 1;
                            *expected.pointer_mut(&format!("{}/{list}/{index}/image", workload.pod)).unwrap() =
                                now.into();
                        }
                        None => return Err(format!("{at} is to have {wanted:?}, and has {now:?}")),
                    }
                }
                (wanted, other) => {
                    // An init container may follow one of several, or stay.
                    if !wanted.contains(&image) {
                        return Err(format!("{at} is to have {wanted:?}, and is {other}: {}", row.reason));
                    }
                }
            }
        }
        if expected != *after {
            return Err(format!("{}: more differs than the images:\n{expected}\n{after}", workload.id));
        }
    }
    Ok(())
}
