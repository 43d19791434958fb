//! Slack as its documentation has it (docs.slack.dev: Web API, Block Kit, Socket Mode), and with the faults that a test
//! wants. Workspace `T0SHOP`, app `A0APP`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode},
};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use supercargo::{clock::SystemClock, ports::Clock as _};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::eventually;

pub(crate) const APP: &str = "A0APP";
pub(crate) const TEAM: &str = "T0SHOP";
pub(crate) const BOT_TOKEN: &str = "xoxb-geheim";
pub(crate) const APP_TOKEN: &str = "xapp-geheim";

/// What becomes of the next call of a method.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// `ok: false` with this code.
    Says(&'static str),
    /// 429, with so many seconds to wait.
    Later(u32),
    /// The same, in these words.
    Wait(&'static str),
    /// A status and no more.
    Status(u16),
    /// It is done, and the answer never comes.
    Lost,
    /// Nobody answers before this is true; then as usual.
    Held(watch::Receiver<bool>),
}

/// A message that was posted.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) channel: String,
    pub(crate) ts: String,
    pub(crate) thread: Option<String>,
    pub(crate) metadata: Value,
    pub(crate) text: String,
    pub(crate) blocks: Vec<Value>,
    pub(crate) edits: usize,
}

/// A socket that is open, and what is to be sent on it.
#[derive(Clone)]
struct Socket {
    number: u64,
    frames: mpsc::UnboundedSender<Message>,
}

#[derive(Default)]
struct Inner {
    channels: Vec<String>,
    messages: Vec<Posted>,
    faults: HashMap<String, VecDeque<Fault>>,
    /// Every call: its method, and what it was given.
    calls: Vec<(String, Value)>,
    sockets: Vec<Socket>,
    acknowledged: Vec<String>,
    /// What single people were told, by their click.
    told: HashMap<String, String>,
    pongs_are_off: bool,
    beside_the_next: Option<(u64, Message)>,
}

/// Runs on the runtime of its test.
#[derive(Clone)]
pub(crate) struct Slack {
    /// `http://127.0.0.1:PORT`
    url: String,
    socket: String,
    inner: Arc<Mutex<Inner>>,
    numbers: Arc<AtomicU64>,
}

