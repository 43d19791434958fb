//! Docker config files: which of their entries fit a repository.
//!
//! Entries match as kubelet matches them: by host (a label may hold `*`) and path prefix, the longest first.

use std::collections::BTreeMap;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::SecretString;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::domain::image::{DOCKER_HUB, Repository};

/// Base64 as people write it: padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const MAX_ENTRIES: usize = 100;

/// What is shown.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    None,
    Password {
        user: String,
        password: SecretString,
    },
    /// A refresh token of OAuth2, which docker login stores for some registries.
    IdentityToken(SecretString),
}

/// What a docker config has for a repository.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// With the length of the key's path and whether its host is without a wildcard.
    pub(super) proofs: Vec<((usize, bool), Proof)>,
    /// Whether it names a helper program for the host.
    pub(super) helper: bool,
}

/// An object whose keys are read in any letter case, as Docker does.
type Object = serde_json::Map<String, Value>;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
struct DockerConfig {
    auths: Option<BTreeMap<String, Option<Object>>>,
    #[serde(rename = "credhelpers")]
    helpers: Option<BTreeMap<String, Option<String>>>,
    #[serde(rename = "credsstore")]
    store: Option<String>,
}

#[derive(Deserialize)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// What a docker config has for a repository, or what is wrong with it, without a word of it, as it is secret.
pub(super) fn find(text: &str, repository: &Repository) -> Result<Matching, &'static str> {
    const BAD: &str = "holds no docker config in JSON";
    let config: DockerConfig = serde_json::from_str(text).ok().and_then(read).ok_or(BAD)?;
    if config.auths.as_ref().is_some_and(|auths| auths.len() > MAX_ENTRIES) {
        return Err("has more than 100 entries in its `auths`");
    }
    let mut proofs = Vec::new();
    for (key, entry) in config.auths.into_iter().flatten() {
        let entry: AuthEntry = read(entry.unwrap_or_default()).ok_or(BAD)?;
        if let Some(rank) = rank(&key, repository) {
            proofs.extend(proof(entry).map(|proof| (rank, proof)));
        }
    }
    let helpers = config.helpers.unwrap_or_default();
    let helper = config.store.is_some_and(|store| !store.is_empty())
        || helpers.keys().any(|key| rank(key, repository).is_some());
    Ok(Matching { proofs, helper })
}

fn read<T: DeserializeOwned>(object: Object) -> Option<T> {
    let lower = object.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value));
    serde_json::from_value(Value::Object(lower.collect())).ok()
}

fn proof(entry: AuthEntry) -> Option<Proof> {
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = text(entry.identitytoken) {
        return Some(Proof::IdentityToken(token.into()));
    }
    if let Some(auth) = text(entry.auth) {
        let decoded = String::from_utf8(BASE64.decode(auth.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        return Some(Proof::Password { user: user.to_owned(), password: password.trim_end_matches('\0').into() });
    }
    let user = text(entry.username)?;
    Some(Proof::Password { user, password: entry.password.unwrap_or_default().into() })
}

/// How well a key fits a repository, if at all: the length of its path, and whether its host is spelled out.
fn rank(key: &str, repository: &Repository) -> Option<(usize, bool)> {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    // `https://index.docker.io/v1/` is the registry's root.
    let path = match path.strip_prefix("v1").or_else(|| path.strip_prefix("v2")) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
        _ => path,
    };
    let host = normal_host(host);
    let fits = host_fits(&host, repository.host()) && repository.path().starts_with(path);
    fits.then_some((path.len(), !host.contains('*')))
}

/// One spelling of the host.
pub(super) fn normal_host(host: &str) -> String {
    match host.to_ascii_lowercase().as_str() {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// Whether a host fits a pattern whose labels may hold `*`. A port must be the same.
fn host_fits(pattern: &str, host: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == host;
    }
    let parts = |text: &str| -> (Vec<String>, Option<String>) {
        let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port.to_owned())));
        (name.split('.').map(str::to_owned).collect(), port)
    };
    let ((pattern, pattern_port), (host, host_port)) = (parts(pattern), parts(host));
    pattern_port == host_port
        && pattern.len() == host.len()
        && pattern.iter().zip(&host).all(|(pattern, label)| label_fits(pattern, label))
}

