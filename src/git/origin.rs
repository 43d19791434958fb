//! What changed in the sources of images: a link for each change, from what the old and the new image say of their
//! origin. Reading that may fail or take too long; then there is no link.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use url::Url;

use super::{asked::Asked, forges::text, proposal::told};
use crate::{
    domain::{hint::Source, image::ImageRef, update::Item},
    ports::{Clock, Origin, Registry},
};

/// How long a request may wait for all of them.
const WAIT: Duration = Duration::from_secs(10);
/// Images that are read at once.
const CONCURRENT: usize = 4;
/// Characters of a revision that are shown.
const SHORT: usize = 7;
/// What follows a repository in an address of something within it.
const WITHIN: &[&str] = &["-", "blob", "tree"];

/// The links of each update, one for each change, empty where nothing is known. What the body before has is not read
/// again; what nobody asked for just now has nobody as whom it could be read.
pub(super) async fn links(
    registry: Option<&dyn Registry>,
    clock: &dyn Clock,
    wanted: &[Asked],
    before: &str,
) -> Vec<Vec<String>> {
    let of = |asked: &Asked| -> Vec<String> {
        asked.update.changes().map(|change| own_link(told(before, &asked.update.workload, change))).collect()
    };
    let mut links: Vec<Vec<String>> = wanted.iter().map(of).collect();
    let Some(registry) = registry else { return links };

    let mut open = Vec::new();
    for (row, asked) in wanted.iter().enumerate() {
        for (index, Item { change, source, .. }) in asked.update.items.iter().enumerate() {
            if let (Some(source), true) = (source, links[row][index].is_empty()) {
                open.push((row, index, [(source.clone(), change.from.clone()), (source.clone(), change.to.clone())]));
            }
        }
    }
    let images = open.iter().flat_map(|(.., images)| images.iter().cloned()).collect();
    let known = read(registry, clock, images).await;
    for (row, index, [from, to]) in open {
        links[row][index] = link(known.get(&from), known.get(&to));
    }
    links
}

/// An image, and where and as whom it is read.
type At = (Arc<Source>, ImageRef);

async fn read(registry: &dyn Registry, clock: &dyn Clock, mut images: HashSet<At>) -> HashMap<At, Origin> {
    // Credentials are for one repository only.
    images.retain(|(source, image)| source.repository == image.repository);
    let mut left = images.len();
    let mut known = HashMap::new();
    let found = stream::iter(images).map(|(source, image)| async move {
        let origin = registry.origin(&source, &image).await;
        ((source, image), origin)
    });
    let deadline = clock.sleep_until(clock.monotonic() + WAIT);
    let mut found = pin!(found.buffer_unordered(CONCURRENT).take_until(deadline));
    while let Some((at, origin)) = found.next().await {
        left -= 1;
        match origin {
            Ok(origin) => _ = known.insert(at, origin),
            Err(error) => tracing::debug!(image = %at.1, %error, "its origin is not known"),
        }
    }
    if left > 0 {
        tracing::debug!(left, "not all origins of images were read in time");
    }
    known
}

/// A link of ours in a cell; nothing if somebody made it another.
fn own_link(cell: &str) -> String {
    let parts = cell.strip_prefix('[').and_then(|rest| rest.strip_suffix(')')).and_then(|rest| rest.split_once("]("));
    let ours = parts.is_some_and(|(shown, url)| url.starts_with("https://") && text::link(shown, url) == cell);
    if ours { cell.to_owned() } else { String::new() }
}

/// A link to what changed between two images, or else to the source of the new one; empty if neither is known.
fn link(from: Option<&Origin>, to: Option<&Origin>) -> String {
    let Some((to, repository)) = to.and_then(|to| Some((to, repository(to)?))) else { return String::new() };
    let compared = from.and_then(|from| compare(from, to, &repository));
    let (shown, url) = compared.unwrap_or_else(|| ("source".to_owned(), repository.into()));
    // An address that may not be linked leaves the text alone.
    Some(text::link(&shown, &url)).filter(|link| link.starts_with('[')).unwrap_or_default()
}

/// The text and the address of a comparison, if both are commits of the same repository.
fn compare(from: &Origin, to: &Origin, repository: &Url) -> Option<(String, String)> {
    // No forge tells repositories apart by the case of letters.
    let same = self::repository(from)?.as_str().eq_ignore_ascii_case(repository.as_str());
    let (old, new) = (revision(from)?, revision(to)?);
    if !same || old.starts_with(&new) || new.starts_with(&old) {
        return None;
    }
    let page = match repository.host_str()? {
        "bitbucket.org" => format!("branches/compare/{new}..{old}"),
        host if host.starts_with("gitlab.") => format!("-/compare/{old}...{new}"),
        // GitHub, Gitea, Forgejo, and what follows them.
        _ => format!("compare/{old}...{new}"),
    };
    Some((format!("{}...{}", &old[..SHORT], &new[..SHORT]), format!("{repository}/{page}")))
}

