//! Each sender as it comes over the wire: what it sends is understood, and nothing that is forged is heard.

use aws_lc_rs::hmac;
use supercargo::ingest::webhook::{
    self, SENDERS, Sender,
    auth::{Hash, Proof},
};

use super::{places::connect, *};

/// All senders, with one secret.
fn everybody() -> HookSettings {
    let settings = || SenderSettings { given: Some(SECRET.into()), ..SenderSettings::default() };
    HookSettings { senders: SENDERS.iter().map(|sender| (sender.name, settings())).collect() }
}

/// A body of a sender's folder, and its headers but for the signatures.
#[derive(Clone)]
struct Fixture {
    name: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn fixtures(sender: &str) -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/webhooks").join(sender);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let headers = fs::read_to_string(path.with_extension("headers")).unwrap_or_default();
        let headers = headers.lines().filter(|line| !line.to_ascii_lowercase().contains("signature"));
        let headers = headers.map(|line| line.split_once(": ").unwrap());
        Fixture {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: fs::read(path).unwrap(),
        }
    };
    paths.iter().map(read).collect()
}

/// The HMAC in lower-case hex.
pub(super) fn hex(hash: Hash, secret: &str, body: &[u8]) -> String {
    let algorithm = match hash {
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
    };
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), body);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Shows the secret in this way.
fn prove(request: RequestBuilder, proof: Proof, secret: &str, body: &[u8]) -> RequestBuilder {
    match proof {
        Proof::Header => request.bearer_auth(secret),
        Proof::Query => {
            let (client, request) = request.build_split();
            let mut request = request.unwrap();
            request.url_mut().query_pairs_mut().append_pair("token", secret);
            RequestBuilder::from_parts(client, request)
        }
        Proof::Hmac { header, prefix, hash } => request.header(header, format!("{prefix}{}", hex(hash, secret, body))),
    }
}

impl Stage {
    async fn all() -> Self {
        Self::start(everybody(), Offer::Queued).await
    }

