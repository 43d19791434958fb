//! One target against a real Git server over smart HTTP.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use globset::{Glob, GlobSetBuilder};
use secrecy::SecretString;
use supercargo::{
    clock::SystemClock,
    domain::{
        gate,
        image::ImageRef,
        plan::{Approved, Plan},
        reason::Code,
        target::Route,
        update::{Change, Item, Update},
        workload::{KINDS, WorkloadId},
    },
    git::{Credentials, Remote, Scope, Secret, Target, TargetSettings, Template},
    manifest::MAX_BYTES,
    ports::{Outcome, Sink},
};

use crate::support::git_server::{BareRepo, GitServer, Options, PERSON, Put, git, run};

pub(crate) fn settings(url: &str, folder: &Path) -> TargetSettings {
    settings_with(Credentials::None, url, folder)
}

pub(crate) fn settings_with(credentials: Credentials, url: &str, folder: &Path) -> TargetSettings {
    TargetSettings {
        name: "prod".into(),
        remote: Remote { url: url.to_owned(), credentials, ca: None, proxy: None, folder: folder.join("prod.git") },
        branch: "main".to_owned(),
        scope: Scope::target("prod", "prod"),
        author: ("supercargo".to_owned(), "supercargo@example.test".to_owned()),
        one_each: false,
        message: Template::default(),
        signing: None,
        deployers: Vec::new(),
    }
}

pub(crate) fn target(settings: TargetSettings) -> Target {
    Target::new(settings, Arc::new(SystemClock::default()), supercargo::config::git_environment())
}

pub(crate) fn manifest(name: &str, tag: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{template: {{spec: \
         {{containers: [{{name: app, image: 'r.example/{name}:{tag}'}}]}}}}}}\n"
    )
}

pub(crate) fn plan(name: &str, from: &str, to: &str) -> Plan<Approved> {
    approved(update(name, from, to))
}

fn plan_of(workload: WorkloadId, name: &str, from: &str, to: &str) -> Plan<Approved> {
    approved(update_of(workload, name, from, to))
}

pub(crate) fn approved(update: Update) -> Plan<Approved> {
    gate::pass(Plan::propose(update), &gate::Context::default()).unwrap()
}

pub(crate) fn update(name: &str, from: &str, to: &str) -> Update {
    update_of(WorkloadId { kind: KINDS[0].kind.clone(), namespace: "shop".into(), name: name.into() }, name, from, to)
}

fn update_of(workload: WorkloadId, name: &str, from: &str, to: &str) -> Update {
    let image = |tag: &str| ImageRef::parse(&format!("r.example/{name}:{tag}")).unwrap();
    let change = Change { container: "app".into(), init: false, from: image(from), to: image(to) };
    let items = vec![Item { policy: "minor".into(), ..change.into() }];
    Update::new(workload, items, Route::Commit("prod".into()), "2026-01-01T00:00:00Z".parse().unwrap())
}

pub(super) async fn one(target: &Target, plan: Plan<Approved>) -> Outcome {
    target.apply(vec![plan]).await.pop().unwrap()
}

pub(crate) fn code(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Committed(reason) | Outcome::Blocked(reason) | Outcome::MovedBack(reason, _) => reason.code.as_str(),
        Outcome::Refused(_) => "refused",
        Outcome::Failed(_) => "failed",
        _ => "other",
    }
}

