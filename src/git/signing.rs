//! Signatures of commits, made by git with ssh-keygen or gpg. The key's copy and gpg's home are in a private folder that
//! lives as long as one commit takes, so nothing is kept, also no agent, and a new key counts at once.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use super::{
    command::{Git, GitError, private_copy},
    settings::Signing,
};

/// The longest path in which the sockets of gpg's agent have room.
const SHORT: usize = 75;

/// Runs `git commit-tree` with these arguments, and with a signature or not at all.
pub(super) async fn sign(
    git: &Git,
    signing: &Signing,
    folder: &Path,
    args: &[&str],
    message: &[u8],
) -> Result<Vec<u8>, GitError> {
    let signed = try_sign(git, signing, folder, &[args, &["-S"]].concat(), message).await;
    // Nothing is wrong with the clone.
    let failed = |why| GitError::Failed { stdout: String::new(), words: format!("the commit cannot be signed: {why}") };
    signed.map_err(failed)
}

async fn try_sign(
    git: &Git,
    signing: &Signing,
    folder: &Path,
    args: &[&str],
    message: &[u8],
) -> Result<Vec<u8>, String> {
    let mut home = tempfile::Builder::new();
    home.prefix("sign").permissions(Permissions::from_mode(0o700));
    let home = if folder.as_os_str().len() < SHORT { home.tempdir_in(folder) } else { home.tempdir() };
    let home = home.map_err(|error| format!("there is no place for the key: {error}"))?;
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let commit = async |more| git.tool("git", args, message, more).await.map_err(|error| error.to_string());
    match signing {
        Signing::Ssh { key } => {
            let copy = private_copy(key, &home.path().join("key"))?;
            let copy = pair("user.signingKey", &copy.display().to_string());
            // Nobody is there to be asked for a passphrase.
            let nobody = [pair("SSH_ASKPASS", "false"), pair("SSH_ASKPASS_REQUIRE", "force")];
            let made = commit([vec![pair("gpg.format", "ssh"), copy], nobody.into()].concat()).await;
            made.map_err(|why| format!("the key {}: {why}", key.display()))
        }
        Signing::OpenPgp { key, passphrase } => {
            let gnupg = pair("GNUPGHOME", &home.path().display().to_string());
            let gpg = async |args: &[&str], input: &[u8]| {
                git.tool("gpg", args, input, vec![gnupg.clone()]).await.map_err(|error| error.to_string())
            };
            let signed = async {
                // Without one an empty one, so that gpg says that it is wrong, and not that it may not ask.
                let passphrase = passphrase.as_deref().unwrap_or(Path::new("/dev/null")).display();
                let options = format!("batch\nno-tty\npinentry-mode loopback\npassphrase-file {passphrase}\n");
                fs::write(home.path().join("gpg.conf"), options).map_err(|error| error.to_string())?;
                let text = fs::read(key).map_err(|error| format!("{}: {error}", key.display()))?;
                let imported = gpg(&["--status-fd=1", "--import"], &text).await?;
                let imported = String::from_utf8_lossy(&imported);
                let fingerprint = fingerprint(&imported)
                    .ok_or_else(|| format!("{}: this is no private key of OpenPGP", key.display()))?;
                // Git says that gpg failed, but not why: gpg itself is asked before.
                gpg(&["--detach-sign", "--local-user", fingerprint], b"").await?;
                commit(vec![gnupg.clone(), pair("gpg.format", "openpgp"), pair("user.signingKey", fingerprint)]).await
            }
            .await;
            // It ends by itself, but later, when its folder is gone.
            let _ = git.tool("gpgconf", &["--kill", "all"], b"", vec![gnupg.clone()]).await;
            signed
        }
    }
}

/// Of the first key that was imported with its private part: `[GNUPG:] IMPORT_OK <bits> <fingerprint>`.
fn fingerprint(status: &str) -> Option<&str> {
    let imported = status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] IMPORT_OK ")?.split_once(' '));
    let mut private = imported.filter(|(bits, _)| bits.parse::<u32>().is_ok_and(|bits| bits & 16 != 0));
    private.next().map(|(_, fingerprint)| fingerprint.trim())
}
