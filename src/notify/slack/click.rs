//! What people press in Slack: whose click it is, whether it is about what the message showed, and what comes of it. A vote
//! or a hold is an object before Slack is told that it was heard.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use url::Url;

use super::{
    Channel, Desk,
    details::details,
    message::{APPROVE, DETAILS, HOLD, REJECT, Subject, public, state},
    text::{code, quoted},
};
use crate::{
    domain::{
        hours::shown,
        update::{Tracked, hash},
        votes::{Approval, Verb},
        workload::WorkloadId,
    },
    ports::{Announced, ClusterError, Person, ReviewOutcome, Right, Spoken, UpdateName},
};

/// The longest value of a button (Block Kit).
const MAX_VALUE: usize = 2000;

/// How long until it is read again whether a message is recorded.
const POSTING: Duration = Duration::from_millis(100);

/// A button of ours that somebody pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Click {
    /// Who: `TEAM/USER`, both as Slack calls them.
    pub(super) who: String,
    channel: String,
    ts: String,
    /// Where that person is answered.
    pub(super) response_url: Option<Url>,
    button: Button,
    subject: Subject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Button {
    Vote(Verb),
    Hold,
    Details,
}

/// Why it is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Odd {
    /// It cannot be read.
    Malformed,
    /// It is a button of another app, or another kind of action.
    NotOurs,
}

impl Odd {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Malformed => "something that cannot be read",
            Self::NotOurs => "an action that is none of ours",
        }
    }
}

/// What came of a click.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// It counts; the message will show it.
    Counted,
    /// That person is told what was asked for, or that it is done.
    Told(String),
    /// It is not to be; that person is told why.
    Tell(String),
}

#[derive(Deserialize)]
struct Payload {
    user: User,
    container: Container,
    actions: Vec<Action>,
    #[serde(default)]
    response_url: Option<String>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    team_id: String,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    channel_id: String,
    #[serde(default)]
    message_ts: String,
}

#[derive(Deserialize)]
struct Action {
    action_id: String,
    #[serde(default)]
    value: String,
}

impl Click {
    /// About which update, as the button says.
    pub(super) fn update(&self) -> String {
        format!("{}/{}", self.subject.namespace, self.subject.update)
    }
}

/// Reads what Slack says of an interaction (docs.slack.dev, "block_actions payload").
pub(super) fn read(payload: &RawValue, app: &str) -> Result<Click, Odd> {
    // Other kinds of interactions have other fields.
    let kind = serde_json::from_str::<Value>(payload.get()).map_err(|_| Odd::Malformed)?;
    if kind["type"] != "block_actions" || kind["api_app_id"] != app {
        return Err(Odd::NotOurs);
    }
    let payload: Payload = serde_json::from_value(kind).map_err(|_| Odd::Malformed)?;
    let Payload { user, container, actions, response_url } = payload;
    let [action] = &actions[..] else { return Err(Odd::NotOurs) };
    let button = match action.action_id.as_str() {
        APPROVE => Button::Vote(Verb::Approve),
        REJECT => Button::Vote(Verb::Reject),
        HOLD => Button::Hold,
        DETAILS => Button::Details,
        _ => return Err(Odd::NotOurs),
    };
    let is_id = |id: &str| !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_id(&user.id) || !is_id(&user.team_id) || action.value.len() > MAX_VALUE {
        return Err(Odd::Malformed);
    }
    let subject: Subject = serde_json::from_str(&action.value).map_err(|_| Odd::Malformed)?;
    if !is_name(&subject.namespace) || !is_name(&subject.update) {
        return Err(Odd::Malformed);
    }
    Ok(Click {
        who: format!("{}/{}", user.team_id, user.id),
        channel: container.channel_id,
        ts: container.message_ts,
        response_url: response_url.and_then(|url| url.parse().ok()),
        button,
        subject,
    })
}

/// Whether an object or a namespace may have that name.
fn is_name(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(is_inner)
}