    fn send(&self, sender: &Sender, fixture: &Fixture) -> RequestBuilder {
        let request = self.client.post(self.url(sender.name)).body(fixture.body.clone());
        fixture.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

/// A line for each body: what becomes of it, and the hints.
#[tokio::test]
async fn what_each_sender_sends_becomes_these_hints() {
    let mut lines = String::new();
    for sender in SENDERS {
        for fixture in fixtures(sender.name) {
            for proof in sender.proofs {
                let stage = Stage::all().await;
                let request = prove(stage.send(sender, &fixture), *proof, SECRET, &fixture.body);
                let (status, said) = answer(request).await;
                assert_eq!(status, 202, "{}/{} by {proof}: {said}", sender.name, fixture.name);
                let hints = stage.inbox.hints.lock().unwrap().clone();
                let show = |hint: &Hint| {
                    let tag = hint.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
                    let digest = hint.digest.as_ref().map(|digest| format!("@{}", &digest.as_str()[..13]));
                    format!(" {}{tag}{}", hint.repository, digest.unwrap_or_default())
                };
                let hints: String = hints.iter().map(show).collect();
                let line = format!("{}/{} {}{hints}\n", sender.name, fixture.name, said["outcome"].as_str().unwrap());
                if !lines.ends_with(&line) {
                    lines.push_str(&line);
                }
            }
        }
    }
    insta::assert_snapshot!(lines);
}

#[tokio::test]
async fn what_is_forged_or_cut_is_not_heard() {
    for sender in SENDERS {
        let stage = Stage::all().await;
        for fixture in fixtures(sender.name) {
            let place = format!("{}/{}", sender.name, fixture.name);
            let unsigned = stage.send(sender, &fixture);
            assert_eq!(answer(unsigned).await.0, 401, "{place} without proof");
            for proof in sender.proofs {
                let forged = prove(stage.send(sender, &fixture), *proof, "another secret", &fixture.body);
                assert_eq!(answer(forged).await.0, 401, "{place} by {proof}");
                let cut = Fixture { body: fixture.body[..fixture.body.len() / 2].to_vec(), ..fixture.clone() };
                let (status, said) = answer(prove(stage.send(sender, &cut), *proof, SECRET, &cut.body)).await;
                assert_eq!(status, 400, "{place} by {proof}: {said}");
                if matches!(proof, Proof::Hmac { .. }) {
                    let stale = prove(stage.send(sender, &cut), *proof, SECRET, &fixture.body);
                    assert_eq!(answer(stale).await.0, 401, "{place}: cut after it was signed");
                }
            }
        }
        assert_eq!(stage.inbox.texts(), [""; 0], "{}", sender.name);
    }
}

/// Each sender that signs, its header, what stands before the hex, and a body.
fn signers() -> Vec<(&'static Sender, &'static str, &'static str, Fixture)> {
    let signs = |sender: &'static Sender| {
        let hmac = |proof: &Proof| match *proof {
            Proof::Hmac { header, prefix, hash: Hash::Sha256 } => Some((header, prefix)),
            _ => None,
        };
        let (header, prefix) = sender.proofs.iter().find_map(hmac)?;
        Some((sender, header, prefix, fixtures(sender.name).pop().unwrap()))
    };
    let signers: Vec<_> = SENDERS.iter().filter_map(signs).collect();
    let names: Vec<_> = signers.iter().map(|(sender, ..)| sender.name).collect();
    assert_eq!(names, ["generic", "gitea", "github"]);
    signers
}

#[tokio::test]
async fn a_signature_that_is_not_just_right_is_refused() {
    let stage = Stage::all().await;
    for (sender, header, prefix, fixture) in signers() {
        let right = hex(Hash::Sha256, SECRET, &fixture.body);
        let value = format!("{prefix}{right}");
        assert_eq!(answer(stage.send(sender, &fixture).header(header, &value)).await.0, 202, "{}", sender.name);
        let values = [
            ("of another secret", vec![format!("{prefix}{}", hex(Hash::Sha256, "another", &fixture.body))]),
            ("in upper case", vec![format!("{prefix}{}", right.to_ascii_uppercase())]),
            ("twice", vec![value.clone(), value.clone()]),
            ("beside another", vec![value.clone(), "x".to_owned()]),
            ("empty", vec![String::new()]),
            ("too short", vec![value[..value.len() - 1].to_owned()]),
            ("by SHA-1", vec![format!("{prefix}{}", hex(Hash::Sha1, SECRET, &fixture.body))]),
            ("of an empty secret", vec![format!("{prefix}{}", hex(Hash::Sha256, "", &fixture.body))]),
        ];
        for (what, values) in values {
            let request =
                values.iter().fold(stage.send(sender, &fixture), |request, value| request.header(header, value));
            let (status, said) = answer(request).await;
            assert_eq!(status, 401, "{}: {what}: {said}", sender.name);
            assert!(said["error"].as_str().unwrap().contains(header), "it names the header: {said}");
        }
    }
}

#[tokio::test]
async fn the_signature_is_of_the_bytes_and_not_of_what_they_mean() {
    let stage = Stage::all().await;
    for (sender, header, prefix, fixture) in signers() {
        let value: Value = serde_json::from_slice(&fixture.body).unwrap();
        let again = Fixture { body: value.to_string().into_bytes(), ..fixture.clone() };
        assert_ne!(again.body, fixture.body);
        let value = format!("{prefix}{}", hex(Hash::Sha256, SECRET, &fixture.body));
        assert_eq!(answer(stage.send(sender, &again).header(header, value)).await.0, 401, "{}", sender.name);
    }
}

#[tokio::test]
async fn the_signature_that_a_real_gitea_made_is_verified() {
    let settings = SenderSettings { given: Some("geheim".into()), ..SenderSettings::default() };
    let stage = Stage::start(HookSettings { senders: [("gitea", settings)].into() }, Offer::Queued).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/webhooks/gitea");
    for name in ["sent-created", "sent-created-child", "sent-created-index", "sent-deleted"] {
        let headers = fs::read_to_string(folder.join(name).with_extension("headers")).unwrap();
        let body = fs::read(folder.join(name).with_extension("json")).unwrap();
        let request = headers
            .lines()
            .map(|line| line.split_once(": ").unwrap())
            .fold(stage.client.post(stage.url("gitea")).body(body), |request, (name, value)| {
                request.header(name, value)
            });
        assert_eq!(answer(request).await.0, 202, "{name}");
    }
}

#[tokio::test]
async fn what_a_gitea_sends_to_the_address_for_github_is_sent_to_its_own() {
    let stage = Stage::all().await;
    let github = Sender::find("github").unwrap();
    for fixture in fixtures("gitea") {
        let request = stage.send(github, &fixture);
        let (status, said) = answer(prove(request, github.proofs[0], SECRET, &fixture.body)).await;
        assert_eq!(status, 400);
        assert!(said["error"].as_str().unwrap().contains("/hooks/gitea"), "{said}");
    }
}

/// A third one would be good for ever, unseen.
#[tokio::test]
async fn files_and_the_environment_give_two_secrets_in_all() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let files = ["one", "two"].map(|name| folder.path().join(name));
    let settings = |given: Option<&str>| SenderSettings {
        given: given.map(Into::into),
        secret_files: files.to_vec(),
        ..SenderSettings::default()
    };
    for (one, two, given, good) in
        [("a", "b", None, true), ("a\nb", "c", None, false), ("a", "b", Some("c"), false), ("a", "b", Some(" "), false)]
    {
        fs::write(&files[0], one).unwrap();
        fs::write(&files[1], two).unwrap();
        let opened = Senders::open(HookSettings { senders: [("harbor", settings(given))].into() }, &clock).await;
        let said = opened.err().map(|error| error.to_string());
        assert_eq!(said.is_none(), good, "{said:?}");
        assert!(said.is_none_or(|said| said.contains("`harbor`")));
    }
}

