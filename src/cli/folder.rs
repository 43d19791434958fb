//! A folder of manifests, or one file, read as `run --git` reads a repository: what is to be done, and the edits.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;

use super::{
    files::{self, MAX_IN_ALL, NewText, Problem},
    output::tell,
    survey::{self, Remembered},
};
use crate::{
    clock::SystemClock,
    config::ConfigError,
    domain::{
        reason::{Code, Reason},
        report::{Report, ReportWorkload, Verdict},
        target::Targets,
        text::escape,
        workload::{Kind, WorkloadId},
    },
    engine::Settings,
    git::{self, Scope, Text},
    manifest::places::{FILE_KIND, Facts},
    ports::Registry,
};

/// A folder with what is to be done about each of its workloads.
pub(super) struct Folder {
    /// What is said of each container.
    pub(super) reports: Vec<Report>,
    /// A row for each template of a chart, which is left alone.
    pub(super) templates: Vec<Report>,
    /// Every workload, also those that no policy applies to.
    pub(super) workloads: Vec<WorkloadId>,
    /// The files that change.
    edited: Vec<Edited>,
    /// Whether a file, or a part of one, could not be read.
    pub(super) is_partial: bool,
}

struct Edited {
    path: PathBuf,
    old: String,
    new: String,
}

impl Folder {
    /// The new texts of the files that change.
    pub(super) fn edited(&self) -> Vec<NewText<'_>> {
        self.edited.iter().map(|Edited { path, old, new }| NewText { path, old, new }).collect()
    }
}

/// Reads a folder, looks at every repository that its workloads use, and makes the edits in memory. What cannot be read is
/// said on stderr.
pub(super) async fn survey(root: &Path, settings: &Settings, registry: &dyn Registry) -> anyhow::Result<Folder> {
    let Read { paths, scope, texts, problems } = Read::of(root)?;
    for problem in &problems {
        tell(problem);
    }
    let clock = SystemClock::default();
    let settings = Settings { targets: Arc::new(Targets::files(scope.name.clone())), ..settings.clone() };
    let mut folder = Folder {
        reports: Vec::new(),
        templates: Vec::new(),
        workloads: Vec::new(),
        edited: Vec::new(),
        is_partial: !problems.is_empty(),
    };
    let mut reports = Vec::new();
    let size = |text: &Text| text.as_ref().map_or(0, Vec::len);
    let mut held: usize = texts.values().map(size).sum();
    let beyond = |path: &str| {
        let text = paths.beyond(path)?;
        held += size(&text);
        (held <= MAX_IN_ALL).then_some(text)
    };
    let folders = git::Folder::read(&scope, texts, beyond);
    files::within_all(root, held)?;
    for files in folders {
        let rendered = files.workloads();
        let place = |path: &str| paths.shown(path).display().to_string();
        let mut looked =
            survey::rendered(&rendered, settings.clone(), registry, &clock, Remembered::default(), place).await;
        let (found, edited) = files.edit(&looked.plans);
        looked.show(&scope.shown, &found);
        for reason in looked.reports.iter_mut().flat_map(|(_, rows)| rows).flat_map(|row| &mut row.reasons) {
            reason.message = named(&reason.message, |path| files.text(path).is_some().then(|| place(path)));
        }
        folder.is_partial |= looked.is_partial;
        for (path, new) in edited {
            let old = files.text(&path).unwrap_or_default().to_vec();
            let (old, new) = (String::from_utf8(old)?, String::from_utf8(new)?);
            folder.edited.push(Edited { path: paths.shown(&path), old, new });
        }
        folder.templates.extend(rendered.templates.iter().map(|(path, line)| template(path, &place(path), *line)));
        folder.workloads.extend(rendered.unplaced.iter().map(|each| each.id.clone()));
        folder.workloads.extend(rendered.workloads.into_iter().map(|(workload, ..)| workload.id));
        reports.extend(looked.reports);
    }
    reports.sort_by(|(a, _), (b, _)| a.cmp(b));
    folder.reports = reports.into_iter().flat_map(|(_, rows)| rows).collect();
    folder.edited.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(folder)
}

/// A text with the files in it named otherwise, where there is another name.
fn named(text: &str, other: impl Fn(&str) -> Option<String>) -> String {
    let is_end = |c: char| c.is_whitespace() || "`'\"(),;".contains(c);
    let words = text.split_inclusive(is_end).map(|word| {
        let path = word.split(':').next().unwrap_or_default().trim_end_matches(is_end);
        other(path).map_or_else(|| word.to_owned(), |other| word.replacen(path, &other, 1))
    });
    words.collect()
}

/// The row of a template, which is no YAML, and need not be.
fn template(path: &Arc<str>, place: &str, line: usize) -> Report {
    let id = WorkloadId { kind: Kind(FILE_KIND.into()), namespace: "".into(), name: path.clone() };
    Report {
        workload: ReportWorkload { id, source: format!("{place}:{line}").into() },
        container: "".into(),
        image: "".into(),
        policy: "".into(),
        decision: Verdict::UpToDate,
        to: None,
        to_image: None,
        opens: None,
        gates: Vec::new(),
        reasons: vec![Reason::new(Code::NotWatched, "a template of a chart: left alone")],
    }
}

