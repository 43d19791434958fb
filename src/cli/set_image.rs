//! `supercargo set-image`: one exact edit.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{anyhow, bail};

use super::{
    files,
    output::{print_file, refuse},
};
use crate::{
    domain::{
        image::{Digest, ImageRef, Repository, Tag},
        workload::KindSpec,
    },
    manifest::{self, Edit, ManifestError},
};

/// Set an image, or one named scalar, in a file and print the edited file
///
/// Every byte but those of the value stays as it is. Ends with 2 if nothing matched, and with 1 (and nothing printed) if
/// the edit cannot be made safely.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["image", "path"])))]
pub(super) struct Args {
    /// The file; `-` is standard input
    file: PathBuf,

    /// Set the image of every container that runs one of this repository (Deployments, StatefulSets, DaemonSets,
    /// CronJobs, also in Lists; for anything else use --path)
    #[arg(long, value_name = "REPO", requires = "tag", conflicts_with_all = ["value", "document"])]
    image: Option<Repository>,
    /// The tag to write
    #[arg(long, requires = "image")]
    tag: Option<Tag>,
    /// The digest to write after the tag; an empty one removes the digest that is there
    #[arg(long, value_name = "DIGEST", requires = "image", value_parser = digest)]
    digest: Option<DigestChoice>,
    /// Only in workloads of this kind
    #[arg(long, requires = "image", value_parser = kind)]
    kind: Option<&'static KindSpec>,
    /// Only in workloads of this name
    #[arg(long, requires = "image")]
    name: Option<String>,
    /// Only in containers of this name
    #[arg(long, requires = "image")]
    container: Option<String>,

    /// Set the scalar at this path: `a.b[0].c`; a key with other characters in quotes: `a."b.c"`
    #[arg(long, requires = "value", conflicts_with_all = ["tag", "digest", "kind", "name", "container"])]
    path: Option<manifest::Path>,
    /// The text to write at --path; quoted where it would not be read as this text
    #[arg(long, requires = "path", allow_hyphen_values = true)]
    value: Option<String>,
    /// Only in this document of the file, from 0
    #[arg(long, value_name = "N", requires = "path")]
    document: Option<usize>,
}

/// What `--digest` says.
#[derive(Debug, Clone)]
enum DigestChoice {
    Write(Digest),
    Remove,
}

fn digest(text: &str) -> Result<DigestChoice, String> {
    match text {
        "" => Ok(DigestChoice::Remove),
        text => Digest::parse(text).map(DigestChoice::Write).map_err(|e| e.to_string()),
    }
}

fn kind(text: &str) -> Result<&'static KindSpec, String> {
    KindSpec::find(text).ok_or_else(|| format!("known kinds: {}", KindSpec::all()))
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let stdin = self.file == Path::new("-");
        let name = if stdin { "standard input".to_owned() } else { self.file.display().to_string() };
        let text = if stdin {
            files::read_from(io::stdin().lock())
        } else {
            match File::open(&self.file) {
                Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_dir()) => {
                    return Ok(refuse(format!("{name} is a folder: name a file")));
                }
                Ok(file) => files::read_from(file),
                Err(error) => return Ok(refuse(format!("{name} cannot be read: {error}"))),
            }
        };
        let text = text.map_err(|reason| anyhow!("{name}: {reason}"))?;
        let edits = match (&self.image, &self.path) {
            (Some(repository), _) => self.images(&name, &text, repository)?,
            (None, Some(path)) => self.value(&name, &text, path)?,
            (None, None) => return Ok(refuse("give --image or --path")),
        };
        if edits.is_empty() {
            let why = self.nothing(&text).map_err(|e| anyhow!("{name}:{}: {}", e.line, e.reason))?;
            return Ok(refuse(format!("{name}: {why}")));
        }
        let edited = manifest::edit(&text, &edits).map_err(|e| anyhow!("{name}:{}: {}", e.line, e.reason))?;
        print_file(&edited)?;
        Ok(ExitCode::SUCCESS)
    }

    /// An edit for each container that matches.
    fn images(&self, name: &str, text: &str, repository: &Repository) -> anyhow::Result<Vec<Edit>> {
        let found = manifest::read(text).map_err(|e| anyhow!("{name}:{}: {}", e.line, e.reason))?;
        if let Some(problem) = found.problems.first() {
            bail!("{name}:{}: {}", problem.line, problem.reason);
        }
        let mut edits = Vec::new();
        for found in found.workloads {
            let id = &found.workload.id;
            let kind_fits = self.kind.is_none_or(|k| k.kind == id.kind);
            if !kind_fits || self.name.as_deref().is_some_and(|n| n != &*id.name) {
                continue;
            }
            for (container, place) in found.workload.containers.iter().zip(found.images) {
                if self.container.as_deref().is_some_and(|c| c != &*container.name) {
                    continue;
                }
                // What is no image (a placeholder, an empty value) is of no repository.
                let Ok(image) = ImageRef::parse(&container.image) else { continue };
                if image.repository != *repository {
                    continue;
                }
                let digest = match (&self.digest, &image.digest) {
                    (Some(DigestChoice::Write(digest)), _) => Some(digest.clone()),
                    (Some(DigestChoice::Remove), _) | (None, None) => None,
                    (None, Some(_)) => bail!(
                        "{name}:{}: `{image}` has a digest, which decides what runs, whatever the tag says: give the \
                         new one by --digest, or remove it by --digest \"\"",
                        place.line
                    ),
                };
                let new = image.at(self.tag.clone(), digest).to_string();
                edits.push(Edit { place: place.place, old: container.image.to_string(), new });
            }
        }
        Ok(edits)
    }

    /// The edit of the scalar at `--path`.
    fn value(&self, name: &str, text: &str, path: &manifest::Path) -> anyhow::Result<Vec<Edit>> {
        let found = manifest::find(text, path, self.document);
        let found = found.map_err(|e| anyhow!("{name}:{}: {}", e.line, e.reason))?;
        if let [(first, _), (second, _), ..] = &found[..] {
            bail!(
                "{name}: several documents have this path (document {} on line {}, document {} on line {}): choose one \
                 by --document",
                first.document,
                first.line,
                second.document,
                second.line
            );
        }
        let new = self.value.clone().unwrap_or_default();
        Ok(found.into_iter().map(|(place, old)| Edit { place, old, new: new.clone() }).collect())
    }

    /// Why there is no edit.
    fn nothing(&self, text: &str) -> Result<String, ManifestError> {
        if let Some(path) = &self.path {
            return manifest::missing(text, path, self.document);
        }
        let of = self.image.iter().map(|repository| format!(" of {repository}")).collect::<String>();
        let narrowed = self.kind.is_some() || self.name.is_some() || self.container.is_some();
        let narrowing = if narrowed { " with that --kind, --name and --container" } else { "" };
        Ok(format!(
            "no container of a workload ({}){narrowing} runs an image{of} (other kinds, and the `images` of a \
             kustomization, are edited by --path)",
            KindSpec::all()
        ))
    }
}
