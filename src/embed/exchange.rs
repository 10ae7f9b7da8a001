//! How does a program decide, rewrite and record one request?

use crate::embed::principal::Principal;
use crate::gate::Gate;
use crate::gate::answer::Answer;
use crate::gate::answer::cors;
use crate::gate::denial::Denial;
use crate::model::endpoint_address::EndpointAddress;
use crate::model::names::Name;
use crate::proxy::exchange;
use crate::proxy::exchange::Connection;
use crate::proxy::exchange::NextStep;
use crate::proxy::forward::media_type;
use crate::proxy::forward::response_fields::UpstreamFields;
use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

/// One request, from its head to the end of its response. Dropping the exchange writes the access record and counts the
/// request in the metrics.
///
/// The program moves the bytes and calls the exchange in this order:
///
/// ```
/// # use http::HeaderMap;
/// # use http::StatusCode;
/// # use http::request::Parts;
/// # use keygate::Answer;
/// # use keygate::Decision;
/// # use keygate::Gate;
/// # use std::net::SocketAddr;
/// async fn forward(gate: &Gate, head: Parts, peer: SocketAddr) -> Result<HeaderMap, Answer> {
///     let mut exchange = gate.begin(head, peer);
///     if let Decision::Answer(answer) = exchange.admit().await {
///         return Err(answer);
///     }
///     let endpoint = exchange.choose_endpoint()?;
///     match exchange.server_name() {
///         // Connect to `endpoint` with TLS; its certificate must be for this name.
///         Some(name) => println!("https://{endpoint} as {name}"),
///         None => println!("http://{endpoint}"),
///     }
///     let request = exchange.request_head();
///     // Send `request`. Then, before each part of the body is sent:
///     exchange.count_request_body(1024)?;
///     // Once the head of the response has arrived, with the status 200 and no fields:
///     let fields = exchange.response_head(StatusCode::OK, &HeaderMap::new());
///     // Send `fields` to the client. Then, for each part of the body that was sent:
///     exchange.count_response_body(1024);
///     Ok(fields)
/// }
/// ```
pub struct Exchange(Box<exchange::Exchange>);

/// The decision on a request.
#[derive(Debug)]
pub enum Decision {
    /// Forward the request: it carries exactly one valid credential, or its route is public.
    Forward,
    /// Send this answer to the client and forward nothing.
    Answer(Answer),
}

impl Exchange {
    pub(super) fn begin(gate: &Arc<Gate>, head: Parts, peer: SocketAddr) -> Self {
        let from = Arc::new(Connection::new(peer, None));
        let started = gate.clock.now();
        Self(exchange::Exchange::begin(gate, gate.snapshot(), head, &from, started))
    }

    /// Decides the request.
    ///
    /// Waits only for the issuer of a token, for a limited time: until an unknown key is fetched, or the token is
    /// introspected (RFC 7662). Drop the future when the client closes its connection.
    pub async fn admit(&mut self) -> Decision {
        match self.0.admit(pending()).await {
            Ok(NextStep::Forward) => Decision::Forward,
            Ok(NextStep::Answer(answer)) => {
                self.0.note_response(answer.status, false);
                Decision::Answer(answer)
            }
            // An embedded gate has no control side to answer the call.
            Ok(NextStep::Control(_)) => Decision::Answer(self.refuse(Denial::ControlUnavailable)),
            Err(denial) => Decision::Answer(self.refuse(denial)),
        }
    }

    fn refuse(&mut self, denial: Denial) -> Answer {
        let answer = self.0.refuse(denial);
        self.0.note_response(answer.status, false);
        answer
    }

    /// Returns the name of the route that matches the request; `None`
    /// before [`admit`](Self::admit), and where no route matches.
    pub fn route(&self) -> Option<&str> {
        self.0.route().map(Name::as_str)
    }

