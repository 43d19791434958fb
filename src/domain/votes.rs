//! Votes on an update: who said yes or no to exactly what is to be written. Pure: that each was made by whom it names is
//! proved by the API server, and that it does so is found out by `engine/proofs.rs`.

use std::{fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Visitor};

use super::text::excerpt;

/// The most people that may be asked for.
pub const MOST: u8 = 10;
/// As many reviews of one update are read.
pub const READ: usize = 100;

/// How many people must say yes: from 0 to [`MOST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needed(pub u8);

impl FromStr for Needed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number @ 0..=MOST) if digits => Ok(Self(number)),
            _ => Err(format!("`{}` is no number of people: write one from 0 to {MOST}", excerpt(text))),
        }
    }
}

impl<'de> Deserialize<'de> for Needed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Needed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of people from 0 to {MOST}")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Needed, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Needed, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Needed, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Number)
    }
}

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Yes.
    Approve,
    /// No, which ends the update.
    Reject,
}

impl Verb {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A vote as it was made: an object that the API server let its author create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Where it stands: in the namespace of the update.
    pub namespace: Arc<str>,
    /// Its own name.
    pub name: Arc<str>,
    /// The name of the update's object, by which the API server judged.
    pub update: Arc<str>,
    /// The uid of the update's object, which names one update for ever.
    pub uid: Arc<str>,
    /// What exactly it is about: [`Update::target`](super::update::Update::target).
    pub target: Arc<str>,
    /// Yes or no.
    pub vote: Vote,
    /// Where it was written for somebody of another system: whether that person is the one whose vote it is.
    pub is_mapped: bool,
}

/// What somebody said, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vote {
    /// Yes or no.
    pub verb: Verb,
    /// Who.
    pub by: Arc<str>,
    /// For whom of another system the operator wrote it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Arc<str>>,
    /// Whether windows and freezes are to be overridden.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overrides: bool,
    /// Why, in that person's words.
    #[serde(default, skip_serializing_if = "empty")]
    pub reason: Arc<str>,
    /// When, by the clock of the API server.
    pub at: Timestamp,
}

fn empty(text: &str) -> bool {
    text.is_empty()
}

/// What an update that waits for votes is to wait for, and what was said so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Approval {
    /// How many people must say yes.
    pub needed: u8,
    /// From then on nobody is waited for; `None` where its windows leave no time for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// What was said up to then does not count: it was not sure who said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<Timestamp>,
    /// It is not sure now who votes: what is said before that is proved does not count either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
    /// Those that count, the oldest first: one of each person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
}

/// Why a review does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// It is about something else than what is to be written.
    Stale,
    /// It was not sure then who votes.
    Void,
    /// The same person has said so before.
    Repeated,
    /// It was written for somebody of another system who is not known as that person.
    Unmapped,
}

impl Ignored {
    /// In one word, for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Void => "void",
            Self::Repeated => "repeated",
            Self::Unmapped => "unmapped",
        }
    }
}

