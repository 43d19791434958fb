//! The hooks listener and the private one, over real connections on loopback.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use reqwest::{Client, RequestBuilder, StatusCode};
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};
use supercargo::{
    clock::SystemClock,
    domain::hint::Hint,
    logging,
    metrics::{HookLabels, Metrics},
    ports::{Clock, Hints, Offer},
    web::{
        health,
        hooks::{HookSettings, HookSettingsError, Hooks, SenderSettings, Senders},
        serve::{Limits, Site, serve},
        tls::Tls,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    clock::SimClock,
    eventually,
    registry::{self, Image, Registry},
};

mod command;
mod operator;
mod places;
mod senders;
mod tls;

const SECRET: &str = "correct horse battery staple";

/// Takes hints and keeps them; answers as the test says.
struct Inbox {
    answer: Offer,
    hints: Mutex<Vec<Hint>>,
}

impl Hints for Inbox {
    fn offer(&self, hint: Hint) -> Offer {
        self.hints.lock().unwrap().push(hint);
        self.answer
    }
}

impl Inbox {
    fn new(answer: Offer) -> Arc<Self> {
        Arc::new(Self { answer, hints: Mutex::default() })
    }

    fn texts(&self) -> Vec<String> {
        let show = |hint: &Hint| match &hint.tag {
            Some(tag) => format!("{}:{tag}", hint.repository),
            None => hint.repository.to_string(),
        };
        self.hints.lock().unwrap().iter().map(show).collect()
    }
}

/// A listener that serves, until it is dropped.
struct Served {
    address: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    async fn start(router: Router, tls: Option<Tls>, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self::site(Site { router, probes: Router::new(), tls }, limits, clock).await
    }

    async fn site(site: Site, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, site, limits, clock, stop.clone()));
        Self { address, stop, task }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Stage {
    served: Served,
    inbox: Arc<Inbox>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    hooks: Hooks,
    client: Client,
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

fn settings(secrets: &[&str]) -> HookSettings {
    let given = (!secrets.is_empty()).then(|| SecretString::from(secrets.join("\n")));
    HookSettings { senders: [("distribution", SenderSettings { given, ..SenderSettings::default() })].into() }
}

impl Stage {
    async fn start(settings: HookSettings, answer: Offer) -> Self {
        Self::start_with(settings, answer, Limits::default(), Arc::new(SystemClock::default())).await
    }

    async fn start_with(settings: HookSettings, answer: Offer, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let (inbox, metrics) = (Inbox::new(answer), Arc::new(Metrics::default()));
        let hints: Arc<dyn Hints> = inbox.clone();
        let doors = Senders::open(settings, &clock).await.unwrap();
        let hooks = Hooks::new(doors, hints, Arc::clone(&metrics), Arc::clone(&clock));
        let served = Served::start(hooks.router(), None, limits, clock.clone()).await;
        Self { served, inbox, metrics, clock, hooks, client: client() }
    }

    /// With one secret, and room for every hint.
    async fn usual() -> Self {
        Self::start(settings(&[SECRET]), Offer::Queued).await
    }

    fn url(&self, sender: &str) -> String {
        format!("http://{}/hooks/{sender}", self.served.address)
    }

    fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client.post(self.url("distribution")).bearer_auth(SECRET).body(body)
    }

    fn counted(&self, outcome: &'static str) -> u64 {
        self.metrics.hooks.get_or_create(&HookLabels { sender: "distribution", outcome }).get()
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn push(repository: &str, tag: &str) -> Value {
    json!({"action": "push", "request": {"host": "r.io"}, "target": {"repository": repository, "tag": tag}})
}

fn envelope(events: &[Value]) -> String {
    json!({"events": events}).to_string()
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/webhooks/distribution").join(name)).unwrap()
}

#[rstest]
#[case("documented-push.json", "queued", &["registrycluster.local/library/test"])]
#[case("documented-pull.json", "ignored", &[])]
#[case("sent-push.json", "queued", &["127.0.0.1:15999/team/web:1.0.0"])]
#[case("sent-blob.json", "ignored", &[])]
#[case("sent-pull.json", "ignored", &[])]
#[case("sent-mount.json", "ignored", &[])]
#[case("sent-delete.json", "ignored", &[])]
#[tokio::test]
async fn what_a_registry_sends_is_understood(#[case] file: &str, #[case] outcome: &'static str, #[case] want: &[&str]) {
    let stage = Stage::usual().await;
    assert_eq!(answer(stage.post(fixture(file))).await, (202, json!({"outcome": outcome})));
    assert_eq!(stage.inbox.texts(), want);
    assert_eq!(stage.counted(outcome), 1);
}

#[rstest]
#[case("documented-push.json")]
#[case("sent-push.json")]
#[tokio::test]
async fn a_forged_or_truncated_message_changes_nothing(#[case] file: &str) {
    let stage = Stage::usual().await;
    let body = fixture(file);
    let cut = body[..body.len() / 2].to_vec();
    assert_eq!(answer(stage.post(cut)).await.0, 400);
    let url = stage.url("distribution");
    let forged = stage.client.post(&url).bearer_auth("wrong").body(body.clone());
    assert_eq!(answer(forged).await.0, 401);
    let unsigned = stage.client.post(&url).body(body.clone());
    assert_eq!(answer(unsigned).await.0, 401);
    // This sender can set headers, so the query is no way in.
    let by_query = stage.client.post(format!("{url}?token={SECRET}")).body(body);
    assert_eq!(answer(by_query).await.0, 401);
    assert_eq!(stage.inbox.texts(), [""; 0]);
    assert_eq!((stage.counted("invalid"), stage.counted("unauthorized")), (1, 3));
}

#[tokio::test]
async fn a_push_to_a_real_registry_becomes_a_hint_and_nothing_else_does() {
    let stage = Stage::usual().await;
    let notify = Some((stage.url("distribution"), format!("Bearer {SECRET}")));
    let registry = Registry::start_with(registry::Options { notify, ..registry::Options::default() }).await;
    registry.push("team/web", "1.0.0", &Image::unique()).await;
    let pull = stage.client.get(format!("http://{}/v2/team/web/manifests/1.0.0", registry.host));
    assert_eq!(pull.header("accept", registry::OCI_MANIFEST).send().await.unwrap().status(), StatusCode::OK);
    registry.delete_tag("team/web", "1.0.0").await;
    registry.push("team/web", "1.0.1", &Image::unique()).await;
    // Notifications come in order: with the last push here, all before it have been.
    let last = format!("{}/team/web:1.0.1", registry.host);
    eventually("the last push arrives", async || stage.inbox.texts().contains(&last).then_some(())).await;
    assert_eq!(stage.inbox.texts(), [format!("{}/team/web:1.0.0", registry.host), last]);
    // Two blobs, one pull, one deletion.
    assert_eq!(stage.counted("ignored"), 4);
}

#[rstest]
#[case(Offer::Queued, 202, json!({"outcome": "queued"}))]
#[case(Offer::Unwatched, 202, json!({"outcome": "unwatched"}))]
#[case(Offer::Full, 429, json!({"error": "too many webhooks are waiting: send it again later"}))]
#[case(Offer::Closed, 503, json!({"error": "stopping: send it again"}))]
#[tokio::test]
async fn the_answer_says_what_became_of_it(#[case] offer: Offer, #[case] status: u16, #[case] body: Value) {
    let stage = Stage::start(settings(&[SECRET]), offer).await;
    assert_eq!(answer(stage.post(envelope(&[push("a", "1")]))).await, (status, body));
}

#[rstest]
#[case("nobody", "there is no such sender; available: acr, distribution, dockerhub, generic,")]
#[case("%2e%2e%2f%00", "there is no such sender; available: acr,")]
#[case("gcr", "sender `gcr` is not built yet; available: acr,")]
#[case(
    "gitlab",
    "there is no sender `gitlab`: GitLab sends no event for images: use `generic` from the pipeline, or `distribution`"
)]
#[case("distribution", "sender `distribution` is off: give it a secret")]
#[tokio::test]
async fn a_sender_that_is_not_there_or_off_is_not_found(#[case] sender: &str, #[case] text: &str) {
    let stage = Stage::start(settings(&[]), Offer::Queued).await;
    let (status, body) = answer(stage.client.post(stage.url(sender)).bearer_auth("").body("{}")).await;
    assert_eq!(status, 404);
    assert!(body["error"].as_str().unwrap().starts_with(text), "{body}");
    assert_eq!(stage.counted("off"), u64::from(sender == "distribution"));
}

#[tokio::test]
async fn only_post_to_a_sender_is_served() {
    let stage = Stage::usual().await;
    let status = |request: RequestBuilder| async { request.send().await.unwrap().status().as_u16() };
    assert_eq!(status(stage.client.get(stage.url("distribution"))).await, 405);
    assert_eq!(status(stage.client.post(format!("http://{}/", stage.served.address))).await, 404);
    assert_eq!(status(stage.client.post(format!("http://{}/metrics", stage.served.address))).await, 404);
}

#[tokio::test]
async fn a_sender_may_be_allowed_without_a_secret() {
    let mut settings = settings(&[]);
    settings.senders.get_mut("distribution").unwrap().allow_unsigned = true;
    let stage = Stage::start(settings, Offer::Queued).await;
    let request = stage.client.post(stage.url("distribution")).body(envelope(&[push("a", "1")]));
    assert_eq!(answer(request).await.0, 202);
}

#[tokio::test]
async fn a_secret_that_is_there_is_wanted_even_if_unsigned_is_allowed() {
    let mut settings = settings(&[SECRET]);
    settings.senders.get_mut("distribution").unwrap().allow_unsigned = true;
    let stage = Stage::start(settings, Offer::Queued).await;
    assert_eq!(answer(stage.client.post(stage.url("distribution")).body("{}")).await.0, 401);
    assert_eq!(answer(stage.post(envelope(&[]))).await.0, 202);
}

#[tokio::test]
async fn two_secrets_are_good_while_they_are_rotated_and_files_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    fs::write(&old, "one\n").unwrap();
    fs::write(&new, "two\n").unwrap();
    let sender = SenderSettings { secret_files: vec![old.clone(), new.clone()], ..SenderSettings::default() };
    let clock = SimClock::at("2026-03-01T12:00:00Z");
    let settings = HookSettings { senders: [("distribution", sender)].into() };
    let stage = Stage::start_with(settings, Offer::Queued, Limits::default(), Arc::new(clock.clone())).await;
    let status = async |secret: &str| {
        answer(stage.client.post(stage.url("distribution")).bearer_auth(secret).body(envelope(&[]))).await.0
    };
    assert_eq!((status("one").await, status("two").await, status("three").await), (202, 202, 401));

    // What a file no longer holds is good no more, whatever becomes of the other file.
    let turns = async |secret: &str, to: u16| {
        eventually("the files are read again", async || {
            clock.advance(Duration::from_secs(1)).await;
            (status(secret).await == to).then_some(())
        })
        .await;
    };
    fs::remove_file(&old).unwrap();
    turns("one", 401).await;
    assert_eq!(status("two").await, 202);
    fs::write(&new, "").unwrap();
    turns("two", 401).await;

    fs::write(&old, "two").unwrap();
    fs::write(&new, "three").unwrap();
    eventually("the new secrets are known", async || {
        clock.advance(Duration::from_secs(1)).await;
        (status("three").await == 202).then_some(())
    })
    .await;
    assert_eq!((status("one").await, status("two").await), (401, 202));
}

