//! GitLab, by its documentation: payloads are those of "Merge requests API".

use serde_json::{Value, json};
use supercargo::git::forges::{ForgeError, NewRequest, RequestState};

use super::{Came, Reply, Site, TOKEN, body, connect, failed, held, new, reply, settings, start};

/// The state of the project `my-group/sub/my-project`, whose id is 3.
#[derive(Default)]
pub(crate) struct Lab {
    merges: Vec<Value>,
    /// Whether it has found out yet that requests can be merged.
    is_ready: bool,
    /// Whether a request takes more than one reviewer.
    has_licence: bool,
}

const PROJECT: &str = "/api/v4/projects/my-group%2Fsub%2Fmy-project/merge_requests";
const USERS: &[(&str, u64)] = &[("axel.block", 12), ("DouweM", 87854)];

fn user(id: &Value) -> Value {
    let (name, id) = USERS.iter().find(|(_, known)| id == known).unwrap();
    json!({"id": id, "name": name, "username": name, "state": "active", "avatar_url": null})
}

fn merge(iid: usize, new: &Value, source: Value) -> Value {
    let title = new["title"].as_str().unwrap();
    json!({
        "id": 100 + iid, "iid": iid, "project_id": 3, "title": title, "description": new["description"],
        "state": "opened", "merged_by": null, "merge_user": null, "merged_at": null, "closed_by": null, "closed_at": null,
        "created_at": "2017-04-29T08:46:00Z", "updated_at": "2017-04-29T08:46:00Z", "target_branch": "main",
        "source_branch": new["source_branch"], "upvotes": 0, "downvotes": 0, "author": user(&json!(12)),
        "assignee": null, "assignees": [], "reviewers": [], "source_project_id": source, "target_project_id": 3,
        "labels": [], "draft": title.starts_with("Draft: "), "work_in_progress": title.starts_with("Draft: "),
        "milestone": null, "merge_when_pipeline_succeeds": false, "merge_status": "unchecked",
        "detailed_merge_status": "not_open", "sha": "8888888888888888888888888888888888888888",
        "merge_commit_sha": null, "squash_commit_sha": null, "user_notes_count": 1, "discussion_locked": null,
        "web_url": format!("http://gitlab.example.com/my-group/sub/my-project/-/merge_requests/{iid}"),
        "references": {"short": format!("!{iid}")}, "squash": false, "has_conflicts": false,
    })
}

impl Site for Lab {
    const KIND: &'static str = "gitlab";
    const REPOSITORY: &'static str = "my-group/sub/my-project";
    const API: &'static str = "/api/v4";

    fn answer(&mut self, came: &Came) -> Reply {
        if came.header("authorization") != format!("Bearer {TOKEN}") {
            return reply(401, json!({"message": "401 Unauthorized"}));
        }
        if came.path == "/api/v4/users" {
            let found = USERS.iter().filter(|(name, _)| came.query["username"].eq_ignore_ascii_case(name));
            return reply(200, found.map(|(_, id)| user(&json!(id))).collect());
        }
        let Some(path) = came.path.strip_prefix(PROJECT) else {
            return reply(404, json!({"message": "404 Project Not Found"}));
        };
        let iid = path.split('/').nth(1).map(|iid| iid.parse::<usize>().unwrap());
        match (&*came.method, iid, path.ends_with("/merge")) {
            ("GET", None, false) => reply(200, self.list(came)),
            ("POST", None, false) => self.create(&came.body),
            ("PUT", Some(iid), false) => {
                let merge = &mut self.merges[iid - 1];
                for (key, value) in came.body.as_object().unwrap() {
                    merge[key] = value.clone();
                }
                merge["draft"] = json!(merge["title"].as_str().unwrap().starts_with("Draft: "));
                if came.body["state_event"] == "close" {
                    self.close(iid);
                }
                reply(200, self.merges[iid - 1].clone())
            }
            ("PUT", Some(_), true) if !self.is_ready => reply(405, json!({"message": "405 Method Not Allowed"})),
            ("PUT", Some(iid), true) => {
                let merge = &mut self.merges[iid - 1];
                if came.body["sha"] != merge["sha"] {
                    return reply(409, json!({"message": "SHA does not match HEAD of source branch: 8888"}));
                }
                merge["merge_when_pipeline_succeeds"] = came.body["auto_merge"].clone();
                reply(200, merge.clone())
            }
            _ => reply(404, json!({"message": "404 Not found"})),
        }
    }

    fn requests(&mut self) -> &mut Vec<Value> {
        &mut self.merges
    }