/// The reviews that count for a target, one of each person, the oldest first; and why each other one does not. Who says no
/// is not kept from it by having said yes.
pub fn count<'r>(
    reviews: &'r [Review],
    target: &str,
    void: Option<Timestamp>,
) -> (Vec<Vote>, Vec<(&'r Review, Ignored)>) {
    let mut sorted: Vec<&Review> = reviews.iter().collect();
    sorted.sort_by(|one, other| {
        (one.vote.at, &one.vote.by, &one.name).cmp(&(other.vote.at, &other.vote.by, &other.name))
    });
    let (mut votes, mut ignored) = (Vec::<Vote>::new(), Vec::new());
    for review in sorted {
        let Review { vote, .. } = review;
        let said = |other: &Vote| (&other.by, other.verb) == (&vote.by, vote.verb);
        let why = if *review.target != *target {
            Ignored::Stale
        } else if void.is_some_and(|void| vote.at <= void) {
            Ignored::Void
        } else if vote.on_behalf_of.is_some() && !review.is_mapped {
            Ignored::Unmapped
        } else if let Some(before) = votes.iter_mut().find(|other| said(other)) {
            // Who said yes may say later that it is to go at once.
            if vote.overrides && !before.overrides {
                (before.overrides, before.reason) = (true, vote.reason.clone());
            }
            Ignored::Repeated
        } else {
            votes.push(vote.clone());
            continue;
        };
        ignored.push((review, why));
    }
    (votes, ignored)
}

impl Approval {
    /// Who said yes.
    pub fn approvers(&self) -> impl Iterator<Item = &Vote> {
        self.votes.iter().filter(|vote| vote.verb == Verb::Approve)
    }

    /// Who said no, if anybody did.
    pub fn rejection(&self) -> Option<&Vote> {
        self.votes.iter().find(|vote| vote.verb == Verb::Reject)
    }

    /// Whether as many said yes as must.
    pub fn is_reached(&self) -> bool {
        self.approvers().count() >= usize::from(self.needed)
    }

    /// How far it is: `1 of 2 people have approved it (alice)`.
    pub fn shown(&self) -> String {
        let names: Vec<&str> = self.approvers().map(|vote| &*vote.by).collect();
        let far = format!("{} of {} people have approved it", names.len(), self.needed);
        if names.is_empty() { far } else { format!("{far} ({})", names.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn review(by: &str, verb: Verb, second: i64) -> Review {
        let vote =
            Vote { verb, by: by.into(), on_behalf_of: None, overrides: false, reason: "".into(), at: at(second) };
        let name = format!("{by}-{verb}-{second}").into();
        Review {
            namespace: "shop".into(),
            name,
            update: "u".into(),
            uid: "1".into(),
            target: "t".into(),
            vote,
            is_mapped: false,
        }
    }

    fn counted(reviews: &[Review], void: Option<i64>) -> (Vec<String>, Vec<Ignored>) {
        let (votes, ignored) = count(reviews, "t", void.map(at));
        let votes = votes.iter().map(|vote| format!("{} {}", vote.by, vote.verb)).collect();
        (votes, ignored.into_iter().map(|(_, why)| why).collect())
    }

    #[test]
    fn each_person_has_one_vote_of_exactly_what_is_asked_since_it_is_sure_who_votes() {
        use Verb::{Approve, Reject};
        let (alice, again, bob) =
            (review("alice", Approve, 10), review("alice", Approve, 11), review("bob", Approve, 9));
        let said = |names: &[&str]| names.iter().map(|name| format!("{name} approve")).collect::<Vec<_>>();
        let all = [alice.clone(), again.clone(), bob.clone()];
        assert_eq!(counted(&all, None), (said(&["bob", "alice"]), vec![Ignored::Repeated]));
        assert_eq!(counted(&all, Some(9)), (said(&["alice"]), vec![Ignored::Void, Ignored::Repeated]));
        assert_eq!(counted(&all, Some(10)), (said(&["alice"]), vec![Ignored::Void; 2]), "the later one counts");
        let stale = Review { target: "other".into(), ..alice.clone() };
        assert_eq!(counted(&[stale, again.clone()], None), (said(&["alice"]), vec![Ignored::Stale]));
        let vote = Vote { on_behalf_of: Some("slack:T/U".into()), ..alice.vote.clone() };
        let spoken = Review { vote, ..alice.clone() };
        assert_eq!(counted(std::slice::from_ref(&spoken), None), (vec![], vec![Ignored::Unmapped]));
        let both = [Review { is_mapped: true, ..spoken }, again.clone()];
        assert_eq!(counted(&both, None), (said(&["alice"]), vec![Ignored::Repeated]), "one person has one vote");
        let no = review("alice", Reject, 12);
        assert_eq!(counted(&[alice, no], None).0, ["alice approve", "alice reject"]);
    }

    #[rstest::rstest]
    #[case("0", Some(0))]
    #[case("10", Some(10))]
    #[case("11", None)]
    #[case("-1", None)]
    #[case("+1", None)]
    #[case("1.5", None)]
    #[case("two", None)]
    #[case("", None)]
    fn a_number_of_people_is_from_none_to_ten(#[case] text: &str, #[case] number: Option<u8>) {
        assert_eq!(text.parse::<Needed>().ok(), number.map(Needed));
        // In YAML `+1` is 1.
        if let (Ok(yaml), false) = (serde_saphyr::from_str::<Needed>(text), text.starts_with('+')) {
            assert_eq!(Some(yaml.0), number);
        }
    }

    #[test]
    fn the_order_in_which_reviews_come_says_nothing() {
        let mut reviews: Vec<Review> = (0..6).map(|n| review(["a", "b"][n % 2], Verb::Approve, n as i64 / 2)).collect();
        let first = counted(&reviews, None);
        for _ in 0..reviews.len() {
            reviews.rotate_left(1);
            assert_eq!(counted(&reviews, None), first);
        }
    }

    #[test]
    fn who_said_yes_may_override_later() {
        let yes = review("alice", Verb::Approve, 1);
        let vote = Vote { overrides: true, reason: "outage".into(), ..review("alice", Verb::Approve, 2).vote };
        let (votes, _) = count(&[yes.clone(), Review { vote, name: "later".into(), ..yes }], "t", None);
        assert_eq!((votes.len(), votes[0].overrides, &*votes[0].reason, votes[0].at), (1, true, "outage", at(1)));
    }

    #[test]
    fn how_far_it_is_is_told_in_numbers_and_names() {
        let mut approval = Approval { needed: 2, ..Approval::default() };
        assert_eq!((approval.shown().as_str(), approval.is_reached()), ("0 of 2 people have approved it", false));
        approval.votes = vec![review("alice", Verb::Approve, 1).vote, review("bob", Verb::Reject, 2).vote];
        assert_eq!(
            (approval.shown().as_str(), approval.is_reached()),
            ("1 of 2 people have approved it (alice)", false)
        );
        assert_eq!(approval.rejection().unwrap().by, "bob".into());
    }
}
