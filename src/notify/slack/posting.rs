//! Posts and edits messages, of each channel one after the other. That something is to be posted is kept in the update's
//! record before it is, and its name afterwards: who finds the first without the second looks whether it is there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Channel, Desk,
    api::{ApiError, POST, UPDATE},
    message::{line, message, story},
    outbox::Outbox,
    pace::Edits,
    search::{EVENT, Search, payload},
};
use crate::{
    domain::update::{Line, MESSAGES, Message},
    ports::{Announced, PutError, UpdateName},
};

/// One post a second and channel ("Rate limits").
const POST_EVERY: Duration = Duration::from_secs(1);
/// One edit of a message in this time.
const EDIT_EVERY: Duration = Duration::from_secs(3);
/// The longest wait until something is tried again that failed, unless only a person can mend it.
const LONGEST: Duration = Duration::from_secs(60);
const OLD: &str = "the definition of imageupdates is older than supercargo: apply deploy/crds";
/// How long until a record is read again that was written meanwhile.
const CONFLICT: Duration = Duration::from_millis(50);
/// What Slack says of messages that are not there any more.
pub(super) const GONE: &[&str] = &["message_not_found", "thread_not_found"];
/// What Slack says of messages that stay as they are.
const UNCHANGEABLE: &[&str] =
    &["cant_update_message", "edit_window_closed", "is_inactive", "no_dual_broadcast_content_update"];

/// Posts as long as this process is the leader, for ever.
pub(super) async fn run(desk: &Desk, outbox: &Outbox, mut leader: watch::Receiver<bool>) {
    loop {
        if leader.wait_for(|leads| *leads).await.is_err() {
            return futures::future::pending().await;
        }
        let edits = Edits::default();
        let lanes = desk.settings.channels.iter().map(|channel| Lane::new(desk, outbox, channel, &edits).run());
        let work = futures::future::join(join_all(lanes), outbox.refill(desk));
        tokio::select! {
            _ = work => {}
            _ = leader.wait_for(|leads| !*leads) => {}
        }
    }
}

/// One channel.
struct Lane<'d> {
    desk: &'d Desk,
    outbox: &'d Outbox,
    channel: &'d Channel,
    edits: &'d Edits,
    /// What was shown last of each update, as a hash, and when (monotonic).
    shown: HashMap<UpdateName, (Arc<str>, Duration)>,
    /// When the next post may be made.
    next_post: Duration,
}

/// When an update is to be thought of again, if it is.
type Again = Option<Duration>;

/// Why an update is not told now.
pub(super) enum Failed {
    Slack(ApiError),
    Record(PutError),
}

impl Failed {
    /// How long that update waits then.
    fn wait(&self, update: &UpdateName) -> Duration {
        let UpdateName { namespace, name } = update;
        match self {
            // It is read again.
            Self::Record(PutError::Conflict) => return CONFLICT,
            Self::Record(error) => {
                tracing::warn!(%namespace, update = &**name, why = %error, "what is told in Slack is not recorded; tried again");
            }
            Self::Slack(error) => {
                tracing::warn!(%namespace, update = &**name, why = %error, "Slack does not take a message; tried again");
            }
        }
        LONGEST
    }
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self::Slack(error)
    }
}

impl From<PutError> for Failed {
    fn from(error: PutError) -> Self {
        Self::Record(error)
    }
}

/// What Slack says of a message.
#[derive(Deserialize)]
struct Posted {
    ts: Arc<str>,
}

impl<'d> Lane<'d> {
    fn new(desk: &'d Desk, outbox: &'d Outbox, channel: &'d Channel, edits: &'d Edits) -> Self {
        Self { desk, outbox, channel, edits, shown: HashMap::new(), next_post: Duration::ZERO }
    }

