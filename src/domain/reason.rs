//! Every "no" (and "yes") in words a person can read, with a code from one closed list.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{image::Tag, text::excerpt, workload::WorkloadId};

macro_rules! codes {
    ($($name:ident $text:literal $class:ident $doc:literal $advice:literal,)*) => {
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

            /// Whether it says that what was written does not run, or not yet.
            pub fn is_of_rollout(self) -> bool {
                matches!(
                    self,
                    Self::RolloutFailed | Self::RolloutStalled | Self::RollbackFailed | Self::RollbackNotPossible
                )
            }

            /// Whether it says that people, or another deployer, keep an image from being set.
            pub fn is_of_hold(self) -> bool {
                matches!(self, Self::Held | Self::Reverted | Self::FoughtOver | Self::Undone)
            }

            /// What kind of reason it is.
            pub fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }

            /// What it means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }

            /// What a person can do about it.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

/// What a reason says of a workload or container, mostly: the decision stands in its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// About one tag: why it was or was not taken.
    Tag,
    /// A change is, or can be, written.
    Update,
    /// Nothing is to be done.
    UpToDate,
    /// Nobody asked for anything.
    Unwatched,
    /// A person decided so, or is waited for.
    Waiting,
    /// Something else stands in the way.
    Blocked,
    /// The registry does not serve for a while: its operator's business, and everybody's if it lasts.
    Away,
    /// Nothing is done until somebody fixes it.
    Problem,
    /// Good to know; stands in no way.
    Note,
}

