//! Does HTTP/2 keep RFC 9113 and RFC 7541 frame by frame? These are the cases of the program h2spec for servers, with its
//! sections, written with frames, because that program is in Go and cannot be had everywhere.

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::lane::lanes;
use crate::support::raw_http2::CONTINUATION;
use crate::support::raw_http2::DATA;
use crate::support::raw_http2::END_HEADERS;
use crate::support::raw_http2::END_STREAM;
use crate::support::raw_http2::GOAWAY;
use crate::support::raw_http2::HEADERS;
use crate::support::raw_http2::PING;
use crate::support::raw_http2::RST_STREAM;
use crate::support::raw_http2::RawHttp2;
use crate::support::raw_http2::SETTINGS;
use crate::support::raw_http2::Verdict;
use crate::support::raw_http2::WINDOW_UPDATE;
use crate::support::raw_http2::block;
use crate::support::raw_http2::frame;
use crate::support::raw_http2::get;

const PRIORITY: u8 = 2;
const PUSH_PROMISE: u8 = 5;
const PADDED: u8 = 8;
const PRIORITY_FLAG: u8 = 0x20;

// RFC 9113 section 7.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;

/// Cases in which the library says PROTOCOL_ERROR where a more exact code exists. The connection ends in either case.
const LESS_EXACT: [&str; 13] = [
    "4.3 a field block that is none",
    "6.3 PRIORITY of another size",
    "6.4 RST_STREAM of another size",
    "6.5 SETTINGS with ACK and content",
    "6.5 SETTINGS of another size",
    "6.5.2 INITIAL_WINDOW_SIZE over its most",
    "6.7 PING of another size",
    "6.9 WINDOW_UPDATE of another size",
    "hpack 2.3.3 an index that is not there",
    "hpack 4.2 a change of the table's size at the end",
    "hpack 5.2 a text of Huffman codes with too much padding",
    "hpack 6.1 the index 0",
    "hpack 6.3 a table larger than the server's",
];

/// The duty of the server.
#[derive(Clone, Copy)]
enum Expected {
    /// Go on: the request on stream 101 is answered.
    Served,
    /// End the stream 1 or the connection, with one of these codes, or close the connection.
    Error(&'static [u32]),
}

use Expected::Error;
use Expected::Served;

/// A case: the section and the rule, the frames after the preface, and what the server has to do.
type Case = (&'static str, Vec<Vec<u8>>, Expected);

fn head() -> Vec<u8> {
    block(&get(b"/open/a", &[]))
}

fn post() -> Vec<u8> {
    let mut fields = get(b"/open/a", &[]);
    fields[0].1 = b"POST";
    block(&fields)
}

/// Returns a whole request on `stream`.
fn whole(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head())
}

/// Returns the head of a request on stream 1 whose body follows.
fn open() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &post())
}

fn setting(id: u8, value: u32) -> Vec<u8> {
    let mut payload = vec![0, id];
    payload.extend(value.to_be_bytes());
    frame(SETTINGS, 0, 0, &payload)
}

fn with(fields: &[(&[u8], &[u8])]) -> Vec<Vec<u8>> {
    vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))]
}

fn without(index: usize) -> Vec<Vec<u8>> {
    let mut fields = get(b"/open/a", &[]);
    fields.remove(index);
    with(&fields)
}

