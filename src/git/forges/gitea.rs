//! Gitea and Forgejo: their API of version 1. What a token needs is `write:repository`, and `read:issue` for labels.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::BoxFuture;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{
    Forge, ForgeKind, MAX_PAGES, NewRequest, Opened, Request, RequestState, difference,
    error::ForgeError,
    for_each,
    http::{Dialect, Http},
    left_out, marked, newest, only_merged, reviewers_body, unmarked,
};

pub(super) const KIND: ForgeKind = ForgeKind {
    name: "gitea",
    has_groups: false,
    api: |site| {
        let mut api = site.clone();
        api.set_path(&format!("{}api/v1", site.path()));
        api
    },
    dialect: Dialect { scheme: "token", accept: "application/json", headers: &[], limit: None },
    connect: |http, base| Arc::new(Gitea { http, base }),
};

const DRAFT: &str = "WIP: ";
/// Requests, or labels, a page; a server may give fewer.
const PAGE: &str = "50";

struct Gitea {
    http: Http,
    /// The branch that requests lead into.
    base: String,
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
    html_url: String,
    state: String,
    #[serde(default)]
    merged: bool,
    title: String,
    body: Option<String>,
    #[serde(default)]
    draft: bool,
    merge_commit_sha: Option<String>,
    merged_by: Option<User>,
    head: Side,
    base: Side,
}

#[derive(Deserialize)]
struct Side {
    /// The branch, also after it is gone (`ref` is `refs/pull/1/head` then); empty where there never was one.
    label: String,
    sha: String,
    /// -1 where the fork is gone.
    repo_id: i64,
}

#[derive(Deserialize)]
struct User {
    login: String,
}

#[derive(Deserialize)]
struct Label {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct Repo {
    default_merge_style: String,
}

impl Pull {
    /// Whether it leads from such a branch of the repository itself into that base.
    fn is_own(&self, is_branch: impl Fn(&str) -> bool, base: &str) -> bool {
        is_branch(&self.head.label) && self.head.repo_id == self.base.repo_id && self.base.label == base
    }

    fn request(self) -> Request {
        let state = match (self.merged, self.state.as_str()) {
            (true, _) => RequestState::Merged,
            (false, "open") => RequestState::Open,
            (false, _) => RequestState::Closed,
        };
        Request {
            number: self.number,
            branch: self.head.label,
            url: self.html_url,
            state,
            title: unmarked(&self.title).to_owned(),
            body: self.body.unwrap_or_default(),
            draft: self.draft,
            head_commit: self.head.sha,
            merge_commit: self.merge_commit_sha.filter(|sha| !sha.is_empty()),
            closed_by: self.merged_by.map(|user| user.login),
            auto_merge: false,
        }
    }
}

impl Gitea {
    /// The request of a branch. "Get a pull request by base and head" tells with one request whether there ever was
    /// one, but not which is the newest; the list can be asked for the base only, and by some servers not even that.
    async fn newest(&self, branch: &str) -> Result<Option<Request>, ForgeError> {
        let Self { http, .. } = self;
        let parts: Vec<&str> = ["pulls", &*self.base].into_iter().chain(branch.split('/')).collect();
        let answer = http.send(Method::GET, http.repos(&parts), None, "the pull request of a branch").await?;
        if answer.status == StatusCode::NOT_FOUND {
            // Or it is the repository that is not there.
            http.send(Method::GET, http.repos(&[]), None, "the repository").await?.done()?;
            return Ok(None);
        }
        let any: Option<Pull> =
            Some(answer.json()?).filter(|pull: &Pull| pull.is_own(|name| name == branch, &self.base));
        let any = any.map(Pull::request);
        if any.as_ref().is_some_and(|any| any.state == RequestState::Open) {
            return Ok(any);
        }
        for state in ["open", "closed"] {
            if let Some(found) = self.list(branch, state).await? {
                // A list does not tell who merged.
                return Ok(any.filter(|any| any.number == found.number).or(Some(found)));
            }
        }
        Ok(any)
    }