impl Slack {
    /// With these channels, to which the app was invited.
    pub(crate) async fn start(channels: &[&str]) -> Self {
        let (web, sockets) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let channels = channels.iter().map(ToString::to_string).collect();
        let slack = Self {
            url: format!("http://{}", web.local_addr().unwrap()),
            socket: format!("ws://{}/link/?ticket=geheim&app_id={APP}", sockets.local_addr().unwrap()),
            inner: Arc::new(Mutex::new(Inner { channels, ..Inner::default() })),
            numbers: Arc::default(),
        };
        let router = Router::new().fallback(serve).with_state(slack.clone());
        tokio::spawn(async move { axum::serve(web, router).await.unwrap() });
        tokio::spawn(slack.clone().accept(sockets));
        slack
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The configuration of an operator that tells these channels (id and namespace), and who is whom.
    pub(crate) fn configuration(&self, channels: &[(&str, &str)], people: &[(&str, &str)]) -> String {
        let channels: Vec<Value> = channels
            .iter()
            .map(|(id, namespace)| json!({"name": id, "type": "slack", "channel": id, "namespaces": [namespace]}))
            .collect();
        let people: Vec<Value> =
            people.iter().map(|(user, id)| json!({"user": user, "slack": [format!("{TEAM}/{id}")]})).collect();
        json!({
            "slack": {
                "botTokenEnv": "BOT_TOKEN", "appTokenEnv": "APP_TOKEN", "appId": APP, "api": format!("{}/api/", self.url),
            },
            "channels": channels,
            "approvers": people,
            "rollout": {"settle": "1s", "fault": "1s", "stall": "10m"},
        })
        .to_string()
    }

    /// The next calls of a method fail so.
    pub(crate) fn fail(&self, method: &str, faults: impl IntoIterator<Item = Fault>) {
        self.inner().faults.entry(method.to_owned()).or_default().extend(faults);
    }

    /// Faults that have not happened yet.
    pub(crate) fn faults_left(&self) -> usize {
        self.inner().faults.values().map(VecDeque::len).sum()
    }

    /// Messages of a channel, without what stands below them.
    pub(crate) fn messages(&self, channel: &str) -> Vec<Posted> {
        let inner = self.inner();
        inner.messages.iter().filter(|it| it.channel == channel && it.thread.is_none()).cloned().collect()
    }

    /// What stands below a message.
    pub(crate) fn replies(&self, message: &Posted) -> Vec<String> {
        let inner = self.inner();
        inner.messages.iter().filter(|it| it.thread.as_ref() == Some(&message.ts)).map(|it| it.text.clone()).collect()
    }

    /// The message of a channel whose text says that, once it is there.
    pub(crate) async fn says(&self, channel: &str, words: &str) -> Posted {
        eventually(&format!("a message says `{words}`; there are {:?}", self.texts(channel)), async || {
            self.messages(channel).into_iter().find(|it| it.text.contains(words))
        })
        .await
    }

    pub(crate) fn texts(&self, channel: &str) -> Vec<String> {
        self.messages(channel).into_iter().map(|it| it.text).collect()
    }

    /// What a method was called with.
    pub(crate) fn calls(&self, method: &str) -> Vec<Value> {
        self.inner().calls.iter().filter(|(name, _)| name == method).map(|(_, given)| given.clone()).collect()
    }

    /// Somebody deletes a message.
    pub(crate) fn delete(&self, message: &Posted) {
        self.inner().messages.retain(|it| it.ts != message.ts);
    }

    /// The sockets that are open, the oldest first.
    pub(crate) fn sockets(&self) -> Vec<u64> {
        self.inner().sockets.iter().map(|socket| socket.number).collect()
    }

    /// Waits until so many are open.
    pub(crate) async fn open_sockets(&self, count: usize) -> Vec<u64> {
        eventually(&format!("{count} sockets are open"), async || {
            Some(self.sockets()).filter(|sockets| sockets.len() == count)
        })
        .await
    }

    /// From now on pings are not answered, and nothing is sent by itself.
    pub(crate) fn be_silent(&self, silent: bool) {
        self.inner().pongs_are_off = silent;
    }

    /// Sends a frame on the newest socket, or on that one.
    pub(crate) fn send(&self, socket: Option<u64>, frame: Message) {
        let inner = self.inner();
        let socket = match socket {
            Some(number) => inner.sockets.iter().find(|it| it.number == number),
            None => inner.sockets.last(),
        };
        // It may be gone; then nobody hears it.
        if let Some(socket) = socket {
            _ = socket.frames.send(frame);
        }
    }

    /// What Slack sends when a person presses a button, and its envelope's id.
    pub(crate) fn click(&self, user: &str, message: &Posted, button: &str) -> (Value, String) {
        let id = format!("e{}", self.number());
        let actions = message.blocks.iter().find(|block| block["type"] == "actions").map(|it| it["elements"].clone());
        let is_it = |it: &&Value| it["text"]["text"] == button;
        let element = actions.as_ref().and_then(|all| all.as_array().unwrap().iter().find(is_it)).cloned();
        let element = element.unwrap_or_else(|| panic!("no button {button} at {}", message.text));
        let envelope = json!({
            "envelope_id": id,
            "type": "interactive",
            "accepts_response_payload": false,
            "payload": {
                "type": "block_actions",
                "user": {"id": user, "username": user, "name": user, "team_id": TEAM},
                "api_app_id": APP,
                "token": "Shh_its_a_seekrit",
                "container": {
                    "type": "message", "message_ts": message.ts, "channel_id": message.channel, "is_ephemeral": false,
                },
                "trigger_id": "12466734323.1395872398",
                "team": {"id": TEAM, "domain": "shop"},
                "enterprise": null,
                "is_enterprise_install": false,
                "channel": {"id": message.channel, "name": "deploys"},
                "message": {"type": "message", "bot_id": "B0", "text": message.text, "ts": message.ts, "blocks": message.blocks},
                "state": {"values": {}},
                "response_url": format!("{}/actions/{id}", self.url),
                "actions": [{
                    "action_id": element["action_id"], "block_id": "x", "text": element["text"], "value": element["value"],
                    "type": "button", "action_ts": "1548426417.840180",
                }],
            },
        });
        (envelope, id)
    }

    /// A person presses a button of a message, and is told by Slack that it was heard.
    pub(crate) async fn press(&self, user: &str, message: &Posted, button: &str) -> String {
        let click = self.click(user, message, button);
        self.insist(std::slice::from_ref(&click)).await;
        click.1
    }

    /// Sends clicks at once until each was heard: who is told by Slack that one was not in time presses again (Slack would
    /// give that an envelope's id of its own).
    pub(crate) async fn insist(&self, clicks: &[(Value, String)]) {
        for _ in 0..30 {
            let left = || clicks.iter().filter(|(_, id)| !self.is_heard(id));
            for (envelope, _) in left() {
                self.send(None, Message::text(envelope.to_string()));
            }
            let all = eventually("they are heard", async || left().next().is_none().then_some(()));
            if timeout(Duration::from_secs(10), all).await.is_ok() {
                return;
            }
        }
        panic!("of {clicks:?} only {:?} were acknowledged", self.inner().acknowledged);
    }

    /// What that socket is to be sent when another one has opened beside it, while both are there.
    pub(crate) fn send_beside_the_next(&self, old: u64, frame: Message) {
        self.inner().beside_the_next = Some((old, frame));
    }

    pub(crate) async fn heard(&self, id: &str) {
        eventually(&format!("{id} is acknowledged"), async || self.is_heard(id).then_some(())).await;
    }

    pub(crate) fn is_heard(&self, id: &str) -> bool {
        self.inner().acknowledged.iter().any(|it| it == id)
    }

    /// What that person was told alone.
    pub(crate) async fn told(&self, id: &str) -> String {
        eventually(&format!("{id} is answered"), async || self.inner().told.get(id).cloned()).await
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let slack = self.clone();
            tokio::spawn(async move {
                let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
                let number = slack.number();
                let (frames, mut out) = mpsc::unbounded_channel();
                let hello = json!({
                    "type": "hello", "connection_info": {"app_id": APP}, "num_connections": 1,
                    "debug_info": {"host": "applink-1", "build_number": 1, "approximate_connection_time": 18060},
                });
                _ = frames.send(Message::text(hello.to_string()));
                let beside = {
                    let mut inner = slack.inner();
                    inner.sockets.push(Socket { number, frames });
                    inner.beside_the_next.take()
                };
                if let Some((old, frame)) = beside {
                    slack.send(Some(old), frame);
                }
                let (mut write, mut read) = socket.split();
                loop {
                    tokio::select! {
                        frame = out.recv() => {
                            let is_over = matches!(&frame, None | Some(Message::Frame(_)));
                            let Some(frame) = frame.filter(|_| !is_over) else { break };
                            let closes = matches!(&frame, Message::Close(_));
                            if write.send(frame).await.is_err() || closes {
                                break;
                            }
                        }
                        frame = read.next() => match frame {
                            Some(Ok(Message::Text(text))) => {
                                let answer: Value = serde_json::from_str(&text).unwrap();
                                let id = answer["envelope_id"].as_str().unwrap().to_owned();
                                slack.inner().acknowledged.push(id);
                            }
                            Some(Ok(Message::Ping(_))) if slack.inner().pongs_are_off => {
                                // The library would answer with the next frame; nothing of ours may come.
                                futures::future::pending::<()>().await;
                            }
                            Some(Ok(Message::Ping(_))) => {
                                if write.send(Message::Pong(Bytes::new())).await.is_err() {
                                    break;
                                }
                            }
                            Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                            Some(Ok(_)) => {}
                        },
                    }
                }
                slack.inner().sockets.retain(|it| it.number != number);
            });
        }
    }

