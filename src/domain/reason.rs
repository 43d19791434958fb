//! Every "no" (and "yes") in words a person can read, with a code from one closed list.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{image::Tag, workload::WorkloadId};

macro_rules! codes {
    ($($name:ident $text:literal $doc:literal,)*) => {
        /// Why something is, or is not, done. The list is closed; `docs/reasons.md` explains each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $doc] $name,)* }

        impl Code {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name in output and logs.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }
        }
    };
}

codes! {
    // A tag, and why it was or was not taken.
    Chosen "chosen" "The best tag that the policy allows.",
    NotBest "not-best" "Eligible, but another eligible tag is better.",
    NotAVersion "not-a-version" "The tag is no version, and the policy compares versions.",
    CommitBuild "commit-build" "The tag names a commit; such builds are taken only if the current tag is one.",
    OtherFlavour "other-flavour" "The tag is of another flavour (such as -alpine) than the current one.",
    OtherPrefix "other-prefix" "The tag has another prefix than the current one.",
    CalendarJump "calendar-jump" "The tag looks like a date while the current one is a small number.",
    NotNewer "not-newer" "The tag is not newer than the current one.",
    OtherPrecision "other-precision" "The tag has more or fewer numbers than the current one.",
    Revision "revision" "The tag has a revision and the current one has none.",
    OutsideLevel "outside-level" "The tag is newer, but beyond the level (patch, minor) of the policy.",
    Prerelease "pre-release" "The tag is a pre-release that the policy does not take.",
    OutsideRange "outside-range" "The version is outside the policy's range.",
    NoMatch "no-match" "The tag does not match the policy's pattern.",
    NoOrderKey "no-order-key" "The tag has no part that the policy's order can compare.",
    NoTime "no-time" "Neither the registry nor the image gives a time for the tag.",
    NotAllowed "not-allowed" "The tag does not match `allow`.",
    Ignored "ignored" "The tag matches `ignore`.",
    // The workload or container as a whole.
    NewDigest "new-digest" "The tag points to another digest now.",
    PinTag "pin-tag" "The image is to be pinned to the digest its tag points to.",
    UpToDate "up-to-date" "Nothing newer is eligible.",
    NotWatched "not-watched" "No policy applies.",
    PolicyNever "policy-never" "The policy is `never`.",
    Follows "follows" "An init container that moves with the container whose image it runs.",
    NotSelected "not-selected" "The container is not among those that `containers` names.",
    Suspended "suspended" "`suspend` is true: nothing is changed.",
    DryRun "dry-run" "The operator runs with --dry-run: nothing is changed.",
    WebhookOnly "webhook-only" "Not polled: looked at when a webhook comes.",
    SecretsLeftOut "secrets-left-out" "Only the first 20 imagePullSecrets of a workload are used.",
    HelmManaged "helm-managed" "Installed by Helm: the next upgrade sets the chart's image.",
    AdmissionRefused "admission-refused" "The API server refused the change.",
    OwnedElsewhere "owned-elsewhere" "Another controller sets the image and would change it back.",
    Reverted "reverted" "Another hand moved the image back; that target is not set again.",
    GuardPolicy "guard-policy" "A guard of the configuration does not allow this policy here.",
    GuardRegistry "guard-registry" "A guard of the configuration does not allow this registry here.",
    GuardTarget "guard-target" "A guard of the configuration does not allow this Git target here.",
    GuardInterval "guard-interval" "A guard of the configuration sets a longer poll interval.",
    // Problems: the workload is left alone until somebody mends them.
    AnnotationUnknown "annotation-unknown" "An annotation key that does not exist.",
    AnnotationInvalid "annotation-invalid" "An annotation value that does not parse.",
    PollInvalid "poll-invalid" "The poll annotation does not parse; the default interval is used.",
    NotBuilt "not-built" "A feature that this version does not have yet.",
    PolicyInvalid "policy-invalid" "The policy or one of its options does not parse or does not fit.",
    CurrentNotAVersion "current-not-a-version" "The policy compares versions, and the current tag is none.",
    CurrentNoTag "current-no-tag" "The image has no tag.",
    TooFewNumbers "too-few-numbers" "The current tag has fewer numbers than the level of the policy needs, so nothing could ever be newer.",
    ImageInvalid "image-invalid" "The image is no valid reference.",
    TooManyTags "too-many-tags" "More tags than can be asked for their times; narrow them by a glob.",
    TooCostly "too-costly" "Deciding took too long and was ended; use fewer patterns, or a repository with fewer tags.",
    OverLimit "over-limit" "A limit is reached that keeps one workload or namespace from taking what others need.",
    Undecodable "undecodable" "The object could not be read.",
    KeelReported "keel-reported" "Keel's annotations are reported only; see --keel.",
    KeelUnsupported "keel-unsupported" "An annotation of Keel's that this version does not know or have.",
    RegistryAuth "registry-auth" "The registry refused the credentials, or wants some.",
    RegistryNotFound "registry-not-found" "The registry has no such repository or tag.",
    RegistryLimited "registry-limited" "The registry asked to wait.",
    RegistryUnavailable "registry-unavailable" "The registry did not answer, or not as it should.",
    RegistryRefused "registry-refused" "The address is one that supercargo does not connect to.",
    SecretUnreadable "secret-unreadable" "A pull secret could not be read.",
    HintNotFound "hint-not-found" "A webhook named a tag that the registry does not have, or not as it said.",
    NotLookedYet "not-looked-yet" "The repository has not been looked at yet.",
    WriteFailed "write-failed" "The change could not be written.",
    // Writing to Git.
    TargetUnknown "target-unknown" "The configuration has no such Git target.",
    TargetRefused "target-refused" "The Git target does not serve this namespace, or makes no pull requests.",
    Committed "committed" "The change is in Git; the cluster does not run it yet.",
    GitEdit "git-edit" "A line of a file that would be edited.",
    GitRefused "git-refused" "The Git server or its forge refused the change.",
    GitNoPlace "git-no-place" "No file of the Git target says which image this container runs.",
    GitConflict "git-conflict" "The files of the Git target disagree, make an image that others wish otherwise, or cannot be edited exactly.",
    RequestOpen "request-open" "A pull request holds the update; it waits to be merged.",
    RequestLimit "request-limit" "The namespace has as many open pull requests as it may have, or the request has no room for more changes; the update waits until one is merged or closed.",
    RequestClosed "request-closed" "A person closed the pull request unmerged; only a newer image is proposed again.",
    GitDiffers "git-differs" "Git has another image than the workload runs; nothing is changed until they agree.",
}

