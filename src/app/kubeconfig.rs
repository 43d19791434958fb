//! The kubeconfig that is meant. Nothing of what it holds is told: its parser shows the lines around a mistake.

use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::{
    cluster,
    config::{ClusterArgs, ConfigError},
};

/// How an error of the parser begins.
const PARSER: &str = "failed to parse kubeconfig YAML: ";

/// A client of the cluster that is meant; no request is made yet. A plugin for credentials, if it names one, is run.
pub async fn connect(args: &ClusterArgs) -> Result<kube::Client, ConfigError> {
    let options = cluster::connect::Options { kubeconfig: args.kubeconfig.clone(), context: args.context.clone() };
    cluster::connect(&options).await.map_err(|error| ConfigError::one(without_contents(&error.to_string())))
}

/// What is wrong with the kubeconfig that these flags name, as far as that is seen without running its plugin.
pub(super) async fn problem(args: &ClusterArgs) -> Option<String> {
    let read = match (&args.kubeconfig, &args.context) {
        (Some(path), _) => Kubeconfig::read_from(path),
        (None, Some(_)) => Kubeconfig::read(),
        // It may be that there is no cluster where this is looked at.
        (None, None) => return None,
    };
    let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    let error = match read {
        Ok(kubeconfig) => kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.err()?,
        Err(error) => error,
    };
    // As one is told that meant to connect.
    let what = match (&args.kubeconfig, &args.context) {
        (Some(path), _) => format!("the kubeconfig {}", path.display()),
        (None, context) => format!("the context `{}` of the kubeconfig", context.as_deref().unwrap_or_default()),
    };
    Some(without_contents(&format!("{what} is not usable: {error}")))
}

/// Of an error of the parser the place alone.
fn without_contents(error: &str) -> String {
    let Some((before, said)) = error.split_once(PARSER) else { return error.to_owned() };
    let place = said.strip_prefix("error: ").unwrap_or(said).split(':').next().unwrap_or_default();
    let is_place = place.starts_with("line ") && place.len() < 40;
    format!(
        "{before}{}",
        if is_place { format!("{place} is not as a kubeconfig has it") } else { "it is no kubeconfig".to_owned() }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(
        "a: failed to parse kubeconfig YAML: error: line 3 column 9: expected x\n --> y\n",
        "a: line 3 column 9 is not as a kubeconfig has it"
    )]
    #[case("a: failed to parse kubeconfig YAML: geheim", "a: it is no kubeconfig")]
    #[case("a: failed to load current context: b", "a: failed to load current context: b")]
    fn an_error_is_told_without_what_the_file_holds(#[case] error: &str, #[case] told: &str) {
        assert_eq!(without_contents(error), told);
    }
}
