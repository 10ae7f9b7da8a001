//! Which endpoint of an upstream gets the next request?

pub mod endpoint;

pub use endpoint::EndpointState;

use crate::config;
use crate::model::names::Name;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// The endpoint for one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub address: SocketAddr,
    /// The position among the endpoints of the upstream.
    endpoint: usize,
}

/// An upstream in a snapshot: its settings and its endpoints. The state of the endpoints outlives the snapshot.
#[derive(Debug)]
pub struct Upstream {
    pub settings: config::Upstream,
    endpoints: Box<[Arc<EndpointState>]>,
    /// The number of choices so far.
    turn: Arc<AtomicUsize>,
}

impl Upstream {
    /// Returns an upstream. The upstreams of one name in successive snapshots share `turn`, so that a reload does not
    /// start over at the first endpoint.
    pub fn new(settings: config::Upstream, endpoints: Vec<Arc<EndpointState>>, turn: Arc<AtomicUsize>) -> Self {
        Self {
            settings,
            endpoints: endpoints.into(),
            turn,
        }
    }

    pub fn name(&self) -> &Name {
        &self.settings.name
    }

    /// Returns an address of the next endpoint in turn, skipping endpoints without an address; `None` if no endpoint
    /// has an address.
    pub fn choose(&self) -> Option<Choice> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..self.endpoints.len()).find_map(|offset| {
            let endpoint = turn.wrapping_add(offset) % self.endpoints.len();
            let address = self.endpoints[endpoint].address(turn)?;
            Some(Choice { address, endpoint })
        })
    }

    /// Returns the endpoint of `choice`, which this upstream has made.
    pub fn endpoint(&self, choice: Choice) -> Option<&EndpointState> {
        self.endpoints.get(choice.endpoint).map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamKind;
    use std::time::Duration;

    fn upstream(endpoints: Vec<Arc<EndpointState>>) -> Upstream {
        let settings = config::Upstream {
            name: "orders".parse().unwrap(),
            kind: UpstreamKind::Endpoints(Vec::new()),
            timeouts: config::Timeouts::default(),
            idle_timeout: Duration::from_secs(1),
            host: None,
            request_headers: Arc::default(),
            response_headers: Arc::default(),
            credential: None,
            connect_attempts: 2,
            protocol: config::UpstreamProtocol::Http1,
        };
        Upstream::new(settings, endpoints, Arc::default())
    }

    fn endpoint(port: u16) -> Arc<EndpointState> {
        Arc::new(EndpointState::new("127.0.0.1", port))
    }

    #[test]
    fn endpoints_are_chosen_in_turn() {
        let upstream = upstream(vec![endpoint(1), endpoint(2), endpoint(3)]);
        let ports: Vec<u16> = (0..6).map(|_| upstream.choose().unwrap().address.port()).collect();
        assert_eq!(ports, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn the_addresses_of_an_endpoint_are_chosen_in_turn() {
        let name = Arc::new(EndpointState::new("api.example", 80));
        let addresses: Vec<SocketAddr> = (1..=3).map(|last| ([192, 0, 2, last], 80).into()).collect();
        name.replace(addresses.clone());
        let upstream = upstream(vec![name]);
        let chosen: Vec<SocketAddr> = (0..6).map(|_| upstream.choose().unwrap().address).collect();
        assert_eq!(chosen, [addresses.clone(), addresses].concat());
    }

    #[test]
    fn an_endpoint_without_an_address_is_skipped() {
        let unresolved = Arc::new(EndpointState::new("no-such-name.invalid", 80));
        let upstream = upstream(vec![unresolved, endpoint(2)]);
        for _ in 0..4 {
            assert_eq!(upstream.choose().unwrap().address.port(), 2);
        }
    }

    #[test]
    fn without_an_endpoint_with_an_address_the_choice_is_none() {
        let unresolved = Arc::new(EndpointState::new("no-such-name.invalid", 80));
        assert!(upstream(vec![unresolved]).choose().is_none());
        assert!(upstream(Vec::new()).choose().is_none());
    }
}
