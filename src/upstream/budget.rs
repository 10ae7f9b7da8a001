//! How many requests of an upstream may be sent again? A bounded part of all, so that retries cannot bury an upstream that
//! is failing already.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;

/// The price of one retry. A request pays in its percentage, so that a budget of 20 % allows one retry for five requests.
const RETRY: i64 = 100;

/// The retries that can be saved up: an endpoint that dies under many requests fails them in one moment.
const SAVED_MAX: i64 = 1_000 * RETRY;

/// The retries that a new upstream begins with.
const FIRST: i64 = 100 * RETRY;

/// The retries that an upstream may still make.
#[derive(Debug)]
pub(super) struct RetryBudget(AtomicI64);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicI64::new(FIRST))
    }
}

impl RetryBudget {
    /// Pays in for one request.
    pub(super) fn deposit(&self, percent: u32) {
        if self.0.load(Ordering::Relaxed) < SAVED_MAX {
            self.0.fetch_add(i64::from(percent), Ordering::Relaxed);
        }
    }

    /// Takes the price of one retry; returns `false` if the budget does not have it.
    pub(super) fn withdraw(&self) -> bool {
        if self.0.fetch_sub(RETRY, Ordering::Relaxed) >= RETRY {
            return true;
        }
        self.0.fetch_add(RETRY, Ordering::Relaxed);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(budget: &RetryBudget) -> usize {
        std::iter::repeat_with(|| budget.withdraw())
            .take_while(|paid| *paid)
            .count()
    }

    #[test]
    fn one_request_in_five_may_be_sent_again() {
        let budget = RetryBudget::default();
        assert_eq!(retries(&budget), 100, "those that it begins with");
        for _ in 0..50 {
            budget.deposit(20);
        }
        assert_eq!(retries(&budget), 10);
        (0..4).for_each(|_| budget.deposit(20));
        assert_eq!(retries(&budget), 0);
        budget.deposit(20);
        assert_eq!(retries(&budget), 1);
    }

    #[test]
    fn what_is_saved_up_has_an_end() {
        let budget = RetryBudget::default();
        (0..20_000).for_each(|_| budget.deposit(20));
        assert_eq!(retries(&budget), 1_000);
    }
}
