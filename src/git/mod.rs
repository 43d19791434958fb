//! Git targets: a commit of exact edits to the branch that a deployer reads.
//!
//! | | |
//! |---|---|
//! | `command` | git's command line, without the user's settings, with limits and credentials |
//! | `mirror` | a bare, shallow, partial clone: a cache that may vanish at any time |
//! | `objects` | what is in the clone: the files of a commit, their texts, new commits |
//! | `files` | what the files of a commit hold, each blob parsed once |
//! | `history` | what our own commits set, by their trailers |
//! | `log` | the newest commits of the branch, where ours tell what they set |
//! | `branch` | the branches of requests: read, and replaced with a lease |
//! | `chain` | the commits of one push: one for all updates, or one for each |
//! | `message` | the message of a commit |
//! | [`Folder`] | a folder on this machine, read and edited as the files of a commit |
//! | `part` | updates of which some containers are left out |
//! | `asked` | what is to be written, with what tells where it is defined |
//! | `find` | where updates stand in the files, and the new texts |
//! | [`forges`] | requests to merge, at GitHub, GitLab, Gitea and Forgejo |
//! | `deployer` | tells deployers of a push |
//! | `signing` | signatures of commits, by ssh-keygen and gpg |
//! | `own` | which commits are ours: by author, committer and signature |
//! | `origin` | what changed in the sources of images, for what a request says |
//! | `proposal` | what a request says, and what it notes for us |
//! | `known` | what the forge tells of a request, what people decided by it, and what that leaves to do |
//! | `limit` | how many requests of groups a namespace has open |
//! | `request` | one request for a target and a group |
//! | `preview` | what a target would do, with nothing sent |
//! | `standing` | how updates stand that were brought there before |
//! | `repository` | where there is no cluster: the workloads of the branch |
//! | `work` | what a target works with: reads the branch, locates, edits in memory |
//! | `target` | plans in, one commit out: locate, edit, push, and again if somebody was quicker |

mod asked;
mod branch;
mod chain;
mod check;
mod command;
mod contest;
mod deployer;
mod files;
mod find;
mod folder;
pub mod forges;
mod history;
mod known;
mod limit;
mod log;
mod message;
mod mirror;
mod objects;
mod origin;
mod own;
mod part;
mod preview;
mod proposal;
mod repository;
mod request;
mod settings;
mod signing;
mod standing;
mod target;
mod ways;
mod work;

pub use deployer::{Address, Deployer, Receiver};
pub use find::Places;
pub use folder::{Folder, NewTexts, Text};
pub use message::Template;
pub use repository::{Repository, changes};
pub use request::Requests;
pub use settings::{Credentials, Remote, RequestSettings, Scope, Secret, Signing, TargetSettings};
pub use target::Target;