    fn call(&self, method: &str, token: &str, given: &Value) -> Result<Value, &'static str> {
        let is_app = method == "apps.connections.open";
        if token != format!("Bearer {}", if is_app { APP_TOKEN } else { BOT_TOKEN }) {
            return Err("invalid_auth");
        }
        let mut inner = self.inner();
        let channel = given["channel"].as_str().unwrap_or_default().to_owned();
        if !is_app && method != "auth.test" && !inner.channels.contains(&channel) {
            return Err("channel_not_found");
        }
        let text = || given["text"].as_str().unwrap_or_default().to_owned();
        let blocks = || given["blocks"].as_array().cloned().unwrap_or_default();
        match method {
            "auth.test" => {
                Ok(json!({"ok": true, "team": "Shop", "team_id": TEAM, "user": "supercargo", "user_id": "U0BOT"}))
            }
            "apps.connections.open" => Ok(json!({"ok": true, "url": self.socket})),
            "chat.postMessage" => {
                check(&text(), &blocks())?;
                let ts = format!("{}.{:06}", SystemClock::default().now().as_second(), self.number());
                inner.messages.push(Posted {
                    channel: channel.clone(),
                    ts: ts.clone(),
                    thread: given["thread_ts"].as_str().map(str::to_owned),
                    metadata: given["metadata"].clone(),
                    text: text(),
                    blocks: blocks(),
                    edits: 0,
                });
                Ok(
                    json!({"ok": true, "channel": channel, "ts": ts, "message": {"text": text(), "type": "message", "ts": ts, "app_id": APP}}),
                )
            }
            "chat.update" => {
                check(&text(), &blocks())?;
                let is_it = |it: &&mut Posted| given["ts"] == *it.ts && it.channel == channel;
                let message = inner.messages.iter_mut().find(is_it).ok_or("message_not_found")?;
                (message.text, message.blocks) = (text(), blocks());
                message.edits += 1;
                Ok(json!({"ok": true, "channel": channel, "ts": message.ts, "text": message.text}))
            }
            "conversations.history" | "conversations.replies" => {
                let thread = given["ts"].as_str();
                let is_there = |it: &&Posted| match (method, thread) {
                    ("conversations.replies", Some(ts)) => it.ts == ts || it.thread.as_deref() == Some(ts),
                    _ => it.thread.is_none(),
                };
                let oldest: f64 = given["oldest"].as_str().map_or(0.0, |it| it.parse().unwrap());
                let since = |it: &&Posted| it.ts.parse::<f64>().unwrap() >= oldest;
                let mut all: Vec<&Posted> =
                    inner.messages.iter().filter(|it| it.channel == channel).filter(is_there).filter(since).collect();
                all.reverse();
                let begin: usize = given["cursor"].as_str().map_or(0, |it| it.parse().unwrap());
                // Pages are shorter than what may be asked for: "fewer than the requested number of items may be returned".
                let page: Vec<Value> = all
                    .iter()
                    .skip(begin)
                    .take(2)
                    .map(|it| match given["include_all_metadata"] == "true" {
                        true => json!({"type": "message", "ts": it.ts, "text": it.text, "metadata": it.metadata, "app_id": APP}),
                        false => json!({"type": "message", "ts": it.ts, "text": it.text}),
                    })
                    .collect();
                let next = if begin + 2 < all.len() { (begin + 2).to_string() } else { String::new() };
                Ok(
                    json!({"ok": true, "messages": page, "has_more": !next.is_empty(), "response_metadata": {"next_cursor": next}}),
                )
            }
            _ => Err("unknown_method"),
        }
    }
}

