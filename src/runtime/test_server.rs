//! How does a unit test call a server of this process? By a socket, with bytes that no HTTP client would send.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::pin::Pin;
use std::time::Duration;

/// Ends when the server should stop.
pub type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs `serve` on `listener` while `client` runs with the address, and returns the value that `client` returned.
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

/// Sends `request` and returns all bytes until the server closes the connection.
pub fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_ref()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}
