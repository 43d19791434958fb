//! What goes out shares: [`Way`] decides whether credentials may be used after a redirect, [`Line`] has namespaces take
//! turns.

mod line;
mod way;

pub use line::Line;
pub use way::{Elsewhere, Way};
