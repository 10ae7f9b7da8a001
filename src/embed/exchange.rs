//! How does a program carry one request through a gate?

use crate::embed::principal::Principal;
use crate::gate::Gate;
use crate::gate::answer::Answer;
use crate::gate::answer::cors;
use crate::gate::denial::Denial;
use crate::model::names::Name;
use crate::proxy::exchange;
use crate::proxy::exchange::Admitted;
use crate::proxy::exchange::Connection;
use crate::proxy::forward::media_type;
use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

/// One request, from its head to the end of its response. Dropping it writes the access record and counts it.
///
/// A program calls, in this order: [`admit`](Self::admit); for a request to forward [`choose_endpoint`](Self::choose_endpoint) and
/// [`request_head`](Self::request_head); [`count_request_body`](Self::count_request_body) for each part of the body;
/// [`response_head`](Self::response_head) and [`count_response_body`](Self::count_response_body).
pub struct Exchange(exchange::Exchange);

/// What a program does with a request.
#[derive(Debug)]
pub enum Decision {
    /// Forward it: it carries exactly one good credential, or its route is public.
    Forward,
    /// Send this in place of a response of the upstream's.
    Answer(Answer),
}

impl Exchange {
    pub(super) fn begin(gate: &Arc<Gate>, head: Parts, peer: SocketAddr) -> Self {
        let from = Arc::new(Connection::new(peer));
        let started = gate.clock.now();
        Self(exchange::Exchange::begin(gate, gate.snapshot(), head, &from, started))
    }

    /// Decides the request.
    ///
    /// Waits, within bounds, only where the issuer of the token has to be asked: for a key that is new, or by introspection
    /// (RFC 7662). Drop the future when the client leaves.
    pub async fn admit(&mut self) -> Decision {
        match self.0.admit(pending()).await {
            Ok(Admitted::Forward) => Decision::Forward,
            Ok(Admitted::Answer(answer)) => {
                self.0.note_response(answer.status, false);
                Decision::Answer(answer)
            }
            // There is no control side in this process.
            Ok(Admitted::Control(_)) => Decision::Answer(self.refuse(Denial::ControlUnavailable)),
            Err(denial) => Decision::Answer(self.refuse(denial)),
        }
    }

    fn refuse(&mut self, denial: Denial) -> Answer {
        let answer = self.0.refuse(denial);
        self.0.note_response(answer.status, false);
        answer
    }

    /// Returns the name of the route that was found.
    pub fn route(&self) -> Option<&str> {
        self.0.route().map(Name::as_str)
    }

    /// Returns the bearer of the credential; `None` on a public route, and where the request was refused.
    pub fn principal(&self) -> Option<Principal<'_>> {
        self.0.principal().map(|principal| Principal(principal.identity()))
    }

    /// Returns the request's id, as access record, upstream and client are told it in `X-Request-ID`.
    pub fn request_id(&self) -> &HeaderValue {
        self.0.request_id()
    }

    /// Returns the address of the next endpoint of the route's upstream.
    ///
    /// # Errors
    /// No endpoint has an address, or the request's total time is over; to be sent to the client.
    pub fn choose_endpoint(&mut self) -> Result<SocketAddr, Answer> {
        let upstream = self.0.upstream();
        let chosen = upstream.and_then(|upstream| self.0.choose_endpoint(&upstream));
        chosen.map(|(address, _)| address).map_err(|denial| self.refuse(denial))
    }

    /// Returns the head that goes to `endpoint`: without the credential, with the fields that say whose it was
    /// (`X-Keygate-*`), where the request came from, and its target in origin form. It has no fields where the request was
    /// not admitted.
    pub fn request_head(&self, endpoint: SocketAddr) -> Parts {
        let request = self.0.request();
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = request.method.clone();
        head.version = request.version;
        head.uri = self
            .0
            .target()
            .parse::<PathAndQuery>()
            .map_or_else(|_| http::Uri::from_static("/"), http::Uri::from);
        self.0.write_request_fields(endpoint, |name, value| {
            // Values come from a head, a configuration or a credential that was checked: none is invalid.
            if let Ok(value) = HeaderValue::from_bytes(value) {
                head.headers.append(name, value);
            }
        });
        head
    }

    /// Counts `bytes` of the request's body that came.
    ///
    /// # Errors
    /// It is longer than `requests.body_bytes`: none of it may go on, and this is to be sent to the client.
    pub fn count_request_body(&mut self, bytes: usize) -> Result<(), Answer> {
        self.0.count_request_body(bytes).map_err(|denial| self.refuse(denial))
    }

    /// Returns the head that goes to the client for the upstream's response `status` with `fields`: without fields about the
    /// upstream's connection, with those about limits, cross-origin requests and the request's id.
    pub fn response_head(&mut self, status: StatusCode, fields: &HeaderMap) -> HeaderMap {
        let rules = self.0.response_rules();
        let mut head = HeaderMap::with_capacity(fields.len() + 4);
        for (name, value) in fields {
            if rules.keeps(name.as_str()) {
                head.append(name, value.clone());
            }
        }
        let varies = fields.get_all(header::VARY).iter().any(cors::names_origin);
        rules.put_added(varies, |name, value| {
            head.append(name, value.clone());
        });
        let types = fields.get_all(header::CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
        self.0.note_response(status, media_type::is_stream(status, types));
        head
    }

    /// Notes that the upstream gave no response, and returns the answer to send in its place: 502.
    pub fn upstream_failed(&mut self) -> Answer {
        self.refuse(Denial::UpstreamFailed)
    }

    /// Returns whether the exchange must be cut off: its upstream's `total_timeout` is over, or the response is a stream whose
    /// credential has expired or was revoked. Ask once a second.
    pub fn is_over(&mut self) -> bool {
        self.0.is_over()
    }

    /// Counts `bytes` of the response's body that went to the client.
    pub const fn count_response_body(&mut self, bytes: usize) {
        self.0.count_response_body(bytes);
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Exchange").finish_non_exhaustive()
    }
}
