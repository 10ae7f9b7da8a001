//! Which values can a `reason` label have, and how are reasons counted?

use crate::observe::metrics::label::OTHER;
use foldhash::fast::FixedState;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use std::collections::HashMap;

/// The closed sets of `reason` labels. The errors of the stages define them.
#[derive(Clone, Copy, Debug)]
pub struct Reasons<'a> {
    /// The reasons of `keygate_decisions_total`.
    pub denials: &'a [&'static str],
    /// The reasons of `keygate_heads_refused_total`.
    pub heads: &'a [&'static str],
    /// The reasons of `keygate_connections_refused_total`.
    pub connections: &'a [&'static str],
}

/// The words of a closed set with their indices. A map, because the set has a hundred words and each rejection looks up
/// a word.
pub(super) type ReasonIndices = HashMap<&'static str, usize, FixedState>;

/// Returns the indices of `words`, from 0. Equal words have the same index.
pub(super) fn indices(words: &[&'static str]) -> ReasonIndices {
    let mut indices = ReasonIndices::default();
    for word in words {
        let next = indices.len();
        indices.entry(*word).or_insert(next);
    }
    indices
}

/// One counter for each word of a closed set. All are created at the start, so that a graph shows the first count as an
/// increase from 0.
pub(super) struct ReasonCounters {
    known: Vec<(&'static str, IntCounter)>,
    other: IntCounter,
}

impl ReasonCounters {
    pub(super) fn new(family: &IntCounterVec, reasons: &[&'static str]) -> Self {
        Self {
            known: reasons
                .iter()
                .map(|reason| (*reason, family.with_label_values(&[reason])))
                .collect(),
            other: family.with_label_values(&[OTHER]),
        }
    }

    pub(super) fn inc(&self, reason: &'static str) {
        let known = self.known.iter().find(|(known, _)| *known == reason);
        known.map_or(&self.other, |(_, counter)| counter).inc();
    }
}
