//! What does a filter keep of a request between the phases of pingora's proxy?

use crate::gate::authenticate::Principal;
use crate::gate::denial::Denial;
use crate::proxy::exchange::Connection;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::deadlines::Activity;
use crate::proxy::exchange::deadlines::WaitTarget;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::time::Instant;

tokio::task_local! {
    /// The slot of the request that the current task carries. pingora creates a context without an argument, so the guard
    /// passes the slot this way.
    static CARRIED: ExchangeSlot;
}

/// The state of one request in pingora's proxy: its `CTX`, or a part of it.
pub struct FilterContext {
    pub(super) slot: ExchangeSlot,
    /// The refusal that a phase has returned to pingora as an error.
    pub(super) denial: Option<Denial>,
    /// The connection of the last attempt had carried a request before.
    pub(super) is_connection_reused: bool,
    /// A part of the request body was dropped, because the upstream had sent its whole response.
    pub(super) drops_body: bool,
    /// The principal of the permit.
    pub(super) principal: Option<Principal>,
}

impl FilterContext {
    /// Returns the context of the request that the current task carries.
    pub(super) fn new() -> Self {
        Self {
            slot: CARRIED
                .try_with(ExchangeSlot::clone)
                .unwrap_or_else(|_| ExchangeSlot::unguarded()),
            denial: None,
            is_connection_reused: false,
            drops_body: false,
            principal: None,
        }
    }

    /// Returns the principal of the permit.
    pub(crate) const fn admitted(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// Calls `with` with the exchange. Returns `None` before [`super::Filter::request_filter`].
    pub(crate) fn with<T>(&self, with: impl FnOnce(&mut Exchange) -> T) -> Option<T> {
        self.slot.0.state.lock().exchange.as_deref_mut().map(with)
    }

    /// Like [`Self::with`], and records which side has sent or accepted bytes.
    pub(super) fn with_activity<T>(&self, side: Side, with: impl FnOnce(&mut Exchange) -> T) -> Option<T> {
        let mut state = self.slot.0.state.lock();
        match side {
            Side::Client { bytes, is_body_end } => {
                state.activity.downstream = true;
                // pingora reads the next part when the upstream has taken the parts before.
                state.activity.upstream = true;
                if is_body_end {
                    state.note_body_end();
                } else if bytes > 0 {
                    state.note_body_part();
                }
            }
            Side::Upstream => state.activity.upstream = true,
        }
        state.exchange.as_deref_mut().map(with)
    }
}

/// The side that has sent bytes.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// With `is_body_end`, the request body is complete.
    Client {
        bytes: usize,
        is_body_end: bool,
    },
    Upstream,
}

/// The exchange of one request, shared by pingora's proxy, which changes it in its phases, and the guard, which ends it
/// when its time is over.
#[derive(Clone)]
pub struct ExchangeSlot(Arc<SlotContents>);

struct SlotContents {
    /// The client's connection. `None` where the exchange is there already, and without a guard.
    connection: Option<Arc<Connection>>,
    /// `true` if the connection may carry another request of HTTP/1.1.
    is_persistent: bool,
    /// `true` if the process has room for a connection to an upstream.
    has_room: bool,
    state: Mutex<State>,
}

struct State {
    /// `None` before the head was read, while the exchange is decided, and while an answer is written.
    exchange: Option<Box<Exchange>>,
    /// The filter has taken the exchange out at least once.
    is_taken: bool,
    /// The whole response was sent; the request body may go on.
    has_response_ended: bool,
    /// The activity since the guard last asked.
    activity: Activity,
    /// The client owes nothing more of its body.
    is_body_done: bool,
    /// The wait for the upstream once the client owes nothing more.
    after_body: WaitTarget,
}

impl State {
    /// Notes that the client has to go on with its body, because it began the body or was told to.
    fn note_body_part(&mut self) {
        if let Some(exchange) = &self.exchange
            && !self.is_body_done
        {
            self.activity.wait_target = exchange.wait_for_body(true);
        }
    }

    fn note_body_end(&mut self) {
        self.is_body_done = true;
        self.activity.wait_target = self.after_body;
    }
}

