//! Forges: requests to merge a branch of ours ("pull requests" at GitHub and Gitea, "merge requests" at GitLab).
//!
//! One more forge is one more file here and one more line in [`FORGES`]. What goes into a request, and when, is decided
//! above.
//!
//! | | |
//! |---|---|
//! | `github`, `gitlab`, `gitea` | the forges, each by its documented API |
//! | `github_app` | the tokens of a GitHub App's installation |
//! | `settings` | what a client is told; where a Git address has its API |
//! | `http` | one request: its token, its limits |
//! | `error` | what went wrong, in words |
//! | `text` | foreign text in Markdown |

use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::Method;
use serde_json::{Map, Value, json};
use url::Url;

use crate::{domain::image::excerpt, ports::Clock};

mod error;
mod gitea;
mod github;
mod github_app;
mod gitlab;
mod http;
mod settings;
pub mod text;

use self::http::{Dialect, Http};

pub use error::ForgeError;
pub use github_app::{AppSettings, GithubApp};
pub use settings::{AnyToken, ForgeSettings, RepositoryPlace, Token, place};

/// A kind of forge: how it is spoken to.
#[derive(Debug)]
pub struct ForgeKind {
    /// What the configuration calls it.
    pub name: &'static str,
    /// Whether a repository's path may have more than two parts.
    has_groups: bool,
    /// Where a site has its API. The site's address ends in a slash.
    api: fn(&Url) -> Url,
    dialect: Dialect,
    connect: fn(Http, String) -> Arc<dyn Forge>,
}

/// The forges there are.
pub static FORGES: &[ForgeKind] = &[github::KIND, gitlab::KIND, gitea::KIND];

/// The kind of that name.
pub fn named(name: &str) -> Result<&'static ForgeKind, String> {
    FORGES.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let there_are: Vec<_> = FORGES.iter().map(|kind| kind.name).collect();
        format!("`{}` is no kind of forge; available: {}", excerpt(name), there_are.join(", "))
    })
}

/// A client of that repository. It connects to nothing yet.
pub fn connect(settings: ForgeSettings, token: AnyToken, clock: Arc<dyn Clock>) -> Arc<dyn Forge> {
    let ForgeSettings { kind, place, base, client } = settings;
    (kind.connect)(Http::new(client, place, kind.dialect, token, clock), base)
}

/// The requests of one repository that lead from its own branches into its base branch.
pub trait Forge: Send + Sync {
    /// The request from that branch: the open one, else the one that was opened last. A fork's branch of that name is
    /// another.
    fn find<'a>(&'a self, branch: &'a str) -> BoxFuture<'a, Result<Option<Request>, ForgeError>>;

    /// The newest requests from that branch that were merged, as many as the forge lists at once.
    fn merged<'a>(&'a self, branch: &'a str) -> BoxFuture<'a, Result<Vec<Request>, ForgeError>>;

    /// The open requests from all branches whose names begin so, as far as they are among the newest of all open ones: a
    /// thousand at Gitea, 600 at GitHub and GitLab.
    fn open_from<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Request>, ForgeError>>;

    /// Opens a request, or returns the one that is open already.
    fn open<'a>(&'a self, new: &'a NewRequest) -> BoxFuture<'a, Result<Opened, ForgeError>>;

    /// Sets title and body, where they differ from those of `present`. It stays a draft if it is one.
    fn update<'a>(
        &'a self,
        present: &'a Request,
        title: &'a str,
        body: &'a str,
    ) -> BoxFuture<'a, Result<(), ForgeError>>;

    /// Has it merged as soon as the forge's rules allow that, if it is still at `head_commit`. GitLab and Gitea merge
    /// at once where nothing is to be waited for; GitHub refuses then. [`ForgeError::Unavailable`] where the forge is
    /// not ready to tell, as GitLab and Gitea are right after opening.
    fn auto_merge<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<(), ForgeError>>;

    /// Closes it without merging.
    fn close(&self, number: u64) -> BoxFuture<'_, Result<(), ForgeError>>;
}

/// A request as the forge has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As people write it after `#` or `!`.
    pub number: u64,
    /// The branch that it leads from.
    pub branch: String,
    /// Its page.
    pub url: String,
    /// What became of it.
    pub state: RequestState,
    /// Without the mark of a draft.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// Whether it is a draft.
    pub draft: bool,
    /// The commit at its branch's end; the last one it had, where the branch is gone.
    pub head_commit: String,
    /// The commit that brought it into the base branch, where the forge tells: the one that has its message.
    pub merge_commit: Option<String>,
    /// Who closed or merged it: GitLab tells, Gitea sometimes of merged ones, GitHub not.
    pub closed_by: Option<String>,
    /// Whether it is to be merged by itself. Gitea does not tell.
    pub auto_merge: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    /// Nothing yet.
    Open,
    /// It is in the base branch.
    Merged,
    /// Closed unmerged.
    Closed,
}

