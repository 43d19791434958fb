//! The message about one update, and the lines below it, made of its record alone (docs.slack.dev, "Block Kit").

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::text::{code, plain, quoted};
use crate::{
    domain::{
        hours::shown,
        image::ImageRef,
        reason::{Code, Reason},
        rollout::without_words,
        text::escape,
        update::{Change, Item, LogEntry, Message, Phase, PhaseName, StoryLine, Tracked, hash},
        votes::Approval,
    },
    ports::{Announced, UpdateName},
};

/// As many containers are shown one by one: a section has ten fields.
const CONTAINERS: usize = 8;
/// As many lines of its story are told below a message.
pub(super) const REPLIES: u8 = 8;
/// The longest header, in characters.
const HEADER: usize = 150;
/// The longest image that is shown, in bytes: two of them and a name make a field, of 2,000 characters.
const IMAGE: usize = 600;
/// `sha256:` and twelve digits.
const DIGEST: usize = 19;
/// The longest name that is shown.
const NAME: usize = 300;
/// The longest sentence.
const SENTENCE: usize = 1900;

/// What the buttons are called in what Slack sends.
pub(super) const APPROVE: &str = "supercargo_approve";
pub(super) const REJECT: &str = "supercargo_reject";
pub(super) const HOLD: &str = "supercargo_hold";
pub(super) const DETAILS: &str = "supercargo_details";

/// What is posted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rendered {
    /// The same in one line, for where blocks are not shown.
    pub text: String,
    /// What is shown.
    pub blocks: Vec<Value>,
}

impl Rendered {
    /// What tells it from another.
    pub(super) fn hash(&self) -> Arc<str> {
        hash([self.text.clone(), json!(self.blocks).to_string()].into_iter())
    }
}

/// What a button is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subject {
    pub(super) namespace: String,
    pub(super) update: String,
    pub(super) uid: String,
    pub(super) target: String,
}

/// The message about an update as it is now.
pub fn message(of: &Announced) -> Rendered {
    let Announced { tracked, .. } = of;
    let update = &tracked.update;
    let state = state(tracked);
    let header: String = format!("{state}: {}", escape(&update.workload.to_string())).chars().take(HEADER).collect();
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": header, "emoji": false}}),
        json!({"type": "section", "fields": fields(&update.items)}),
    ];
    if let Some(sentence) = sentence(tracked) {
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": sentence, "verbatim": true}}));
    }
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": context(of), "verbatim": true}]}));
    if tracked.asked().is_some() {
        blocks.push(json!({"type": "actions", "elements": buttons(of)}));
    }
    let what = update.items.first().map(|item| change(&item.change)).unwrap_or_default();
    let more = if update.items.len() > 1 { format!(" and {} more", update.items.len() - 1) } else { String::new() };
    let text = format!("{state}: {} {what}{more}", plain(&update.workload.to_string(), NAME));
    Rendered { text, blocks }
}

/// The message about an update whose record is not there any more.
pub(super) fn gone(name: &UpdateName) -> Rendered {
    let text =
        format!("Gone: the record {} of namespace {} was deleted", code(&name.name, NAME), code(&name.namespace, NAME));
    let blocks = vec![json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}})];
    Rendered { text, blocks }
}

/// The line of the story that is told next below the message, after so many: the first since the message was claimed, or
/// after the last that was told. Only the last of [`REPLIES`] lines is kept for the end.
pub fn story(tracked: &Tracked, message: &Message) -> Option<(StoryLine, String)> {
    let is_last = message.replies + 1 >= REPLIES;
    let log = &tracked.log;
    let told = message.told.and_then(|told| log.iter().rposition(|entry| is(entry, told)));
    let since = message.told.map_or(message.at, |told| told.at);
    let rest = told.map_or(&log[..], |told| &log[told + 1..]).iter();
    let is_end = |entry: &LogEntry| tracked.phase.is_over() && log.last() == Some(entry);
    let entry = rest.filter(|entry| told.is_some() || entry.at > since).find(|entry| !is_last || is_end(entry))?;
    let line = StoryLine { at: entry.at, phase: entry.phase };
    (message.replies < REPLIES).then(|| (line, words(entry)))
}

