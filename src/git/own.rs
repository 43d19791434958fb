//! Which commits are ours: by author and committer and, where we sign, by our signature. The rest of a message anybody
//! can write.

use std::collections::HashMap;

use super::{command::GitError, mirror::Mirror, signing::signed};
use crate::domain::text::escape;

/// What `git log` is to show of who made a commit.
pub(super) const WHO: &str = "%an%x00%ae%x00%cn%x00%ce";

/// Commits whose signatures are remembered at most.
const MAX_SIGNED: usize = 5000;

/// A commit, and name and address of its author and its committer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made<'a> {
    pub(super) commit: &'a str,
    pub(super) who: [&'a str; 4],
}

/// What was found out already.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// The configured author, as git writes it: without what would end a name.
    author: Option<(String, String)>,
    /// Whether commits that say they are ours have our signature. That costs a process for each.
    signed: HashMap<String, bool>,
}

impl Mirror {
    /// Which of these commits are ours, in their order.
    pub(super) async fn own(&mut self, made: &[Made<'_>]) -> Result<Vec<bool>, GitError> {
        if made.is_empty() {
            return Ok(Vec::new());
        }
        let author = self.author().await?;
        let by_us: Vec<bool> = made
            .iter()
            .map(|Made { who: [an, ae, cn, ce], .. }| {
                [(an, ae), (cn, ce)].iter().all(|(name, email)| (**name, **email) == (&*author.0, &*author.1))
            })
            .collect();
        let Some(signing) = &self.settings.signing else { return Ok(by_us) };
        if self.own.signed.len() > MAX_SIGNED {
            self.own.signed.clear();
        }
        let said = made.iter().zip(&by_us).filter(|(_, by_us)| **by_us).map(|(made, _)| made.commit);
        let new: Vec<&str> = said.filter(|commit| !self.own.signed.contains_key(*commit)).collect();
        if !new.is_empty() {
            let found = signed(&self.git, signing, &self.git.remote.folder, &new, self.log_objects()).await?;
            self.own.signed.extend(new.iter().map(|commit| ((*commit).to_owned(), found.contains(*commit))));
        }
        let is_signed = |made: &Made<'_>| self.own.signed.get(made.commit).copied().unwrap_or_default();
        Ok(made.iter().zip(by_us).map(|(made, by_us)| by_us && is_signed(made)).collect())
    }

    async fn author(&mut self) -> Result<(String, String), GitError> {
        if let Some(author) = &self.own.author {
            return Ok(author.clone());
        }
        let (name, email) = self.identity();
        // `name <address> seconds zone`.
        let shown = self.git.local(&["-c", &name, "-c", &email, "var", "GIT_COMMITTER_IDENT"], b"").await?;
        let shown = String::from_utf8_lossy(&shown);
        let author = shown.rsplit_once('>').and_then(|(author, _)| author.split_once(" <"));
        let (name, email) =
            author.ok_or_else(|| GitError::Broken(format!("git var: `{}` is no author", escape(&shown))))?;
        let author = (name.to_owned(), email.to_owned());
        self.own.author = Some(author.clone());
        Ok(author)
    }

    /// The settings of git that make us the author.
    pub(super) fn identity(&self) -> (String, String) {
        let (name, email) = &self.settings.author;
        (format!("user.name={name}"), format!("user.email={email}"))
    }
}
