//! Connections that are many, slow or silent keep no place from a probe, nor from a good hook of somebody else.

use std::net::IpAddr;

use axum::routing::get;
use tokio::net::TcpSocket;

use super::*;
use crate::support::{
    control_plane::shared,
    keys::self_signed,
    operator::{Operator, Setup},
};

/// A client would have given up by then. Nothing here waits that long where the rules hold.
const PATIENCE: Duration = Duration::from_secs(60);

/// The header of a request that is let in, or may be: its handler asks for the body.
fn half(sender: &str, proof: &str) -> String {
    format!("POST /hooks/{sender} HTTP/1.1\r\nHost: h\r\n{proof}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
}

/// Of somebody who knows the secret.
fn known() -> String {
    half("distribution", &format!("Authorization: Bearer {SECRET}"))
}

/// Of somebody who made it up.
fn made_up() -> String {
    half("generic", &format!("X-Signature: sha256={}", "0".repeat(64)))
}

fn small() -> Limits {
    Limits { connections: 8, ..Limits::default() }
}

/// A clock that stands still: nothing ends by time.
fn still() -> Arc<dyn Clock> {
    Arc::new(SimClock::at("2026-03-01T12:00:00Z"))
}

pub(super) async fn connect(address: &str, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(from), 0).into()).unwrap();
    socket.connect(address.parse().unwrap()).await.unwrap()
}

/// A connection on which a request was answered.
async fn idle(address: &str, from: [u8; 4], path: &str) -> TcpStream {
    let mut stream = connect(address, from).await;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
    assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0, "an answer");
    stream
}

/// A connection with a request whose body does not come; its handler runs.
async fn waiting(address: &str, from: [u8; 4], header: &str) -> TcpStream {
    let mut stream = connect(address, from).await;
    stream.write_all(header.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 25]).await.unwrap();
    stream
}

fn from(address: [u8; 4]) -> Client {
    Client::builder().no_proxy().local_address(IpAddr::from(address)).timeout(PATIENCE).build().unwrap()
}

async fn hook(stage: &Stage, source: [u8; 4]) -> u16 {
    let request = from(source).post(stage.url("distribution")).bearer_auth(SECRET).body(envelope(&[]));
    request.send().await.unwrap().status().as_u16()
}

fn private(ready: watch::Receiver<bool>) -> Site {
    let probes = health::probes(ready, "unread");
    Site { router: health::router(probes.clone(), Arc::default()), probes, tls: None }
}

#[tokio::test]
async fn three_hundred_idle_connections_keep_no_probe_waiting() {
    let (_ready, ready) = watch::channel(true);
    let served = Served::site(private(ready), Limits::default(), still()).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(idle(&served.address, [127, 0, 0, 1], "/livez").await);
    }
    let url = format!("http://{}/livez", served.address);
    for n in 0..8 {
        assert_eq!(from([127, 0, 0, 1]).get(&url).send().await.unwrap().status(), 200, "probe {n}");
    }
}

#[tokio::test]
async fn three_hundred_idle_connections_keep_no_hook_waiting() {
    let stage = Stage::start_with(settings(&[SECRET]), Offer::Queued, Limits::default(), still()).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(idle(&stage.served.address, [127, 0, 0, 1], "/").await);
    }
    assert_eq!(hook(&stage, [127, 0, 0, 1]).await, 202);
    assert_eq!(hook(&stage, [127, 0, 0, 2]).await, 202);
    // Those that went are the ones that had waited longest.
    assert_eq!(held[0].read(&mut [0; 1]).await.unwrap(), 0);
    let last = held.last_mut().unwrap();
    last.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    assert_ne!(last.read(&mut [0; 4096]).await.unwrap(), 0);
}

#[tokio::test]
async fn connections_that_begin_no_handshake_keep_no_hook_waiting() {
    let pair = self_signed();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    fs::write(&certificate, &pair.certificate).unwrap();
    fs::write(&key, &pair.key).unwrap();
    let clock = still();
    let tls = Tls::start(certificate, key, clock.clone()).await.unwrap();
    let doors = Senders::open(settings(&[SECRET]), &clock).await.unwrap();
    let hooks = Hooks::new(doors, Inbox::new(Offer::Queued), Arc::default(), clock.clone());
    let served = Served::start(hooks.router(), Some(tls), small(), clock).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(connect(&served.address, [127, 0, 0, 1]).await);
    }
    let root = reqwest::Certificate::from_pem(pair.certificate.as_bytes()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([root]).timeout(PATIENCE).build().unwrap();
    let url = format!("https://{}/hooks/distribution", served.address);
    assert_eq!(client.post(url).bearer_auth(SECRET).body(envelope(&[])).send().await.unwrap().status(), 202);
}

