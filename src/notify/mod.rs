//! Telling people elsewhere what waits for them and how it went, and hearing what they answer. A folder or a file a system.
//!
//! Nothing here is waited for: what is to be told is read from records, and what people say becomes an object that the
//! API server judges.

pub mod slack;