#[tokio::test]
async fn who_is_refused_is_told_what_else_may_be_wrong() {
    let sender = || SenderSettings { given: Some(SECRET.into()), ..SenderSettings::default() };
    let senders = ["github", "gitea"].map(|name| (name, sender()));
    let stage = Stage::start(HookSettings { senders: senders.into() }, Offer::Queued).await;
    let says = async |path: &str, headers: &[(&str, &str)]| {
        let request = stage.client.post(format!("http://{}{path}", stage.served.address)).body("payload=%7B%7D");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let (status, said) = answer(request).await;
        format!("{status} {}", said["error"].as_str().unwrap())
    };
    let form = ("content-type", "application/x-www-form-urlencoded");
    let said = says("/hooks/gitea", &[form]).await;
    assert!(said.starts_with("401") && said.contains("sent as application/json"), "{said}");
    let said = says("/hooks/github", &[("x-gitea-event", "package")]).await;
    assert!(said.starts_with("401") && said.contains("/hooks/gitea"), "{said}");
    let said = says("/hooks/github", &[]).await;
    assert!(said.starts_with("401") && !said.contains(';'), "{said}");
    // With a slash at the end it is the same; elsewhere it is said where to go.
    assert!(says("/hooks/github/", &[]).await.starts_with("401"));
    for path in ["/hooks", "/hooks/", "/", "/hooks/github/x"] {
        assert_eq!(says(path, &[]).await, "404 no webhook comes here: post it to /hooks/<sender>", "{path}");
    }
}

#[tokio::test]
async fn either_secret_signs_while_they_are_rotated() {
    let settings = SenderSettings { given: Some(" new\r\n\nold\n".into()), ..SenderSettings::default() };
    let stage = Stage::start(HookSettings { senders: [("generic", settings)].into() }, Offer::Queued).await;
    let body = r#"{"image": "r.io/a:1"}"#;
    let status = async |secret: &str| {
        let signature = format!("sha256={}", hex(Hash::Sha256, secret, body.as_bytes()));
        answer(stage.client.post(stage.url("generic")).header("x-signature", signature).body(body)).await.0
    };
    assert_eq!((status("new").await, status("old").await, status("third").await), (202, 202, 401));
}

#[tokio::test]
async fn the_configuration_names_the_host_of_a_hook() {
    let names = [("git.internal:3000".to_owned(), "registry.example.com".to_owned())].into();
    let hosts = webhook::Hosts { default: Some("git.example.com".to_owned()), names };
    let settings = SenderSettings { given: Some(SECRET.into()), hosts, ..SenderSettings::default() };
    let stage = Stage::start(HookSettings { senders: [("gitea", settings)].into() }, Offer::Queued).await;
    for url in ["http://git.internal:3000/team/-/packages/container/web/1.0", ""] {
        let package =
            json!({"type": "container", "owner": {"login": "team"}, "name": "web", "version": "1.0", "html_url": url});
        let body = json!({"action": "created", "package": package}).to_string();
        let request = stage.client.post(stage.url("gitea")).header("x-gitea-event", "package");
        let signature = hex(Hash::Sha256, SECRET, body.as_bytes());
        assert_eq!(answer(request.header("x-gitea-signature", signature).body(body)).await.0, 202);
    }
    assert_eq!(stage.inbox.texts(), ["registry.example.com/team/web:1.0", "git.example.com/team/web:1.0"]);
}

