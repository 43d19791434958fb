//! Pull secrets where there is no cluster.

use futures::future::{BoxFuture, ready};
use secrecy::SecretString;

use crate::ports::{SecretError, Secrets};

/// There are none: the user's own credentials are used.
#[derive(Debug, Clone, Copy)]
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn docker_config<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: bool,
    ) -> BoxFuture<'a, Result<Option<SecretString>, SecretError>> {
        Box::pin(ready(Ok(None)))
    }
}
