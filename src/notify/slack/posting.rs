//! Posts and edits messages, of each channel one after the other. That something is to be posted is kept in the update's
//! record before it is, and its name afterwards: who finds the first without the second looks whether it is there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::future::join_all;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    BOT, CONFLICT, Channel, Desk, LONGEST, Turn,
    api::{ApiError, POST, UPDATE},
    failed::Failed,
    message::{Rendered, gone, line, message, story},
    outbox::{Outbox, WaitsIn},
    search::{EVENT, Search, payload},
};
use crate::{
    domain::update::{MESSAGES, Message, StoryLine},
    ports::{Announced, PutError, UpdateName},
};

/// One post a second and channel ("Rate limits").
const POST_EVERY: Duration = Duration::from_secs(1);
/// One edit of a message in this time.
const EDIT_EVERY: Duration = Duration::from_secs(3);
/// A claim that another process has made is not taken over sooner: Slack may be posting it.
const CLAIMED: SignedDuration = SignedDuration::from_secs(10);
const OLD: &str = "the definition of imageupdates is older than supercargo: apply deploy/crds";
/// What Slack says of messages that are not there any more.
pub(super) const GONE: &[&str] = &["message_not_found", "thread_not_found"];
/// What Slack says of messages that stay as they are.
const UNCHANGEABLE: &[&str] =
    &["cant_update_message", "edit_window_closed", "is_inactive", "no_dual_broadcast_content_update"];

/// Posts as long as this process is the leader, once all is known, until `closing` says that it is to end: what is being
/// posted then is ended first.
pub(super) async fn run(
    desk: Arc<Desk>,
    outbox: Outbox,
    Turn { mut leader, mut ready }: Turn,
    mut closing: watch::Receiver<bool>,
) {
    outbox.serve(&desk.settings.channels);
    let (desk, outbox) = (&*desk, &outbox);
    // Nothing changes sooner; while so much is read, more connections to the API server would take more memory, for long.
    tokio::select! {
        known = ready.wait_for(|ready| *ready) => if known.is_err() { return },
        _ = closing.wait_for(|closes| *closes) => return,
    }
    while !*closing.borrow() {
        tokio::select! {
            leads = leader.wait_for(|leads| *leads) => if leads.is_err() { return },
            _ = closing.wait_for(|closes| *closes) => return,
        }
        let channels = &desk.settings.channels;
        let lanes = join_all(channels.iter().map(|channel| Lane::new(desk, outbox, channel).run(closing.clone())));
        tokio::select! {
            _ = lanes => return,
            () = outbox.refill(desk) => {}
            _ = leader.wait_for(|leads| !*leads) => {}
        }
    }
}

/// One channel.
struct Lane<'d> {
    desk: &'d Desk,
    outbox: &'d Outbox,
    channel: &'d Channel,
    /// What was shown last of each update.
    shown: HashMap<UpdateName, Shown>,
    /// Updates of whose posts no answer came: until when Slack may still do it (monotonic).
    unsure: HashMap<UpdateName, Duration>,
}

/// What a message shows.
struct Shown {
    ts: Arc<str>,
    hash: Arc<str>,
    /// When it was written (monotonic).
    at: Duration,
}

/// Where an update waits next, if it does.
type Next = Option<WaitsIn>;

/// What Slack says of a message.
#[derive(Deserialize)]
struct Posted {
    ts: Arc<str>,
}

impl<'d> Lane<'d> {
    fn new(desk: &'d Desk, outbox: &'d Outbox, channel: &'d Channel) -> Self {
        Self { desk, outbox, channel, shown: HashMap::new(), unsure: HashMap::new() }
    }

