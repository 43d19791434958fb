//! GitHub, by its documentation: payloads are those of "REST API endpoints for pull requests".

use serde_json::{Value, json};
use supercargo::git::forges::{ForgeError, NewRequest, RequestState};

use super::{Came, Reply, Site, TOKEN, body, connect, failed, held, new, reply, settings, start};

/// The state of `octocat/Hello-World`.
#[derive(Default)]
pub(crate) struct Hub {
    pulls: Vec<Value>,
    /// Whether the plan has drafts.
    drafts: bool,
    auto_merge: Option<Value>,
    /// What GraphQL says no with.
    refuses: Option<Value>,
}

const KNOWN: &[&str] = &["hubot", "other_user"];

fn user(login: &str) -> Value {
    json!({"login": login, "id": 1, "node_id": "MDQ6VXNlcjE=", "type": "User", "site_admin": false})
}

fn repository(id: u64, full_name: &str) -> Value {
    json!({"id": id, "node_id": "MDEwOlJlcG9zaXRvcnkxMjk2MjY5", "name": "Hello-World", "full_name": full_name,
        "private": false, "fork": id != 1296269, "default_branch": "main"})
}

fn pull(number: usize, new: &Value, head: Value) -> Value {
    json!({
        "url": format!("https://api.github.com/repos/octocat/Hello-World/pulls/{number}"), "id": number,
        "node_id": format!("PR_{number}"), "html_url": format!("https://github.com/octocat/Hello-World/pull/{number}"),
        "number": number, "state": "open", "locked": false, "title": new["title"], "user": user("octocat"),
        "body": new["body"], "labels": [], "milestone": null, "active_lock_reason": null,
        "created_at": "2011-01-26T19:01:12Z", "updated_at": "2011-01-26T19:01:12Z", "closed_at": null,
        "merged_at": null, "merge_commit_sha": "e5bd3914e2e596debea16f433f57875b5b90bcd6", "assignee": null,
        "assignees": [], "requested_reviewers": [], "requested_teams": [],
        "head": {"label": format!("octocat:{}", new["head"].as_str().unwrap()), "ref": new["head"],
            "sha": "6dcb09b5b57875f334f61aebed695e2e4193db5e", "user": user("octocat"), "repo": head},
        "base": {"label": "octocat:main", "ref": "main", "sha": "6dcb09b5b57875f334f61aebed695e2e4193db5e",
            "user": user("octocat"), "repo": repository(1296269, "octocat/Hello-World")},
        "author_association": "OWNER", "auto_merge": null, "draft": new["draft"],
    })
}

fn invalid(errors: Value) -> Reply {
    let documentation = "https://docs.github.com/rest/pulls/pulls#create-a-pull-request";
    reply(
        422,
        json!({"message": "Validation Failed", "errors": errors, "documentation_url": documentation, "status": "422"}),
    )
}

impl Site for Hub {
    const KIND: &'static str = "github";
    const REPOSITORY: &'static str = "octocat/Hello-World";
    const API: &'static str = "/api/v3";

