//! Why an update is not told now, and how long it waits then.

use std::time::Duration;

use super::{CONFLICT, LONGEST, api::ApiError};
use crate::ports::{PutError, UpdateName};

/// Why an update is not told now.
pub(super) enum Failed {
    Slack(ApiError),
    Record(PutError),
}

impl Failed {
    /// How long that update waits then.
    pub(super) fn wait(&self, update: &UpdateName) -> Duration {
        let UpdateName { namespace, name } = update;
        match self {
            // It is read again.
            Self::Record(PutError::Conflict) => return CONFLICT,
            Self::Record(error) => {
                tracing::warn!(%namespace, update = &**name, why = %error, "what is told in Slack is not recorded; tried again");
            }
            Self::Slack(error) => {
                tracing::warn!(%namespace, update = &**name, why = %error, "Slack does not take a message; tried again");
            }
        }
        LONGEST
    }
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self::Slack(error)
    }
}

impl From<PutError> for Failed {
    fn from(error: PutError) -> Self {
        Self::Record(error)
    }
}
