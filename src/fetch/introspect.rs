//! Who asks an issuer about its tokens (RFC 7662)? One task per issuer: one call per token, so many at once, none to an
//! endpoint that keeps failing.

mod call;

pub use call::CallError;
pub use call::SignerError;

use crate::config::Introspection;
use crate::config::Issuer;
use crate::config::KeySource;
use crate::fetch::breaker::Breaker;
use crate::fetch::breaker::CallOutcome;
use crate::fetch::breaker::Pass;
use crate::fetch::breaker::Turn;
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
use crate::model::issuer::IssuerUrl;
use crate::model::secret::Secret;
use crate::observe::log::ErrorChain;
use crate::observe::metrics::CallResult;
use aws_lc_rs::digest;
use call::Endpoint;
use call::Identification;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task;
use tokio::task::JoinError;
use tokio::task::JoinSet;

/// Tokens that wait for their call, for each call that may run: what comes beyond that would wait past its time.
const WAITING_PER_CALL: usize = 16;

/// Between two warnings about one issuer.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Connections and trusted certificates are made anew after so long, so that replaced authorities are noticed.
const ENDPOINT_LIFE: Duration = Duration::from_secs(600);

/// Reads the private key of a configuration, where there is one, to find a mistake before anything starts.
///
/// # Errors
/// A file that is not one private key, or not for the algorithm that is configured.
pub fn check_key(settings: &Introspection, issuer: &IssuerUrl) -> Result<(), SignerError> {
    Identification::new(settings, issuer).map(drop)
}

/// Answers the questions of `inbox` about tokens of `issuer`, until nobody is left who could ask. What was answered is
/// remembered in `memory`.
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
    let identification = match Identification::new(&settings, &issuer.issuer) {
        Ok(identification) => Arc::new(identification),
        Err(error) => {
            // It was read when the configuration was; without it the questions end unanswered, and so do the requests.
            tracing::error!(
                issuer = issuer.name.as_str(),
                error = ErrorChain(&error).to_string(),
                "Issuer cannot be asked"
            );
            return;
        }
    };
    let asker = Introspector {
        rules: TokenRules::compile(&issuer),
        issuer,
        breaker: Breaker::new(settings.breaker),
        settings,
        identification,
        memory,
        clock,
        endpoint: None,
        failures: 0,
        warned: None,
        suspended: false,
        flights: HashMap::new(),
        waiting: VecDeque::new(),
        running: JoinSet::new(),
        by_task: HashMap::new(),
    };
    asker.run(inbox).await;
}

/// SHA-256 of a token.
type Key = [u8; 32];

/// Everyone who waits for the answer about one token.
struct Flight {
    token: Arc<Secret<String>>,
    waiters: Vec<oneshot::Sender<IntrospectionOutcome>>,
    /// Since the call began.
    call: Option<(Pass, Now)>,
}