impl Class {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Update => "update",
            Self::UpToDate => "up to date",
            Self::Unwatched => "not watched",
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Away => "away",
            Self::Problem => "problem",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

codes! {
    // A tag, and why it was or was not taken.
    Chosen "chosen" Tag "The best tag that the policy allows." "Nothing.",
    NotBest "not-best" Tag "Eligible, but another eligible tag is better." "Nothing; to stay at it, leave out the better one with `ignore`.",
    NotAVersion "not-a-version" Tag "The tag is no version, and the policy compares versions." "Use `glob:`, `regex:` or `newest:` for tags that are no versions.",
    CommitBuild "commit-build" Tag "The tag names a commit; such builds are taken only if the current tag is one." "Nothing; to follow such builds, use `newest:` or `regex:` with an order.",
    OtherFlavour "other-flavour" Tag "The tag is of another flavour (such as -alpine) than the current one." "To change the flavour, name it in `flavour`.",
    OtherPrefix "other-prefix" Tag "The tag has another prefix than the current one." "Set a tag with that prefix by hand once; from then on it is followed.",
    CalendarJump "calendar-jump" Tag "The tag looks like a date while the current one is a small number." "If it is meant, set such a tag by hand once.",
    NotNewer "not-newer" Tag "The tag is not newer than the current one." "Nothing; to go back, set the tag by hand.",
    OtherPrecision "other-precision" Tag "The tag has more or fewer numbers than the current one." "Set a tag with so many numbers by hand once.",
    Revision "revision" Tag "The tag has a revision and the current one has none." "Set a tag with a revision by hand once.",
    OutsideLevel "outside-level" Tag "The tag is newer, but beyond the level (patch, minor) of the policy." "Use a wider policy (`minor`, `major`), or set it by hand.",
    Prerelease "pre-release" Tag "The tag is a pre-release that the policy does not take." "Write `prerelease: allow` where such tags are wanted.",
    OutsideRange "outside-range" Tag "The version is outside the policy's range." "Widen the range of `semver:`.",
    NoMatch "no-match" Tag "The tag does not match the policy's pattern." "Widen the pattern; `supercargo explain --policy … --tags FILE` tries one.",
    NoOrderKey "no-order-key" Tag "The tag has no part that the policy's order can compare." "Let the group `order` match a part of every tag that is wanted.",
    NoTime "no-time" Tag "Neither the registry nor the image gives a time for the tag." "Narrow `newest:` to tags with a time, or compare by `regex:`.",
    NotAllowed "not-allowed" Tag "The tag does not match `allow`." "Widen `allow`.",
    Ignored "ignored" Tag "The tag matches `ignore`." "Narrow `ignore`.",
    // The workload or container as a whole.
    NewDigest "new-digest" Update "The tag points to another digest now." "Nothing.",
    PinTag "pin-tag" Update "The image is to be pinned to the digest its tag points to." "Nothing.",
    UpToDate "up-to-date" UpToDate "Nothing newer is eligible." "Nothing; `supercargo explain` shows why each other tag was not taken.",
    NotWatched "not-watched" Unwatched "No policy applies." "Annotate the workload or its Namespace with `supercargo.dev/policy`.",
    PolicyNever "policy-never" UpToDate "The policy is `never`." "Nothing; another policy would watch it.",
    Follows "follows" UpToDate "An init container that moves with the container whose image it runs." "Nothing; `policy.<container>` gives it a policy of its own.",
    NotSelected "not-selected" Unwatched "The container is not among those that `containers` names." "Name it in `containers`.",
    Suspended "suspended" Waiting "`suspend` is true: nothing is changed." "Take `suspend` away from the workload, its Namespace or the overlay that sets it.",
    DryRun "dry-run" Waiting "The operator runs with --dry-run: nothing is changed." "Start the operator without `--dry-run`.",
    WebhookOnly "webhook-only" Waiting "Not polled: looked at when a webhook comes." "Send a webhook, or set `poll`.",
    SecretsLeftOut "secrets-left-out" Note "Only the first 20 imagePullSecrets of a workload are used." "Name the Secret that is needed among the first 20.",
    HelmManaged "helm-managed" Note "Installed by Helm: the next upgrade sets the chart's image." "Set the tag in the chart's values too, or write it to Git.",
    AdmissionRefused "admission-refused" Blocked "The API server refused the change." "The message is the API server's: change what its policy refuses, or ask its owner.",
    OwnedElsewhere "owned-elsewhere" Problem "Another controller sets the image and would change it back." "Write to Git instead (`write: git:<target>`), or put `write: cluster` on the workload itself.",
    Reverted "reverted" Waiting "A release of Helm's, or a commit, set an older image again, or somebody did where there are no records in the cluster; only a newer one is set." "Nothing, if it was meant; else `supercargo resume` (which needs records in the cluster), or set the tag by hand.",
    Held "held" Blocked "A person moved the image back, or asked that it be left as it is; neither that image nor an older one is set." "Nothing, if it was meant: the next newer image is taken. Else `supercargo resume`, or take the annotation `hold` away.",
    Undone "undone" Blocked "A policy or a gate was taken away with an image that was moved back, as `kubectl rollout undo` does it." "Write the annotation again, or `supercargo resume`.",
    FoughtOver "fought-over" Problem "Another deployer sets the image, and set an older one than supercargo had." "Let one of the two set it: write to Git (`write: git:<target>`), or take the image out of what is deployed; then `supercargo resume`.",
    Resumed "resumed" Note "A person said that updates go on." "Nothing.",
    GuardPolicy "guard-policy" Problem "A guard of the configuration does not allow this policy here." "Use a policy that the guard lists, or ask who keeps the configuration.",
    GuardRegistry "guard-registry" Problem "A guard of the configuration does not allow this registry here." "Use a registry that the guard lists, or ask who keeps the configuration.",
    GuardTarget "guard-target" Problem "A guard of the configuration does not allow this Git target here." "Use a target that the guard lists, or ask who keeps the configuration.",
    GuardInterval "guard-interval" Note "A guard of the configuration sets a longer poll interval." "Nothing; a webhook is not slowed down.",
    // Problems: the workload is left alone until somebody fixes them.
    AnnotationUnknown "annotation-unknown" Problem "An annotation key that does not exist." "Correct the key as the message says.",
    AnnotationInvalid "annotation-invalid" Problem "An annotation value that does not parse." "Correct the value as the message says.",
    PollInvalid "poll-invalid" Note "The poll annotation does not parse; the default interval is used." "Correct the value as the message says.",
    NotBuilt "not-built" Problem "A feature that this version does not have yet." "Take the annotation away.",
    PolicyInvalid "policy-invalid" Problem "The policy or one of its options does not parse or does not fit." "Correct the policy as the message says; `supercargo policy test` and `explain` try it.",
    CurrentNotAVersion "current-not-a-version" Problem "The policy compares versions, and the current tag is none." "Set a tag that is a version by hand once, or use `glob:`, `regex:`, `newest:` or `digest`.",
    CurrentNoTag "current-no-tag" Problem "The image has no tag." "Write a tag into the image.",
    TooFewNumbers "too-few-numbers" Problem "The current tag has fewer numbers than the level of the policy needs, so nothing could ever be newer." "Use the level that the message names.",
    ImageInvalid "image-invalid" Problem "The image is no valid reference." "Correct the image.",
    TooManyTags "too-many-tags" Problem "More tags than can be asked for their times; narrow them by a glob." "Write a glob, as in `newest:main-*`.",
    TooCostly "too-costly" Problem "Deciding took too long and was ended; use fewer patterns, or a repository with fewer tags." "Use fewer or simpler patterns, or split the workload.",
    OverLimit "over-limit" Problem "A limit is reached that keeps one workload or namespace from taking what others need." "The message names the limit: [SECURITY.md](../SECURITY.md#limits).",
    Undecodable "undecodable" Problem "The object could not be read." "Compare the object with its kind's definition; the message names the field.",
    KeelReported "keel-reported" Note "Keel's annotations are reported only; see --keel." "Write the annotations that `supercargo migrate` shows, or run with `--keel apply`.",
    KeelUnsupported "keel-unsupported" Problem "An annotation of Keel's that this version does not know or have." "See [keel.md](keel.md).",
    RegistryAuth "registry-auth" Blocked "The registry refused the credentials, or wants some." "Check the pull secret, or the credentials of the configuration: the message says which were tried.",
    RegistryNotFound "registry-not-found" Blocked "The registry has no such repository or tag." "Check the image's repository, and that the credentials may read it.",
    RegistryLimited "registry-limited" Away "The registry asked to wait." "Nothing; with credentials many registries allow more. Poll less often.",
    RegistryUnavailable "registry-unavailable" Away "The registry did not answer, or not as it should." "Check that the pod reaches the host: DNS, NetworkPolicy, certificate.",
    RegistryRefused "registry-refused" Blocked "The address is one that supercargo does not connect to." "List the host under `registries`, if it is meant.",
    SecretUnreadable "secret-unreadable" Problem "A pull secret could not be read." "Run the command that the message shows, or name a Secret that exists.",
    HintNotFound "hint-not-found" Note "A webhook named a tag that the registry does not have, or not as it said." "Check what the sender says: host, repository and tag as images write them.",
    NotLookedYet "not-looked-yet" Blocked "The repository has not been looked at yet." "Wait a moment; `supercargo_registry_queue_seconds` says for how long looks wait.",
    WriteFailed "write-failed" Problem "The change could not be written." "The message is the API server's or the Git server's; it is tried again.",
    // The end of an update.
    NotFollowed "not-followed" Update "It is written; whether it runs is not followed." "Nothing; `kubectl rollout status` tells whether it runs.",
    NotProved "not-proved" Update "It is written; the workload has no pods that could prove that it runs." "Nothing; `kubectl rollout status` tells whether it runs when there are pods again.",
    RolloutFailed "rollout-failed" Problem "The update was written and does not run." "The message says what its pods say. Push a newer image, or set another one by hand; where something else was in the way, fix that: the pods then start, and the record stays as it is.",
    RolloutStalled "rollout-stalled" Problem "The update was written and does not run for a reason that is not its image's." "Fix what the message names: nodes, quota, volumes, another container; the rollout goes on by itself.",
    RolledBack "rolled-back" Update "What ran before runs again." "Nothing: the image that was left is not set again by itself. Push a fixed one under a newer tag.",
    RollbackFailed "rollback-failed" Problem "The update was put back, and what ran before does not run either." "Look at the pods: the message says what they say. It is not tried again; set an image by hand.",
    RollbackNotPossible "rollback-not-possible" Problem "The update is not put back: something that must hold for that does not." "The message says what. Look at the workload, and set an image by hand, or use `supercargo rollback`.",
    RollingOut "rolling-out" Waiting "The last update of the workload is still being rolled out; the next waits until that has ended." "Nothing; `kubectl rollout status` shows how far it is.",
    TooYoung "too-young" Waiting "The version is not as old yet as `min-age`, or a floor under it, asks for." "Wait until it opens; to take it before, set it by hand.",
    OutsideWindow "outside-window" Waiting "The workload's updates may not start outside its `window`s." "Wait until it opens; to take it before, set it by hand, or change the window.",
    Frozen "frozen" Waiting "The workload's updates may not start during a `freeze`." "Wait until it opens; to take it before, set it by hand.",
    NeverOpens "never-opens" Problem "Its windows and freezes together leave no time in the next 400 days." "Correct one of those that the message names; to stop updates, use `suspend`.",
    Approval "approval" Waiting "It waits until as many people have approved it as must." "Look at it and say yes or no: `supercargo approve` or `reject`; approvals.md says who may.",
    Rejected "rejected" Waiting "A person said no to the image; it is not asked for again before a newer one." "Nothing, if it was meant; to take it all the same, set it by hand.",
    Expired "expired" Waiting "Not enough people approved the image in time; it is not asked for again before a newer one." "Push a newer image, or set it by hand; `approval-timeout` gives people more time.",
    ApprovalsUnguarded "approvals-unguarded" Problem "Approvals are asked for, and it is not sure that nobody can vote for another: nothing is approved." "Install what the message names; approvals.md shows how.",
    RecordsMissing "records-missing" Problem "The cluster does not keep what must be remembered for what is asked." "Install the definitions (`supercargo crds`) and give the rights of deploy/base.",
    Quarantined "quarantined" Tag "The image was set before and did not run: it is not chosen again by itself." "Push a fixed image under a newer tag; to take this one all the same, set it by hand.",
    Superseded "superseded" UpToDate "The update is not gone on with: another took its place, or nobody wants it any more." "Nothing; the message says why.",
    // Writing to Git.
    TargetUnknown "target-unknown" Problem "The configuration has no such Git target." "Correct the name, or add the target to the configuration.",
    TargetRefused "target-refused" Problem "The Git target does not serve this namespace, or makes no pull requests." "Add the namespace to the target's `namespaces`, or a `forge` for pull requests.",
    Committed "committed" Update "The change is in Git; the cluster does not run it yet." "Nothing; if it lasts, look at what deploys from Git.",
    GitEdit "git-edit" Update "A line of a file that would be edited." "Nothing.",
    GitRefused "git-refused" Blocked "The Git server or its forge refused the change." "Check what the token may do, and the branch's protection: the message is the server's.",
    GitNoPlace "git-no-place" Blocked "No file of the Git target says which image this container runs." "Name the file in `files:` of `supercargo.yaml`, or mark the line with `# supercargo: <policy>`.",
    GitConflict "git-conflict" Blocked "The files of the Git target disagree, make an image that others wish otherwise, or cannot be edited exactly." "The message names the line, and what to write instead.",
    RequestOpen "request-open" Update "A pull request holds the update; it waits to be merged." "Review it, and merge or close it.",
    RequestLimit "request-limit" Waiting "The namespace has as many open pull requests as it may have, or the request has no room for more changes; the update waits until one is merged or closed." "Merge or close open ones.",
    RequestClosed "request-closed" Waiting "A person closed the pull request unmerged; only a newer image is proposed again." "Nothing; to propose it again, reopen the request.",
    GitDiffers "git-differs" Blocked "Git has another image than the workload runs; nothing is changed until they agree." "Let Git and the cluster agree: deploy what Git has, or commit what runs.",
}

/// One line of an explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The tag it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// Which reason.
    pub code: Code,
    /// In words, with the values that matter.
    pub message: String,
    /// Containers of other workloads that it is about besides.
    #[serde(skip)]
    pub others: Box<[Other]>,
}