/// Two senders that are heard, and know the same secret.
fn two() -> HookSettings {
    let settings = || SenderSettings { given: Some(SECRET.into()), ..SenderSettings::default() };
    HookSettings { senders: ["distribution", "generic"].map(|name| (name, settings())).into() }
}

#[rstest]
#[case::of_strangers_at_one_address(&made_up(), 1)]
#[case::of_strangers_at_four(&made_up(), 4)]
#[case::of_a_sender_at_one_address(&known(), 1)]
#[case::of_a_sender_at_four(&known(), 4)]
#[tokio::test]
async fn bodies_that_do_not_come_keep_no_hook_waiting(#[case] header: &str, #[case] addresses: u8) {
    let stage = Stage::start_with(two(), Offer::Queued, Limits::default(), still()).await;
    let mut held = Vec::new();
    for n in 0..300_u16 {
        let from = [127, 0, 0, n.to_be_bytes()[1] % addresses + 1];
        held.push(waiting(&stage.served.address, from, header).await);
    }
    assert_eq!(hook(&stage, [127, 0, 0, 1]).await, 202, "one of them");
    assert_eq!(hook(&stage, [127, 0, 0, 9]).await, 202, "another");
    assert_eq!(held[0].read(&mut [0; 1]).await.unwrap_or(0), 0, "the oldest one made room");
}

#[tokio::test]
async fn bodies_of_strangers_make_room_before_those_of_senders() {
    let stage = Stage::start_with(two(), Offer::Queued, small(), still()).await;
    let mut sender = waiting(&stage.served.address, [127, 0, 0, 1], &known()).await;
    let mut held = Vec::new();
    for n in 0..40 {
        held.push(waiting(&stage.served.address, [127, 0, 0, n % 4 + 1], &made_up()).await);
    }
    sender.write_all(b"{\"events\"").await.unwrap();
    let mut line = [0; 12];
    sender.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 400");
}

