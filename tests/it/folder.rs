//! Folders, read as `run --git` reads a repository.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{
    front::{Front, Way},
    git_server::{BareRepo, git, run},
    objects::workload,
    operator::supercargo,
    registry::{Access, Options, Registry},
    write_below,
};

/// Which tags there are.
const TAGS: [&str; 4] = ["1.0.0", "1.0.1", "1.1.0", "2.0.0"];

fn web(name: &str, annotations: &str, tag: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  annotations: {{{annotations}}}\nspec:\n  \
         template:\n    spec: {{containers: [{{name: app, image: 'HOST/team/web:{tag}'}}]}}\n"
    )
}

const MINOR: &str = "supercargo.dev/policy: minor";

/// A tree for each way in which a line of a file makes an image.
fn trees() -> Vec<Vec<(&'static str, String)>> {
    let overlay = |name: &str, more: &str| format!("resources: [../../base]\nnamespace: {name}\n{more}");
    let images = "images: [{name: HOST/team/web, newTag: 1.1.0}]\n";
    let base = || ("base/kustomization.yaml", "resources: [web.yaml]\n".to_owned());
    let suspend = "patches:\n- patch: |-\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata:\n      name: web\n      \
                   annotations: {supercargo.dev/suspend: 'true'}\n";
    vec![
        vec![("web.yaml", web("web", MINOR, "1.0.0")), ("db.yaml", web("db", "", "1.0.0"))],
        vec![
            base(),
            ("base/web.yaml", web("web", MINOR, "1.0.0")),
            ("overlays/prod/kustomization.yaml", overlay("prod", images)),
            ("overlays/test/kustomization.yaml", overlay("test", "")),
        ],
        // One of two that share the base's line is to stay.
        vec![
            base(),
            ("base/web.yaml", web("web", MINOR, "1.0.0")),
            ("overlays/prod/kustomization.yaml", overlay("prod", suspend)),
            ("overlays/test/kustomization.yaml", overlay("test", "")),
        ],
        vec![
            ("kustomization.yaml", "resources: [web.yaml, ../gone]\npatches: [{path: patch.yaml}]\n".to_owned()),
            ("web.yaml", web("web", "supercargo.dev/policy: patch", "1.1.0")),
            ("patch.yaml", web("web", "", "1.0.0")),
        ],
        vec![
            ("supercargo.yaml", "images: [{image: HOST/team/web, policy: patch}]\n".to_owned()),
            ("values.yaml", "image: {repository: HOST/team/web, tag: 1.0.0}\n".to_owned()),
            ("compose.yaml", "web: HOST/team/web:1.0.0 # supercargo: minor\n".to_owned()),
        ],
        vec![
            ("web.yaml", web("web", "supercargo.dev/polcy: minor", "1.0.0")),
            ("broken.yaml", "image: [\n".to_owned()),
        ],
    ]
}

async fn registry() -> Registry {
    let registry = Registry::start().await;
    registry.push_tags("team/web", TAGS).await;
    registry
}

fn on(registry: &Registry, files: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    files.into_iter().map(|(path, text)| (path, text.replace("HOST", &registry.host))).collect()
}

