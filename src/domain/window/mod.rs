//! When updates may start: the values of `window` and `freeze`.
//!
//! A window is one or more parts, joined by `;`, and is open when one of them is:
//!
//! | part | open |
//! |---|---|
//! | `22:00-06:00` | each day from 22:00 to 06:00 of the next day, UTC |
//! | `Mon-Fri 09:00-17:00 Europe/Berlin` | on those days, in the time of that zone |
//! | `Sat,Sun 00:00-24:00`, `Mon,Wed-Fri 09:00-17:00`, `Fri-Mon 20:00-22:00` | days may be listed, and run over Sunday |
//! | `2026-12-24 Europe/Berlin` | that whole day |
//! | `2026-12-20..2027-01-02` | from the start of the first day to the end of the last |
//! | `2026-12-20T18:00..2027-01-02T06:00 Europe/Berlin` | between these times |
//! | `always`, `never` | stand alone |
//!
//! Letter case does not matter. At most 16 parts, and 2,048 bytes.
//!
//! What is open is open from its start, the start included, to its end, the end not included.
//!
//! - An end that is not after its start is on the next day, and the window belongs to the day it starts on:
//!   `Fri 22:00-06:00` is open on Saturday morning, `09:00-09:00` lasts a day. `24:00` is the end of the day, as an end
//!   only; `00:00` as an end is the same.
//! - Where clocks go forward, a time that is skipped is the moment at which the skip ends. So a window wholly inside the
//!   skip is empty that day.
//! - Where clocks go back, a time that comes twice is the first as a start, and the second as an end. The end of a day
//!   is when its last minute is over, also where midnight comes twice.
//!
//! Zones are those of the data that is built in, never those of the system. All of it is pure, and goes from one start or
//! end to the next: what a question costs grows with the days between, not with the minutes.

use std::{fmt, hash, str::FromStr, sync::Arc, time::Duration};

use jiff::Timestamp;

use spans::{Layers, Part};

mod grammar;
mod spans;
#[cfg(test)]
mod tests;

pub use grammar::{WindowError, zone};
pub use spans::DAYS_AHEAD;

/// Times at which something is open. Equal if they print the same; cheap to clone.
///
/// As a freeze it is the other way around: nothing may start while it is open.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Window(Arc<Inner>);

struct Inner {
    /// The whole meaning: days as a list of runs, zones by their names, without a zone if it is UTC.
    text: String,
    parts: Vec<Part>,
}

impl Window {
    /// Whether it is open at that time.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.alone().is_open(at)
    }

    /// The first time at which it is open: `at` itself if it is open then. `None` if that is not within
    /// [`DAYS_AHEAD`] days.
    pub fn next_open(&self, at: Timestamp) -> Option<Timestamp> {
        self.alone().next(at, true)
    }

    /// The first time at which it is closed: `at` itself if it is closed then. `None` if that is not within
    /// [`DAYS_AHEAD`] days.
    pub fn next_closed(&self, at: Timestamp) -> Option<Timestamp> {
        self.alone().next(at, false)
    }

    /// For how long it is open from `a` to `b`; zero if `b` is not after `a`.
    pub fn open_between(&self, a: Timestamp, b: Timestamp) -> Duration {
        self.alone().open_between(a, b)
    }

    /// Whether it is `always`.
    pub fn is_always(&self) -> bool {
        self.0.text == "always"
    }

    /// Whether it is `never`.
    pub fn is_never(&self) -> bool {
        self.0.text == "never"
    }

    fn alone(&self) -> Layers<'_> {
        Layers::new([&*self.0.parts].into_iter(), [].into_iter())
    }
}

/// Whether all windows are open and no freeze is. Without windows that is when no freeze is.
pub fn is_open(windows: &[&Window], freezes: &[&Window], at: Timestamp) -> bool {
    layers(windows, freezes).is_open(at)
}

/// The first time at which all windows are open and no freeze is: `at` itself if that is so then. `None` if that is not
/// within [`DAYS_AHEAD`] days.
pub fn next_open(windows: &[&Window], freezes: &[&Window], at: Timestamp) -> Option<Timestamp> {
    layers(windows, freezes).next(at, true)
}

/// For how long, from `a` to `b`, all windows are open and no freeze is; zero if `b` is not after `a`.
pub fn open_between(windows: &[&Window], freezes: &[&Window], a: Timestamp, b: Timestamp) -> Duration {
    layers(windows, freezes).open_between(a, b)
}

/// When all windows will have been open, and no freeze, for that long from `at` on; `None` if that is not within
/// [`DAYS_AHEAD`] days.
pub fn open_for(windows: &[&Window], freezes: &[&Window], at: Timestamp, long: Duration) -> Option<Timestamp> {
    layers(windows, freezes).open_for(at, long)
}

fn layers<'a>(windows: &[&'a Window], freezes: &[&'a Window]) -> Layers<'a> {
    Layers::new(windows.iter().map(|window| &*window.0.parts), freezes.iter().map(|freeze| &*freeze.0.parts))
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let (text, parts) = grammar::read(text)?;
        Ok(Self(Arc::new(Inner { text, parts })))
    }
}

/// Reads as the same window.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window({:?})", self.0.text)
    }
}

impl PartialEq for Inner {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Inner {}

impl hash::Hash for Inner {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