    fn answer(&mut self, came: &Came) -> Reply {
        if came.header("authorization") != format!("Bearer {TOKEN}") {
            return reply(
                401,
                json!({"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"}),
            );
        }
        assert_eq!(came.header("x-github-api-version"), "2022-11-28");
        assert_eq!(came.header("accept"), "application/vnd.github+json");
        if came.path == "/api/graphql" {
            return self.graphql(came);
        }
        let Some(path) = came.path.strip_prefix("/api/v3/repos/octocat/Hello-World/") else {
            return reply(404, json!({"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}));
        };
        let parts: Vec<&str> = path.split('/').collect();
        match (&*came.method, &parts[..]) {
            ("GET", ["pulls"]) => reply(200, self.list(came)),
            ("POST", ["pulls"]) => self.create(&came.body),
            ("PATCH", ["pulls", number]) => {
                let pull = &mut self.pulls[number.parse::<usize>().unwrap() - 1];
                for (key, value) in came.body.as_object().unwrap() {
                    pull[key] = value.clone();
                }
                reply(200, pull.clone())
            }
            ("POST", ["issues", number, "labels"]) => {
                let pull = &mut self.pulls[number.parse::<usize>().unwrap() - 1];
                pull["labels"] = came.body["labels"].clone();
                reply(200, json!([{"id": 208045946, "name": "bug", "color": "f29513", "default": true}]))
            }
            ("POST", ["issues", number, "assignees"]) => {
                let pull = &mut self.pulls[number.parse::<usize>().unwrap() - 1];
                let known =
                    came.body["assignees"].as_array().unwrap().iter().filter(|n| KNOWN.contains(&n.as_str().unwrap()));
                pull["assignees"] = known.map(|name| user(name.as_str().unwrap())).collect();
                reply(201, pull.clone())
            }
            ("POST", ["pulls", number, "requested_reviewers"]) => {
                let users = came.body["reviewers"].as_array().unwrap();
                if users.iter().any(|name| !KNOWN.contains(&name.as_str().unwrap())) {
                    let words = "Reviews may only be requested from collaborators. One or more of the users or teams you \
                                 specified is not a collaborator of the octocat/Hello-World repository.";
                    return reply(422, json!({"message": words, "documentation_url": "https://docs.github.com/rest"}));
                }
                let pull = &mut self.pulls[number.parse::<usize>().unwrap() - 1];
                pull["requested_reviewers"] = came.body["reviewers"].clone();
                pull["requested_teams"] = came.body["team_reviewers"].clone();
                reply(201, pull.clone())
            }
            _ => reply(404, json!({"message": "Not Found"})),
        }
    }

    fn requests(&mut self) -> &mut Vec<Value> {
        &mut self.pulls
    }

    fn merge(&mut self, number: usize) {
        self.close(number);
        self.pulls[number - 1]["merged_at"] = json!("2011-01-26T19:01:12Z");
    }

    fn close(&mut self, number: usize) {
        self.pulls[number - 1]["state"] = json!("closed");
    }
}

impl Hub {
    fn list(&self, came: &Came) -> Value {
        let query = |name: &str| came.query.get(name).map_or("", String::as_str);
        assert_eq!((query("base"), query("sort"), query("direction")), ("main", "created", "desc"));
        let is_asked = |pull: &&Value| {
            (query("head").is_empty() || pull["head"]["label"] == query("head"))
                && (query("state") == "all" || pull["state"] == query("state"))
        };
        let (page, size) = (query("page").parse().unwrap_or(1), query("per_page").parse().unwrap_or(30));
        self.pulls.iter().rev().filter(is_asked).skip((page - 1) * size).take(size).cloned().collect()
    }

    fn create(&mut self, new: &Value) -> Reply {
        if new["draft"] == true && !self.drafts {
            let words = "Draft pull requests are not supported in this repository.";
            return reply(422, json!({"message": words, "documentation_url": "https://docs.github.com/rest"}));
        }
        if new["head"] == "gone" {
            return invalid(json!([{"resource": "PullRequest", "field": "head", "code": "invalid"}]));
        }
        let own = |pull: &Value| {
            pull["state"] == "open" && pull["head"]["ref"] == new["head"] && pull["head"]["repo"]["id"] == 1296269
        };
        if self.pulls.iter().any(own) {
            let words = format!("A pull request already exists for octocat:{}.", new["head"].as_str().unwrap());
            return invalid(json!([{"resource": "PullRequest", "code": "custom", "message": words}]));
        }
        self.pulls.push(pull(self.pulls.len() + 1, new, repository(1296269, "octocat/Hello-World")));
        reply(201, self.pulls.last().unwrap().clone())
    }

    fn graphql(&mut self, came: &Came) -> Reply {
        if let Some(error) = &self.refuses {
            return reply(200, json!({"data": null, "errors": [error]}));
        }
        let variables = &came.body["variables"];
        if came.body["query"].as_str().unwrap().starts_with("mutation") {
            self.auto_merge = Some(variables["input"].clone());
            return reply(200, json!({"data": {"enablePullRequestAutoMerge": {"clientMutationId": null}}}));
        }
        assert_eq!((&variables["owner"], &variables["name"]), (&json!("octocat"), &json!("Hello-World")));
        let id = format!("PR_{}", variables["number"]);
        let repository = json!({"viewerDefaultMergeMethod": "SQUASH", "pullRequest": {"id": id}});
        reply(200, json!({"data": {"repository": repository}}))
    }
}

#[tokio::test]
async fn a_request_is_opened_once_found_updated_and_closed() {
    let (hub, server, forge) = start(Hub { drafts: true, ..Hub::default() }).await;
    assert_eq!(forge.find("supercargo/web").await.unwrap(), None);
    let opened = forge.open(&new("supercargo/web")).await.unwrap();
    assert!(opened.is_new && opened.notes.is_empty(), "{opened:?}");
    let request = opened.request;
    assert_eq!((request.number, request.state, request.draft), (1, RequestState::Open, false));
    assert_eq!(request.url, "https://github.com/octocat/Hello-World/pull/1");
    assert_eq!((&*request.head_commit, &request.merge_commit), ("6dcb09b5b57875f334f61aebed695e2e4193db5e", &None));
    assert_eq!(forge.find("supercargo/web").await.unwrap(), Some(request.clone()));
    let again = forge.open(&new("supercargo/web")).await.unwrap();
    assert_eq!((again.is_new, &again.request), (false, &request));

    let before = server.came().len();
    // As GitHub gives bodies that people have edited on its site.
    let edited = body("1.1.0").replace('\n', "\r\n");
    let present = supercargo::git::forges::Request { body: edited, ..request.clone() };
    forge.update(&present, &request.title, &body("1.1.0")).await.unwrap();
    assert_eq!(server.came().len(), before);
    forge.update(&request, "Update web to 1.2.0", &body("1.1.0")).await.unwrap();
    assert_eq!(server.came().last().unwrap().body, json!({"title": "Update web to 1.2.0"}));
    forge.update(&request, &request.title, &body("1.2.0")).await.unwrap();
    assert_eq!(server.came().last().unwrap().body, json!({"body": body("1.2.0")}));

    forge.close(1).await.unwrap();
    let closed = forge.find("supercargo/web").await.unwrap().unwrap();
    assert_eq!((closed.state, &*closed.title), (RequestState::Closed, "Update web to 1.2.0"));
    let next = forge.open(&new("supercargo/web")).await.unwrap();
    assert_eq!((next.request.number, next.is_new), (2, true));
    hub.lock().unwrap().merge(2);
    let merged = forge.find("supercargo/web").await.unwrap().unwrap();
    assert_eq!((merged.number, merged.state), (2, RequestState::Merged));
    assert_eq!(merged.merge_commit.as_deref(), Some("e5bd3914e2e596debea16f433f57875b5b90bcd6"));
    assert_eq!(forge.merged("supercargo/web").await.unwrap(), [merged]);
    // One that a person has opened again counts before a newer one.
    hub.lock().unwrap().pulls[0]["state"] = json!("open");
    assert_eq!(forge.find("supercargo/web").await.unwrap().unwrap().number, 1);
}

#[tokio::test]
async fn a_forks_branch_of_the_same_name_is_another() {
    let (hub, _server, forge) = start(Hub::default()).await;
    let foreign = json!({"title": "x", "body": null, "head": "supercargo/web", "draft": false});
    // The owner's own fork, which the filter by owner lets through, and one that is gone.
    hub.lock().unwrap().pulls.push(pull(1, &foreign, repository(7, "octocat/fork")));
    hub.lock().unwrap().pulls.push(pull(2, &foreign, Value::Null));
    assert_eq!(forge.find("supercargo/web").await.unwrap(), None);
    assert_eq!(forge.open(&new("supercargo/web")).await.unwrap().request.number, 3);
}

#[tokio::test]
async fn what_is_unknown_is_left_out_and_noted() {
    let (hub, _server, forge) = start(Hub::default()).await;
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let new = NewRequest {
        labels: names(&["bug", "deploy"]),
        reviewers: names(&["hubot", "nobody", "octo/justice-league"]),
        assignees: names(&["other_user", "ghost"]),
        draft: true,
        ..new("supercargo/web")
    };
    let opened = forge.open(&new).await.unwrap();
    assert!(opened.is_new && !opened.request.draft);
    let [draft, reviewer, assignee] = &opened.notes[..] else { panic!("{:?}", opened.notes) };
    assert!(draft.contains("no draft"), "{draft}");
    assert!(
        reviewer.starts_with("the reviewer `nobody` was left out: ") && reviewer.contains("only be requested from"),
        "{reviewer}"
    );
    assert!(assignee.starts_with("the assignee `ghost` was left out"), "{assignee}");
    let pull = &hub.lock().unwrap().pulls[0];
    assert_eq!(pull["labels"], json!(["bug", "deploy"]));
    assert_eq!(
        (&pull["requested_reviewers"], &pull["requested_teams"]),
        (&json!(["hubot"]), &json!(["justice-league"]))
    );
    assert_eq!(pull["assignees"][0]["login"], "other_user");
}

#[tokio::test]
async fn it_is_merged_automatically_at_the_head_that_was_seen_or_says_why_not() {
    let (hub, _server, forge) = start(Hub::default()).await;
    let request = forge.open(&new("supercargo/web")).await.unwrap().request;
    forge.auto_merge(&request).await.unwrap();
    let head = &*request.head_commit;
    let input = json!({"pullRequestId": "PR_1", "mergeMethod": "SQUASH", "expectedHeadOid": head});
    assert_eq!(hub.lock().unwrap().auto_merge, Some(input));
    let no = |kind: &str, message: &str| hub.lock().unwrap().refuses = Some(json!({"type": kind, "message": message}));
    no("UNPROCESSABLE", "Pull request Pull request is in clean status");
    let error = failed(forge.auto_merge(&request).await, "is in clean status");
    assert!(matches!(error, ForgeError::Refused(_)));
    no("FORBIDDEN", "Resource not accessible by integration");
    assert!(matches!(failed(forge.auto_merge(&request).await, "not accessible"), ForgeError::Auth(_)));
    no("RATE_LIMITED", "API rate limit exceeded");
    assert!(matches!(failed(forge.auto_merge(&request).await, "fewer requests"), ForgeError::Limited { .. }));
}

#[tokio::test]
async fn its_words_come_through() {
    let (_hub, server, forge) = start(Hub::default()).await;
    let error = failed(forge.open(&new("gone")).await, "Validation Failed; head: invalid");
    assert!(matches!(error, ForgeError::Refused(_)));
    let other = connect(&settings("github", &format!("{}/octocat/other.git", server.url), None), held(TOKEN));
    assert!(matches!(failed(other.find("b").await, "Not Found"), ForgeError::NotFound(_)));
    let bad = connect(&settings("github", &format!("{}/octocat/Hello-World.git", server.url), None), held("ghp_bad"));
    assert!(matches!(
        failed(bad.find("b").await, "401 Unauthorized to: the pull requests of a branch: Bad credentials"),
        ForgeError::Auth(_)
    ));
}
