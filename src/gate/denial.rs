//! For which reasons, from every stage, is a request not forwarded?

use crate::gate::accept::AcceptError;
use crate::gate::accept::AmbiguousField;
use crate::gate::accept::HeadError;
use crate::gate::admit::SpentLimit;
use crate::gate::authenticate::MissingProof;
use crate::gate::authenticate::Refusal;
use crate::gate::authenticate::introspection::Unavailable;
use crate::gate::authorize::CertificateError;
use crate::gate::authorize::Forbidden;
use crate::gate::authorize::SubscriptionError;
use crate::gate::intake::IntakeError;
use crate::model::reason::reasons;
use http::Method;
use std::time::Duration;

/// Why a connection is refused before any byte of a request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    #[error("too many connections are open")]
    TooMany,
    #[error("the listener is not for the address of the peer")]
    PeerAddress,
}

reasons! {
    ConnectionError {
        Self::TooMany => "too_many_connections",
        Self::PeerAddress => "peer_not_allowed",
    }
}

/// Why a preflight is refused. The browser then does not send the request, and the page gets a network error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorsError {
    #[error("pages of this origin may not call the route")]
    Origin,
    #[error("pages may not use the method")]
    Method,
    #[error("pages may not set one of the headers")]
    Header,
}

reasons! {
    CorsError {
        Self::Origin => "cors_origin",
        Self::Method => "cors_method",
        Self::Header => "cors_header",
    }
}

/// Why a request was not forwarded, or got no response from its upstream.
/// `answer/refusal/rows.rs` maps each reason to a response.
#[derive(Debug)]
pub enum Denial {
    /// Too many connections are open.
    Connection(ConnectionError),
    /// The head is malformed, ambiguous or too large, or took too long.
    Head(HeadError),
    /// The chunked coding of the body is malformed.
    MalformedChunk,
    /// The request is ambiguous, or of a kind that Keygate does not serve.
    Accept(AcceptError),
    /// The connection is for a host name with another certificate.
    Misdirected,
    NoRoute,
    PathNearMiss,
    /// Routes match host, path and method, and the request meets the conditions of none.
    ConditionsUnmet,
    /// A header or a query parameter that decides the route has no certain value.
    AmbiguousField(AmbiguousField),
    MethodNotAllowed(Box<[Method]>),
    /// The route is not for the address of the client, or that address is unknown.
    AddressNotAllowed,
    /// A preflight for a request that the page may not send.
    Cors(CorsError),
    BodyTooLarge,
    BodyTimeout,
    /// The client sent more bytes after its request, before the response began.
    Pipelined,
    CredentialMissing,
    Intake(IntakeError),
    Authentication(Refusal),
    TooManyFailures {
        retry_after: Duration,
    },
    KeysUnavailable,
    /// The issuer did not introspect the token.
    IntrospectionUnavailable(Unavailable),
    /// The connection does not meet the route's requirements on client certificates.
    ClientCertificate(CertificateError),
    /// The credential is valid, but it has no subscription that allows the request.
    Subscription(SubscriptionError),
    /// The principal does not meet the rules of the route.
    Forbidden(Forbidden),
    LimitSpent(SpentLimit),
    /// The request carries a secret over a connection that others can read.
    ClearText,
    /// The control side is not running or did not respond.
    ControlUnavailable,
    /// The upstream requires an identity token, and Keygate could not sign it.
    IdentityTokenUnsigned,
    /// Keygate has no access token of its own for the upstream.
    NoUpstreamCredential,
    NoEndpoint,
    /// Every endpoint has all the requests that the upstream's settings allow.
    EndpointsBusy,
    ConnectFailed,
    /// This machine has nothing left to connect to an upstream with.
    NoResources,
    ConnectTimeout,
    UpstreamTimeout,
    UpstreamFailed,
    /// The client closed the connection, or stopped reading the response.
    ClientGone,
    Panicked,
}

reasons! {
    Denial {
        Self::MalformedChunk => "refused_by_parser",
        Self::Misdirected => "misdirected",
        Self::NoRoute => "no_route",
        Self::PathNearMiss => "path_near_miss",
        Self::ConditionsUnmet => "conditions_unmet",
        Self::MethodNotAllowed(_) => "method_not_allowed",
        Self::AddressNotAllowed => "address_not_allowed",
        Self::BodyTooLarge => "body_too_large",
        Self::BodyTimeout => "body_timeout",
        Self::Pipelined => "pipelined",
        Self::CredentialMissing => "credential_missing",
        Self::TooManyFailures { .. } => "too_many_failures",
        Self::KeysUnavailable => "keys_unavailable",
        Self::ClearText => "clear_text",
        Self::ControlUnavailable => "control_unavailable",
        Self::IdentityTokenUnsigned => "identity_token_unsigned",
        Self::NoUpstreamCredential => "no_upstream_credential",
        Self::NoEndpoint => "no_endpoint",
        Self::EndpointsBusy => "endpoints_busy",
        Self::ConnectFailed => "connect_failed",
        Self::NoResources => "no_resources",
        Self::ConnectTimeout => "connect_timeout",
        Self::UpstreamTimeout => "upstream_timeout",
        Self::UpstreamFailed => "upstream_failed",
        Self::ClientGone => "client_gone",
        Self::Panicked => "internal_error",
    }
    of {
        Connection(ConnectionError),
        Head(HeadError),
        Accept(AcceptError),
        AmbiguousField(AmbiguousField),
        Cors(CorsError),
        Intake(IntakeError),
        Authentication(Refusal),
        IntrospectionUnavailable(Unavailable),
        ClientCertificate(CertificateError),
        Subscription(SubscriptionError),
        Forbidden(Forbidden),
        LimitSpent(SpentLimit),
    }
}

macro_rules! denial_from {
    ($($error:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$error> for Denial {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}

denial_from! {
    ConnectionError => Connection,
    HeadError => Head,
    AcceptError => Accept,
    CorsError => Cors,
    IntakeError => Intake,
    CertificateError => ClientCertificate,
    SubscriptionError => Subscription,
    Forbidden => Forbidden,
    SpentLimit => LimitSpent,
}

impl From<MissingProof> for Denial {
    fn from(missing: MissingProof) -> Self {
        match missing {
            MissingProof::Keys => Self::KeysUnavailable,
            MissingProof::Introspection(unavailable) => Self::IntrospectionUnavailable(unavailable),
        }
    }
}
