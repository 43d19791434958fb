//! What people ask to be left as it is: the annotation `hold`.

use std::{fmt, str::FromStr, sync::Arc};

use super::{
    candidate::HeldImage,
    image::{Digest, ImageRef, Tag, excerpt},
    reason::{Code, Reason},
};

/// The annotation `hold`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldRule {
    /// Nothing is changed.
    All,
    /// That tag is neither left nor taken.
    Tag(Tag),
    /// The same of a digest.
    Digest(Digest),
}

impl FromStr for HoldRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        if let Ok(digest) = Digest::parse(text) {
            return Ok(Self::Digest(digest));
        }
        // Whoever writes one of these means all of it.
        const MEANT: [&str; 5] = ["all", "true", "yes", "on", "false"];
        if MEANT.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Err("write `all`, one tag or one digest, or take it away".to_owned());
        }
        let why = match text {
            "" => "it is empty",
            _ if text.contains(':') => "that is no whole digest",
            _ if text.contains(',') => "one image is held, not a list",
            _ => "patterns are not taken here",
        };
        Tag::parse(text)
            .map(Self::Tag)
            .map_err(|_| format!("`{}` is neither `all` nor one tag or digest: {why}", excerpt(text)))
    }
}

impl fmt::Display for HoldRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Tag(tag) => f.write_str(tag.as_str()),
            Self::Digest(digest) => f.write_str(digest.as_str()),
        }
    }
}

impl HoldRule {
    /// Why a container that has that image stays as it is, if it does.
    pub fn keeps(&self, image: &ImageRef, by: &str) -> Option<Reason> {
        let is_it = match self {
            Self::All => true,
            Self::Tag(tag) => image.tag.as_ref() == Some(tag),
            Self::Digest(digest) => image.digest.as_ref() == Some(digest),
        };
        is_it.then(|| Reason::new(Code::Held, format!("it is left as it is while {by} is there")))
    }

    /// What is not taken for it, if it names an image.
    pub fn held(&self, by: &str) -> Option<HeldImage> {
        let (tag, digest) = match self {
            Self::All => return None,
            Self::Tag(tag) => (Some(tag.clone()), None),
            Self::Digest(digest) => (None, Some(digest.clone())),
        };
        let why: Arc<str> = format!("it is not chosen while {by} is there").into();
        Some(HeldImage { tag, digest, is_exact: true, code: Code::Held, why })
    }
}
