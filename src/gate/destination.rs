//! Which upstream gets a request, and by which settings? A route has one destination, or splits its traffic among several.

use crate::config;
use crate::config::HashKey;
use crate::config::HeaderRules;
use crate::gate::accept::Inbound;
use crate::gate::authenticate::Principal;
use crate::gate::upstream_credential::OwnCredential;
use crate::limit::key::source_of;
use crate::model::names::Name;
use crate::model::spread::spread;
use crate::observe::metrics::UpstreamMetrics;
use crate::upstream::Upstream;
use http::HeaderMap;
use http::HeaderValue;
use siphasher::sip::SipHasher13;
use std::net::IpAddr;
use std::sync::Arc;

/// An upstream of a route, with the settings of both. Routes that add nothing to those of the upstream share one.
pub struct Destination {
    pub upstream: Arc<Upstream>,
    /// The time limits of forwarded requests: those of the route, else of the upstream.
    pub timeouts: config::Timeouts,
    /// The rules for the fields of requests and of responses: those of the upstream, then those of the route.
    pub request_headers: HeaderRules,
    pub response_headers: HeaderRules,
    /// Keygate's own credential at the upstream.
    pub credential: Option<Arc<OwnCredential>>,
    pub metrics: Arc<UpstreamMetrics>,
}

/// The destinations of a route.
pub enum Destinations {
    One(Arc<Destination>),
    Split(Box<Split>),
}

/// Several destinations, each with its part of the traffic.
pub struct Split {
    first: Share,
    others: Box<[Share]>,
    key: HashKey,
}

struct Share {
    destination: Arc<Destination>,
    /// At least 1.
    weight: f64,
    /// The hash of the upstream's name.
    hash: u64,
}

/// The parts of a request that can decide where it goes.
#[derive(Clone, Copy)]
pub struct HashSource<'r> {
    pub principal: Option<&'r Principal>,
    pub headers: &'r HeaderMap,
    /// The address of the client, or of the proxy that does not report it.
    pub address: IpAddr,
}

impl Destinations {
    /// Returns the destinations of `settings`. Those with weight 0 get nothing.
    ///
    /// # Panics
    /// All have weight 0; `config::load` has refused that.
    pub fn split(settings: &config::Split, mut destination: impl FnMut(&Name) -> Arc<Destination>) -> Self {
        let mut shares = settings
            .shares
            .iter()
            .filter(|share| share.weight > 0)
            .map(|share| Share {
                destination: destination(&share.upstream),
                weight: share.weight.into(),
                hash: hash(share.upstream.as_str().as_bytes()),
            });
        let first = shares.next().expect("some upstream has a weight");
        let others: Box<[Share]> = shares.collect();
        if others.is_empty() {
            return Self::One(first.destination);
        }
        Self::Split(Box::new(Split {
            first,
            others,
            key: settings.key.clone(),
        }))
    }

    /// Returns the destination of a request. Requests with the same key have the same one, on every route with these weights
    /// and on every replica; a higher weight of one upstream moves keys to that one alone.
    pub fn choose(&self, inbound: &Inbound<'_>, principal: Option<&Principal>) -> &Arc<Destination> {
        match self {
            Self::One(destination) => destination,
            Self::Split(split) => {
                let source = HashSource::of(inbound, principal);
                split.choose(source.bytes(&split.key, &mut [0; 16]))
            }
        }
    }

    /// Returns the key that decides for a request among several destinations.
    pub fn key_of(&self, inbound: &Inbound<'_>, principal: Option<&Principal>) -> Option<HashKey> {
        match self {
            Self::One(_) => None,
            Self::Split(split) => {
                let source = HashSource::of(inbound, principal);
                let has_own = source.text(&split.key).is_some();
                Some(if has_own { split.key.clone() } else { HashKey::Address })
            }
        }
    }
}

impl Split {
    fn choose(&self, key: &[u8]) -> &Arc<Destination> {
        let hash = hash(key);
        let (mut chosen, mut least) = (&self.first, self.first.draw(hash));
        for share in &self.others {
            let draw = share.draw(hash);
            if draw < least {
                (chosen, least) = (share, draw);
            }
        }
        &chosen.destination
    }
}

impl Share {
    /// Returns the number that this destination draws for `key`; the least one wins. It is exponentially distributed with the
    /// weight as its rate, so that each destination wins as often as its weight says, and a change of one weight moves no key
    /// between the others (Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005).
    fn draw(&self, key: u64) -> f64 {
        let uniform = (f64::from((spread(key ^ self.hash) >> 32) as u32) + 0.5) / (f64::from(u32::MAX) + 1.0);
        -uniform.ln() / self.weight
    }
}

impl<'r> HashSource<'r> {
    fn of(inbound: &Inbound<'r>, principal: Option<&'r Principal>) -> Self {
        Self {
            principal,
            headers: inbound.headers(),
            address: inbound.client().known().unwrap_or_else(|| inbound.peer()),
        }
    }

    /// Returns the bytes for `key`: those that the request has, otherwise the client's address, which `buffer` holds. Of IPv6 it is
    /// the /64, which is a client's own: its other half changes from day to day (RFC 8981).
    pub fn bytes<'k>(&'k self, key: &HashKey, buffer: &'k mut [u8; 16]) -> &'k [u8] {
        if let Some(text) = self.text(key) {
            return text;
        }
        *buffer = match source_of(self.address) {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        buffer
    }

    /// Returns the text for `key`; `None` where the client's address takes its place.
    fn text(&self, key: &HashKey) -> Option<&[u8]> {
        match key {
            HashKey::Principal => self.principal.and_then(|principal| {
                let identity = principal.identity();
                let names = [&identity.subject, &identity.client_id, &identity.credential_id];
                names.into_iter().find_map(|name| name.as_deref()).map(str::as_bytes)
            }),
            HashKey::Address => None,
            HashKey::Header(name) => self.headers.get(name).map(HeaderValue::as_bytes),
        }
    }
}

/// Returns a hash that every version of Keygate returns, so that replicas agree. It guards nothing: a client that chooses its
/// own key chooses its upstream.
fn hash(bytes: &[u8]) -> u64 {
    SipHasher13::new().hash(bytes)
}

#[cfg(test)]
mod tests;
