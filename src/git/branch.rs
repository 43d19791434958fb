//! The branches of requests: ours alone, so they are replaced, but never what somebody else has put there.

use super::{
    command::GitError,
    mirror::{FETCH, Mirror, Pushed},
    own::{Made, WHO},
};

/// The end of a request's branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tip {
    /// The commit.
    pub(super) commit: String,
    /// Whether it is ours as it is.
    pub(super) is_own: bool,
    /// Its whole message.
    pub(super) message: String,
}

impl Mirror {
    /// The branch's end, if there is such a branch.
    pub(super) async fn tip(&mut self, branch: &str) -> Result<Option<Tip>, GitError> {
        let branch = format!("refs/heads/{branch}");
        let Some(commit) = self.listed(&branch).await? else { return Ok(None) };
        if !self.has(&commit).await {
            let refspec = format!("+{branch}:refs/remotes/origin/request");
            let args = [&["fetch", "--quiet", "--filter=blob:none", "--depth=1"], &FETCH[..], &["origin", &refspec]];
            self.git.remote(&args.concat(), b"").await?;
            if !self.has(&commit).await {
                // It has moved in between; the lease of the next push is about what was seen.
                return Err(GitError::Broken("the branch of the request moves".to_owned()));
            }
        }
        let shown = self.git.local(&["log", "-1", &format!("--format={WHO}%x00%B"), &commit], b"").await?;
        let shown = String::from_utf8_lossy(&shown);
        let fields: Vec<&str> = shown.splitn(5, '\0').collect();
        let [an, ae, cn, ce, message] = fields[..] else {
            return Err(GitError::Broken(format!("git log: commit {commit} is not shown as asked")));
        };
        let is_own = self.own(&[Made { commit: &commit, who: [an, ae, cn, ce] }]).await? == [true];
        Ok(Some(Tip { message: message.to_owned(), is_own, commit }))
    }

    /// The commit that a branch of the server has now.
    pub(super) async fn listed(&self, branch: &str) -> Result<Option<String>, GitError> {
        let (listed, _) = self.git.remote(&["ls-remote", "origin", branch], b"").await?;
        let listed = String::from_utf8_lossy(&listed);
        let is_it = |line: &&str| line.split_once('\t').is_some_and(|(_, name)| name == branch);
        Ok(listed.lines().find(is_it).and_then(|line| Some(line.split_once('\t')?.0.to_owned())))
    }

    async fn has(&self, commit: &str) -> bool {
        self.git.local(&["rev-parse", "--verify", "--quiet", &format!("{commit}^{{tree}}")], b"").await.is_ok()
    }

    /// Puts a commit at the branch's end, if that is still at `seen` (nothing: if there is no such branch).
    pub(super) async fn replace(&self, branch: &str, seen: Option<&str>, commit: &str) -> Result<Pushed, GitError> {
        let lease = format!("--force-with-lease=refs/heads/{branch}:{}", seen.unwrap_or_default());
        let pushed = self.push_as(&[&lease], &format!("{commit}:refs/heads/{branch}")).await?;
        // A server says of a name that cannot be what it says of a race; trying again would never end that.
        if matches!(pushed, Pushed::Overtaken)
            && seen.is_none()
            && let Some(other) = self.in_the_way(branch).await?
        {
            let words = format!(
                "the branch {other} stands in the way of {branch}, as Git cannot have both: rename or delete {other}"
            );
            return Ok(Pushed::Refused(words));
        }
        Ok(pushed)
    }

    /// A branch whose name is a folder of this one, or the other way round.
    async fn in_the_way(&self, branch: &str) -> Result<Option<String>, GitError> {
        let name = format!("refs/heads/{branch}");
        let above = name.match_indices('/').map(|(at, _)| &name[..at]).skip(2);
        let below = format!("{name}/*");
        let args: Vec<&str> = ["ls-remote", "origin", &below].into_iter().chain(above.clone()).collect();
        let (listed, _) = self.git.remote(&args, b"").await?;
        let listed = String::from_utf8_lossy(&listed);
        let mut names = listed.lines().filter_map(|line| Some(line.split_once('\t')?.1));
        let folder = format!("{name}/");
        let other = names.find(|other| other.starts_with(&folder) || above.clone().any(|above| above == *other));
        Ok(other.and_then(|other| other.strip_prefix("refs/heads/")).map(str::to_owned))
    }
}
