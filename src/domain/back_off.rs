//! Growing delays before something that failed is tried again.

use std::time::Duration;

/// The first delay, doubled for each further failure, up to the longest.
#[derive(Debug, Clone, Copy)]
pub struct BackOff {
    first: Duration,
    longest: Duration,
}

impl BackOff {
    /// In milliseconds.
    pub const fn millis(first: u64, longest: u64) -> Self {
        Self { first: Duration::from_millis(first), longest: Duration::from_millis(longest) }
    }

    /// The delay after so many failures before this one.
    pub fn after(self, failures: u32) -> Duration {
        self.first.saturating_mul(2u32.saturating_pow(failures.min(20))).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let back_off = BackOff::millis(1000, 5000);
        let delays: Vec<u64> = [0, 1, 2, 3, 4, u32::MAX].map(|n| back_off.after(n).as_secs()).to_vec();
        assert_eq!(delays, [1, 2, 4, 5, 5, 5]);
    }
}
