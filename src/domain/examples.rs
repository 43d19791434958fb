//! Examples of policies are decided, and compared with what is written beside them.

use std::collections::HashMap;

use super::{
    decide::{Current, Listing, TagFacts, decide},
    image::Tag,
    policy::{Example, ExampleTag, Failure, NamedPolicies, Policy, PolicyError, PolicyKind, Vector},
    reason::Code,
};

impl Vector {
    /// Runs it.
    pub fn run(&self, named: &NamedPolicies) -> Result<(), Failure> {
        let policy = self.options.parse().and_then(|options| Policy::parse(&self.policy, &options, named));
        let example = Example {
            name: Some(self.name.clone()),
            current: self.current.clone(),
            current_digest: self.current_digest.clone(),
            tags: self.tags.clone(),
            expect: self.expect.clone(),
            problem: self.problem,
        };
        example.run(policy.as_ref())
    }
}

impl Example {
    /// Asks the policy, and compares.
    pub fn run(&self, policy: Result<&Policy, &PolicyError>) -> Result<(), Failure> {
        let (got, problem, why) = match policy {
            Ok(policy) => self.ask(policy),
            Err(error) => (None, true, error.to_string()),
        };
        if got == self.expect && problem == self.problem {
            return Ok(());
        }
        let say = |choice: &Option<String>, problem| match (choice, problem) {
            (_, true) => "a configuration problem".to_owned(),
            (Some(choice), false) => choice.clone(),
            (None, false) => "no update".to_owned(),
        };
        Err(Failure { expected: say(&self.expect, self.problem), got: say(&got, problem), why })
    }

    /// The choice, whether there was a configuration problem, and the reasons.
    fn ask(&self, policy: &Policy) -> (Option<String>, bool, String) {
        let current = match self.current.as_deref().map(Tag::parse).transpose() {
            Ok(current) => current,
            Err(error) => return (None, true, error.to_string()),
        };
        let mut tags = Vec::new();
        let mut facts = HashMap::new();
        for example in &self.tags {
            let Ok(tag) = Tag::parse(&example.tag) else { continue };
            let ExampleTag { digest, pushed, created, .. } = example.clone();
            facts.insert(tag.clone(), TagFacts { digest, pushed, created });
            tags.push(tag);
        }
        let current = Current { tag: current.as_ref(), digest: self.current_digest.as_ref() };
        let decision = decide(policy, current, &Listing::new(tags.iter().collect()), &facts);
        let digests = matches!(policy.kind(), PolicyKind::Digest);
        let choice = decision.choice().map(|target| match &target.digest {
            Some(digest) if digests => digest.to_string(),
            _ => target.tag.to_string(),
        });
        // What the registry has not told is no mistake of the configuration.
        let problem = decision.problem.as_ref().is_some_and(|problem| problem.code != Code::NotLookedYet);
        (choice, problem, decision.to_string())
    }
}
