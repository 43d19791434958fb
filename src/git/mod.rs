//! Git targets: a commit of exact edits to the branch that a deployer reads.
//!
//! | | |
//! |---|---|
//! | `command` | git's command line, without the user's settings, with limits and credentials |
//! | `mirror` | a bare, shallow, partial clone: a cache that may vanish at any time |
//! | `files` | what the files of a commit hold, each blob parsed once |
//! | `history` | what our own commits set, by their trailers |
//! | `message` | the message of a commit |
//! | [`forges`] | requests to merge, at GitHub, GitLab, Gitea and Forgejo |
//! | `target` | plans in, one commit out: locate, edit, push, and again if somebody was quicker |

mod command;
mod files;
pub mod forges;
mod history;
mod message;
mod mirror;
mod settings;
mod target;

pub use message::Template;
pub use settings::{Credentials, Secret, Settings};
pub use target::Target;
