//! `supercargo migrate`: from Keel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use super::{
    files::{self, ManifestFile, NewText},
    output::{print, tell},
    survey::{self, Scope, block_on},
};
use crate::{
    config::ClusterArgs,
    domain::{
        image::excerpt,
        keel::{self, Item, Translation},
        text::escape,
        workload::{Kind, Workload, WorkloadId},
    },
    manifest::{self, FoundWorkload, Replace, Rewrite, Stray, Values},
};

/// Say what to write instead of Keel's annotations and labels, line by line, and what will differ
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A folder of manifests, or one file; without it the cluster is read
    path: Option<PathBuf>,

    /// Edit the files; a workload with a key that cannot be moved yet is left as it is
    #[arg(long, requires = "path")]
    write: bool,

    /// Workloads of this namespace (default: the kubeconfig's)
    #[arg(long, short = 'n', conflicts_with_all = ["path", "all_namespaces"])]
    namespace: Option<String>,
    /// Workloads of all namespaces
    #[arg(long, short = 'A', conflicts_with = "path")]
    all_namespaces: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Some(root) = &self.path else {
            let scope =
                Scope { namespace: self.namespace.clone(), all: self.all_namespaces, operator: None, one: None };
            let workloads = block_on(survey::workloads(&self.cluster, &scope))?;
            print(&cluster(&workloads))?;
            return Ok(ExitCode::SUCCESS);
        };
        let files::Loaded { files, problems } = files::load(root)?;
        let paths = files::walk(root, files::is_manifest)?.0;
        let patches = patches(&paths);
        let whole: Vec<(&ManifestFile, Vec<&FoundWorkload>)> =
            files.iter().map(|file| (file, whole(file, &patches))).collect();
        let strays = strays(&paths, &whole);
        let mut tally = Tally::default();
        let mut report = String::new();
        let mut texts = Vec::new();
        let from_elsewhere = strays.values().flatten().any(|stray| stray.key.ends_with("/policy"));
        for (file, found) in &whole {
            let edited = workloads(file, found, from_elsewhere, &mut report, &mut tally);
            texts.extend(edited.map(|new| (*file, new)));
        }
        values(&paths, &mut report, &mut tally);
        for (path, strays) in &strays {
            tally.left += strays.len();
            stray_lines(&mut report, path, strays);
        }
        for problem in problems.iter().filter(|problem| mentions_keel(&problem.path)) {
            // Where keys are found in it, each of them counts.
            tally.left += usize::from(!strays.contains_key(&*problem.path));
            tell(format!("{problem} (it mentions Keel, but cannot be read as a manifest: change it by hand)"));
        }
        if self.write {
            let edits: Vec<NewText> =
                texts.iter().map(|(file, new)| NewText { path: &file.path, old: &file.text, new }).collect();
            files::write(&edits)?;
        }
        let _ = writeln!(report, "{}", tally.summary(self.write));
        print(&report)?;
        Ok(if self.write && tally.left > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Tally {
    /// Workloads that can be moved, or were.
    moved: usize,
    /// Workloads, values and files that cannot, and keys that stand elsewhere.
    left: usize,
}

impl Tally {
    fn summary(&self, write: bool) -> String {
        let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        match (self.moved, self.left) {
            (0, 0) => "Nothing of Keel's was found.".to_owned(),
            (moved, left) => {
                let done = if write { "moved" } else { "can be moved with --write" };
                format!("{} {done}; {} left to you.", plural(moved, "workload"), plural(left, "place"))
            }
        }
    }
}

/// The files that kustomizations name as patches.
fn patches(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let is_kustomization = |path: &&PathBuf| path.file_stem().is_some_and(|stem| stem == "kustomization");
    let named = paths.iter().filter(is_kustomization).flat_map(|path| {
        let text = files::read(path).unwrap_or_default();
        manifest::patch_paths(&text).into_iter().filter_map(|patch| fs::canonicalize(path.with_file_name(patch)).ok())
    });
    named.collect()
}

/// The workloads of a file that are no patch of another: what a patch's keys mean is told by what it patches.
fn whole<'f>(file: &'f ManifestFile, patches: &BTreeSet<PathBuf>) -> Vec<&'f FoundWorkload> {
    let is_patch = fs::canonicalize(&file.path).is_ok_and(|path| patches.contains(&path));
    file.manifests.workloads.iter().filter(|found| !is_patch && !found.images.is_empty()).collect()
}

