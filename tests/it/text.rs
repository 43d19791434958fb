//! Foreign text, wherever it goes out: it is shown as escapes, one line stays one line, and no forged line begins one.
//!
//! One list of nasty strings, and one of the places in `src/` that write outward; a new one must be listed.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use reqwest::Client;
use serde_json::{Value, json};
use supercargo::{
    domain::{
        text::{is_hidden, yaml},
        update::Update,
    },
    git::{Credentials, RequestSettings, Requests, Secret, TargetSettings, forges},
    ports::{Outcome, Sink as _},
};

use crate::{
    architecture::SOURCES,
    forges::{Server, TOKEN, connect, held, reply, settings as forge_settings},
    git::{
        alone::once,
        target::{approved, manifest, settings_with, target, update},
    },
    support::{
        control_plane::shared,
        eventually,
        front::{Front, Way},
        git_server::{GitServer, git, run},
        gitea::{self, BOT_SCOPES},
        objects::{deployment, events},
        operator::{Operator, Setup, supercargo},
        registry::Registry,
        write_below,
    },
};

/// What shows a place in `src/` that foreign text goes through on its way out.
enum Shown {
    /// This test.
    By(&'static str),
    /// None: no text of others goes there, or no person reads it there as it is, for this reason.
    Not(&'static str),
}
use Shown::{By, Not};

const COMMANDS: Shown = By("tables_and_messages_of_commands");
const OPERATOR: Shown = By("logs_events_metrics_and_answers_of_the_operator");
const COMMITS: Shown = By("commits_and_their_tables");
const REQUESTS: Shown = By("titles_and_bodies_of_requests");

/// Words of a source that write outward: to a terminal, a log, an answer, a request, a file, a process.
const WRITES: &[&[&str]] = &[
    &["print", "!"],
    &["println", "!"],
    &["eprint", "!"],
    &["eprintln", "!"],
    &["dbg", "!"],
    &["stdout", "("],
    &["stderr", "("],
    &["tracing_subscriber", "::"],
    &["EncodeLabelSet", ")"],
    &["Notice", "{"],
    &["render_str", "("],
    &["Json", "("],
    &["IntoResponse", "for"],
    &["Response", "::"],
    &[".", "json", "("],
    &[".", "form", "("],
    &[".", "body", "("],
    &[".", "header", "("],
    &[".", "headers_mut", "("],
    &[".", "patch", "("],
    &["write_all", "("],
    &["fs", "::", "write", "("],
    &["Command", "::", "new", "("],
];

/// Where each file of `src/` writes outward, by its words, and what shows it.
const SINKS: &[(&str, &[&str], Shown)] = &[
    ("cli/output.rs", &["eprintln!", "stdout(", "write_all("], COMMANDS),
    ("cli/approve.rs", &["eprint!", "stderr("], Not("asks in the name that the API server knows, escaped")),
    ("cli/survey.rs", &["stderr("], Not("asks whether it is a terminal")),
    ("cli/files.rs", &["write_all("], Not("the user's own file, to the byte")),
    ("cli/files.rs", &[".header("], COMMANDS),
    ("cli/hooks.rs", &[".body(", ".header("], Not("a push as its sender would tell it, of an image that was checked")),
    ("cli/demo/mod.rs", &["Command::new(", "fs::write("], Not("only what the demonstration itself says")),
    ("cli/demo/registry.rs", &[".body(", ".header(", "Json("], Not("only what the demonstration itself says")),
    ("logging.rs", &[".json(", "stderr(", "tracing_subscriber::", "write_all("], OPERATOR),
    ("metrics.rs", &["EncodeLabelSet)"], OPERATOR),
    ("web/answer.rs", &[".headers_mut(", "IntoResponsefor", "Json("], OPERATOR),
    ("web/hooks.rs", &[".headers_mut("], Not("that the connection ends")),
    ("engine/report/announce.rs", &["Notice{"], OPERATOR),
    ("ports.rs", &["Notice{"], Not("says what a notice is")),
    ("notify/slack/api.rs", &[".json("], Not("what `message` made, whose snapshots tests/it/slack/blocks.rs holds")),
    (
        "notify/slack/socket.rs",
        &[".header(", ".json("],
        Not("a handshake; and sentences of ours, with foreign text by `text`"),
    ),
    ("cluster/events.rs", &[".body(", ".header("], OPERATOR),
    ("cluster/sink.rs", &[".patch("], Not("images, and the annotation `last-update`, as JSON")),
    ("cluster/records/wishes.rs", &[".patch("], Not("a wish in a person's own words, as JSON")),
    (
        "cluster/ahead.rs",
        &[".body(", ".headers_mut(", "Response::"],
        Not("the request that kube made, with another page; nothing of ours is in it"),
    ),
    ("cluster/applications.rs", &[".body("], Not("a fixed annotation")),
    ("cluster/proof.rs", &[".body(", ".header("], Not("a fixed review")),
    ("cluster/secrets.rs", &[".body("], Not("empty")),
    ("registry/http.rs", &[".body(", ".header("], Not("requests as the protocol has them")),
    ("registry/auth.rs", &[".body("], Not("an answer that is read")),
    ("registry/manifest.rs", &[".body("], Not("an answer that is read")),
    ("git/message.rs", &["render_str("], COMMITS),
    ("git/command.rs", &["Command::new(", "write_all("], COMMITS),
    ("git/command.rs", &["stdout(", "stderr("], Not("how git is started")),
    ("git/signing.rs", &["fs::write("], Not("keys")),
    ("git/deployer.rs", &[".body(", ".header("], Not("commits and paths as JSON, which deployers read")),
    ("git/forges/http.rs", &[".header(", ".json("], REQUESTS),
    ("git/forges/gitea.rs", &[".json(", ".patch("], REQUESTS),
    ("git/forges/github.rs", &[".json(", ".patch("], REQUESTS),
    ("git/forges/gitlab.rs", &[".json("], REQUESTS),
    ("git/forges/github_app.rs", &[".json("], Not("which repository a token is for")),
];

#[test]
fn every_place_that_writes_outward_is_listed() {
    let found: BTreeMap<&str, BTreeSet<String>> = SOURCES
        .iter()
        .filter_map(|source| {
            let at = |write: &&&[&str]| source.words.windows(write.len()).any(|words| words == **write);
            let words: BTreeSet<String> = WRITES.iter().filter(at).map(|write| write.concat()).collect();
            (!words.is_empty()).then_some((&*source.path, words))
        })
        .collect();
    let mut listed: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, words, shown) in SINKS {
        listed.entry(path).or_default().extend(words.iter().map(|word| (*word).to_owned()));
        match shown {
            By(test) => assert!(include_str!("text.rs").contains(&format!("fn {test}()")), "{path}: no test {test}"),
            Not(why) => assert!(!why.is_empty()),
        }
    }
    assert_eq!(found, listed, "a place that writes outward is not listed in SINKS, with the test that shows it");
}

/// What forged lines begin with.
const FORGED: &[&str] = &["forged", "2026-01-01T", "shop/Deployment/", "Supercargo-Change:", "error:"];

/// Each is seen by its number, which stands before it.
fn nasty() -> Vec<(String, String)> {
    let all = [
        "\u{1b}[31mred\u{1b}[2J",
        "\u{1b}]0;forged title\u{7}",
        "\u{9b}31m\u{7f}",
        "\nforged",
        "\rforged",
        "\r\nforged",
        "\u{85}forged\u{b}forged\u{c}forged",
        "\u{2028}forged\u{2029}forged",
        "\u{202e}nimda\u{2066}x\u{2069}\u{200f}\u{61c}",
        "\u{200b}\u{200d}\u{2060}\u{feff}\u{ad}",
        "\u{e0041}\u{e0042}\u{fe0f}\u{e0100}\u{3164}",
        "\n2026-01-01T00:00:00Z  INFO supercargo: updated",
        "\nshop/Deployment/web  web  r.io/web:1  update  2  -",
        "\nerror: forged",
        "\n\nSupercargo-Change: shop/Deployment/web app r.io/a:1 r.io/a:2",
    ];
    all.iter().enumerate().map(|(n, text)| (format!("n{n:02}"), format!("n{n:02}{text}"))).collect()
}

/// Holds the text of a place against all that it must not do, and against what it must show.
#[track_caller]
fn assert_shown<'m>(place: &str, text: &str, marks: impl IntoIterator<Item = &'m str>) {
    let raw: BTreeSet<char> = text.chars().filter(|c| *c != '\n' && is_hidden(*c)).collect();
    assert!(raw.is_empty(), "{place} shows {raw:?} as they are:\n{text:?}");
    let forged = text.lines().find(|line| FORGED.iter().any(|begin| line.starts_with(begin)));
    assert_eq!(forged, None, "{place} has a forged line:\n{text}");
    for mark in marks {
        assert!(text.contains(mark), "{place} does not show {mark}:\n{text}");
    }
}