/// A request that stays open with all but the last byte sent.
async fn unfinished(stage: &Stage, from: [u8; 4], sender: &str, proof: &str) -> TcpStream {
    const LENGTH: usize = 1024 * 1024;
    let mut stream = connect(&stage.served.address, from).await;
    let head = format!("POST /hooks/{sender} HTTP/1.1\r\nHost: h\r\n{proof}\r\nContent-Length: {LENGTH}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; LENGTH - 1]).await.unwrap();
    stream
}

/// The status and the head of an answer.
async fn told(stream: &mut TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    (text[9..12].parse().unwrap(), text.to_ascii_lowercase())
}

/// The largest bodies there are, of one address or of many, and honest ones of every size beside them.
#[rstest]
#[case::of_one_address(1, [127, 0, 0, 9])]
#[case::of_one_address_that_honest_senders_have_too(1, [127, 0, 0, 1])]
#[case::of_many_addresses(8, [127, 0, 0, 9])]
#[tokio::test]
async fn strangers_that_fill_the_room_give_way_to_whoever_comes(#[case] addresses: u8, #[case] honest: [u8; 4]) {
    // Nobody's time ends while the test looks.
    let clock = SimClock::at("2026-03-01T12:00:00Z");
    let stage = Stage::start_with(everybody(), Offer::Queued, Limits::default(), Arc::new(clock)).await;
    let made_up = format!("X-Signature: sha256={}", "0".repeat(64));
    let mut held = Vec::new();
    for n in 0..8 {
        held.push(unfinished(&stage, [127, 0, 0, n % addresses + 1], "generic", &made_up).await);
    }
    let client = Client::builder().no_proxy().local_address(std::net::IpAddr::from(honest)).build().unwrap();
    for length in [0, 20_000, 1_000_000] {
        let body = format!("{}{}", r#"{"image": "r.io/a:1"}"#, " ".repeat(length));
        let signature = format!("sha256={}", hex(Hash::Sha256, SECRET, body.as_bytes()));
        let request = client.post(stage.url("generic")).header("x-signature", signature).body(body);
        assert_eq!(answer(request).await.0, 202, "a body of {length} bytes");
    }
    let (status, text) = told(&mut held[0]).await;
    assert_eq!(status, 503, "the oldest of the largest made room");
    assert!(text.contains("retry-after: 1") && text.contains("connection: close") && text.contains("send it again"));
    held[7].write_all(b" ").await.unwrap();
    let mut line = [0; 12];
    held[7].read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 401", "whoever made no room is heard to the end");
}

/// More bodies of a sender that knows its secret than there is room for.
#[tokio::test]
async fn a_sender_that_fills_its_room_gives_way_to_other_senders() {
    let clock = SimClock::at("2026-03-01T12:00:00Z");
    let stage = Stage::start_with(everybody(), Offer::Queued, Limits::default(), Arc::new(clock)).await;
    let proof = format!("Authorization: Bearer {SECRET}");
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(unfinished(&stage, [127, 0, 0, 1], "acr", &proof).await);
    }
    let (status, text) = told(&mut held[0]).await;
    assert!(status == 503 && text.contains("retry-after: 1"), "{text}");
    assert_eq!(answer(stage.post(envelope(&[push("a", "1")]))).await.0, 202);
    let own = stage.client.post(stage.url("acr")).bearer_auth(SECRET).body(r#"{"action": "ping"}"#);
    assert_eq!(answer(own).await.0, 202);
}

fn page(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn each_sender_has_a_section_a_name_in_the_readme_and_a_variable_in_the_base() {
    let (pages, readme, base) = (page("docs/webhooks.md"), page("README.md"), page("deploy/base/deployment.yaml"));
    let sections: Vec<_> = pages.lines().filter_map(|line| line.strip_prefix("## ")).skip(1).collect();
    let names: Vec<_> = SENDERS.iter().map(|sender| sender.name).collect();
    assert_eq!(sections, names);
    for (name, section) in names.iter().zip(pages.split("\n## ").skip(2)) {
        let told = section.contains(&format!("https://hooks.example.com/hooks/{name}"));
        assert!(told && section.contains("SECRET"), "{name}: {section}");
        assert!(readme.contains(&format!("`{name}`")), "the README does not name {name}");
        let variable = format!("SUPERCARGO_HOOK_SECRET_{}\n", name.to_ascii_uppercase());
        let value = format!("valueFrom: {{secretKeyRef: {{name: supercargo-hooks, key: {name}, optional: true}}}}\n");
        let given = base.split(&variable).nth(1).unwrap_or_else(|| panic!("the base has no {variable}"));
        assert!(given.trim_start().starts_with(&value), "{name}: {given}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_of_the_page_is_heard() {
    let stage = Stage::all().await;
    let pages = page("docs/webhooks.md");
    let section = pages.split("## generic").nth(1).unwrap();
    let script = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let script = script.replace("https://hooks.example.com/hooks/generic", &stage.url("generic"));
    let mut shell = tokio::process::Command::new("sh");
    let output =
        shell.args(["-euc", &script]).env("SECRET", SECRET).env("NO_PROXY", "127.0.0.1").output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stage.inbox.texts(), ["registry.example.com/team/web:1.4.2"]);
}
