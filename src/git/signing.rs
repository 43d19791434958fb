//! Signatures of commits, made and checked by git with ssh-keygen or gpg. The key's copy and gpg's home are in a private
//! folder that lives as long as one use takes, so nothing is kept, also no agent, and a new key counts at once.

use std::{
    collections::HashSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use tempfile::TempDir;

use super::{
    command::{Git, GitError, private_copy},
    settings::Signing,
};

/// The longest path in which the sockets of gpg's agent have room.
const SHORT: usize = 75;

/// A key that git can use.
struct Key {
    /// Settings and variables for git.
    more: Vec<(String, String)>,
    /// Of a key of OpenPGP.
    fingerprint: Option<String>,
}

/// Runs `git commit-tree` with these arguments, and with a signature or not at all.
pub(super) async fn sign(
    git: &Git,
    signing: &Signing,
    folder: &Path,
    args: &[&str],
    message: &[u8],
) -> Result<Vec<u8>, GitError> {
    let home = home(folder)?;
    let signed = async {
        let key = key(git, signing, home.path()).await?;
        if let Some(fingerprint) = &key.fingerprint {
            // Git says that gpg failed, but not why: gpg itself is asked before.
            run(git, "gpg", &["--detach-sign", "--local-user", fingerprint], b"", &key.more).await?;
        }
        let signed = run(git, "git", &[args, &["-S"]].concat(), message, &key.more).await;
        signed.map_err(|why| of_key(signing, &why))
    }
    .await;
    forget(git, signing, &home).await;
    signed.map_err(|why| failed("the commit cannot be signed", &why))
}

/// Which of these commits have a good signature of our key. `more` tells where they are.
pub(super) async fn signed(
    git: &Git,
    signing: &Signing,
    folder: &Path,
    commits: &[&str],
    more: Vec<(String, String)>,
) -> Result<HashSet<String>, GitError> {
    let home = home(folder)?;
    let checked = async {
        let key = key(git, signing, home.path()).await?;
        let mut more = [more, key.more].concat();
        // One of another format is none of ours, whoever trusts it.
        let other = if matches!(signing, Signing::Ssh { .. }) { "gpg.openpgp.program" } else { "gpg.ssh.program" };
        more.extend([other, "gpg.x509.program"].map(|program| pair(program, "false")));
        if let Signing::Ssh { .. } = signing {
            let copy = home.path().join("key").display().to_string();
            let public = run(git, "ssh-keygen", &["-y", "-f", &copy], b"", &more).await;
            let public = public.map_err(|why| of_key(signing, &why))?;
            let signers = home.path().join("signers");
            let line = [b"supercargo namespaces=\"git\" ", &*public].concat();
            fs::write(&signers, line).map_err(|error| error.to_string())?;
            more.push(pair("gpg.ssh.allowedSignersFile", &signers.display().to_string()));
        }
        let args = ["log", "--no-walk=unsorted", "--stdin", "--format=%H %G? %GP"];
        let shown = run(git, "git", &args, commits.join("\n").as_bytes(), &more).await?;
        Ok(good(&String::from_utf8_lossy(&shown), key.fingerprint.as_deref()))
    }
    .await;
    forget(git, signing, &home).await;
    checked.map_err(|why: String| failed("the signatures of its commits cannot be checked", &why))
}

/// Reads `%H %G? %GP`. With gpg nobody says that our key is trusted (`U`), but it is named; with SSH the list of those
/// who may sign has ours alone, and whatever another key signed is `U`.
fn good(shown: &str, fingerprint: Option<&str>) -> HashSet<String> {
    let is_good = |good: &str, key: &str| match fingerprint {
        Some(ours) => matches!(good, "G" | "U") && key == ours,
        None => good == "G",
    };
    let lines = shown.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ' ');
        let (commit, good, key) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
        is_good(good, key).then(|| commit.to_owned())
    });
    lines.collect()
}

fn home(folder: &Path) -> Result<TempDir, GitError> {
    let mut home = tempfile::Builder::new();
    home.prefix("sign").permissions(Permissions::from_mode(0o700));
    let home = if folder.as_os_str().len() < SHORT { home.tempdir_in(folder) } else { home.tempdir() };
    home.map_err(|error| {
        failed("signatures cannot be made or checked", &format!("there is no place for the key: {error}"))
    })
}

/// Brings the key into that folder.
async fn key(git: &Git, signing: &Signing, home: &Path) -> Result<Key, String> {
    let gnupg = pair("GNUPGHOME", &home.display().to_string());
    match signing {
        Signing::Ssh { key } => {
            let copy = private_copy(key, &home.join("key"))?;
            let copy = pair("user.signingKey", &copy.display().to_string());
            // Nobody is there to be asked for a passphrase.
            let nobody = [pair("SSH_ASKPASS", "false"), pair("SSH_ASKPASS_REQUIRE", "force")];
            let more = [vec![gnupg, pair("gpg.format", "ssh"), copy], nobody.into()].concat();
            Ok(Key { more, fingerprint: None })
        }
        Signing::OpenPgp { key, passphrase } => {
            // Without one an empty one, so that gpg says that it is wrong, and not that it may not ask.
            let passphrase = passphrase.as_deref().unwrap_or(Path::new("/dev/null")).display();
            let options = format!("batch\nno-tty\npinentry-mode loopback\npassphrase-file {passphrase}\n");
            fs::write(home.join("gpg.conf"), options).map_err(|error| error.to_string())?;
            let text = fs::read(key).map_err(|error| format!("{}: {error}", key.display()))?;
            let mut more = vec![gnupg];
            let imported = run(git, "gpg", &["--status-fd=1", "--import"], &text, &more).await?;
            let imported = String::from_utf8_lossy(&imported);
            let fingerprint = fingerprint(&imported)
                .ok_or_else(|| format!("{}: this is no private key of OpenPGP", key.display()))?;
            more.extend([pair("gpg.format", "openpgp"), pair("user.signingKey", fingerprint)]);
            Ok(Key { more, fingerprint: Some(fingerprint.to_owned()) })
        }
    }
}

/// Ends gpg's agent. It ends by itself, but later, when its folder is gone.
async fn forget(git: &Git, signing: &Signing, home: &TempDir) {
    if let Signing::OpenPgp { .. } = signing {
        let gnupg = pair("GNUPGHOME", &home.path().display().to_string());
        let _ = git.tool("gpgconf", &["--kill", "all"], b"", vec![gnupg]).await;
    }
}

async fn run(
    git: &Git,
    program: &str,
    args: &[&str],
    input: &[u8],
    more: &[(String, String)],
) -> Result<Vec<u8>, String> {
    git.tool(program, args, input, more.to_vec()).await.map_err(|error| error.to_string())
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// ssh-keygen does not say which key it speaks of.
fn of_key(signing: &Signing, why: &str) -> String {
    match signing {
        Signing::Ssh { key } => format!("the key {}: {why}", key.display()),
        Signing::OpenPgp { .. } => why.to_owned(),
    }
}

/// Nothing is wrong with the clone.
fn failed(what: &str, why: &str) -> GitError {
    GitError::Failed { stdout: String::new(), words: format!("{what}: {why}") }
}

/// Of the first key that was imported with its private part: `[GNUPG:] IMPORT_OK <bits> <fingerprint>`.
fn fingerprint(status: &str) -> Option<&str> {
    let imported = status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] IMPORT_OK ")?.split_once(' '));
    let mut private = imported.filter(|(bits, _)| bits.parse::<u32>().is_ok_and(|bits| bits & 16 != 0));
    private.next().map(|(_, fingerprint)| fingerprint.trim())
}
