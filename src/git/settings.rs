//! What a target is told by the configuration.

use std::{collections::BTreeSet, fmt, fs, path::PathBuf, sync::Arc};

use globset::GlobSet;
use secrecy::SecretString;

use super::{deployer::Deployer, forges::GithubApp, message::Template};
use crate::{
    domain::reason::{Code, Reason},
    manifest::places::{Facts, FileKind, Files, Options},
};

/// Which files are read and edited, and what is known of them beforehand.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// What annotations call it.
    pub name: Arc<str>,
    /// What people call it: `Git target prod`.
    pub shown: String,
    /// Where edits may be made; everywhere if none.
    pub paths: Option<GlobSet>,
    /// What these are in messages: `the `paths` of the Git target prod`.
    pub within: String,
    /// Where images are looked for.
    pub options: Options,
    /// Whether a file is read as YAML whatever its name.
    pub is_yaml: bool,
}

impl Scope {
    /// Of a target: what annotations and people call it.
    pub fn target(name: &str, shown: &str) -> Self {
        let shown = format!("Git target {shown}");
        Self { name: name.into(), within: format!("the `paths` of the {shown}"), shown, ..Self::default() }
    }

    /// Of a folder on this machine: what people call it, and the path to it from where the paths of its files begin.
    pub fn folder(shown: String, path: &str) -> Result<Self, globset::Error> {
        let glob = |path| globset::Glob::new(&format!("{}/**", globset::escape(path)));
        let glob = Some(path).filter(|path| !path.is_empty()).map(glob).transpose()?;
        let paths = glob.map(|glob| GlobSet::builder().add(glob).build()).transpose()?;
        Ok(Self { name: "folder".into(), within: format!("the {shown}"), shown, paths, ..Self::default() })
    }

    /// Whether edits may be made at this path.
    pub(super) fn is_within(&self, path: &str) -> bool {
        self.paths.as_ref().is_none_or(|globs| globs.is_match(path))
    }

    /// How a file is read: its kind, and whether the configuration names values of it.
    pub(super) fn way(&self, path: &str) -> (FileKind, bool) {
        let kind = match FileKind::of(path) {
            FileKind::Text | FileKind::Never if self.is_yaml => FileKind::Yaml,
            kind => kind,
        };
        (kind, self.options.values.iter().any(|rule| rule.files.is_match(path)))
    }

    /// What a file holds.
    pub(super) fn facts(&self, path: &str, bytes: &[u8]) -> Facts {
        let (kind, is_named) = self.way(path);
        Facts::of(kind, bytes, is_named)
    }

    /// Where kustomizations lead beyond the paths, without what is in `asked`, which takes it in.
    pub(super) fn beyond(&self, files: &Files, asked: &mut BTreeSet<String>) -> Vec<String> {
        if self.paths.is_none() {
            return Vec::new();
        }
        let included = files.iter().flat_map(|(path, facts)| facts.included(path));
        included.filter(|path| !self.is_within(path) && asked.insert(path.clone())).collect()
    }
}

/// One target.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// What people call it.
    pub name: Arc<str>,
    /// Which files are read and edited.
    pub scope: Scope,
    /// The repository.
    pub remote: Remote,
    /// The branch that is read and written.
    pub branch: String,
    /// Name and address of who commits.
    pub author: (String, String),
    /// Whether each update of a push is a commit of its own.
    pub one_each: bool,
    /// The commit message.
    pub message: Template,
    /// What commits are signed with.
    pub signing: Option<Signing>,
    /// Who is told of a push.
    pub deployers: Vec<Deployer>,
}

/// A repository, how it is reached, and where its clone is.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Without credentials.
    pub url: String,
    /// What it is read and written with.
    pub credentials: Credentials,
    /// Certificates (PEM) that are trusted for its host.
    pub ca: Option<PathBuf>,
    /// The HTTP proxy that leads to it.
    pub proxy: Option<String>,
    /// The folder of its clone, made if it is not there.
    pub folder: PathBuf,
}

impl TargetSettings {
    /// For messages.
    pub(super) fn place(&self) -> String {
        format!("the branch {} of the Git target {}", self.branch, self.name)
    }

    /// What is said of an update that the branch has.
    pub(super) fn has(&self, places: &impl fmt::Display) -> Reason {
        Reason::new(Code::Committed, format!("{} has it ({places})", self.place()))
    }

    /// Why files are left alone whose edit went wrong.
    pub(super) fn misfit(&self, why: &str) -> Reason {
        Reason::new(Code::GitConflict, format!("{}: {why}", self.place()))
    }
}

/// What a repository is read and written with.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A token or password, over HTTPS.
    Token {
        /// Most forges take any.
        username: String,
        /// The token.
        secret: Secret,
    },
    /// The tokens of a GitHub App, over HTTPS.
    App(Arc<GithubApp>),
    /// A key, over SSH.
    Ssh {
        /// The private key's file.
        key: PathBuf,
        /// The server's keys.
        known_hosts: PathBuf,
    },
}

/// What commits are signed with. Files are read again at each commit.
#[derive(Debug, Clone)]
pub enum Signing {
    /// A private key of OpenSSH, without a passphrase.
    Ssh {
        /// Its file.
        key: PathBuf,
    },
    /// An armoured private key.
    OpenPgp {
        /// Its file.
        key: PathBuf,
        /// The file whose first line is its passphrase.
        passphrase: Option<PathBuf>,
    },
}

/// A secret, or the file that holds it.
#[derive(Debug, Clone)]
pub enum Secret {
    /// Read again whenever it is used.
    File(PathBuf),
    /// From the environment.
    Value(SecretString),
}

impl Secret {
    /// The secret now, without blanks around it.
    pub(super) fn read(&self) -> Result<SecretString, String> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                match text.trim() {
                    "" => Err(format!("{}: the file is empty", path.display())),
                    secret => Ok(SecretString::from(secret.to_owned())),
                }
            }
        }
    }
}

/// What a request is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSettings {
    /// Labels by name.
    pub labels: Vec<String>,
    /// Users, or teams as `org/team`.
    pub reviewers: Vec<String>,
    /// Users.
    pub assignees: Vec<String>,
    /// Whether it is opened as a draft.
    pub draft: bool,
    /// Whether it is merged as soon as the forge's rules allow that.
    pub auto_merge: bool,
    /// How many requests of groups a namespace may have open.
    pub max_open: usize,
}

impl Default for RequestSettings {
    fn default() -> Self {
        let (labels, reviewers, assignees) = (Vec::new(), Vec::new(), Vec::new());
        Self { labels, reviewers, assignees, draft: false, auto_merge: false, max_open: 10 }
    }
}
