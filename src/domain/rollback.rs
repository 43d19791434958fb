//! Whether what failed is put back by itself.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::nearest::listed;

/// The annotation `rollback`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rollback {
    /// A person does that.
    #[default]
    Never,
    /// Where it is sure that the image is at fault, and what ran before.
    Auto,
}

impl FromStr for Rollback {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "auto" => Ok(Self::Auto),
            _ => Err(listed(text, &["never", "auto"])),
        }
    }
}