impl ExchangeSlot {
    fn new(
        connection: Option<Arc<Connection>>,
        exchange: Option<Box<Exchange>>,
        is_persistent: bool,
        has_room: bool,
    ) -> Self {
        Self(Arc::new(SlotContents {
            connection,
            is_persistent,
            has_room,
            state: Mutex::new(State {
                exchange,
                is_taken: false,
                has_response_ended: false,
                activity: Activity {
                    downstream: false,
                    upstream: false,
                    wait_target: WaitTarget::RequestBody,
                },
                is_body_done: false,
                after_body: WaitTarget::Response,
            }),
        }))
    }

    /// Returns the slot of a request that no guard watches.
    fn unguarded() -> Self {
        Self::new(None, None, true, true)
    }

    /// Returns the slot of a request whose head pingora reads. Without `has_room`, no connection to an upstream may be opened
    /// for it.
    pub fn of_connection(connection: &Arc<Connection>, has_room: bool) -> Self {
        Self::new(Some(Arc::clone(connection)), None, true, has_room)
    }

    /// Returns the slot of `exchange`, whose head was read by Keygate. With `is_persistent`, its connection may carry
    /// another request.
    pub fn of_exchange(exchange: Box<Exchange>, is_persistent: bool) -> Self {
        Self::new(None, Some(exchange), is_persistent, true)
    }

    /// Runs `carry` with this slot as that of the current task.
    pub async fn scope<F: Future>(&self, carry: F) -> F::Output {
        CARRIED.scope(self.clone(), carry).await
    }

    pub(super) fn is_persistent(&self) -> bool {
        self.0.is_persistent
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.has_room
    }

    pub(super) fn connection(&self) -> Option<&Arc<Connection>> {
        self.0.connection.as_ref()
    }

    /// Takes the exchange out.
    pub(super) fn take(&self) -> Option<Box<Exchange>> {
        let mut state = self.0.state.lock();
        state.is_taken = true;
        state.exchange.take()
    }

    /// Ends the exchange of a request for which the filter was never called: another part of the program has answered it.
    pub fn end(&self) {
        let mut state = self.0.state.lock();
        if !state.is_taken
            && let Some(exchange) = &mut state.exchange
        {
            exchange.leave_to_others();
        }
    }

    pub(super) fn note_response_end(&self) {
        self.0.state.lock().has_response_ended = true;
    }

    pub(super) fn has_response_ended(&self) -> bool {
        self.0.state.lock().has_response_ended
    }

    /// Notes that the client owes nothing more of its body.
    pub(super) fn note_body_end(&self) {
        self.0.state.lock().note_body_end();
    }

    /// Notes that the upstream has told the client to go on with its body.
    pub(super) fn note_continue(&self) {
        self.0.state.lock().note_body_part();
    }

    /// Notes that pingora limits the waits for the upstream itself, because it waits for nothing else meanwhile.
    pub(super) fn leave_upstream_to_pingora(&self) {
        let mut state = self.0.state.lock();
        state.after_body = WaitTarget::TimedElsewhere;
        if state.activity.wait_target == WaitTarget::Response {
            state.activity.wait_target = WaitTarget::TimedElsewhere;
        }
    }

    /// Begins the wait for a request body.
    pub(super) fn expect_body(&self, wait: WaitTarget) {
        self.0.state.lock().activity.wait_target = wait;
    }

    /// Returns the denial of a request whose time ends now: the side that is waited for is late.
    pub(super) fn overdue(&self) -> Denial {
        self.0.state.lock().activity.wait_target.overdue()
    }

    pub(super) fn put(&self, exchange: Box<Exchange>) {
        self.0.state.lock().exchange = Some(exchange);
    }

    /// Returns the time at which the guard has to ask again; `None` until something moves.
    ///
    /// # Errors
    /// The exchange must end now. Its record says why.
    pub fn next_deadline(&self, now: Instant) -> Result<Option<Instant>, Ended> {
        let mut state = self.0.state.lock();
        let (activity, has_response_ended) = (state.activity, state.has_response_ended);
        state.activity.downstream = false;
        state.activity.upstream = false;
        let Some(exchange) = &mut state.exchange else {
            return Ok(None);
        };
        match exchange.next_deadline(now, activity) {
            Ok(at) => Ok(at),
            Err(interruption) => {
                // After the whole response, only the rest of the request body was missing.
                if !has_response_ended {
                    exchange.interrupt(interruption);
                }
                Err(Ended)
            }
        }
    }
}

/// The time of an exchange is over, or the credential of its stream has expired or was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;
