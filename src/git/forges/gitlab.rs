//! GitLab: REST of version 4 ("Merge requests API").

use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{
    Forge, ForgeKind, MAX_PAGES, NewRequest, Opened, Request, RequestState, difference,
    error::ForgeError,
    http::{Dialect, Http},
    left_out, marked, newest, only_merged, unmarked,
};

pub(super) const KIND: ForgeKind = ForgeKind {
    name: "gitlab",
    has_groups: true,
    api: |site| {
        let mut api = site.clone();
        api.set_path(&format!("{}api/v4", site.path()));
        api
    },
    dialect: Dialect {
        scheme: "Bearer",
        accept: "application/json",
        headers: &[],
        limit: Some(("ratelimit-remaining", "ratelimit-reset")),
    },
    connect: |http, base| Arc::new(Gitlab { http, base }),
};

const DRAFT: &str = "Draft: ";

struct Gitlab {
    http: Http,
    /// The branch that requests lead into.
    base: String,
}

/// Requests that are asked for at once.
const PAGE: usize = 30;

#[derive(Deserialize)]
struct Merge {
    iid: u64,
    web_url: String,
    state: String,
    title: String,
    description: Option<String>,
    #[serde(default)]
    draft: bool,
    sha: Option<String>,
    merge_commit_sha: Option<String>,
    squash_commit_sha: Option<String>,
    closed_by: Option<User>,
    merged_by: Option<User>,
    merge_user: Option<User>,
    #[serde(default)]
    merge_when_pipeline_succeeds: bool,
    source_branch: String,
    source_project_id: Option<u64>,
    target_project_id: u64,
    #[serde(default)]
    assignees: Vec<User>,
    #[serde(default)]
    reviewers: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    username: String,
}

impl Merge {
    /// Whether its branch is the project's own.
    fn is_own(&self) -> bool {
        self.source_project_id == Some(self.target_project_id)
    }

    fn request(self) -> Request {
        let state = match self.state.as_str() {
            // `locked` is one that is being merged.
            "opened" | "locked" => RequestState::Open,
            "merged" => RequestState::Merged,
            _ => RequestState::Closed,
        };
        let by = self.closed_by.or(self.merge_user).or(self.merged_by);
        Request {
            number: self.iid,
            branch: self.source_branch,
            url: self.web_url,
            state,
            title: unmarked(&self.title).to_owned(),
            body: self.description.unwrap_or_default(),
            draft: self.draft,
            head_commit: self.sha.unwrap_or_default(),
            merge_commit: self.squash_commit_sha.or(self.merge_commit_sha),
            closed_by: by.map(|user| user.username).filter(|_| state != RequestState::Open),
            auto_merge: self.merge_when_pipeline_succeeds,
        }
    }
}

impl Gitlab {
    fn url(&self, parts: &[&str]) -> Url {
        self.http.url(&[&["projects", &self.http.place.repository, "merge_requests"], parts].concat())
    }

    /// Those of a branch. GitLab allows one that is open. Forks may have branches of that name, and many requests of them.
    async fn list(&self, branch: &str, state: &str) -> Result<Vec<Request>, ForgeError> {
        for page in 1..=MAX_PAGES {
            let which = [("state", state), ("source_branch", branch), ("page", &page.to_string())];
            let merges = self.page(&which, "the merge requests of a branch").await?;
            let is_last = merges.len() < PAGE;
            let own: Vec<Request> = merges.into_iter().filter(Merge::is_own).map(Merge::request).collect();
            if is_last || !own.is_empty() {
                return Ok(own);
            }
        }
        Ok(Vec::new())
    }

    async fn open_from(&self, prefix: &str) -> Result<Vec<Request>, ForgeError> {
        let mut open = Vec::new();
        for page in 1..=MAX_PAGES {
            let merges = self.page(&[("state", "opened"), ("page", &page.to_string())], "the merge requests").await?;
            if merges.is_empty() {
                break;
            }
            let is_meant = |merge: &Merge| merge.is_own() && merge.source_branch.starts_with(prefix);
            open.extend(merges.into_iter().filter(is_meant).map(Merge::request));
        }
        Ok(open)
    }

    /// "List project merge requests": those into the base, newest first.
    async fn page(&self, which: &[(&str, &str)], what: &str) -> Result<Vec<Merge>, ForgeError> {
        let mut url = self.url(&[]);
        url.query_pairs_mut()
            .extend_pairs(which)
            .append_pair("target_branch", &self.base)
            .append_pair("order_by", "created_at")
            .append_pair("sort", "desc")
            .append_pair("per_page", &PAGE.to_string());
        self.http.json(Method::GET, url, None, what).await
    }

