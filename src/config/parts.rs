//! Which converted parts does a configuration have, for checks that need several of them?

use crate::config::AcceptedCredential;
use crate::config::ApiKeys;
use crate::config::Issuer;
use crate::config::Limit;
use crate::config::Listener;
use crate::config::RequestLimits;
use crate::config::Resource;
use crate::config::Route;
use crate::config::TokenEndpoint;
use crate::config::Upstream;
use crate::config::read::TypedNode;
use crate::config::route::LocatedRoute;
use crate::model::names::Name;
use crate::model::plan::Plan;
use http::HeaderName;
use http::header;
use std::collections::BTreeMap;

/// The converted parts of a configuration.
pub(in crate::config) struct Parts<'a> {
    pub listeners: &'a [TypedNode<Listener>],
    pub requests: &'a RequestLimits,
    pub issuers: &'a BTreeMap<Name, Issuer>,
    pub api_keys: &'a ApiKeys,
    pub limits: &'a BTreeMap<Name, Limit>,
    pub upstreams: &'a BTreeMap<Name, Upstream>,
    pub resources: &'a BTreeMap<Name, Resource>,
    pub plans: &'a BTreeMap<Name, Plan>,
    pub token_endpoint: Option<&'a TokenEndpoint>,
    pub routes: &'a [LocatedRoute],
    pub has_store: bool,
}

impl Parts<'_> {
    /// Returns whether API keys come from the store alone.
    pub(in crate::config) fn keys_are_in_store_alone(&self) -> bool {
        self.has_store && self.api_keys.file.is_none()
    }

    /// Returns whether API keys come from the keys file alone.
    pub(in crate::config) fn keys_are_in_file_alone(&self) -> bool {
        !self.has_store && self.api_keys.file.is_some()
    }

    /// Returns the routes that ask for a credential: rules and defaults hold on these.
    pub(in crate::config) fn protected(&self) -> impl Iterator<Item = &LocatedRoute> {
        self.routes.iter().filter(|located| !located.route.accept.is_empty())
    }

    /// Returns the headers in which a request to `route` may carry its credential.
    pub(in crate::config) fn credential_headers<'p>(
        &'p self,
        route: &'p Route,
    ) -> impl Iterator<Item = &'p HeaderName> {
        let takes_keys = route.public || route.accept.contains(&AcceptedCredential::ApiKey);
        let takes_bearer = route.public || self.api_keys.bearer || route.accept.contains(&AcceptedCredential::Jwt);
        let issuers = route.issuers.iter().filter_map(|name| self.issuers.get(name));
        let tokens = issuers.filter_map(|issuer| issuer.token_header.as_ref());
        let key = takes_keys.then_some(&self.api_keys.header);
        let bearer = takes_bearer.then_some(&header::AUTHORIZATION);
        key.into_iter().chain(bearer).chain(tokens)
    }

    /// Returns the issuers of tokens that the route accepts.
    pub(in crate::config) fn trusted<'p>(&'p self, located: &'p LocatedRoute) -> impl Iterator<Item = &'p Issuer> {
        located.route.issuers.iter().filter_map(|name| self.issuers.get(name))
    }
}