fn is(entry: &LogEntry, line: StoryLine) -> bool {
    (entry.at, entry.phase) == (line.at, line.phase)
}

/// That line in words.
pub(super) fn line(tracked: &Tracked, line: StoryLine) -> Option<String> {
    tracked.log.iter().find(|entry| is(entry, line)).map(words)
}

/// What may be said of it to whoever is in a channel: nothing that a container said.
pub(super) fn public(reason: &Reason) -> &str {
    without_words(&reason.message)
}

fn words(LogEntry { phase, reason, .. }: &LogEntry) -> String {
    let said = reason.as_ref().map(|reason| plain(public(reason), SENTENCE));
    match (phase, said) {
        (PhaseName::Waiting, Some(said)) => said,
        (phase, None) => name(*phase).to_owned(),
        (phase, Some(said)) => format!("{}: {said}", name(*phase)),
    }
}

/// How far it is, in a word or two.
pub(super) fn state(tracked: &Tracked) -> &'static str {
    match (&tracked.phase, tracked.asked()) {
        (Phase::Waiting { .. }, Some(asked)) if asked.is_reached() && !asked.unsure => "Approved",
        (Phase::Waiting { .. }, Some(_)) => "Waiting for approval",
        (phase, _) => name(phase.name()),
    }
}

fn name(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::Proposed | PhaseName::Applying => "Being written",
        PhaseName::Waiting => "Waiting",
        PhaseName::InGit => "In Git",
        PhaseName::Progressing => "Rolling out",
        PhaseName::Succeeded => "Done",
        PhaseName::RollingBack => "Rolling back",
        PhaseName::RolledBack => "Rolled back",
        PhaseName::Failed => "Failed",
        PhaseName::Superseded => "Superseded",
        PhaseName::Rejected => "Rejected",
        PhaseName::Expired => "Expired",
    }
}

/// Who said what, or why it is where it is.
fn sentence(tracked: &Tracked) -> Option<String> {
    match (tracked.asked(), tracked.reason().or(tracked.phase.reason())) {
        (Some(asked), _) if !asked.unsure => Some(asking(asked)),
        (_, Some(reason)) => {
            let approvers = tracked.approval.as_deref().filter(|_| reason.code != Code::Rejected).and_then(approvers);
            Some(format!("{}{}", quoted(public(reason), SENTENCE), approvers.unwrap_or_default()))
        }
        _ => tracked.approval.as_deref().map(|approval| quoted(&approval.shown(), SENTENCE)),
    }
}

fn approvers(approval: &Approval) -> Option<String> {
    (approval.approvers().count() > 0).then(|| format!("\n{}", quoted(&approval.shown(), SENTENCE / 2)))
}

/// How far people are, and how long they have.
fn asking(approval: &Approval) -> String {
    let until = approval.deadline.map(|at| format!(", until {}", date(at)));
    let until = if approval.is_reached() {
        "; it goes when nothing else keeps it".to_owned()
    } else {
        until.unwrap_or_default()
    };
    format!("{}{until}", quoted(&approval.shown(), SENTENCE))
}

/// A time, in the reader's own time zone.
fn date(at: Timestamp) -> String {
    format!("<!date^{}^{{date_short_pretty}} {{time}}|{}>", at.as_second(), shown(at))
}

fn fields(items: &[Item]) -> Vec<Value> {
    let field = |text: String| json!({"type": "mrkdwn", "text": text, "verbatim": true});
    let mut fields: Vec<Value> = items.iter().take(CONTAINERS).map(|item| field(change(&item.change))).collect();
    if let more @ 1.. = items.len().saturating_sub(CONTAINERS) {
        fields.push(field(format!("and {more} more")));
    }
    fields
}

