//! As whom a look is made.

use std::{fmt, sync::Arc};

use url::Url;

use super::{
    http::{Answer, Ask, Endpoint, Http, fail},
    settings::Settings,
};
use crate::{
    domain::hint::Source,
    ports::{RegistryError, RegistryErrorKind, Secrets},
};

/// What is remembered between looks.
pub(super) struct Sessions {
    #[expect(dead_code, reason = "the next step reads them")]
    secrets: Arc<dyn Secrets>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    pub(super) fn new(_settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        Self { secrets }
    }
}

/// One look at one repository.
pub(super) struct Look<'a> {
    pub(super) http: &'a Http,
    #[expect(dead_code, reason = "the next step reads them")]
    pub(super) sessions: &'a Sessions,
    pub(super) registry: Endpoint,
    pub(super) source: &'a Source,
}

impl Look<'_> {
    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        let bad = |_| fail(RegistryErrorKind::Refused, format!("{} has no URL", self.source.repository));
        self.registry.url.join(path).map_err(bad)
    }

    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<Answer, RegistryError> {
        self.http.send(&self.registry, &ask, None).await
    }
}
