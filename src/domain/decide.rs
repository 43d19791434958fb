//! From a policy, the current tag and the tags of a repository to one tag, or none (docs/policy.md §2 to §4).

use std::{cell::RefCell, collections::HashMap};

use super::{
    ages::Wait,
    image::Tag,
    listing::EXPLAINED,
    policy::{Asked, Judge, Limit, NamedPolicies, Policy, PolicyKind, decide_digest, newest_candidates},
    reason::{Code, Reason},
};
pub use super::{
    listing::Listing,
    policy::{Candidate, Current, Decision, TagFacts, Young},
};

/// Decides. The answer depends on nothing but the arguments, and not on the order of the tags.
pub fn decide(policy: &Policy, current: Current<'_>, listing: &Listing, facts: &HashMap<Tag, TagFacts>) -> Decision {
    decided(policy, current, listing, facts, &|_| None, &Limit::new(&|| false))
}

/// The same among the tags that need not wait, unless it is `over` before there is a decision.
pub fn decide_within(
    policy: &Policy,
    current: Current<'_>,
    listing: &Listing,
    facts: &HashMap<Tag, TagFacts>,
    waits: &dyn Fn(&str) -> Option<Wait>,
    over: &dyn Fn() -> bool,
) -> Option<Decision> {
    let limit = Limit::new(over);
    let decision = decided(policy, current, listing, facts, waits, &limit);
    (!limit.is_over.get() && !over()).then_some(decision)
}

fn decided(
    policy: &Policy,
    current: Current<'_>,
    listing: &Listing,
    facts: &HashMap<Tag, TagFacts>,
    waits: &dyn Fn(&str) -> Option<Wait>,
    limit: &Limit<'_>,
) -> Decision {
    let filters = match policy.filters().ready() {
        Ok(filters) => filters,
        Err(error) => return Decision::problem(error.into()),
    };
    let first = RefCell::new(None);
    let waits = |tag: &str| {
        let wait = waits(tag)?;
        let mut first = first.borrow_mut();
        if first.as_ref().is_none_or(|Young { wait: before, .. }| wait.ends_before(before)) {
            *first = Some(Young { tag: Tag::of(tag), wait: wait.clone() });
        }
        Some(wait)
    };
    let asked = Asked { policy, current, listing, facts, filters: &filters, limit, waits: &waits };
    match policy.judge(&asked) {
        Some(Ok(judge)) => choose(&asked, &*judge, &first),
        Some(Err(problem)) => Decision::problem(problem),
        None if matches!(policy.kind(), PolicyKind::Never) => {
            Decision::nothing(Reason::new(Code::PolicyNever, format!("`{policy}` takes no tag")))
        }
        None => decide_digest(&asked),
    }
}

/// Whether a tag comes after another one by a policy, also where its level is narrower. What cannot be compared does not.
pub(crate) fn is_newer(policy: &Policy, tag: &Tag, than: &Tag) -> bool {
    let current = Current { tag: Some(than), digest: None };
    let takes = |policy: &Policy| {
        let listing = Listing::new([tag].into_iter().collect());
        decide(policy, current, &listing, &HashMap::new()).choice().is_some()
    };
    let all = || Policy::parse("all", policy.options(), &NamedPolicies::default()).ok();
    takes(policy) || policy.compares_versions() && all().is_some_and(|all| takes(&all))
}

/// Whether the policy could take the tag, or it is the current one: `true` too where that takes more to find out than
/// comparing two versions.
pub(crate) fn may_take(policy: &Policy, current: Current<'_>, tag: &Tag) -> bool {
    let is_cheap = policy.patterns_tried() == 0 && policy.compares_versions();
    let takes = || decide(policy, current, &Listing::new([tag].into_iter().collect()), &HashMap::new());
    current.tag == Some(tag) || !is_cheap || takes().choice().is_some()
}

/// The tags whose times policy `newest` must know, the current one included: about 200 at most, else a problem. Empty
/// for other policies. What it says is of no use once it is `over`.
pub fn timed_candidates(
    policy: &Policy,
    current: Current<'_>,
    listing: &Listing,
    over: &dyn Fn() -> bool,
) -> Result<Vec<Tag>, Reason> {
    let PolicyKind::Newest(glob) = policy.kind() else { return Ok(Vec::new()) };
    let mut tags = newest_candidates(policy, glob.as_ref(), listing, &Limit::new(over))?;
    tags.extend(current.tag.filter(|tag| tags.binary_search(tag).is_err()).cloned());
    Ok(tags)
}

