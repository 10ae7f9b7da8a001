//! How are an issuer's tokens introspected (RFC 7662)? One task per issuer makes one call per token and a bounded
//! number of calls at once. The breaker stops the calls while the endpoint keeps failing.

mod call;

pub use call::CallError;
pub use call::ClientCredential;
pub use call::SignerError;

use crate::config::Introspection;
use crate::config::Issuer;
use crate::config::KeySource;
use crate::fetch::breaker::Breaker;
use crate::fetch::breaker::CallOutcome;
use crate::fetch::breaker::CallPermit;
use crate::fetch::breaker::Transition;
use crate::gate::authenticate::introspection::IntrospectionOutcome;
use crate::gate::authenticate::introspection::IntrospectionRefusal;
use crate::gate::authenticate::introspection::IntrospectionRequest;
use crate::gate::authenticate::introspection::Unavailable;
use crate::gate::authenticate::introspection::Verdict;
use crate::gate::authenticate::introspection::VerdictCache;
use crate::gate::authenticate::introspection::read;
use crate::gate::authenticate::token::TokenRules;
use crate::model::clock::Clock;
use crate::model::clock::Now;
use crate::model::clock::Tick;
use crate::model::issuer::TokenIssuer;
use crate::model::secret::Secret;
use crate::observe::log::ErrorChain;
use crate::observe::metrics::CallResult;
use aws_lc_rs::digest;
use call::Endpoint;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task;
use tokio::task::JoinError;
use tokio::task::JoinSet;

/// The number of waiting tokens per concurrent call. In a longer queue, the last token would probably time out before
/// its call.
const WAITING_PER_CALL: usize = 16;

/// The shortest time between two warnings about one issuer.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The time after which the connections are replaced and the trusted certificates are read again, so that replaced
/// authorities take effect.
const ENDPOINT_LIFE: Duration = Duration::from_secs(600);

/// Checks the configured private key, if any, so that a mistake is found before Keygate serves.
///
/// # Errors
/// If the file is not one private key, or the key is not for the configured algorithm.
pub fn check_key(settings: &Introspection, issuer: &TokenIssuer) -> Result<(), SignerError> {
    ClientCredential::new(settings, issuer).map(drop)
}

/// Introspects the tokens that arrive in `inbox`, until all its senders are gone. Caches the verdicts in `memory`.
/// Returns at once if `issuer` has no introspection or its private key cannot be used.
pub async fn run(
    issuer: Issuer,
    inbox: mpsc::Receiver<IntrospectionRequest>,
    memory: Arc<VerdictCache>,
    clock: Arc<dyn Clock>,
) {
    let KeySource::Introspection(settings) = &issuer.keys else {
        return;
    };
    let settings = Arc::new((**settings).clone());
    let credential = match ClientCredential::new(&settings, &issuer.issuer) {
        Ok(credential) => Arc::new(credential),
        Err(error) => {
            // Unlikely: `check_key` passed. Returning closes `inbox`, so each request fails with `Unavailable`.
            tracing::error!(
                issuer = issuer.name.as_str(),
                error = ErrorChain(&error).to_string(),
                "Issuer cannot be asked"
            );
            return;
        }
    };
    // The task of the configuration before may have ended while its breaker was open.
    memory.metrics.set_suspended(false);
    let introspector = Introspector {
        rules: TokenRules::compile(&issuer),
        issuer,
        breaker: Breaker::new(settings.breaker),
        settings,
        credential,
        memory,
        clock,
        endpoint: None,
        failures: 0,
        warned: None,
        suspended: false,
        pending: HashMap::new(),
        waiting: VecDeque::new(),
        running: JoinSet::new(),
        by_task: HashMap::new(),
    };
    introspector.run(inbox).await;
}

/// SHA-256 of a token.
type Key = [u8; 32];

/// The callers that wait for the introspection of one token.
struct PendingCall {
    token: Arc<Secret<String>>,
    waiters: Vec<oneshot::Sender<IntrospectionOutcome>>,
    /// The breaker's permission and the start time; `None` until the call begins.
    call: Option<(CallPermit, Now)>,
}

