//! Socket Mode (docs.slack.dev, "Using Socket Mode"): Slack's clicks come over a WebSocket that we open, so that nothing
//! needs to reach us. Before Slack closes one it says so, and the next is open by then.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use backon::BackoffBuilder as _;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use http::{StatusCode, header};
use reqwest::Upgraded;
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::sync::watch;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Message,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};
use url::Url;

use super::{
    Desk, MENDED,
    api::{ApiError, OPEN, WRONG_APP, why},
    click::{self, Click, Odd, Reply},
};

/// The longest frame that is read.
const MAX_FRAME: usize = 256 << 10;
/// What is set aside for reading, and for writing: most frames are shorter.
const BUFFER: usize = 8 << 10;
/// Slack says hello within this time.
const HELLO: Duration = Duration::from_secs(10);
const PING: Duration = Duration::from_secs(15);
/// Nothing at all for so long means that nobody is there.
const SILENCE: Duration = Duration::from_secs(45);
/// A click must be answered within three seconds, or that person sees that it failed.
const IN_TIME: Duration = Duration::from_millis(2500);
/// How long one that another takes the place of is still read.
const DRAIN: Duration = Duration::from_secs(5);
/// As many clicks are worked on at once.
const CLICKS: usize = 32;

type Socket = WebSocketStream<Upgraded>;

/// What Slack sends.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    envelope_id: Option<String>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    payload: Option<Box<RawValue>>,
    #[serde(default)]
    connection_info: ConnectionInfo,
}

/// What `hello` says of whose socket it is.
#[derive(Debug, Default, Deserialize)]
struct ConnectionInfo {
    #[serde(default)]
    app_id: Option<String>,
}

/// How a connection ended.
enum End {
    /// Another one has taken its place, or Slack closed it after it had said so.
    Replaced,
    /// It broke off.
    Broken(String),
    /// It did not come about.
    Failed(ApiError),
    /// Socket Mode was switched off.
    Disabled,
}

/// Which connections there are.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Connections {
    /// The newest that Slack has said hello on.
    open: u64,
    /// The newest that is to be closed soon.
    leaving: u64,
}

/// What goes wrong with the socket, for those who are told.
const SOCKET: &str = "the socket";

/// Keeps one connection, for ever.
pub(super) async fn run(desk: Arc<Desk>) {
    let state = watch::Sender::new(Connections::default());
    let mut watched = state.subscribe();
    let mut all: FuturesUnordered<BoxFuture<'_, (u64, End)>> = FuturesUnordered::new();
    // Each with when Slack said hello (monotonic).
    let (mut alive, mut begun) = (BTreeMap::<u64, Option<Duration>>::new(), 0);
    let (mut delays, mut rest) = (delays(), Duration::ZERO);
    loop {
        let Connections { open, leaving } = *watched.borrow_and_update();
        let now = desk.clock.monotonic();
        alive.range_mut(..=open).for_each(|(_, since)| _ = since.get_or_insert(now));
        desk.metrics.slack_connected.set(i64::from(alive.values().any(Option::is_some)));
        // One that leaves is replaced before it has gone.
        if alive.keys().all(|number| *number <= leaving) && alive.len() < MOST {
            if alive.values().flatten().any(|since| *since + LASTS > now) {
                rest = rest.max(delays.next().unwrap_or(MAX_DELAY));
            }
            begun += 1;
            let (number, wait) = (begun, std::mem::take(&mut rest));
            alive.insert(number, None);
            let (desk, state) = (&desk, &state);
            let one = async move {
                desk.clock.sleep_until(desk.clock.monotonic() + wait).await;
                (number, connection(desk, number, state).await)
            };
            all.push(one.boxed());
        }
        tokio::select! {
            Some((number, end)) = all.next() => {
                let since = alive.remove(&number).flatten();
                let lasted = since.is_some_and(|since| since + LASTS <= desk.clock.monotonic());
                if lasted {
                    delays = self::delays();
                }
                let mut delay = || delays.next().unwrap_or(MAX_DELAY);
                rest = match end {
                    End::Replaced => Duration::ZERO,
                    End::Broken(error) => {
                        tracing::info!(why = error, "the connection to Slack broke off; it is opened again");
                        if lasted { SOON } else { delay() }
                    }
                    End::Failed(error) => desk.trouble(SOCKET, &error).unwrap_or_else(delay),
                    End::Disabled => {
                        desk.trouble(SOCKET, &ApiError::No("link_disabled".to_owned())).unwrap_or(MENDED)
                    }
                };
            }
            Ok(()) = watched.changed() => {}
        }
    }
}

