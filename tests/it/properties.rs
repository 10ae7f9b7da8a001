//! Do the `invariants` hold for input that resembles attacks?
//! `tests/fuzz` searches further; its seeds are checked here too.

use crate::invariants;
use proptest::prelude::*;
use std::path::Path;

fn fragments(list: &'static [&'static str], noise: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![4 => prop::sample::select(list).prop_map(str::to_owned), 1 => noise.prop_map(|text| text)]
}

/// Generates paths from pieces that two parsers may read differently.
fn path() -> impl Strategy<Value = String> {
    let piece = fragments(
        &[
            "/",
            "//",
            ".",
            "..",
            "%2e",
            "%2F",
            "%2f",
            "%25",
            "%252e",
            "%5c",
            ";",
            "%3B",
            "%C3%A9",
            "%00",
            "a",
            "%20",
            "ADMIN",
            "admin",
            "%61dmin",
            "keys",
            "%E2%84%AAeys",
            "key%C5%BF",
            "|",
            "%c0",
            "\\",
            "é",
            "%32",
            "?",
            "#",
            "x",
        ],
        "[a-zA-Z0-9%/.;]{0,4}",
    );
    prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// Generates queries from pieces of the names that are looked for, and from what separates and escapes.
fn query() -> impl Strategy<Value = String> {
    let piece = fragments(
        &[
            "version",
            "%76ersion",
            "dry+run",
            "dry%20run",
            "%C3%A9",
            "%c3%a9",
            "a%26b",
            "x%3Dy",
            "x=y",
            "=",
            "=",
            "&",
            "&",
            ";",
            "%3B",
            "%26",
            "%",
            "%2",
            "%ff",
            "%00",
            "+",
            "1",
            "VERSION",
            "version[]",
        ],
        "[a-z0-9%=&;+]{0,4}",
    );
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Generates heads from valid and nearly valid lines.
fn head() -> impl Strategy<Value = String> {
    let start = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "POST /a?b HTTP/1.1",
        "GET / HTTP/1.0",
        "GET http://a/ HTTP/1.1",
        "get /%41|{} HTTP/1.1",
        "GET * HTTP/1.1",
        "GET  / HTTP/1.1",
        "M!X //a;b[] HTTP/1.1",
        "GET http://A?x HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
    ]);
    let line = prop::sample::select(vec![
        "Host: a",
        "Host: B:80",
        "host:a",
        "Host: A",
        "Host: [::0]",
        "Content-Length: 5",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "X: y ",
        "X : y",
        " fold",
        "Expect: 100-continue",
        "Upgrade: websocket",
        "Connection: upgrade",
        "Connection: x-forwarded-for",
        "X-é: 1",
        "X: café",
        "Authorization: Bearer a",
        "x_api_key: k",
        "A: \t b\t c",
        "X:\0",
        "X: a\rb",
    ]);
    let ending = prop_oneof![8 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
    let after = prop::sample::select(vec!["", "hello", "GET / HTTP/1.1\r\n\r\n", "\r\n\r\n"]);
    (start, prop::collection::vec((line, ending), 0..6), after).prop_map(|(start, fields, after)| {
        let fields: String = fields
            .into_iter()
            .map(|(line, ending)| format!("{line}{ending}"))
            .collect();
        format!("{start}\r\n{fields}\r\n{after}")
    })
}

/// Generates values of credential headers.
fn credential() -> impl Strategy<Value = String> {
    let piece = fragments(
        &[
            "Bearer",
            "bearer",
            "Basic",
            " ",
            "  ",
            "\t",
            ",",
            ", ",
            "abc",
            "a.b.c",
            "=",
            "==",
            "kg_live_1_2",
            "\"",
            "é",
        ],
        "[!-~]{0,5}",
    );
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Generates nearly valid JSON objects of `members`.
fn object(members: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(members), 0..7).prop_map(|members| format!("{{{}}}", members.join(",")))
}

fn token() -> impl Strategy<Value = String> {
    let header = object(&[
        r#""alg":"ES256""#,
        r#""alg":"RS256""#,
        r#""alg":"EdDSA""#,
        r#""alg":"none""#,
        r#""alg":["ES256"]"#,
        r#""kid":"a""#,
        r#""kid":7"#,
        r#""typ":"at+jwt""#,
        r#""typ":null"#,
        r#""crit":[]"#,
        r#""b64":false"#,
        r#""cty":"JWT""#,
        r#""jwk":{"kty":"oct","k":"AA"}"#,
        r#""x":{"y":[1.5e-7,null]}"#,
    ]);
    let claims = object(&[
        r#""iss":"https://issuer.example""#,
        r#""iss":["https://issuer.example"]"#,
        r#""exp":1800003600"#,
        r#""exp":"1800003600""#,
        r#""exp":1e400"#,
        r#""exp":-1"#,
        r#""aud":"a""#,
        r#""aud":[]"#,
        r#""aud":[7]"#,
        r#""scope":"a  b""#,
        r#""scp":["a",1]"#,
        r#""sub":"\u0000""#,
        r#""nbf":1.5"#,
        r#""x":"\ud800""#,
    ]);
    let dots = prop::sample::select(vec![".", ".", ".", ".", "", "..", "=."]);
    (header, dots.clone(), claims, dots, "[A-Za-z0-9_-]{0,8}").prop_map(|(header, first, claims, second, signature)| {
        let text = |text: String| crate::support::issuer::base64url(text.as_bytes());
        format!("{}{first}{}{second}{signature}", text(header), text(claims))
    })
}

fn jwks() -> impl Strategy<Value = String> {
    let seeds: serde_json::Value = serde_json::from_str(include_str!("../fuzz/corpus/jwks/three-keys.json")).unwrap();
    let changes = prop::collection::vec(
        (
            0..3_usize,
            prop::sample::select(vec![
                ("kid", "\"a\""),
                ("kid", "\"b\""),
                ("kid", "7"),
                ("kid", "null"),
                ("use", "\"enc\""),
                ("use", "\"sig\""),
                ("alg", "\"ES256\""),
                ("alg", "\"RS256\""),
                ("alg", "\"PS512\""),
                ("alg", "\"none\""),
                ("kty", "\"oct\""),
                ("kty", "\"RSA\""),
                ("kty", "\"AKP\""),
                ("key_ops", "[]"),
                ("key_ops", "[\"verify\"]"),
                ("key_ops", "[\"sign\"]"),
                ("crv", "\"P-384\""),
                ("crv", "\"X25519\""),
                ("d", "\"AA\""),
                ("k", "\"AA\""),
                ("n", "\"AQAB\""),
                ("e", "\"AQ\""),
                ("e", "\"Ag\""),
                ("x", "\"\""),
                ("y", "\"AA\""),
            ]),
        ),
        0..4,
    );
    changes.prop_map(move |changes| {
        let mut set = seeds.clone();
        for (key, (member, value)) in changes {
            let entry = set["keys"][key].as_object_mut().unwrap();
            match value {
                "null" => drop(entry.remove(member)),
                value => drop(entry.insert(member.to_owned(), serde_json::from_str(value).unwrap())),
            }
        }
        set.to_string()
    })
}

/// Generates `every-key.yaml` with up to three lines replaced, inserted or removed.
fn config() -> impl Strategy<Value = String> {
    let text = include_str!("../fuzz/corpus/config/every-key.yaml");
    let line = fragments(
        &[
            "",
            "{}",
            "[]",
            "a: b",
            "- x",
            "  - y",
            "    public: true",
            "\tz",
            "*a",
            "&a b",
            "? x",
            "...",
            "---",
            "${NAME}",
            "'",
            "\r",
        ],
        "[ -~]{0,12}",
    );
    prop::collection::vec((0..200_usize, 0..3_usize, line), 0..4).prop_map(move |changes| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (at, kind, line) in changes {
            let at = at % lines.len();
            match kind {
                0 => lines[at] = line,
                1 => lines.insert(at, line),
                _ => drop(lines.remove(at)),
            }
        }
        lines.join("\n")
    })
}

