//! Which background work does a gate need? The removal of expired state, the resolution of upstreams' DNS names, and the
//! count of the API keys.

use crate::fetch::resolve;
use crate::gate::Gate;
use crate::runtime::key_counts::COUNT_INTERVAL;
use crate::runtime::key_counts::KeyCounter;
use crate::runtime::steady_time::SteadyTime;
use crate::runtime::ticks::every;
use std::sync::Arc;
use std::time::Duration;

/// The interval at which full rate-limit buckets, expired tokens and unused scopes are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// The interval at which names without an address are resolved. A name that a reload adds would otherwise wait for up
/// to [`resolve::RESOLVE_EVERY`].
const RESOLVE_NEW_INTERVAL: Duration = Duration::from_millis(500);

/// Runs the background work until aborted.
pub async fn run(gate: Arc<Gate>) {
    let mut sweep_ticks = every(SWEEP_INTERVAL);
    let mut resolve_ticks = every(resolve::RESOLVE_EVERY);
    let mut new_ticks = every(RESOLVE_NEW_INTERVAL);
    let mut count_ticks = every(COUNT_INTERVAL);
    let mut key_counter = KeyCounter::default();
    let mut time = SteadyTime::new(gate.clock.now());
    loop {
        tokio::select! {
            _ = sweep_ticks.tick() => sweep(&gate, &mut time),
            _ = count_ticks.tick() => key_counter.count_if_due(&gate).await,
            _ = resolve_ticks.tick() => {
                for endpoint in gate.live.endpoints_to_resolve() {
                    resolve::resolve(&endpoint).await;
                }
            }
            _ = new_ticks.tick() => {
                for endpoint in gate.live.endpoints_to_resolve() {
                    if endpoint.never_resolved() {
                        resolve::resolve(&endpoint).await;
                    }
                }
            }
        }
    }
}

fn sweep(gate: &Gate, time: &mut SteadyTime) {
    let now = gate.clock.now();
    let forget_until = time.at(now);
    for (_, limit) in gate.live.limits() {
        limit.sweep(now.tick);
    }
    gate.live.failures.sweep(now.tick);
    gate.live.token_requests.sweep(now.tick);
    gate.live.directory.sweep(forget_until);
    gate.live.identity_tokens.sweep(forget_until);
}