/// Keel's keys that stand on none of these workloads, by file.
fn strays<'p>(paths: &'p [PathBuf], whole: &[(&ManifestFile, Vec<&FoundWorkload>)]) -> BTreeMap<&'p Path, Vec<Stray>> {
    let found = paths.iter().filter_map(|path| {
        let but = whole.iter().find(|(file, _)| file.path == *path).map_or(&[][..], |(_, found)| found);
        let text = files::read(path).ok()?;
        let strays = manifest::strays(&text, but, keel::is_keels, keel::mentions);
        (!strays.is_empty()).then_some((&**path, strays))
    });
    found.collect()
}

/// Reports keys that are left to people, and what those of one mapping would be if they stood on a workload.
fn stray_lines(report: &mut String, path: &Path, strays: &[Stray]) {
    let _ = writeln!(
        report,
        "{}: left to you, as supercargo reads only what reaches the annotations of the workload itself",
        shown(path)
    );
    let mut mappings: BTreeMap<u32, BTreeMap<String, String>> = BTreeMap::new();
    for stray in strays {
        if let (Some(mapping), Some(value)) = (stray.mapping, &stray.value) {
            mappings.entry(mapping).or_default().insert(stray.key.clone(), value.clone());
        }
    }
    let read = |annotations: BTreeMap<String, String>| {
        let workload = pretended(annotations);
        let translation = keel::translate(&workload);
        let by = keel::replacements(&workload, &translation);
        (translation, by)
    };
    let mappings: BTreeMap<u32, _> = mappings.into_iter().map(|(mapping, keys)| (mapping, read(keys))).collect();
    for stray in strays {
        let read = stray.mapping.and_then(|mapping| mappings.get(&mapping)).filter(|(read, _)| read.watched);
        let item = read.and_then(|(read, by)| read.items.iter().zip(by).find(|(item, _)| item.key == stray.key));
        if let Some((item, by)) = item {
            item_lines(report, Some(stray.line), item, by);
        } else {
            let value = stray.value.as_ref().map(|value| manifest::entry(&stray.key, &short(value)));
            let _ = writeln!(report, "  line {}: {}", stray.line, value.unwrap_or_else(|| short(&stray.key)));
        }
    }
}

/// Reports the workloads of a file; the new text, if there is one. If a policy comes `from_elsewhere`, keys without one
/// beside them may mean something.
fn workloads(
    file: &ManifestFile,
    found: &[&FoundWorkload],
    from_elsewhere: bool,
    report: &mut String,
    tally: &mut Tally,
) -> Option<String> {
    let lines = manifest::key_lines(&file.text, found).unwrap_or_default();
    let mut rewrites = Vec::new();
    for (index, found) in found.iter().enumerate() {
        let translation = keel::translate(&found.workload);
        if translation.items.is_empty() {
            continue;
        }
        let by = keel::replacements(&found.workload, &translation);
        let _ = writeln!(report, "{}:{} {}", shown(&file.path), found.line, found.workload.id);
        let line = |item: &Item| lines.get(index).and_then(|l| l.get(&(item.label, item.key.clone()))).copied();
        if from_elsewhere && !translation.watched {
            tally.left += 1;
            for item in &translation.items {
                item_lines(report, line(item), &Item { differs: Vec::new(), ..item.clone() }, &[]);
            }
            let _ = writeln!(report, "  left as it is: the policy may come from where the lines below name one");
            continue;
        }
        let blocked = items(report, &translation, &by, line);
        if blocked {
            tally.left += 1;
            continue;
        }
        let replace = |(item, by): (&Item, Vec<_>)| Replace { label: item.label, key: item.key.clone(), by };
        let rewrite = Rewrite { found, replace: translation.items.iter().zip(by).map(replace).collect() };
        // One by one first, so that one that cannot be edited does not hold up the others.
        match manifest::rewrite(&file.text, std::slice::from_ref(&rewrite)) {
            Ok(_) => {
                tally.moved += 1;
                rewrites.push(rewrite);
            }
            Err(error) => {
                tally.left += 1;
                let _ = writeln!(report, "  cannot be edited exactly: {error}");
            }
        }
    }
    if rewrites.is_empty() {
        return None;
    }
    match manifest::rewrite(&file.text, &rewrites) {
        Ok(new) => Some(new),
        Err(error) => {
            tally.moved -= rewrites.len();
            tally.left += rewrites.len();
            let _ = writeln!(report, "{}: cannot be edited exactly: {error}", shown(&file.path));
            None
        }
    }
}