/// One line of an explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The tag it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// Which reason.
    pub code: Code,
    /// In words, with the values that matter.
    pub message: String,
    /// Workloads that it is about besides, and what to say of each.
    #[serde(skip)]
    pub others: Box<[(WorkloadId, String)]>,
}

impl Reason {
    /// About the workload or container as a whole.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { tag: None, code, message: message.into(), others: Box::default() }
    }

    /// About other workloads besides, with what to say of each.
    #[must_use]
    pub fn with_others(self, others: impl IntoIterator<Item = (WorkloadId, String)>) -> Self {
        Self { others: others.into_iter().collect(), ..self }
    }

    /// About one tag.
    pub fn of_tag(tag: &Tag, code: Code, message: impl Into<String>) -> Self {
        Self { tag: Some(tag.clone()), code, message: message.into(), others: Box::default() }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_reasons_holds_every_code() {
        let head = "# Reasons\n\nEvery decision names its reasons: `code` in JSON and YAML, in logs and in `explain`. \
                    The list is closed.\n\n| code | meaning |\n|---|---|\n";
        let rows = Code::ALL.iter().map(|code| format!("| `{code}` | {} |\n", code.meaning()));
        let page: String = std::iter::once(head.to_owned()).chain(rows).collect();
        assert_eq!(include_str!("../../docs/reasons.md"), page, "docs/reasons.md must read:\n{page}");
    }
}