fn said(args: &[&str], folder: &Path) -> (i32, String, String) {
    let output = supercargo(args, folder);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn rows(args: &[&str], folder: &Path) -> Vec<Value> {
    let (_, out, err) = said(&[&["plan", "-o", "json"], args].concat(), folder);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {err}"))
}

/// Two wishes for one place that no manifest makes an image of.
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_share_a_place_must_wish_the_same() {
    let registry = registry().await;
    let root = tempfile::tempdir().unwrap();
    let entry = |name: &str, policy: &str| format!("- {{name: {name}, image: HOST/team/web, policy: {policy}}}\n");
    let files = vec![
        ("supercargo.yaml", format!("images:\n{}{}", entry("a", "minor"), entry("b", "patch"))),
        ("values.yaml", "image: {repository: HOST/team/web, tag: 1.0.0}\n".to_owned()),
    ];
    let files = on(&registry, files);
    write_below(root.path(), files.clone());
    let bytes: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    BareRepo::create(&root.path().join("deploy.git"), &bytes);
    let once = ["run", "--git", "deploy.git", "--once", "--git-cache", "cache", "--state", "state"];
    for args in [&["plan", "."][..], &[&once[..], &["--dry-run"]].concat(), &once] {
        let (_, table, err) = said(args, root.path());
        let is_blocked = |line: &&str| line.contains(" blocked ") && line.contains("values.yaml:1 makes the image of");
        assert_eq!(table.lines().filter(is_blocked).count(), 2, "{table} {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_gets_the_verdicts_and_the_edits_that_its_repository_gets() {
    let registry = registry().await;
    for files in trees() {
        let files = on(&registry, files);
        let room = tempfile::tempdir().unwrap();
        let (work, bare) = (room.path().join("work"), room.path().join("deploy.git"));
        write_below(&work, files.clone());
        let bytes: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
        let repo = BareRepo::create(&bare, &bytes);
        let address = bare.to_str().unwrap();
        let once = |more: &[&str]| {
            let args = ["run", "--git", address, "--once", "--git-cache", "cache", "--state", "state"];
            let (code, out, _) = said(&[&args, more].concat(), room.path());
            (code, out.replace(&format!("Git target {address}"), "folder ."))
        };

        let (of_git, table) = once(&["--dry-run"]);
        let (_, plan, err) = said(&["plan", "."], &work);
        assert_eq!(plan.replace("the branch main of the folder .", "folder ."), table, "{err}");

        let (of_update, _, err) = said(&["update", "."], &work);
        once(&[]);
        assert_eq!(of_update, of_git, "{err}");
        for (path, _) in &files {
            let [own, committed] = [fs::read(work.join(path)).unwrap(), repo.read(path)].map(String::from_utf8);
            assert_eq!(own, committed, "{path} {err}");
        }
    }
}

/// From wherever a folder is named, its files are called as they are to be written there: in rows, on stderr, in diffs.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_named_as_they_are_to_be_written_where_the_command_runs() {
    let registry = registry().await;
    let files = on(
        &registry,
        vec![
            ("x/web.yaml", web("web", MINOR, "1.0.0")),
            ("x/broken.yaml", "image: [\n".to_owned()),
            ("x/overlay/kustomization.yaml", "resources: [../../base]\n".to_owned()),
            ("base/kustomization.yaml", "resources: [api.yaml]\n".to_owned()),
            ("base/api.yaml", web("api", MINOR, "1.0.0")),
        ],
    );
    for in_git in [false, true] {
        let room = tempfile::tempdir().unwrap();
        write_below(room.path(), files.clone());
        let full = room.path().canonicalize().unwrap();
        if in_git {
            run(git().arg("init").arg("-q").arg(room.path()), b"");
        }
        // What is given, where, and what files of the folder and of the base begin with then.
        let whole = (full.join("x"), format!("{}/", full.join("x").display()), format!("{}/", full.display()));
        for (given, here, folder, above) in [
            ("x", "", "x/", ""),
            ("./x/", "", "x/", ""),
            (".", "x", "", "../"),
            ("..", "x/overlay", "../", "../../"),
            (whole.0.to_str().unwrap(), "", &*whole.1, &*whole.2),
        ] {
            let here = full.join(here);
            let (_, table, err) = said(&["plan", given], &here);
            let row = |name: &str, words: &str| {
                let is_it = |line: &&str| line.starts_with(&format!("Deployment/{name} ")) && line.contains(words);
                table.lines().filter(is_it).count()
            };
            assert_eq!(row("web", &format!(": {folder}web.yaml:8")), 1, "{given} {table}");
            assert!(err.lines().any(|line| line.starts_with(&format!("{folder}broken.yaml:1: "))), "{given} {err}");
            if in_git {
                assert_eq!(
                    row("api", &format!("blocked   1.1.0  {above}base/api.yaml:8 is beyond")),
                    1,
                    "{given} {table}"
                );
            }
            let (_, diff, _) = said(&["update", "--dry-run", given], &here);
            let file = folder.trim_start_matches('/');
            assert!(diff.contains(&format!("+++ b/{file}web.yaml\n")), "{given} {diff}");
            let source = &rows(&[given], &here)[0]["workload"]["source"];
            assert!(source.as_str().unwrap().starts_with(if in_git { above } else { folder }), "{given} {source}");
        }
    }
}

/// What kustomizations take from above the folder is read, and not edited; and nothing is committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_a_checkout_takes_its_bases_from_above_it() {
    let registry = registry().await;
    let room = tempfile::tempdir().unwrap();
    let root = room.path();
    write_below(root, on(&registry, trees().swap_remove(1)));
    let update = |path| said(&["update", path], root);
    let (code, table, err) = said(&["plan", "overlays/prod"], root);
    let why = "overlays/prod/kustomization.yaml:1: `../../base` leads out of what is read";
    assert!(code == 1 && err.contains(why) && !table.contains("team/web"), "{code} {table} {err}");

    run(git().arg("init").arg("-q").arg(root), b"");
    let (code, table, err) = said(&["plan", "overlays/prod", "--exit-code"], root);
    let is_there = ["prod/Deployment/web", "team/web:1.1.0", "up-to-date"].iter().all(|word| table.contains(word));
    assert!(code == 0 && is_there && !table.contains("test/"), "{code} {table} {err}");
    let (code, diff, err) = update("overlays/test");
    let why = "base/web.yaml:8 is beyond the folder overlays/test: add it to that, or an entry of `images`";
    assert!(code == 1 && diff.is_empty() && err.contains(why), "{code} {diff} {err}");
    let entry = format!("images:\n- name: {}/team/web\n  newTag: 1.0.0\n", registry.host);
    let test = root.join("overlays/test/kustomization.yaml");
    let old = fs::read_to_string(&test).unwrap() + &entry;
    fs::write(&test, &old).unwrap();
    let (code, diff, err) = update("overlays/test");
    assert!(code == 0 && diff.contains("+++ b/overlays/test/kustomization.yaml"), "{code} {diff} {err}");
    assert_eq!(fs::read_to_string(&test).unwrap(), old.replace("newTag: 1.0.0", "newTag: 1.1.0"));
    let commits = Command::new("git").arg("-C").arg(root).args(["rev-list", "--all"]).output().unwrap();
    assert!(commits.stdout.is_empty(), "nothing is committed");
}

/// A link above the folder is not even opened: what it leads to may never end.
#[test]
fn a_link_above_a_folder_is_not_opened() {
    let root = tempfile::tempdir().unwrap();
    let base = ("base/kustomization.yaml", "resources: [web.yaml]\n".to_owned());
    write_below(root.path(), [base, ("prod/kustomization.yaml", "resources: [../base]\n".to_owned())]);
    run(git().arg("init").arg("-q").arg(root.path()), b"");
    run(Command::new("mkfifo").arg(root.path().join("pipe")), b"");
    std::os::unix::fs::symlink("../pipe", root.path().join("base/web.yaml")).unwrap();
    let plan = Command::new("timeout")
        .arg("300")
        .arg(env!("CARGO_BIN_EXE_supercargo"))
        .args(["plan", "prod"])
        .current_dir(root.path())
        .output()
        .unwrap();
    assert_ne!(plan.status.code(), Some(124), "it waits for the pipe");
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_of_several_clusters_are_each_edited() {
    let registry = registry().await;
    let root = tempfile::tempdir().unwrap();
    let files = [("prod/web.yaml", web("web", MINOR, "1.0.0")), ("test/web.yaml", web("web", MINOR, "1.0.1"))];
    let namespace =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: {supercargo.dev/policy: patch}}\n";
    let in_namespace = web("db", "", "1.0.0").replace("  name: db\n", "  name: db\n  namespace: shop\n");
    let more =
        [("a.yaml", namespace.to_owned()), ("prod/db.yaml", in_namespace.clone()), ("test/db.yaml", in_namespace)];
    let files = on(&registry, files.into_iter().chain(more).collect());
    write_below(root.path(), files.clone());
    // A repository has one of each name.
    let bytes: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    let room = tempfile::tempdir().unwrap();
    BareRepo::create(&room.path().join("deploy.git"), &bytes);
    let once = ["run", "--git", "deploy.git", "--once", "--dry-run", "--git-cache", "cache", "--state", "state"];
    let (code, table, err) = said(&once, room.path());
    let has = |words: &[&str]| table.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
    assert_eq!((code, has(&["Deployment/web"]), has(&["shop/Deployment/db"])), (1, 1, 1), "{table} {err}");
    assert_eq!(
        has(&["Deployment/web", "the places disagree", "prod/web.yaml:8", "test/web.yaml:8"]),
        1,
        "{table} {err}"
    );

    let rows = rows(&["."], root.path());
    let shown = |row: &Value| format!("{} {}", row["workload"]["source"], row["to"]).replace('"', "");
    let all: Vec<String> = rows.iter().map(shown).collect();
    assert_eq!(all, ["prod/web.yaml:1 1.1.0", "test/web.yaml:1 1.1.0", "prod/db.yaml:1 1.0.1", "test/db.yaml:1 1.0.1"]);
    let (code, _, err) = said(&["update", "."], root.path());
    assert_eq!((code, err.as_str()), (0, ""));
    for (file, tag) in [("prod/web", "1.1.0"), ("test/web", "1.1.0"), ("prod/db", "1.0.1"), ("test/db", "1.0.1")] {
        let text = fs::read_to_string(root.path().join(format!("{file}.yaml"))).unwrap();
        assert!(text.contains(&format!("team/web:{tag}'")), "{file}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_of_charts_are_left_alone_and_named_where_it_is_asked_for() {
    let registry = registry().await;
    let root = tempfile::tempdir().unwrap();
    let files = vec![
        ("web.yaml", web("web", MINOR, "1.1.0")),
        ("chart/Chart.yaml", "{apiVersion: v2, name: web, version: 0.1.0}\n".to_owned()),
        ("chart/templates/config.yaml", "kind: ConfigMap\n{{- if .Values.config }}\n{{- end }}\n".to_owned()),
        ("chart/templates/web.yaml", "{{- if .Values.web }}\nimage: {{ .Values.image }}\n{{- end }}\n".to_owned()),
        // By chance it is YAML.
        ("chart/templates/db.yaml", web("{{ .Values.name }}", MINOR, "1.0.0")),
    ];
    write_below(root.path(), on(&registry, files));
    let templates = ["chart/templates/config.yaml:2", "chart/templates/db.yaml:", "chart/templates/web.yaml"];
    let names = |text: &str| templates.iter().filter(|path| text.contains(**path)).count();

    let (code, table, err) = said(&["plan", ".", "--strict"], root.path());
    assert_eq!((code, names(&table) + names(&err)), (0, 0), "{table} {err}");
    let (code, table, _) = said(&["plan", ".", "--strict", "-v"], root.path());
    assert!(code == 0 && table.contains("File/chart/templates/config.yaml"), "{code} {table}");
    let rows = rows(&["."], root.path());
    assert_eq!(rows.len(), 4);
    assert_eq!(
        (&rows[1]["workload"]["source"], &rows[1]["decision"], &rows[1]["reasons"][0]["message"]),
        (&json!("chart/templates/config.yaml:2"), &json!("up-to-date"), &json!("a template of a chart: left alone"))
    );
    let (code, out, err) = said(&["update", "."], root.path());
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    let (code, out, err) = said(&["update", ".", "-v"], root.path());
    assert_eq!((code, out.as_str(), names(&err)), (0, "", 3), "{err}");
}

/// A workload that only Keel would watch is not watched, to each command.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_silent_where_nothing_is_watched() {
    let registry = registry().await;
    let root = tempfile::tempdir().unwrap();
    write_below(root.path(), on(&registry, vec![("web.yaml", web("web", "keel.sh/policy: minor", "1.0.0"))]));
    let (code, out, err) = said(&["update", "."], root.path());
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.contains("no workload that a policy applies to was found"), "{err}");
    let (_, out, err) = said(&["explain", "-f", "."], root.path());
    assert!(out.contains("not watched"), "{out} {err}");
}

/// One that is a plain manifest with a policy, which nobody obeys.
#[test]
fn a_template_with_a_policy_is_named() {
    let root = tempfile::tempdir().unwrap();
    let files = vec![
        ("chart/Chart.yaml", "{apiVersion: v2, name: web, version: 0.1.0}\n".to_owned()),
        ("chart/templates/web.yaml", web("web", MINOR, "1.0.0")),
        ("chart/templates/db.yaml", web("db", "", "1.0.0")),
    ];
    write_below(root.path(), files);
    let says = "no workload that a policy applies to was found; templates of charts are left alone: `-v` names them";
    for command in ["plan", "update"] {
        let (code, _, err) = said(&[command, "."], root.path());
        assert!(code == 0 && err.contains(says), "{command} {err}");
        let (_, out, err) = said(&[command, ".", "-v"], root.path());
        let said = format!("{out}{err}");
        assert!(said.contains("chart/templates/web.yaml") && !said.contains("db.yaml"), "{command} {said}");
    }
}

/// Where one place is to make two images, what is advised works: it is followed here.
#[tokio::test(flavor = "multi_thread")]
async fn the_way_out_of_a_shared_place_leads_out() {
    let registry = registry().await;
    let two = |a: &str, b: &str| {
        web("web", "supercargo.dev/policy: minor, supercargo.dev/policy.b: never", "1.0.0").replace(
            "[{name: app, image: 'HOST/team/web:1.0.0'}]",
            &format!("[{{name: a, image: {a}'HOST/team/web:1.0.0'}}, {{name: b, image: {b}}}]"),
        )
    };
    let same = "'HOST/team/web:1.0.0'";
    let kustomization = |more: &str| ("kustomization.yaml", format!("resources: [web.yaml]\n{more}"));
    let cases = [
        (
            vec![kustomization("images: [{name: HOST/team/web, newTag: 1.0.0}]\n"), ("web.yaml", two("", same))],
            "take it out, and write the tag in each container",
            vec![kustomization(""), ("web.yaml", two("", same))],
        ),
        (
            vec![("web.yaml", two("&image ", "*image"))],
            "write the image out for each of them, in a place of its own",
            vec![("web.yaml", two("", same))],
        ),
    ];
    for (before, advice, after) in cases {
        let root = tempfile::tempdir().unwrap();
        write_below(root.path(), on(&registry, before));
        let (_, table, err) = said(&["plan", "."], root.path());
        let blocked = table.lines().find(|line| line.contains(" blocked ")).unwrap_or_else(|| panic!("{table} {err}"));
        assert!(blocked.contains(advice), "{blocked}");
        write_below(root.path(), on(&registry, after));
        let (code, diff, err) = said(&["update", "."], root.path());
        assert!(
            code == 0
                && diff.contains("name: a, image: 'HOST/team/web:1.1.0'".replace("HOST", &registry.host).as_str()),
            "{diff} {err}"
        );
        assert!(fs::read_to_string(root.path().join("web.yaml")).unwrap().contains("team/web:1.0.0"), "b stays");
    }
}

/// An entry of `supercargo.yaml` whose image stands at no place is a row, to each command, and not "nothing".
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_has_no_place_is_a_row_that_says_why() {
    let registry = registry().await;
    let root = tempfile::tempdir().unwrap();
    let files = on(
        &registry,
        vec![
            ("supercargo.yaml", "images: [{image: HOST/team/web, policy: minor}]\n".to_owned()),
            ("values.yaml", "image:\n  repository: HOST/team/web\n  tag: ${TAG}\n".to_owned()),
        ],
    );
    write_below(root.path(), files.clone());
    let bytes: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    BareRepo::create(&root.path().join("deploy.git"), &bytes);
    let why = "values.yaml:3: `${TAG}` is filled in from elsewhere: ";
    let once = ["run", "--git", "deploy.git", "--once", "--git-cache", "cache", "--state", "state"];
    for args in
        [&["plan", "."][..], &["explain", "-f", "."], &["update", "."], &[&once[..], &["--dry-run"]].concat(), &once]
    {
        let (code, out, err) = said(args, root.path());
        assert_eq!(code, i32::from(args[0] != "explain"), "{args:?} {out} {err}");
        assert!(format!("{out}{err}").contains(why), "{args:?} {out} {err}");
        assert!(!err.contains("no workload that a policy") && !err.contains("has a policy"), "{args:?} {err}");
    }
    let rows = rows(&["."], root.path());
    assert_eq!((rows.len(), &rows[0]["decision"]), (1, &json!("problem")));
    assert_eq!(rows[0]["reasons"][0]["code"], json!("git-no-place"));
    assert_eq!(rows[0]["workload"]["source"], json!("supercargo.yaml:1"));
}

/// Nobody can write the key that stands for a marked value, or for an entry's.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_marked_or_listed_is_named_as_it_is_written() {
    let registry = registry().await;
    let root = tempfile::tempdir().unwrap();
    write_below(root.path(), on(&registry, vec![
        ("compose.yaml", "a: 1\nweb: HOST/team/web:1.0.0 # supercargo: never\napi: HOST/team/api:1.0.0 # supercargo: mayor\n".to_owned()),
        ("values.yaml", "image: {repository: HOST/team/web, tag: 1.0.0}\n".to_owned()),
        ("supercargo.yaml", "images:\n- {image: HOST/team/web, policy: minor, prereleaze: allow}\n".to_owned()),
    ]));
    let said: Vec<String> = rows(&["."], root.path())
        .iter()
        .flat_map(|row| row["reasons"].as_array().unwrap())
        .map(|reason| reason["message"].as_str().unwrap().to_owned())
        .collect();
    let begins = |words: &str| said.iter().any(|said| said.starts_with(words));
    assert!(begins("`# supercargo: mayor` (compose.yaml:3): `mayor` is no policy"), "{said:?}");
    assert!(begins("`prereleaze` (supercargo.yaml:2) is no key of supercargo's; is `prerelease` meant?"), "{said:?}");
    assert!(!said.iter().any(|said| said.contains("supercargo.dev/")), "{said:?}");
}

