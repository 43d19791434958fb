//! Whose credentials a look may use: docker config files of pull secrets and of the operator.
//!
//! Entries match as kubelet matches them: by host (a label may hold `*`) and path prefix, the longest first.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::settings::Settings;
use crate::{
    domain::{
        hint::Source,
        image::{DOCKER_HUB, Repository},
    },
    ports::Secrets,
};

const MAX_FILE: u64 = 1024 * 1024;

/// Base64 as people write it: padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One way to answer a challenge.
#[derive(Debug, Clone)]
pub(super) struct Credential {
    pub(super) owner: Owner,
    pub(super) proof: Proof,
}

/// Who lends a credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// No credential.
    Nobody,
    Operator,
    Secret {
        namespace: Arc<str>,
        name: Arc<str>,
    },
}

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

/// Which credential, without the credential: the key of whatever was got with it. It holds the owner, so that the
/// same password in two namespaces is two identities, and a hash of the text, so that a changed one is another.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    owner: Owner,
    hash: [u8; 32],
}

/// What may be used for a look, best first, ending with no credential at all.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) list: Vec<Credential>,
    /// Why some that one might expect are missing.
    pub(super) notes: Vec<String>,
    /// Whether a Secret could not be read.
    pub(super) unreadable: bool,
}

/// Where credentials come from.
pub(super) struct Store {
    secrets: Arc<dyn Secrets>,
    docker_config: Option<PathBuf>,
    /// Files by host, as normalised images write it.
    files: HashMap<String, PathBuf>,
}

/// What a docker config has for a repository.
#[derive(Debug, Default)]
struct Found {
    /// With the length of the key's path and whether its host is without a wildcard.
    proofs: Vec<((usize, bool), Proof)>,
    /// Whether it names a helper program for the host.
    helper: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
}

impl Credential {
    fn nobody() -> Self {
        Self { owner: Owner::Nobody, proof: Proof::None }
    }

    pub(super) fn identity(&self) -> Identity {
        let mut hash = Sha256::new();
        match &self.proof {
            Proof::None => {}
            Proof::Password { user, password } => {
                hash.update(b"password\0");
                hash.update(user.as_bytes());
                hash.update(b"\0");
                hash.update(password.expose_secret().as_bytes());
            }
            Proof::IdentityToken(token) => {
                hash.update(b"identity token\0");
                hash.update(token.expose_secret().as_bytes());
            }
        }
        Identity { owner: self.owner.clone(), hash: hash.finalize().into() }
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        match &self.owner {
            Owner::Nobody => "no credentials".to_owned(),
            Owner::Operator => "the operator's credentials".to_owned(),
            Owner::Secret { namespace, name } => format!("those of Secret {namespace}/{name}"),
        }
    }
}

impl Store {
    pub(super) fn new(settings: &Settings, secrets: Arc<dyn Secrets>) -> Self {
        let file = |host: &super::HostSettings| {
            let path = host.credentials_file.clone()?;
            Some((normal_host(&host.host), path))
        };
        let files = settings.hosts.iter().filter_map(file).collect();
        Self { secrets, docker_config: settings.docker_config.clone(), files }
    }

    /// What a look may use. `fresh` reads pull secrets again that are kept.
    pub(super) async fn candidates(&self, source: &Source, fresh: bool) -> Candidates {
        let mut candidates = Candidates::default();
        let mut of_secrets = vec![];
        if let Some(secrets) = &source.credentials.secrets {
            let namespace = &secrets.namespace;
            for name in &secrets.names {
                let secret = match self.secrets.docker_config(namespace, name, fresh).await {
                    Ok(Some(secret)) => secret,
                    Ok(None) => {
                        candidates.notes.push(format!("there is no Secret {namespace}/{name}"));
                        continue;
                    }
                    Err(error) => {
                        candidates.notes.push(error.to_string());
                        candidates.unreadable = true;
                        continue;
                    }
                };
                match find(secret.expose_secret(), &source.repository) {
                    Ok(found) => {
                        if found.helper && found.proofs.is_empty() {
                            candidates.notes.push(format!(
                                "Secret {namespace}/{name} only names a helper program, which is never run: put a \
                                 user and a password or token for {} into its `auths`",
                                source.repository.host()
                            ));
                        }
                        let owner = Owner::Secret { namespace: namespace.clone(), name: name.clone() };
                        of_secrets.extend(found.proofs.into_iter().map(|(rank, proof)| (rank, owner.clone(), proof)));
                    }
                    Err(()) => {
                        candidates.notes.push(format!("Secret {namespace}/{name} holds no docker config in JSON"));
                        candidates.unreadable = true;
                    }
                }
            }
        }
        // Stable: equal ones stay in the order of the secrets.
        of_secrets.sort_by_key(|(rank, ..)| std::cmp::Reverse(*rank));
        candidates.list.extend(of_secrets.into_iter().map(|(_, owner, proof)| Credential { owner, proof }));
        if source.credentials.operator {
            self.add_operator(&source.repository, &mut candidates).await;
        }
        candidates.list.push(Credential::nobody());
        candidates
    }

