//! Finds what was posted without its name having been kept: by what our messages say of themselves, which only programs see
//! (docs.slack.dev, "Message metadata").

use std::sync::Arc;

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Desk,
    api::{ApiError, HISTORY, Method, REPLIES},
    failed::Failed,
    posting::GONE,
};
use crate::{
    domain::update::{Message, StoryLine},
    ports::Announced,
};

/// What our messages are.
pub(super) const EVENT: &str = "supercargo_update";
/// The clocks of Slack and of the API server may differ by so much.
const CLOCKS: SignedDuration = SignedDuration::from_mins(10);
/// As many messages are read at once: one may have 200 KB.
const PAGE: usize = 15;
/// As many pages of a channel are looked through for one message.
const PAGES: usize = 100;

/// Which one is which: the message about an update, or a line below it.
pub(super) fn payload(of: &Announced, line: Option<StoryLine>) -> Value {
    match line {
        None => json!({"uid": of.uid}),
        Some(StoryLine { at, phase }) => json!({"uid": of.uid, "at": at.to_string(), "phase": phase.as_str()}),
    }
}

/// One channel.
pub(super) struct Search<'d> {
    pub(super) desk: &'d Desk,
    pub(super) channel: &'d str,
}

/// A page of messages.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    messages: Vec<FoundMessage>,
    #[serde(default)]
    response_metadata: Next,
}

#[derive(Deserialize)]
struct FoundMessage {
    ts: Arc<str>,
    #[serde(default)]
    app_id: Option<String>,
    #[serde(default)]
    metadata: Value,
}

#[derive(Default, Deserialize)]
struct Next {
    #[serde(default)]
    next_cursor: String,
}

impl Search<'_> {
    /// The message about an update, if it is in the channel.
    pub(super) async fn message(&self, of: &Announced, own: &Message) -> Result<Option<Arc<str>>, Failed> {
        let oldest = own.at.checked_sub(CLOCKS).unwrap_or(own.at).as_second();
        let arguments = json!({"oldest": oldest.to_string()});
        let its = payload(of, None);
        let is_it = |payload: &Value| *payload == its;
        self.look(HISTORY, arguments, is_it).await
    }

    /// Whether a line of the story is below its message.
    pub(super) async fn is_below(&self, of: &Announced, own: &Message, line: StoryLine) -> Result<bool, Failed> {
        let its = payload(of, Some(line));
        match self.look(REPLIES, json!({"ts": own.ts}), |payload| *payload == its).await {
            // Somebody deleted what it would stand below.
            Err(Failed::Slack(ApiError::No(code))) if GONE.contains(&&*code) => Ok(true),
            found => found.map(|found| found.is_some()),
        }
    }

    /// Looks for a message of ours, page after page.
    async fn look(
        &self,
        method: Method,
        mut arguments: Value,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Option<Arc<str>>, Failed> {
        arguments["channel"] = json!(self.channel);
        arguments["include_all_metadata"] = json!(true);
        arguments["limit"] = json!(PAGE);
        for _ in 0..PAGES {
            let page: Page = self.desk.call(method, &self.desk.settings.bot_token, &arguments).await?;
            let ours = |message: &&FoundMessage| {
                let is_ours = message.app_id.as_ref().is_none_or(|app| *app == self.desk.settings.app_id);
                is_ours && message.metadata["event_type"] == EVENT && is_it(&message.metadata["event_payload"])
            };
            if let Some(found) = page.messages.iter().find(ours) {
                return Ok(Some(found.ts.clone()));
            }
            match page.response_metadata.next_cursor {
                cursor if cursor.is_empty() => return Ok(None),
                cursor => arguments["cursor"] = json!(cursor),
            }
        }
        // Whoever fills a channel so that a message cannot be found in it has it told once more at worst.
        Ok(None)
    }
}
