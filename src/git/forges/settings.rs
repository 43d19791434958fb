//! What a forge's client is told: where the repository is, how to get there, and with which token.

use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::SecretString;
use url::Url;

use super::{ForgeKind, error::ForgeError};
use crate::{domain::image::excerpt, git::Secret};

/// One repository at one forge.
#[derive(Debug, Clone)]
pub struct ForgeSettings {
    /// Which API it speaks.
    pub kind: &'static ForgeKind,
    /// Where it is.
    pub place: RepositoryPlace,
    /// The branch that requests lead into.
    pub base: String,
    /// What leads to it.
    pub client: reqwest::Client,
}

/// Gives what a request is made with.
pub trait Token: Send + Sync {
    /// The token to use now. Asked for each request.
    fn token(&self) -> BoxFuture<'_, Result<SecretString, ForgeError>>;

    /// The last one was refused (401). The next may be another.
    fn forget(&self) {}
}

/// Any [`Token`].
pub type AnyToken = Arc<dyn Token>;

impl Token for Secret {
    fn token(&self) -> BoxFuture<'_, Result<SecretString, ForgeError>> {
        Box::pin(async { self.read().map_err(|why| ForgeError::Auth(format!("the token cannot be read: {why}"))) })
    }
}

/// A repository's place, as its Git address tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPlace {
    /// Where the API is: `https://api.github.com`, `https://gitlab.com/api/v4`, `https://codeberg.org/api/v1`.
    pub api: Url,
    /// `owner/name`; at GitLab `group/sub/name` too.
    pub repository: String,
}

/// A Git address, taken apart.
struct Remote {
    /// The host's web site: for SSH, which has a port of its own, that at HTTPS.
    site: Url,
    /// Without `.git`.
    parts: Vec<String>,
}

/// Hosts that speak SSH on port 443, and those they speak for.
const SSH_HOSTS: &[(&str, &str)] = &[("ssh.github.com", "github.com"), ("altssh.gitlab.com", "gitlab.com")];

impl Remote {
    /// Reads `https://host/path.git`, `ssh://user@host/path.git` and `user@host:path.git`.
    fn parse(git: &str) -> Result<Self, String> {
        let bad = || format!("`{}` is at no forge: requests need an address of https or ssh", excerpt(git));
        let text = match (git.contains("://"), git.split_once(':')) {
            (true, _) => git.to_owned(),
            (false, Some((host, path))) if !host.contains('/') => {
                format!("ssh://{host}/{}", path.trim_start_matches('/'))
            }
            _ => return Err(bad()),
        };
        let url = Url::parse(&text).map_err(|_| bad())?;
        let host = url.host_str().ok_or_else(bad)?;
        let host = SSH_HOSTS.iter().find(|(ssh, _)| *ssh == host).map_or(host, |(_, host)| host);
        let site = match (url.scheme(), url.port()) {
            (scheme @ ("http" | "https"), Some(port)) => format!("{scheme}://{host}:{port}/"),
            (scheme @ ("http" | "https"), None) => format!("{scheme}://{host}/"),
            ("ssh", _) => format!("https://{host}/"),
            _ => return Err(bad()),
        };
        let site = Url::parse(&site).map_err(|_| bad())?;
        let path = url.path().trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let is_name = |part: &String| part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~+".contains(c));
        if parts.len() < 2 || !parts.iter().all(is_name) || parts.iter().any(|part| part == "." || part == "..") {
            return Err(format!("`{}` does not end in owner and name of a repository", excerpt(git)));
        }
        Ok(Self { site, parts })
    }
}