    async fn run(mut self) {
        let clock = &*self.desk.clock;
        let mut bell = self.outbox.bell();
        let mut failures = 0;
        loop {
            bell.borrow_and_update();
            let update = match self.outbox.next(&self.channel.id, clock.monotonic()) {
                Ok(update) => update,
                Err(wait) => {
                    let wait = async {
                        match wait {
                            Some(at) => clock.sleep_until(at).await,
                            None => futures::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = wait => {}
                        Ok(()) = bell.changed() => {}
                    }
                    continue;
                }
            };
            match self.tend(&update).await {
                Ok(again) => {
                    failures = 0;
                    if let Some(at) = again {
                        self.outbox.later(&self.channel.id, update, at);
                    }
                }
                Err(Failed::Slack(error)) if error.is_of_all() => {
                    let doubled = Duration::from_secs(1).saturating_mul(2u32.saturating_pow(failures.min(6)));
                    let rest = self.desk.trouble(&self.what(), &error).unwrap_or(doubled.min(LONGEST));
                    failures += 1;
                    self.outbox.later(&self.channel.id, update, clock.monotonic());
                    clock.sleep_until(clock.monotonic() + rest).await;
                }
                // It concerns that one alone, and holds up no other.
                Err(failed) => {
                    let wait = failed.wait(&update);
                    self.outbox.later(&self.channel.id, update, clock.monotonic() + wait);
                }
            }
        }
    }

    /// Brings the message of an update up to date: one step, and when the next is due.
    async fn tend(&mut self, name: &UpdateName) -> Result<Again, Failed> {
        let Some(of) = self.desk.messages.get(name).await.map_err(PutError::from)? else {
            self.shown.remove(name);
            return Ok(None);
        };
        let own = of.messages.iter().find(|message| message.channel == self.channel.id).cloned();
        match own {
            Some(Message { done: true, .. }) => Ok(self.forget(name)),
            Some(own @ Message { ts: Some(_), .. }) => self.edit(&of, own).await,
            // It was being posted when the process ended, or the answer did not come.
            Some(own) => match self.search().message(&of, &own).await? {
                Some(ts) => self.named(of, Message { ts: Some(ts), ..own }).await,
                None if of.tracked.asked().is_none() => self.end(&of, own).await,
                None => self.post(of, own).await,
            },
            None if of.tracked.asked().is_none() => Ok(self.forget(name)),
            None if of.messages.len() >= MESSAGES => Ok(self.forget(name)),
            None => {
                // It is claimed in its turn only, so that what was claimed is posted at once.
                if let Some(at) = self.wait_to_post() {
                    return Ok(Some(at));
                }
                let own = Message::new(self.channel.id.clone(), self.desk.clock.now());
                let of = self.keep(of, own.clone()).await?;
                self.post(of, own).await
            }
        }
    }

    fn forget(&mut self, name: &UpdateName) -> Again {
        self.shown.remove(name);
        None
    }

    fn wait_to_post(&self) -> Again {
        Some(self.next_post).filter(|at| *at > self.desk.clock.monotonic())
    }

    /// Keeps what is said of this channel's message, and reads the update as it is then.
    async fn keep(&self, of: Announced, own: Message) -> Result<Announced, Failed> {
        let mut messages = of.messages.clone();
        match messages.iter_mut().find(|message| message.channel == own.channel) {
            Some(message) => *message = own,
            None => messages.push(own),
        }
        self.desk.messages.keep(&of, &messages).await?;
        let read = self.desk.messages.get(&of.name).await.map_err(PutError::from)?;
        match read {
            Some(read) if read.messages == messages => Ok(read),
            // The API server drops what a definition does not have.
            Some(read) if read.messages.is_empty() => Err(PutError::Refused(OLD.to_owned()).into()),
            _ => Err(PutError::Conflict.into()),
        }
    }

    async fn post(&mut self, of: Announced, own: Message) -> Result<Again, Failed> {
        if let Some(at) = self.wait_to_post() {
            self.desk.clock.sleep_until(at).await;
        }
        let rendered = message(&of);
        let mut arguments = self.arguments(payload(&of, None));
        arguments["text"] = json!(rendered.text);
        arguments["blocks"] = json!(rendered.blocks);
        let posted = self.send(&arguments).await?;
        let shown = rendered.hash();
        self.shown.insert(of.name.clone(), (shown.clone(), self.desk.clock.monotonic()));
        self.named(of, Message { ts: Some(posted.ts), shown: Some(shown), ..own }).await
    }

    /// It is there by that name, which is kept whatever else is written meanwhile.
    async fn named(&mut self, mut of: Announced, own: Message) -> Result<Again, Failed> {
        let clock = &*self.desk.clock;
        loop {
            match self.keep(of.clone(), own.clone()).await {
                Err(Failed::Record(PutError::Conflict)) => clock.sleep_until(clock.monotonic() + CONFLICT).await,
                kept => return kept.map(|_| Some(clock.monotonic())),
            }
            let Some(read) = self.desk.messages.get(&of.name).await.map_err(PutError::from)? else { return Ok(None) };
            of = read;
        }
    }

    /// Shows the update as it is now, and tells the next line of its story.
    async fn edit(&mut self, of: &Announced, own: Message) -> Result<Again, Failed> {
        let (name, now) = (&of.name, self.desk.clock.monotonic());
        let rendered = message(of);
        let hash = rendered.hash();
        let before = self.shown.get(name).map(|(shown, at)| (shown, Some(*at)));
        // In another life of the program, it was as its record says.
        let before = before.or_else(|| own.shown.as_ref().map(|shown| (shown, None)));
        if before.is_none_or(|(shown, _)| *shown != hash) {
            let soon = before.and_then(|(_, at)| at).map(|at| at + EDIT_EVERY).filter(|at| *at > now);
            if let Some(at) = soon.or_else(|| self.edits.wait(now)) {
                return Ok(Some(at));
            }
            let mut arguments = self.arguments(payload(of, None));
            arguments["ts"] = json!(own.ts);
            arguments["text"] = json!(rendered.text);
            arguments["blocks"] = json!(rendered.blocks);
            match self.desk.call::<Posted>(UPDATE, &self.desk.settings.bot_token, &arguments).await {
                Ok(_) => {}
                // Somebody deleted it.
                Err(ApiError::No(code)) if GONE.contains(&&*code) => {
                    return self.lost(of.clone(), own).await;
                }
                Err(ApiError::No(code)) if UNCHANGEABLE.contains(&&*code) => {
                    tracing::warn!(update = &*name.name, code, "a message in Slack is left as it is");
                }
                Err(error) => return Err(error.into()),
            }
            self.fine();
            self.shown.insert(name.clone(), (hash.clone(), self.desk.clock.monotonic()));
        }
        self.reply(of, Message { shown: Some(hash), ..own }).await
    }

    /// It is posted anew while people are asked, and else left.
    async fn lost(&mut self, of: Announced, own: Message) -> Result<Again, Failed> {
        self.shown.remove(&of.name);
        if of.tracked.asked().is_none() {
            return self.end(&of, own).await;
        }
        let own = Message::new(own.channel, self.desk.clock.now());
        let of = self.keep(of, own.clone()).await?;
        self.post(of, own).await
    }

    /// Nothing more is done for it.
    async fn end(&mut self, of: &Announced, own: Message) -> Result<Again, Failed> {
        self.keep(of.clone(), Message { done: true, ..own }).await?;
        Ok(self.forget(&of.name))
    }

    /// Tells the next line of the story below the message, or that there is none any more.
    async fn reply(&mut self, of: &Announced, own: Message) -> Result<Again, Failed> {
        if let (true, Some(told)) = (own.replying, own.told) {
            // It was being posted when the process ended, or the answer did not come.
            if let Some(line) = line(&of.tracked, told)
                && !self.search().is_below(of, &own, told).await?
            {
                self.tell(of, &own, told, &line).await?;
            }
            self.named(of.clone(), Message { replying: false, ..own }).await?;
        } else if let Some((at, line)) = story(&of.tracked, &own) {
            if let Some(at) = self.wait_to_post() {
                return Ok(Some(at));
            }
            let own = Message { replies: own.replies + 1, told: Some(at), replying: true, ..own };
            let of = self.keep(of.clone(), own.clone()).await?;
            self.tell(&of, &own, at, &line).await?;
            self.named(of, Message { replying: false, ..own }).await?;
        } else if of.tracked.phase.is_over() {
            return self.end(of, own).await;
        } else {
            return Ok(None);
        }
        Ok(Some(self.desk.clock.monotonic()))
    }

    async fn tell(&mut self, of: &Announced, own: &Message, at: Line, line: &str) -> Result<(), Failed> {
        let mut arguments = self.arguments(payload(of, Some(at)));
        arguments["thread_ts"] = json!(own.ts);
        arguments["text"] = json!(line);
        arguments["mrkdwn"] = json!(false);
        match self.send(&arguments).await {
            // Somebody deleted what it would stand below; the next edit finds that.
            Err(Failed::Slack(ApiError::No(code))) if GONE.contains(&&*code) => Ok(()),
            sent => sent.map(|_| ()),
        }
    }

    fn search(&self) -> Search<'_> {
        Search { desk: self.desk, channel: &self.channel.id }
    }

    /// What all our messages have in common. Nothing in them calls anybody, or is shown as a page.
    fn arguments(&self, payload: Value) -> Value {
        json!({
            "channel": self.channel.id,
            "metadata": {"event_type": EVENT, "event_payload": payload},
            "parse": "none",
            "link_names": false,
            "unfurl_links": false,
            "unfurl_media": false,
        })
    }

    async fn send(&mut self, arguments: &Value) -> Result<Posted, Failed> {
        let posted = self.desk.call(POST, &self.desk.settings.bot_token, arguments).await;
        self.next_post = self.desk.clock.monotonic() + POST_EVERY;
        let posted = posted?;
        self.fine();
        Ok(posted)
    }

    fn fine(&self) {
        self.desk.fine(&self.what());
    }

    /// The channel, as it is told.
    fn what(&self) -> String {
        format!("channel {}", self.channel.name)
    }
}