    async fn add_operator(&self, repository: &Repository, candidates: &mut Candidates) {
        let configured = self.files.get(repository.host());
        for (path, required) in
            configured.map(|p| (p, true)).into_iter().chain(self.docker_config.as_ref().map(|p| (p, false)))
        {
            let text = match read(path).await {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => continue,
                Err(error) => {
                    candidates.notes.push(format!("the operator's credentials cannot be read ({})", error.kind()));
                    continue;
                }
            };
            match find(&text, repository) {
                Ok(mut found) => {
                    if found.helper && found.proofs.is_empty() {
                        candidates.notes.push(format!(
                            "the operator's docker config names a helper program for {}, and helper programs are not \
                             built yet: put a user and a password or token into its `auths`",
                            repository.host()
                        ));
                    }
                    found.proofs.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
                    let proofs = found.proofs.into_iter();
                    candidates.list.extend(proofs.map(|(_, proof)| Credential { owner: Owner::Operator, proof }));
                }
                Err(()) => candidates.notes.push("the operator's docker config is no docker config in JSON".to_owned()),
            }
        }
    }
}

/// Reads a small file.
async fn read(path: &Path) -> std::io::Result<String> {
    use tokio::io::AsyncReadExt as _;
    let file = tokio::fs::File::open(path).await?;
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).await?;
    Ok(text)
}

/// What a docker config has for a repository. The error says nothing, as the text is secret.
fn find(text: &str, repository: &Repository) -> Result<Found, ()> {
    // An array would be read as a struct's fields in their order.
    let object = text.trim_start().starts_with('{');
    let config: DockerConfig = serde_json::from_str(text).ok().filter(|_| object).ok_or(())?;
    let proofs = config.auths.into_iter().flatten().filter_map(|(key, entry)| {
        let rank = rank(&key, repository)?;
        Some((rank, proof(entry)?))
    });
    let proofs: Vec<_> = proofs.collect();
    let helpers = config.cred_helpers.unwrap_or_default();
    let helper = config.creds_store.is_some_and(|store| !store.is_empty())
        || helpers.keys().any(|key| rank(key, repository).is_some());
    Ok(Found { proofs, helper })
}

fn proof(entry: Entry) -> Option<Proof> {
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

fn normal_host(host: &str) -> String {
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

    #[rstest::rstest]
    #[case("")]
    #[case("[]")]
    #[case(r#"{"auths": []}"#)]
    #[case(r#"{"auths": {"ghcr.io": "x"}}"#)]
    fn what_is_no_docker_config_is_an_error(#[case] config: &str) {
        assert!(find(config, &repository("ghcr.io/web")).is_err());
    }

    #[test]
    fn the_same_password_in_two_namespaces_is_two_identities() {
        let credential = |namespace: &str, password: &str| Credential {
            owner: Owner::Secret { namespace: namespace.into(), name: "s".into() },
            proof: Proof::Password { user: "u".into(), password: password.into() },
        };
        assert!(credential("a", "p").identity() == credential("a", "p").identity());
        assert!(credential("a", "p").identity() != credential("b", "p").identity());
        assert!(credential("a", "p").identity() != credential("a", "q").identity());
        assert!(!format!("{:?}", credential("a", "hunter2")).contains("hunter2"));
    }
}
