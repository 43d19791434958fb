//! Whose credentials a look may use: docker config files of pull secrets and of the operator.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::future::join_all;
use secrecy::ExposeSecret;
use sha2::{Digest as _, Sha256};

use super::{
    docker_config::{Proof, find, normal_host},
    settings::RegistrySettings,
};
use crate::{
    domain::{hint::Source, image::Repository},
    ports::Secrets,
};

const MAX_FILE: u64 = 1024 * 1024;

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
    pub(super) fn new(settings: &RegistrySettings, secrets: Arc<dyn Secrets>) -> Self {
        let file = |host: &super::HostSettings| {
            let path = host.credentials_file.clone()?;
            Some((normal_host(&host.host), path))
        };
        let files = settings.hosts.iter().filter_map(file).collect();
        Self { secrets, docker_config: settings.docker_config.clone(), files }
    }

    /// Whether the user's docker login is looked at, as by a command outside of a cluster.
    pub(super) fn has_login(&self) -> bool {
        self.docker_config.is_some()
    }

    /// What a look may use. `fresh` reads pull secrets again that are kept.
    pub(super) async fn candidates(&self, source: &Source, fresh: bool) -> Candidates {
        let mut candidates = Candidates::default();
        let mut of_secrets = vec![];
        if let Some(secrets) = &source.credentials.secrets {
            let namespace = &secrets.namespace;
            // All at once, so that they wait for their turns together.
            let reads = secrets.names.iter().map(|name| self.secrets.docker_config(namespace, name, fresh));
            for (name, secret) in secrets.names.iter().zip(join_all(reads).await) {
                let secret = match secret {
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
                    Err(why) => {
                        candidates.notes.push(format!("Secret {namespace}/{name} {why}"));
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
                Err(why) => candidates.notes.push(format!("the operator's docker config {why}")),
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

#[cfg(test)]
mod tests {
    use super::*;

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
