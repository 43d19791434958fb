//! What goes out shares: [`Way`] decides whether credentials may be used after a redirect, [`Line`] has namespaces take
//! turns, [`Kept`] bounds what is kept for them, [`cause`] says why a request failed.

mod kept;
mod line;
mod way;
mod words;

pub use kept::Kept;
pub use line::Line;
pub use way::{Elsewhere, Way};
pub use words::cause;