#[tokio::test]
async fn who_is_heard_may_change_while_hooks_are_served() {
    let stage = Stage::start(settings(&[]), Offer::Queued).await;
    assert_eq!(answer(stage.post(envelope(&[]))).await.0, 404);
    stage.hooks.set_senders(Senders::open(settings(&[SECRET]), &stage.clock).await.unwrap());
    assert_eq!(answer(stage.post(envelope(&[]))).await.0, 202);
    stage.hooks.set_senders(Senders::open(settings(&["another"]), &stage.clock).await.unwrap());
    assert_eq!(answer(stage.post(envelope(&[]))).await.0, 401);
}

#[rstest]
#[case::missing(None)]
#[case::empty(Some(&b" \n"[..]))]
#[case::binary(Some(&b"\xff\xfe"[..]))]
#[case::three_lines(Some(&b"a\nb\n\nc\n"[..]))]
#[tokio::test]
async fn a_secret_that_cannot_be_read_is_said_at_once(#[case] content: Option<&[u8]>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    if let Some(content) = content {
        fs::write(&file, content).unwrap();
    }
    let sender = SenderSettings { secret_files: vec![file.clone()], ..SenderSettings::default() };
    let settings = HookSettings { senders: [("distribution", sender)].into() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let error = Senders::open(settings, &clock).await.err().unwrap();
    assert!(matches!(error, HookSettingsError::Secret("distribution", _)));
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn an_unknown_sender_in_the_settings_is_an_error() {
    let settings = HookSettings { senders: [("gitlab", SenderSettings::default())].into() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let error = Senders::open(settings, &clock).await.err().unwrap();
    assert_eq!(error.to_string(), "there is no webhook sender `gitlab`");
}

#[rstest]
#[case::just_right(1024 * 1024, 400)]
#[case::one_more(1024 * 1024 + 1, 413)]
#[case::much_more(6 * 1024 * 1024, 413)]
#[tokio::test]
async fn a_body_of_more_than_a_mebibyte_is_refused(
    #[case] length: usize,
    #[case] status: u16,
    #[values(false, true)] chunked: bool,
) {
    let stage = Stage::usual().await;
    let body = vec![b' '; length];
    let body = if chunked {
        let chunks: Vec<_> = body.chunks(60_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
        reqwest::Body::wrap_stream(futures::stream::iter(chunks))
    } else {
        body.into()
    };
    assert_eq!(answer(stage.post(body)).await.0, status);
    // A wrong secret is told of however long the body is.
    let forged = stage.client.post(stage.url("distribution")).bearer_auth("wrong").body(vec![b' '; length]);
    assert_eq!(answer(forged).await.0, 401);
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let stage = Stage::usual().await;
    let mut stream = TcpStream::connect(&stage.served.address).await.unwrap();
    let head = format!(
        "POST /hooks/distribution HTTP/1.1\r\nHost: h\r\nAuthorization: {SECRET}\r\nContent-Length: 99999999999\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut sent = 0_usize;
    while sent < 64 << 20 {
        match stream.write(&[b' '; 65536]).await {
            Ok(written) => sent += written,
            Err(_) => break,
        }
    }
    assert!(sent < 64 << 20, "the server read on");
    assert_eq!(answer(stage.post(envelope(&[]))).await.0, 202, "others are served");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_cut_off() {
    let clock = SimClock::at("2026-03-01T12:00:00Z");
    let stage = Stage::start_with(settings(&[SECRET]), Offer::Queued, Limits::default(), Arc::new(clock.clone())).await;
    let mut stream = TcpStream::connect(&stage.served.address).await.unwrap();
    let head = format!(
        "POST /hooks/distribution HTTP/1.1\r\nHost: h\r\nAuthorization: {SECRET}\r\nContent-Length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    });
    eventually("the server hangs up", async || {
        clock.advance(Duration::from_secs(1)).await;
        reading.is_finished().then_some(())
    })
    .await;
    let text = reading.await.unwrap();
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("too slowly"), "{text}");
    assert_eq!(stage.inbox.texts(), [""; 0]);
}

#[tokio::test]
async fn an_oversized_header_is_refused() {
    let stage = Stage::usual().await;
    let huge = stage.post("{}").header("x-huge", "x".repeat(200_000)).send().await;
    assert!(huge.is_err() || huge.is_ok_and(|response| response.status() == 431));
    assert_eq!(answer(stage.post(envelope(&[]))).await.0, 202);
}

#[tokio::test]
async fn the_same_hint_many_times_in_a_body_is_one() {
    let stage = Stage::usual().await;
    let body = envelope(&vec![push("a", "1"); 9000]);
    assert!(body.len() > 700_000);
    assert_eq!(answer(stage.post(body)).await, (202, json!({"outcome": "queued"})));
    assert_eq!(stage.inbox.texts(), ["r.io/a:1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_same_webhooks_are_all_answered() {
    let stage = Stage::usual().await;
    let body = envelope(&[push("a", "1")]);
    let request = format!(
        "POST /hooks/distribution HTTP/1.1\r\nHost: h\r\nAuthorization: {SECRET}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let sender = async || {
        let mut stream = TcpStream::connect(&stage.served.address).await.unwrap();
        for _ in 0..2500 {
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(br#"{"outcome":"queued"}"#) {
                assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "{}", String::from_utf8_lossy(&text));
            }
            assert!(text.starts_with(b"HTTP/1.1 202 "));
        }
    };
    tokio::join!(sender(), sender(), sender(), sender());
    assert_eq!(stage.inbox.hints.lock().unwrap().len(), 10_000);
    assert_eq!(stage.counted("queued"), 10_000);
}

#[tokio::test]
async fn a_request_that_is_in_is_answered_before_the_listener_ends() {
    // No time passes, as a body has little of it.
    let clock = Arc::new(SimClock::at("2026-03-01T12:00:00Z"));
    let mut stage = Stage::start_with(settings(&[SECRET]), Offer::Queued, Limits::default(), clock).await;
    let body = envelope(&[push("a", "1")]);
    let mut stream = TcpStream::connect(&stage.served.address).await.unwrap();
    let head = format!(
        "POST /hooks/distribution HTTP/1.1\r\nHost: h\r\nAuthorization: {SECRET}\r\nExpect: 100-continue\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // That it asks for the body shows that the handler runs.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stage.served.stop.cancel();
    eventually("no new connection is taken", async || TcpStream::connect(&stage.served.address).await.err()).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 202 ") && text.ends_with(r#"{"outcome":"queued"}"#), "{text}");
    (&mut stage.served.task).await.unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let clock = SimClock::at("2026-03-01T12:00:00Z");
    let mut stage =
        Stage::start_with(settings(&[SECRET]), Offer::Queued, Limits::default(), Arc::new(clock.clone())).await;
    let idle = TcpStream::connect(&stage.served.address).await.unwrap();
    let mut stuck = TcpStream::connect(&stage.served.address).await.unwrap();
    let head = format!(
        "POST /hooks/distribution HTTP/1.1\r\nHost: h\r\nAuthorization: {SECRET}\r\nContent-Length: 100\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    stuck.write_all(head.as_bytes()).await.unwrap();
    stuck.read_exact(&mut [0; 25]).await.unwrap();
    stage.served.stop.cancel();
    clock.advance(Duration::from_secs(6)).await;
    (&mut stage.served.task).await.unwrap();
    drop(idle);
}

/// Lines of a log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_of_a_request_is_in_the_log_but_the_fact() {
    let log = Log::default();
    let to = log.clone();
    // With one subscriber only, tracing asks the thread that comes first whether a line is wanted, and remembers its
    // answer for all. Other tests' threads have none.
    let silent = logging::subscriber(logging::Format::Text, "off", std::io::sink, false).unwrap();
    let _silent = tracing::Dispatch::new(silent);
    let subscriber = logging::subscriber(logging::Format::Json, "info,supercargo=trace", move || to.clone(), false);
    let _guard = tracing::subscriber::set_default(subscriber.unwrap());
    let stage = Stage::usual().await;
    let url = stage.url("distribution");
    let client = &stage.client;
    for request in [
        client.post(format!("{url}?token=MARK")).bearer_auth("MARK").header("x-mark", "MARK").body("MARK"),
        client.post(format!("{url}?token=MARK")).bearer_auth(SECRET).header("x-mark", "MARK").body("MARK"),
        client.post(url.clone()).bearer_auth(SECRET).body(envelope(&[push("MARK", "MARK"), push("mark", "MARK")])),
        client.post(stage.url("MARK")).body("MARK"),
    ] {
        let (_, body) = answer(request).await;
        assert!(!body.to_string().contains("MARK"), "{body}");
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("MARK") && !text.contains(SECRET), "{text}");
    assert!(text.contains(r#""outcome":"unauthorized""#) && text.contains(r#""outcome":"queued""#), "{text}");
    let warnings = text.lines().filter(|line| line.contains(r#""level":"WARN""#)).count();
    assert_eq!(warnings, 2, "the first refusal of each kind in ten seconds: {text}");
}

/// What is logged of so many bodies with too many images, and of hosts that nobody watches.
#[tokio::test]
async fn a_sender_fills_no_log_and_hides_nothing_of_another() {
    let log = Log::default();
    let to = log.clone();
    let silent = logging::subscriber(logging::Format::Text, "off", std::io::sink, false).unwrap();
    let _silent = tracing::Dispatch::new(silent);
    let subscriber = logging::subscriber(logging::Format::Json, "info", move || to.clone(), false);
    let _guard = tracing::subscriber::set_default(subscriber.unwrap());
    let lines = |text: &str| -> Vec<String> {
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    };
    let clock = SimClock::at("2026-03-01T12:00:00Z");
    let secrets = || SenderSettings { given: Some(SECRET.into()), ..SenderSettings::default() };
    let settings = HookSettings { senders: ["distribution", "generic"].map(|name| (name, secrets())).into() };
    let stage = Stage::start_with(settings, Offer::Unwatched, Limits::default(), Arc::new(clock.clone())).await;

    let many = json!({"images": (0..1001).map(|n| format!("a{n}.io/a:1")).collect::<Vec<_>>()}).to_string();
    let generic = || stage.client.post(stage.url("generic")).bearer_auth(SECRET).body(many.clone());
    for _ in 0..50 {
        assert_eq!(answer(generic()).await.0, 202);
    }
    assert_eq!(answer(stage.post(envelope(&[push("a", "1")]))).await.0, 202);
    let (dropped, unwatched) = (lines("than are taken at once"), lines("in this spelling"));
    assert!(dropped.len() == 1 && dropped[0].contains(r#""dropped":1"#), "{dropped:?}");
    assert!(unwatched.len() <= 17 && unwatched.iter().any(|line| line.contains("r.io/a")), "{unwatched:?}");
    clock.advance(Duration::from_secs(10)).await;
    assert_eq!(answer(generic()).await.0, 202);
    let dropped = lines("than are taken at once");
    assert!(dropped.len() == 2 && dropped[1].contains(r#""left_out":49"#), "{dropped:?}");
}

#[tokio::test]
async fn probes_and_metrics_are_served_on_the_private_listener() {
    let (ready, watch) = watch::channel(false);
    let metrics = Arc::new(Metrics::default());
    let router = health::router(health::probes(watch, "the watches are not synced"), Arc::clone(&metrics));
    let served = Served::start(router, None, Limits::default(), Arc::new(SystemClock::default())).await;
    let client = client();
    let get = async |path: &str| {
        let response = client.get(format!("http://{}{path}", served.address)).send().await.unwrap();
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        (response.status().as_u16(), kind.unwrap_or_default(), response.text().await.unwrap())
    };
    assert_eq!(get("/livez").await.0, 200);
    let (status, _, text) = get("/readyz").await;
    assert_eq!((status, &*text), (503, "not ready: the watches are not synced\n"));
    ready.send_replace(true);
    assert_eq!(get("/readyz").await.0, 200);
    metrics.poll_overdue.set(1.5);
    let (status, kind, text) = get("/metrics").await;
    assert_eq!((status, &*kind), (200, "application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(text.contains("\nsupercargo_poll_overdue_seconds 1.5\n") && text.ends_with("# EOF\n"), "{text}");
    assert_eq!(get("/hooks/distribution").await.0, 404);
}
