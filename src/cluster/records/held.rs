//! What is held of a workload, as it stands in its `ImageState`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::object::{exact, image, shown, told};
use crate::domain::update::{HeldBy, Hold, How, KeptKey, LAST_UPDATE, SeenRule, TakenAway};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredHeld {
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_behalf_of: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    at: Timestamp,
}

/// Annotations as they were last in force.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StoredRule {
    values: BTreeMap<String, String>,
    hash: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept: Vec<KeptKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undone: Option<StoredTaken>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resumed: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredTaken {
    by: String,
    at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredHold {
    container: String,
    #[serde(default)]
    init: bool,
    to: String,
    back_to: String,
    by: String,
    at: Timestamp,
    #[serde(default)]
    how: How,
}

impl StoredHold {
    pub(super) fn new(Hold { container, init, to, back_to, by, at, how, in_memory: _ }: &Hold) -> Self {
        Self {
            container: container.to_string(),
            init: *init,
            to: to.to_string(),
            back_to: shown(back_to),
            by: shown(by),
            at: *at,
            how: *how,
        }
    }

    pub(super) fn hold(&self) -> Result<Hold, String> {
        Ok(Hold {
            container: exact(&self.container, "container")?,
            init: self.init,
            to: image(&self.to, "to")?,
            back_to: exact(&self.back_to, "backTo")?,
            by: exact(&self.by, "by")?,
            at: self.at,
            how: self.how,
            in_memory: false,
        })
    }
}

impl StoredHeld {
    pub(super) fn new(HeldBy { by, on_behalf_of, reason, at }: &HeldBy) -> Self {
        let on_behalf_of = on_behalf_of.as_deref().map(shown);
        Self { by: shown(by), on_behalf_of, reason: told(reason), at: *at }
    }

    pub(super) fn held(&self) -> Result<HeldBy, String> {
        let on_behalf_of = self.on_behalf_of.as_deref().map(|who| exact(who, "held.onBehalfOf")).transpose()?;
        Ok(HeldBy { by: exact(&self.by, "held.by")?, on_behalf_of, reason: told(&self.reason).into(), at: self.at })
    }
}

impl StoredRule {
    pub(super) fn new(rule: &SeenRule) -> Self {
        // What we write ourselves is no rule.
        let values = rule.values.iter().filter(|(key, _)| *key != LAST_UPDATE);
        let values = values.map(|(key, value)| (key.clone(), value.clone())).collect();
        let undone = rule.undone.as_ref().map(|taken| StoredTaken { by: shown(&taken.by), at: taken.at });
        Self { values, hash: rule.hash().to_string(), kept: rule.kept.clone(), undone, resumed: rule.resumed }
    }

    pub(super) fn rule(&self) -> Result<SeenRule, String> {
        let taken = |taken: &StoredTaken| {
            Ok::<_, String>(Box::new(TakenAway { by: exact(&taken.by, "rule.undone.by")?, at: taken.at }))
        };
        let undone = self.undone.as_ref().map(taken).transpose()?;
        Ok(SeenRule { values: self.values.clone().into(), kept: self.kept.clone(), undone, resumed: self.resumed })
    }
}