    fn merge(&mut self, number: usize) {
        let merge = &mut self.merges[number - 1];
        merge["state"] = json!("merged");
        merge["merge_user"] = user(&json!(87854));
        merge["squash_commit_sha"] = json!("9999999999999999999999999999999999999999");
    }

    fn close(&mut self, number: usize) {
        let merge = &mut self.merges[number - 1];
        merge["state"] = json!("closed");
        merge["closed_by"] = user(&json!(12));
    }
}

impl Lab {
    fn list(&self, came: &Came) -> Value {
        let query = |name: &str| came.query.get(name).map_or("", String::as_str);
        assert_eq!((query("target_branch"), query("order_by"), query("sort")), ("main", "created_at", "desc"));
        let is_asked = |merge: &&Value| {
            (query("source_branch").is_empty() || merge["source_branch"] == query("source_branch"))
                && (query("state") == "all" || merge["state"] == query("state"))
        };
        let (page, size) = (query("page").parse().unwrap_or(1), query("per_page").parse().unwrap_or(20));
        self.merges.iter().rev().filter(is_asked).skip((page - 1) * size).take(size).cloned().collect()
    }

    fn create(&mut self, new: &Value) -> Reply {
        let iid = self.merges.len() + 1;
        let is_open = |merge: &&Value| {
            merge["state"] == "opened"
                && merge["source_branch"] == new["source_branch"]
                && merge["source_project_id"] == 3
        };
        if let Some(open) = self.merges.iter().find(is_open) {
            let words = format!("Another open merge request already exists for this source branch: !{}", open["iid"]);
            return reply(409, json!({"message": [words]}));
        }
        let mut merge = merge(iid, new, json!(3));
        let users =
            |key: &str, most: usize| new[key].as_array().unwrap().iter().take(most).map(user).collect::<Value>();
        merge["assignees"] = users("assignee_ids", usize::MAX);
        merge["reviewers"] = users("reviewer_ids", if self.has_licence { usize::MAX } else { 1 });
        merge["labels"] = new["labels"].as_str().unwrap().split(',').collect();
        self.merges.push(merge.clone());
        reply(201, merge)
    }
}

#[tokio::test]
async fn a_request_is_opened_once_found_updated_and_closed() {
    let (lab, server, forge) = start(Lab::default()).await;
    assert_eq!(forge.find("supercargo/web").await.unwrap(), None);
    let opened = forge.open(&new("supercargo/web")).await.unwrap();
    assert!(opened.is_new && opened.notes.is_empty(), "{opened:?}");
    let request = opened.request;
    assert_eq!((request.number, request.state, request.draft), (1, RequestState::Open, false));
    assert_eq!(request.url, "http://gitlab.example.com/my-group/sub/my-project/-/merge_requests/1");
    assert_eq!(request.head_commit, "8888888888888888888888888888888888888888");
    assert_eq!(forge.find("supercargo/web").await.unwrap(), Some(request.clone()));
    let again = forge.open(&new("supercargo/web")).await.unwrap();
    assert_eq!((again.is_new, &again.request), (false, &request));

    let before = server.came().len();
    forge.update(&request, &request.title, &request.body).await.unwrap();
    assert_eq!(server.came().len(), before);
    forge.update(&request, "Update web to 1.2.0", &body("1.2.0")).await.unwrap();
    let change = json!({"title": "Update web to 1.2.0", "description": body("1.2.0")});
    assert_eq!(server.came().last().unwrap().body, change);

    forge.close(1).await.unwrap();
    let closed = forge.find("supercargo/web").await.unwrap().unwrap();
    assert_eq!((closed.state, closed.closed_by.as_deref()), (RequestState::Closed, Some("axel.block")));
    assert_eq!(forge.open(&new("supercargo/web")).await.unwrap().request.number, 2);
    lab.lock().unwrap().merge(2);
    let merged = forge.find("supercargo/web").await.unwrap().unwrap();
    assert_eq!((merged.number, merged.state, merged.closed_by.as_deref()), (2, RequestState::Merged, Some("DouweM")));
    assert_eq!(merged.merge_commit.as_deref(), Some("9999999999999999999999999999999999999999"));
    assert_eq!(forge.merged("supercargo/web").await.unwrap(), [merged]);
}