/// The files of a folder.
struct Read {
    paths: Paths,
    scope: Scope,
    texts: BTreeMap<Arc<str>, Text>,
    problems: Vec<Problem>,
}

/// Where files are. Their paths begin at the top of the repository that the folder is in; in none, at the folder.
struct Paths {
    /// As it was given, in the shortest form.
    given: PathBuf,
    /// None if what was given is a file.
    folder: Option<InRepository>,
}

struct InRepository {
    top: PathBuf,
    /// The folder that was given, from there.
    path: String,
    /// Where we are, from there, if the folder was given from here, and this is below the top.
    here: Option<PathBuf>,
}

impl Read {
    fn of(root: &Path) -> anyhow::Result<Self> {
        let cannot = |error| ConfigError::one(format!("{} cannot be read: {error}", root.display()));
        let shown = escape(&root.display().to_string());
        if !fs::metadata(root).map_err(cannot)?.is_dir() {
            let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let texts = BTreeMap::from([(name.into(), files::bytes(root).map_err(cannot)?)]);
            let scope = Scope { is_yaml: true, ..Scope::folder(format!("file {shown}"), "")? };
            let paths = Paths { given: root.to_owned(), folder: None };
            return Ok(Self { paths, scope, texts, problems: Vec::new() });
        }
        let mut folder = InRepository::of(&fs::canonicalize(root).map_err(cannot)?)?;
        let here = fs::canonicalize(".").ok().filter(|_| root.is_relative());
        folder.here = here.and_then(|here| Some(here.strip_prefix(&folder.top).ok()?.to_owned()));
        let within = |path: &Path| {
            let path = path.strip_prefix(root).unwrap_or(path).to_str()?;
            Some(if folder.path.is_empty() { path.to_owned() } else { format!("{}/{path}", folder.path) })
        };
        let is_wanted = |path: &Path| within(path).is_none_or(|path| Facts::is_wanted(&path));
        let (found, mut problems) = files::walk(root, is_wanted)?;
        let mut texts = BTreeMap::new();
        for path in found {
            match (within(&path), files::bytes(&path)) {
                (None, _) => problems.push(Problem::new(&path, "a name that is no UTF-8: the file is left alone")),
                (_, Err(error)) => problems.push(Problem::new(&path, format!("the file cannot be read: {error}"))),
                (Some(within), Ok(text)) => _ = texts.insert(within.into(), text),
            }
        }
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        let scope = Scope::folder(format!("folder {shown}"), &folder.path)?;
        let named: Vec<Option<String>> = problems.iter().map(|problem| within(&problem.path)).collect();
        let given = root.components().filter(|part| *part != Component::CurDir).collect();
        let paths = Paths { given, folder: Some(folder) };
        for (problem, path) in problems.iter_mut().zip(named) {
            problem.path = path.map_or_else(|| problem.path.clone(), |path| paths.shown(&path));
        }
        Ok(Self { paths, scope, texts, problems })
    }
}

impl InRepository {
    /// Of a canonical path.
    fn of(folder: &Path) -> anyhow::Result<Self> {
        let repository = folder.ancestors().find(|above| above.join(".git").exists()).unwrap_or(folder);
        let mut top = folder;
        // What is in a hidden folder would not be read from above it.
        while top != repository
            && !top.file_name().is_some_and(files::is_hidden)
            && let Some(above) = top.parent()
        {
            top = above;
        }
        let path = folder.strip_prefix(top)?.to_str().context("the path to the folder is no UTF-8: rename it")?;
        Ok(Self { top: top.to_owned(), path: path.to_owned(), here: None })
    }
}

impl Paths {
    /// For people, and to write to: as one would write it here.
    fn shown(&self, path: &str) -> PathBuf {
        let Some(InRepository { top, path: folder, here }) = &self.folder else { return self.given.clone() };
        let (path, folder) = (Path::new(path), Path::new(folder));
        if let Some(here) = here {
            let above = here.ancestors().take_while(|above| !path.starts_with(above)).count();
            let shared = here.ancestors().nth(above).unwrap_or(Path::new(""));
            let up: PathBuf = std::iter::repeat_n("..", above).collect();
            return up.join(path.strip_prefix(shared).unwrap_or(path));
        }
        path.strip_prefix(folder).map_or_else(|_| top.join(path), |rest| self.given.join(rest))
    }

    /// A file of the repository outside of the folder; no link leads to it.
    fn beyond(&self, path: &str) -> Option<Text> {
        let file = self.folder.as_ref()?.top.join(path);
        // Not even opened otherwise: what a link leads to, such as a terminal, may never end.
        let is_itself = fs::canonicalize(&file).is_ok_and(|found| found == file) && file.is_file();
        is_itself.then(|| files::bytes(&file).ok()).flatten()
    }
}
