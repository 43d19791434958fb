//! `write: pr:<target>` at a real Gitea: opened, kept up to date in place, and heard when people merge or close.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::BoxFuture;
use secrecy::SecretString;
use serde_json::{Value, json};
use supercargo::{
    clock::SystemClock,
    domain::{target::Route, update::Update},
    git::{
        Credentials, RequestSettings, Requests, Secret, Target,
        forges::{self, ForgeError},
    },
    ports::{Clock, Outcome, Sink as _},
};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{
    alone,
    target::{approved, code, manifest, settings_with, target, text, update},
};
use crate::{
    forges::{held, settings as forge_settings},
    support::{
        commits,
        control_plane::{ADMIN, shared},
        eventually,
        front::{Front, Way},
        git_server::{BareRepo, git, run},
        gitea::{self, BOT_SCOPES, Repo, User},
        objects::{deployment, event_says},
        operator::{Operator, supercargo},
        registry::Registry,
        within_minutes,
    },
};

const BRANCH: &str = "supercargo/prod/updates";

struct Bench {
    repo: Repo,
    bot: User,
    target: Target,
    folder: TempDir,
    settings: RequestSettings,
}

/// A repository with `web` and `api`, and a bot that proposes changes to it.
async fn bench(hint: &str) -> Bench {
    bench_with(hint, RequestSettings::default()).await
}

async fn bench_with(hint: &str, settings: RequestSettings) -> Bench {
    let (web, api) = (manifest("web", "1.0.0"), manifest("api", "1.0.0"));
    let (gitea, folder) = (gitea::shared().await, tempfile::tempdir().unwrap());
    let repo = gitea.repository(hint, &[("web.yaml", web.as_bytes()), ("api.yaml", api.as_bytes())]).await;
    let bot = gitea.bot_with(&[BOT_SCOPES, &["write:issue"]].concat()).await;
    repo.invite(&bot).await;
    let target = proposer(&repo, &bot, &bot.token, folder.path(), settings.clone());
    Bench { repo, bot, target, folder, settings }
}

/// A target as a process that begins anew has it.
pub(super) fn proposer(
    repo: &Repo,
    bot: &User,
    api: &str,
    folder: &std::path::Path,
    requests: RequestSettings,
) -> Target {
    proposer_by(repo, bot, api, folder, requests, None)
}

/// The same, with the API at that address.
pub(super) fn proposer_by(
    repo: &Repo,
    bot: &User,
    api: &str,
    folder: &std::path::Path,
    requests: RequestSettings,
    address: Option<&str>,
) -> Target {
    proposer_at(repo, bot, api, folder, requests, address, Arc::new(SystemClock::default()))
}

/// The same, by that clock.
pub(super) fn proposer_at(
    repo: &Repo,
    bot: &User,
    api: &str,
    folder: &std::path::Path,
    requests: RequestSettings,
    address: Option<&str>,
    clock: Arc<dyn Clock>,
) -> Target {
    let secret = Secret::Value(SecretString::from(bot.token.clone()));
    let credentials = Credentials::Token { username: bot.name.clone(), secret };
    let settings = settings_with(credentials, &repo.url(), folder);
    let target = Target::new(settings, clock.clone(), supercargo::config::git_environment());
    let forge = forges::connect(forge_settings("gitea", &repo.url(), address), held(api), clock);
    target.with_requests(Requests { forge, settings: requests, registry: None })
}

/// `name` to that tag by a request, from what the cluster runs all the time.
fn wish(name: &str, to: &str) -> Update {
    Update { route: Route::Request("prod".into(), None), ..update(name, "1.0.0", to) }
}

impl Bench {
    async fn ask(&self, wishes: impl IntoIterator<Item = Update>) -> Vec<Outcome> {
        self.target.apply(wishes.into_iter().map(approved).collect()).await
    }

    async fn codes(&self, wishes: impl IntoIterator<Item = Update>) -> Vec<&'static str> {
        let outcomes = self.ask(wishes).await;
        let failed = outcomes.iter().find(|outcome| matches!(outcome, Outcome::Failed(_) | Outcome::Refused(_)));
        assert!(failed.is_none(), "{failed:?}");
        outcomes.iter().map(code).collect()
    }

    fn main(&self) -> BareRepo {
        self.repo.bare("main")
    }

    fn branch(&self) -> BareRepo {
        self.repo.bare(BRANCH)
    }

    /// The only request there is.
    async fn request(&self) -> Value {
        let mut all = self.repo.pulls().await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn restart(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        self.target = proposer(&self.repo, &self.bot, &self.bot.token, folder.path(), self.settings.clone());
        self.folder = folder;
    }
}