/// Does what somebody asked for.
pub(super) async fn carry_out(click: &Click, desk: &Desk) -> Result<Reply, ClusterError> {
    let tell = |text: String| Ok(Reply::Tell(text));
    let Some(person) = desk.settings.people.get(&click.who) else {
        return tell(format!(
            "supercargo does not know who you are: an administrator adds {} to `approvers` of its configuration, and {} with your \
             username to the ConfigMap supercargo-approvers",
            code(&click.who, 200),
            code(&identity(&click.who), 200)
        ));
    };
    let Subject { namespace, update, uid, target } = &click.subject;
    let serves = |channel: &Channel| *channel.id == *click.channel && channel.serves(namespace);
    if !desk.settings.channels.iter().any(serves) {
        return tell(format!("this channel is not told of namespace {} any more", code(namespace, 300)));
    }
    let name = UpdateName { namespace: namespace.as_str().into(), name: update.as_str().into() };
    let on_update = match click.button {
        Button::Vote(_) => Some((Right::Vote(&name), "approve or reject updates", "supercargo-approver")),
        Button::Details => Some((Right::Read(&name), "read updates", "supercargo-approver")),
        // Of which workload, the record says.
        Button::Hold => None,
    };
    let may_not = async |(right, to, role)| {
        let may = desk.reviewers.may(person, right).await?;
        let (user, namespace) = (code(&person.user, 300), code(namespace, 300));
        Ok((!may).then(|| {
            let role = format!("an administrator binds the ClusterRole {role} there");
            Reply::Tell(format!("you ({user}) may not {to} in namespace {namespace}: {role}"))
        }))
    };
    if let Some(right) = on_update
        && let Some(no) = may_not(right).await?
    {
        return Ok(no);
    }
    let Some(of) = read_posted(click, &name, desk).await?.filter(|found| *found.uid == **uid) else {
        return tell("this update is not there any more".to_owned());
    };
    if !of.messages.iter().any(|message| *message.channel == *click.channel && message.ts.as_deref() == Some(&click.ts))
    {
        return tell("this message is not the one of that update: use the newest".to_owned());
    }
    let workload = &of.tracked.update.workload;
    match click.button {
        Button::Details => return Ok(Reply::Told(details(&of, desk).await)),
        Button::Hold => {
            if let Some(no) = may_not((Right::Hold(workload), "hold workloads", "supercargo-editor")).await? {
                return Ok(no);
            }
        }
        Button::Vote(_) => {}
    }
    let is_it = *of.tracked.update.target() == **target;
    match (click.button, of.tracked.asked().filter(|_| is_it)) {
        (Button::Vote(verb), Some(asked)) if !asked.unsure => vote(click, verb, person, &of, asked, desk).await,
        (Button::Vote(_), Some(_)) => {
            let why = of.tracked.reason().map(|reason| quoted(public(reason), 1000)).unwrap_or_default();
            tell(format!("no vote would count now: {why}"))
        }
        // Who votes need not be sure for that.
        (_, Some(_)) => hold(click, person, workload, desk).await,
        (_, None) if is_it => tell(ended(&of.tracked)),
        (_, None) => tell("it has changed since: use the newest message of this workload".to_owned()),
    }
}

/// The update, once its message is recorded by its name: somebody may press as soon as Slack has it.
async fn read_posted(click: &Click, name: &UpdateName, desk: &Desk) -> Result<Option<Announced>, ClusterError> {
    loop {
        let found = desk.messages.get(name).await.map_err(|error| ClusterError(error.0))?;
        let is_posting = |of: &Announced| {
            of.messages.iter().any(|message| *message.channel == *click.channel && message.ts.is_none())
        };
        if !found.as_ref().is_some_and(is_posting) {
            return Ok(found);
        }
        desk.clock.sleep_until(desk.clock.monotonic() + POSTING).await;
    }
}

async fn vote(
    click: &Click,
    verb: Verb,
    person: &Person,
    of: &Announced,
    asked: &Approval,
    desk: &Desk,
) -> Result<Reply, ClusterError> {
    let said = asked.votes.iter().find(|vote| vote.by == person.user && vote.verb == verb);
    if let Some(vote) = said {
        return Ok(Reply::Tell(format!(
            "already counted: you ({}) said so at {}",
            code(&vote.by, 300),
            shown(vote.at)
        )));
    }
    // What was said before it was sure who votes does not count, and may be said again.
    let since = asked.void.map(|void| void.to_string()).unwrap_or_default();
    let target = of.tracked.update.target();
    let lines = [&*of.uid, &*target, verb.as_str(), &click.who, &*person.user, &since].map(str::to_owned);
    let review = Spoken {
        name: format!("slack-{}", hash(lines.into_iter())),
        verb,
        approver: person.user.clone(),
        on_behalf_of: identity(&click.who),
    };
    Ok(match desk.reviewers.review(of, &review).await? {
        ReviewOutcome::Written => Reply::Counted,
        ReviewOutcome::Again => {
            Reply::Tell("you have said so already; it is counted as soon as it is sure who votes".to_owned())
        }
        ReviewOutcome::Refused(why) => Reply::Tell(format!(
            "your vote was not taken. If the ConfigMap supercargo-approvers lacks the line {}, an administrator adds it. The \
             API server says: {}",
            code(&format!("{} {}", review.on_behalf_of, review.approver), 600),
            quoted(&why, 1000)
        )),
    })
}

