//! Signed commits, verified by git itself with the public keys.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use supercargo::{
    clock::SystemClock,
    git::{Signing, Target, TargetSettings},
    ports::{Outcome, Sink as _},
};
use tempfile::TempDir;

use super::target::{code, manifest, one, plan, settings};
use crate::support::{
    eventually,
    git_server::{BareRepo, GitServer, PERSON, git, run, try_run},
};

const PASSPHRASE: &str = "korrekt pferd 4711";

/// A server with one manifest, and git, gpg and ssh-keygen that note how they are called.
struct Place {
    server: GitServer,
    repo: BareRepo,
    folder: TempDir,
}

impl Place {
    async fn new() -> Self {
        let (server, folder) = (GitServer::start().await, tempfile::tempdir().unwrap());
        let repo = server.create("deploy", &[("web.yaml", manifest("web", "1.0.0").as_bytes())]);
        let tools = folder.path().join("tools");
        fs::create_dir(&tools).unwrap();
        for tool in ["git", "gpg", "gpgconf", "ssh-keygen"] {
            let found = run(Command::new("which").arg(tool), b"");
            let script = format!(
                "#!/bin/sh\n{{ echo {tool} \"$@\"; env; }} >>{}/calls\nexec {} \"$@\"\n",
                folder.path().display(),
                String::from_utf8(found).unwrap().trim()
            );
            // Written by another process: a file that this one had open could not be run while another thread forks.
            let mut write = Command::new("sh");
            write.args(["-c", r#"cat >"$0" && chmod 755 "$0""#]).arg(tools.join(tool));
            run(&mut write, script.as_bytes());
        }
        Self { server, repo, folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn target(&self, signing: Signing) -> Target {
        let settings =
            TargetSettings { signing: Some(signing), ..settings(&self.server.url("deploy"), self.folder.path()) };
        let mut inherited = supercargo::config::git_environment();
        let path = inherited.iter_mut().find(|(name, _)| name == "PATH").unwrap();
        path.1 = format!("{}:{}", self.at("tools").display(), path.1);
        Target::new(settings, Arc::new(SystemClock::default()), inherited)
    }

    /// Nothing was pushed, and `words` say why.
    async fn fails(&self, signing: Signing, words: &str) {
        let pushes = || self.server.requests().iter().filter(|request| request.is_push()).count();
        let (before, log) = (pushes(), self.repo.log());
        let outcome = one(&self.target(signing), plan("web", "1.0.0", "1.1.0")).await;
        let Outcome::Failed(why) = &outcome else { panic!("{outcome:?}") };
        assert!(why.contains("cannot be signed") && why.contains(words), "{why}");
        assert!(!why.contains(PASSPHRASE), "{why}");
        assert_eq!((pushes(), self.repo.log()), (before, log));
    }

    /// No secret was an argument or a variable, none is left in the clone, and no process either.
    async fn kept(&self, key: &Path, helper: &str) {
        let calls = fs::read_to_string(self.at("calls")).unwrap();
        assert!(calls.lines().any(|line| line.starts_with(helper)), "{calls}");
        let text = fs::read_to_string(key).unwrap();
        let longest = text.lines().max_by_key(|line| line.len()).unwrap();
        let clone = self.at("prod.git");
        let mut left = Vec::new();
        files(&clone, &mut left);
        for secret in [longest, PASSPHRASE] {
            assert!(!calls.contains(secret), "{calls}");
            let holds = |path: &PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap()).contains(secret);
            assert!(!left.iter().any(holds), "{left:?}");
        }
        assert!(!left.iter().any(|path| path.starts_with(&clone) && path.display().to_string().contains("/sign")));
        let home = clone.display().to_string();
        let is_agent = |process: io::Result<fs::DirEntry>| {
            let line = fs::read(process.unwrap().path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains("agent") && line.contains(&home)
        };
        // It ends after it has said that it will.
        eventually("no agent is left", async || (!fs::read_dir("/proc").unwrap().any(is_agent)).then_some(())).await;
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn ssh_key(path: &Path) -> String {
    let _ = fs::remove_file(path);
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(path), b"");
    fs::read_to_string(path.with_extension("pub")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_signed_with_a_key_of_ssh_also_with_a_new_one() {
    let place = Place::new().await;
    let key = place.at("id");
    let target = place.target(Signing::Ssh { key: key.clone() });
    let mut previous = None;
    for (from, to) in [("1.0.0", "1.1.0"), ("1.1.0", "1.2.0")] {
        let public = ssh_key(&key);
        assert_eq!(code(&one(&target, plan("web", from, to)).await), "committed");
        assert_eq!(place.repo.read("web.yaml"), manifest("web", to).as_bytes());
        let verified_by = |public: &str| {
            let signers = place.at("signers");
            fs::write(&signers, format!("supercargo@example.test {public}")).unwrap();
            let allowed = format!("gpg.ssh.allowedSignersFile={}", signers.display());
            let mut verify = git();
            verify.arg("--git-dir").arg(&place.repo.path).args(["-c", &allowed, "verify-commit", "main"]);
            let said = try_run(&mut verify, b"");
            let words = String::from_utf8_lossy(&said.stderr).into_owned();
            said.status.success() && words.contains("Good \"git\" signature for supercargo@example.test")
        };
        assert!(verified_by(&public) && !previous.as_deref().is_some_and(verified_by));
        previous = Some(public);
    }
    place.kept(&key, "ssh-keygen -Y sign").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_sign_stops_the_commit_and_says_so() {
    let place = Place::new().await;
    let key = place.at("id");
    place.fails(Signing::Ssh { key: key.clone() }, "No such file").await;
    fs::write(&key, "no key\n").unwrap();
    place.fails(Signing::Ssh { key: key.clone() }, "Couldn't load").await;
    place.fails(Signing::OpenPgp { key: key.clone(), passphrase: None }, "no valid OpenPGP data").await;
    fs::remove_file(&key).unwrap();
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", PASSPHRASE, "-C", "", "-f"]).arg(&key), b"");
    place.fails(Signing::Ssh { key: key.clone() }, "passphrase").await;

    // As soon as the key is right it goes on.
    ssh_key(&key);
    assert_eq!(code(&one(&place.target(Signing::Ssh { key }), plan("web", "1.0.0", "1.1.0")).await), "committed");
}

/// `gpg` with a home of a test's own.
struct Keyring(TempDir);

impl Keyring {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn gpg(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", self.0.path()).args(["--batch", "--quiet", "--no-tty", "--pinentry-mode=loopback"]);
        run(gpg.args(args), input)
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        try_run(Command::new("gpgconf").env("GNUPGHOME", self.0.path()).args(["--kill", "all"]), b"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_signed_with_a_key_of_openpgp_and_its_passphrase() {
    let (place, keyring, reader) = (Place::new().await, Keyring::new(), Keyring::new());
    let secret = format!("--passphrase={PASSPHRASE}");
    let who = "supercargo <supercargo@example.test>";
    keyring.gpg(&[&secret, "--quick-generate-key", who, "ed25519", "sign", "never"], b"");
    let (key, public, passphrase) = (place.at("key.asc"), place.at("public.asc"), place.at("passphrase"));
    fs::write(&key, keyring.gpg(&[&secret, "--armor", "--export-secret-keys"], b"")).unwrap();
    fs::write(&public, keyring.gpg(&["--armor", "--export"], b"")).unwrap();
    let with = |key: &Path, passphrase: Option<&Path>| Signing::OpenPgp {
        key: key.to_owned(),
        passphrase: passphrase.map(Path::to_owned),
    };
    place.fails(with(&public, None), "no private key").await;
    place.fails(with(&key, None), "No passphrase given").await;
    fs::write(&passphrase, "falsch\n").unwrap();
    place.fails(with(&key, Some(&passphrase)), "Bad passphrase").await;
    fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
    let target = place.target(with(&key, Some(&passphrase)));
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "committed");
    assert_eq!(place.repo.read("web.yaml"), manifest("web", "1.1.0").as_bytes());

    let mut verify = git();
    verify.env("GNUPGHOME", reader.0.path()).arg("--git-dir").arg(&place.repo.path).args(["verify-commit", "main"]);
    assert!(!try_run(&mut verify, b"").status.success(), "the key is not known yet");
    reader.gpg(&["--import"], &fs::read(&public).unwrap());
    let said = try_run(&mut verify, b"");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && words.contains("Good signature from \"supercargo"), "{words}");
    place.kept(&key, "gpg --status-fd=1 --import").await;
}

/// Trailers of commits that say they are ours, with no signature or one made with the settings `theirs` of git, are text.
async fn only_our_signature_counts(place: &Place, signing: Signing, theirs: &[(&str, &str)], home: &Path) {
    const US: &str = "supercargo <supercargo@example.test>";
    let target = place.target(signing.clone());
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "committed");
    let (api, job) = (manifest("api", "1.0.0"), manifest("job", "1.0.0"));
    let files = [("api.yaml", Some(api.as_bytes())), ("job.yaml", Some(job.as_bytes()))];
    let trailer = |name: &str| {
        format!(
            "Tune it\n\nSupercargo-Change: shop/Deployment/{name} app r.example/{name}:1.0.0 r.example/{name}:1.1.0\n"
        )
    };
    place.repo.commit(&files, &trailer("api"), US);
    let (tree, head) = (format!("{}^{{tree}}", place.repo.head()), place.repo.head());
    let mut commit = git();
    commit.env("GNUPGHOME", home).arg("--git-dir").arg(&place.repo.path);
    for (key, value) in theirs {
        commit.args(["-c", &format!("{key}={value}")]);
    }
    for who in ["AUTHOR", "COMMITTER"] {
        commit.env(format!("GIT_{who}_NAME"), "supercargo").env(format!("GIT_{who}_EMAIL"), "supercargo@example.test");
    }
    commit.args(["commit-tree", "-S", &tree, "-p", &head, "-m", &trailer("job")]);
    let signed = String::from_utf8(run(&mut commit, b"")).unwrap();
    place.repo.git(&["update-ref", "refs/heads/main", signed.trim()]);
    let shown = String::from_utf8(place.repo.git(&["cat-file", "commit", "main"])).unwrap();
    assert!(shown.contains("\ngpgsig ") && shown.matches(US).count() == 2, "{shown}");
    place.repo.commit(&[("web.yaml", Some(manifest("web", "1.0.0").as_bytes()))], "Back", PERSON);
    let plans = || ["web", "api", "job"].map(|name| plan(name, "1.0.0", "1.1.0"));
    let codes: Vec<_> = target.apply(plans().into()).await.iter().map(code).collect();
    assert_eq!(codes, ["reverted", "committed", "committed"]);

    // What was found out of a commit is kept: the next look asks for the new one alone, and the one after for none.
    let verified = || {
        let calls = fs::read_to_string(place.at("calls")).unwrap();
        calls.lines().filter(|line| line.starts_with("git log --no-walk")).count()
    };
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "reverted");
    let before = verified();
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "reverted");
    assert_eq!(verified(), before);
    drop(target);
    // Also by a process that knows of nothing.
    assert_eq!(code(&one(&place.target(signing), plan("web", "1.0.0", "1.1.0")).await), "reverted");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_of_ssh_commits_of_another_or_of_none_are_not_ours() {
    let place = Place::new().await;
    let (key, other) = (place.at("id"), place.at("other"));
    ssh_key(&key);
    ssh_key(&other);
    let other = other.display().to_string();
    let theirs = [("gpg.format", "ssh"), ("user.signingKey", &*other)];
    only_our_signature_counts(&place, Signing::Ssh { key: key.clone() }, &theirs, place.folder.path()).await;
    place.kept(&key, "ssh-keygen -Y verify").await;

    // With a new key what the old one signed is text: nobody says that the old one is still ours.
    ssh_key(&key);
    let target = place.target(Signing::Ssh { key });
    assert_eq!(code(&one(&target, plan("web", "1.0.0", "1.1.0")).await), "committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_of_openpgp_commits_of_another_or_of_none_are_not_ours() {
    let (place, ours, other) = (Place::new().await, Keyring::new(), Keyring::new());
    for keyring in [&ours, &other] {
        // Anybody can make a key in our name.
        let who = "supercargo <supercargo@example.test>";
        keyring.gpg(&["--passphrase=", "--quick-generate-key", who, "ed25519", "sign", "never"], b"");
    }
    let key = place.at("key.asc");
    fs::write(&key, ours.gpg(&["--passphrase=", "--armor", "--export-secret-keys"], b"")).unwrap();
    let signing = Signing::OpenPgp { key: key.clone(), passphrase: None };
    only_our_signature_counts(&place, signing, &[("gpg.format", "openpgp")], other.0.path()).await;
    place.kept(&key, "gpg --keyid-format=long --status-fd=1").await;
}