async fn serve(State(slack): State<Slack>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().map(str::to_owned);
    let headers: HeaderMap = request.headers().clone();
    let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let say = |status: u16, body: String| Response::builder().status(status).body(Body::from(body)).unwrap();
    if let Some(id) = path.strip_prefix("/actions/") {
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&answer["response_type"], &answer["replace_original"]), (&json!("ephemeral"), &json!(false)));
        slack.inner().told.insert(id.to_owned(), answer["text"].as_str().unwrap().to_owned());
        return say(200, "ok".to_owned());
    }
    let method = path.strip_prefix("/api/").unwrap_or_default().to_owned();
    let given = match query {
        Some(query) => Value::Object(
            url::form_urlencoded::parse(query.as_bytes())
                .map(|(key, value)| (key.into_owned(), json!(value)))
                .collect(),
        ),
        None => serde_json::from_slice(&body).unwrap_or_default(),
    };
    let fault = {
        let mut inner = slack.inner();
        inner.calls.push((method.clone(), given.clone()));
        inner.faults.get_mut(&method).and_then(VecDeque::pop_front)
    };
    let is_lost = matches!(fault, Some(Fault::Lost));
    match fault {
        Some(Fault::Says(error)) => return say(200, json!({"ok": false, "error": error}).to_string()),
        Some(wait @ (Fault::Later(_) | Fault::Wait(_))) => {
            let seconds = match wait {
                Fault::Wait(words) => words.to_owned(),
                Fault::Later(seconds) => seconds.to_string(),
                _ => unreachable!("only these"),
            };
            let answer = Response::builder().status(StatusCode::TOO_MANY_REQUESTS).header("Retry-After", seconds);
            return answer.body(Body::from(json!({"ok": false, "error": "ratelimited"}).to_string())).unwrap();
        }
        Some(Fault::Status(status)) => return say(status, String::new()),
        Some(Fault::Held(mut until)) => _ = until.wait_for(|go| *go).await,
        Some(Fault::Lost) | None => {}
    }
    let token = headers.get("authorization").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let answer = slack.call(&method, token, &given);
    if is_lost {
        futures::future::pending::<()>().await;
    }
    say(200, answer.unwrap_or_else(|error| json!({"ok": false, "error": error})).to_string())
}