/// Has a workload held: by a wish, which is carried out soon.
async fn hold(click: &Click, by: &Person, workload: &WorkloadId, desk: &Desk) -> Result<Reply, ClusterError> {
    let (shown, resume) = (code(&workload.to_string(), 500), format!("supercargo resume {workload}"));
    let resume = format!("{} lets it go on", code(&resume, 500));
    Ok(match desk.reviewers.hold(workload, &by.user, &identity(&click.who)).await? {
        ReviewOutcome::Written => Reply::Told(format!("held: nothing of {shown} is changed; {resume}")),
        ReviewOutcome::Again => Reply::Tell(format!("already held: nothing of {shown} is changed; {resume}")),
        ReviewOutcome::Refused(why) => {
            Reply::Tell(format!("{shown} is not held. The API server says: {}", quoted(&why, 1000)))
        }
    })
}

/// Whom the operator speaks for, as reviews and wishes have it.
pub fn identity(who: &str) -> String {
    format!("slack:{who}")
}

/// That there is nothing to vote on any more.
fn ended(tracked: &Tracked) -> String {
    let why = tracked.reason().map(|reason| format!(": {}", quoted(public(reason), 1000))).unwrap_or_default();
    format!("nobody is asked about it any more; it is {}{why}", state(tracked).to_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payload() -> Value {
        let subject = json!({"namespace": "shop", "update": "u", "uid": "1", "target": "t"}).to_string();
        json!({
            "type": "block_actions",
            "user": {"id": "U1", "username": "alice", "name": "alice", "team_id": "T1"},
            "api_app_id": "A1",
            "token": "old",
            "container": {"type": "message", "message_ts": "1.2", "channel_id": "C1", "is_ephemeral": false},
            "trigger_id": "1.2.3",
            "team": {"id": "T1", "domain": "shop"},
            "channel": {"id": "C1", "name": "deploys"},
            "response_url": "https://hooks.slack.com/actions/T1/1/x",
            "actions": [{
                "action_id": APPROVE, "block_id": "b", "type": "button", "style": "primary", "action_ts": "1.3",
                "text": {"type": "plain_text", "text": "Approve"}, "value": subject,
            }],
        })
    }

    fn raw(payload: &Value) -> Box<RawValue> {
        RawValue::from_string(payload.to_string()).unwrap()
    }

    #[test]
    fn a_click_is_who_by_team_and_id_where_and_about_what() {
        let click = read(&raw(&payload()), "A1").unwrap();
        assert_eq!((click.who.as_str(), click.channel.as_str(), click.ts.as_str()), ("T1/U1", "C1", "1.2"));
        assert_eq!(click.button, Button::Vote(Verb::Approve));
        assert_eq!(click.subject.namespace, "shop");
        assert_eq!(identity(&click.who), "slack:T1/U1");
    }

    #[test]
    fn each_button_is_known_by_its_action() {
        for (action, button) in [
            (APPROVE, Button::Vote(Verb::Approve)),
            (REJECT, Button::Vote(Verb::Reject)),
            (HOLD, Button::Hold),
            (DETAILS, Button::Details),
        ] {
            let mut payload = payload();
            payload["actions"][0]["action_id"] = json!(action);
            assert_eq!(read(&raw(&payload), "A1").unwrap().button, button);
        }
    }

    #[rstest::rstest]
    #[case::other_app("/api_app_id", json!("A2"), Odd::NotOurs)]
    #[case::other_kind("/type", json!("view_submission"), Odd::NotOurs)]
    #[case::other_button("/actions/0/action_id", json!("approve"), Odd::NotOurs)]
    #[case::no_action("/actions", json!([]), Odd::NotOurs)]
    #[case::two_actions("/actions", json!([{"action_id": APPROVE}, {"action_id": REJECT}]), Odd::NotOurs)]
    #[case::value("/actions/0/value", json!("shop/web"), Odd::Malformed)]
    #[case::more("/actions/0/value", json!("{\"namespace\":\"a\",\"update\":\"a\",\"uid\":\"a\",\"target\":\"a\",\"x\":1}"), Odd::Malformed)]
    #[case::path("/actions/0/value", json!("{\"namespace\":\"../a\",\"update\":\"a\",\"uid\":\"a\",\"target\":\"a\"}"), Odd::Malformed)]
    #[case::long("/actions/0/value", json!("x".repeat(2001)), Odd::Malformed)]
    #[case::no_team("/user/team_id", json!(""), Odd::Malformed)]
    #[case::team("/user/team_id", json!("T1/U9"), Odd::Malformed)]
    #[case::user("/user", json!("U1"), Odd::Malformed)]
    fn what_is_not_a_click_on_a_button_of_ours_is_none(#[case] at: &str, #[case] value: Value, #[case] odd: Odd) {
        let mut payload = payload();
        *payload.pointer_mut(at).unwrap() = value;
        assert_eq!(read(&raw(&payload), "A1"), Err(odd));
    }
}