/// A policy that chooses 1.0.1 and means nothing else.
fn policy_of(text: &str) -> String {
    format!(r"regex:1\.0\.1|{}", regex::escape(text))
}

/// The manifest of a Deployment: JSON, in which everything can be said.
fn written(name: &str, image: &str, annotations: &Value) -> String {
    let container = json!({"name": "web", "image": image});
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "annotations": annotations},
        "spec": {"template": {"spec": {"containers": [container]}}},
    });
    yaml(&object.to_string())
}

/// A registry before which somebody says nonsense of `bad/…`.
async fn front(registry: &Registry) -> Front {
    let nasty: Vec<String> = nasty().into_iter().map(|(_, text)| text).collect();
    Front::start_with(registry, move |path| {
        let Some(n) = path.strip_prefix("/v2/bad/").and_then(|rest| rest.split('/').next()?.parse::<usize>().ok())
        else {
            return Way::Pass;
        };
        let error = json!({"errors": [{"code": nasty[n], "message": nasty[n], "detail": nasty[n]}]});
        Way::Say([403, 404, 500][n % 3], error.to_string().into_bytes())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_messages_of_commands() {
    let registry = Registry::start().await;
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let (front, folder, nasty) = (front(&registry).await, tempfile::tempdir().unwrap(), nasty());
    let web = format!("{}/web:1.0.0", front.host);
    let put = |path: &str, text: &str| write_below(folder.path(), [(path, text)]);
    for (n, (_, text)) in nasty.iter().enumerate() {
        let policy = json!({"supercargo.dev/policy": "minor"});
        put(&format!("policy/{n}.yaml"), &written("a", &web, &json!({"supercargo.dev/policy": text})));
        put(&format!("chosen/{n}.yaml"), &written("a", &web, &json!({"supercargo.dev/policy": policy_of(text)})));
        put(&format!("image/{n}.yaml"), &written("a", &format!("r.invalid/{text}"), &policy));
        put(&format!("name/{n}.yaml"), &written(text, &web, &policy));
        put(
            &format!("keys/{n}.yaml"),
            &written("a", &web, &json!({"supercargo.dev/policy": "minor", (format!("supercargo.dev/{text}")): "x"})),
        );
        put(&format!("registry/{n}.yaml"), &written("a", &format!("{}/bad/{n}:1.0.0", front.host), &policy));
        put(&format!("file/{text}.yaml").replace("/web  ", " "), &written("a", &web, &policy_broken(text)));
        put(
            &format!("broken/{n}.yaml"),
            &format!("kind: Deployment\nmetadata: {{name: {}, name: [", yaml(&json!(text).to_string())),
        );
        put(&format!("keel/{n}.yaml"), &written("a", &web, &json!({"keel.sh/policy": text, "keel.sh/matchTag": text})));
        let case =
            json!([{"name": text, "policy": text, "current": text, "tags": ["1.0.0", "1.0.1"], "expect": "1.0.0"}]);
        put(&format!("cases/{n}.yaml"), &yaml(&case.to_string()));
    }
    let marks = || nasty.iter().map(|(mark, _)| &**mark);
    let said = |args: &[&str]| {
        let output = supercargo(args, folder.path());
        let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (texts[0].clone(), texts[1].clone())
    };
    for part in ["policy", "chosen", "image", "name", "registry", "file", "keys"] {
        for output in ["table", "json", "yaml"] {
            let (out, err) = said(&["plan", part, "-o", output]);
            // What has a name that none can have has no row; a registry's own words, and files, are not shown in all.
            let is_row = !["name", "registry"].contains(&part) && (part, output) != ("file", "table");
            assert_shown(&format!("plan {part} -o {output}"), &unlisted(&out), marks().filter(|_| is_row));
            assert_shown(&format!("plan {part} -o {output}, stderr"), &err, []);
            let (out, err) = said(&["explain", "-f", part, "-o", output]);
            assert_shown(
                &format!("explain {part} -o {output}"),
                &unlisted(&out),
                marks().filter(|_| is_row && part != "file"),
            );
            assert_shown(&format!("explain {part} -o {output}, stderr"), &err, []);
        }
        // What it prints on stdout is data, to the byte; a terminal gets text for people.
        let (_, err) = said(&["update", part, "--dry-run"]);
        // What follows a colon in an image is named alone.
        let is_named = |text: &str| part != "image" || !text.contains(':');
        let named = nasty.iter().filter(|(_, text)| is_named(text)).map(|(mark, _)| &**mark);
        let tells = ["policy", "image", "keys"].contains(&part);
        let marks = || named.clone().filter(|_| tells);
        assert_shown(&format!("update {part}, stderr"), &err, marks());
        let terminal = format!("{} update {part} --dry-run", env!("CARGO_BIN_EXE_supercargo"));
        let mut script = Command::new("script");
        let output = output_of(script.args(["-qec", &terminal, "/dev/null"]).current_dir(folder.path()));
        assert_shown(&format!("update {part} on a terminal"), &output, marks());
    }
    let (_, err) = said(&["plan", "broken"]);
    assert_shown("plan broken", &err, []);
    let (out, err) = said(&["migrate", "."]);
    assert_shown("migrate", &out, marks());
    assert_shown("migrate, stderr", &err, []);
    let (out, err) = said(&["policy", "test", "cases"]);
    assert_shown("policy test", &out, marks());
    assert_shown("policy test, stderr", &err, []);
    for (n, (mark, text)) in nasty.iter().enumerate() {
        let file = format!("image/{n}.yaml");
        for args in [
            &["plan", &*format!("nowhere/{text}")][..],
            &["explain", "-f", "policy", text],
            &["explain", text],
            &["explain", "--policy", text, "--tags", "/dev/null"],
            &["explain", "--policy", "minor", "--ignore", text, "--tags", "/dev/null"],
            &["set-image", &*format!("nowhere/{text}"), "--path", "a", "--value", "b"],
            &["set-image", &*file, "--path", "spec.nowhere", "--value", text],
            &["policy", "test", &*format!("nowhere/{text}")],
            &["plan", "--config", &*format!("nowhere/{text}"), "policy"],
            &["run", "--log-level", &*format!("={text}=")],
        ] {
            let (out, err) = said(args);
            let err = err.strip_prefix("error:").unwrap_or(&err);
            let quoted = !args.contains(&"spec.nowhere") && !args.contains(&"--ignore");
            assert_shown(&format!("{args:?}"), &format!(" {out}{err}"), quoted.then_some(&**mark));
        }
    }
}

/// A policy that is none, so that a row tells where it stands.
fn policy_broken(text: &str) -> Value {
    json!({"supercargo.dev/policy": "no policy", "supercargo.dev/allow": text})
}

/// Without the rows of the tests' own Deployments, which begin as forged ones do.
fn unlisted(table: &str) -> String {
    table.lines().map(|line| line.replacen("default/Deployment/", "-", 1) + "\n").collect()
}

/// What a command that has a terminal prints, whose line breaks are a terminal's.
fn output_of(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stdout).unwrap().replace("\r\n", "\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_events_metrics_and_answers_of_the_operator() {
    let (plane, registry) = (shared().await, Registry::start().await);
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let (front, nasty) = (front(&registry).await, nasty());
    let image = |path: &str| format!("{}/{path}:1.0.0", front.host);
    for format in ["text", "json"] {
        let namespace = plane.namespace("text").await;
        for (n, (_, text)) in nasty.iter().enumerate() {
            let policy = |text: &str| json!({"supercargo.dev/policy": text});
            for (name, object) in [
                ("chosen", deployment("x", &image("web"), policy(&policy_of(text)))),
                ("policy", deployment("x", &image("web"), policy(text))),
                ("image", deployment("x", &format!("r.invalid/{text}"), policy("minor"))),
                ("registry", deployment("x", &image(&format!("bad/{n}")), policy("minor"))),
            ] {
                let mut object = object;
                object["metadata"]["name"] = json!(format!("{name}-{n}"));
                let path = format!("/apis/apps/v1/namespaces/{}/deployments", namespace.name);
                plane.request(http::Method::POST, &path, Some(&object)).await.unwrap();
            }
        }
        let hook_secret = Some("geheim".to_owned());
        let setup = Setup { hook_secret, text_log: format == "text", ..Setup::in_namespace(&namespace, "1h") };
        let operator = Operator::start(plane, &setup).await;
        let mut notes = Vec::new();
        for n in 0..nasty.len() {
            let told = if n % 3 == 2 { "image" } else { "registry" };
            for name in ["chosen", "policy", "image", told] {
                let name = format!("{name}-{n}");
                notes.extend(
                    eventually(&format!("an Event on {name}"), async || {
                        Some(events(&namespace, &name).await).filter(|all| !all.is_empty())
                    })
                    .await,
                );
            }
        }
        let marks = || nasty.iter().map(|(mark, _)| &**mark);
        let notes: Vec<String> = notes.into_iter().map(|(_, note)| note).collect();
        assert_shown("Events", &notes.join("\n").replace('\n', "\n-"), marks());
        assert!(notes.iter().all(|note| !note.contains('\n')), "an Event has lines: {notes:?}");

        let client = Client::new();
        for (mark, text) in &nasty {
            let event = json!({"events": [{"action": text, "request": {"host": text}, "target": {
                "repository": text, "tag": text, "digest": text, "mediaType": text,
            }}]});
            let path = percent(text);
            let hooks = &operator.hooks;
            let answers = [
                client.post(format!("{hooks}/hooks/{path}")),
                client.get(format!("{hooks}/{path}")),
                client.post(format!("{hooks}/hooks/distribution")).body(event.to_string()).bearer_auth("geheim"),
                client.post(format!("{hooks}/hooks/distribution")).body(text.clone()).bearer_auth("geheim"),
                client
                    .post(format!("{hooks}/hooks/distribution"))
                    .body(event.to_string().replace("\"events\"", &json!(text).to_string()))
                    .bearer_auth("geheim"),
                client.get(format!("{}/{path}", operator.private)),
            ];
            for request in answers {
                let answer = request.send().await.unwrap();
                let headers = format!("{:?}", answer.headers());
                assert!(!headers.contains(&**mark), "{headers}");
                assert_shown("a webhook's answer", &answer.text().await.unwrap(), []);
            }
        }
        assert_shown("metrics", &operator.metrics().await, []);
        let log = operator.process.output();
        let begins = |line: &str| match format {
            "json" => serde_json::from_str::<Value>(line).is_ok(),
            _ => line.starts_with("20") && line.contains("Z ") && !line.starts_with("2026-01-01T"),
        };
        let wrong = log.lines().find(|line| !begins(line));
        assert_eq!(wrong, None, "a line of the {format} log is none");
        let log: String = log.lines().map(|line| format!("-{line}\n")).collect();
        assert_shown(&format!("the {format} log"), &log, marks());
    }
}

/// A text as a part of a path.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_and_their_tables() {
    let (registry, server, folder) = (Registry::start().await, GitServer::start().await, tempfile::tempdir().unwrap());
    registry.push_tags("web", ["1.0.0", "1.0.1"]).await;
    let nasty = nasty();
    let image = format!("{}/web:1.0.0", registry.host);
    let files: Vec<(String, String)> = nasty
        .iter()
        .enumerate()
        .map(|(n, (_, text))| {
            let annotations = json!({"supercargo.dev/policy": policy_of(text)});
            (format!("{}.yaml", text.replace('/', "_")), written(&format!("w{n}"), &image, &annotations))
        })
        .collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (&**path, text.as_bytes())).collect();
    let repo = server.create("deploy", &files);
    let marks = || nasty.iter().map(|(mark, _)| &**mark);
    let (code, table, said) = once(folder.path(), &server.url("deploy"), &["--dry-run"]);
    assert_eq!(code, 0, "{table} {said}");
    assert_shown("run --git --dry-run", &unlisted(&table), marks());
    let (code, table, said) = once(folder.path(), &server.url("deploy"), &[]);
    assert_eq!(code, 0, "{table} {said}");
    assert_shown("run --git --once", &unlisted(&table), []);
    let log = repo.log();
    assert_eq!(log.len(), 2);
    let message = log[0].message.replace('\u{200b}', "").replace("\nSupercargo-Change: Deployment/w", "\n-");
    assert_shown("a commit", &message, marks());
    let mut trailers = git();
    trailers.args(["interpret-trailers", "--parse"]);
    let trailers = String::from_utf8(run(&mut trailers, log[0].message.as_bytes())).unwrap();
    let ours = |key: &str| trailers.lines().filter(|line| line.starts_with(key)).count();
    let count = nasty.len();
    assert_eq!((ours("Supercargo-Change: Deployment/w"), trailers.lines().count()), (count, 2 * count), "{trailers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn titles_and_bodies_of_requests() {
    let nasty = nasty();
    let (gitea, folder) = (gitea::shared().await, tempfile::tempdir().unwrap());
    let names: Vec<String> = (0..nasty.len()).map(|n| format!("w{n}")).collect();
    let files: Vec<(String, String)> =
        names.iter().map(|name| (format!("{name}.yaml"), manifest(name, "1.0.0"))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (&**path, text.as_bytes())).collect();
    let repo = gitea.repository("text", &files).await;
    let bot = gitea.bot_with(&[BOT_SCOPES, &["write:issue"]].concat()).await;
    repo.invite(&bot).await;
    let credentials =
        Credentials::Token { username: bot.name.clone(), secret: Secret::Value(bot.token.clone().into()) };
    let template = "{% for c in changes %}{{ c.policy }} {{ c.name }} {{ c.container }} {% endfor %}\n\n{% for c in changes %}{{ c.policy }}\n{% endfor %}";
    let message = supercargo::git::Template::parse(template).unwrap();
    let target = target(TargetSettings { message, ..settings_with(credentials, &repo.url(), folder.path()) });
    let forge = connect(&forge_settings("gitea", &repo.url(), None), held(&bot.token));
    let target = target.with_requests(Requests { forge, settings: RequestSettings::default(), registry: None });
    let wishes = nasty.iter().zip(&names).map(|((_, text), name)| {
        let route = supercargo::domain::target::Route::Request("prod".into(), None);
        let mut update = Update { route, ..update(name, "1.0.0", "1.1.0") };
        update.items[0].policy = policy_of(text).into();
        approved(update)
    });
    let outcomes = target.apply(wishes.collect()).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed(_))), "{outcomes:?}");
    let request = repo.pulls().await.remove(0);
    let text = |key: &str| request[key].as_str().unwrap().replace('\u{200b}', "");
    let marks = || nasty.iter().map(|(mark, _)| &**mark);
    let title = text("title");
    assert_shown("a title", &title, ["n00"]);
    assert_eq!(title.lines().count(), 1, "{title}");
    assert_shown("a body", &text("body"), marks());
    let message = repo.bare("supercargo/prod/updates").log().remove(0).message.replace('\u{200b}', "");
    assert_shown("a commit of a template", &message.replace("Supercargo-Change: shop/Deployment/w", "-"), marks());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_forges() {
    for kind in ["gitea", "github", "gitlab"] {
        for (mark, text) in nasty() {
            for status in [400, 401, 403, 404, 409, 422, 429, 500] {
                let body = json!({"message": text, "error": text, "errors": [text, {"message": text}]});
                let server = Server::start(move |_| reply(status, body.clone())).await;
                let forge = connect(&forge_settings(kind, &format!("{}/o/r.git", server.url), None), held(TOKEN));
                let Err(error) = forge.find("supercargo/prod/updates").await else { continue };
                let said = matches!(error, forges::ForgeError::Refused(_)).then_some(&*mark);
                assert_shown(&format!("{kind} {status}"), &error.to_string(), said);
            }
        }
    }
}
