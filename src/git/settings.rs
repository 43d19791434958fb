//! What a target is told by the configuration.

use std::{fs, path::PathBuf, sync::Arc};

use globset::GlobSet;
use secrecy::SecretString;

use super::{forges::GithubApp, message::Template, poke::Poke};
use crate::manifest::places::Options;

/// One target.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What annotations call it.
    pub name: Arc<str>,
    /// The repository, without credentials.
    pub url: String,
    /// The branch that is read and written.
    pub branch: String,
    /// Where in the repository edits may be made; everywhere if none.
    pub paths: Option<GlobSet>,
    /// What it is read and written with.
    pub credentials: Credentials,
    /// Certificates (PEM) that are trusted for its host.
    pub ca: Option<PathBuf>,
    /// The HTTP proxy that leads to it.
    pub proxy: Option<String>,
    /// Name and address of who commits.
    pub author: (String, String),
    /// Whether each update of a push is a commit of its own.
    pub one_each: bool,
    /// The commit message.
    pub message: Template,
    /// What commits are signed with.
    pub signing: Option<Signing>,
    /// Who is told of a push.
    pub pokes: Vec<Poke>,
    /// Where images are looked for.
    pub options: Options,
    /// The folder of its clone, made if it is not there.
    pub folder: PathBuf,
}

impl Settings {
    /// Whether edits may be made at this path.
    pub(super) fn is_within(&self, path: &str) -> bool {
        self.paths.as_ref().is_none_or(|globs| globs.is_match(path))
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