fn label_fits(pattern: &str, label: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == label };
    let Some(mut label) = label.strip_prefix(start) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return label.ends_with(piece);
        }
        match label.find(piece) {
            Some(at) => label = &label[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn repository(text: &str) -> Repository {
        Repository::parse(text).unwrap()
    }

    #[rstest::rstest]
    #[case("ghcr.io", "ghcr.io/team/web", true)]
    #[case("https://ghcr.io", "ghcr.io/team/web", true)]
    #[case("https://ghcr.io/v2/", "ghcr.io/team/web", true)]
    #[case("GHCR.io", "ghcr.io/team/web", true)]
    #[case("ghcr.io/team", "ghcr.io/team/web", true)]
    #[case("ghcr.io/other", "ghcr.io/team/web", false)]
    #[case("ghcr.io/v2x", "ghcr.io/team/web", false)]
    #[case("ghcr.io.evil.com", "ghcr.io/team/web", false)]
    #[case("hcr.io", "ghcr.io/team/web", false)]
    #[case("reg:5000", "reg:5000/web", true)]
    #[case("reg", "reg:5000/web", false)]
    #[case("reg:5001", "reg:5000/web", false)]
    #[case("https://index.docker.io/v1/", "nginx", true)]
    #[case("index.docker.io", "team/web", true)]
    #[case("registry-1.docker.io", "team/web", true)]
    #[case("docker.io", "team/web", true)]
    #[case("docker.io/team", "team/web", true)]
    #[case("docker.io/team", "nginx", false)]
    #[case("*.kubernetes.io", "k8s.kubernetes.io/web", true)]
    #[case("*.kubernetes.io", "kubernetes.io/web", false)]
    #[case("*.kubernetes.io", "a.b.kubernetes.io/web", false)]
    #[case("app*x.k8s.io", "app-1-x.k8s.io/web", true)]
    #[case("a*a.k8s.io", "a.k8s.io/web", false)]
    #[case("*.io:5000", "reg.io:5000/web", true)]
    #[case("*.io", "reg.io:5000/web", false)]
    #[case("", "ghcr.io/team/web", false)]
    fn a_key_fits_by_host_and_path(#[case] key: &str, #[case] image: &str, #[case] fits: bool) {
        assert_eq!(rank(key, &repository(image)).is_some(), fits);
    }

    #[rstest::rstest]
    #[case(r#"{"auths": {"other.io": null, "a.io": {"username": "u", "password": "p"}}}"#)]
    #[case(r#"{"auths": {"a.io": {"Username": "u", "PASSWORD": "p", "auth": null}}}"#)]
    #[case(r#"{"Auths": {"a.io": {"Auth": "dTpw"}}, "credHelpers": {"b.io": null}}"#)]
    fn entries_may_be_null_and_keys_of_any_case(#[case] config: &str) {
        assert_eq!(users(config, "a.io/web"), ["u:p"]);
        assert!(users(config, "other.io/web").is_empty());
    }

    fn users(config: &str, image: &str) -> Vec<String> {
        let mut found = find(config, &repository(image)).unwrap();
        found.proofs.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let show = |(_, proof)| match proof {
            Proof::Password { user, password } => format!("{user}:{}", password.expose_secret()),
            Proof::IdentityToken(token) => format!("token {}", token.expose_secret()),
            Proof::None => "none".to_owned(),
        };
        found.proofs.into_iter().map(show).collect()
    }

    #[test]
    fn the_longest_path_comes_first_and_a_spelled_out_host_before_a_wildcard() {
        let config = r#"{"auths": {
            "*.io": {"username": "d", "password": "4"},
            "ghcr.io": {"username": "c", "password": "3"},
            "ghcr.io/team/web": {"username": "a", "password": "1"},
            "ghcr.io/team": {"username": "b", "password": "2"},
            "ghcr.io/else": {"username": "e", "password": "5"}}}"#;
        assert_eq!(users(config, "ghcr.io/team/web"), ["a:1", "b:2", "c:3", "d:4"]);
    }

    #[rstest::rstest]
    #[case(r#"{"auth": "dTpwOnc="}"#, &["u:p:w"])]
    #[case(r#"{"auth": "dTpwOnc"}"#, &["u:p:w"])]
    #[case(r#"{"auth": "dTpwAAA="}"#, &["u:p"])]
    #[case(r#"{"username": "u", "password": "p", "email": "e"}"#, &["u:p"])]
    #[case(r#"{"auth": "dTpw", "identitytoken": "t"}"#, &["token t"])]
    #[case(r#"{"auth": "no base64"}"#, &[])]
    #[case(r#"{"auth": "dQ=="}"#, &[])]
    #[case("{}", &[])]
    fn an_entry_is_read_in_every_form(#[case] entry: &str, #[case] expected: &[&str]) {
        assert_eq!(users(&format!(r#"{{"auths": {{"ghcr.io": {entry}}}}}"#), "ghcr.io/web"), expected);
    }

    #[rstest::rstest]
    #[case(r#"{"credsStore": "desktop"}"#, true)]
    #[case(r#"{"credHelpers": {"ghcr.io": "x"}}"#, true)]
    #[case(r#"{"credHelpers": {"quay.io": "x"}}"#, false)]
    #[case(r#"{"credsStore": "", "auths": null}"#, false)]
    #[case("{}", false)]
    fn a_helper_program_is_noticed(#[case] config: &str, #[case] helper: bool) {
        assert_eq!(find(config, &repository("ghcr.io/web")).unwrap().helper, helper);
    }

    #[test]
    fn a_hundred_entries_are_read_and_no_more() {
        let config = |count: usize| {
            let entries = (0..count).map(|n| (format!("h{n}.io"), serde_json::json!({})));
            serde_json::json!({"auths": serde_json::Map::from_iter(entries)}).to_string()
        };
        assert!(find(&config(100), &repository("ghcr.io/web")).is_ok());
        assert!(find(&config(101), &repository("ghcr.io/web")).unwrap_err().contains("more than 100 entries"));
    }

    #[rstest::rstest]
    #[case("")]
    #[case("[]")]
    #[case(r#"{"auths": []}"#)]
    #[case(r#"{"auths": {"ghcr.io": "x"}}"#)]
    fn what_is_no_docker_config_is_an_error(#[case] config: &str) {
        assert!(find(config, &repository("ghcr.io/web")).is_err());
    }
}