/// Generates chunked bodies, whole and broken.
fn chunks() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "3\r\nabc\r\n",
        "1\r\nx\r\n",
        "A\r\n0123456789\r\n",
        "0\r\n\r\n",
        "0\r\nT: 1\r\n\r\n",
        "2;a=b\r\nxy\r\n",
        "0",
        "3",
        "\r\n",
        "\n",
        "\r",
        ";x",
        " ",
        "abc",
        "fffffffffffffff",
    ]);
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Generates valid and nearly valid response heads, each after the byte that selects the request.
fn response() -> impl Strategy<Value = String> {
    let status = prop::sample::select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304",
        "HTTP/1.1 103 Early Hints",
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 500 ",
        "HTTP/2 200 OK",
    ]);
    let field = prop::sample::select(vec![
        "Content-Length: 5",
        "content-length: 5",
        "Content-Length: 6",
        "Content-Length: +5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Connection: close",
        "Connection: keep-alive, x-a",
        "Keep-Alive: timeout=5",
        "X-A: dropped",
        "X-Request-ID: theirs",
        "Upgrade: websocket",
        "Trailer: x-a",
        "Vary: Origin",
        "Date: Tue, 14 Nov 2023 22:13:20 GMT",
        "X-B:\tb ",
        "X C: d",
        " folded",
        "no colon",
    ]);
    let ending = prop::sample::select(vec!["\r\n", "\r\n", "\n"]);
    let choice = prop::sample::select(vec!["\0", "\u{1}", "\u{2}", "\u{4}", "\u{5}", "\u{6}"]);
    (choice, status, prop::collection::vec(field, 0..6), ending).prop_map(|(choice, status, fields, ending)| {
        let lines = [&[status][..], &fields, &["", ""]].concat();
        choice.to_owned() + &lines.join(ending)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn s089_s090_s091_an_accepted_path_has_one_reading(path in path()) {
        invariants::path::check(path.as_bytes());
    }

    #[test]
    fn a_matched_parameter_has_one_reading(query in query()) {
        invariants::query::check(query.as_bytes());
    }

    #[test]
    fn s101_a_head_that_is_let_through_means_the_same_to_another_parser(head in head()) {
        invariants::head::check(head.as_bytes());
    }

    #[test]
    fn s101_a_response_head_is_sent_on_as_what_it_is(response in response()) {
        invariants::response::check(response.as_bytes());
    }

    #[test]
    fn s101_chunks_have_one_reading_however_they_arrive(chunks in chunks()) {
        invariants::chunks::check(chunks.as_bytes());
    }

    #[test]
    fn s001_s005_s010_a_credential_that_is_taken_is_exactly_one(value in credential()) {
        invariants::credential::check(value.as_bytes());
    }

    #[test]
    fn s021_s023_a_token_that_is_taken_apart_is_what_its_text_says(token in token()) {
        invariants::token::check(token.as_bytes());
    }

    #[test]
    fn s019_s020_s049_a_set_that_is_taken_holds_usable_keys(set in jwks()) {
        invariants::jwks::check(set.as_bytes());
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        invariants::path::check(&bytes);
        invariants::query::check(&bytes);
        invariants::head::check(&bytes);
        invariants::chunks::check(&bytes);
        invariants::response::check(&bytes);
        invariants::credential::check(&bytes);
        invariants::token::check(&bytes);
        invariants::jwks::check(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn s148_a_configuration_compiles_or_has_places(text in config()) {
        invariants::config::check(text.as_bytes());
    }
}

#[test]
fn what_fuzzing_starts_from_keeps_the_invariants() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus"));
    for (target, check) in [
        ("path", invariants::path::check as fn(&[u8])),
        ("query", invariants::query::check),
        ("head", invariants::head::check),
        ("chunks", invariants::chunks::check),
        ("response", invariants::response::check),
        ("credential", invariants::credential::check),
        ("token", invariants::token::check),
        ("jwks", invariants::jwks::check),
        ("config", invariants::config::check),
    ] {
        let seeds: Vec<_> = std::fs::read_dir(folder.join(target)).unwrap().collect();
        assert!(seeds.len() >= 5, "{target} has few to start from");
        for seed in seeds {
            check(&std::fs::read(seed.unwrap().path()).unwrap());
        }
    }
}
