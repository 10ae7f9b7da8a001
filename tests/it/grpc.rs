//! Does gRPC pass through the gate as it is, with a client and a server of another library? Calls of all four kinds,
//! deadlines, trailers, and refusals as the client's library reads them.

use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::PATIENCE;
use crate::support::api_key;
use crate::support::issuer::claims_with;
use crate::support::issuer::identity_yaml;
use crate::support::issuer::token;
use crate::support::lane::lanes;
use crate::support::still_clock;
use bytes::Buf;
use bytes::BufMut;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::stream;
use http::uri::PathAndQuery;
use keygate::jose::sign::SigningKey;
use keygate::model::clock::Clock;
use serde_json::json;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::Codec;
use tonic::codec::DecodeBuf;
use tonic::codec::Decoder;
use tonic::codec::EncodeBuf;
use tonic::codec::Encoder;
use tonic::metadata::MetadataMap;
use tonic::metadata::MetadataValue;
use tonic::server::ClientStreamingService;
use tonic::server::NamedService;
use tonic::server::ServerStreamingService;
use tonic::server::StreamingService;
use tonic::server::UnaryService;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use tonic::transport::Server;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Texts = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// Messages that are texts.
#[derive(Clone, Copy, Default)]
struct TextCodec;

impl Codec for TextCodec {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for TextCodec {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(text.as_bytes());
        Ok(())
    }
}

impl Decoder for TextCodec {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let text = bytes.copy_to_bytes(bytes.remaining());
        String::from_utf8(text.to_vec())
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

/// The server. A message is sent when a call that never ends was cancelled.
#[derive(Clone)]
struct Orders {
    cancelled: mpsc::Sender<()>,
}

impl NamedService for Orders {
    const NAME: &'static str = "shop.Orders";
}

impl tower::Service<http::Request<Body>> for Orders {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        let mut grpc = tonic::server::Grpc::new(TextCodec);
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/shop.Orders/Get" | "/shop.Orders/Write" | "/shop.Orders/Hang" => grpc.unary(service, request).await,
                "/shop.Orders/List" => grpc.server_streaming(service, request).await,
                "/shop.Orders/Add" => grpc.client_streaming(service, request).await,
                _ => grpc.streaming(service, request).await,
            })
        })
    }
}

/// Sends a message when it is dropped.
struct DropSignal(mpsc::Sender<()>);

impl Drop for DropSignal {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn texts(of: impl Stream<Item = Result<String, Status>> + Send + 'static) -> Texts {
    Box::pin(of)
}

impl UnaryService<String> for Orders {
    type Response = String;
    type Future = Boxed<Result<Response<String>, Status>>;

    /// Answers with the text and the subject of the caller; `hang` never, `fail` with an error that has details.
    fn call(&mut self, request: Request<String>) -> Self::Future {
        let cancelled = self.cancelled.clone();
        Box::pin(async move {
            match request.get_ref().as_str() {
                "hang" => {
                    let _signal = DropSignal(cancelled);
                    std::future::pending().await
                }
                "fail" => {
                    let mut details = MetadataMap::new();
                    details.insert("x-detail", MetadataValue::from_static("17"));
                    details.insert("x-keygate-subject", MetadataValue::from_static("forged"));
                    Err(Status::with_metadata(Code::FailedPrecondition, "sold out: ä", details))
                }
                text => {
                    let caller = request.metadata().get("x-keygate-credential-type");
                    let caller = caller.map_or("nobody", |caller| caller.to_str().unwrap());
                    let mut response = Response::new(format!("{text} for {caller}"));
                    response
                        .metadata_mut()
                        .insert("x-served", MetadataValue::from_static("here"));
                    Ok(response)
                }
            }
        })
    }
}

impl ServerStreamingService<String> for Orders {
    type Response = String;
    type ResponseStream = Texts;
    type Future = Boxed<Result<Response<Texts>, Status>>;

    /// Sends three texts, then an error.
    fn call(&mut self, _request: Request<String>) -> Self::Future {
        let items = ["a", "b", "c"].map(|text| Ok(text.to_owned()));
        let end = Err(Status::out_of_range("no more"));
        Box::pin(async move { Ok(Response::new(texts(stream::iter(items.into_iter().chain([end]))))) })
    }
}

impl ClientStreamingService<String> for Orders {
    type Response = String;
    type Future = Boxed<Result<Response<String>, Status>>;

    /// Answers with all texts, joined.
    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        Box::pin(async move {
            let mut all = Vec::new();
            let mut received = request.into_inner();
            while let Some(text) = received.next().await {
                all.push(text?);
            }
            Ok(Response::new(all.join("+")))
        })
    }
}

impl StreamingService<String> for Orders {
    type Response = String;
    type ResponseStream = Texts;
    type Future = Boxed<Result<Response<Texts>, Status>>;

    /// Answers each text before the next comes.
    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let replies = request.into_inner().map(|text| text.map(|text| format!("re {text}")));
        Box::pin(async move { Ok(Response::new(texts(replies))) })
    }
}

