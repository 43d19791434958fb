//! What is known of workloads, rules and sources, and what is to be done about a change of it. No await and no I/O.
//!
//! | | |
//! |---|---|
//! | `state` | every workload by `namespace`, with its rule and what is asked for it (`entry`) |
//! | `sources` | who uses which `source`, how often (`schedules`), what for, and how often somebody may ask anew (`bursts`) |
//! | `webhooks`, `hints` | what webhooks named and has not been seen yet, by which `sender`; how many tags may be asked for (`pace`), and when `listings` take their place |
//! | `claims` | who else sets images |
//! | `ages`, `histories` | since when tags are there |
//! | `openings`, `hours` | when what is too young is old enough, and when what is outside its hours is decided again |
//! | `outages` | which sources cannot be read, for how long |
//! | `effect` | what is to be done |
//! | `settings` | what the configuration says |

mod ages;
pub(crate) mod ballots;
mod bursts;
mod claims;
pub(super) mod effect;
pub(super) mod entry;
mod hints;
pub(super) mod histories;
mod hours;
mod listings;
mod namespace;
mod openings;
pub(super) mod outages;
mod pace;
pub(crate) mod proofs;
mod rollout;
mod schedules;
mod sender;
pub(super) mod settings;
mod source;
mod sources;
pub(super) mod state;
mod webhooks;
