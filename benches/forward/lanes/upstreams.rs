//! Which upstreams does the bench of the lanes have? One of HTTP/1.1, and one that answers gRPC over HTTP/2.

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

/// Starts an upstream of HTTP/1.1 on the runtime of the client.
pub async fn start_http1() -> SocketAddr {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"answer\":true}";
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 8192];
                let mut filled = 0;
                loop {
                    match stream.read(&mut buffer[filled..]).await {
                        Ok(count @ 1..) => filled += count,
                        Ok(0) | Err(_) => return Ok::<_, io::Error>(()),
                    }
                    if buffer[..filled].ends_with(b"\r\n\r\n") {
                        filled = 0;
                        stream.write_all(ANSWER).await?;
                    }
                }
            });
        }
    });
    address
}

/// Starts an upstream that answers each request of HTTP/2 with a gRPC message.
pub async fn start_http2() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await?;
                while let Some(accepted) = connection.accept().await {
                    let (request, mut respond) = accepted?;
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        while let Some(data) = body.data().await {
                            let _ = body.flow_control().release_capacity(data?.len());
                        }
                        let head = http::Response::builder().header("content-type", "application/grpc");
                        let mut stream = respond.send_response(head.body(()).expect("a head"), false)?;
                        stream.send_data(Bytes::from_static(b"\0\0\0\0\x05reply"), false)?;
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", HeaderValue::from_static("0"));
                        stream.send_trailers(trailers)
                    });
                }
                Ok::<_, h2::Error>(())
            });
        }
    });
    address
}
