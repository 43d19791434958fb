//! Requests of groups: how many a namespace has open at a real Gitea, and who goes first.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::json;
use supercargo::{
    domain::{target::Route, update::Update, workload::WorkloadId},
    git::{RequestSettings, Target},
    ports::{Outcome, Sink as _},
};
use tokio::sync::watch;

use super::{
    alone::{command, deployment as written},
    requests::{proposer, proposer_at},
    target::{approved, code, manifest, text, update},
};
use crate::support::{
    attacks,
    clock::SimClock,
    commits::{self, config_with, setup_with},
    control_plane::shared,
    eventually,
    front::{Front, Way},
    gitea::{self, BOT_SCOPES, Repo, User},
    objects::deployment,
    operator::Operator,
    registry::Registry,
    victim::Victim,
};

/// A repository with `a` to `e` of the namespace `shop` and `mine` of `team`, and a bot.
async fn repository(hint: &str) -> (Repo, User) {
    let mut files: Vec<(String, String)> =
        ["a", "b", "c", "d", "e"].map(|name| (format!("{name}.yaml"), manifest(name, "1.0.0"))).to_vec();
    files.push(("mine.yaml".to_owned(), manifest("mine", "1.0.0").replace("namespace: shop", "namespace: team")));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (&**path, text.as_bytes())).collect();
    let gitea = gitea::shared().await;
    let repo = gitea.repository(hint, &files).await;
    let bot = gitea.bot_with(BOT_SCOPES).await;
    repo.invite(&bot).await;
    (repo, bot)
}

fn two() -> RequestSettings {
    RequestSettings { max_open: 2, ..RequestSettings::default() }
}

/// `name` to a newer tag, by the request of that group.
fn wish(name: &str, group: &str) -> Update {
    let update = update(name, "1.0.0", "1.1.0");
    let namespace = if name == "mine" { "team" } else { "shop" };
    let workload = WorkloadId { namespace: namespace.into(), ..update.workload.clone() };
    Update { workload, route: Route::Request("prod".into(), Some(group.into())), ..update }
}

/// Whether a call opens a request.
fn is_opening(line: &str) -> bool {
    line.starts_with("POST ") && line.ends_with("/pulls")
}

async fn codes<const N: usize>(target: &Target, wishes: [(&str, &str); N]) -> [&'static str; N] {
    let outcomes = target.apply(wishes.iter().map(|(name, group)| approved(wish(name, group))).collect()).await;
    for (outcome, (name, _)) in outcomes.iter().zip(wishes) {
        match outcome {
            Outcome::Blocked(reason) => {
                let namespace = if name == "mine" { "team" } else { "shop" };
                let says = format!(
                    "the namespace {namespace} has 2 open requests of groups at the Git target prod, and may have 2 \
                     (`pullRequest.maxOpen`): merge or close one, or raise `maxOpen`"
                );
                assert_eq!(reason.message, says);
            }
            outcome => assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}"),
        }
    }
    outcomes.iter().map(code).collect::<Vec<_>>().try_into().unwrap()
}

/// The codes of what would not be written.
async fn foresee<const N: usize>(target: &Target, wishes: [(&str, &str); N]) -> [&'static str; N] {
    let plans = wishes.iter().map(|(name, group)| approved(wish(name, group))).collect();
    let shown = target.preview(plans).await.unwrap();
    let codes = shown.iter().map(|shown| shown.as_ref().err().map_or("", |reason| reason.code.as_str()));
    codes.collect::<Vec<_>>().try_into().unwrap()
}

fn branch(group: &str) -> String {
    format!("supercargo/prod/group/{group}")
}

