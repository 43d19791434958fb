//! What every client of HTTP shares. [`Way`] decides whether credentials may be used after a redirect.

mod way;

pub use way::{Elsewhere, Way};