    async fn run(mut self, mut closing: watch::Receiver<bool>) {
        let (clock, id) = (&*self.desk.clock, &self.channel.id);
        let mut bell = self.outbox.bell();
        let mut failures = 0;
        while !*closing.borrow_and_update() {
            bell.borrow_and_update();
            let update = match self.outbox.next(id, clock.monotonic()) {
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
                        _ = bell.changed() => {}
                        _ = closing.changed() => {}
                    }
                    continue;
                }
            };
            // Boxed: most of the time there is nothing to do.
            let place = match Box::pin(self.tend(&update)).await {
                Ok(next) => {
                    failures = 0;
                    next
                }
                Err(Failed::Slack(error)) if error.is_of_all() => {
                    let doubled = Duration::from_secs(1).saturating_mul(2u32.saturating_pow(failures.min(6)));
                    let rest = self.desk.trouble(&self.what(), &error).unwrap_or(doubled.min(LONGEST));
                    failures += 1;
                    self.outbox.set_pace(id, |pace| pace.rest = clock.monotonic() + rest);
                    Some(WaitsIn::Line)
                }
                // It concerns that one alone, and holds up no other.
                Err(failed) => Some(WaitsIn::Later(clock.monotonic() + failed.wait(&update))),
            };
            if let Some(place) = place {
                self.outbox.put(id, update, place);
            }
        }
    }

    /// Brings the message of an update up to date: one step, and when the next is due.
    async fn tend(&mut self, name: &UpdateName) -> Result<Next, Failed> {
        let Some(of) = self.read(name).await? else { return self.gone(name).await };
        let now = self.desk.clock.monotonic();
        let own = of.messages.iter().find(|message| message.channel == self.channel.id).cloned();
        match own {
            Some(Message { done: true, .. }) => Ok(self.forget(name)),
            Some(own @ Message { ts: Some(_), .. }) => self.edit(&of, own).await,
            // It was being posted when the process ended, or the answer did not come.
            Some(own) => {
                let since = self.desk.clock.now().duration_since(own.at);
                let rest = Duration::try_from(CLAIMED.saturating_sub(since)).unwrap_or_default();
                let until = self.unsure.get(name).copied().unwrap_or(now + rest);
                if until > now {
                    return Ok(Some(WaitsIn::Later(until)));
                }
                self.unsure.remove(name);
                match self.search().message(&of, &own).await? {
                    Some(ts) => self.named(of, Message { ts: Some(ts), ..own }).await,
                    None if of.tracked.asked().is_none() => self.end(&of, own).await,
                    None if !self.may_post() => Ok(Some(WaitsIn::Posts)),
                    None => self.post(of, own).await,
                }
            }
            None if of.tracked.asked().is_none() => Ok(self.forget(name)),
            None if of.messages.len() >= MESSAGES => Ok(self.forget(name)),
            // It is claimed in its turn only, so that what was claimed is posted at once.
            None if !self.may_post() => Ok(Some(WaitsIn::Posts)),
            None => {
                let own = Message::new(self.channel.id.clone(), self.desk.clock.now());
                let of = self.keep(of, own.clone()).await?;
                self.post(of, own).await
            }
        }
    }

    fn forget(&mut self, name: &UpdateName) -> Next {
        self.shown.remove(name);
        self.unsure.remove(name);
        None
    }

    /// Its record was deleted, with its workload or by somebody: nobody is asked any more.
    async fn gone(&mut self, name: &UpdateName) -> Result<Next, Failed> {
        if let Some(Shown { ts, .. }) = self.shown.get(name) {
            let Rendered { text, blocks } = gone(name);
            let arguments = json!({"channel": self.channel.id, "ts": ts, "text": text, "blocks": blocks});
            match self.desk.call::<Posted>(UPDATE, &self.desk.settings.bot_token, &arguments).await {
                Ok(_) | Err(ApiError::No(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.forget(name))
    }

    fn may_post(&self) -> bool {
        self.outbox.pace(&self.channel.id).post <= self.desk.clock.monotonic()
    }

    /// The update as it is now, if it is there.
    async fn read(&self, name: &UpdateName) -> Result<Option<Announced>, Failed> {
        let _turn = self.desk.records.acquire().await;
        Ok(self.desk.messages.get(name).await.map_err(PutError::from)?)
    }

    /// Writes what is said of all its messages; the update as it is then.
    async fn write(&self, of: &Announced, messages: &[Message]) -> Result<Announced, Failed> {
        let _turn = self.desk.records.acquire().await;
        Ok(self.desk.messages.keep(of, messages).await?)
    }

    /// Keeps what is said of this channel's message; the update as it is then.
    async fn keep(&self, of: Announced, own: Message) -> Result<Announced, Failed> {
        let mut messages = of.messages.clone();
        match messages.iter_mut().find(|message| message.channel == own.channel) {
            Some(message) => *message = own,
            None => messages.push(own),
        }
        match self.write(&of, &messages).await? {
            kept if kept.messages == messages => Ok(kept),
            // The API server drops what a definition does not have.
            _ => Err(PutError::Refused(OLD.to_owned()).into()),
        }
    }

    async fn post(&mut self, of: Announced, own: Message) -> Result<Next, Failed> {
        let rendered = message(&of);
        let posted = self.send(&self.showing(&of, &rendered)).await.inspect_err(|failed| {
            if matches!(failed, Failed::Slack(ApiError::Lost(_))) {
                self.unsure.insert(of.name.clone(), self.desk.clock.monotonic() + LONGEST);
            }
        })?;
        self.show(&of.name, &posted.ts, &rendered.hash());
        self.named(of, Message { ts: Some(posted.ts), shown: Some(rendered.hash()), ..own }).await
    }

    fn show(&mut self, name: &UpdateName, ts: &Arc<str>, hash: &Arc<str>) {
        let at = self.desk.clock.monotonic();
        self.shown.insert(name.clone(), Shown { ts: ts.clone(), hash: hash.clone(), at });
    }

    /// It is there by that name, which is kept whatever else is written meanwhile.
    async fn named(&mut self, mut of: Announced, own: Message) -> Result<Next, Failed> {
        let clock = &*self.desk.clock;
        loop {
            match self.keep(of.clone(), own.clone()).await {
                Err(Failed::Record(PutError::Conflict)) => clock.sleep_until(clock.monotonic() + CONFLICT).await,
                kept => return kept.map(|_| Some(WaitsIn::Line)),
            }
            let Some(read) = self.read(&of.name).await? else { return Ok(None) };
            of = read;
        }
    }

    /// Shows the update as it is now, and tells the next line of its story.
    async fn edit(&mut self, of: &Announced, own: Message) -> Result<Next, Failed> {
        let (name, now) = (&of.name, self.desk.clock.monotonic());
        let rendered = message(of);
        let hash = rendered.hash();
        let before = self.shown.get(name).map(|shown| (&shown.hash, Some(shown.at)));
        // In another life of the program, it was as its record says.
        let before = before.or_else(|| own.shown.as_ref().map(|shown| (shown, None)));
        if before.is_none_or(|(shown, _)| *shown != hash) {
            if let Some(at) = before.and_then(|(_, at)| at).map(|at| at + EDIT_EVERY).filter(|at| *at > now) {
                return Ok(Some(WaitsIn::Later(at)));
            }
            if let Some(at) = self.outbox.edits().wait(&self.channel.id, now) {
                self.outbox.set_pace(&self.channel.id, |pace| pace.edit = at);
                return Ok(Some(WaitsIn::Edits));
            }
            let mut arguments = self.showing(of, &rendered);
            arguments["ts"] = json!(own.ts);
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
            if let Some(ts) = &own.ts {
                self.show(name, ts, &hash);
            }
        }
        if let Some(ts) = own.ts.clone() {
            let at = Duration::ZERO;
            self.shown.entry(name.clone()).or_insert_with(|| Shown { ts, hash: hash.clone(), at });
        }
        self.reply(of, Message { shown: Some(hash), ..own }).await
    }

    /// It is posted anew while people are asked, and else left.
    async fn lost(&mut self, of: Announced, own: Message) -> Result<Next, Failed> {
        self.shown.remove(&of.name);
        if of.tracked.asked().is_none() {
            return self.end(&of, own).await;
        }
        // Deleted is deleted: it is posted in its turn.
        let messages: Vec<Message> = of.messages.iter().filter(|it| it.channel != own.channel).cloned().collect();
        self.write(&of, &messages).await?;
        Ok(Some(WaitsIn::Posts))
    }

    /// Nothing more is done for it.
    async fn end(&mut self, of: &Announced, own: Message) -> Result<Next, Failed> {
        self.keep(of.clone(), Message { done: true, ..own }).await?;
        Ok(self.forget(&of.name))
    }

    /// Tells the next line of the story below the message, or that there is none any more.
    async fn reply(&mut self, of: &Announced, own: Message) -> Result<Next, Failed> {
        let (line, own) = match (own.replying, own.told) {
            // It was being posted when the process ended, or the answer did not come.
            (true, Some(told)) => match line(&of.tracked, told) {
                Some(words) if !self.search().is_below(of, &own, told).await? => ((told, words), own),
                _ => return self.named(of.clone(), Message { replying: false, ..own }).await,
            },
            _ => match story(&of.tracked, &own) {
                Some((line, words)) => {
                    let replies = own.replies + 1;
                    ((line, words), Message { replies, told: Some(line), replying: true, ..own })
                }
                None if of.tracked.phase.is_over() => return self.end(of, own).await,
                None => return Ok(None),
            },
        };
        if !self.may_post() {
            return Ok(Some(WaitsIn::Replies));
        }
        let of = self.keep(of.clone(), own.clone()).await?;
        self.tell(&of, &own, line.0, &line.1).await?;
        self.named(of, Message { replying: false, ..own }).await
    }

    async fn tell(&mut self, of: &Announced, own: &Message, at: StoryLine, line: &str) -> Result<(), Failed> {
        let mut arguments = self.arguments(payload(of, Some(at)));
        arguments["thread_ts"] = json!(own.ts);
        arguments["text"] = json!(line);
        arguments["mrkdwn"] = json!(false);
        match self.send(&arguments).await {
            // Somebody deleted what it would stand below, or nobody may write there: the message itself tells it all.
            Err(Failed::Slack(error @ ApiError::No(_))) if error.advice().is_none() => Ok(()),
            sent => sent.map(|_| ()),
        }
    }

    fn search(&self) -> Search<'_> {
        Search { desk: self.desk, channel: &self.channel.id }
    }

    /// The message itself.
    fn showing(&self, of: &Announced, Rendered { text, blocks }: &Rendered) -> Value {
        let mut arguments = self.arguments(payload(of, None));
        arguments["text"] = json!(text);
        arguments["blocks"] = json!(blocks);
        arguments
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
        let next = self.desk.clock.monotonic() + POST_EVERY;
        self.outbox.set_pace(&self.channel.id, |pace| pace.post = next);
        let posted = posted?;
        self.fine();
        Ok(posted)
    }

    fn fine(&self) {
        self.desk.fine(BOT);
        self.desk.fine(&self.what());
    }

    /// The channel, as it is told.
    fn what(&self) -> String {
        format!("channel {}", self.channel.name)
    }
}