/// The limits of Block Kit and of `chat.postMessage`, in characters.
pub(crate) fn check(text: &str, blocks: &[Value]) -> Result<(), &'static str> {
    let length = |text: &Value| text.as_str().unwrap_or_default().chars().count();
    if text.chars().count() > 40_000 {
        return Err("msg_too_long");
    }
    let is_text = |text: &Value, most: usize, kinds: &[&str]| {
        (1..=most).contains(&length(&text["text"])) && kinds.iter().any(|kind| text["type"] == *kind)
    };
    let plain = |text: &Value, most| is_text(text, most, &["plain_text"]);
    let any = |text: &Value, most| is_text(text, most, &["plain_text", "mrkdwn"]);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let is_button = |it: &Value| {
        let confirm = &it["confirm"];
        it["type"] == "button"
            && plain(&it["text"], 75)
            && length(&it["value"]) <= 2000
            && length(&it["action_id"]) <= 255
            && (confirm.is_null()
                || plain(&confirm["title"], 100)
                    && plain(&confirm["text"], 300)
                    && plain(&confirm["confirm"], 30)
                    && plain(&confirm["deny"], 30))
    };
    let good = |block: &Value| match block["type"].as_str() {
        Some("header") => plain(&block["text"], 150),
        Some("section") => {
            let fields = list(&block["fields"]);
            (block["text"].is_null() || any(&block["text"], 3000))
                && (!block["text"].is_null() || !fields.is_empty())
                && fields.len() <= 10
                && fields.iter().all(|field| any(field, 2000))
        }
        Some("context") => {
            (1..=10).contains(&list(&block["elements"]).len())
                && list(&block["elements"]).iter().all(|element| any(element, 3000))
        }
        Some("actions") => {
            (1..=25).contains(&list(&block["elements"]).len()) && list(&block["elements"]).iter().all(is_button)
        }
        _ => false,
    };
    if blocks.len() > 50 || !blocks.iter().all(good) { Err("invalid_blocks") } else { Ok(()) }
}