/// A gate in front of the server, and a client.
struct Site {
    runtime: Runtime,
    gate: LocalGate,
    channel: Channel,
    cancelled: mpsc::Receiver<()>,
    signer: SigningKey,
    key: String,
    expires: u64,
}

impl Site {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (cancel, cancelled) = mpsc::channel();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let upstream = listener.local_addr().unwrap();
        let incoming = stream::unfold(listener, |listener| async move {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let service = Orders { cancelled: cancel };
        runtime.spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let signer = SigningKey::generate_es256().unwrap();
        let (key, entry) = api_key("scopes: [\"orders:read\"]");
        let clock = still_clock();
        let expires = clock.now().wall.as_unix_secs() + 4;
        let gate = LocalGate::start_at(
            &clock,
            &config(upstream),
            &[
                ("key.pem", &signer.public_pem()),
                ("keys.yaml", &format!("keys:\n{entry}")),
            ],
        );
        gate.wait_ready();
        let inside = runtime.enter();
        let channel = Endpoint::from_shared(format!("http://{}", gate.data()))
            .unwrap()
            .connect_lazy();
        drop(inside);
        let key = key.expose().to_owned();
        Self {
            runtime,
            gate,
            channel,
            cancelled,
            signer,
            key,
            expires,
        }
    }

    fn client(&self) -> Grpc<Channel> {
        let mut client = Grpc::new(self.channel.clone());
        self.wait(client.ready()).unwrap();
        client
    }

    /// Waits for `future`, for a limited time.
    #[track_caller]
    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let limited = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, future).await });
        limited.expect("it ends in time")
    }

    /// Returns a request with the API key.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-api-key", self.key.parse().unwrap());
        request
    }

    fn call(&self, method: &'static str, request: Request<String>) -> Result<Response<String>, Status> {
        self.wait(self.client().unary(request, path(method), TextCodec))
    }
}

fn path(method: &str) -> PathAndQuery {
    format!("/shop.Orders/{method}").parse().unwrap()
}

fn config(upstream: SocketAddr) -> String {
    let route = |name: &str, method: &str, more: &str| {
        let path = format!("match: {{ path: \"/shop.Orders/{method}\" }}");
        (
            name.to_owned(),
            format!("{path}\naccept: [jwt, api_key]\nupstream: orders\n{more}"),
        )
    };
    let mut builder = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .top("failed_authentication: off")
        .top("requests: { body_read_timeout: 1s }")
        .issuer(
            "main",
            &format!("{}\npublic_key_files: [key.pem]\nclock_skew: 0s", identity_yaml()),
        )
        .limit("once", "by: credential\nquota: 1/hour\nburst: 1")
        .upstream_with("orders", &format!("endpoints: [\"{upstream}\"]\nprotocol: h2c"))
        .upstream_with("gone", "endpoints: [\"nobody.invalid:80\"]\nprotocol: h2c");
    for (name, yaml) in [
        route("write", "Write", "scopes: { all: [\"orders:write\"] }"),
        route("once", "Once", "limits: [once]"),
        route("gone", "Gone", "").clone(),
        route("all", "{method}", ""),
    ] {
        let yaml = if name == "gone" {
            yaml.replace("upstream: orders", "upstream: gone")
        } else {
            yaml
        };
        builder = builder.route(&name, &yaml);
    }
    builder.yaml()
}

lanes!(calls_of_all_four_kinds_pass_with_their_metadata: filter_http2);
fn calls_of_all_four_kinds_pass_with_their_metadata() {
    let site = Site::start();
    let response = site.call("Get", site.request("tea".to_owned())).unwrap();
    assert_eq!(response.metadata().get("x-served").unwrap(), "here");
    assert!(response.metadata().get("x-request-id").is_some());
    assert_eq!(response.into_inner(), "tea for api_key");

    // The error of the server is the client's, with its details, and without what only Keygate may say.
    let failed = site.call("Get", site.request("fail".to_owned())).unwrap_err();
    assert_eq!(
        (failed.code(), failed.message()),
        (Code::FailedPrecondition, "sold out: ä")
    );
    assert_eq!(failed.metadata().get("x-detail").unwrap(), "17");

    let mut client = site.client();
    let list = client.server_streaming(site.request(String::new()), path("List"), TextCodec);
    let mut list = site.wait(list).unwrap().into_inner();
    let mut seen = Vec::new();
    let end = loop {
        match site.wait(list.message()) {
            Ok(Some(text)) => seen.push(text),
            Ok(None) => panic!("it ended without its error"),
            Err(status) => break status,
        }
    };
    assert_eq!(seen, ["a", "b", "c"]);
    assert_eq!((end.code(), end.message()), (Code::OutOfRange, "no more"));

    let parts = stream::iter(["1", "2", "3"].map(str::to_owned));
    let mut client = site.client();
    let sum = client.client_streaming(site.request(parts), path("Add"), TextCodec);
    assert_eq!(site.wait(sum).unwrap().into_inner(), "1+2+3");
}

/// Returns the two ends of a client's messages.
fn conversation() -> (
    tokio::sync::mpsc::Sender<String>,
    impl Stream<Item = String> + Send + 'static,
) {
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let messages = stream::unfold(receive, |mut receive: tokio::sync::mpsc::Receiver<String>| async move {
        Some((receive.recv().await?, receive))
    });
    (send, messages)
}