#[tokio::test]
async fn a_draft_stays_one_until_a_person_says_otherwise() {
    let (lab, server, forge) = start(Lab::default()).await;
    let opened = forge.open(&NewRequest { draft: true, ..new("supercargo/web") }).await.unwrap().request;
    assert_eq!((opened.draft, &*opened.title), (true, "Update web to 1.1.0"));
    assert_eq!(lab.lock().unwrap().merges[0]["title"], "Draft: Update web to 1.1.0");
    forge.update(&opened, "Update web to 1.2.0", &opened.body).await.unwrap();
    assert_eq!(server.came().last().unwrap().body, json!({"title": "Draft: Update web to 1.2.0"}));
    lab.lock().unwrap().merges[0]["title"] = json!("Update web to 1.2.0");
    lab.lock().unwrap().merges[0]["draft"] = json!(false);
    let ready = forge.find("supercargo/web").await.unwrap().unwrap();
    forge.update(&ready, "Update web to 1.3.0", &ready.body).await.unwrap();
    assert_eq!(server.came().last().unwrap().body, json!({"title": "Update web to 1.3.0"}));
    // A title that begins with somebody's `Draft:` makes none.
    let next = NewRequest { title: "Draft: WIP: x".to_owned(), ..new("other") };
    let next = forge.open(&next).await.unwrap().request;
    assert_eq!((next.draft, &*next.title), (false, "x"));
}

#[tokio::test]
async fn a_forks_branch_of_the_same_name_is_another() {
    let (lab, _server, forge) = start(Lab::default()).await;
    let foreign = json!({"title": "x", "description": null, "source_branch": "supercargo/web"});
    lab.lock().unwrap().merges.push(merge(1, &foreign, json!(7)));
    lab.lock().unwrap().merges.push(merge(2, &foreign, Value::Null));
    assert_eq!(forge.find("supercargo/web").await.unwrap(), None);
    let own = forge.open(&new("supercargo/web")).await.unwrap().request;
    assert_eq!(own.number, 3);
    for n in 4..70 {
        lab.lock().unwrap().merges.push(merge(n, &foreign, json!(7)));
    }
    assert_eq!(forge.find("supercargo/web").await.unwrap(), Some(own), "behind two pages of a fork's");
}

#[tokio::test]
async fn what_is_unknown_is_left_out_and_noted() {
    let (lab, _server, forge) = start(Lab::default()).await;
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let new = NewRequest {
        labels: names(&["bug", "a,b", "deploy"]),
        reviewers: names(&["douwem", "axel.block"]),
        assignees: names(&["axel.block", "ghost"]),
        ..new("supercargo/web")
    };
    let opened = forge.open(&new).await.unwrap();
    let notes = opened.notes.join("\n");
    for note in
        ["label `a,b`", "assignee `ghost` was left out: GitLab has no such user", "reviewer `axel.block` was left out"]
    {
        assert!(notes.contains(note), "{notes}");
    }
    assert_eq!(opened.notes.len(), 3, "{notes}");
    let merge = lab.lock().unwrap().merges[0].clone();
    assert_eq!((&merge["labels"], &merge["reviewers"][0]["username"]), (&json!(["bug", "deploy"]), &json!("DouweM")));
    lab.lock().unwrap().has_licence = true;
    let next =
        forge.open(&NewRequest { head: "other".to_owned(), labels: vec![], assignees: vec![], ..new }).await.unwrap();
    assert!(next.notes.is_empty(), "{:?}", next.notes);
}

#[tokio::test]
async fn it_is_merged_automatically_once_gitlab_can_tell() {
    let (lab, _server, forge) = start(Lab::default()).await;
    let request = forge.open(&new("supercargo/web")).await.unwrap().request;
    let error = failed(forge.auto_merge(&request).await, "405 Method Not Allowed");
    assert!(matches!(error, ForgeError::Unavailable(_)));
    lab.lock().unwrap().is_ready = true;
    forge.auto_merge(&request).await.unwrap();
    assert!(forge.find("supercargo/web").await.unwrap().unwrap().auto_merge);
    lab.lock().unwrap().merges[0]["sha"] = json!("7777");
    failed(forge.auto_merge(&request).await, "SHA does not match HEAD");
}

#[tokio::test]
async fn its_words_come_through() {
    let (_lab, server, forge) = start(Lab::default()).await;
    let other = connect(&settings("gitlab", &format!("{}/g/other.git", server.url), None), held(TOKEN));
    assert!(matches!(failed(other.find("b").await, "404 Project Not Found"), ForgeError::NotFound(_)));
    let git = format!("{}/my-group/sub/my-project.git", server.url);
    let bad = connect(&settings("gitlab", &git, None), held("glpat-bad"));
    assert!(matches!(failed(bad.close(1).await, "closing a merge request: 401 Unauthorized"), ForgeError::Auth(_)));
    drop(forge);
}