/// Another container that a reason is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Its workload.
    pub workload: WorkloadId,
    /// Its name.
    pub container: Arc<str>,
    /// What is said of it.
    pub text: String,
}

impl Reason {
    /// About the workload or container as a whole.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { tag: None, code, message: message.into(), others: Box::default() }
    }

    /// About other containers besides.
    #[must_use]
    pub fn with_others(self, others: impl IntoIterator<Item = Other>) -> Self {
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

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let known = Self::ALL.iter().find(|code| code.as_str() == text);
        known.copied().ok_or_else(|| D::Error::custom(format!("`{}` is no reason that is known", excerpt(&text))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_reasons_holds_every_code() {
        let head = "# Reasons\n\nEvery decision names its reasons: `code` in JSON and YAML, in logs and in `explain`. \
                    The list is closed. `of` says what kind of reason it is; the \
                    decision of its row may be another: what people want so is `waiting` here, and its row may be \
                    `blocked`.\n\n| code | of | meaning | what to do |\n|---|---|---|---|\n";
        let row = |code: &Code| format!("| `{code}` | {} | {} | {} |\n", code.class(), code.meaning(), code.advice());
        let rows = Code::ALL.iter().map(row);
        let page: String = std::iter::once(head.to_owned()).chain(rows).collect();
        assert_eq!(include_str!("../../docs/reasons.md"), page, "docs/reasons.md must read:\n{page}");
    }
}