fn frames_and_streams() -> Vec<Case> {
    let reset = 8_u32.to_be_bytes();
    let protocol: Expected = Error(&[PROTOCOL_ERROR]);
    let size: Expected = Error(&[FRAME_SIZE_ERROR]);
    let closed: Expected = Error(&[STREAM_CLOSED, PROTOCOL_ERROR]);
    let large = vec![0; (1 << 14) + 1];
    let padded = |kind: u8, flags: u8, rest: &[u8]| frame(kind, PADDED | flags, 1, &[&[200][..], rest].concat());
    vec![
        (
            "4.1 a frame of an unknown type is ignored",
            vec![frame(0x16, 0, 0, b"12345678")],
            Served,
        ),
        (
            "4.1 unknown flags are ignored",
            vec![frame(PING, 0x16, 0, b"12345678")],
            Served,
        ),
        (
            "4.1 the reserved bit is ignored",
            vec![frame(PING, 0, 1 << 31, b"12345678")],
            Served,
        ),
        (
            "4.2 a frame of 2^14 bytes is taken",
            vec![open(), frame(DATA, END_STREAM, 1, &large[1..])],
            Served,
        ),
        (
            "4.2 a larger DATA is refused",
            vec![open(), frame(DATA, END_STREAM, 1, &large)],
            size,
        ),
        (
            "4.2 a larger HEADERS is refused",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &large)],
            size,
        ),
        (
            "4.3 a field block that is none",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x40, 0xFF, 0xFF, 0xFF])],
            Error(&[COMPRESSION_ERROR]),
        ),
        (
            "4.3 another frame within a field block",
            vec![
                frame(HEADERS, END_STREAM, 1, &head()),
                frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]),
            ],
            protocol,
        ),
        (
            "4.3 another stream's HEADERS within a field block",
            vec![frame(HEADERS, END_STREAM, 1, &head()), whole(3)],
            protocol,
        ),
        (
            "5.1 DATA on an idle stream",
            vec![frame(DATA, END_STREAM, 1, b"a")],
            closed,
        ),
        (
            "5.1 RST_STREAM on an idle stream",
            vec![frame(RST_STREAM, 0, 1, &reset)],
            protocol,
        ),
        (
            "5.1 WINDOW_UPDATE on an idle stream",
            vec![frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100])],
            protocol,
        ),
        (
            "5.1 CONTINUATION on an idle stream",
            vec![frame(CONTINUATION, END_HEADERS, 1, &head())],
            protocol,
        ),
        (
            "5.1 DATA after the end of a stream",
            vec![whole(1), frame(DATA, END_STREAM, 1, b"a")],
            closed,
        ),
        (
            "5.1 HEADERS after the end of a stream",
            vec![whole(1), whole(1)],
            closed,
        ),
        (
            "5.1 CONTINUATION after the end of a stream",
            vec![whole(1), frame(CONTINUATION, END_HEADERS, 1, &head())],
            closed,
        ),
        (
            "5.1 HEADERS after RST_STREAM",
            vec![open(), frame(RST_STREAM, 0, 1, &reset), whole(1)],
            closed,
        ),
        ("5.1.1 an even number", vec![whole(2)], protocol),
        ("5.1.1 a smaller number", vec![whole(5), whole(3)], closed),
        (
            "5.1.2 more streams at a time than the server allows",
            (0..=100)
                .map(|number| frame(HEADERS, END_HEADERS, 2 * number + 1, &post()))
                .chain([frame(HEADERS, END_HEADERS, 1 + 2 * 101, &post())])
                .collect(),
            Error(&[REFUSED_STREAM, PROTOCOL_ERROR]),
        ),
        (
            "5.5 an unknown frame within a field block",
            vec![frame(HEADERS, END_STREAM, 1, &head()), frame(0x16, 0, 0, b"12345678")],
            protocol,
        ),
        (
            "6.1 DATA on stream 0",
            vec![open(), frame(DATA, END_STREAM, 0, b"a")],
            protocol,
        ),
        (
            "6.1 more padding than DATA",
            vec![open(), padded(DATA, END_STREAM, b"a")],
            protocol,
        ),
        (
            "6.2 HEADERS on stream 0",
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 0, &head())],
            protocol,
        ),
        (
            "6.2 more padding than HEADERS",
            vec![padded(HEADERS, END_HEADERS | END_STREAM, b"a")],
            protocol,
        ),
        (
            "6.2 padding and priority are read over",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM | PADDED | PRIORITY_FLAG,
                1,
                &[&[2, 0, 0, 0, 0, 16][..], &head(), &[0, 0]].concat(),
            )],
            Served,
        ),
        (
            "6.3 PRIORITY on stream 0",
            vec![frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 255])],
            protocol,
        ),
        (
            "6.3 PRIORITY of another size",
            vec![whole(1), frame(PRIORITY, 0, 1, &[0, 0, 0])],
            size,
        ),
        (
            "6.4 RST_STREAM on stream 0",
            vec![frame(RST_STREAM, 0, 0, &reset)],
            protocol,
        ),
        (
            "6.4 RST_STREAM of another size",
            vec![open(), frame(RST_STREAM, 0, 1, &[0, 0, 0])],
            size,
        ),
        (
            "6.6 PUSH_PROMISE from a client",
            vec![
                open(),
                frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &head()].concat()),
            ],
            protocol,
        ),
        (
            "8.1 a second HEADERS that ends no stream",
            vec![open(), open()],
            protocol,
        ),
    ]
}

