//! From the text of a configuration file to [`Config`], or to every mistake in it at once.
//!
//! Each section file holds its serde mirror (private), its type and the way between. [`load`] is the one entrance.

pub mod admin;
pub mod api_keys;
pub mod issuer;
pub mod limit;
pub mod listener;
pub mod observe;
pub mod route;
pub mod upstream;

pub use admin::Admin;
pub use api_keys::ApiKeys;
pub use issuer::{Issuer, KeySource};
pub use limit::{Limit, LimitBy, RateLimitHeaders};
pub use listener::{Listener, RequestLimits};
pub use observe::{LogFormat, Observe};
pub use route::{Accept, PathPattern, Route};
pub use upstream::{Endpoint, Upstream, UpstreamKind};

use crate::model::names::Name;
use std::collections::BTreeMap;

/// A whole configuration, every value typed and every name resolved: `Snapshot::compile` has nothing left to refuse.
#[derive(Clone, Debug)]
pub struct Config {
    pub listeners: Vec<Listener>,
    /// Bounds on what one connection and one request may cost, for every listener.
    pub requests: RequestLimits,
    pub admin: Option<Admin>,
    pub observe: Observe,
    /// Whose `X-Forwarded-*`, `Forwarded` and client address are believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    pub issuers: BTreeMap<Name, Issuer>,
    pub api_keys: ApiKeys,
    pub limits: BTreeMap<Name, Limit>,
    /// Failed authentications per source address.
    pub failed_authentication: Option<crate::model::plan::Quota>,
    pub rate_limit_headers: RateLimitHeaders,
    pub upstreams: BTreeMap<Name, Upstream>,
    pub routes: Vec<Route>,
}
