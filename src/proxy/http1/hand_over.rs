//! How does a request of an HTTP/1.1 client reach pingora's proxy? With its head, which was read and checked already, and
//! with its exchange, so that nothing is decided twice.

use crate::proxy::exchange::Exchange;
use crate::proxy::filter::ExchangeSlot;
use crate::proxy::filter::guard;
use crate::proxy::http1::buffer::Buffer;
use crate::proxy::http1::downstream::Downstream;
use crate::proxy::http1::response_head::put;
use bytes::BytesMut;
use http::Version;
use http::request::Parts;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::proxy::ProxyHttp;
use pingora::server::ShutdownWatch;
use std::sync::Arc;

/// A request whose head was read.
pub struct HandOver {
    pub exchange: Box<Exchange>,
    /// `true` if the connection may carry another request.
    pub is_persistent: bool,
}

/// Has `proxy` carry the request on `downstream`. Returns the connection if it may carry another request.
pub async fn hand_over<P>(
    proxy: &Arc<HttpProxy<P>>,
    request: HandOver,
    downstream: Downstream,
    shutdown: &ShutdownWatch,
) -> Option<Downstream>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let mut head = Buffer::default();
    write_head(request.exchange.request(), &mut head);
    // The part of the body that has arrived.
    head.put(&downstream.read_buf);
    let mut session = ServerSession::new_http1(downstream.stream);
    session.set_pipelined_prefix(BytesMut::from(&head[..]));
    let slot = ExchangeSlot::of_exchange(request.exchange, request.is_persistent);
    let reused = guard::carry(proxy, session, &slot, shutdown).await?;
    let (stream, _) = reused.consume();
    Some(Downstream::new(stream))
}

/// Writes the head as the client sent it, but for the case of names and the space around values.
fn write_head(request: &Parts, out: &mut Buffer) {
    out.put(request.method.as_str().as_bytes());
    out.put(b" ");
    // In the form that was received: the parser keeps an absolute target apart.
    out.put(request.uri.to_string().as_bytes());
    out.put(match request.version {
        Version::HTTP_10 => b" HTTP/1.0\r\n",
        _ => b" HTTP/1.1\r\n",
    });
    for (name, value) in &request.headers {
        put(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.put(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http1::request;
    use bytes::Bytes;

    #[test]
    fn a_head_is_written_as_it_was_read() {
        for head in [
            "GET /a%2Fb?c=d%20 HTTP/1.1\r\nhost: a.example\r\nx-a: 1\r\nx-a: 2\r\nempty: \r\n\r\n",
            "POST / HTTP/1.0\r\ncontent-length: 3\r\n\r\n",
            "GET http://a.example:80/b?c HTTP/1.1\r\nhost: a.example:80\r\n\r\n",
        ] {
            let parts = request::parse(&Bytes::copy_from_slice(head.as_bytes())).unwrap();
            let mut out = Buffer::default();
            write_head(&parts, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), head);
        }
    }
}
