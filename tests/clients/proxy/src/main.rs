//! shop-proxy CONFIG DATA-ADDRESS METRICS-ADDRESS: `shop.rs` is the example of the library's documentation; this file
//! serves its metrics beside it, for the test.

// Not in this folder: the crate that is published leaves other packages out, and its documentation shows the file.
#[path = "../../shop.rs"]
mod shop;

use async_trait::async_trait;
use http::Response;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::services::listening::Service;
use prometheus::Registry;
use prometheus::TextEncoder;

struct Metrics(Registry);

#[async_trait]
impl ServeHttp for Metrics {
    async fn response(&self, _session: &mut ServerSession) -> Response<Vec<u8>> {
        let text = TextEncoder::new().encode_to_string(&self.0.gather()).expect("metrics are text");
        Response::builder()
            .header("content-length", text.len())
            .body(text.into_bytes())
            .expect("a length is a header")
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, data, metrics] = &arguments[..] else {
        return Err("usage: shop-proxy CONFIG DATA-ADDRESS METRICS-ADDRESS".into());
    };
    let (mut server, filter) = shop::serve(config, data)?;
    let registry = Registry::new();
    filter.register_metrics(&registry)?;
    let mut service = Service::new("metrics".to_owned(), Metrics(registry));
    service.add_tcp(metrics);
    server.add_service(service);
    server.run_forever();
}