fn connections() -> Vec<Case> {
    let protocol: Expected = Error(&[PROTOCOL_ERROR]);
    let size: Expected = Error(&[FRAME_SIZE_ERROR]);
    let flow: Expected = Error(&[FLOW_CONTROL_ERROR]);
    let most = 0x7FFF_FFFF_u32.to_be_bytes();
    vec![
        (
            "6.5 SETTINGS with ACK and content",
            vec![frame(SETTINGS, END_STREAM, 0, &[0; 6])],
            size,
        ),
        (
            "6.5 SETTINGS on a stream",
            vec![frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100])],
            protocol,
        ),
        (
            "6.5 SETTINGS of another size",
            vec![frame(SETTINGS, 0, 0, &[0; 3])],
            size,
        ),
        ("6.5.2 ENABLE_PUSH of 2", vec![setting(2, 2)], protocol),
        (
            "6.5.2 INITIAL_WINDOW_SIZE over its most",
            vec![setting(4, 1 << 31)],
            flow,
        ),
        (
            "6.5.2 MAX_FRAME_SIZE below its least",
            vec![setting(5, (1 << 14) - 1)],
            protocol,
        ),
        (
            "6.5.2 MAX_FRAME_SIZE over its most",
            vec![setting(5, 1 << 24)],
            protocol,
        ),
        ("6.5.2 an unknown setting is ignored", vec![setting(0xFF, 1)], Served),
        (
            "6.7 PING with ACK gets no answer",
            vec![frame(PING, END_STREAM, 0, b"invalid.")],
            Served,
        ),
        ("6.7 PING on a stream", vec![frame(PING, 0, 1, b"12345678")], protocol),
        ("6.7 PING of another size", vec![frame(PING, 0, 0, b"123456")], size),
        ("6.8 GOAWAY on a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])], protocol),
        (
            "6.9 WINDOW_UPDATE of 0",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0; 4])],
            protocol,
        ),
        (
            "6.9 WINDOW_UPDATE of 0 on a stream",
            vec![open(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])],
            protocol,
        ),
        (
            "6.9 WINDOW_UPDATE of another size",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])],
            size,
        ),
        (
            "6.9.1 a window over its most",
            vec![frame(WINDOW_UPDATE, 0, 0, &most), frame(WINDOW_UPDATE, 0, 0, &most)],
            flow,
        ),
        (
            "6.9.1 a stream's window over its most",
            vec![
                open(),
                frame(WINDOW_UPDATE, 0, 1, &most),
                frame(WINDOW_UPDATE, 0, 1, &most),
            ],
            flow,
        ),
        (
            "6.10 CONTINUATION frames continue",
            {
                let head = head();
                vec![
                    frame(HEADERS, END_STREAM, 1, &head[..10]),
                    frame(CONTINUATION, 0, 1, &head[10..20]),
                    frame(CONTINUATION, END_HEADERS, 1, &head[20..]),
                ]
            },
            Served,
        ),
        (
            "6.10 CONTINUATION on stream 0",
            vec![
                frame(HEADERS, END_STREAM, 1, &head()),
                frame(CONTINUATION, END_HEADERS, 0, b""),
            ],
            protocol,
        ),
        (
            "6.10 CONTINUATION after the end of a field block",
            vec![open(), frame(CONTINUATION, END_HEADERS, 1, b"")],
            protocol,
        ),
        (
            "6.10 CONTINUATION after DATA",
            vec![
                open(),
                frame(DATA, 0, 1, b"a"),
                frame(CONTINUATION, END_HEADERS, 1, b""),
            ],
            protocol,
        ),
        (
            "7 RST_STREAM with an unknown code",
            vec![open(), frame(RST_STREAM, 0, 1, &[0, 0, 0, 0xFF])],
            Served,
        ),
    ]
}