/// Where the API is and what the repository is called there. A forge that stands in a folder of its host needs `api`
/// unless it is one whose names have two parts.
pub fn place(kind: &ForgeKind, git: &str, api: Option<&Url>) -> Result<RepositoryPlace, String> {
    let Remote { mut site, mut parts } = Remote::parse(git)?;
    if let Some(api) = api {
        if !matches!(api.scheme(), "http" | "https") || !api.username().is_empty() || api.password().is_some() {
            return Err("the API's address is one of https, without credentials".to_owned());
        }
        // What precedes `/api/…` is the forge's folder, unless the API has a host of its own.
        let folder: Vec<&str> = api.path().split('/').filter(|part| !part.is_empty()).collect();
        let folder = &folder[..folder.iter().rposition(|part| *part == "api").unwrap_or(0)];
        if api.host_str() == site.host_str()
            && parts.len() > folder.len() + 1
            && parts.iter().zip(folder).all(|(a, b)| a == b)
        {
            parts.drain(..folder.len());
        }
    }
    if !kind.has_groups {
        let folder: Vec<String> = parts.drain(..parts.len() - 2).collect();
        site.set_path(&folder.iter().map(|part| format!("{part}/")).collect::<String>());
    }
    Ok(RepositoryPlace { api: api.cloned().unwrap_or_else(|| (kind.api)(&site)), repository: parts.join("/") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::forges::named;

    #[rstest::rstest]
    #[case("https://github.com/o/r.git", "github", "https://api.github.com/", "o/r")]
    #[case("git@github.com:o/r.git", "github", "https://api.github.com/", "o/r")]
    #[case("ssh://git@ssh.github.com:443/o/r.git", "github", "https://api.github.com/", "o/r")]
    #[case("https://team.ghe.com/o/r", "github", "https://api.team.ghe.com/", "o/r")]
    #[case("https://gitlab.com/g/sub/r.git", "gitlab", "https://gitlab.com/api/v4", "g/sub/r")]
    #[case("git@gitlab.com:g/sub/r.git", "gitlab", "https://gitlab.com/api/v4", "g/sub/r")]
    #[case("ssh://git@altssh.gitlab.com:443/g/r.git", "gitlab", "https://gitlab.com/api/v4", "g/r")]
    #[case("https://codeberg.org/o/r/", "gitea", "https://codeberg.org/api/v1", "o/r")]
    #[case("ssh://git@gitea.com/o/r.git", "gitea", "https://gitea.com/api/v1", "o/r")]
    fn public_forges_are_placed(#[case] git: &str, #[case] kind: &str, #[case] api: &str, #[case] path: &str) {
        let want = RepositoryPlace { api: Url::parse(api).unwrap(), repository: path.to_owned() };
        assert_eq!(place(named(kind).unwrap(), git, None), Ok(want));
    }

    #[rstest::rstest]
    #[case("github", "https://ghes.example/o/r.git", None, "https://ghes.example/api/v3", "o/r")]
    #[case("github", "git@ghes.example:o/r.git", None, "https://ghes.example/api/v3", "o/r")]
    #[case("gitea", "http://127.0.0.1:3000/o/r.git", None, "http://127.0.0.1:3000/api/v1", "o/r")]
    #[case("gitea", "ssh://git@g.example:2222/o/r.git", None, "https://g.example/api/v1", "o/r")]
    #[case("gitea", "https://g.example/git/o/r.git", None, "https://g.example/git/api/v1", "o/r")]
    #[case(
        "gitea",
        "ssh://git@g.example:2222/o/r.git",
        Some("http://g.example:3000/api/v1"),
        "http://g.example:3000/api/v1",
        "o/r"
    )]
    #[case(
        "gitlab",
        "https://g.example/lab/g/r.git",
        Some("https://g.example/lab/api/v4"),
        "https://g.example/lab/api/v4",
        "g/r"
    )]
    #[case(
        "gitlab",
        "git@g.example:lab/r.git",
        Some("https://g.example/lab/api/v4"),
        "https://g.example/lab/api/v4",
        "lab/r"
    )]
    fn other_hosts_are_placed_by_their_kind(
        #[case] kind: &str,
        #[case] git: &str,
        #[case] api: Option<&str>,
        #[case] want: &str,
        #[case] path: &str,
    ) {
        let api = api.map(|api| Url::parse(api).unwrap());
        let want = RepositoryPlace { api: Url::parse(want).unwrap(), repository: path.to_owned() };
        assert_eq!(place(named(kind).unwrap(), git, api.as_ref()), Ok(want));
    }

    #[rstest::rstest]
    #[case("file:///srv/a/b.git")]
    #[case("/srv/a/b.git")]
    #[case("https://github.com/only")]
    #[case("https://github.com/o/..%2f")]
    #[case("git@github.com:o/../r")]
    fn what_is_at_no_forge_is_said(#[case] git: &str) {
        assert!(place(named("github").unwrap(), git, None).is_err());
    }

    #[test]
    fn an_unknown_kind_is_told_which_there_are() {
        assert_eq!(
            named("bitbucket").unwrap_err(),
            "`bitbucket` is no kind of forge; available: github, gitlab, gitea"
        );
    }
}