fn change(Change { container, init, from, to }: &Change) -> String {
    let init = if *init { "init container " } else { "" };
    let from_shown = short(from);
    // Where only the tag changes, it is enough.
    let to_shown = if from.repository == to.repository { version(to) } else { short(to) };
    format!("{init}{}: {} → {}", code(container, NAME), code(&from_shown, IMAGE), code(&to_shown, IMAGE))
}

/// What somebody approves, in at most 300 characters.
fn approving(of: &Announced, workload: &str) -> String {
    let needed = of.tracked.asked().map_or(1, |asked| asked.needed);
    let people = if needed == 1 { "One person must".to_owned() } else { format!("{needed} people must") };
    let step = match &of.tracked.update.items[..] {
        [one] => {
            let [from, to] = [&one.change.from, &one.change.to].map(|image| version(image).chars().take(60).collect());
            let (from, to): (String, String) = (from, to);
            format!(" from {from} to {to}")
        }
        all => format!(", {} containers", all.len()),
    };
    format!("{workload}{step}. {people} approve it.")
}

/// An image without most of its digest.
fn short(image: &ImageRef) -> String {
    let whole = image.to_string();
    match &image.digest {
        Some(digest) => whole.replace(&digest.to_string(), &digest.to_string()[..DIGEST]),
        None => whole,
    }
}

/// Its tag, or what there is instead.
fn version(image: &ImageRef) -> String {
    match (&image.tag, &image.digest) {
        (Some(tag), _) => tag.to_string(),
        (None, Some(digest)) => digest.to_string()[..DIGEST].to_owned(),
        (None, None) => image.to_string(),
    }
}

fn context(of: &Announced) -> String {
    let items = &of.tracked.update.items;
    let mut policies: Vec<&str> = items.iter().map(|item| &*item.policy).filter(|policy| !policy.is_empty()).collect();
    policies.sort_unstable();
    policies.dedup();
    let policies: Vec<String> = policies.into_iter().take(3).map(|policy| code(policy, NAME)).collect();
    let policy = if policies.is_empty() { String::new() } else { format!("policy {}, ", policies.join(", ")) };
    let digest =
        items.iter().find_map(|item| item.change.to.digest.as_ref().or(item.evidence.as_ref()?.digest.as_ref()));
    let digest = digest.map(|digest| format!(", {}", code(&digest.to_string(), NAME))).unwrap_or_default();
    let seen = items.iter().filter_map(|item| item.evidence.as_ref()).map(|evidence| evidence.seen).min();
    let seen = seen.map(|at| format!("seen {}, ", date(at))).unwrap_or_default();
    format!("{policy}{seen}update {}{digest}", code(&of.name.name, NAME))
}

fn buttons(of: &Announced) -> Value {
    let subject = Subject {
        namespace: of.name.namespace.to_string(),
        update: of.name.name.to_string(),
        uid: of.uid.to_string(),
        target: of.tracked.update.target().to_string(),
    };
    let value = json!(subject).to_string();
    let text = |text: &str| json!({"type": "plain_text", "text": text, "emoji": false});
    let button =
        |action: &str, shown: &str| json!({"type": "button", "action_id": action, "text": text(shown), "value": value});
    let confirm = |title: &str, says: String, yes: &str| json!({"title": text(title), "text": text(&says), "confirm": text(yes), "deny": text("Cancel")});
    let workload: String = of.tracked.update.workload.to_string().chars().take(120).collect();
    let mut approve = button(APPROVE, "Approve");
    approve["style"] = json!("primary");
    approve["confirm"] = confirm("Approve this update?", approving(of, &workload), "Approve");
    let mut reject = button(REJECT, "Reject");
    reject["style"] = json!("danger");
    reject["confirm"] =
        confirm("Reject this update?", "It is not asked for again before a newer one.".to_owned(), "Reject");
    let mut hold = button(HOLD, "Hold");
    let says = format!("{workload}: nothing of it is changed until somebody resumes it. This update goes on waiting.");
    hold["confirm"] = confirm("Hold this workload?", says, "Hold");
    json!([approve, reject, hold, button(DETAILS, "Details")])
}
