//! What goes out shares: [`Way`] decides whether credentials may be used after a redirect, [`Line`] has namespaces take
//! turns, [`cause`] says why a request failed.

mod line;
mod way;
mod words;

pub use line::Line;
pub use way::{Elsewhere, Way};
pub use words::cause;