    /// Users by name, and notes on those who are not there.
    async fn users(&self, kind: &str, names: &[String], notes: &mut Vec<String>) -> Vec<User> {
        let mut found = Vec::new();
        for name in names {
            let mut url = self.http.url(&["users"]);
            url.query_pairs_mut().append_pair("username", name);
            match self.http.json::<Vec<User>>(Method::GET, url, None, "a user").await {
                Ok(users) if users.is_empty() => notes.push(left_out(kind, name, "GitLab has no such user")),
                Ok(users) => found.extend(users.into_iter().next()),
                Err(error) => notes.push(left_out(kind, name, &error.to_string())),
            }
        }
        found
    }

    async fn put(&self, number: u64, body: &Value, what: &str) -> Result<(), ForgeError> {
        let url = self.url(&[&number.to_string()]);
        self.http.send(Method::PUT, url, Some(body), what).await?.done()
    }
}

/// Notes on who was asked for and is not there: without a licence GitLab takes one of each.
fn passed_over(kind: &str, wanted: &[User], there: &[User]) -> Vec<String> {
    let missing = wanted.iter().filter(|user| there.iter().all(|there| there.id != user.id));
    let note = |user: &User| left_out(kind, &user.username, "GitLab passed it over: its licence may allow only one");
    missing.map(note).collect()
}

impl Forge for Gitlab {
    fn find<'a>(&'a self, branch: &'a str) -> BoxFuture<'a, Result<Option<Request>, ForgeError>> {
        Box::pin(async move { Ok(newest(self.list(branch, "all").await?)) })
    }

    fn merged<'a>(&'a self, branch: &'a str) -> BoxFuture<'a, Result<Vec<Request>, ForgeError>> {
        Box::pin(async move { Ok(only_merged(self.list(branch, "merged").await?)) })
    }

    fn open_from<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Request>, ForgeError>> {
        Box::pin(self.open_from(prefix))
    }

    fn open<'a>(&'a self, new: &'a NewRequest) -> BoxFuture<'a, Result<Opened, ForgeError>> {
        Box::pin(async move {
            let mut notes = Vec::new();
            let assignees = self.users("assignee", &new.assignees, &mut notes).await;
            let reviewers = self.users("reviewer", &new.reviewers, &mut notes).await;
            let ids = |users: &[User]| users.iter().map(|user| user.id).collect::<Vec<_>>();
            // They go in one text, with commas between them.
            let (labels, odd): (Vec<&String>, Vec<&String>) = new.labels.iter().partition(|label| !label.contains(','));
            notes.extend(odd.into_iter().map(|label| left_out("label", label, "no label holds a comma")));
            let labels: Vec<&str> = labels.into_iter().map(String::as_str).collect();
            let body = json!({
                "source_branch": new.head,
                "target_branch": self.base,
                "title": marked(&new.title, new.draft, DRAFT),
                "description": new.body,
                "labels": labels.join(","),
                "assignee_ids": ids(&assignees),
                "reviewer_ids": ids(&reviewers),
            });
            let answer = self.http.send(Method::POST, self.url(&[]), Some(&body), "opening a merge request").await?;
            if answer.status == StatusCode::CONFLICT {
                let request = newest(self.list(&new.head, "opened").await?).ok_or_else(|| answer.error())?;
                return Ok(Opened { request, is_new: false, notes: Vec::new() });
            }
            let merge: Merge = answer.json()?;
            notes.extend(passed_over("assignee", &assignees, &merge.assignees));
            notes.extend(passed_over("reviewer", &reviewers, &merge.reviewers));
            Ok(Opened { request: merge.request(), is_new: true, notes })
        })
    }

    fn update<'a>(
        &'a self,
        present: &'a Request,
        title: &'a str,
        body: &'a str,
    ) -> BoxFuture<'a, Result<(), ForgeError>> {
        Box::pin(async move {
            match difference(present, title, body, Some(DRAFT), "description") {
                Some(change) => self.put(present.number, &change, "updating a merge request").await,
                None => Ok(()),
            }
        })
    }

    fn auto_merge<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<(), ForgeError>> {
        Box::pin(async move {
            let url = self.url(&[&request.number.to_string(), "merge"]);
            // `auto_merge` since 17.11, the other before.
            let body = json!({"auto_merge": true, "merge_when_pipeline_succeeds": true, "sha": request.head_commit});
            let answer = self.http.send(Method::PUT, url, Some(&body), "merging automatically").await?;
            match answer.status.as_u16() {
                // Drafts, and requests of which GitLab does not know yet whether they can be merged.
                405 | 409 | 422 => Err(answer.not_yet()),
                _ => answer.done(),
            }
        })
    }

    fn close(&self, number: u64) -> BoxFuture<'_, Result<(), ForgeError>> {
        Box::pin(async move { self.put(number, &json!({"state_event": "close"}), "closing a merge request").await })
    }
}
