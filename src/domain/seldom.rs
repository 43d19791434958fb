//! Lines of the log that outsiders can bring about: one of a kind in a while, with how many were left out.

use std::time::Duration;

/// One kind of lines.
#[derive(Debug, Default)]
pub struct Seldom {
    /// When one may be told again (monotonic).
    next: Duration,
    left_out: u64,
}

impl Seldom {
    /// Whether a line is told now, at most one in `every`; then how many were left out since the last one, if any.
    pub fn tell(&mut self, every: Duration, now: Duration) -> Option<LeftOut> {
        if now < self.next {
            self.left_out += 1;
            return None;
        }
        self.next = now + every;
        Some(LeftOut(Some(std::mem::take(&mut self.left_out)).filter(|count| *count > 0)))
    }
}

/// How many lines of a kind were left out, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut(pub Option<u64>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_told_in_a_while_with_how_many_were_left_out() {
        let (mut seldom, secs) = (Seldom::default(), Duration::from_secs);
        let mut tell = |now| seldom.tell(secs(10), secs(now)).map(|LeftOut(count)| count);
        assert_eq!([tell(0), tell(0), tell(9), tell(10), tell(19)], [Some(None), None, None, Some(Some(2)), None]);
        assert_eq!([tell(40), tell(60)], [Some(Some(1)), Some(None)]);
    }
}