struct Introspector {
    issuer: Issuer,
    rules: TokenRules,
    settings: Arc<Introspection>,
    identification: Arc<Identification>,
    memory: Arc<VerdictCache>,
    clock: Arc<dyn Clock>,
    breaker: Breaker,
    endpoint: Option<(Arc<Endpoint>, Tick)>,
    /// Calls that failed in a row.
    failures: u32,
    /// When a failure was last a warning.
    warned: Option<Tick>,
    /// Whether the breaker opened and has not closed since.
    suspended: bool,
    flights: HashMap<Key, Flight>,
    /// Flights whose call has not begun, in the order they came.
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
                    Some(question) => self.take(question),
                    None => return,
                },
                Some(joined) = self.running.join_next_with_id() => self.finish(joined),
            }
            self.start();
        }
    }

    /// Adds the question to the flight of its token, or begins one.
    fn take(&mut self, question: IntrospectionRequest) {
        let IntrospectionRequest { token, reply } = question;
        let now = self.clock.now();
        // Nobody minds when an answer finds nobody: the asker went away.
        if let Some(known) = self.memory.get(token.expose(), now) {
            let _ = reply.send(Ok(known));
            return;
        }
        let key = key_of(&token);
        if let Some(flight) = self.flights.get_mut(&key) {
            flight.waiters.push(reply);
        } else if self.breaker.refuses(now.tick) {
            let _ = reply.send(Err(Unavailable::Suspended));
        } else if !self.has_room() {
            let _ = reply.send(Err(Unavailable::Busy));
        } else {
            let flight = Flight {
                token: Arc::new(token),
                waiters: vec![reply],
                call: None,
            };
            self.flights.insert(key, flight);
            self.waiting.push_back(key);
        }
    }

    fn has_room(&mut self) -> bool {
        let waiting_max = self.settings.concurrency.saturating_mul(WAITING_PER_CALL);
        if self.waiting.len() >= waiting_max {
            let flights = &mut self.flights;
            self.waiting.retain(|key| still_wanted(flights, key));
        }
        self.waiting.len() < waiting_max
    }

    /// Begins the calls there is room for.
    fn start(&mut self) {
        while self.running.len() < self.settings.concurrency
            && let Some(key) = self.waiting.pop_front()
        {
            // Whoever asked may have gone away, or have waited too long: then the call is not made (S108).
            if !still_wanted(&mut self.flights, &key) {
                continue;
            }
            let now = self.clock.now();
            let endpoint = self.endpoint(now.tick);
            let Some(flight) = self.flights.get_mut(&key) else {
                continue;
            };
            // Asked for last: a pass that nobody gives back would keep everybody out.
            let Some(pass) = self.breaker.pass(now.tick) else {
                self.answer(&key, &Err(Unavailable::Suspended));
                continue;
            };
            flight.call = Some((pass, now));
            let token = Arc::clone(&flight.token);
            let call = async move { endpoint.ask(token.expose(), now.wall).await };
            let task = self.running.spawn(call);
            self.by_task.insert(task.id(), key);
        }
    }

    fn endpoint(&mut self, now: Tick) -> Arc<Endpoint> {
        match &self.endpoint {
            Some((endpoint, since)) if now.saturating_since(*since) < ENDPOINT_LIFE => Arc::clone(endpoint),
            _ => {
                let endpoint = Endpoint::new(Arc::clone(&self.settings), Arc::clone(&self.identification));
                let endpoint = Arc::new(endpoint);
                self.endpoint = Some((Arc::clone(&endpoint), now));
                endpoint
            }
        }
    }

    /// A call has ended: what it brought is remembered, and told to everyone who waits.
    fn finish(&mut self, joined: JoinOutcome) {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(CallError::Stopped)),
        };
        let Some(key) = self.by_task.remove(&id) else {
            return;
        };
        let Some(flight) = self.flights.get_mut(&key) else {
            return;
        };
        let Some((pass, asked)) = flight.call.take() else {
            return;
        };
        let token = Arc::clone(&flight.token);
        let now = self.clock.now();
        let verdict = outcome.and_then(|body| {
            let verdict = read(&body, &self.issuer.name, &self.rules, now.wall)?;
            Ok((verdict, body.len()))
        });
        let result = match &verdict {
            Ok((Verdict::Active(_), _)) => CallResult::Active,
            Ok((Verdict::Refused(IntrospectionRefusal::Inactive), _)) => CallResult::Inactive,
            Ok((Verdict::Refused(_), _)) => CallResult::Refused,
            Err(error) if error.was_answered() => CallResult::Rejected,
            Err(_) => CallResult::Failure,
        };
        self.memory
            .metrics
            .called(result, now.tick.saturating_since(asked.tick));
        let showed = verdict.as_ref().map_or_else(CallError::showed, |_| CallOutcome::Works);
        let turn = self.breaker.ended(pass, showed, now.tick);
        self.report(verdict.as_ref().err(), turn, now.tick);
        let answer = match verdict {
            Ok((verdict, answer_bytes)) => {
                self.memory.remember(token.expose(), &verdict, answer_bytes, asked);
                Ok(verdict.into_identity())
            }
            Err(_) => Err(Unavailable::NoResponse),
        };
        self.answer(&key, &answer);
    }

    fn answer(&mut self, key: &Key, answer: &IntrospectionOutcome) {
        let flight = self.flights.remove(key);
        for waiter in flight.into_iter().flat_map(|flight| flight.waiters) {
            let _ = waiter.send(answer.clone());
        }
    }

    /// Says what changed, once in a while: a client could cause each failure a million times.
    fn report(&mut self, error: Option<&CallError>, turn: Option<Turn>, now: Tick) {
        let issuer = self.issuer.name.as_str();
        match error {
            Some(error) => {
                self.failures = self.failures.saturating_add(1);
                let (failures, error) = (self.failures, ErrorChain(error).to_string());
                let lately = self.warned.is_some_and(|at| now.saturating_since(at) < WARN_EVERY);
                if lately {
                    tracing::debug!(issuer, failures, error, "Issuer still cannot be asked about tokens");
                } else {
                    self.warned = Some(now);
                    tracing::warn!(issuer, failures, error, "Issuer cannot be asked about tokens");
                }
            }
            None => self.failures = 0,
        }
        match turn {
            Some(Turn::Opened) => {
                let pause_ms = self.settings.breaker.open_for.as_millis();
                // Each failed try opens it again; that it is open, the first time says.
                if !self.suspended {
                    tracing::warn!(issuer, pause_ms, "Issuer is not asked about tokens for a while");
                }
                self.suspended = true;
                self.memory.metrics.set_suspended(true);
            }
            Some(Turn::Closed) => {
                (self.suspended, self.warned) = (false, None);
                tracing::info!(issuer, "Issuer answers about tokens again");
                self.memory.metrics.set_suspended(false);
            }
            None => {}
        }
    }
}

/// Whether somebody still waits for the flight; forgets it when not.
fn still_wanted(flights: &mut HashMap<Key, Flight>, key: &Key) -> bool {
    let wanted = flights.get_mut(key).is_some_and(|flight| {
        flight.waiters.retain(|waiter| !waiter.is_closed());
        !flight.waiters.is_empty()
    });
    if !wanted {
        flights.remove(key);
    }
    wanted
}

fn key_of(token: &Secret<String>) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&digest::SHA256, token.expose().as_bytes()).as_ref());
    key
}