fn requests() -> Vec<Case> {
    let protocol: Expected = Error(&[PROTOCOL_ERROR]);
    let compression: Expected = Error(&[COMPRESSION_ERROR]);
    let packed = |more: &[u8]| {
        vec![frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &[&head()[..], more].concat(),
        )]
    };
    let trailers = |fields: &[(&[u8], &[u8])]| {
        vec![
            open(),
            frame(DATA, 0, 1, b"a"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields)),
        ]
    };
    vec![
        (
            "8.2.1 a name in upper case",
            with(&get(b"/open/a", &[(b"X-A", b"1")])),
            protocol,
        ),
        (
            "8.3 an unknown pseudo-header",
            with(&get(b"/open/a", &[(b":test", b"1")])),
            protocol,
        ),
        (
            "8.3 a pseudo-header of responses",
            with(&get(b"/open/a", &[(b":status", b"200")])),
            protocol,
        ),
        // The library takes such trailers, and no trailer of a request is forwarded.
        (
            "8.3 a pseudo-header in trailers",
            trailers(&[(b":method", b"200")]),
            Served,
        ),
        ("8.1 trailers end the request", trailers(&[(b"x-a", b"1")]), Served),
        (
            "8.2.2 a connection field",
            with(&get(b"/open/a", &[(b"connection", b"keep-alive")])),
            protocol,
        ),
        (
            "8.2.2 TE other than trailers",
            with(&get(b"/open/a", &[(b"te", b"trailers, deflate")])),
            protocol,
        ),
        ("8.3.1 no :method", without(0), protocol),
        ("8.3.1 no :scheme", without(1), protocol),
        ("8.3.1 no :path", without(3), protocol),
        ("8.3.1 an empty :path", with(&get(b"", &[])), protocol),
        (
            "8.3.1 :scheme twice",
            with(&[get(b"/open/a", &[]), vec![(b":scheme", b"http")]].concat()),
            protocol,
        ),
        (
            "hpack 2.3.3 an index that is not there",
            packed(&[0xFF, 0x80, 0x01]),
            compression,
        ),
        (
            "hpack 4.2 a change of the table's size at the end",
            packed(&[0x20]),
            compression,
        ),
        (
            "hpack 5.2 a text of Huffman codes with too much padding",
            packed(&[0, 0x01, b'a', 0x82, 0x1F, 0xFF]),
            compression,
        ),
        ("hpack 6.1 the index 0", packed(&[0x80]), compression),
        (
            "hpack 6.3 a table larger than the server's",
            vec![frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[&[0x3F, 0xE2, 0x1F][..], &[0x3F, 0xFF, 0xFF, 0x7F], &head()].concat(),
            )],
            compression,
        ),
    ]
}

/// Starts a gate with a public route.
fn start() -> (LocalGate, FakeUpstream) {
    let upstream = FakeUpstream::start();
    let yaml = GatewayBuilder::new()
        .upstream("up", upstream.address())
        .route("open", "match: { path: \"/open/{*rest}\" }\npublic: true\nupstream: up")
        .yaml();
    let gate = LocalGate::start(&yaml);
    gate.wait_ready();
    (gate, upstream)
}

lanes!(every_rule_of_frames_is_kept: filter_http2);
fn every_rule_of_frames_is_kept() {
    let (gate, _upstream) = start();
    let mut wrong = Vec::new();
    let all = [frames_and_streams(), connections(), requests()].concat();
    assert!(all.len() > 60);
    for (rule, frames, expected) in all {
        let mut client = RawHttp2::connect(gate.data());
        for frame in frames {
            client.send(&frame);
        }
        // Ends what the case has left open.
        let verdict = match expected {
            Served => {
                client.request(101, &get(b"/open/a", &[]));
                client.verdict(101)
            }
            Error(_) => client.first_error(),
        };
        let is_right = match (expected, verdict) {
            (Served, verdict) => verdict == Verdict::Status(200),
            (Error(codes), Verdict::Reset(code) | Verdict::GoAway(code)) => {
                let is_exact = codes.contains(&code);
                is_exact != LESS_EXACT.contains(&rule) && (is_exact || code == PROTOCOL_ERROR)
            }
            (Error(_), Verdict::Closed) => true,
            (Error(_), Verdict::Status(status)) => status == 400,
            (Error(_), Verdict::Nothing) => false,
        };
        if !is_right {
            wrong.push(format!("{rule}: {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

lanes!(a_connection_without_the_preface_is_closed: filter_http2);
fn a_connection_without_the_preface_is_closed() {
    let (gate, _upstream) = start();
    let mut client = RawHttp2::silent(gate.data());
    client.send(b"INVALID CONNECTION PREFACE\r\n\r\n");
    client.wait_closed();
}