fn choose(asked: &Asked<'_>, judge: &dyn Judge, young: &RefCell<Option<Young>>) -> Decision {
    let best = judge.best();
    let young = young.take();
    let choice = best.first().map(|&id| asked.listing.tag(id));
    let mut reasons = vec![match &young {
        Some(Young { tag, wait }) if choice.is_none() => wait.of_next(tag),
        _ => whole(asked, choice),
    }];
    reasons.extend(losers(asked, judge, choice));

    let target = |&id| {
        let tag = asked.listing.tag(id);
        Candidate { tag: Tag::of(tag), digest: asked.facts.get(tag).and_then(|facts| facts.digest.clone()) }
    };
    Decision { eligible: best.iter().map(target).collect(), problem: None, reasons, young }
}

/// The reason for the workload as a whole.
fn whole(asked: &Asked<'_>, choice: Option<&str>) -> Reason {
    let policy = asked.policy;
    match (choice, asked.current.tag) {
        (Some(tag), Some(current)) => {
            Reason::of_tag(&Tag::of(tag), Code::Chosen, format!("the best that `{policy}` takes from `{current}`"))
        }
        (Some(tag), None) => Reason::of_tag(&Tag::of(tag), Code::Chosen, format!("the best that `{policy}` takes")),
        (None, current) => {
            let message = match current {
                _ if asked.listing.is_empty() => "the repository has no tags".to_owned(),
                Some(current) => format!("no tag that `{policy}` takes is newer than `{current}`"),
                None => format!("there is no tag that `{policy}` takes"),
            };
            Reason::new(Code::UpToDate, message)
        }
    }
}