/// How long until one is opened again that was open.
const SOON: Duration = Duration::from_millis(200);
/// One that was open for so long is no failure.
const LASTS: Duration = Duration::from_secs(30);
/// As many at once: Slack has ten for an app.
const MOST: usize = 3;
const MAX_DELAY: Duration = Duration::from_secs(60);

fn delays() -> impl Iterator<Item = Duration> {
    let builder = backon::ExponentialBuilder::default().with_min_delay(Duration::from_secs(1));
    builder.with_max_delay(MAX_DELAY).with_jitter().without_max_times().build()
}

/// One connection, from its beginning to its end.
async fn connection(desk: &Desk, number: u64, state: &watch::Sender<Connections>) -> End {
    let mut socket = match open(desk).await {
        Ok(socket) => socket,
        Err(error) => return End::Failed(error),
    };
    let end = serve(&mut socket, desk, number, state).await;
    // Whether it is closed well is nobody's concern.
    _ = desk.within(Duration::from_secs(1), socket.close(None)).await;
    end
}

/// Asks Slack where a socket is, and opens it. Its address holds a ticket, and is never told.
async fn open(desk: &Desk) -> Result<Socket, ApiError> {
    #[derive(Deserialize)]
    struct Opened {
        url: String,
    }
    let opened: Opened = desk.call(OPEN, &desk.settings.app_token, &json!({})).await?;
    let refused = |why: &str| ApiError::Away(why.to_owned());
    let mut url: Url = opened.url.parse().map_err(|_| refused("Slack names no address for the socket"))?;
    if !desk.api.is_slack(&url, ["wss", "ws"]) {
        return Err(refused("the socket's address is not at Slack, so it is not opened"));
    }
    let scheme = if url.scheme() == "wss" { "https" } else { "http" };
    url.set_scheme(scheme).map_err(|()| refused("Slack names no address for the socket"))?;
    let key = generate_key();
    let request = desk.api.client().get(url);
    let request = request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "websocket");
    let request = request.header(header::SEC_WEBSOCKET_VERSION, "13").header(header::SEC_WEBSOCKET_KEY, &key);
    let response = request.send().await.map_err(|error| ApiError::Away(why(&error.without_url())))?;
    let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(|accept| accept.as_bytes().to_owned());
    // RFC 6455, section 4.1.
    let is_upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if !is_upgraded || accepted.as_deref() != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(ApiError::Away(format!("the socket was not opened ({})", response.status().as_u16())));
    }
    let stream = response.upgrade().await.map_err(|error| ApiError::Away(why(&error.without_url())))?;
    let config = WebSocketConfig::default().max_message_size(Some(MAX_FRAME)).max_frame_size(Some(MAX_FRAME));
    let config = config.read_buffer_size(BUFFER).write_buffer_size(BUFFER);
    Ok(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await)
}

/// What is to be sent back once a click has been worked on; `None` where it is not to be answered.
type Worked = Option<String>;

