//! What goes out shares: [`Way`] decides whether credentials may be used after a redirect, [`Kept`] bounds what is
//! kept for namespaces, [`cause`] says why a request failed.

mod kept;
mod way;
mod words;

pub use kept::Kept;
pub use way::{Elsewhere, Way};
pub use words::cause;