pub(crate) fn text(repo: &BareRepo, path: &str) -> String {
    String::from_utf8(repo.read(path)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_updates_are_one_commit_of_nothing_but_their_tags() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let files: Vec<(String, String)> =
        (0..30).map(|n| (format!("apps/a{n}.yaml"), manifest(&format!("a{n}"), "1.0.0"))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    let repo = server.create("deploy", &files);
    let target = target(settings(&server.url("deploy"), folder.path()));
    let plans = (0..20).map(|n| plan(&format!("a{n}"), "1.0.0", "1.1.0")).collect();
    let outcomes = target.apply(plans).await;
    assert!(outcomes.iter().all(|outcome| code(outcome) == "committed"), "{outcomes:?}");
    assert_eq!(repo.log().len(), 2);
    for n in 0..30 {
        let tag = if n < 20 { "1.1.0" } else { "1.0.0" };
        assert_eq!(text(&repo, &format!("apps/a{n}.yaml")), manifest(&format!("a{n}"), tag));
    }

    // The same again changes nothing, and costs one `ls-remote`.
    let before = server.requests().len();
    let again = one(&target, plan("a1", "1.0.0", "1.1.0")).await;
    assert_eq!((code(&again), repo.log().len()), ("committed", 2));
    let requests = &server.requests()[before..];
    assert!(requests.len() <= 2 && requests.iter().all(|r| !r.is_push()), "{requests:?}");
    // A newer one goes on from what we set, though the cluster is behind.
    assert_eq!(code(&one(&target, plan("a1", "1.0.0", "1.2.0")).await), "committed");
    assert_eq!(text(&repo, "apps/a1.yaml"), manifest("a1", "1.2.0"));
    // A lower one does not.
    assert_eq!(code(&one(&target, plan("a1", "1.0.0", "1.0.5")).await), "git-differs");
}

/// A cluster's workload has its image from values: what holds it besides and is not read is named in its row, whether it is
/// written or has no place.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_hold_the_image_and_are_not_read_are_named() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let values = |tag: &str| format!("image: {{repository: r.example/web, tag: {tag}}}\n");
    let api = "apiVersion: v1\nkind: Pod\nmetadata: {name: api}\nspec: {containers: [{name: api, image: 'r.example/api:1.0.0'}]}\n";
    let (old, other) = (values("1.0.0"), values("0.9.0"));
    let files = [("values.yaml", old.as_bytes()), ("env/dev.yaml", other.as_bytes()), ("pod.yaml", api.as_bytes())];
    let repo = server.create("deploy", &files);
    let target = target(settings(&server.url("deploy"), folder.path()));
    let Outcome::Committed(reason) = one(&target, plan("web", "1.0.0", "1.1.0")).await else { panic!() };
    let says = "(values.yaml:1); env/dev.yaml:1 has it, too, and stays, as it is no values file by its name: ";
    assert!(reason.message.contains(says), "{}", reason.message);
    assert_eq!((text(&repo, "values.yaml"), text(&repo, "env/dev.yaml")), (values("1.1.0"), other.clone()));
    let Outcome::Blocked(reason) = one(&target, plan("api", "1.0.0", "1.1.0")).await else { panic!() };
    let says = "r.example/api stands in pod.yaml:4: it is at no place where images are looked for: mark it with ";
    assert!(reason.code == Code::GitNoPlace && reason.message.contains(says), "{}", reason.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_workload_gets_a_commit_of_its_own_lines_in_one_push() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let both = |tag: &str, other: &str| format!("{}---\n{}", manifest("web", tag), manifest("api", other));
    let images = |tag: &str| format!("resources: [job.yaml]\nimages:\n- {{name: r.example/job, newTag: {tag}}}\n");
    let twin = |kind: &str| manifest("job", "0.0.0").replace("Deployment", kind);
    let repo = server.create(
        "deploy",
        &[
            ("both.yaml", both("1.0.0", "1.0.0").as_bytes()),
            ("job/kustomization.yaml", images("1.0.0").as_bytes()),
            ("job/job.yaml", format!("{}---\n{}", twin("Deployment"), twin("StatefulSet")).as_bytes()),
        ],
    );
    let first = repo.head();
    let url = server.url("deploy");
    let target = target(TargetSettings { one_each: true, ..settings(&url, folder.path()) });
    // Two workloads of which one entry of a kustomization sets the image.
    let sets = WorkloadId { kind: KINDS[1].kind.clone(), namespace: "shop".into(), name: "job".into() };
    let plans = vec![
        plan("web", "1.0.0", "1.1.0"),
        plan("job", "1.0.0", "1.1.0"),
        plan("api", "1.0.0", "1.1.0"),
        plan_of(sets, "job", "1.0.0", "1.1.0"),
    ];
    let outcomes = target.apply(plans).await;
    let log = repo.log();
    assert_eq!((log.len(), server.requests().iter().filter(|request| request.is_push()).count()), (4, 1));
    let at = |n: usize, path: &str| {
        String::from_utf8(repo.git(&["cat-file", "blob", &format!("{}:{path}", log[n].id)])).unwrap()
    };
    assert_eq!(at(2, "both.yaml"), both("1.1.0", "1.0.0"));
    assert_eq!(at(2, "job/kustomization.yaml"), images("1.0.0"));
    assert_eq!(at(1, "both.yaml"), both("1.1.0", "1.0.0"));
    assert_eq!(at(1, "job/kustomization.yaml"), images("1.1.0"));
    assert_eq!(at(0, "both.yaml"), both("1.1.0", "1.1.0"));
    assert_eq!(at(0, "job/kustomization.yaml"), images("1.1.0"));
    let trailers = |n: usize| log[n].message.matches("Supercargo-Change: ").count();
    assert_eq!([trailers(2), trailers(1), trailers(0)], [1, 2, 1]);
    for (outcome, commit) in outcomes.iter().zip([2, 1, 0, 1]) {
        let Outcome::Committed(reason) = outcome else { panic!("{outcome:?}") };
        assert!(reason.message.contains(&log[commit].id[..12]), "{outcome:?}");
    }

    // What was pushed at once is known one by one.
    let back = [("both.yaml", Some(both("1.0.0", "1.1.0"))), ("job/kustomization.yaml", Some(images("1.0.0")))];
    let back = back.each_ref().map(|(path, text)| (*path, text.as_ref().map(String::as_bytes)));
    repo.commit(&back, "Go back", PERSON);
    assert_ne!(repo.head(), first);
    let sets = WorkloadId { kind: KINDS[1].kind.clone(), namespace: "shop".into(), name: "job".into() };
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "reverted");
    assert_eq!(code(&one(&target, plan_of(sets, "job", "1.0.0", "1.1.0")).await), "reverted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_moves_a_tag_is_heard() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let repo = server.create("deploy", &[("web.yaml", manifest("web", "1.0.0").as_bytes())]);
    let first = target(settings(&server.url("deploy"), folder.path()));
    assert_eq!(code(&one(&first, plan("web", "1.0.0", "1.1.0")).await), "committed");
    repo.commit(&[("web.yaml", Some(manifest("web", "1.0.0").as_bytes()))], "Revert", PERSON);
    let outcome = one(&first, plan("web", "1.0.0", "1.1.0")).await;
    let Outcome::MovedBack(reason, hold) = &outcome else { panic!("{outcome:?}") };
    assert!(reason.code == Code::Reverted && reason.message.contains(&repo.log()[1].id[..12]), "{reason:?}");
    // It is held by the author.
    assert_eq!(
        (&*hold.by, hold.to.to_string().ends_with("1.1.0"), hold.back_to.ends_with("1.0.0")),
        ("Ada", true, true)
    );
    drop(first);

    // Also by a process that knows of nothing, with a clone that is gone.
    std::fs::remove_dir_all(folder.path().join("prod.git")).unwrap();
    let second = target(settings(&server.url("deploy"), folder.path()));
    assert_eq!(code(&one(&second, plan("web", "1.0.0", "1.1.0")).await), "reverted");
    assert_eq!(code(&one(&second, plan("web", "1.0.0", "1.2.0")).await), "committed");
    repo.commit(&[("web.yaml", Some(manifest("web", "3.0.0").as_bytes()))], "By hand", PERSON);
    assert_eq!(code(&one(&second, plan("web", "1.0.0", "1.3.0")).await), "git-differs");
    assert_eq!(text(&repo, "web.yaml"), manifest("web", "3.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_in_the_servers_words_and_a_lost_answer_is_found_out() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let repo = server.create("deploy", &[("web.yaml", manifest("web", "1.0.0").as_bytes())]);
    let target = target(settings(&server.url("deploy"), folder.path()));
    repo.hook("pre-receive", "#!/bin/sh\necho 'no pushes on Fridays' >&2\nexit 1\n");
    let outcome = one(&target, plan("web", "1.0.0", "1.1.0")).await;
    assert_eq!(outcome, Outcome::Refused("no pushes on Fridays".to_owned()));
    repo.hook("pre-receive", "#!/bin/sh\nexit 0\n");
    server.lose_next_push(1);
    let outcome = one(&target, plan("web", "1.0.0", "1.1.0")).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "committed");
    assert_eq!((repo.log().len(), text(&repo, "web.yaml")), (2, manifest("web", "1.1.0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_without_filters_and_with_passwords_work() {
    let password = Some(("bot".to_owned(), "geheim".to_owned()));
    let server = GitServer::start_with(Options { filters: false, password, ..Options::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let repo = server.create("deploy", &[("web.yaml", manifest("web", "1.0.0").as_bytes())]);
    let with = |password: &str| {
        let secret = Secret::Value(SecretString::from(password.to_owned()));
        let credentials = Credentials::Token { username: "bot".to_owned(), secret };
        settings_with(credentials, &server.url("deploy"), folder.path())
    };
    let wrong = target(with("falsch"));
    let Outcome::Failed(why) = one(&wrong, plan("web", "1.0.0", "1.1.0")).await else { panic!() };
    assert!(why.contains("credentials") && !why.contains("falsch"), "{why}");
    drop(wrong);
    let right = target(with("geheim"));
    assert_eq!(code(&one(&right, plan("web", "1.0.0", "1.1.0")).await), "committed");
    assert_eq!(text(&repo, "web.yaml"), manifest("web", "1.1.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_to_what_is_older_than_the_clone_is_understood() {
    let password = Some(("bot".to_owned(), "geheim".to_owned()));
    let server = GitServer::start_with(Options { password, ..Options::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let repo = server.create("deploy", &[("a/b/web.yaml", manifest("web", "1.0.0").as_bytes())]);
    repo.commit(&[("a/b/web.yaml", Some(manifest("web", "1.0.5").as_bytes()))], "By hand", PERSON);
    let secret = Secret::Value(SecretString::from("geheim".to_owned()));
    let credentials = Credentials::Token { username: "bot".to_owned(), secret };
    let target = target(settings_with(credentials, &server.url("deploy"), folder.path()));
    assert_eq!(code(&one(&target, plan("web", "1.0.5", "1.1.0")).await), "committed");
    let kept = folder.path().join("prod.git/kept");
    std::fs::write(&kept, "").unwrap();
    // The very trees of the first commit, of which the clone has the commit and nothing else.
    repo.commit(&[("a/b/web.yaml", Some(manifest("web", "1.0.0").as_bytes()))], "Go back", PERSON);
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "reverted");
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.2.0")).await), "committed");
    assert_eq!(text(&repo, "a/b/web.yaml"), manifest("web", "1.2.0"));
    assert!(kept.exists(), "the clone was made anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_of_an_old_branch_brings_no_history_with_it() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let repo = server.create("deploy", &[("web.yaml", manifest("web", "1.0.0").as_bytes())]);
    let first = repo.head();
    for n in 0..9 {
        repo.commit(&[("notes", Some(format!("{n}").as_bytes()))], "Note", PERSON);
    }
    let target = target(settings(&server.url("deploy"), folder.path()));
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "committed");
    let old = repo.branch("old");
    old.git(&["update-ref", "refs/heads/old", &first]);
    old.commit(&[("api.yaml", Some(manifest("api", "1.0.0").as_bytes()))], "Add it", PERSON);
    let (ours, theirs) = (repo.head(), old.head());
    let both = repo.commit(&[("api.yaml", Some(manifest("api", "1.0.0").as_bytes()))], "Never there", PERSON);
    let tree = format!("{both}^{{tree}}");
    let identity = ["-c", "user.name=Pat", "-c", "user.email=pat@example.com"];
    let merge = ["commit-tree", &tree, "-p", &ours, "-p", &theirs, "-m", "Merge it"];
    let merged = String::from_utf8(repo.git(&[&identity[..], &merge].concat())).unwrap();
    repo.git(&["update-ref", "refs/heads/main", merged.trim()]);

    assert_eq!(code(&one(&target, plan("api", "1.0.0", "1.1.0")).await), "committed");
    assert_eq!(
        (text(&repo, "web.yaml"), text(&repo, "api.yaml")),
        (manifest("web", "1.1.0"), manifest("api", "1.1.0"))
    );
    let clone = BareRepo { path: folder.path().join("prod.git"), branch: "main".to_owned() };
    let objects = clone.git(&["cat-file", "--batch-all-objects", "--batch-check"]);
    let commits = String::from_utf8(objects).unwrap().lines().filter(|line| line.contains(" commit ")).count();
    // What the branch had first and has now, and ours twice: while made, and as pushed.
    assert!(commits <= 6, "{commits} commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_back_is_not_set_by_way_of_a_neighbour_nor_after_something_newer() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let entry =
        |tag: &str| format!("resources: [web.yaml, job.yaml]\nimages:\n- name: r.example/web\n  newTag: {tag:?}\n");
    let (web, job) = (manifest("web", "0"), manifest("web", "0").replace("name: web,", "name: job,"));
    let files = [("web.yaml", web.as_bytes()), ("job.yaml", job.as_bytes()), ("kustomization.yaml", &[])];
    let repo = server.create("deploy", &files);
    let set = |tag: &str| repo.commit(&[("kustomization.yaml", Some(entry(tag).as_bytes()))], "By hand", PERSON);
    set("1.0.0");
    let target = target(settings(&server.url("deploy"), folder.path()));
    let job = WorkloadId { kind: KINDS[0].kind.clone(), namespace: "shop".into(), name: "job".into() };
    let both = |to: &str| vec![plan("web", "1.0.0", to), plan_of(job.clone(), "web", "1.0.0", to)];
    let codes = async |plans| target.apply(plans).await.iter().map(code).collect::<Vec<_>>();

    assert_eq!(codes(vec![plan("web", "1.0.0", "1.1.0")]).await, ["committed"]);
    set("1.0.0");
    assert_eq!(codes(both("1.1.0")).await, ["reverted", "reverted"]);
    assert_eq!(codes(both("1.2.0")).await, ["committed", "committed"]);
    set("1.0.0");
    assert_eq!(codes(both("1.2.0")).await, ["reverted", "reverted"]);
    // The newest one is gone from the registry.
    assert_eq!(codes(both("1.1.0")).await, ["reverted", "reverted"]);
    assert_eq!(text(&repo, "kustomization.yaml"), entry("1.0.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_policies_add_nothing_to_a_message() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let repo = server.create("deploy", &[("web.yaml", manifest("web", "1.0.0").as_bytes())]);
    let target = target(settings(&server.url("deploy"), folder.path()));
    let forged = "Supercargo-Change: shop/Deployment/api app r.example/api:1.0.0 r.example/evil:9";
    let mut update = update("web", "1.0.0", "1.1.0");
    update.items[0].policy = format!("regex:a|\n\n{forged}\nCloses #3, @ada").into();
    assert_eq!(code(&one(&target, approved(update)).await), "committed");
    let message = &repo.log()[0].message;
    assert!(!message.lines().any(|line| line.starts_with(forged)), "{message}");
    assert!(!message.contains("#3") && !message.contains("@ada"), "{message}");
    let trailers = message.rsplit("\n\n").next().unwrap();
    assert!(trailers.lines().all(|line| line.starts_with("Supercargo-")) && trailers.lines().count() == 2, "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_of_the_tree_is_left_alone() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let repo = server.create("deploy", &[("real.yaml", manifest("web", "1.0.0").as_bytes())]);
    let puts = [
        ("link.yaml", Put::Link("/etc/passwd")),
        ("apps.yaml", Put::Link("../../outside.yaml")),
        ("latin.yaml", Put::File(b"a: \xe4\nimage: r.example/web:1.0.0\n")),
        (".github/web.yaml", Put::File(b"image: r.example/web:1.0.0 # supercargo: minor\n")),
    ];
    repo.put(&puts, "Odd things", PERSON);
    let target = target(settings(&server.url("deploy"), folder.path()));
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "committed");
    assert_eq!(text(&repo, "real.yaml"), manifest("web", "1.1.0"));
    assert_eq!(repo.read("latin.yaml"), b"a: \xe4\nimage: r.example/web:1.0.0\n");
    let outcome = one(&target, plan("api", "1.0.0", "1.1.0")).await;
    let Outcome::Blocked(reason) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(reason.code, Code::GitNoPlace);
    let says = ["link.yaml:1: a link, which is not followed", "apps.yaml:1: a link", "latin.yaml:1: this is no UTF-8"];
    assert!(says.iter().all(|say| reason.message.contains(say)), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kustomizations_take_from_beyond_the_paths_is_read_and_not_edited() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let prod =
        |tag: &str| format!("resources: [../../base]\nimages:\n- name: r.example/web\n  newTag: {tag} # of prod\n");
    let base = "resources: [deploy, ':(glob)*']\n";
    let (web, api, other) = (manifest("web", "0"), manifest("api", "1.0.0"), manifest("other", "1.0.0"));
    let files = [
        ("overlays/prod/kustomization.yaml", prod("1.0.0")),
        ("overlays/test/kustomization.yaml", prod("0.9.0")),
        ("base/kustomization.yaml", base.to_owned()),
        ("base/deploy/kustomization.yml", "resources: [web.yaml, api.yaml]\n".to_owned()),
        ("base/deploy/web.yaml", web.clone()),
        ("base/deploy/api.yaml", api.clone()),
        ("base/other.yaml", other),
    ];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    let repo = server.create("deploy", &files);
    let paths = Some(GlobSetBuilder::new().add(Glob::new("overlays/prod/**").unwrap()).build().unwrap());
    let target = target(TargetSettings {
        scope: Scope { paths, ..Scope::target("prod", "prod") },
        ..settings(&server.url("deploy"), folder.path())
    });
    let names = async || {
        let found = target.workloads().await.unwrap();
        found.workloads.iter().map(|(workload, ..)| workload.id.name.to_string()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names().await, BTreeSet::from(["api", "web"].map(str::to_owned)));
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "committed");
    assert_eq!(text(&repo, "overlays/prod/kustomization.yaml"), prod("1.1.0"));
    assert_eq!(text(&repo, "overlays/test/kustomization.yaml"), prod("0.9.0"));
    let outcome = one(&target, plan("api", "1.0.0", "1.1.0")).await;
    let Outcome::Blocked(reason) = &outcome else { panic!("{outcome:?}") };
    let says = "base/deploy/api.yaml:4 is beyond the `paths` of the Git target prod";
    assert!(reason.code == Code::GitNoPlace && reason.message.contains(says), "{reason:?}");
    assert_eq!(code(&one(&target, plan("other", "1.0.0", "1.1.0")).await), "git-no-place");
    // Also what is there from now on, and no longer.
    repo.commit(&[("base/deploy/kustomization.yml", Some(b"resources: [web.yaml]\n"))], "Less", PERSON);
    assert_eq!(names().await, BTreeSet::from(["web".to_owned()]));
    repo.commit(&[("base/deploy/kustomization.yml", Some(b"resources: [web.yaml, ../other.yaml]\n"))], "More", PERSON);
    assert_eq!(names().await, BTreeSet::from(["other", "web"].map(str::to_owned)));
    assert_eq!((text(&repo, "base/deploy/web.yaml"), text(&repo, "base/deploy/api.yaml")), (web, api));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_names_another_over_and_over_is_not_read_to_its_end() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let repo = server.create("deploy", &[("web.yaml", manifest("web", "1.0.0").as_bytes())]);
    let mut tree = format!("100644 blob {}\tweb.yaml\n", repo.blob("web.yaml"));
    // A million files in seven trees.
    for _ in 0..6 {
        let mut make = git();
        make.arg("-C").arg(&repo.path).arg("mktree");
        let id = String::from_utf8(run(&mut make, tree.as_bytes())).unwrap();
        tree = (0..10).map(|n| format!("040000 tree {}\td{n}\n", id.trim())).collect();
    }
    let mut make = git();
    make.arg("-C").arg(&repo.path).arg("mktree");
    let id = String::from_utf8(run(&mut make, tree.as_bytes())).unwrap();
    let identity = ["-c", "user.name=Pat", "-c", "user.email=pat@example.com"];
    let head = repo.head();
    let commit = ["commit-tree", id.trim(), "-p", &head, "-m", "Grow"];
    let commit = String::from_utf8(repo.git(&[&identity[..], &commit].concat())).unwrap();
    repo.git(&["update-ref", "refs/heads/main", commit.trim()]);
    let target = target(settings(&server.url("deploy"), folder.path()));
    let outcome = one(&target, plan("web", "1.0.0", "1.1.0")).await;
    let Outcome::Failed(why) = &outcome else { panic!("{outcome:?}") };
    assert!(why.contains("more than 400000 files would be read: say by `paths`"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submodule_is_named_where_a_workload_has_no_other_place_until_it_is_gone() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let repo = server.create("deploy", &[("web.yaml", manifest("web", "1.0.0").as_bytes())]);
    repo.put(&[("vendor/apps", Put::Submodule(&repo.head()))], "Share", PERSON);
    let target = target(settings(&server.url("deploy"), folder.path()));
    let says = async || match one(&target, plan("api", "1.0.0", "1.1.0")).await {
        Outcome::Blocked(reason) => reason.message.contains("vendor/apps:1: a submodule, which is not read"),
        other => panic!("{other:?}"),
    };
    assert!(says().await);
    repo.put(&[("vendor/apps", Put::Gone)], "Share no more", PERSON);
    assert!(!says().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_read_are_named_where_a_workload_has_no_other_place() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let large = format!("{}# {}\n", manifest("large", "1.0.0"), " ".repeat(MAX_BYTES));
    let latin = [manifest("latin", "1.0.0").as_bytes(), b"# \xe4\n"].concat();
    let open = format!("{}open: [\n", manifest("open", "1.0.0"));
    let web = manifest("web", "1.0.0");
    let files = [
        ("large.yaml", large.as_bytes()),
        ("latin.yaml", &latin),
        ("open.yaml", open.as_bytes()),
        ("web.yaml", web.as_bytes()),
    ];
    let repo = server.create("deploy", &files);
    let target = target(settings(&server.url("deploy"), folder.path()));
    let size = large.len();
    let says = [
        format!("large.yaml:1: {size} bytes are more than the {MAX_BYTES} that are read: split the file"),
        "latin.yaml:5: this is no UTF-8: the file is left alone".to_owned(),
        "open.yaml:".to_owned(),
    ];
    // Also when a commit left these files as they were.
    for (tag, to) in [("1.0.0", "1.1.0"), ("1.1.0", "1.2.0")] {
        for name in ["large", "latin", "open"] {
            let outcome = one(&target, plan(name, "1.0.0", "1.1.0")).await;
            let Outcome::Blocked(reason) = &outcome else { panic!("{outcome:?}") };
            assert!(
                reason.code == Code::GitNoPlace && says.iter().all(|say| reason.message.contains(say)),
                "{reason:?}"
            );
        }
        let outcome = one(&target, plan("web", tag, to)).await;
        let Outcome::Committed(reason) = &outcome else { panic!("{outcome:?}") };
        assert!(!reason.message.contains("left alone"), "{reason:?}");
    }
    assert_eq!((repo.read("latin.yaml"), text(&repo, "open.yaml"), repo.log().len()), (latin, open, 3));
    assert!(repo.read("large.yaml") == large.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_files_are_named_and_left_alone_where_all_hold_more_than_is_read() {
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let large = |name: &str| format!("{}list: [{}]\n", manifest(name, "1.0.0"), "1,".repeat(195_000));
    let texts: Vec<(String, String)> = (0..11).map(|n| (format!("a{n:02}.yaml"), large(&format!("a{n:02}")))).collect();
    let web = manifest("web", "1.0.0");
    let mut files: Vec<(&str, &[u8])> = texts.iter().map(|(path, text)| (&**path, text.as_bytes())).collect();
    files.push(("web.yaml", web.as_bytes()));
    let repo = server.create("deploy", &files);
    let target = target(settings(&server.url("deploy"), folder.path()));
    let Outcome::Blocked(reason) = one(&target, plan("a10", "1.0.0", "1.1.0")).await else { panic!() };
    assert!(reason.message.contains("a10.yaml:1: the files that hold images have more than 2000000"), "{reason:?}");
    for name in ["web", "a09"] {
        let outcome = one(&target, plan(name, "1.0.0", "1.1.0")).await;
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    }
    // When there is room again, it is read.
    repo.put(&[("a00.yaml", Put::Gone)], "Make room", PERSON);
    let outcome = one(&target, plan("a10", "1.0.0", "1.1.0")).await;
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobodys_commit_is_lost_while_twenty_people_push() {
    const PEOPLE: usize = 20;
    const UPDATES: usize = 200;
    let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
    let files: Vec<(String, String)> =
        (0..UPDATES).map(|n| (format!("apps/a{n}.yaml"), manifest(&format!("a{n}"), "1.0.0"))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    let repo = server.create("deploy", &files);
    let url = server.url("deploy");
    let people: Vec<_> = (0..PEOPLE)
        .map(|person| {
            let (url, folder) = (url.clone(), folder.path().join(format!("person-{person}")));
            tokio::task::spawn_blocking(move || push_as_a_person(&url, &folder, person))
        })
        .collect();
    let target = target(settings(&url, folder.path()));
    let mut left: BTreeSet<usize> = (0..UPDATES).collect();
    while !left.is_empty() {
        let batch: Vec<usize> = left.iter().copied().take(10).collect();
        let plans = batch.iter().map(|n| plan(&format!("a{n}"), "1.0.0", "1.1.0")).collect();
        for (n, outcome) in batch.iter().zip(target.apply(plans).await) {
            match outcome {
                Outcome::Committed(_) => _ = left.remove(n),
                // Others pushed too often: the engine tries again, and so does this.
                Outcome::Failed(why) => assert!(why.contains("others pushed"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }
    for person in people {
        person.await.unwrap();
    }
    let log = repo.log();
    for n in 0..UPDATES {
        assert_eq!(text(&repo, &format!("apps/a{n}.yaml")), manifest(&format!("a{n}"), "1.1.0"));
        let trailer = format!("Supercargo-Change: shop/Deployment/a{n} app ");
        assert_eq!(log.iter().filter(|commit| commit.message.contains(&trailer)).count(), 1, "{trailer}");
    }
    for person in 0..PEOPLE {
        assert_eq!(text(&repo, &format!("people/{person}.txt")), format!("{person}\n"));
    }
}

/// Clones, commits a file of one's own, and pushes until it is there.
fn push_as_a_person(url: &str, folder: &Path, person: usize) {
    use crate::support::git_server::{git, run, try_run};
    let at = |args: &[&str]| {
        let mut command = git();
        command.arg("-C").arg(folder).args(args);
        command
    };
    run(git().args(["clone", "-q", url]).arg(folder), b"");
    std::fs::create_dir_all(folder.join("people")).unwrap();
    std::fs::write(folder.join(format!("people/{person}.txt")), format!("{person}\n")).unwrap();
    run(&mut at(&["add", "."]), b"");
    run(&mut at(&["commit", "-q", "-m", "Mine"]), b"");
    while !try_run(&mut at(&["push", "-q", "origin", "HEAD:main"]), b"").status.success() {
        run(&mut at(&["pull", "-q", "--rebase", "origin", "main"]), b"");
    }
}