fn number(request: &Value) -> u64 {
    request["number"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_opened_kept_up_to_date_in_place_and_followed_when_it_is_merged() {
    let label = json!({"name": "images", "color": "#00aabb"});
    let mut bench =
        bench_with("pr", RequestSettings { labels: vec!["images".to_owned()], ..RequestSettings::default() }).await;
    bench.repo.api(reqwest::Method::POST, "/labels", &label).await;
    let outcomes = bench.ask([wish("web", "1.1.0"), wish("api", "1.1.0")]).await;
    let opened = bench.request().await;
    for (outcome, file) in outcomes.iter().zip(["web.yaml", "api.yaml"]) {
        let Outcome::Committed(reason) = outcome else { panic!("{outcome:?}") };
        assert_eq!(reason.code.as_str(), "request-open");
        assert!(reason.message.contains(opened["html_url"].as_str().unwrap()), "{}", reason.message);
        assert!(reason.message.contains(file), "{}", reason.message);
    }
    assert_eq!((opened["head"]["ref"].as_str(), opened["base"]["ref"].as_str()), (Some(BRANCH), Some("main")));
    assert_eq!(opened["labels"][0]["name"], "images");
    assert_eq!(opened["title"], "Update 2 images of 2 workloads");
    let body = opened["body"].as_str().unwrap();
    let row = "| `shop/Deployment/web` | `app` | `r.example/web:1.0.0` | `r.example/web:1.1.0` | policy `minor` |";
    assert!(body.contains(row) && body.contains("- `web.yaml:"), "{body}");
    assert_eq!(text(&bench.branch(), "web.yaml"), manifest("web", "1.1.0"));
    assert_eq!((bench.branch().log().len(), bench.main().log().len()), (2, 1));

    // The same again, also after a restart: nothing is touched.
    bench.restart();
    assert_eq!(bench.codes([wish("web", "1.1.0")]).await, ["request-open"]);
    assert_eq!(bench.request().await["updated_at"], opened["updated_at"]);

    // A newer one takes the place of its older one; what nobody asked for just now stays.
    assert_eq!(bench.codes([wish("web", "1.2.0")]).await, ["request-open"]);
    let updated = bench.request().await;
    assert_eq!(number(&updated), number(&opened));
    let body = updated["body"].as_str().unwrap();
    assert!(body.contains("web:1.2.0") && !body.contains("web:1.1.0") && body.contains("api:1.1.0"), "{body}");
    let branch = bench.branch();
    assert_eq!(text(&branch, "web.yaml"), manifest("web", "1.2.0"));
    assert_eq!((text(&branch, "api.yaml"), branch.log().len()), (manifest("api", "1.1.0"), 2));

    bench.repo.merge(number(&opened), "squash").await;
    assert_eq!(bench.codes([wish("web", "1.2.0"), wish("api", "1.1.0")]).await, ["committed", "committed"]);
    assert_eq!(text(&bench.main(), "web.yaml"), manifest("web", "1.2.0"));
    assert_eq!(number(&bench.request().await), number(&opened));

    // What is moved back after that is not proposed again; a newer one is, in a request of its own.
    bench.repo.commit(&[("web.yaml", Some(manifest("web", "1.0.0").as_bytes()))], "Back").await;
    assert_eq!(bench.codes([wish("web", "1.2.0")]).await, ["reverted"]);
    assert_eq!(bench.codes([wish("web", "1.3.0")]).await, ["request-open"]);
    assert_eq!(bench.repo.pulls().await.len(), 2);
    assert_eq!(text(&bench.branch(), "api.yaml"), manifest("api", "1.1.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_back_says_so_also_beside_what_goes_on_and_after_a_restart() {
    let mut bench = bench("pr-back").await;
    let failed = wish("web", "1.1.0");
    bench.codes([failed.clone()]).await;
    bench.repo.merge(number(&bench.request().await), "merge").await;
    let back = || failed.back(failed.proposed);
    assert_eq!(bench.codes([back()]).await, ["request-open"]);
    let open = async |bench: &Bench| {
        let mut all = bench.repo.pulls().await;
        all.retain(|pull| pull["state"] == "open");
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    };
    let opened = open(&bench).await;
    assert!(opened["title"].as_str().unwrap().starts_with("Roll back "), "{opened}");
    let trailer = format!("Supercargo-Rollback: {}\n", failed.id);
    let message = |bench: &Bench| bench.branch().log()[0].message.clone();
    assert!(message(&bench).contains(&trailer), "{}", message(&bench));
    assert_eq!(text(&bench.branch(), "web.yaml"), manifest("web", "1.0.0"));
    // The same again is nothing new, also after a restart.
    let head = bench.branch().head();
    for _ in 0..2 {
        let front = Front::before(bench.repo.gitea.url.strip_prefix("http://").unwrap(), |_| Way::Pass).await;
        let api = format!("http://{}/api/v1", front.host);
        let (token, folder) = (&bench.bot.token, tempfile::tempdir().unwrap());
        let settings = bench.settings.clone();
        bench.target = proposer_by(&bench.repo, &bench.bot, token, folder.path(), settings, Some(&api));
        for _ in 0..2 {
            assert_eq!(bench.codes([back()]).await, ["request-open"]);
        }
        let came = front.came();
        assert!(!came.is_empty() && came.iter().all(|came| came.line.starts_with("GET ")), "{came:?}");
        assert_eq!((&open(&bench).await["title"], bench.branch().head()), (&opened["title"], head.clone()));
        bench.restart();
    }
    // Beside another one it is not forgotten which of them goes back, though nobody asks for it just now.
    assert_eq!(bench.codes([wish("api", "1.1.0")]).await, ["request-open"]);
    assert!(message(&bench).contains(&trailer), "{}", message(&bench));
    let both = open(&bench).await;
    let row = "| `shop/Deployment/web` | `app` | `r.example/web:1.1.0` | `r.example/web:1.0.0` | policy `rollback` |";
    assert!(both["body"].as_str().unwrap().contains(row), "{both}");
    assert_eq!(text(&bench.branch(), "api.yaml"), manifest("api", "1.1.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_closed_unmerged_refuses_its_versions_until_newer_ones_come() {
    let mut bench = bench("pr-no").await;
    bench.codes([wish("web", "1.1.0")]).await;
    bench.repo.close(number(&bench.request().await)).await;
    let outcome = bench.ask([wish("web", "1.1.0")]).await.remove(0);
    let Outcome::Blocked(reason) = &outcome else { panic!("{outcome:?}") };
    assert!(reason.message.contains("was closed unmerged: r.example/web:1.1.0"), "{}", reason.message);
    bench.restart();
    assert_eq!(bench.codes([wish("web", "1.1.0"), wish("api", "1.1.0")]).await, ["request-closed", "request-open"]);
    assert_eq!(bench.codes([wish("web", "1.2.0")]).await, ["request-open"]);
    assert_eq!(bench.repo.pulls().await.len(), 2);
    assert_eq!(text(&bench.branch(), "web.yaml"), manifest("web", "1.2.0"));

    // Every no is remembered, not the last one only; but not against what Git has.
    bench.repo.close(number(&bench.repo.pulls().await[0])).await;
    bench.restart();
    let wishes = [wish("web", "1.1.0"), wish("api", "1.1.0")];
    assert_eq!(bench.codes(wishes).await, ["request-closed", "request-closed"]);
    bench.repo.commit(&[("web.yaml", Some(manifest("web", "1.2.0").as_bytes()))], "By hand").await;
    assert_eq!(bench.codes([wish("web", "1.2.0")]).await, ["committed"]);
    assert_eq!(bench.repo.pulls().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_decided_is_said_alike_by_the_operator_by_plan_and_by_a_round() {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let (gitea, namespace) = (gitea::shared().await, plane.namespace("pr-alike").await);
    let image = format!("{}/team/web:1.0.0", registry.host);
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let annotated = |name: &str| match name {
        "straight" => json!({"supercargo.dev/policy": "minor", "supercargo.dev/write": "git:prod"}),
        _ => json!({"supercargo.dev/policy": "minor", "supercargo.dev/write": "pr:prod", "supercargo.dev/group": name}),
    };
    let file = |name: &str, tag: &str| {
        let annotations = format!(", annotations: {}}}\nspec:", annotated(name));
        let file = commits::manifest(&namespace, name, &image).replacen("}\nspec:", &annotations, 1);
        (format!("apps/{name}.yaml"), file.replace(":1.0.0", tag))
    };
    let files = [file("closed", ":1.0.0"), file("back", ":1.0.0"), file("straight", ":1.0.0")];
    let repo = gitea.repository("alike", &files.each_ref().map(|(path, text)| (&**path, text.as_bytes()))).await;
    let bot = gitea.bot().await;
    repo.invite(&bot).await;
    let user = (&*bot.name, &*bot.token);
    let config = commits::config_with(folder.path(), &namespace.name, &repo.url(), user, "  forge: gitea\n");
    for name in ["closed", "back", "straight"] {
        namespace.create(&deployment(name, &image, annotated(name)).to_string()).await;
    }
    let operator = Operator::start(plane, &commits::setup_with(&namespace, folder.path(), &config)).await;
    let main = repo.bare("main");
    let is_set = |name: &str| text(&main, &file(name, "").0) == file(name, ":1.1.0").1;
    eventually("two requests and a commit", async || {
        (repo.pulls().await.len() == 2 && is_set("straight")).then_some(())
    })
    .await;
    let pulls = repo.pulls().await;
    let of = |name: &str| {
        let head = format!("supercargo/prod/group/{name}");
        number(pulls.iter().find(|pull| pull["head"]["ref"] == *head).unwrap())
    };
    repo.close(of("closed")).await;
    // Else the forge takes our commit as it is, and that tells what it set.
    repo.commit(&[("notes", Some(b"more"))], "Note").await;
    repo.merge(of("back"), "squash").await;
    assert!(is_set("back"));
    for name in ["back", "straight"] {
        let (path, before) = file(name, ":1.0.0");
        repo.commit(&[(&path, Some(before.as_bytes()))], "Back").await;
    }
    let commits = main.log().len();

    let kubeconfig = plane.kubeconfig(ADMIN);
    let args = ["plan", "-n", &namespace.name, "-o", "json", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let planned = supercargo(&[&args[..], &["--config", "config.yaml"]].concat(), folder.path());
    let rows: Vec<Value> = serde_json::from_slice(&planned.stdout).unwrap();
    let said = [("closed", "request-closed"), ("back", "reverted"), ("straight", "reverted")].map(|(name, code)| {
        let row = rows.iter().find(|row| row["workload"].to_string().contains(name)).unwrap();
        let reason = &row["reasons"][0];
        assert_eq!((&row["decision"], &reason["code"]), (&json!("blocked"), &json!(code)), "{row}");
        (name, format!("{} ({code})", reason["message"].as_str().unwrap()))
    });
    // The operator goes on meanwhile, and has its clone for itself.
    let alone = tempfile::tempdir().unwrap();
    for args in [&["--once", "--dry-run"][..], &["--once"]] {
        let mut round = alone::command(alone.path(), "prod", &[&["--config", config.to_str().unwrap()], args].concat());
        let round = round.output().unwrap();
        let table = String::from_utf8(round.stdout).unwrap();
        assert_eq!(round.status.code(), Some(0), "{table} {}", String::from_utf8_lossy(&round.stderr));
        for (name, said) in &said {
            let row = table.lines().find(|row| row.contains(&format!("/{name} "))).unwrap();
            let message = said.rsplit_once(" (").unwrap().0;
            assert!(row.contains(" blocked ") && row.contains(message), "{said}: {table}");
        }
    }
    // The operator holds what was moved back, and one that begins anew says the same of the rest.
    for (name, said) in &said {
        let is_held = said.ends_with("(reverted)");
        event_says(&namespace, name, if is_held { "(held)" } else { said }).await;
    }
    let said: Vec<_> = said.into_iter().filter(|(_, said)| !said.ends_with("(reverted)")).collect();
    operator.process.signal("KILL");
    let operator = Operator::start(plane, &commits::setup_with(&namespace, folder.path(), &config)).await;
    for (name, said) in &said {
        let message = said.rsplit_once(" (").unwrap().0;
        eventually(&format!("{name}: {said}"), async || {
            operator
                .process
                .output()
                .lines()
                .any(|line| line.contains(&format!("/{name}\"")) && line.contains(message))
                .then_some(())
        })
        .await;
    }
    assert_eq!((repo.pulls().await.len(), main.log().len()), (2, commits));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_the_base_has_overtaken_follows_it_and_is_closed_when_nothing_is_left() {
    let bench = bench("pr-base").await;
    bench.codes([wish("web", "1.1.0"), wish("api", "1.1.0")]).await;
    let noted = |tag: &str| format!("# by hand\n{}", manifest("web", tag));
    bench.repo.commit(&[("web.yaml", Some(noted("1.0.0").as_bytes()))], "Note").await;
    assert_eq!(bench.codes([wish("web", "1.1.0")]).await, ["request-open"]);
    assert_eq!(text(&bench.branch(), "web.yaml"), noted("1.1.0"));
    assert_eq!(bench.branch().log().len(), 3);

    let api = manifest("api", "1.1.0");
    let files = [("web.yaml", Some(noted("1.1.0"))), ("api.yaml", Some(api))];
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_deref().map(str::as_bytes))).collect();
    bench.repo.commit(&files, "By hand").await;
    assert_eq!(bench.codes([wish("web", "1.1.0")]).await, ["committed"]);
    assert_eq!(bench.request().await["state"], "closed");
    // That refused nothing.
    bench.repo.commit(&[("web.yaml", Some(noted("1.0.0").as_bytes()))], "Back").await;
    assert_eq!(bench.codes([wish("web", "1.1.0")]).await, ["request-open"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_a_request_of_its_own() {
    let bench = bench("pr-group").await;
    let shop = |name: &str| Update { route: Route::Request("prod".into(), Some("shop".into())), ..wish(name, "1.1.0") };
    assert_eq!(bench.codes([shop("web"), wish("api", "1.1.0")]).await, ["request-open", "request-open"]);
    assert_eq!(bench.codes([shop("web")]).await, ["request-open"]);
    let mut heads: Vec<String> =
        bench.repo.pulls().await.iter().map(|pull| pull["head"]["ref"].as_str().unwrap().to_owned()).collect();
    heads.sort();
    assert_eq!(heads, ["supercargo/prod/group/shop", BRANCH]);
    let group = bench.repo.bare("supercargo/prod/group/shop");
    assert_eq!(text(&group, "web.yaml"), manifest("web", "1.1.0"));
    assert_eq!(text(&group, "api.yaml"), manifest("api", "1.0.0"));
    assert_eq!(text(&bench.branch(), "web.yaml"), manifest("web", "1.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_put_on_the_branch_is_left_alone() {
    let bench = bench("pr-person").await;
    bench.codes([wish("web", "1.1.0")]).await;
    let change = json!({
        "branch": BRANCH, "message": "Tune it",
        "files": [{"operation": "create", "path": "tuned", "content": "eWVz"}],
    });
    bench.repo.api(reqwest::Method::POST, "/contents", &change).await;
    let (theirs, before) = (bench.branch().head(), bench.request().await);
    let outcome = bench.ask([wish("web", "1.2.0")]).await.remove(0);
    let Outcome::Blocked(reason) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(reason.code.as_str(), "git-conflict");
    assert!(reason.message.contains(&theirs[..12]), "{}", reason.message);
    assert_eq!((bench.branch().head(), &bench.request().await["body"]), (theirs, &before["body"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_commit_and_a_branch_that_is_kept_are_no_hindrance() {
    let mut bench = bench("pr-merge").await;
    let at = |note: usize, tag: &str| format!("# {note}\n{}", manifest("web", tag));
    for n in 1..4 {
        let (old, new) = (format!("1.{}.0", n - 1), format!("1.{n}.0"));
        assert_eq!(bench.codes([wish("web", &new)]).await, ["request-open"]);
        bench.restart();
        bench.repo.commit(&[("web.yaml", Some(at(n, &old).as_bytes()))], "Note").await;
        assert_eq!(bench.codes([wish("web", &new)]).await, ["request-open"]);
        assert_eq!(text(&bench.branch(), "web.yaml"), at(n, &new));
        let request = bench.repo.pulls().await.remove(0);
        bench.repo.merge(number(&request), "merge").await;
        bench.restart();
        // The cluster runs what it ran first.
        assert_eq!(bench.codes([wish("web", &new)]).await, ["committed"]);
        assert_eq!(text(&bench.main(), "web.yaml"), at(n, &new));
        bench.restart();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_amended_is_left_alone() {
    let bench = bench("pr-amended").await;
    bench.codes([wish("web", "1.1.0")]).await;
    let branch = bench.branch();
    let message = branch.git(&["log", "-1", "--format=%B", BRANCH]);
    let message = String::from_utf8(message).unwrap();
    let (tree, parent) = (format!("{BRANCH}^{{tree}}"), format!("{BRANCH}^"));
    let person = ["-c", "user.name=Ada", "-c", "user.email=ada@example.test"];
    let amend = ["commit-tree", &tree, "-p", &parent, "-m", &message];
    let amended = String::from_utf8(branch.git(&[&person[..], &amend].concat())).unwrap();
    branch.git(&["update-ref", &format!("refs/heads/{BRANCH}"), amended.trim()]);
    assert_eq!(bench.codes([wish("web", "1.2.0")]).await, ["git-conflict"]);
    assert_eq!(bench.branch().head(), amended.trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_amended_with_our_address_is_left_alone() {
    let bench = bench("pr-address").await;
    bench.codes([wish("web", "1.1.0")]).await;
    let branch = bench.branch();
    let commit = String::from_utf8(branch.git(&["cat-file", "commit", BRANCH])).unwrap();
    let amended = commit.replace("committer supercargo <", "committer Ada <");
    let mut write = git();
    write.arg("-C").arg(&branch.path).args(["hash-object", "-t", "commit", "-w", "--stdin"]);
    let amended = String::from_utf8(run(&mut write, amended.as_bytes())).unwrap();
    branch.git(&["update-ref", &format!("refs/heads/{BRANCH}"), amended.trim()]);
    assert_eq!(bench.codes([wish("web", "1.2.0")]).await, ["git-conflict"]);
    assert_eq!(bench.branch().head(), amended.trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_contributor_merged_is_not_taken_for_ours() {
    let bench = bench("pr-trailers").await;
    let forged = "Supercargo-Change: shop/Deployment/web app r.example/web:1.0.0 r.example/web:2.0.0\n\
                  Supercargo-Change: shop/Deployment/api app r.example/api:1.0.0 r.example/api:1.1.0";
    for how in ["merge", "squash", "rebase"] {
        let content = STANDARD.encode(format!("# {how}\n{}", manifest("web", "2.0.0")));
        let sha = bench.main().blob("web.yaml");
        let change = json!({
            "branch": "main", "new_branch": how, "message": format!("Tune it\n\n{forged}\n"),
            "files": [{"operation": "update", "path": "web.yaml", "content": content, "sha": sha}],
        });
        bench.repo.api(reqwest::Method::POST, "/contents", &change).await;
        let new = json!({"head": how, "base": "main", "title": "Tune it"});
        let opened = bench.repo.api(reqwest::Method::POST, "/pulls", &new).await;
        bench.repo.merge_with(number(&opened), &json!({"Do": how, "MergeMessageField": forged})).await;
        assert!(bench.main().log().iter().any(|commit| commit.message.contains(forged)));
        assert_eq!(bench.codes([update("web", "1.0.0", "3.0.0")]).await, ["git-differs"], "{how}");
    }
    assert_eq!(bench.codes([wish("web", "3.0.0"), wish("api", "1.1.0")]).await, ["git-differs", "request-open"]);
    assert_eq!(bench.codes([update("api", "1.0.0", "1.1.0")]).await, ["committed"]);
    assert_eq!(text(&bench.main(), "api.yaml"), manifest("api", "1.1.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_forge_made_of_a_request_is_ours_as_far_as_the_request_held_it() {
    for how in ["squash", "rebase"] {
        let mut bench = bench(&format!("pr-{how}")).await;
        bench.codes([wish("web", "1.1.0")]).await;
        // What a person adds while merging is not.
        let message = String::from_utf8(bench.branch().git(&["log", "-1", "--format=%B", BRANCH])).unwrap();
        let more = "Supercargo-Change: shop/Deployment/api app r.example/api:1.0.0 r.example/api:1.1.0";
        let message = format!("{}\n{more}\n", message.trim());
        // Else the forge takes our commit as it is.
        bench.repo.commit(&[("notes", Some(b"more"))], "Note").await;
        let merge = json!({"Do": how, "MergeMessageField": message});
        bench.repo.merge_with(number(&bench.request().await), &merge).await;
        let made = bench.main().git(&["log", "-1", "--format=%cn %B", "main"]);
        let made = String::from_utf8(made).unwrap();
        assert!(!made.starts_with("supercargo ") && made.contains("Supercargo-Change: shop/Deployment/web"), "{made}");
        assert_eq!(made.contains(more), how == "squash", "{made}");

        // The cluster still runs what it ran first; also when the next request is there, and after a restart.
        assert_eq!(bench.codes([wish("web", "1.2.0"), wish("api", "1.1.0")]).await, ["request-open", "request-open"]);
        bench.restart();
        assert_eq!(bench.codes([wish("web", "1.2.0")]).await, ["request-open"]);
        bench.repo.commit(&[("web.yaml", Some(manifest("web", "1.0.0").as_bytes()))], "Back").await;
        bench.restart();
        assert_eq!(bench.codes([wish("web", "1.1.0")]).await, ["reverted"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_branch_says_counts_only_where_the_request_says_it_too() {
    let bench = bench("pr-forged").await;
    bench.codes([wish("web", "1.1.0")]).await;
    let branch = bench.branch();
    // As the bot itself would have made it.
    let mut commit = branch.git(&["cat-file", "commit", BRANCH]);
    commit.extend(b"Supercargo-Change: shop/Deployment/api app r.example/api:1.0.0 r.example/api:9.9.9\n");
    let mut write = git();
    write.arg("-C").arg(&branch.path).args(["hash-object", "-t", "commit", "-w", "--stdin"]);
    let forged = String::from_utf8(run(&mut write, &commit)).unwrap();
    branch.git(&["update-ref", &format!("refs/heads/{BRANCH}"), forged.trim()]);
    assert_eq!(bench.codes([wish("web", "1.2.0")]).await, ["request-open"]);
    assert_eq!(text(&bench.branch(), "web.yaml"), manifest("web", "1.2.0"));
    assert_eq!(text(&bench.branch(), "api.yaml"), manifest("api", "1.0.0"));
    assert!(!bench.request().await["body"].as_str().unwrap().contains("9.9.9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_was_merged_with_a_persons_commit_is_used_again() {
    let bench = bench("pr-both").await;
    bench.codes([wish("web", "1.1.0")]).await;
    let change = json!({
        "branch": BRANCH, "message": "Tune it",
        "files": [{"operation": "create", "path": "tuned", "content": "eWVz"}],
    });
    bench.repo.api(reqwest::Method::POST, "/contents", &change).await;
    bench.repo.merge(number(&bench.request().await), "merge").await;
    assert_eq!(bench.codes([wish("web", "1.2.0")]).await, ["request-open"]);
    assert_eq!((text(&bench.branch(), "tuned"), bench.repo.pulls().await.len()), ("yes".to_owned(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_refuses_is_told_of_and_the_request_is_opened_when_it_may_be() {
    let bench = bench("pr-scope").await;
    let gitea = bench.repo.gitea;
    let reader = gitea.bot_with(&["read:repository"]).await;
    bench.repo.invite(&reader).await;
    let folder = tempfile::tempdir().unwrap();
    let weak = proposer(&bench.repo, &bench.bot, &reader.token, folder.path(), RequestSettings::default());
    let outcome = weak.apply(vec![approved(wish("web", "1.1.0"))]).await.remove(0);
    let Outcome::Refused(words) = &outcome else { panic!("{outcome:?}") };
    assert!(words.contains("scope") && !words.contains(&reader.token), "{words}");
    assert_eq!((bench.repo.pulls().await.len(), bench.branch().log().len()), (0, 2));
    let pushed = bench.branch().head();
    assert_eq!(bench.codes([wish("web", "1.1.0")]).await, ["request-open"]);
    assert_eq!(bench.request().await["head"]["sha"], bench.branch().head());
    assert_eq!(bench.branch().log().len(), 2, "{pushed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_merges_by_itself_needs_nobody() {
    let bench = bench_with("pr-auto", RequestSettings { auto_merge: true, ..RequestSettings::default() }).await;
    let is_merged = async || bench.request().await["merged"].as_bool().filter(|merged| *merged);
    let mut tag = String::new();
    // Gitea may take longer to find out that it can be merged than it is asked; then the next version asks again.
    for n in 1..10 {
        tag = format!("1.{n}.0");
        assert_eq!(bench.codes([wish("web", &tag)]).await, ["request-open"]);
        if within_minutes(1, is_merged).await.is_some() {
            break;
        }
    }
    assert_eq!(bench.codes([wish("web", &tag)]).await, ["committed"]);
    assert_eq!(text(&bench.main(), "web.yaml"), manifest("web", &tag));
}

/// A forge, as it is while somebody puts a commit on the branch right after the request was opened.
struct Moved {
    forge: Arc<dyn forges::Forge>,
    repo: Repo,
}

impl forges::Forge for Moved {
    fn find<'a>(&'a self, branch: &'a str) -> BoxFuture<'a, Result<Option<forges::Request>, ForgeError>> {
        self.forge.find(branch)
    }

    fn merged<'a>(&'a self, branch: &'a str) -> BoxFuture<'a, Result<Vec<forges::Request>, ForgeError>> {
        self.forge.merged(branch)
    }

    fn open_from<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<forges::Request>, ForgeError>> {
        self.forge.open_from(prefix)
    }

    fn open<'a>(&'a self, new: &'a forges::NewRequest) -> BoxFuture<'a, Result<forges::Opened, ForgeError>> {
        Box::pin(async move {
            let opened = self.forge.open(new).await?;
            let change = json!({
                "branch": new.head, "message": "Slip it in",
                "files": [{"operation": "create", "path": "slipped", "content": "eWVz"}],
            });
            self.repo.api(reqwest::Method::POST, "/contents", &change).await;
            let head = self.repo.bare(&new.head).head();
            let shown = eventually("the request shows that commit", async || {
                (self.repo.pulls().await[0]["head"]["sha"] == head).then_some(())
            });
            // A future that asks by an async closure is not `Send`.
            tokio::task::block_in_place(|| Handle::current().block_on(shown));
            Ok(opened)
        })
    }

    fn update<'a>(
        &'a self,
        present: &'a forges::Request,
        title: &'a str,
        body: &'a str,
    ) -> BoxFuture<'a, Result<(), ForgeError>> {
        self.forge.update(present, title, body)
    }

    fn auto_merge<'a>(&'a self, request: &'a forges::Request) -> BoxFuture<'a, Result<(), ForgeError>> {
        self.forge.auto_merge(request)
    }

    fn close(&self, number: u64) -> BoxFuture<'_, Result<(), ForgeError>> {
        self.forge.close(number)
    }
}

/// Stands for the guard in `git/request.rs` (SECURITY.md): a merge is asked for our own commit only.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_somebody_slips_in_is_not_merged_by_itself() {
    let bench = bench("pr-moved").await;
    let requests = RequestSettings { auto_merge: true, ..RequestSettings::default() };
    let folder = tempfile::tempdir().unwrap();
    let place = forge_settings("gitea", &bench.repo.url(), None);
    let forge = forges::connect(place, held(&bench.bot.token), Arc::new(SystemClock::default()));
    let secret = Secret::Value(SecretString::from(bench.bot.token.clone()));
    let credentials = Credentials::Token { username: bench.bot.name.clone(), secret };
    let target = target(settings_with(credentials, &bench.repo.url(), folder.path()));
    let forge = Arc::new(Moved { forge, repo: bench.repo.clone() });
    let target = target.with_requests(Requests { forge, settings: requests, registry: None });
    for _ in 0..2 {
        let outcome = target.apply(vec![approved(wish("web", "1.1.0"))]).await.remove(0);
        let Outcome::Blocked(reason) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(reason.code.as_str(), "git-conflict");
        assert!(reason.message.contains(&bench.branch().head()[..12]), "{}", reason.message);
    }
    assert_eq!((bench.request().await["merged"].as_bool(), bench.main().log().len()), (Some(false), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_stands_in_the_way_is_named_and_commits_to_the_base_go_on() {
    let bench = bench("pr-way").await;
    let main = bench.main();
    main.git(&["branch", "supercargo", "main"]);
    let direct = update("api", "1.0.0", "1.1.0");
    let outcomes = bench.ask([wish("web", "1.1.0"), direct]).await;
    let Outcome::Refused(words) = &outcomes[0] else { panic!("{outcomes:?}") };
    let says = "the branch supercargo stands in the way of supercargo/prod/updates";
    assert!(words.contains(says) && words.contains("rename or delete supercargo"), "{words}");
    assert_eq!(code(&outcomes[1]), "committed");
    assert_eq!(text(&bench.main(), "api.yaml"), manifest("api", "1.1.0"));
    main.git(&["branch", "-D", "supercargo"]);
    assert_eq!(bench.codes([wish("web", "1.1.0")]).await, ["request-open"]);
}