/// Reports the workloads of a cluster.
fn cluster(workloads: &[Workload]) -> String {
    let (mut report, mut tally) = (String::new(), Tally::default());
    for workload in workloads {
        let translation = keel::translate(workload);
        if translation.items.is_empty() {
            continue;
        }
        let _ = writeln!(report, "{}", workload.id);
        let by = keel::replacements(workload, &translation);
        if items(&mut report, &translation, &by, |_| None) {
            tally.left += 1;
        } else {
            tally.moved += 1;
        }
    }
    let summary = match (tally.moved, tally.left) {
        (0, 0) => tally.summary(false),
        (ready, blocked) => format!(
            "{ready} ready to be moved, {blocked} blocked. Write the annotations where the workloads come from (`supercargo \
             migrate PATH --write` edits manifests)."
        ),
    };
    let _ = writeln!(report, "{summary}");
    report
}

/// What becomes of all keys of a workload; whether any of them blocks.
fn items(
    report: &mut String,
    translation: &Translation,
    by: &[Vec<(String, String)>],
    line: impl Fn(&Item) -> Option<usize>,
) -> bool {
    let mut order: Vec<usize> = (0..translation.items.len()).collect();
    order.sort_by_key(|index| line(&translation.items[*index]));
    for index in order {
        let item = &translation.items[index];
        item_lines(report, line(item), item, &by[index]);
    }
    let blocked = translation.items.iter().any(|item| item.blocks.is_some());
    if blocked {
        let _ = writeln!(report, "  left as it is, until the lines marked `blocked` are settled");
    }
    blocked
}

/// What becomes of one key.
fn item_lines(report: &mut String, line: Option<usize>, item: &Item, by: &[(String, String)]) {
    let line = line.map_or_else(String::new, |line| format!("line {line}: "));
    let label = if item.label { "label " } else { "" };
    let _ = writeln!(report, "  {line}{label}{}", manifest::entry(&item.key, &short(&item.value)));
    for (key, value) in by {
        let _ = writeln!(report, "    write   {}", manifest::entry(key, value));
    }
    for text in &item.differs {
        let _ = writeln!(report, "    note    {text}");
    }
    if let Some(note) = &item.note {
        let _ = writeln!(report, "    note    {}", note.message);
    }
    if let Some(reason) = &item.blocks {
        let _ = writeln!(report, "    blocked {}", reason.message);
    }
}

/// Reports values for Keel's Helm provider. They are never edited: their place is not where an annotation can stand.
fn values(paths: &[PathBuf], report: &mut String, tally: &mut Tally) {
    for path in paths {
        let Ok(text) = files::read(path) else { continue };
        for block in manifest::keel_values(&text).unwrap_or_default() {
            tally.left += 1;
            let _ = writeln!(report, "{}:{} Helm values for Keel", shown(path), block.line);
            let _ = writeln!(
                report,
                "  supercargo reads annotations of the workload, not values: have the chart write these (many charts have \
                 a value for them), then take the block out"
            );
            let workload = pretended(of_values(&block));
            let translation = keel::translate(&workload);
            for (item, by) in translation.items.iter().zip(keel::replacements(&workload, &translation)) {
                item_lines(report, None, item, &by);
            }
            for (repository, tag) in &block.images {
                let _ = writeln!(
                    report,
                    "  image `{}`, tag `{}`: Keel upgrades the release; supercargo changes the workload, and the next \
                     `helm upgrade` sets the values' tag again: keep it in step, as by `supercargo set-image FILE --path \
                     {} --value TAG`",
                    excerpt(repository),
                    excerpt(tag),
                    excerpt(if tag.is_empty() { repository } else { tag })
                );
            }
        }
    }
}

/// The annotations that values amount to.
fn of_values(block: &Values) -> BTreeMap<String, String> {
    let key = |(name, value): (&String, &String)| (format!("{}{name}", keel::PREFIX), value.clone());
    let known = ["policy", "trigger", "pollSchedule", "matchTag", "matchPreRelease", "approvals", "approvalDeadline"];
    block.scalars.iter().filter(|(name, _)| known.contains(&name.as_str())).map(key).collect()
}

/// A workload with these annotations.
fn pretended(annotations: BTreeMap<String, String>) -> Workload {
    Workload {
        id: WorkloadId { kind: Kind("Deployment".into()), namespace: "".into(), name: "".into() },
        uid: "".into(),
        resource_version: "".into(),
        annotations: Arc::new(annotations),
        labels: BTreeMap::new(),
        written: None,
        has_annotations: true,
        containers: Vec::new(),
        owner: None,
        instance: None,
        pull_secrets: Vec::new(),
    }
}

/// Foreign text, capped; what prints it quotes and escapes.
fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

fn mentions_keel(path: &Path) -> bool {
    let is = |text: &str| ["keel.sh/", "keel.observer/", "keel:"].iter().any(|key| text.contains(key));
    files::read(path).is_ok_and(|text| is(&text))
}

fn shown(path: &Path) -> String {
    escape(&path.display().to_string())
}