struct Introspector {
    issuer: Issuer,
    rules: TokenRules,
    settings: Arc<Introspection>,
    credential: Arc<ClientCredential>,
    memory: Arc<VerdictCache>,
    clock: Arc<dyn Clock>,
    breaker: Breaker,
    endpoint: Option<(Arc<Endpoint>, Tick)>,
    /// Failed calls in a row.
    failures: u32,
    /// The time of the last warning about a failure.
    warned: Option<Tick>,
    /// `true` from the opening of the breaker until it closes, also while a probe runs.
    suspended: bool,
    pending: HashMap<Key, PendingCall>,
    /// The tokens whose call has not begun, in order of arrival.
    waiting: VecDeque<Key>,
    running: JoinSet<Result<Vec<u8>, CallError>>,
    by_task: HashMap<task::Id, Key>,
}

type JoinOutcome = Result<(task::Id, Result<Vec<u8>, CallError>), JoinError>;

impl Introspector {
    async fn run(mut self, mut inbox: mpsc::Receiver<IntrospectionRequest>) {
        loop {
            tokio::select! {
                question = inbox.recv() => match question {
                    Some(question) => self.enqueue(question),
                    None => return,
                },
                Some(joined) = self.running.join_next_with_id() => self.finish(joined),
            }
            self.start();
        }
    }

    /// Replies from the cache, or adds the caller to the waiters of its token. Rejects a new token while the breaker
    /// refuses calls or the queue is full.
    fn enqueue(&mut self, question: IntrospectionRequest) {
        let IntrospectionRequest { token, reply } = question;
        let now = self.clock.now();
        // Sending fails only if the caller is gone; then nobody needs the reply.
        if let Some(cached) = self.memory.get(token.expose(), now) {
            let _ = reply.send(Ok(cached));
            return;
        }
        let key = key_of(&token);
        if let Some(pending_call) = self.pending.get_mut(&key) {
            pending_call.waiters.push(reply);
        } else if self.breaker.refuses(now.tick) {
            let _ = reply.send(Err(Unavailable::Suspended));
        } else if !self.has_room() {
            let _ = reply.send(Err(Unavailable::Busy));
        } else {
            let pending_call = PendingCall {
                token: Arc::new(token),
                waiters: vec![reply],
                call: None,
            };
            self.pending.insert(key, pending_call);
            self.waiting.push_back(key);
        }
    }

    fn has_room(&mut self) -> bool {
        let waiting_max = self.settings.concurrency.saturating_mul(WAITING_PER_CALL);
        if self.waiting.len() >= waiting_max {
            let pending = &mut self.pending;
            self.waiting.retain(|key| has_waiters(pending, key));
        }
        self.waiting.len() < waiting_max
    }

    /// Begins calls for waiting tokens until `concurrency` calls run.
    fn start(&mut self) {
        while self.running.len() < self.settings.concurrency
            && let Some(key) = self.waiting.pop_front()
        {
            // No call for a token whose callers have all disconnected or timed out (S108).
            if !has_waiters(&mut self.pending, &key) {
                continue;
            }
            let now = self.clock.now();
            let endpoint = self.endpoint(now.tick);
            let Some(pending_call) = self.pending.get_mut(&key) else {
                continue;
            };
            // Take the pass after every `continue` above: a probe that is never recorded would block all calls.
            let Some(pass) = self.breaker.try_acquire(now.tick) else {
                self.send_outcome(&key, &Err(Unavailable::Suspended));
                continue;
            };
            pending_call.call = Some((pass, now));
            let token = Arc::clone(&pending_call.token);
            let call = async move { endpoint.introspect(token.expose(), now.wall).await };
            let task = self.running.spawn(call);
            self.by_task.insert(task.id(), key);
        }
    }

    fn endpoint(&mut self, now: Tick) -> Arc<Endpoint> {
        match &self.endpoint {
            Some((endpoint, since)) if now.saturating_since(*since) < ENDPOINT_LIFE => Arc::clone(endpoint),
            _ => {
                let endpoint = Endpoint::new(Arc::clone(&self.settings), Arc::clone(&self.credential));
                let endpoint = Arc::new(endpoint);
                self.endpoint = Some((Arc::clone(&endpoint), now));
                endpoint
            }
        }
    }