async fn number_of(repo: &Repo, group: &str) -> u64 {
    let pulls = repo.pulls().await;
    let pull = pulls.iter().find(|pull| pull["head"]["ref"] == *branch(group) && pull["state"] == "open");
    pull.unwrap_or_else(|| panic!("{group}: {pulls:?}"))["number"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_has_only_so_many_requests_open_and_the_next_goes_when_one_ends() {
    let (repo, bot) = repository("pr-many").await;
    let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    // Each as a process that begins anew: it counts what is open.
    let target = |n: usize| proposer(&repo, &bot, &bot.token, folders[n].path(), two());
    let first = target(0);
    let all = [("a", "g-a"), ("b", "g-b"), ("c", "g-c"), ("d", "g-d")];
    let foreseen = ["", "", "request-limit", "request-limit"];
    assert_eq!(foresee(&first, all).await, foreseen);
    assert_eq!(repo.pulls().await.len(), 0);
    // The request without a group counts for nobody.
    assert_eq!(codes(&first, [all[0]]).await, ["request-open"]);
    let shared = Update { route: Route::Request("prod".into(), None), ..wish("e", "") };
    assert_eq!(code(&first.apply(vec![approved(shared)]).await[0]), "request-open");
    assert_eq!(codes(&first, all).await, ["request-open", "request-open", "request-limit", "request-limit"]);
    assert_eq!(repo.pulls().await.len(), 3);
    assert_eq!(foresee(&target(1), all).await, foreseen);
    let again = target(1);
    assert_eq!(codes(&again, [all[2], all[3]]).await, ["request-limit", "request-limit"]);
    assert_eq!(codes(&again, [all[0], all[1]]).await, ["request-open", "request-open"]);
    assert_eq!(repo.pulls().await.len(), 3);

    repo.close(number_of(&repo, "g-a").await).await;
    assert_eq!(codes(&target(2), [all[2], all[3]]).await, ["request-open", "request-limit"]);
    repo.merge(number_of(&repo, "g-b").await, "squash").await;
    assert_eq!(codes(&target(3), [all[2], all[3]]).await, ["request-open", "request-open"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_for_every_namespace_in_it_and_who_has_enough_joins_no_other() {
    let (repo, bot) = repository("pr-join").await;
    let folder = tempfile::tempdir().unwrap();
    let target = proposer(&repo, &bot, &bot.token, folder.path(), two());
    let open = ["request-open", "request-open"];
    assert_eq!(codes(&target, [("a", "g-a"), ("b", "g-b")]).await, open);
    // One of another namespace is open: those of `shop` stay out of it, also in the same round.
    assert_eq!(codes(&target, [("mine", "g-mine")]).await, ["request-open"]);
    assert_eq!(codes(&target, [("mine", "g-mine"), ("c", "g-mine")]).await, ["request-open", "request-limit"]);
    assert_eq!(codes(&target, [("c", "g-mine")]).await, ["request-limit"]);
    assert_eq!(text(&repo.bare(&branch("g-mine")), "c.yaml"), manifest("c", "1.0.0"));
    // What is in a request already takes in more, and others come into it while they have room.
    assert_eq!(codes(&target, [("a", "g-a"), ("c", "g-a")]).await, open);
    assert_eq!(codes(&target, [("mine", "g-a")]).await, ["request-open"]);
    assert_eq!(text(&repo.bare(&branch("g-a")), "c.yaml"), manifest("c", "1.1.0"));
    assert_eq!(codes(&target, [("mine", "g-b")]).await, ["request-limit"]);
    assert_eq!(repo.pulls().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_costs_one_list_however_much_it_is_and_however_often_it_is_tried() {
    let (repo, bot) = repository("pr-cost").await;
    let front = Front::before(repo.gitea.url.strip_prefix("http://").unwrap(), |_| Way::Pass).await;
    let folder = tempfile::tempdir().unwrap();
    let api = format!("http://{}/api/v1", front.host);
    // No time passes, so that what is known stays so.
    let still = || Arc::new(SimClock::at("2026-03-01T12:00:00Z"));
    let target = proposer_at(&repo, &bot, &bot.token, folder.path(), two(), Some(&api), still());
    let all = [("a", "g-a"), ("b", "g-b"), ("c", "g-c"), ("d", "g-d"), ("e", "g-e")];
    codes(&target, all).await;
    let lists = || front.came().iter().filter(|came| came.line.contains("state=open")).count();
    assert_eq!(lists(), 1, "{:?}", front.came());
    let before = front.came().len();
    for _ in 0..10 {
        assert_eq!(codes(&target, [all[2], all[3], all[4]]).await, ["request-limit"; 3]);
    }
    assert_eq!(front.came().len(), before);
    // It is known at once that one of them has ended.
    repo.close(number_of(&repo, "g-a").await).await;
    let ended = target.apply(vec![approved(wish("a", "g-a"))]).await;
    assert_eq!(code(&ended[0]), "request-closed");
    assert_eq!(codes(&target, [all[2], all[3]]).await, ["request-open", "request-limit"]);
}

/// Workloads of a hundred containers each: what names their changes would have no room in the body of a request.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_holds_a_thousand_changes_and_the_next_waits_until_it_is_merged() {
    let file = |n: usize| {
        let head = format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: w{n}, namespace: shop}}\nspec:\n");
        let line = |c: usize| format!("      - {{name: c{c}, image: 'r.example/w{n}:1.0.0'}}\n");
        let containers: String = (0..100).map(line).collect();
        (format!("w{n}.yaml"), format!("{head}  template:\n    spec:\n      containers:\n{containers}"))
    };
    let wish = |n: usize| {
        let update = update(&format!("w{n}"), "1.0.0", "1.1.0");
        let item = |c: usize| {
            let mut item = update.items[0].clone();
            item.change.container = format!("c{c}").into();
            item
        };
        let items = (0..100).map(item).collect();
        approved(Update { items, route: Route::Request("prod".into(), None), ..update })
    };
    let (gitea, folder) = (gitea::shared().await, tempfile::tempdir().unwrap());
    let files: Vec<(String, String)> = (0..12).map(file).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (&**path, text.as_bytes())).collect();
    let repo = gitea.repository("pr-changes", &files).await;
    let bot = gitea.bot_with(BOT_SCOPES).await;
    repo.invite(&bot).await;
    let target = proposer(&repo, &bot, &bot.token, folder.path(), RequestSettings::default());
    let outcomes = target.apply((1..11).map(wish).collect()).await;
    assert!(outcomes.iter().all(|outcome| code(outcome) == "request-open"), "{outcomes:?}");
    // Who comes later has no room, whatever its name, also where what is in the request is not asked for.
    for asked in [vec![0, 11], (0..12).collect()] {
        let outcomes = target.apply(asked.iter().copied().map(wish).collect()).await;
        for (n, outcome) in asked.into_iter().zip(outcomes) {
            match (n, outcome) {
                (0 | 11, Outcome::Blocked(reason)) => {
                    let says = "a request at the branch main of the Git target prod holds at most 1000 changes";
                    assert!(reason.code.as_str() == "request-limit" && reason.message.contains(says), "{reason:?}");
                }
                (_, outcome) => assert_eq!(code(&outcome), "request-open", "{n}: {outcome:?}"),
            }
        }
    }
    let pull = repo.pulls().await.remove(0);
    let body = pull["body"].as_str().unwrap();
    assert!(body.len() <= 60_000 && body.contains(" more\n") && body.contains("holds="), "{}", body.len());
    repo.merge(pull["number"].as_u64().unwrap(), "squash").await;
    let outcomes = target.apply(vec![wish(0), wish(11)]).await;
    assert!(outcomes.iter().all(|outcome| code(outcome) == "request-open"), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_without_a_cluster_ends_well_where_people_are_to_merge_first() {
    let (registry, gitea, folder) = (Registry::start().await, gitea::shared().await, tempfile::tempdir().unwrap());
    registry.push_tags("team/web", ["1.0.0", "1.1.0"]).await;
    let image = format!("{}/team/web:1.0.0", registry.host);
    let file = |name: &str| {
        let more = format!("policy: minor, supercargo.dev/write: 'pr:prod', supercargo.dev/group: {name}");
        (format!("{name}.yaml"), written(name, &image).replace("policy: minor", &more))
    };
    let files = ["a", "b", "c"].map(file);
    let repo = gitea.repository("pr-once", &files.each_ref().map(|(path, text)| (&**path, text.as_bytes()))).await;
    let bot = gitea.bot().await;
    repo.invite(&bot).await;
    std::fs::write(folder.path().join("token"), &bot.token).unwrap();
    let config = format!(
        "git:\n- {{name: prod, url: '{}', branch: main, namespaces: ['*'], forge: gitea, pullRequest: {{maxOpen: 2}},\n   \
         credentials: {{username: {}, tokenFile: token}}}}\n",
        repo.url(),
        bot.name
    );
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    for _ in 0..2 {
        let done = command(folder.path(), "prod", &["--config", "config.yaml", "--once"]).output().unwrap();
        let (table, said) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
        assert_eq!(done.status.code(), Some(0), "{table} {said}");
        let row = table.lines().find(|line| line.contains(" blocked ")).unwrap();
        assert!(row.contains("has 2 open requests of groups") && row.contains("`maxOpen`"), "{table}");
        assert_eq!((table.matches(" blocked ").count(), repo.pulls().await.len()), (1, 2), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_the_many_requests_of_another_namespace_of_which_ten_are_opened() {
    let (plane, registry, folder) = (shared().await, Registry::start().await, tempfile::tempdir().unwrap());
    let gitea = gitea::shared().await;
    let (many, few) = (plane.namespace("many-groups").await, plane.namespace("few").await);
    let before_registry = Front::start(&registry).await;
    registry.push_tags("team/many", ["1.0.0", "1.1.0"]).await;
    registry.push_tags("team/few", ["1.0.0", "1.1.0"]).await;
    let image = |name: &str| format!("{}/team/{name}:1.0.0", before_registry.host);
    let mut files = ["commit", "ask"]
        .map(|name| (format!("apps/{name}.yaml"), commits::manifest(&few, name, &image("few"))))
        .to_vec();
    let (objects, manifests) = attacks::git::groups(&many, "prod", 60, &image("many"));
    attacks::create(&many, objects).await;
    files.extend(manifests);
    let repo = gitea.repository("many-groups", &attacks::git::bytes(&files)).await;
    let bot = gitea.bot().await;
    repo.invite(&bot).await;
    // Each request is held open until the others are known: who asks for the first may give up and ask for the next.
    let (go, held) = watch::channel(false);
    let is_held = Arc::new(AtomicBool::new(false));
    let holding = is_held.clone();
    let front = Front::before(gitea.url.strip_prefix("http://").unwrap(), move |line| {
        if !is_opening(line) {
            return Way::Pass;
        }
        holding.store(true, Ordering::Relaxed);
        Way::Hold(held.clone())
    })
    .await;
    let namespaces = format!("{}, {}", many.name, few.name);
    let more = format!("  forge: gitea\n  api: http://{}/api/v1\n", front.host);
    let config = config_with(folder.path(), &namespaces, &repo.url(), (&bot.name, &bot.token), &more);
    let victim = Victim::new("many-groups").await;
    let setup = victim.beside(setup_with(&many, folder.path(), &config).with(&["-n", &few.name]));
    let operator = Operator::start(plane, &setup).await;
    eventually("a request is made", async || is_held.load(Ordering::Relaxed).then_some(())).await;
    victim.is_served("1.0.1").await;

    let main = repo.bare("main");
    let begin = main.head();
    let mut annotations = json!({"supercargo.dev/policy": "minor", "supercargo.dev/write": "git:prod"});
    few.create(&deployment("commit", &image("few"), annotations.clone()).to_string()).await;
    annotations["supercargo.dev/write"] = json!("pr:prod");
    annotations["supercargo.dev/group"] = json!("ask");
    few.create(&deployment("ask", &image("few"), annotations).to_string()).await;
    // With the third look at both what the first two brought is in line.
    eventually("all are known", async || (operator.metric("supercargo_workloads", "").await == 63.0).then_some(()))
        .await;
    let looks = || before_registry.came().iter().filter(|came| came.line.contains("/team/few/tags/list")).count();
    let known = looks();
    eventually("it is looked at", async || (looks() > known + 2).then_some(())).await;
    let tried = front.came().iter().filter(|came| is_opening(&came.line)).count();
    go.send(true).unwrap();
    eventually("the commit", async || (main.head() != begin).then_some(())).await;
    let pulls = || async { repo.pulls().await };
    eventually("eleven requests", async || (pulls().await.len() == 11).then_some(())).await;
    let limited = async || {
        let path = format!("/api/v1/namespaces/{}/events", many.name);
        let all = plane.request(http::Method::GET, &path, None).await.unwrap();
        let words = "has 10 open requests of groups at the Git target prod, and may have 10";
        all["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["message"].as_str().unwrap().contains(words))
            .count()
    };
    eventually("the others are told of", async || (limited().await > 0).then_some(())).await;
    let blocked = || operator.metric("supercargo_updates_total", "blocked");
    eventually("fifty wait", async || (blocked().await >= 50.0).then_some(())).await;
    assert_eq!(repo.pulls().await.len(), 11);

    // The branch of each request stands on what `main` was when it was made.
    let branches = main.branches();
    let groups = branches.iter().filter(|name| name.starts_with("supercargo/prod/group/w"));
    let bases = groups.map(|name| main.git(&["rev-parse", &format!("refs/heads/{name}^")]));
    let under_way = bases.filter(|base| base.trim_ascii() == begin.as_bytes()).count();
    assert!((1..=tried).contains(&under_way), "{under_way} of {tried} that were under way");
    // Its own request came after those and the next, whose turn it was.
    assert!(number_of(&repo, "ask").await <= tried as u64 + 2);
}