    /// Returns the bearer of the credential. Returns `None` before [`admit`](Self::admit), for a refused request, on a
    /// public route, and if the request passed only because the issuer is in shadow mode.
    pub fn principal(&self) -> Option<Principal<'_>> {
        self.0.principal().map(|principal| Principal(principal.identity()))
    }

    /// Returns the id of the request, as in the access record and
    /// in the field `X-Request-ID` of the request and the response.
    pub fn request_id(&self) -> &HeaderValue {
        self.0.request_id()
    }

    /// Returns the address of the next endpoint of the route's upstream. The endpoint has the request until the next call, or
    /// until the exchange is dropped.
    ///
    /// # Errors
    /// The answer to send to the client: no endpoint has an address, the
    /// `total_timeout` is over, or the request was not admitted.
    pub fn choose_endpoint(&mut self) -> Result<EndpointAddress, Answer> {
        let upstream = self.0.upstream();
        let chosen = upstream.and_then(|upstream| {
            self.0.choose_endpoint(&upstream)?;
            let choice = self.0.endpoint().ok_or(Denial::NoEndpoint)?;
            Ok(choice.endpoint.address().clone())
        });
        chosen.map_err(|denial| self.refuse(denial))
    }

    /// Returns the name that the certificate of the chosen endpoint must have; `None` for an endpoint without TLS. Ask before each
    /// connection: a credential must not travel without TLS where the configuration says `https://`. The authorities and the
    /// client certificate of the upstream's `tls` are for the program to use; [`crate::filter`] uses them by itself.
    pub fn server_name(&self) -> Option<&str> {
        let tls = self.0.endpoint()?.tls.as_ref()?;
        Some(tls.server_name())
    }

    /// Returns the head to send to the endpoint that was chosen last.
    ///
    /// The target is in origin form. Hop-by-hop fields are removed, and so is the credential, unless the route has
    /// `forward_credential`. The identity of the principal (`X-Keygate-*`), the origin of the request (`X-Forwarded-*`)
    /// and the trace context are added. The head has no fields if the request was not admitted.
    pub fn request_head(&self) -> Parts {
        let request = self.0.request();
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = request.method.clone();
        head.version = request.version;
        head.uri = self
            .0
            .target()
            .parse::<PathAndQuery>()
            .map_or_else(|_| http::Uri::from_static("/"), http::Uri::from);
        self.0.write_request_fields(|name, value| {
            head.headers.append(name, value.into_header_value());
        });
        head
    }

    /// Counts `bytes` of the request body. Call this before the bytes are forwarded.
    ///
    /// # Errors
    /// The answer to send to the client: the body is longer than `requests.body_bytes`. Do not forward these bytes.
    pub fn count_request_body(&mut self, bytes: usize) -> Result<(), Answer> {
        self.0.count_request_body(bytes).map_err(|denial| self.refuse(denial))
    }

    /// Returns the fields to send to the client for a response with `status` and `fields`.
    ///
    /// Removes hop-by-hop fields of the upstream. Adds the fields about limits, cross-origin
    /// requests and the request id; these replace fields of the upstream with the same name.
    pub fn response_head(&mut self, status: StatusCode, fields: &HeaderMap) -> HeaderMap {
        let rules = self.0.response_rules();
        let mut head = HeaderMap::with_capacity(fields.len() + 4);
        for (name, value) in fields {
            if rules.keeps(name.as_str(), value.as_bytes()) {
                head.append(name, value.clone());
            }
        }
        let upstream = UpstreamFields {
            varies: fields.get_all(header::VARY).iter().any(cors::names_origin),
            lacks_protocol: status == StatusCode::SWITCHING_PROTOCOLS
                && !head.contains_key(header::SEC_WEBSOCKET_PROTOCOL),
        };
        rules.put_added(upstream, |name, value| {
            head.append(name, value.clone());
        });
        let types = fields.get_all(header::CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
        self.0.note_response(status, media_type::is_stream(status, types));
        head
    }

    /// Records that the upstream gave no valid response, and returns the answer to send to the client: 502.
    pub fn upstream_failed(&mut self) -> Answer {
        self.refuse(Denial::UpstreamFailed)
    }

    /// Returns whether the program must end the exchange: its `total_timeout` is over, or the response is a
    /// stream and the credential of the request has expired or was revoked. Call this about once a second.
    pub fn must_end(&mut self) -> bool {
        self.0.must_end()
    }

    /// Counts `bytes` of the response body that were sent to the client.
    pub const fn count_response_body(&mut self, bytes: usize) {
        self.0.count_response_body(bytes);
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Exchange").finish_non_exhaustive()
    }
}
