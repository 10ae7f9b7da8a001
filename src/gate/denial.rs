//! Every reason not to forward a request.

use crate::gate::accept::AcceptError;
use crate::gate::accept::HeadError;
use crate::gate::admit::Spent;
use crate::gate::authenticate::Lack;
use crate::gate::authenticate::Refusal;
use crate::gate::authenticate::introspection::Unavailable;
use crate::gate::authorize::Forbidden;
use crate::gate::authorize::SubscriptionError;
use crate::gate::intake::IntakeError;
use http::Method;
use std::time::Duration;

/// Why a preflight is refused. A browser then does not send the request; what its page sees is a network error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorsError {
    #[error("pages of this origin may not call the route")]
    Origin,
    #[error("pages may not use the method")]
    Method,
    #[error("pages may not set one of the headers")]
    Header,
}

impl CorsError {
    /// Label value of a denial; a closed set.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Origin => "cors_origin",
            Self::Method => "cors_method",
            Self::Header => "cors_header",
        }
    }
}

/// Why a request was not forwarded, or not answered by its upstream. What the client is told stands in `answer/refusal/rows.rs`.
#[derive(Debug)]
pub enum Denial {
    /// The head is not HTTP that everyone reads alike, or it is too large.
    Head(HeadError),
    HeadTimeout,
    /// A head that passed our checks and cannot be read all the same, or chunks that are none.
    RefusedByParser,
    TooManyConnections,
    /// The request is ambiguous, or not one that is served anywhere.
    Accept(AcceptError),
    NoRoute,
    PathNearMiss,
    MethodNotAllowed(Box<[Method]>),
    /// A preflight for a page that may not send the request it asks about.
    Cors(CorsError),
    BodyTooLarge,
    BodyTimeout,
    /// The client sent more before it had its answer.
    Pipelined,
    CredentialMissing,
    Intake(IntakeError),
    Authentication(Refusal),
    TooManyFailures {
        retry_after: Duration,
    },
    KeysUnavailable,
    /// The issuer could not be asked, or said nothing.
    IntrospectionUnavailable(Unavailable),
    /// The credential is proved, and its subscription does not let it in.
    Subscription(SubscriptionError),
    /// Whose credential it is may not do this.
    Forbidden(Forbidden),
    LimitSpent(Spent),
    /// A secret would travel where others can read it.
    ClearText,
    /// What answers such requests is not there, or did not answer.
    ControlUnavailable,
    /// The upstream is to be told who called, and we cannot sign it.
    IdentityTokenUnsigned,
    NoEndpoint,
    ConnectFailed,
    ConnectTimeout,
    UpstreamTimeout,
    UpstreamFailed,
    /// The client went away; nobody reads the answer.
    ClientGone,
    Panicked,
}

impl Denial {
    /// One closed word, the same in metric, access record and refusal table.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Head(error) => error.reason(),
            Self::HeadTimeout => "head_timeout",
            Self::RefusedByParser => "refused_by_parser",
            Self::TooManyConnections => "too_many_connections",
            Self::Accept(error) => error.reason(),
            Self::NoRoute => "no_route",
            Self::PathNearMiss => "path_near_miss",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::Cors(error) => error.reason(),
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::Pipelined => "pipelined",
            Self::CredentialMissing => "credential_missing",
            Self::Intake(error) => error.reason(),
            Self::Authentication(refusal) => refusal.reason(),
            Self::TooManyFailures { .. } => "too_many_failures",
            Self::KeysUnavailable => "keys_unavailable",
            Self::IntrospectionUnavailable(unavailable) => unavailable.reason(),
            Self::Subscription(error) => error.reason(),
            Self::Forbidden(forbidden) => forbidden.reason(),
            Self::LimitSpent(_) => "limit_spent",
            Self::ClearText => "clear_text",
            Self::ControlUnavailable => "control_unavailable",
            Self::IdentityTokenUnsigned => "identity_token_unsigned",
            Self::NoEndpoint => "no_endpoint",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamFailed => "upstream_failed",
            Self::ClientGone => "client_gone",
            Self::Panicked => "internal_error",
        }
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
    HeadError => Head,
    AcceptError => Accept,
    CorsError => Cors,
    IntakeError => Intake,
    SubscriptionError => Subscription,
    Forbidden => Forbidden,
    Spent => LimitSpent,
}

impl From<Lack> for Denial {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Keys => Self::KeysUnavailable,
            Lack::Answer(unavailable) => Self::IntrospectionUnavailable(unavailable),
        }
    }
}
