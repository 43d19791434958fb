//! Whether a folder is a checkout: what is committed to one by a push stays there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::domain::image::excerpt;

/// What is wrong with writing to this address, if it is a checkout's folder.
pub(super) fn refuse(url: &str) -> Option<String> {
    let folder = Path::new(url.strip_prefix("file://").unwrap_or(url));
    let git = folder.join(".git");
    // Elsewhere `.git` would be looked for in the current folder.
    if !folder.is_absolute() || !git.exists() {
        return None;
    }
    let remote = fs::read_to_string(config(git)).ok().and_then(|text| origin(&text));
    let remote = remote.map(|url| format!(" ({})", excerpt(&without_credentials(&url)))).unwrap_or_default();
    Some(format!(
        "this is a checkout: commits would stay in it and reach no other repository. Give the address of its \
         remote{remote}, or a bare repository; `--dry-run` reads a checkout too"
    ))
}

/// The file of the settings that belong to `.git`, which in a worktree is a file that names a folder.
fn config(git: PathBuf) -> PathBuf {
    let line = |path: &Path| Some(fs::read_to_string(path).ok()?.trim().to_owned());
    let named = line(&git).and_then(|text| Some(git.parent()?.join(text.strip_prefix("gitdir:")?.trim())));
    let folder = named.unwrap_or(git);
    let common = line(&folder.join("commondir")).map(|common| folder.join(common));
    common.unwrap_or(folder).join("config")
}

/// `remote.origin.url`.
fn origin(config: &str) -> Option<String> {
    let mut inside = false;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[remote \"origin\"]";
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside)
            && key.trim() == "url"
        {
            return Some(value.trim().trim_matches('"').to_owned());
        }
    }
    None
}

/// The address without a password, and over HTTP without a user, which may be a token.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    match user.split(':').next() {
        Some(user) if scheme == "ssh" && !user.is_empty() => format!("{scheme}://{user}@{host}{path}"),
        _ => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("https://git.example.com/a.git", "https://git.example.com/a.git")]
    #[case("https://bot:geheim@git.example.com/a.git", "https://git.example.com/a.git")]
    #[case("https://geheim@git.example.com:8443/a@b.git", "https://git.example.com:8443/a@b.git")]
    #[case("ssh://git:geheim@git.example.com/a.git", "ssh://git@git.example.com/a.git")]
    #[case("git@git.example.com:team/a.git", "git@git.example.com:team/a.git")]
    #[case("../a.git", "../a.git")]
    fn an_address_is_shown_without_credentials(#[case] url: &str, #[case] shown: &str) {
        assert_eq!(without_credentials(url), shown);
    }

    #[rstest::rstest]
    #[case("[core]\n\turl = /no\n[remote \"origin\"]\n\tfetch = +x\n\turl = /a=b.git\n", Some("/a=b.git"))]
    #[case("[remote \"origin\"]\n\tfetch = +x\n[remote \"other\"]\n\turl = /b.git\n", None)]
    #[case("", None)]
    fn the_remote_is_the_one_that_is_called_origin(#[case] config: &str, #[case] url: Option<&str>) {
        assert_eq!(origin(config).as_deref(), url);
    }
}