async fn serve(socket: &mut Socket, desk: &Desk, number: u64, state: &watch::Sender<Connections>) -> End {
    let (clock, mut watched) = (&*desk.clock, state.subscribe());
    let began = clock.monotonic();
    let (mut heard, mut pinged, mut is_open) = (began, began, false);
    let mut drained = None;
    let mut clicks: FuturesUnordered<BoxFuture<'_, Worked>> = FuturesUnordered::new();
    loop {
        let now = clock.monotonic();
        if is_open && drained.is_none() && watched.borrow_and_update().open > number {
            drained = Some(now + DRAIN);
        }
        let wait = if is_open { SILENCE } else { HELLO };
        if now >= heard + wait {
            return End::Broken("nothing was heard".to_owned());
        }
        if drained.is_some_and(|end| end <= now) && clicks.is_empty() {
            return End::Replaced;
        }
        if now >= pinged + PING {
            pinged = now;
            if !send(socket, desk, Message::Ping(Bytes::new())).await {
                return End::Broken("a ping could not be sent".to_owned());
            }
        }
        let wake = [Some(heard + wait), Some(pinged + PING), drained.filter(|end| *end > now)];
        let wake = wake.into_iter().flatten().min().unwrap_or(now);
        tokio::select! {
            biased;
            Some(answer) = clicks.next(), if !clicks.is_empty() => {
                if let Some(id) = answer && !acknowledge(socket, desk, &id).await {
                    return End::Broken("an answer could not be sent".to_owned());
                }
            }
            frame = socket.next() => {
                heard = clock.monotonic();
                let text = match frame {
                    None => return End::Broken("Slack closed it".to_owned()),
                    Some(Err(error)) => return End::Broken(crate::net::foreign(&error.to_string())),
                    Some(Ok(Message::Close(_))) if drained.is_some() || state.borrow().leaving >= number => {
                        return End::Replaced;
                    }
                    Some(Ok(Message::Close(_))) => return End::Broken("Slack closed it".to_owned()),
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(Message::Binary(_))) => {
                        desk.odd(Odd::Malformed);
                        continue;
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                };
                let Ok(envelope) = serde_json::from_str::<Envelope>(&text) else {
                    desk.odd(Odd::Malformed);
                    continue;
                };
                match envelope.r#type.as_str() {
                    "hello" if envelope.connection_info.app_id.is_some_and(|app| app != desk.settings.app_id) => {
                        return End::Failed(ApiError::No(WRONG_APP.to_owned()));
                    }
                    "hello" => {
                        is_open = true;
                        state.send_modify(|state| state.open = state.open.max(number));
                        desk.fine(SOCKET);
                    }
                    "disconnect" if envelope.reason == "link_disabled" => return End::Disabled,
                    "disconnect" => state.send_modify(|state| state.leaving = state.leaving.max(number)),
                    "interactive" => match (envelope.envelope_id, envelope.payload) {
                        (Some(id), Some(payload)) if clicks.len() < CLICKS => {
                            clicks.push(work(id, payload, desk).boxed());
                        }
                        // Not answered, so that this person sees that it failed.
                        (Some(_), Some(_)) => desk.count("click", "late"),
                        _ => desk.odd(Odd::Malformed),
                    },
                    _ => {
                        if let Some(id) = envelope.envelope_id
                            && !acknowledge(socket, desk, &id).await
                        {
                            return End::Broken("an answer could not be sent".to_owned());
                        }
                    }
                }
            }
            () = clock.sleep_until(wake) => {}
            Ok(()) = watched.changed() => {}
        }
    }
}

async fn acknowledge(socket: &mut Socket, desk: &Desk, id: &str) -> bool {
    send(socket, desk, Message::text(json!({"envelope_id": id}).to_string())).await
}

/// Whether it was sent. Who does not read is as good as gone.
async fn send(socket: &mut Socket, desk: &Desk, message: Message) -> bool {
    matches!(desk.within(Duration::from_secs(5), socket.send(message)).await, Some(Ok(())))
}

/// Works on a click, and says what to send back: the envelope's id once what was asked for is done.
async fn work(id: String, payload: Box<RawValue>, desk: &Desk) -> Worked {
    let click = match click::read(&payload, &desk.settings.app_id) {
        Ok(click) => click,
        Err(odd) => {
            desk.odd(odd);
            return Some(id);
        }
    };
    drop(payload);
    match desk.within(IN_TIME, click::carry_out(&click, desk)).await {
        Some(Ok(reply)) => {
            let (outcome, text) = match reply {
                Reply::Counted => ("ok", None),
                Reply::Told(text) => ("ok", Some(text)),
                Reply::Tell(text) => {
                    tracing::info!(
                        who = click.who,
                        update = click.update(),
                        why = text,
                        "a click in Slack has no effect"
                    );
                    ("refused", Some(text))
                }
            };
            desk.count("click", outcome);
            text.into_iter().for_each(|text| desk.tell(&click, text));
            Some(id)
        }
        Some(Err(error)) => {
            tracing::warn!(why = %error, "a click in Slack was not worked on; that person sees that it failed");
            desk.count("click", "unavailable");
            None
        }
        None => {
            tracing::warn!("a click in Slack was not worked on in time; that person sees that it failed");
            desk.count("click", "late");
            None
        }
    }
}

impl Desk {
    /// Answers that person alone. Nobody waits for it.
    fn tell(&self, click: &Click, text: String) {
        let Some(url) = click.response_url.clone().filter(|url| self.api.is_slack(url, ["https", "http"])) else {
            return;
        };
        let request = self.api.client().post(url).json(&json!({
            "response_type": "ephemeral", "replace_original": false, "text": text,
        }));
        let answers = self.answers.clone();
        let Ok(room) = answers.try_acquire_owned() else { return self.count("response_url", "late") };
        let metrics = self.metrics.clone();
        tokio::spawn(async move {
            let outcome = match request.send().await {
                Ok(response) if response.status().is_success() => "ok",
                Ok(_) => "refused",
                Err(_) => "unavailable",
            };
            metrics
                .slack_requests
                .get_or_create(&crate::metrics::SlackLabels { method: "response_url", outcome })
                .inc();
            drop(room);
        });
    }
}
