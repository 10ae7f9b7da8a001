//! Does an endpoint that was ejected answer again?
//!
//! A request of a client would find out too, but could be the one that it fails. The probe asks for nothing of the API:
//! `OPTIONS *` is the request for that (RFC 9110 section 9.3.7), and any response to it will do. A server of HTTP/2 sends its
//! settings to each new connection (RFC 9113 section 3.4).

use crate::gate::Gate;
use crate::proxy::health_check;
use crate::proxy::peer;
use crate::upstream::Probe;
use crate::upstream::StateChange;
use crate::upstream::Upstream;
use pingora::connectors::TransportConnector;
use pingora::protocols::ALPN;
use pingora::protocols::Stream;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// The time in which a probe is answered. A slow endpoint is no help to others that have its requests.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The beginning of a response (RFC 9112 section 4).
const HTTP1: &[u8] = b"HTTP/1.";

/// The preface of a connection of HTTP/2 with an empty SETTINGS frame (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The length of a frame's head, and the place and value of its type where it is SETTINGS (RFC 9113 sections 4.1 and 6.5).
const FRAME_HEAD_BYTES: usize = 9;
const FRAME_TYPE: usize = 3;
const SETTINGS: u8 = 4;

/// The connector of probes: their connections are never shared with requests.
static CONNECTOR: LazyLock<TransportConnector> = LazyLock::new(|| TransportConnector::new(None));

/// Probes an endpoint of `upstream`, and puts it back into service if it answers.
pub async fn probe(gate: Arc<Gate>, upstream: Arc<Upstream>, probe: Probe) {
    let answers = match &upstream.settings.health {
        // A server that is ill may answer nevertheless.
        Some(check) => health_check::check(&upstream, check, &probe).await.is_ok(),
        None => timeout(PROBE_TIMEOUT, answers(&upstream, &probe))
            .await
            .unwrap_or_default(),
    };
    let change = upstream.note_probe(&probe.endpoint, answers, gate.clock.now().tick);
    if let Some(StateChange::Serves { failures }) = change {
        tracing::info!(
            upstream = upstream.name().as_str(),
            endpoint = %probe.endpoint.address(),
            failures,
            "Endpoint serves again"
        );
    }
}

/// Checks an endpoint of `upstream` as its settings say.
pub async fn check(gate: Arc<Gate>, upstream: Arc<Upstream>, probe: Probe) {
    let Some(settings) = &upstream.settings.health else {
        return;
    };
    let result = health_check::check(&upstream, settings, &probe).await;
    let problem = result.as_ref().err().cloned();
    let (upstream_name, endpoint) = (upstream.name().as_str(), probe.endpoint.address());
    match upstream.note_check(&probe.endpoint, result, gate.clock.now().tick) {
        Some(true) => tracing::info!(upstream = upstream_name, %endpoint, "Endpoint passes its health check again"),
        Some(false) => {
            tracing::warn!(upstream = upstream_name, %endpoint, problem, "Endpoint fails its health check");
        }
        None => {}
    }
}

/// Returns whether the endpoint answers in the protocol of `upstream`.
async fn answers(upstream: &Upstream, probe: &Probe) -> bool {
    let peer = peer::connecting(
        probe.endpoint.address(),
        probe.tls.as_deref(),
        &upstream.settings.timeouts,
        PROBE_TIMEOUT,
    );
    let Ok(mut peer) = peer else {
        return false;
    };
    let is_http2 = upstream.settings.speaks_http2();
    if is_http2 {
        peer.options.alpn = ALPN::H2;
    }
    let Ok(mut stream) = CONNECTOR.new_stream(&peer).await else {
        return false;
    };
    let host = probe.tls.as_ref().map_or("localhost", |tls| tls.server_name());
    if is_http2 {
        answers_http2(&mut stream).await
    } else {
        answers_http1(&mut stream, host).await
    }
}

async fn answers_http1(stream: &mut Stream, host: &str) -> bool {
    let request = format!("OPTIONS * HTTP/1.1\r\nhost: {host}\r\nuser-agent: keygate\r\nconnection: close\r\n\r\n");
    let mut start = [0; HTTP1.len()];
    write(stream, request.as_bytes()).await && stream.read_exact(&mut start).await.is_ok() && start == *HTTP1
}

async fn answers_http2(stream: &mut Stream) -> bool {
    let mut head = [0; FRAME_HEAD_BYTES];
    write(stream, HTTP2_PREFACE).await && stream.read_exact(&mut head).await.is_ok() && head[FRAME_TYPE] == SETTINGS
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
}
