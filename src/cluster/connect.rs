//! How to reach the API server: a kubeconfig, or the ServiceAccount of the pod we run in.

use std::path::PathBuf;

use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::failure;
use crate::{net, ports::ClusterError};

/// What a person said about which cluster is meant.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A kubeconfig file; without one, kubectl's own order (`KUBECONFIG`, `~/.kube/config`), then the pod's
    /// ServiceAccount.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; without one, its current one.
    pub context: Option<String>,
}

/// Makes a client; no request is made yet. The namespace that is meant where none is said is
/// [`Client::default_namespace`].
pub async fn connect(options: &Options) -> Result<Client, ClusterError> {
    let mut config = config(options).await?;
    config.headers.push((USER_AGENT, HeaderValue::from_static(net::USER_AGENT)));
    Client::try_from(config).map_err(|e| ClusterError(format!("the connection to the cluster cannot be set up: {e}")))
}

/// Asks the API server for its version, to tell at once if it cannot be spoken to.
pub async fn reach(client: &Client) -> Result<(), ClusterError> {
    let says = |why: &str, what_next: &str| Err(ClusterError(format!("{why}; {what_next}")));
    match client.apiserver_version().await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 401 => says(
            "the API server does not accept the credentials of the kubeconfig",
            "log in again, or choose another one by --kubeconfig or --context",
        ),
        Err(error) => says(&failure(&error), "is it the cluster that is meant? see --kubeconfig and --context"),
    }
}

async fn config(options: &Options) -> Result<Config, ClusterError> {
    let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &options.kubeconfig {
        let bad =
            |e: &dyn std::fmt::Display| ClusterError(format!("the kubeconfig {} is not usable: {e}", path.display()));
        let kubeconfig = Kubeconfig::read_from(path).map_err(|e| bad(&e))?;
        return Config::from_custom_kubeconfig(kubeconfig, &chosen).await.map_err(|e| bad(&e));
    }
    if let Some(context) = &options.context {
        let bad = |e| ClusterError(format!("the context `{context}` of the kubeconfig is not usable: {e}"));
        return Config::from_kubeconfig(&chosen).await.map_err(bad);
    }
    Config::infer().await.map_err(|e| {
        ClusterError(format!(
            "no cluster is configured: {e}; give --kubeconfig FILE, set KUBECONFIG, or run in a pod with a ServiceAccount"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named() {
        let options = Options { kubeconfig: Some("/nowhere/kubeconfig".into()), context: None };
        let error = connect(&options).await.err().unwrap();
        assert!(error.0.contains("/nowhere/kubeconfig"), "{error}");
    }
}
