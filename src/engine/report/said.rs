//! What of an assessment is worth an Event, a line of the log or a place in the gauge of problems.

use crate::{
    domain::{
        reason::{Class, Code},
        report::{Report, Verdict},
    },
    engine::{index::outages::Outage, report::rows::Assessment},
};

#[derive(Default, PartialEq)]
pub(super) struct Said {
    pub(super) codes: Vec<Code>,
    pub(super) lines: Vec<Line>,
}

/// Something to be told.
pub(super) struct Line {
    /// The Event's reason.
    pub(super) event: &'static str,
    pub(super) tone: Tone,
    pub(super) text: String,
    /// The registry that is away, of which one line is enough, whatever it says.
    away: Option<Box<str>>,
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        let same = self.away.is_some() || self.text == other.text;
        (self.event, self.tone, &self.away) == (other.event, other.tone, &other.away) && same
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Tone {
    /// Somebody must do something.
    Problem,
    /// It would be updated, but is not to be.
    Held,
    /// It will be updated later.
    Waits,
    /// Good to know.
    Note,
}

/// What of an assessment is worth an Event or a place in the gauge.
pub(super) fn worth_saying(assessment: &Assessment) -> Said {
    let mut said = Said::default();
    for row in &assessment.reports {
        said.codes.extend(row.reasons.iter().map(|reason| reason.code).filter(|code| code.is_of_rollout()));
        // What blocks nothing and still is no update's own business, such as a `poll` that is not what was asked for.
        let notes = row.reasons.iter().enumerate().filter(|(at, reason)| is_note(row.decision, *at, reason.code));
        for (_, note) in notes {
            said.add("PolicyProblem", Tone::Note, format!("{} ({})", note.message, note.code));
        }
        // What stands in the way of others, beside what is said of its own update.
        let is_own = row.decision == Verdict::Blocked;
        for told in row.reasons.iter().skip(usize::from(is_own)).filter(|reason| reason.code == Code::GitConflict) {
            said.add("UpdateBlocked", Tone::Note, format!("{} ({})", told.message, told.code));
        }
        let event = match row.decision {
            Verdict::Problem => "PolicyProblem",
            Verdict::Blocked => "UpdateBlocked",
            Verdict::Waiting => {
                said.waits(row);
                continue;
            }
            Verdict::Update | Verdict::UpToDate => continue,
        };
        let Some(reason) = row.reasons.first() else { continue };
        let place = if row.container.is_empty() { String::new() } else { format!("container {}: ", row.container) };
        match (reason.code, &row.to_image) {
            // What is held was told when it came to be.
            (Code::NotLookedYet | Code::Held | Code::Reverted, _) => {}
            (Code::Suspended | Code::DryRun, Some(to)) => {
                let text = format!("{place}{to} by policy {}, but {} ({})", row.policy, reason.message, reason.code);
                said.add(event, Tone::Held, text);
            }
            (code, _) => {
                said.codes.push(code);
                // A registry that is away for a while concerns its operator; for long, each workload (`outages`).
                if code.class() != Class::Away {
                    said.add(event, Tone::Problem, format!("{place}{} ({code})", reason.message));
                }
            }
        }
    }
    for Outage { host, code, message } in &assessment.outages {
        let (tone, text) = (Tone::Problem, format!("{message} ({code})"));
        said.push(Line { event: "UpdateBlocked", tone, text, away: Some(host.clone()) });
    }
    said
}

impl Said {
    fn add(&mut self, event: &'static str, tone: Tone, text: String) {
        self.push(Line { event, tone, text, away: None });
    }

    /// What waits is said once, so without how old it is.
    fn waits(&mut self, row: &Report) {
        let Some((reason, tag)) = row.reasons.first().zip(row.to.as_ref()) else { return };
        let why = match reason.code {
            Code::TooYoung => {
                let Some((_, opens)) = reason.message.rsplit_once(", opens ") else { return };
                format!(" until {}", opens.replacen("; ", ": ", 1))
            }
            Code::OutsideWindow | Code::Frozen => format!(": {}", reason.message),
            _ => return,
        };
        let (container, policy, code) = (&row.container, &row.policy, reason.code);
        let text = format!("container {container}: {tag} by policy {policy} waits{why} ({code})");
        self.add("UpdateWaiting", Tone::Waits, text);
    }

    fn push(&mut self, line: Line) {
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }
}

fn is_note(decision: Verdict, at: usize, code: Code) -> bool {
    match code {
        Code::PollInvalid | Code::GuardInterval | Code::KeelReported | Code::SecretsLeftOut => true,
        // Else it is what stands in the way.
        Code::OverLimit => at > 0 || !matches!(decision, Verdict::Problem | Verdict::Blocked),
        // Else it is the problem itself.
        Code::NotBuilt => decision != Verdict::Problem,
        _ => false,
    }
}