/// A reason for each of the newest tags that lost.
fn losers(asked: &Asked<'_>, judge: &dyn Judge, choice: Option<&str>) -> Vec<Reason> {
    let index = asked.listing.index();
    let mut reasons = Vec::new();
    for &(id, place) in &index.newest {
        let tag = asked.listing.tag(id);
        if Some(tag) == choice || Some(tag) == asked.current.tag.map(Tag::as_str) {
            continue;
        }
        if reasons.len() == EXPLAINED {
            break;
        }
        let entry = place.map(|place| &index.versions[place as usize]);
        let refusal = asked.filters.refusal(tag).or_else(|| judge.refusal(id, entry));
        let refusal = refusal.or_else(|| (asked.waits)(tag).map(|wait| (Code::TooYoung, wait.to_string())));
        let (code, message) = refusal.unwrap_or_else(|| {
            let better = match (choice, asked.current.tag) {
                (Some(choice), _) => format!("eligible, but `{choice}` is better"),
                (None, Some(current)) => format!("eligible, but no better than the current `{current}`"),
                (None, None) => "eligible, but not taken".to_owned(),
            };
            (Code::NotBest, better)
        });
        reasons.push(Reason::of_tag(&Tag::of(tag), code, message));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::domain::{history::Since, image::Digest};
    use crate::domain::{
        policy::{NamedPolicies, Options},
        tags::Tags,
    };

    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }

    fn tags(texts: &[&str]) -> Vec<Tag> {
        texts.iter().map(|text| tag(text)).collect()
    }

    fn digest(letter: &str) -> Digest {
        Digest::parse(&format!("sha256:{}", letter.repeat(64))).unwrap()
    }

    fn policy(text: &str, options: &Options) -> Policy {
        Policy::parse(text, options, &NamedPolicies::default()).unwrap()
    }

    fn ask(policy: &Policy, current: Option<&str>, listed: &[Tag]) -> Decision {
        let current = current.map(tag);
        let current = Current { tag: current.as_ref(), digest: None };
        decide(policy, current, &Listing::new(listed.iter().collect()), &HashMap::new())
    }

    fn eligible(decision: &Decision) -> Vec<&str> {
        decision.eligible.iter().map(|target| target.tag.as_str()).collect()
    }

    /// What is chosen where these are too young.
    fn among_old(policy: &str, options: &Options, listed: &[String], young: impl Fn(&str) -> bool) -> Decision {
        let policy = Policy::parse(policy, options, &NamedPolicies::default()).unwrap();
        let (current, tags) = (tag("1.0.5"), listed.iter().map(|text| tag(text)).collect::<Vec<_>>());
        let opens = |tag: &str| Timestamp::from_second(tag.len() as i64).unwrap();
        let waits = |tag: &str| {
            let since = Since { at: Timestamp::UNIX_EPOCH, pushed: false };
            young(tag).then(|| Wait::Young { since, age: SignedDuration::ZERO, opens: opens(tag) })
        };
        let current = Current { tag: Some(&current), digest: None };
        decide_within(&policy, current, &Listing::new(tags.iter().collect()), &HashMap::new(), &waits, &|| false)
            .unwrap()
    }

    #[rstest::rstest]
    #[case("patch")]
    #[case("semver:^1")]
    #[case("glob:1.0.*")]
    fn however_many_are_too_young_the_best_that_is_old_enough_is_chosen(#[case] policy: &str) {
        let listed: Vec<String> = (0..200).map(|n| format!("1.0.{n}")).collect();
        let number = |tag: &str| tag.rsplit('.').next().unwrap().parse::<u32>().unwrap();
        let decision = among_old(policy, &Options::default(), &listed, |tag| number(tag) > 20);
        assert_eq!(decision.choice().unwrap().tag, tag("1.0.20"));
        assert_eq!(decision.young.unwrap().tag.as_str().len(), 6, "one of those that open first");
        let reason = decision.reasons.iter().find(|reason| reason.tag == Some(tag("1.0.199"))).unwrap();
        assert_eq!(reason.code, Code::TooYoung);
    }

    #[test]
    fn where_all_that_is_newer_is_too_young_the_reason_names_the_one_that_opens_first() {
        let listed = ["1.0.5", "1.0.10", "1.0.6"].map(str::to_owned);
        let decision = among_old("patch", &Options::default(), &listed, |_| true);
        assert_eq!((decision.choice(), decision.reasons[0].code), (None, Code::TooYoung));
        assert!(decision.reasons[0].message.starts_with("`1.0.6` is 0s old"), "{}", decision.reasons[0].message);
    }

    #[test]
    fn a_current_tag_that_is_young_is_no_reason_to_go_back() {
        let options = Options { allow_downgrade: Some(true), ..Options::default() };
        let listed = ["1.0.5", "1.0.4"].map(str::to_owned);
        let decision = among_old("patch", &options, &listed, |tag| tag == "1.0.5");
        assert_eq!(decision.choice(), None);
    }

    #[rstest::rstest]
    #[case::newer("patch", "1.0.1", true)]
    #[case::the_current_one("patch", "1.0.0", true)]
    #[case::older("patch", "0.9.0", false)]
    #[case::beyond_the_level("patch", "1.1.0", false)]
    #[case::no_version("patch", "no-1", false)]
    #[case::another_flavour("patch", "1.0.1-alpine", false)]
    #[case::within_the_range("semver:^1", "1.1.0", true)]
    #[case::out_of_range("semver:^1", "2.0.0", false)]
    #[case::takes_a_pattern("glob:main-*", "2.0.0", true)]
    #[case::takes_times("newest", "2.0.0", true)]
    fn what_a_policy_could_take_is_worth_a_request(#[case] policy: &str, #[case] named: &str, #[case] right: bool) {
        let policy = Policy::parse(policy, &Options::default(), &NamedPolicies::default()).unwrap();
        let (current, named) = (tag("1.0.0"), tag(named));
        assert_eq!(may_take(&policy, Current { tag: Some(&current), digest: None }, &named), right);
    }

    #[test]
    fn the_best_twenty_are_eligible_best_first() {
        let listed: Vec<Tag> = (0..50).map(|minor| tag(&format!("1.{minor}.0"))).collect();
        let decision = ask(&policy("minor", &Options::default()), Some("1.0.0"), &listed);
        let expected: Vec<String> = (30..50).rev().map(|minor| format!("1.{minor}.0")).collect();
        assert_eq!(eligible(&decision), expected);
        // The choice, and the newest 20 that lost.
        assert_eq!(decision.reasons.len(), 21);
        assert_eq!(decision.reasons[20].tag.as_ref().unwrap().as_str(), "1.29.0");
    }

    #[test]
    fn the_best_of_many_equal_versions_is_found_wherever_it_stands() {
        let mut listed: Vec<Tag> = (10..50).map(|number| tag(&format!("1.1.0-x{number}"))).collect();
        listed.push(tag("1.1.0-alpine"));
        let options = Options { flavour: Some("any".parse().unwrap()), ..Options::default() };
        let decision = ask(&policy("minor", &options), Some("1.0.0-alpine"), &listed);
        assert_eq!(eligible(&decision)[..2], ["1.1.0-alpine", "1.1.0-x49"]);
        assert_eq!(decision.eligible.len(), 20);
    }

    #[test]
    fn a_tag_listed_twice_is_one() {
        for text in ["minor", "glob:*", "semver:*"] {
            let decision = ask(&policy(text, &Options::default()), Some("1.0.0"), &tags(&["1.1.0", "1.1.0", "1.0.0"]));
            assert_eq!(eligible(&decision), ["1.1.0"]);
            assert_eq!(decision.reasons.len(), 1, "{decision}");
        }
    }

    #[test]
    fn a_downgrade_comes_after_everything_newer_and_never_past_an_eligible_current_tag() {
        let options = Options { allow_downgrade: Some(true), ..Options::default() };
        let range = policy("semver:<2 || >=3", &options);
        let listed = tags(&["1.8.0", "1.9.0", "2.1.0", "3.0.0"]);
        assert_eq!(eligible(&ask(&range, Some("2.1.0"), &listed)), ["3.0.0", "1.9.0", "1.8.0"]);
        assert_eq!(eligible(&ask(&range, Some("1.9.0"), &listed)), ["3.0.0"]);
    }

    #[test]
    fn an_image_without_a_tag_is_a_problem_for_levels_and_digest_only() {
        let listed = tags(&["1.0.0", "2.0.0"]);
        for text in ["patch", "minor", "major", "all", "digest"] {
            let problem = ask(&policy(text, &Options::default()), None, &listed).problem.unwrap();
            assert_eq!(problem.code, Code::CurrentNoTag);
        }
        assert_eq!(eligible(&ask(&policy("semver:^1", &Options::default()), None, &listed)), ["1.0.0"]);
        assert_eq!(eligible(&ask(&policy("glob:*", &Options::default()), None, &listed))[0], "2.0.0");
        assert_eq!(ask(&policy("never", &Options::default()), None, &listed).reasons[0].code, Code::PolicyNever);
    }

    #[test]
    fn a_level_that_the_current_tag_is_too_short_for_is_a_problem_that_names_the_one_that_fits() {
        for (level, current, fits) in
            [("patch", "1.4", "`minor`"), ("patch", "v16", "`major`"), ("minor", "16", "`major`")]
        {
            let decision = ask(&policy(level, &Options::default()), Some(current), &tags(&["1.5", "1.4.1", "17"]));
            let problem = decision.problem.unwrap();
            assert_eq!((problem.code, decision.eligible), (Code::TooFewNumbers, vec![]));
            assert!(problem.message.ends_with(&format!("{fits} fits it")), "{}", problem.message);
        }
        // What fits stays within the flavour, which may hold what people take for numbers.
        let of = |current, options: Options| {
            let decision = ask(&policy("patch", &options), Some(current), &tags(&["8u412-jdk", "9u402-jdk"]));
            decision.problem.unwrap().message
        };
        let numbers =
            "`major` fits it, among tags of the flavour `u402-jdk`; only regex: and glob: compare the numbers in that";
        assert!(of("8u402-jdk", Options::default()).ends_with(numbers));
        assert!(of("16-alpine", Options::default()).ends_with("`major` fits it, among tags of the flavour `alpine`"));
        let any = Options { flavour: Some(crate::domain::policy::FlavourOption::Any), ..Options::default() };
        assert!(of("8u402-jdk", any).ends_with("`major` fits it"));
        let major = policy("major", &Options::default());
        assert_eq!(eligible(&ask(&major, Some("8u402-jdk"), &tags(&["8u412-jdk", "9u402-jdk"]))), ["9u402-jdk"]);
        let counted = policy(r"regex:8u(?P<order>\d+)-jdk", &Options::default());
        assert_eq!(eligible(&ask(&counted, Some("8u402-jdk"), &tags(&["8u412-jdk", "8u92-jdk"]))), ["8u412-jdk"]);
    }

    #[test]
    fn digest_follows_the_current_tag_and_obeys_filters() {
        let current_tag = tag("latest");
        let facts =
            HashMap::from([(current_tag.clone(), TagFacts { digest: Some(digest("b")), ..TagFacts::default() })]);
        let asked = |policy: &Policy, digest: Option<&Digest>, facts: &HashMap<Tag, TagFacts>| {
            decide(policy, Current { tag: Some(&current_tag), digest }, &Listing::new(Tags::default()), facts)
        };
        let follow = policy("digest", &Options::default());
        assert_eq!(asked(&follow, Some(&digest("a")), &facts).choice().unwrap().digest, Some(digest("b")));
        assert_eq!(asked(&follow, None, &facts).choice().unwrap().digest, Some(digest("b")));
        assert_eq!(asked(&follow, Some(&digest("b")), &facts).reasons[0].code, Code::UpToDate);
        // What is not known never reads as up to date.
        assert_eq!(asked(&follow, None, &HashMap::new()).problem.unwrap().code, Code::NotLookedYet);
        let ignoring = Options { ignore: Some(vec!["lat*".into()]), ..Options::default() };
        assert_eq!(asked(&policy("digest", &ignoring), None, &facts).reasons[0].code, Code::Ignored);
    }

    #[test]
    fn newest_asks_for_the_times_of_what_passes_and_of_the_current_tag() {
        let options = Options { ignore: Some(vec!["*-old".into()]), ..Options::default() };
        let newest = policy("newest:main-*", &options);
        assert!(newest.needs().times && newest.needs().listing);
        let listing = Listing::new(tags(&["main-1", "main-2", "main-2", "main-3-old", "pr-4"]).iter().collect());
        let current = tag("latest");
        let current = Current { tag: Some(&current), digest: None };
        assert_eq!(
            timed_candidates(&newest, current, &listing, &|| false).unwrap(),
            tags(&["main-1", "main-2", "latest"])
        );
        assert_eq!(timed_candidates(&policy("minor", &options), current, &listing, &|| false).unwrap(), []);
    }

    #[test]
    fn newest_among_too_many_tags_is_a_problem_unless_all_have_times() {
        let listed: Vec<Tag> = (0..201).map(|number| tag(&format!("main-{number}"))).collect();
        let listing = Listing::new(listed.iter().collect());
        let current = tag("main-0");
        let current = Current { tag: Some(&current), digest: None };
        let newest = policy("newest", &Options::default());
        assert_eq!(timed_candidates(&newest, current, &listing, &|| false).unwrap_err().code, Code::TooManyTags);
        let problem = decide(&newest, current, &listing, &HashMap::new()).problem.unwrap();
        assert_eq!(problem.code, Code::TooManyTags);

        let time = |number: usize| Some(Timestamp::from_second(1_000_000_000 + number as i64).unwrap());
        let facts = (0..)
            .zip(&listed)
            .map(|(number, tag)| (tag.clone(), TagFacts { pushed: time(number), ..TagFacts::default() }));
        let decision = decide(&newest, current, &listing, &facts.collect());
        assert_eq!(eligible(&decision)[0], "main-200");
        let narrowed =
            timed_candidates(&policy("newest:main-1*", &Options::default()), current, &listing, &|| false).unwrap();
        assert_eq!(narrowed.len(), 112);
    }

    #[test]
    fn the_newest_tags_that_lost_are_versions_first_and_then_names_in_natural_order() {
        let listed = tags(&["main-9", "main-10", "1.9.0", "1.10.0", "1.10.0-rc1"]);
        let decision = ask(&policy("glob:none", &Options::default()), Some("x"), &listed);
        let named: Vec<&str> =
            decision.reasons.iter().filter_map(|reason| reason.tag.as_ref()).map(Tag::as_str).collect();
        assert_eq!(named, ["1.10.0", "1.10.0-rc1", "1.9.0", "main-10", "main-9"]);
    }

    #[test]
    fn a_pattern_that_is_too_large_when_compiled_is_a_problem_of_the_decision() {
        let options = Options { allow: vec!["(\\w{90}){90}".into()], ..Options::default() };
        for policy in [policy("minor", &options), policy("regex:(\\w{90}){90}", &Options::default())] {
            let decision = ask(&policy, Some("1.0.0"), &tags(&["1.0.1"]));
            let problem = decision.problem.unwrap();
            assert_eq!(problem.code, Code::PolicyInvalid);
            assert!(problem.message.contains("more than 256 KiB when compiled"), "{}", problem.message);
            assert!(decision.eligible.is_empty());
        }
    }

    #[test]
    fn equal_questions_share_one_compiled_policy() {
        let named = NamedPolicies::default();
        let parse = |options: &Options| Policy::parse("glob:main-*", options, &named).unwrap();
        let (a, b) = (parse(&Options::default()), parse(&Options::default()));
        assert!(std::ptr::eq(a.filters(), b.filters()));
        let other = parse(&Options { allow_downgrade: Some(true), ..Options::default() });
        assert_eq!(a, b);
        assert_ne!(a, other);
    }
}