/// A commit's name, whole or short.
fn revision(origin: &Origin) -> Option<String> {
    let revision = origin.revision.as_deref()?;
    let is_commit = (SHORT..=64).contains(&revision.len()) && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| revision.to_ascii_lowercase())
}

/// The page of a repository, by what a source is written as: `https://host/path`, `ssh://git@host/path` or
/// `git@host:path`, with `.git` and a part of it as `docker build` names it (`#ref:folder`) or as browsers do.
fn repository(origin: &Origin) -> Option<Url> {
    let source = origin.source.as_deref()?;
    if source.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let source = source.strip_prefix("git+").unwrap_or(source);
    let (address, ssh) = match source.split_once("://") {
        Some(("https", address)) => (address.to_owned(), false),
        Some(("ssh", address)) => (address.strip_prefix("git@").unwrap_or(address).to_owned(), true),
        Some(_) => return None,
        None => (source.strip_prefix("git@")?.replacen(':', "/", 1), true),
    };
    let mut url = Url::parse(&format!("https://{address}")).ok()?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return None;
    }
    url.set_fragment(None);
    if ssh {
        // It says nothing of where the pages are.
        url.set_port(None).ok()?;
    }
    let mut parts: Vec<&str> = url.path_segments()?.filter(|part| !part.is_empty()).collect();
    let within = parts.iter().skip(2).position(|part| WITHIN.contains(part));
    parts.truncate(within.map_or(parts.len(), |at| at + 2));
    if parts.len() < 2 {
        return None;
    }
    let path = parts.join("/");
    url.set_path(path.strip_suffix(".git").unwrap_or(&path));
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "1111111aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const NEW: &str = "2222222bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn origin(source: &str, revision: &str) -> Origin {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Origin { source: some(source), revision: some(revision) }
    }

    /// With `OLD` and `NEW` for the commits.
    fn shown(from: &Origin, to: &Origin) -> String {
        link(Some(from), Some(to)).replace(OLD, "OLD").replace(NEW, "NEW")
    }

    #[rstest::rstest]
    #[case("https://github.com/o/r", "https://github.com/o/r", "https://github.com/o/r/compare/OLD...NEW")]
    #[case("https://github.com/o/r.git", "https://github.com/O/R/", "https://github.com/O/R/compare/OLD...NEW")]
    #[case("git@github.com:o/r.git", "https://github.com/o/r", "https://github.com/o/r/compare/OLD...NEW")]
    #[case("ssh://git@github.com/o/r", "git+https://github.com/o/r", "https://github.com/o/r/compare/OLD...NEW")]
    #[case("https://codeberg.org/o/r", "git@codeberg.org:/o/r", "https://codeberg.org/o/r/compare/OLD...NEW")]
    #[case(
        "https://a.example:3000/x/o/r",
        "https://a.example:3000/x/o/r",
        "https://a.example:3000/x/o/r/compare/OLD...NEW"
    )]
    #[case("ssh://git@a.example:2222/o/r.git", "https://a.example/o/r", "https://a.example/o/r/compare/OLD...NEW")]
    #[case(
        "https://gitlab.com/g/s/r",
        "git+ssh://git@gitlab.com/g/s/r.git",
        "https://gitlab.com/g/s/r/-/compare/OLD...NEW"
    )]
    #[case(
        "https://gitlab.a.example/g/r",
        "https://gitlab.a.example/g/r",
        "https://gitlab.a.example/g/r/-/compare/OLD...NEW"
    )]
    #[case(
        "https://bitbucket.org/o/r",
        "https://bitbucket.org/o/r",
        "https://bitbucket.org/o/r/branches/compare/NEW..OLD"
    )]
    #[case(
        "https://github.com/o/r.git#main:a",
        "https://github.com/o/r/tree/v2/b",
        "https://github.com/o/r/compare/OLD...NEW"
    )]
    #[case("https://gitlab.com/g/r/-/tree/v1", "https://gitlab.com/g/r", "https://gitlab.com/g/r/-/compare/OLD...NEW")]
    fn two_commits_of_one_repository_are_compared(#[case] from: &str, #[case] to: &str, #[case] url: &str) {
        assert_eq!(shown(&origin(from, OLD), &origin(to, NEW)), format!("[1111111...2222222]({url})"));
    }

    #[rstest::rstest]
    #[case(origin("", ""))]
    #[case(origin("", OLD))]
    #[case(origin("https://github.com/o/r", ""))]
    #[case(origin("https://github.com/o/other", OLD))]
    #[case(origin("https://codeberg.org/o/r", OLD))]
    #[case(origin("https://github.com/o/r", "v1.0.0"))]
    #[case(origin("https://github.com/o/r", "abc123"))]
    #[case(origin("https://github.com/o/r", NEW))]
    #[case(origin("https://github.com/o/r", &NEW[..12]))]
    #[case(origin("https://github.com/o/r", "1111111..main"))]
    #[case(origin("https://github.com/o/r", &OLD.repeat(2)))]
    fn what_cannot_be_compared_leads_to_the_new_source(#[case] from: Origin) {
        let to = origin("https://github.com/o/r.git", NEW);
        assert_eq!(shown(&from, &to), "[source](https://github.com/o/r)");
        assert_eq!(link(None, Some(&to)), "[source](https://github.com/o/r)");
        assert_eq!((link(Some(&to), None), link(None, None)), (String::new(), String::new()));
    }

    #[rstest::rstest]
    #[case("javascript:alert(1)")]
    #[case("java\nscript://github.com/o/r")]
    #[case("data:text/html,<b>")]
    #[case("http://github.com/o/r")]
    #[case("git://github.com/o/r")]
    #[case("//github.com/o/r")]
    #[case("github.com/o/r")]
    #[case("https://user@github.com/o/r")]
    #[case("https://user:secret@github.com/o/r")]
    #[case("ssh://root@github.com/o/r")]
    #[case("root@github.com:o/r")]
    #[case("https://github.com/o/r?x=y")]
    #[case("https://github.com/o/r @alice")]
    #[case("https://github.com/o/r\n\nCloses #1")]
    #[case("https://github.com/o/r/issues/1")]
    #[case("https://github.com/o/r/pull/1")]
    #[case("https://github.com/o")]
    #[case("https://github.com")]
    #[case("https://")]
    #[case("@alice")]
    #[case("o/r#1")]
    #[case("](x) @alice")]
    #[case("<img src=x>")]
    fn what_is_no_repository_is_not_linked(#[case] source: &str) {
        assert_eq!(link(None, Some(&origin(source, NEW))), "");
        assert_eq!(shown(&origin(source, OLD), &origin(source, NEW)), "");
    }

    #[rstest::rstest]
    #[case("https://a.example/o/r)[x](y", "https://a.example/o/r%29%5Bx%5D%28y")]
    #[case("https://a.example/o/r](x)|@alice", "https://a.example/o/r%5D%28x%29%7C%40alice")]
    #[case("https://a.example/o/<img/src=x>", "https://a.example/o/%3Cimg/src=x%3E")]
    #[case("https://a.example/o/r`*_~\"'", "https://a.example/o/r%60%2A%5F~%22%27")]
    #[case("https://a.example/o/r#](x)|@alice", "https://a.example/o/r")]
    #[case("https://a.example/o/../../p/q/./r", "https://a.example/p/q/r")]
    #[case("git@a.example:o/r)#1", "https://a.example/o/r%29")]
    fn what_could_break_out_is_encoded(#[case] source: &str, #[case] url: &str) {
        let cell = link(None, Some(&origin(source, NEW)));
        assert_eq!(cell, format!("[source]({url})"));
        let compared = shown(&origin(source, OLD), &origin(source, NEW));
        assert_eq!(compared, format!("[1111111...2222222]({url}/compare/OLD...NEW)"));
    }

    #[test]
    fn an_address_that_is_too_long_is_not_linked() {
        assert_eq!(link(None, Some(&origin(&format!("https://a.example/o/{}", "r".repeat(1010)), NEW))), "");
    }

    #[rstest::rstest]
    #[case("[source](https://a.example/o/r)", true)]
    #[case("[1111111...2222222](https://a.example/o/r/compare/1111111...2222222)", true)]
    #[case("[source](https://a.example/o/r) @alice", false)]
    #[case("[@alice](https://a.example/o/r)", false)]
    #[case("[source](https://a.example/o/r) [x](https://b.example)", false)]
    #[case("[source](http://a.example/o/r)", false)]
    #[case("[source](javascript:alert)", false)]
    #[case("source", false)]
    #[case("", false)]
    fn only_links_as_we_write_them_are_kept(#[case] cell: &str, #[case] stays: bool) {
        assert_eq!(own_link(cell) == cell && !cell.is_empty(), stays);
    }
}
