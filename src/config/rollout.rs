//! `rollout`: how long is waited for what while a rollout is followed.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::domain::{poll::parse_duration, rollout::Times};

/// As in the file. What is absent is as [`Times::default`] has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutConfig {
    #[serde(default, deserialize_with = "duration")]
    settle: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    fault: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    stall: Option<Duration>,
}

impl RolloutConfig {
    /// With what is absent.
    pub fn times(&self) -> Times {
        let Times { settle, fault, stall } = Times::default();
        Times {
            settle: self.settle.unwrap_or(settle),
            fault: self.fault.unwrap_or(fault),
            stall: self.stall.unwrap_or(stall),
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(D::Error::custom)
}