/// Without a body, and without a word that it should come.
#[rstest]
#[case::of_nobody("x", "X-X: x", 404)]
#[case::without_a_proof("distribution", "X-X: x", 401)]
#[case::with_a_wrong_secret("distribution", "Authorization: Bearer wrong", 401)]
#[case::with_half_a_signature("generic", "X-Signature: sha256=00", 401)]
#[tokio::test]
async fn a_request_that_is_not_let_in_is_answered_without_reading_on(
    #[case] sender: &str,
    #[case] proof: &str,
    #[case] status: u16,
    #[values(9, 999_999_999_999)] length: u64,
) {
    let stage = Stage::start_with(two(), Offer::Queued, small(), still()).await;
    let mut stream = connect(&stage.served.address, [127, 0, 0, 1]).await;
    let header = half(sender, proof).replace("Length: 9", &format!("Length: {length}"));
    stream.write_all(header.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")) && text.contains("connection: close"), "{text}");
    assert!(text.ends_with("\"}"), "{text}");
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_long_is_not_asked_for() {
    let stage = Stage::start_with(two(), Offer::Queued, small(), still()).await;
    for header in [known(), made_up()] {
        let mut stream = connect(&stage.served.address, [127, 0, 0, 1]).await;
        stream.write_all(header.replace("Length: 9", "Length: 1048577").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 413 ") && text.contains("connection: close"), "{text}");
    }
}

#[tokio::test]
async fn an_answer_is_seen_by_a_client_that_writes_on() {
    let stage = Stage::start_with(two(), Offer::Queued, small(), still()).await;
    let mut stream = connect(&stage.served.address, [127, 0, 0, 1]).await;
    let header =
        half("distribution", "X-X: x").replace("Length: 9", "Length: 4000000").replace("Expect: 100-continue\r\n", "");
    stream.write_all(header.as_bytes()).await.unwrap();
    // It reads nothing before it has written all: the answer must still be there.
    stream.write_all(&vec![b' '; 4_000_000]).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
}

#[tokio::test]
async fn probes_are_answered_beyond_the_limit_and_nothing_else() {
    let (_ready, ready) = watch::channel(true);
    let (entered, begun) = watch::channel(0);
    let endless = async move || {
        entered.send_modify(|count| *count += 1);
        std::future::pending::<()>().await;
    };
    let mut site = private(ready);
    site.router = site.router.route("/endless", get(endless));
    let served = Served::site(site, small(), still()).await;
    let mut held = Vec::new();
    for n in 0..8 {
        let mut stream = connect(&served.address, [127, 0, 0, n / 2 + 1]).await;
        stream.write_all(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        held.push(stream);
    }
    eventually("all are in hand", async || (*begun.borrow() == 8).then_some(())).await;
    // The spare places go round too.
    for n in 0..100 {
        held.push(connect(&served.address, [127, 0, 1, n]).await);
    }
    let get = async |path: &str| {
        let response = from([127, 0, 0, 9]).get(format!("http://{}{path}", served.address)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(get("/metrics").await, (503, "too many connections at once; try again\n".to_owned()));
    assert_eq!(*begun.borrow(), 8, "whoever is in use and within a fair share stays");
}

#[rstest]
#[case::nothing("", 5)]
#[case::half_a_header("POST /hooks/distribution HTTP/1.1\r\nHost: h\r\nAuthor", 5)]
#[case::idle_after_a_request("POST /hooks/nobody HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 15)]
#[case::a_second_header("POST /hooks/nobody HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\nPOST ", 15)]
#[tokio::test]
async fn a_client_that_says_nothing_more_is_cut_off_in_time(#[case] text: &str, #[case] seconds: u64) {
    let clock = SimClock::at("2026-03-01T12:00:00Z");
    let stage = Stage::start_with(settings(&[SECRET]), Offer::Queued, small(), Arc::new(clock.clone())).await;
    let mut stream = TcpStream::connect(&stage.served.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    if seconds > 5 {
        assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0, "an answer");
    }
    let start = clock.monotonic();
    let reading = tokio::spawn(async move {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    eventually("the server hangs up", async || {
        clock.advance(Duration::from_secs(1)).await;
        reading.is_finished().then_some(())
    })
    .await;
    let took = clock.monotonic() - start;
    assert!(took >= Duration::from_secs(seconds - 1), "{took:?}");
}

#[tokio::test]
async fn a_header_that_comes_byte_by_byte_is_cut_off_also_between_two_requests() {
    let clock = SimClock::at("2026-03-01T12:00:00Z");
    let stage = Stage::start_with(settings(&[SECRET]), Offer::Queued, small(), Arc::new(clock.clone())).await;
    for mut stream in [
        TcpStream::connect(&stage.served.address).await.unwrap(),
        idle(&stage.served.address, [127, 0, 0, 1], "/").await,
    ] {
        let start = clock.monotonic();
        stream.write_all(b"POST /hooks/distribution HTTP/1.1\r\n").await.unwrap();
        eventually("the server hangs up", async || {
            clock.advance(Duration::from_secs(1)).await;
            stream.write_all(b"x").await.err()
        })
        .await;
        let took = clock.monotonic() - start;
        assert!(took >= Duration::from_secs(4), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_and_a_half_connections_under_a_low_limit_of_files_keep_no_probe_waiting() {
    /// What the shell lowers the limit to.
    const SOFT: &str = "1024";
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: own.maximum, maximum: own.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let plane = shared().await;
    let namespace = plane.namespace("files").await;
    let mut setup = Setup::in_namespace(&namespace, "1h");
    setup.through = ["sh", "-c", "ulimit -Sn 1024; exec \"$@\"", "sh"].map(str::to_owned).to_vec();
    let operator = Operator::start(plane, &setup).await;
    let log = operator.process.output();
    assert!(log.contains("the limit of open files") && log.contains(SOFT), "{log}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", operator.process.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|column| files.split_whitespace().nth(column).unwrap());
    assert_eq!(soft, hard, "{files}");
    let mut held = Vec::new();
    for url in [&operator.private, &operator.hooks] {
        let address = url.trim_start_matches("http://");
        for n in 0..750_u16 {
            let [high, low] = n.to_be_bytes();
            held.push(connect(address, [127, 0, high + 1, low.max(1)]).await);
        }
    }
    for n in 0..8 {
        let url = format!("{}/livez", operator.private);
        assert_eq!(from([127, 0, 0, 1]).get(url).send().await.unwrap().status(), 200, "probe {n}");
    }
}
