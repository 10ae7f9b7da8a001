//! How does a unit test call a server in this process? Over a TCP socket, because no HTTP client sends malformed bytes.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::pin::Pin;
use std::time::Duration;

/// A future that ends when the server must stop.
pub type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs `serve` on `listener`, calls `client` with the address, stops the server, and returns the result of `client`.
pub fn with_server<T, S>(
    listener: TcpListener,
    serve: impl FnOnce(TcpListener, Stop) -> S + Send + 'static,
    client: impl FnOnce(SocketAddr) -> T,
) -> T
where
    S: Future<Output = io::Result<()>>,
{
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stopped = Box::pin(async {
            let _ = stopped.await;
        });
        runtime.block_on(serve(listener, stopped))
    });
    let result = client(address);
    drop(stop);
    server.join().unwrap().unwrap();
    result
}

/// Sends `request` and returns all bytes that the server sends before it closes the connection.
pub fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_ref()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}