lanes!(messages_go_both_ways_one_by_one: filter_http2);
fn messages_go_both_ways_one_by_one() {
    let site = Site::start();
    let (send, messages) = conversation();
    let mut client = site.client();
    send.try_send("first".to_owned()).unwrap();
    let talk = client.streaming(site.request(messages), path("Talk"), TextCodec);
    let mut replies = site.wait(talk).unwrap().into_inner();
    assert_eq!(site.wait(replies.message()).unwrap().unwrap(), "re first");
    for text in ["second", "third"] {
        // Sent only now: nothing on the way waits for more.
        site.wait(send.send(text.to_owned())).unwrap();
        assert_eq!(site.wait(replies.message()).unwrap().unwrap(), format!("re {text}"));
    }
    drop(send);
    assert_eq!(site.wait(replies.message()).unwrap(), None);
}

lanes!(a_client_may_be_silent_for_as_long_as_its_stream_lasts: filter_http2);
fn a_client_may_be_silent_for_as_long_as_its_stream_lasts() {
    let site = Site::start();
    let (send, messages) = conversation();
    let mut client = site.client();
    send.try_send("first".to_owned()).unwrap();
    let mut replies = site
        .wait(client.streaming(site.request(messages), path("Talk"), TextCodec))
        .unwrap()
        .into_inner();
    assert_eq!(site.wait(replies.message()).unwrap().unwrap(), "re first");
    // `body_read_timeout` is a second.
    let silence = site.wait(async { tokio::time::timeout(Duration::from_millis(2_500), replies.message()).await });
    assert!(silence.is_err(), "{silence:?}");
    send.try_send("second".to_owned()).unwrap();
    assert_eq!(site.wait(replies.message()).unwrap().unwrap(), "re second");
}

lanes!(a_deadline_ends_the_call_on_both_sides: filter_http2);
fn a_deadline_ends_the_call_on_both_sides() {
    let site = Site::start();
    let mut request = site.request("hang".to_owned());
    request.set_timeout(Duration::from_millis(300));
    let status = site.call("Hang", request).unwrap_err();
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{status:?}"
    );
    site.cancelled
        .recv_timeout(PATIENCE)
        .expect("the server's call is cancelled");
}

lanes!(refusals_are_what_the_clients_library_expects: filter_http2);
fn refusals_are_what_the_clients_library_expects() {
    let site = Site::start();
    let bearer = |claims: serde_json::Value| format!("Bearer {}", token(&site.signer, &claims_with(claims)));
    let with = |fields: &[(&'static str, &str)]| {
        let mut request = Request::new("tea".to_owned());
        for (name, value) in fields {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        request
    };
    let good = bearer(json!({ "iat": site.expires - 60, "exp": site.expires }));
    for (method, fields, code) in [
        ("Get", vec![], Code::Unauthenticated),
        ("Get", vec![("authorization", "Bearer a.b.c")], Code::Unauthenticated),
        ("Get", vec![("x-api-key", "kg_live_wrong")], Code::Unauthenticated),
        (
            "Get",
            vec![("authorization", good.as_str()), ("x-api-key", site.key.as_str())],
            Code::InvalidArgument,
        ),
        ("Write", vec![("x-api-key", site.key.as_str())], Code::PermissionDenied),
        ("Gone", vec![("x-api-key", site.key.as_str())], Code::Unavailable),
        ("a/b", vec![("x-api-key", site.key.as_str())], Code::Unimplemented),
    ] {
        let status = site.call(method, with(&fields)).unwrap_err();
        assert_eq!(status.code(), code, "{method} {fields:?}: {status:?}");
        assert!(!status.message().is_empty(), "{method}");
    }
    let key = [("x-api-key", site.key.as_str())];
    let talk = |site: &Site| {
        let mut client = site.client();
        let one = with(&key).map(|text| stream::iter([text]));
        site.wait(client.streaming(one, path("Once"), TextCodec)).map(drop)
    };
    assert!(talk(&site).is_ok());
    assert_eq!(talk(&site).unwrap_err().code(), Code::ResourceExhausted);
}

lanes!(s038_a_stream_ends_with_its_credential: filter_http2);
fn s038_a_stream_ends_with_its_credential() {
    let site = Site::start();
    let (send, messages) = conversation();
    let claims = claims_with(json!({ "iat": site.expires - 60, "exp": site.expires }));
    let mut request = Request::new(messages);
    let bearer = format!("Bearer {}", token(&site.signer, &claims));
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    let mut client = site.client();
    send.try_send("first".to_owned()).unwrap();
    let mut replies = site
        .wait(client.streaming(request, path("Talk"), TextCodec))
        .unwrap()
        .into_inner();
    assert_eq!(site.wait(replies.message()).unwrap().unwrap(), "re first");
    let ended = site.wait(replies.message()).unwrap_err();
    assert_eq!(ended.code(), Code::Cancelled, "{ended:?}");
    let record = site.gate.wait_access_records(1).remove(0);
    assert_eq!(record["reason"], "stream_ended_with_credential");
    drop(send);
}