    /// Records the outcome of a call, caches its verdict and sends it to all waiters.
    fn finish(&mut self, joined: JoinOutcome) {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(CallError::Stopped)),
        };
        let Some(key) = self.by_task.remove(&id) else {
            return;
        };
        let Some(pending_call) = self.pending.get_mut(&key) else {
            return;
        };
        let Some((pass, called_at)) = pending_call.call.take() else {
            return;
        };
        let token = Arc::clone(&pending_call.token);
        let now = self.clock.now();
        let verdict = outcome.and_then(|body| {
            let verdict = read(&body, &self.issuer.name, &self.rules, now.wall)?;
            Ok((verdict, body.len()))
        });
        let result = match &verdict {
            Ok((Verdict::Active(_), _)) => CallResult::Active,
            Ok((Verdict::Refused(refused), _)) => match refused.refusal {
                IntrospectionRefusal::Inactive => CallResult::Inactive,
                IntrospectionRefusal::Token(_) => CallResult::Refused,
            },
            Err(error) if error.has_response() => CallResult::Rejected,
            Err(_) => CallResult::Failure,
        };
        self.memory
            .metrics
            .count_call(result, now.tick.saturating_since(called_at.tick));
        let health = verdict
            .as_ref()
            .map_or_else(CallError::health, |_| CallOutcome::Success);
        let transition = self.breaker.record(pass, health, now.tick);
        self.report(verdict.as_ref().err(), transition, now.tick);
        let outcome = match verdict {
            Ok((verdict, response_bytes)) => {
                self.memory
                    .remember(token.expose(), &verdict, response_bytes, called_at);
                Ok(verdict.into_identity())
            }
            Err(_) => Err(Unavailable::NoResponse),
        };
        self.send_outcome(&key, &outcome);
    }

    fn send_outcome(&mut self, key: &Key, outcome: &IntrospectionOutcome) {
        let pending_call = self.pending.remove(key);
        for waiter in pending_call.into_iter().flat_map(|pending_call| pending_call.waiters) {
            let _ = waiter.send(outcome.clone());
        }
    }

    /// Logs failed calls and transitions of the breaker. Logs a warning about a failure at most once per [`WARN_EVERY`]
    /// until the breaker closes: a client can cause any number of failures.
    fn report(&mut self, error: Option<&CallError>, transition: Option<Transition>, now: Tick) {
        let issuer = self.issuer.name.as_str();
        match error {
            Some(error) => {
                self.failures = self.failures.saturating_add(1);
                let (failures, error) = (self.failures, ErrorChain(error).to_string());
                let warned_recently = self.warned.is_some_and(|at| now.saturating_since(at) < WARN_EVERY);
                if warned_recently {
                    tracing::debug!(issuer, failures, error, "Issuer still cannot be asked about tokens");
                } else {
                    self.warned = Some(now);
                    tracing::warn!(issuer, failures, error, "Issuer cannot be asked about tokens");
                }
            }
            None => self.failures = 0,
        }
        match transition {
            Some(Transition::Opened) => {
                let pause_ms = self.settings.breaker.open_for.as_millis();
                // Each failed probe opens the breaker again. Log only the first opening.
                if !self.suspended {
                    tracing::warn!(issuer, pause_ms, "Issuer is not asked about tokens for a while");
                }
                self.suspended = true;
                self.memory.metrics.set_suspended(true);
            }
            Some(Transition::Closed) => {
                (self.suspended, self.warned) = (false, None);
                tracing::info!(issuer, "Issuer answers about tokens again");
                self.memory.metrics.set_suspended(false);
            }
            None => {}
        }
    }
}

/// Returns whether a caller still waits for the token; otherwise removes the pending_call.
fn has_waiters(pending: &mut HashMap<Key, PendingCall>, key: &Key) -> bool {
    let awaited = pending.get_mut(key).is_some_and(|pending_call| {
        pending_call.waiters.retain(|waiter| !waiter.is_closed());
        !pending_call.waiters.is_empty()
    });
    if !awaited {
        pending.remove(key);
    }
    awaited
}

fn key_of(token: &Secret<String>) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&digest::SHA256, token.expose().as_bytes()).as_ref());
    key
}