/// Also one in a hidden folder, and a file by any name.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_is_read() {
    let registry = registry().await;
    let root = tempfile::tempdir().unwrap();
    run(git().arg("init").arg("-q").arg(root.path()), b"");
    let files = vec![(".deploy/prod/web.yaml", web("web", MINOR, "1.0.0")), ("deploy.tpl", web("web", MINOR, "1.0.0"))];
    write_below(root.path(), on(&registry, files));
    for (named, file) in [(".deploy/prod", ".deploy/prod/web.yaml"), ("deploy.tpl", "deploy.tpl")] {
        let rows = rows(&[named], root.path());
        assert_eq!((rows.len(), &rows[0]["workload"]["source"]), (1, &json!(format!("{file}:1"))));
        let (code, _, err) = said(&["update", named], root.path());
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(fs::read_to_string(root.path().join(file)).unwrap().contains("team/web:1.1.0'"), "{file}");
    }
    assert_eq!(rows(&["."], root.path()).len(), 0, "neither is met by its own name");
}

/// There is no cluster that would have pull secrets: what there is instead is named.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_login_is_told_how_to_have_one() {
    let registry = Registry::start_with(Options { access: Access::Password, ..Options::default() }).await;
    registry.push_tags("team/web", TAGS).await;
    let root = tempfile::tempdir().unwrap();
    let secrets = "spec: {imagePullSecrets: [{name: pull}], containers";
    let text = web("web", MINOR, "1.0.0").replace("spec: {containers", secrets);
    write_below(root.path(), on(&registry, vec![("web.yaml", text)]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_supercargo"));
    let output = command.args(["plan", "."]).current_dir(&root).env("DOCKER_CONFIG", root.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let way = format!("log in with `docker login {}`, or name a file", registry.host);
    assert!(said.contains(" blocked ") && said.contains(&way) && !said.contains("imagePullSecrets"), "{said}");
}

#[rstest::rstest]
#[case("plan")]
#[case("update")]
#[case("migrate")]
fn a_folder_with_more_than_is_held_is_named_and_not_read(#[case] command: &str) {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..17 {
        // Empty, and of no size on the disk.
        fs::File::create(folder.path().join(format!("{n}.yaml"))).unwrap().set_len(32 << 20).unwrap();
    }
    let (code, _, stderr) = said(&[command, "."], folder.path());
    assert_eq!(
        (code, stderr.contains("its files have 544 MiB, more than the 512 that are read")),
        (2, true),
        "{stderr}"
    );
}

/// Each of a hundred patterns would be tried on each of 200,000 tags.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_what_takes_too_much_of_the_cpu_as_the_operator_does() {
    let front = Front::start_with(&registry().await, |_| {
        let tags: Vec<String> = (0..200_000).map(|n| format!("1.{}.{}-build", n / 1000, n % 1000)).collect();
        Way::Say(200, json!({"name": "long", "tags": tags}).to_string().into_bytes())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let image = format!("{}/long:1.0.0-build", front.host);
    let names: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    let containers: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*image)).collect();
    let pattern = |n: usize| json!(format!("regex:1[.](?P<order>[0-9]+[.][0-9]+)-(?:[a-z]+|x{n})*"));
    let annotations = names.iter().enumerate().map(|(n, name)| (format!("supercargo.dev/policy.{name}"), pattern(n)));
    let object = workload("Deployment", "costly", annotations.collect(), &containers);
    write_below(folder.path(), [("costly.yaml", object.to_string())]);
    let path = folder.path().to_owned();
    let (code, table, stderr) =
        tokio::task::spawn_blocking(move || said(&["plan", ".", "--strict"], &path)).await.unwrap();
    assert!(table.contains("took more than 2 s of CPU time and was ended"), "{table} {stderr}");
    assert_eq!(code, 1, "{table} {stderr}");
}
