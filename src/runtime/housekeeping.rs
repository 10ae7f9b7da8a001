//! Which background work does a gate need? The removal of expired state, the care for upstreams (DNS names, endpoints that
//! were ejected), and the count of the API keys.

use crate::fetch::resolve;
use crate::gate::Gate;
use crate::proxy::probe;
use crate::runtime::key_counts::COUNT_INTERVAL;
use crate::runtime::key_counts::KeyCounter;
use crate::runtime::steady_time::SteadyTime;
use crate::runtime::ticks::every;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// The interval at which full rate-limit buckets, expired tokens and unused scopes are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// The interval at which upstreams are looked at: names that are to be resolved, endpoints to probe, endpoints that return.
const UPSTREAM_INTERVAL: Duration = Duration::from_millis(250);

/// Runs the background work until aborted.
pub async fn run(gate: Arc<Gate>) {
    let mut sweep_ticks = every(SWEEP_INTERVAL);
    let mut upstream_ticks = every(UPSTREAM_INTERVAL);
    let mut tasks = JoinSet::new();
    let mut count_ticks = every(COUNT_INTERVAL);
    let mut key_counter = KeyCounter::default();
    let mut time = SteadyTime::new(gate.clock.now());
    loop {
        tokio::select! {
            _ = sweep_ticks.tick() => sweep(&gate, &mut time),
            _ = count_ticks.tick() => key_counter.count_if_due(&gate).await,
            _ = upstream_ticks.tick() => care_for_upstreams(&gate, &mut tasks),
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Starts the look-ups and the probes that are due. Each has a task of its own: a name or an endpoint that does not answer
/// holds up no other.
fn care_for_upstreams(gate: &Arc<Gate>, tasks: &mut JoinSet<()>) {
    let now = gate.clock.now().tick;
    for upstream in gate.live.upstreams() {
        for entry in upstream.entries() {
            let name_servers = &upstream.settings.name_servers;
            if entry.source.begin_lookup(name_servers, resolve::RESOLVE_EVERY, now) {
                tasks.spawn(resolve::resolve(Arc::clone(&entry.source), Arc::clone(&upstream)));
            }
        }
        for due in upstream.due_checks(now) {
            tasks.spawn(probe::check(Arc::clone(gate), Arc::clone(&upstream), due));
        }
        for due in upstream.tick(now) {
            tasks.spawn(probe::probe(Arc::clone(gate), Arc::clone(&upstream), due));
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
