//! The ways a request can travel through a gate. One test runs on several: the gate differs in its listener, and the
//! client in its protocol, and nothing else.

use super::http2_bridge::Http2Bridge;
use super::raw_client::Transport;
use super::tls_client;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// A way through a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// HTTP/1.1 in Keygate's own code.
    #[default]
    Own,
    /// The same over TLS.
    OwnTls,
    /// HTTP/1.1 in pingora's proxy with the filter.
    FilterHttp1,
    /// HTTP/2 in pingora's proxy with the filter.
    FilterHttp2,
}

thread_local! {
    /// The lane of the test that this thread runs.
    static CURRENT: Cell<Lane> = const { Cell::new(Lane::Own) };
}

/// The lanes of the gates of this process, by the address of the listener.
static BY_ADDRESS: Mutex<Option<HashMap<SocketAddr, Lane>>> = Mutex::new(None);

impl Lane {
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// Runs `test` on this lane.
    pub fn run(self, test: impl FnOnce()) {
        CURRENT.set(self);
        test();
        CURRENT.set(Self::Own);
    }

    /// Notes that the listener at `address` is of this lane.
    pub fn register(self, address: SocketAddr) {
        let mut lanes = BY_ADDRESS.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.get_or_insert_default().insert(address, self);
    }

    /// Returns the lane of the listener at `address`; [`Self::Own`] for every other server.
    pub fn of(address: SocketAddr) -> Self {
        let lanes = BY_ADDRESS.lock().unwrap_or_else(PoisonError::into_inner);
        lanes
            .as_ref()
            .and_then(|lanes| lanes.get(&address).copied())
            .unwrap_or_default()
    }

    /// Returns the keys of the listener, beside its address.
    pub fn listener_yaml(self) -> String {
        let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
        match self {
            Self::Own => String::new(),
            Self::OwnTls => format!(
                "    tls: {{ certificate: {:?}, private_key: {:?} }}\n",
                file("dev-tls.pem"),
                file("dev-tls.private.pem")
            ),
            Self::FilterHttp1 => "    http1: pingora\n".to_owned(),
            Self::FilterHttp2 => "    protocol: h2c\n".to_owned(),
        }
    }

    /// Connects to a listener of this lane; `None` for one that a plain TCP connection serves.
    pub fn connect(self, address: SocketAddr) -> Option<Transport> {
        match self {
            Self::Own | Self::FilterHttp1 => None,
            Self::OwnTls => {
                let config = Arc::new(tls_client::trusting_development());
                let session = tls_client::connect(&config, address, "localhost").expect("the handshake succeeds");
                Some(Transport::Tls(Box::new(session.stream)))
            }
            Self::FilterHttp2 => Some(Transport::Http2(Box::new(Http2Bridge::connect(address)))),
        }
    }
}

/// Makes tests of a function: one for each lane, or for each lane of the list. A comment says why a lane is left out.
macro_rules! lanes {
    ($test:ident) => {
        crate::support::lane::lanes!($test: own, own_tls, filter_http1, filter_http2);
    };
    ($test:ident: $($lane:ident),+) => {
        mod $test {
            $(
                #[test]
                fn $lane() {
                    crate::support::lane::$lane(super::$test);
                }
            )+
        }
    };
}
pub(crate) use lanes;

pub fn own(test: fn()) {
    Lane::Own.run(test);
}

pub fn own_tls(test: fn()) {
    Lane::OwnTls.run(test);
}

pub fn filter_http1(test: fn()) {
    Lane::FilterHttp1.run(test);
}

pub fn filter_http2(test: fn()) {
    Lane::FilterHttp2.run(test);
}
