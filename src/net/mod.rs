//! What goes out shares: [`client()`] makes the HTTP clients, [`Way`] decides whether credentials may be used after a
//! redirect, [`Pause`] remembers who asked to wait, [`Kept`] bounds what is kept for namespaces, [`cause`] and [`foreign`]
//! put what a server said into words.

mod client;
mod kept;
mod pause;
mod way;
mod words;

pub use client::{ClientError, Timeouts, USER_AGENT, builder, client, tls, upgradable};
pub use kept::Kept;
pub use pause::{LONGEST_PAUSE, Pause, retry_after};
pub use way::{Elsewhere, Way};
pub use words::{cause, foreign};