    /// The newest of a branch in that state, if it is among the newest thousand of all.
    async fn list(&self, branch: &str, state: &str) -> Result<Option<Request>, ForgeError> {
        for page in 1..=MAX_PAGES {
            let pulls = self.page(state, page).await?;
            let is_last = pulls.is_empty();
            let found = newest(self.of(branch, pulls));
            if found.is_some() || is_last {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Those of a branch.
    fn of(&self, branch: &str, pulls: Vec<Pull>) -> Vec<Request> {
        let own = pulls.into_iter().filter(|pull| pull.is_own(|name| name == branch, &self.base));
        own.map(Pull::request).collect()
    }

    async fn open_from(&self, prefix: &str) -> Result<Vec<Request>, ForgeError> {
        let mut open = Vec::new();
        for page in 1..=MAX_PAGES {
            let pulls = self.page("open", page).await?;
            if pulls.is_empty() {
                break;
            }
            let own = pulls.into_iter().filter(|pull| pull.is_own(|name| name.starts_with(prefix), &self.base));
            open.extend(own.map(Pull::request));
        }
        Ok(open)
    }

    /// "List a repo's pull requests", newest first.
    async fn page(&self, state: &str, page: usize) -> Result<Vec<Pull>, ForgeError> {
        let Self { http, .. } = self;
        let mut url = http.repos(&["pulls"]);
        url.query_pairs_mut()
            .append_pair("state", state)
            .append_pair("base_branch", &self.base)
            .append_pair("limit", PAGE)
            .append_pair("page", &page.to_string());
        http.json(Method::GET, url, None, "the pull requests").await
    }

    /// The ids of labels, of the repository or of its organisation, and notes on those that are not there.
    async fn labels(&self, names: &[String], notes: &mut Vec<String>) -> Vec<u64> {
        let Self { http, .. } = self;
        if names.is_empty() {
            return Vec::new();
        }
        let owner = http.place.repository.split('/').next().unwrap_or_default();
        let mut known: BTreeMap<String, u64> = BTreeMap::new();
        let own = self.label_pages(&http.repos(&["labels"]), &mut known).await;
        if names.iter().any(|name| !known.contains_key(name)) {
            // The owner may be a person, or the token may not read its labels.
            let _ = self.label_pages(&http.url(&["orgs", owner, "labels"]), &mut known).await;
        }
        let why = own.err().map_or("there is no such label".to_owned(), |error| error.to_string());
        let missing = names.iter().filter(|name| !known.contains_key(*name));
        notes.extend(missing.map(|name| left_out("label", name, &why)));
        names.iter().filter_map(|name| known.get(name).copied()).collect()
    }

    async fn label_pages(&self, url: &Url, known: &mut BTreeMap<String, u64>) -> Result<(), ForgeError> {
        for page in 1..=MAX_PAGES {
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("limit", PAGE).append_pair("page", &page.to_string());
            let labels: Vec<Label> = self.http.json(Method::GET, url, None, "the labels").await?;
            if labels.is_empty() {
                break;
            }
            for label in labels {
                known.entry(label.name).or_insert(label.id);
            }
        }
        Ok(())
    }

    /// Reviewers and assignees, who would make the opening itself fail if they are not known.
    async fn complete(&self, number: u64, new: &NewRequest, notes: &mut Vec<String>) {
        let Self { http, .. } = self;
        let number = number.to_string();
        for_each(http, "reviewer", &new.reviewers, notes, |reviewers| {
            (Method::POST, http.repos(&["pulls", &number, "requested_reviewers"]), reviewers_body(reviewers))
        })
        .await;
        for_each(http, "assignee", &new.assignees, notes, |assignees| {
            (Method::PATCH, http.repos(&["pulls", &number]), json!({"assignees": assignees}))
        })
        .await;
    }

    async fn patch(&self, number: u64, body: &Value, what: &str) -> Result<(), ForgeError> {
        let url = self.http.repos(&["pulls", &number.to_string()]);
        self.http.send(Method::PATCH, url, Some(body), what).await?.done()
    }
}

impl Forge for Gitea {
    fn find<'a>(&'a self, branch: &'a str) -> BoxFuture<'a, Result<Option<Request>, ForgeError>> {
        Box::pin(self.newest(branch))
    }

    fn merged<'a>(&'a self, branch: &'a str) -> BoxFuture<'a, Result<Vec<Request>, ForgeError>> {
        Box::pin(async move { Ok(only_merged(self.of(branch, self.page("closed", 1).await?))) })
    }

    fn open_from<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Request>, ForgeError>> {
        Box::pin(self.open_from(prefix))
    }

    fn open<'a>(&'a self, new: &'a NewRequest) -> BoxFuture<'a, Result<Opened, ForgeError>> {
        Box::pin(async move {
            let Self { http, .. } = self;
            let mut notes = Vec::new();
            let labels = self.labels(&new.labels, &mut notes).await;
            let body = json!({
                "head": new.head,
                "base": self.base,
                "title": marked(&new.title, new.draft, DRAFT),
                "body": new.body,
                "labels": labels,
            });
            let what = "opening a pull request";
            let answer = http.send(Method::POST, http.repos(&["pulls"]), Some(&body), what).await?;
            if answer.status == StatusCode::CONFLICT {
                let request = self.newest(&new.head).await?.filter(|found| found.state == RequestState::Open);
                return Ok(Opened {
                    request: request.ok_or_else(|| answer.error())?,
                    is_new: false,
                    notes: Vec::new(),
                });
            }
            let request = answer.json::<Pull>()?.request();
            self.complete(request.number, new, &mut notes).await;
            Ok(Opened { request, is_new: true, notes })
        })
    }

    fn update<'a>(
        &'a self,
        present: &'a Request,
        title: &'a str,
        body: &'a str,
    ) -> BoxFuture<'a, Result<(), ForgeError>> {
        Box::pin(async move {
            match difference(present, title, body, Some(DRAFT), "body") {
                Some(change) => self.patch(present.number, &change, "updating a pull request").await,
                None => Ok(()),
            }
        })
    }

    fn auto_merge<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<(), ForgeError>> {
        Box::pin(async move {
            let Self { http, .. } = self;
            let repo: Repo = http.json(Method::GET, http.repos(&[]), None, "the repository").await?;
            let body = json!({
                "Do": repo.default_merge_style,
                "merge_when_checks_succeed": true,
                "head_commit_id": request.head_commit,
            });
            let url = http.repos(&["pulls", &request.number.to_string(), "merge"]);
            let answer = http.send(Method::POST, url, Some(&body), "merging automatically").await?;
            let says = |text: &str| answer.words().is_some_and(|words| words.contains(text));
            match answer.status.as_u16() {
                409 if says("already scheduled") => Ok(()),
                // It has not found out yet whether it can be merged.
                405 if says("try again later") => Err(answer.not_yet()),
                _ => answer.done(),
            }
        })
    }

    fn close(&self, number: u64) -> BoxFuture<'_, Result<(), ForgeError>> {
        Box::pin(async move { self.patch(number, &json!({"state": "closed"}), "closing a pull request").await })
    }
}
