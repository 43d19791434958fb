//! GitHub and GitHub Enterprise Server: REST of version 2022-11-28 ("REST API endpoints for pull requests"), and GraphQL
//! for `enablePullRequestAutoMerge`, which REST does not have.

use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{
    Forge, ForgeKind, MAX_PAGES, NewRequest, Opened, Request, RequestState, difference,
    error::ForgeError,
    for_each,
    http::{Dialect, ForgeAnswer, Http},
    left_out, newest, only_merged, reviewers_body,
};
use crate::net::foreign;

pub(super) const KIND: ForgeKind = ForgeKind {
    name: "github",
    has_groups: false,
    api,
    dialect: Dialect {
        scheme: "Bearer",
        accept: "application/vnd.github+json",
        headers: &[("x-github-api-version", "2022-11-28")],
        limit: Some(("x-ratelimit-remaining", "x-ratelimit-reset")),
    },
    connect: |http, base| Arc::new(Github { http, base }),
};

/// `api.github.com`, `api.TEAM.ghe.com`, and at a server of one's own a folder.
fn api(site: &Url) -> Url {
    let mut api = site.clone();
    let host = site.host_str().unwrap_or_default();
    match host == "github.com" || host.ends_with(".ghe.com") {
        // A name with a part more is a name still.
        true => drop(api.set_host(Some(&format!("api.{host}")))),
        false => api.set_path(&format!("{}api/v3", site.path())),
    }
    api
}

const AUTO_MERGE_QUERY: &str = "query($owner: String!, $name: String!, $number: Int!) { repository(owner: $owner, \
     name: $name) { viewerDefaultMergeMethod pullRequest(number: $number) { id } } }";
const AUTO_MERGE: &str = "mutation($input: EnablePullRequestAutoMergeInput!) { enablePullRequestAutoMerge(input: \
     $input) { clientMutationId } }";

struct Github {
    http: Http,
    /// The branch that requests lead into.
    base: String,
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
    html_url: String,
    state: String,
    title: String,
    body: Option<String>,
    #[serde(default)]
    draft: bool,
    merged_at: Option<String>,
    merge_commit_sha: Option<String>,
    auto_merge: Option<Value>,
    head: Side,
    base: Side,
}

#[derive(Deserialize)]
struct Side {
    /// The branch.
    #[serde(rename = "ref")]
    name: String,
    sha: String,
    /// None where the fork is gone.
    repo: Option<Repo>,
}

#[derive(Deserialize, PartialEq)]
struct Repo {
    id: u64,
}

#[derive(Deserialize)]
struct Issue {
    assignees: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    login: String,
}

#[derive(Deserialize)]
struct GraphQl {
    #[serde(default)]
    data: Value,
    #[serde(default)]
    errors: Vec<GraphQlError>,
}

#[derive(Deserialize)]
struct GraphQlError {
    #[serde(rename = "type", default)]
    kind: String,
    message: String,
}

impl Pull {
    /// Whether its branch is the repository's own.
    fn is_own(&self) -> bool {
        self.head.repo.is_some() && self.head.repo == self.base.repo
    }

    fn request(self) -> Request {
        let state = match (self.state.as_str(), &self.merged_at) {
            (_, Some(_)) => RequestState::Merged,
            ("open", None) => RequestState::Open,
            _ => RequestState::Closed,
        };
        Request {
            number: self.number,
            branch: self.head.name,
            url: self.html_url,
            state,
            title: self.title,
            body: self.body.unwrap_or_default(),
            draft: self.draft,
            head_commit: self.head.sha,
            // Of an open one it is a commit that GitHub only tries out.
            merge_commit: self.merge_commit_sha.filter(|_| state == RequestState::Merged),
            closed_by: None,
            auto_merge: self.auto_merge.is_some_and(|merge| !merge.is_null()),
        }
    }
}

impl Github {
    /// Those of a branch. GitHub allows one that is open.
    async fn list(&self, branch: &str, state: &str) -> Result<Vec<Request>, ForgeError> {
        let owner = self.http.place.repository.split('/').next().unwrap_or_default();
        let pulls = self
            .page(&[("state", state), ("head", &format!("{owner}:{branch}"))], "the pull requests of a branch")
            .await?;
        Ok(pulls.into_iter().filter(Pull::is_own).map(Pull::request).collect())
    }

    async fn open_from(&self, prefix: &str) -> Result<Vec<Request>, ForgeError> {
        let mut open = Vec::new();
        for page in 1..=MAX_PAGES {
            let pulls = self.page(&[("state", "open"), ("page", &page.to_string())], "the pull requests").await?;
            if pulls.is_empty() {
                break;
            }
            let is_meant = |pull: &Pull| pull.is_own() && pull.head.name.starts_with(prefix);
            open.extend(pulls.into_iter().filter(is_meant).map(Pull::request));
        }
        Ok(open)
    }

    /// "List pull requests": those into the base, newest first.
    async fn page(&self, which: &[(&str, &str)], what: &str) -> Result<Vec<Pull>, ForgeError> {
        let Self { http, .. } = self;
        let mut url = http.repos(&["pulls"]);
        url.query_pairs_mut()
            .extend_pairs(which)
            .append_pair("base", &self.base)
            .append_pair("sort", "created")
            .append_pair("direction", "desc")
            .append_pair("per_page", "30");
        http.json(Method::GET, url, None, what).await
    }

