//! `git`: the targets that updates are written to.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use globset::GlobSet;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    DeployerConfig, EnvSecret,
    forge::{AppConfig, RequestConfig},
    globs,
};
use crate::domain::{
    image::{Repository, excerpt},
    poll::parse_duration,
    target::{TargetScope, Targets, is_name},
};

/// How long updates are gathered for one commit, and at most.
const BATCH_WINDOW: Duration = Duration::from_secs(10);
const LONGEST_WINDOW: Duration = Duration::from_secs(60);

/// One entry of `git`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitConfig {
    /// What annotations call it.
    pub name: String,
    /// `https://…`, `ssh://…`, `user@host:path`, `file:///…` or an absolute path; never with a password in it.
    pub url: String,
    /// The branch that is read and written.
    pub branch: String,
    /// Folders or globs of files; everything if empty.
    #[serde(default)]
    pub paths: Vec<String>,
    /// The namespaces (globs) whose workloads it serves.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// What it is read and written with.
    #[serde(default)]
    pub credentials: GitCredentials,
    /// A file of certificates (PEM) that are trusted for its host.
    pub ca: Option<PathBuf>,
    /// The HTTP proxy that leads to it.
    pub proxy: Option<String>,
    /// Who commits.
    #[serde(default)]
    pub author: Author,
    /// The commit message, a minijinja template.
    pub message: Option<String>,
    /// How long updates are gathered for one commit: 10s if absent, at most 60s.
    pub batch_window: Option<String>,
    /// The namespace of manifests that name none.
    pub default_namespace: Option<String>,
    /// Where values of charts hold images.
    #[serde(default)]
    pub values: Vec<ValuesConfig>,
    /// The folder of the kustomization that gets an entry of `images` where none applies.
    pub overlay: Option<String>,
    /// Flux's image policies (`namespace:name`) and the repository of each.
    #[serde(default)]
    pub image_policies: BTreeMap<String, Repository>,
    /// Who is told of a push.
    #[serde(default)]
    pub deployers: Vec<DeployerConfig>,
    /// Which updates share a commit.
    #[serde(default)]
    pub commits: Commits,
    /// What commits are signed with.
    pub signing: Option<SigningConfig>,
    /// The kind of forge that pull requests are made at.
    pub forge: Option<String>,
    /// Where its API is, where that does not follow from `url`.
    pub api: Option<String>,
    /// What pull requests are given.
    pub pull_request: Option<RequestConfig>,
    /// What people call it, where it is no target of the configuration: its address.
    #[serde(skip)]
    pub shown: Option<String>,
}

/// The credentials of a target: a token for HTTPS, or a key for SSH.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitCredentials {
    /// The user of the token; most forges take any.
    pub username: Option<String>,
    /// A file that holds the token or password, read again whenever it is used.
    pub token_file: Option<PathBuf>,
    /// The environment variable that holds it.
    pub token_env: Option<String>,
    /// The private key for SSH.
    pub ssh_key_file: Option<PathBuf>,
    /// The keys of the SSH server.
    pub known_hosts_file: Option<PathBuf>,
    /// A GitHub App instead of a token.
    pub github_app: Option<AppConfig>,
    /// What `tokenEnv` names.
    #[serde(skip)]
    pub token: Option<EnvSecret>,
}

/// Which updates share a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Commits {
    /// All of one push.
    #[default]
    Batch,
    /// Those of one workload.
    Workload,
}

/// What commits are signed with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigningConfig {
    /// Of which kind the key is.
    pub format: SigningFormat,
    /// The private key, read again at each commit.
    pub key_file: PathBuf,
    /// The file whose first line is its passphrase; for OpenPGP only.
    pub passphrase_file: Option<PathBuf>,
}

/// Git's `gpg.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum SigningFormat {
    Ssh,
    OpenPgp,
}

/// Who commits.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Author {
    /// Without `<`, `>` and line breaks.
    pub name: String,
    /// Likewise.
    pub email: String,
}

