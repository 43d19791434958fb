//! One container of a workload that cannot be brought leaves the others alone.

use std::{fs, path::Path};

use serde_json::Value;

use crate::git::alone::{command, once};
use crate::support::{
    eventually, free_port,
    git_server::{BareRepo, GitServer},
    operator::supercargo,
    process::Process,
    registry::Registry,
    write_below,
};

const TAGS: [&str; 4] = ["1.0.0", "1.0.1", "1.1.0", "2.0.0"];

async fn registry() -> Registry {
    let registry = Registry::start().await;
    for repository in ["team/web", "team/side", "team/api"] {
        registry.push_tags(repository, TAGS).await;
    }
    registry
}

/// A workload with the containers `web` and `side`.
fn pair(annotations: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: pair\n  annotations: {{{annotations}}}\nspec:\n  template:\n    spec:\n      containers:\n      - name: web\n        image: HOST/team/web:1.0.0\n      - name: side\n        image: HOST/team/side:1.0.0\n"
    )
}

const MINOR: &str = "supercargo.dev/policy: minor";

type Files = Vec<(&'static str, String)>;

fn on(registry: &Registry, files: Files) -> Files {
    files.into_iter().map(|(path, text)| (path, text.replace("HOST", &registry.host))).collect()
}

fn plan(folder: &Path) -> Vec<Value> {
    let output = supercargo(&["plan", "-o", "json", "."], folder);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// `namespace/container decision`, and what is said besides the first reason.
fn rows(folder: &Path) -> Vec<(String, Vec<String>)> {
    let row = |row: &Value| {
        let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let messages = row["reasons"].as_array().unwrap().iter();
        let messages = messages.map(|reason| reason["message"].as_str().unwrap().to_owned()).collect();
        (
            format!("{}/{} {}", row["namespace"].as_str().unwrap_or_default(), word("container"), word("decision")),
            messages,
        )
    };
    plan(folder).iter().map(row).collect()
}

fn write(files: &Files) -> (tempfile::TempDir, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let work = root.path().join("work");
    write_below(&work, files.clone());
    (root, work)
}

/// Two overlays that wish differently for one container's base line: the other containers go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_two_overlays_share_holds_its_own_container_only() {
    let registry = registry().await;
    let overlay = |name: &str, more: &str| format!("resources: [../base]\nnamespace: {name}\n{more}");
    let web = "images: [{name: HOST/team/web, newTag: 1.0.0}]\n";
    let patch = "patches:\n- patch: |-\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata:\n      name: pair\n      annotations: {supercargo.dev/policy.side: patch}\n";
    let files = on(
        &registry,
        vec![
            ("base/kustomization.yaml", "resources: [pair.yaml]\n".to_owned()),
            ("base/pair.yaml", pair(MINOR)),
            ("prod/kustomization.yaml", overlay("prod", &format!("{web}{patch}"))),
            ("test/kustomization.yaml", overlay("test", web)),
        ],
    );
    let (_root, work) = write(&files);
    let rows = rows(&work);
    let decisions: Vec<&str> = rows.iter().map(|(row, _)| &**row).collect();
    assert_eq!(decisions.iter().filter(|row| row.ends_with("/web update")).count(), 2, "{rows:?}");
    assert_eq!(decisions.iter().filter(|row| row.ends_with("/side blocked")).count(), 2, "{rows:?}");
    for (row, messages) in &rows {
        let is_told = messages.iter().any(|message| message.contains("base/pair.yaml:13"));
        assert_eq!(is_told, row.contains("side"), "{row} {messages:?}");
    }
    let done = supercargo(&["update", "."], &work);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    for (path, before) in &files {
        let after = fs::read_to_string(work.join(path)).unwrap();
        let expected = if path.starts_with("base") { before.clone() } else { before.replace("1.0.0", "1.1.0") };
        assert_eq!(after, expected, "{path}: {said}");
    }
}

/// What a patch, a missing place or a person does to one container.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_of_one_container_leaves_the_others() {
    let registry = registry().await;
    let kustomization = |patch: &str| {
        format!("resources: [pair.yaml]\npatches:\n- target: {{kind: Deployment}}\n  patch: |-\n    {patch}\n")
    };
    let copy =
        "- {op: copy, from: /spec/template/spec/containers/0/image, path: /spec/template/spec/containers/1/image}";
    let tag = pair(MINOR).replace("team/side:1.0.0", "team/side:${TAG}");
    let cases: Vec<(Files, &str)> = vec![
        (vec![("kustomization.yaml", kustomization(copy)), ("pair.yaml", pair(MINOR))], "kustomization.yaml:3"),
        (vec![("pair.yaml", tag)], "${TAG}"),
    ];
    for (files, said_of_side) in cases {
        let files = on(&registry, files);
        let (_root, work) = write(&files);
        let rows = rows(&work);
        for (row, messages) in &rows {
            let (is_side, is_update) = (row.contains("/side "), row.ends_with(" update"));
            assert!(is_side != is_update, "{row} {messages:?}");
            assert!(!is_side || messages.iter().any(|message| message.contains(said_of_side)), "{row} {messages:?}");
        }
        let bytes: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
        let repo = BareRepo::create(&work.join("deploy.git"), &bytes);
        let (code, table, said) = once(&work, "deploy.git", &[]);
        assert!(code == 1 && table.matches(" update ").count() == 1, "{code} {table} {said}");
        let text = String::from_utf8(repo.read("pair.yaml")).unwrap();
        assert!(text.contains("team/web:1.1.0") && !text.contains("side:1.1.0"), "{text}");
        let message = &repo.log()[0].message;
        assert!(message.contains("team/web") && !message.contains("team/side"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_back_of_one_container_leaves_the_others() {
    let (registry, server, folder) = (registry().await, GitServer::start().await, tempfile::tempdir().unwrap());
    let before = pair(MINOR).replace("HOST", &registry.host);
    let repo = server.create("deploy", &[("pair.yaml", before.as_bytes())]);
    let url = server.url("deploy");
    assert_eq!(once(folder.path(), &url, &[]).0, 0);
    let moved = before.replace("team/web:1.0.0", "team/web:1.1.0");
    repo.commit(&[("pair.yaml", Some(moved.as_bytes()))], "side 1.1.0 loses orders", "Pat <pat@example.com>");
    registry.push_tags("team/web", ["1.2.0"]).await;
    let (code, table, said) = once(folder.path(), &url, &[]);
    assert!(code == 0 && table.contains("moved it back") && table.contains(" update "), "{code} {table} {said}");
    let text = String::from_utf8(repo.read("pair.yaml")).unwrap();
    assert_eq!(text, moved.replace("team/web:1.1.0", "team/web:1.2.0"));
}

/// A process that goes on looks at what is left again, and brings the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_goes_on_brings_what_it_can() {
    let (registry, server, folder) = (registry().await, GitServer::start().await, tempfile::tempdir().unwrap());
    let annotations = "supercargo.dev/policy: minor, supercargo.dev/poll: every 1s";
    let open = pair(annotations).replace("HOST", &registry.host);
    let kustomization = "resources: [pair.yaml]\npatches:\n- target: {kind: Deployment}\n  patch: |-\n    - {op: copy, from: /spec/template/spec/containers/0/image, path: /spec/template/spec/containers/1/image}\n";
    let repo =
        server.create("deploy", &[("pair.yaml", open.as_bytes()), ("kustomization.yaml", kustomization.as_bytes())]);
    let listen = ["--listen".to_owned(), format!("127.0.0.1:{}", free_port())];
    let (url, log) = (server.url("deploy"), folder.path().join("log"));
    let _process = Process::spawn(&command(folder.path(), &url, &[&*listen[0], &listen[1]]), &log);
    let text = || String::from_utf8(repo.read("pair.yaml")).unwrap();
    for tag in ["1.1.0", "1.2.0"] {
        registry.push_tags("team/web", [tag]).await;
        eventually("the one is brought", async || (text() == open.replacen("1.0.0", tag, 1)).then_some(())).await;
    }
}

/// Each mistake of a workload is told at once.
#[tokio::test(flavor = "multi_thread")]
async fn update_tells_all_mistakes() {
    let registry = registry().await;
    let text = pair("supercargo.dev/policy: minor, supercargo.dev/plicy: x, supercargo.dev/pin: none");
    let (_root, work) = write(&on(&registry, vec![("pair.yaml", text)]));
    let done = supercargo(&["update", "."], &work);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let is_told = said.lines().any(|line| line.contains("supercargo.dev/plicy") && line.contains("supercargo.dev/pin"));
    assert!(!done.status.success() && is_told, "{said}");
}

/// An anchor whose users all have the image, marked or not, in values and in files of markers.
#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_of_a_whole_image_is_edited_for_all_its_users() {
    let registry = registry().await;
    let listed = "images:\n- {image: HOST/team/web, policy: minor}\n- {image: HOST/team/api, policy: minor}\n";
    let cases: Vec<Files> = vec![
        vec![("compose.yaml", "x-a: &img HOST/team/web:1.0.0 # supercargo: minor\nservices:\n  web: {image: *img}\n  api:\n    image: HOST/team/api:1.0.0 # supercargo: minor\n".to_owned())],
        vec![("supercargo.yaml", listed.to_owned()), ("values.yaml", "img: &img HOST/team/web:1.0.0\nweb: {image: *img}\nworker: {image: *img}\napi: {image: \"HOST/team/api:1.0.0\"}\n".to_owned())],
        vec![("x.yaml", "web:\n  tag: &t 1.0.0 # supercargo: minor image=HOST/team/web part=tag\nworker:\n  tag: *t # supercargo: minor image=HOST/team/web part=tag\n".to_owned())],
    ];
    for files in cases {
        let files = on(&registry, files);
        let (_root, work) = write(&files);
        let done = supercargo(&["update", "."], &work);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        for (path, before) in &files {
            assert_eq!(fs::read_to_string(work.join(path)).unwrap(), before.replace("1.0.0", "1.1.0"), "{path}");
        }
    }
    // A tag is none: it may be that of another image.
    let tag = "x-tag: &t 1.0.0 # supercargo: minor image=HOST/team/web part=tag\nweb:\n  image: {repository: HOST/team/web, tag: *t}\napi:\n  image: {repository: HOST/team/api, tag: *t}\n";
    let files = on(&registry, vec![("x.yaml", tag.to_owned())]);
    let (_root, work) = write(&files);
    supercargo(&["update", "."], &work);
    assert_eq!(fs::read_to_string(work.join("x.yaml")).unwrap(), files[0].1);
    // Nor is a container's image that its workload wishes to keep.
    let both = pair("supercargo.dev/policy.web: minor")
        .replace("image: HOST/team/web:1.0.0", "image: &i HOST/team/web:1.0.0")
        .replace("image: HOST/team/side:1.0.0", "image: *i");
    let files = on(&registry, vec![("pair.yaml", both)]);
    let (_root, work) = write(&files);
    supercargo(&["update", "."], &work);
    assert_eq!(fs::read_to_string(work.join("pair.yaml")).unwrap(), files[0].1);
}