/// A request to be opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRequest {
    /// At most [`text::MAX_TITLE`] characters.
    pub title: String,
    /// Markdown, at most [`text::MAX_BODY`] bytes.
    pub body: String,
    /// The branch, of the same repository.
    pub head: String,
    /// Labels by name. GitHub and GitLab make one that is not there.
    pub labels: Vec<String>,
    /// Users by name; at GitHub and Gitea also teams, as `org/team`.
    pub reviewers: Vec<String>,
    /// Users by name.
    pub assignees: Vec<String>,
    /// Opens it as a draft.
    pub draft: bool,
}

/// What came of opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The request.
    pub request: Request,
    /// Whether it was not there before.
    pub is_new: bool,
    /// What of it could not be done, such as a reviewer whom the forge does not know.
    pub notes: Vec<String>,
}

/// How many pages of requests, or of labels, are looked through.
const MAX_PAGES: usize = 20;

/// The one to go by: the open one, else the newest.
fn newest(requests: impl IntoIterator<Item = Request>) -> Option<Request> {
    requests.into_iter().max_by_key(|request| (request.state == RequestState::Open, request.number))
}

fn only_merged(requests: impl IntoIterator<Item = Request>) -> Vec<Request> {
    requests.into_iter().filter(|request| request.state == RequestState::Merged).collect()
}

/// What of title and body differs from `present`, as the fields of a change; nothing if nothing does. `mark` is that of
/// drafts. Forges end lines and bodies in their own ways.
fn difference(present: &Request, title: &str, body: &str, mark: Option<&str>, body_field: &str) -> Option<Value> {
    let same = |a: &str, b: &str| a.trim_end().lines().map(str::trim_end).eq(b.trim_end().lines().map(str::trim_end));
    let mut change = Map::new();
    if present.title != mark.map_or(title, |_| unmarked(title)) {
        let title = mark.map_or(title.to_owned(), |mark| marked(title, present.draft, mark));
        change.insert("title".to_owned(), json!(title));
    }
    if !same(&present.body, body) {
        change.insert(body_field.to_owned(), json!(body));
    }
    (!change.is_empty()).then_some(Value::Object(change))
}

/// Marks of drafts, at GitLab and Gitea.
const DRAFT_MARKS: &[&str] = &["draft:", "[draft]", "(draft)", "wip:", "[wip]"];

/// A title without the marks of a draft.
fn unmarked(mut title: &str) -> &str {
    let cut = |title: &str| {
        let mark =
            DRAFT_MARKS.iter().find(|mark| title.get(..mark.len()).is_some_and(|t| t.eq_ignore_ascii_case(mark)));
        mark.map_or(0, |mark| mark.len())
    };
    loop {
        title = title.trim_start();
        match cut(title) {
            0 => return title,
            length => title = &title[length..],
        }
    }
}

/// A title with that mark, or with none.
fn marked(title: &str, draft: bool, mark: &str) -> String {
    format!("{}{}", if draft { mark } else { "" }, unmarked(title))
}

/// Asks for all of `names` at once and, where that is refused, for as many as it is granted for; who was left out
/// becomes a note. What was granted for a name may be asked for again.
async fn for_each(
    http: &Http,
    kind: &str,
    names: &[String],
    notes: &mut Vec<String>,
    ask: impl Fn(&[String]) -> (Method, Url, Value),
) {
    if names.len() > 1 && add(http, kind, ask(names)).await.is_ok() {
        return;
    }
    let mut granted = Vec::new();
    for name in names {
        granted.push(name.clone());
        if let Err(error) = add(http, kind, ask(&granted)).await {
            notes.push(left_out(kind, name, &error.to_string()));
            granted.pop();
        }
    }
}

async fn add(http: &Http, kind: &str, (method, url, body): (Method, Url, Value)) -> Result<(), ForgeError> {
    http.send(method, url, Some(&body), &format!("adding a {kind}")).await?.done()
}

fn left_out(kind: &str, name: &str, why: &str) -> String {
    format!("the {kind} `{}` was left out: {why}", excerpt(name))
}

/// Who is asked for a review, at GitHub and Gitea; `org/team` is a team.
fn reviewers_body(reviewers: &[String]) -> Value {
    let (teams, users): (Vec<&String>, Vec<&String>) = reviewers.iter().partition(|name| name.contains('/'));
    let teams: Vec<_> = teams.into_iter().filter_map(|team| team.rsplit('/').next()).collect();
    json!({"reviewers": users, "team_reviewers": teams})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_of_every_forge_what_a_token_needs() {
        let page = include_str!("../../../docs/git.md");
        for kind in FORGES {
            assert!(page.contains(&format!("\n| `{}` | ", kind.name)), "{}", kind.name);
        }
    }

    #[rstest::rstest]
    #[case("Draft: WIP: x", "x")]
    #[case("[draft] x", "x")]
    #[case("Drafty: x", "Drafty: x")]
    #[case("ä", "ä")]
    #[case("WIP:", "")]
    fn marks_of_drafts_are_no_part_of_a_title(#[case] title: &str, #[case] want: &str) {
        assert_eq!(unmarked(title), want);
        assert_eq!(marked(title, true, "WIP: "), format!("WIP: {want}"));
        assert_eq!(marked(title, false, "WIP: "), want);
    }
}
