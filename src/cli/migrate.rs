//! `supercargo migrate`: from Keel.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use super::{
    files::{self, ManifestFile, NewText},
    output::print,
    survey::{self, Scope, block_on},
};
use crate::{
    config::ClusterArgs,
    domain::{
        image::excerpt,
        keel::{self, Item, Translation},
        workload::{Kind, Workload, WorkloadId},
    },
    manifest::{self, Replace, Rewrite, Values},
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
            let scope = Scope { namespace: self.namespace.clone(), all: self.all_namespaces, one: None };
            let workloads = block_on(survey::workloads(&self.cluster, &scope))?;
            print(&cluster(&workloads))?;
            return Ok(ExitCode::SUCCESS);
        };
        let (files, problems) = files::load(root)?;
        let mut tally = Tally::default();
        let mut report = String::new();
        let mut texts = Vec::new();
        for file in &files {
            let edited = workloads(file, &mut report, &mut tally);
            texts.extend(edited.map(|new| (file, new)));
        }
        values(root, &mut report, &mut tally)?;
        for problem in problems.iter().filter(|problem| mentions_keel(&problem.path)) {
            tally.left += 1;
            eprintln!("{problem} (it mentions Keel, but cannot be read as a manifest: change it by hand)");
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
    /// Workloads, values and files that cannot.
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

/// Reports the workloads of a file; the new text, if there is one.
fn workloads(file: &ManifestFile, report: &mut String, tally: &mut Tally) -> Option<String> {
    let found = &file.manifests.workloads;
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
fn values(root: &Path, report: &mut String, tally: &mut Tally) -> anyhow::Result<()> {
    for path in files::walk(root)?.0 {
        let Ok(text) = files::read(&path) else { continue };
        for block in manifest::keel_values(&text).unwrap_or_default() {
            tally.left += 1;
            let _ = writeln!(report, "{}:{} Helm values for Keel", shown(&path), block.line);
            let _ = writeln!(
                report,
                "  supercargo reads annotations of the workload, not values: have the chart write these (many charts have \
                 a value for them), then take the block out"
            );
            let workload = pretended(&block);
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
    Ok(())
}

/// A workload with the annotations that values amount to.
fn pretended(block: &Values) -> Workload {
    let key = |(name, value): (&String, &String)| (format!("{}{name}", keel::PREFIX), value.clone());
    let known = ["policy", "trigger", "pollSchedule", "matchTag", "matchPreRelease", "approvals", "approvalDeadline"];
    let annotations = block.scalars.iter().filter(|(name, _)| known.contains(&name.as_str()));
    Workload {
        id: WorkloadId { kind: Kind("Deployment".into()), namespace: "".into(), name: "".into() },
        uid: "".into(),
        resource_version: "".into(),
        annotations: Arc::new(annotations.map(key).collect()),
        labels: BTreeMap::new(),
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
    path.display().to_string().escape_debug().to_string()
}