/// Where in some files values hold an image.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValuesConfig {
    /// A glob of paths.
    pub files: String,
    /// The path of a whole image, like `web.image`.
    pub image: Option<String>,
    /// The path of the registry.
    pub registry: Option<String>,
    /// The path of the repository.
    pub repository: Option<String>,
    /// The path of the tag.
    pub tag: Option<String>,
    /// The path of the digest.
    pub digest: Option<String>,
    /// The repository, where no path names it.
    pub for_image: Option<Repository>,
}

impl Default for Author {
    fn default() -> Self {
        Self { name: "supercargo".to_owned(), email: "supercargo@localhost".to_owned() }
    }
}

impl GitConfig {
    /// A target that says no more than this, and is called by its address.
    pub(super) fn at(name: &str, url: String, branch: &str) -> Self {
        let shown = Some(url.clone());
        Self { name: name.to_owned(), url, branch: branch.to_owned(), shown, ..Self::default() }
    }

    /// What people call it.
    pub fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.name)
    }

    /// What of it is read, for people.
    pub fn place(&self) -> String {
        let all = self.paths.is_empty();
        let paths = if all { String::new() } else { format!("{} of ", self.paths.join(", ")) };
        format!("{paths}the branch {} of {}", self.branch, self.shown())
    }

    /// Everything that is wrong with it. Takes in what the environment holds for it.
    pub(super) fn check(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut wrong = |why: String| problems.push(format!("git: {}: {why}", excerpt(&self.name)));
        if !is_name(&self.name) {
            wrong("this is no name: write letters, digits, `-`, `_` and `.`".to_owned());
        }
        match url_of(&self.url) {
            Ok(_) => {}
            Err(why) => wrong(format!("url: {why}")),
        }
        if !is_branch(&self.branch) {
            wrong(format!("`{}` is no name of a branch", excerpt(&self.branch)));
        }
        let has_token =
            self.credentials.has_token() || self.pull_request.as_ref().is_some_and(RequestConfig::has_token);
        if self.forge.is_some() && !has_token {
            wrong(
                "forge: it needs a token: one over HTTPS in `credentials`, or `tokenFile` in `pullRequest`".to_owned(),
            );
        }
        if self.credentials.github_app.is_some() && !matches!(self.forge.as_deref(), None | Some("github")) {
            wrong("forge: `githubApp` is an app of GitHub; this forge wants `tokenFile` or `tokenEnv`".to_owned());
        }
        if self.forge.is_none() && self.api.is_some() {
            wrong("`api` belongs to `forge`".to_owned());
        }
        if self.api.as_ref().is_some_and(|api| !api.starts_with("https://") && !is_loopback(api)) {
            wrong("api: a token is only sent over https://".to_owned());
        }
        if self.forge.is_none() && self.pull_request.is_some() {
            wrong("`pullRequest` belongs to `forge`".to_owned());
        }
        for why in self.pull_request.iter_mut().flat_map(RequestConfig::check) {
            wrong(why);
        }
        if self.signing.as_ref().is_some_and(|s| s.format == SigningFormat::Ssh && s.passphrase_file.is_some()) {
            wrong(
                "signing: an SSH key with a passphrase cannot be used: take one without, and no `passphraseFile`"
                    .to_owned(),
            );
        }
        if let Err(error) = globs(&self.namespaces) {
            wrong(format!("namespaces: {error}"));
        }
        if let Err(error) = self.path_globs() {
            wrong(format!("paths: {error}"));
        }
        for rule in &self.values {
            let parts = [&rule.registry, &rule.repository, &rule.tag, &rule.digest];
            if rule.image.is_some() == parts.iter().any(|part| part.is_some()) {
                wrong("values: name either `image`, or `repository` and `tag` and the like".to_owned());
            } else if rule.image.is_none() && rule.repository.is_none() && rule.for_image.is_none() {
                wrong("values: without `repository` nothing says which image it is: add `forImage`".to_owned());
            }
        }
        if let Err(why) = self.batch_window() {
            wrong(format!("batchWindow: {why}"));
        }
        let is_plain = |text: &str| !text.trim().is_empty() && !text.contains(['<', '>', '\n', '\r', '\0']);
        if !is_plain(&self.author.name) || !is_plain(&self.author.email) {
            wrong("author: `name` and `email` are texts without `<`, `>` and line breaks".to_owned());
        }
        problems.extend(self.credentials.check(&self.name, &self.url));
        let has_page = url_of(&self.url).is_ok_and(|kind| kind != UrlKind::File);
        let deployers = self.deployers.iter_mut().flat_map(|deployer| deployer.check(has_page));
        problems.extend(deployers.map(|why| format!("git: {}: deployers: {why}", excerpt(&self.name))));
        problems
    }

    /// The paths as globs; none if everything is meant.
    pub fn path_globs(&self) -> Result<Option<GlobSet>, globset::Error> {
        let within = |path: &String| {
            let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
            [path.clone(), format!("{path}/**")]
        };
        let everything = self.paths.is_empty() || self.paths.iter().any(|path| matches!(path.as_str(), "." | "./"));
        if everything {
            return Ok(None);
        }
        globs(&self.paths.iter().flat_map(within).collect::<Vec<_>>()).map(Some)
    }

    /// What decisions need of it.
    pub(super) fn target(&self) -> Result<TargetScope, String> {
        let namespaces = globs(&self.namespaces).map_err(|error| error.to_string())?;
        Ok(TargetScope { namespaces, requests: self.forge.is_some(), batch_window: self.batch_window()? })
    }

    /// A name for files that are about this branch of this repository only.
    pub fn slug(&self) -> String {
        let hash = Sha256::digest(format!("{}\n{}", self.url, self.branch));
        let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{hash}", self.name)
    }

    fn batch_window(&self) -> Result<Duration, String> {
        let Some(text) = &self.batch_window else { return Ok(BATCH_WINDOW) };
        match parse_duration(text) {
            _ if text == "0s" => Ok(Duration::ZERO),
            Ok(window) if window <= LONGEST_WINDOW => Ok(window),
            Ok(_) => Err("at most 60s".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl GitCredentials {
    fn has_token(&self) -> bool {
        self.token_file.is_some() || self.token_env.is_some() || self.github_app.is_some()
    }

    fn check(&mut self, name: &str, url: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let mut wrong = |why: &str| problems.push(format!("git: {}: credentials: {why}", excerpt(name)));
        let given = [self.token_file.is_some(), self.token_env.is_some(), self.github_app.is_some()];
        let tokens = given.into_iter().filter(|given| *given).count();
        if tokens > 1 {
            wrong("only one of `tokenFile`, `tokenEnv` and `githubApp` is used: take the others out");
        }
        if tokens > 0 && !url.starts_with("https://") && !is_loopback(url) {
            wrong("a token is only sent over https://");
        }
        if self.username.is_some() && (tokens == 0 || self.github_app.is_some()) {
            wrong("`username` belongs to `tokenFile` or `tokenEnv`");
        }
        let ssh = url_of(url).is_ok_and(|kind| kind == UrlKind::Ssh);
        if ssh != self.ssh_key_file.is_some() || ssh != self.known_hosts_file.is_some() {
            wrong(
                "SSH needs `sshKeyFile` and `knownHostsFile` (from `ssh-keyscan`, compared with what the forge prints)",
            );
        }
        if let Some(variable_name) = &self.token_env {
            match EnvSecret::read(variable_name) {
                Ok(secret) => self.token = Some(secret),
                Err(why) => wrong(&why),
            }
        }
        problems
    }
}

/// What decisions need of the targets.
pub(super) fn targets(git: &[GitConfig]) -> Targets {
    git.iter().filter_map(|config| Some((config.name.as_str().into(), config.target().ok()?))).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum UrlKind {
    Http,
    Ssh,
    File,
}

fn url_of(url: &str) -> Result<UrlKind, String> {
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) || url.starts_with('-') {
        return Err("it holds blanks or begins with `-`".to_owned());
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    if user.is_some_and(|user| user.contains(':') || matches!(scheme, "http" | "https")) {
        return Err("it holds credentials: put them into `credentials`, or with --git URL into SUPERCARGO_GIT_TOKEN \
                    and SUPERCARGO_GIT_USERNAME"
            .to_owned());
    }
    Ok(match url.split_once("://") {
        Some(("https", _)) => UrlKind::Http,
        Some(("http", _)) if is_loopback(url) => UrlKind::Http,
        Some(("http", _)) => return Err("plain HTTP is only spoken to this machine: write https://".to_owned()),
        Some(("ssh", _)) => UrlKind::Ssh,
        Some(("file", path)) if path.starts_with('/') => UrlKind::File,
        None if url.starts_with('/') => UrlKind::File,
        None if url.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/')) => UrlKind::Ssh,
        _ => return Err("write https://…, ssh://…, user@host:path, file:///… or an absolute path".to_owned()),
    })
}

pub(super) fn is_loopback(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    matches!(host, "127.0.0.1" | "localhost" | "[::1]")
}

/// As `git check-ref-format --branch` has it, nearly.
fn is_branch(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && !name.contains(bad)
        && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_pages_show_is_taken() {
        let pages = [include_str!("../../docs/configuration.md"), include_str!("../../docs/git.md")].concat();
        let mut shown = 0;
        for block in pages.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let text = match block {
                part if part.starts_with("    ") => {
                    format!("git:\n  - name: prod\n    url: https://git.example.com/a.git\n    branch: main\n{part}")
                }
                whole if whole.contains("git:\n") => whole.to_owned(),
                _ => continue,
            };
            let mut raw: crate::config::Raw = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            let problems: Vec<String> = raw.git.iter_mut().flat_map(GitConfig::check).collect();
            assert!(problems.is_empty(), "{problems:?}: {text}");
            shown += raw.git.len();
        }
        assert_eq!(shown, 4);
    }

    #[rstest::rstest]
    #[case("", "")]
    #[case("batchWindow: 2m", "at most 60s")]
    #[case("batchWindow: 0s", "")]
    #[case("forge: gitea", "forge: it needs a token")]
    #[case("forge: gitea\ncredentials: {tokenFile: /t}\npullRequest: {labels: [bot], autoMerge: true}", "")]
    #[case("forge: gitea\npullRequest: {tokenFile: /t, tokenEnv: X}", "pullRequest: both")]
    #[case("forge: gitea\npullRequest: {tokenEnv: SUPERCARGO_TEST_NOT_SET}", "pullRequest: the environment has no")]
    #[case("pullRequest: {draft: true}", "`pullRequest` belongs to `forge`")]
    #[case("api: https://git.example.com/api/v1", "`api` belongs to `forge`")]
    #[case("forge: gitea\napi: https://api.example.com/api/v1\npullRequest: {tokenFile: /t}", "")]
    #[case("forge: gitea\napi: http://127.0.0.1:3000/api/v1\npullRequest: {tokenFile: /t}", "")]
    #[case(
        "forge: gitea\napi: http://git.example.com/api/v1\npullRequest: {tokenFile: /t}",
        "api: a token is only sent"
    )]
    #[case("credentials: {githubApp: {appId: 7, keyFile: /k}, tokenFile: /t}", "only one of")]
    #[case("credentials: {githubApp: {appId: Iv1.a, installationId: 8, keyFile: /k}}", "")]
    #[case("forge: github\ncredentials: {githubApp: {appId: 7, keyFile: /k}}", "")]
    #[case("forge: gitea\ncredentials: {githubApp: {appId: 7, keyFile: /k}}", "an app of GitHub")]
    #[case("commits: workload", "")]
    #[case("deployers: [{fluxReceiver: {url: 'http://receiver.flux-system/hook/a', secretFile: /s}}]", "")]
    #[case("deployers: [{fluxReceiver: {url: 'http://receiver.flux-system/hook/a'}}]", "the URL is the secret")]
    #[case("deployers: [{fluxReceiver: {urlFile: /u}}, {argocdWebhook: {url: 'https://argocd/api/webhook'}}]", "")]
    #[case("deployers: [{fluxReceiver: {secretFile: /s}}]", "either `url` or `urlFile`")]
    #[case("deployers: [{argocdWebhook: {url: 'ftp://argocd'}}]", "write https://")]
    #[case("deployers: [{argocdWebhook: {url: 'https://a:b@argocd'}}]", "write https://")]
    #[case(
        "deployers: [{argocdWebhook: {url: 'https://argocd', secretEnv: SUPERCARGO_TEST_NOT_SET}}]",
        "has no `SUPERCARGO"
    )]
    #[case("deployers: [{argocdRefresh: {namespace: argocd, applications: [shop, 'team-*']}}]", "")]
    #[case("deployers: [{argocdRefresh: {namespace: argocd, applications: []}}]", "names no Application")]
    #[case("deployers: [{argocdRefresh: {namespace: argocd, applications: ['a[']}}]", "argocdRefresh: applications:")]
    #[case("signing: {format: ssh, keyFile: /k}", "")]
    #[case("signing: {format: openpgp, keyFile: /k, passphraseFile: /p}", "")]
    #[case("signing: {format: ssh, keyFile: /k, passphraseFile: /p}", "with a passphrase cannot be used")]
    #[case("credentials: {sshKeyFile: /k}", "SSH needs")]
    #[case("credentials: {username: bot}", "belongs to")]
    #[case("credentials: {tokenEnv: SUPERCARGO_TEST_NOT_SET}", "has no `SUPERCARGO_TEST_NOT_SET`")]
    #[case("author: {name: \"a<b\", email: a@b}", "author:")]
    #[case("namespaces: ['a[']", "namespaces:")]
    #[case("values: [{files: v.yaml, tag: a.b}]", "add `forImage`")]
    #[case("values: [{files: v.yaml}]", "name either")]
    #[case("values: [{files: v.yaml, image: a.b}]", "")]
    fn a_target_that_would_not_do_what_it_says_is_refused(#[case] more: &str, #[case] says: &str) {
        let text = format!("name: prod\nurl: https://git.example.com/a.git\nbranch: main\n{more}\n");
        let mut config: GitConfig = serde_saphyr::from_str(&text).unwrap();
        let problems = config.check().join("; ");
        assert!(problems.contains(says) && problems.is_empty() == says.is_empty(), "{problems}");
    }

    #[rstest::rstest]
    #[case("https://git.example.com/team/deploy.git", true)]
    #[case("http://127.0.0.1:3000/a/b.git", true)]
    #[case("http://git.example.com/a.git", false)]
    #[case("ssh://git@git.example.com/a.git", true)]
    #[case("git@git.example.com:team/a.git", true)]
    #[case("file:///srv/a.git", true)]
    #[case("/srv/a.git", true)]
    #[case("a.git", false)]
    #[case("https://user:secret@git.example.com/a.git", false)]
    #[case("https://token@git.example.com/a.git", false)]
    #[case("ssh://git:secret@git.example.com/a.git", false)]
    #[case("--upload-pack=x", false)]
    #[case("ext::sh -c x", false)]
    #[case("http://user:secret@127.0.0.1/a.git", false)]
    fn addresses_are_checked(#[case] url: &str, #[case] good: bool) {
        assert_eq!(url_of(url).is_ok(), good, "{:?}", url_of(url));
    }

    #[rstest::rstest]
    #[case("main", true)]
    #[case("release/1.x", true)]
    #[case("-x", false)]
    #[case("a..b", false)]
    #[case("a b", false)]
    #[case("a/", false)]
    #[case("a.lock", false)]
    #[case("", false)]
    fn branches_are_checked(#[case] name: &str, #[case] good: bool) {
        assert_eq!(is_branch(name), good);
    }
}