    /// What "Create a pull request" does not take: labels, reviewers, assignees.
    async fn complete(&self, number: u64, new: &NewRequest) -> Vec<String> {
        let Self { http, .. } = self;
        let (mut notes, number) = (Vec::new(), number.to_string());
        for_each(http, "label", &new.labels, &mut notes, |labels| {
            (Method::POST, http.repos(&["issues", &number, "labels"]), json!({"labels": labels}))
        })
        .await;
        for_each(http, "reviewer", &new.reviewers, &mut notes, |reviewers| {
            (Method::POST, http.repos(&["pulls", &number, "requested_reviewers"]), reviewers_body(reviewers))
        })
        .await;
        if !new.assignees.is_empty() {
            // Who cannot be assigned is passed over in silence.
            let url = http.repos(&["issues", &number, "assignees"]);
            let body = json!({"assignees": new.assignees});
            let answer = http.json::<Issue>(Method::POST, url, Some(&body), "assigning").await;
            let is_there = |name: &str| {
                let mut there = answer.iter().flat_map(|issue| &issue.assignees);
                there.any(|user| user.login.eq_ignore_ascii_case(name))
            };
            let unknown = || "GitHub does not let it be assigned here".to_owned();
            let why = answer.as_ref().err().map_or_else(unknown, ToString::to_string);
            let missing = new.assignees.iter().filter(|name| !is_there(name));
            notes.extend(missing.map(|name| left_out("assignee", name, &why)));
        }
        notes
    }

    async fn graphql(&self, query: &str, variables: &Value) -> Result<Value, ForgeError> {
        let Self { http, .. } = self;
        let mut url = http.place.api.clone();
        let folder = url.path().trim_end_matches('/').trim_end_matches("/v3").to_owned();
        url.set_path(&format!("{folder}/graphql"));
        let body = json!({"query": query, "variables": variables});
        let answer = http.send(Method::POST, url, Some(&body), "merging automatically").await?;
        let said: GraphQl = answer.json()?;
        if said.errors.iter().any(|error| error.kind == "RATE_LIMITED") {
            return Err(http.limited(&answer));
        }
        let words: Vec<_> = said.errors.iter().map(|error| error.message.as_str()).collect();
        let text = || foreign(&format!("GitHub does not merge it automatically: {}", words.join("; ")));
        match said.errors.first().map(|error| error.kind.as_str()) {
            None => Ok(said.data),
            Some("FORBIDDEN") => Err(ForgeError::Auth(text())),
            Some("NOT_FOUND") => Err(ForgeError::NotFound(text())),
            Some(_) => Err(ForgeError::Refused(text())),
        }
    }

    async fn patch(&self, number: u64, body: &Value, what: &str) -> Result<(), ForgeError> {
        let url = self.http.repos(&["pulls", &number.to_string()]);
        self.http.send(Method::PATCH, url, Some(body), what).await?.done()
    }
}

impl Forge for Github {
    fn find<'a>(&'a self, branch: &'a str) -> BoxFuture<'a, Result<Option<Request>, ForgeError>> {
        Box::pin(async move { Ok(newest(self.list(branch, "all").await?)) })
    }

    fn merged<'a>(&'a self, branch: &'a str) -> BoxFuture<'a, Result<Vec<Request>, ForgeError>> {
        Box::pin(async move { Ok(only_merged(self.list(branch, "closed").await?)) })
    }

    fn open_from<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Request>, ForgeError>> {
        Box::pin(self.open_from(prefix))
    }

    fn open<'a>(&'a self, new: &'a NewRequest) -> BoxFuture<'a, Result<Opened, ForgeError>> {
        Box::pin(async move {
            let Self { http, .. } = self;
            let mut body = json!({"title": new.title, "body": new.body, "head": new.head, "base": self.base});
            body["draft"] = json!(new.draft);
            let what = "opening a pull request";
            let mut notes = Vec::new();
            let mut answer = http.send(Method::POST, http.repos(&["pulls"]), Some(&body), what).await?;
            let says = |answer: &ForgeAnswer, text: &str| {
                let is_invalid = answer.status == StatusCode::UNPROCESSABLE_ENTITY;
                is_invalid && answer.words().is_some_and(|words| words.to_lowercase().contains(text))
            };
            // Drafts are not in every plan.
            if new.draft && says(&answer, "draft") {
                notes.push("it is no draft: GitHub has none for this repository".to_owned());
                body["draft"] = json!(false);
                answer = http.send(Method::POST, http.repos(&["pulls"]), Some(&body), what).await?;
            }
            if says(&answer, "already exists") {
                let request = newest(self.list(&new.head, "open").await?).ok_or_else(|| answer.error())?;
                return Ok(Opened { request, is_new: false, notes: Vec::new() });
            }
            let request = answer.json::<Pull>()?.request();
            notes.extend(self.complete(request.number, new).await);
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
            match difference(present, title, body, None, "body") {
                Some(change) => self.patch(present.number, &change, "updating a pull request").await,
                None => Ok(()),
            }
        })
    }

    fn auto_merge<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<(), ForgeError>> {
        Box::pin(async move {
            let (owner, name) = self.http.place.repository.split_once('/').unwrap_or_default();
            let of = json!({"owner": owner, "name": name, "number": request.number});
            let found = self.graphql(AUTO_MERGE_QUERY, &of).await?;
            let repository = &found["repository"];
            let input = json!({
                "pullRequestId": repository["pullRequest"]["id"],
                "mergeMethod": repository["viewerDefaultMergeMethod"],
                "expectedHeadOid": request.head_commit,
            });
            self.graphql(AUTO_MERGE, &json!({"input": input})).await.map(drop)
        })
    }

    fn close(&self, number: u64) -> BoxFuture<'_, Result<(), ForgeError>> {
        Box::pin(async move { self.patch(number, &json!({"state": "closed"}), "closing a pull request").await })
    }
}
