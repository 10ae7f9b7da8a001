//! Is every outside crate named only in the files that may name it?

use super::source::is_word;
use super::source::sources;
use super::source::without_comments_and_texts;
use std::fs;
use std::path::Path;

/// Crates, or paths in them, and the only files and folders that may name
/// them. A folder ends with `/`; the empty text stands for every file.
const ALLOWED_FILES: &[(&str, &[&str])] = &[
    (
        "pingora",
        &[
            // The API for pingora proxies of other programs.
            "embed/filter.rs",
            "proxy/filter/",
            "proxy/http1/",
            "proxy/handshake.rs",
            "proxy/tls_stream.rs",
            "proxy/peer.rs",
            "proxy/health_check.rs",
            "proxy/probe.rs",
            // Certificates in the form that its connections take.
            "upstream/tls.rs",
            "runtime/workers.rs",
        ],
    ),
    (
        "async_trait",
        &[
            "embed/filter.rs",
            "proxy/filter/lane.rs",
            "proxy/http1/connection.rs",
            "proxy/tls_stream.rs",
            "store/",
        ],
    ),
    ("sqlx", &["store/sqlite/"]),
    ("futures_util", &["store/sqlite/"]),
    // Waits and timers; `jwks_cache` waits for a fetch, `introspection` for the issuer's response, and the fetcher of
    // `upstream_credential` until the upstream refuses the token.
    (
        "tokio",
        &[
            "runtime/",
            // Run the upkeep.
            "embed/upkeep.rs",
            "embed/filter.rs",
            "store/",
            // A command waits for the response until its time limit.
            "cli/http/",
            "fetch/",
            "proxy/filter/",
            "proxy/http1/",
            "proxy/handshake.rs",
            "proxy/tls_stream.rs",
            // Ask endpoints in the background, until a time limit.
            "proxy/health_check.rs",
            "proxy/probe.rs",
            // Requests wait for an endpoint that has room.
            "upstream/mod.rs",
            // A start waits for the first look-up of a name.
            "upstream/source.rs",
            "proxy/exchange/",
            "proxy/forward/stream_end.rs",
            "gate/authenticate/jwks_cache.rs",
            "gate/authenticate/introspection.rs",
            "gate/upstream_credential.rs",
            // Notifies the data side of a changed key set.
            "control/signing_keys/",
            // RSA keys are generated on a blocking thread: each takes a tenth of a second.
            "control/admin/client_keys.rs",
            "control/registry/signing_keys.rs",
        ],
    ),
    ("jsonwebtoken", &["jose/"]),
    // These use the process's default provider, which panics if a program enables
    // both backends; `decode` also accepts tokens that lack claims.
    ("jsonwebtoken::crypto::CryptoProvider", &[]),
    ("jsonwebtoken::crypto::sign", &[]),
    ("jsonwebtoken::crypto::verify", &[]),
    ("jsonwebtoken::decode", &[]),
    ("jsonwebtoken::encode", &[]),
    ("aws_lc_rs::signature", &["jose/"]),
    ("aws_lc_rs::encoding", &["jose/"]),
    // Digests, random bytes and comparison in constant time.
    (
        "aws_lc_rs",
        &[
            "jose/",
            "model/api_key.rs",
            "model/certificate.rs",
            "model/secret.rs",
            "gate/authenticate/jwks_cache.rs",
            "gate/authenticate/introspection.rs",
            "fetch/",
            // Encrypts the files of signing keys.
            "control/signing_keys/wrap.rs",
        ],
    ),
    ("pem", &["jose/pem_file.rs", "fetch/client.rs"]),
    // The other files read and write `Authorization: Basic`, which has another alphabet.
    (
        "base64",
        &[
            "jose/base64url.rs",
            "control/token/client_auth.rs",
            "fetch/introspect/call.rs",
        ],
    ),
    // Reads the certificates and keys of listeners, and uses them.
    (
        "rustls",
        &["fetch/", "config/certificate.rs", "proxy/listener.rs", "runtime/tls.rs"],
    ),
    ("x509_parser", &["config/certificate.rs"]),
    ("rustls_native_certs", &["fetch/"]),
    // `cli/http/` completes and sends requests with the client that `fetch` makes.
    ("reqwest", &["fetch/", "cli/http/"]),
    ("governor", &["limit/"]),
    ("dashmap", &["model/directory/", "control/clients.rs", "limit/keyed/"]),
    (
        "quick_cache",
        &[
            "gate/authenticate/",
            "gate/identity_token/",
            "control/token/",
            "runtime/client_jwks.rs",
        ],
    ),
    (
        "siphasher",
        &["observe/trace.rs", "limit/key.rs", "gate/destination.rs"],
    ),
    // Tables of the configuration, and of verified credentials.
    (
        "foldhash",
        &["gate/", "observe/metrics/", "proxy/http1/pool.rs", "upstream/table.rs"],
    ),
    ("memchr", &["proxy/head.rs", "proxy/health_check.rs"]),
    ("itoa", &["gate/", "observe/access/"]),
    ("crc32fast", &["model/api_key.rs", "upstream/table.rs"]),
    ("pingora_ketama", &["upstream/table.rs"]),
    ("hickory_resolver", &["fetch/dns.rs"]),
    (
        "arc_swap",
        &[
            "gate/",
            "proxy/listener.rs",
            "runtime/tls.rs",
            "upstream/",
            "control/state.rs",
            "control/signing_keys/",
            "runtime/follow_store.rs",
            "runtime/admin/endpoints.rs",
        ],
    ),
    ("utoipa_swagger_ui", &["control/admin/docs.rs"]),
    ("serde_yaml", &["keys_file/", "cli/gate/profile.rs"]),
    ("saphyr_parser", &["keys_file/yaml.rs", "config/tree/parse.rs"]),
    ("schemars", &["config/"]),
    ("glob", &["config/include.rs"]),
    ("strsim", &["config/read.rs"]),
    // The second takes a registry of the program that embeds the filter.
    ("prometheus", &["observe/", "embed/filter.rs"]),
    ("tracing_subscriber", &["observe/subscriber.rs"]),
    (
        "jiff",
        &[
            "model/lifetime.rs",
            "observe/access.rs",
            "proxy/forward/date.rs",
            "keys_file/",
            "explain/token.rs",
            "cli/explain.rs",
        ],
    ),
    // Shared by a guard and pingora's proxy; and pingora's own type of a lock. Endpoints change their state under it.
    ("parking_lot", &["proxy/filter/context.rs", "upstream/"]),
    // Parses the heads of requests that passed our checks, and of responses.
    ("httparse", &["proxy/http1/"]),
    // `control` builds routers with it, `runtime` serves them,
    // and a command calls the router of a store that it opened.
    ("axum", &["runtime/", "control/", "cli/http/admin_client.rs"]),
    // Calls a router in this process.
    ("tower", &["runtime/", "cli/http/admin_client.rs"]),
    // The description of the admin API, from its handlers.
    ("utoipa", &["control/admin/"]),
    ("utoipa_axum", &["control/admin/mod.rs"]),
    ("serde_path_to_error", &["control/admin/body.rs"]),
    // `runtime` serves with it; a command uses it over the socket beside a store.
    ("hyper", &["runtime/", "cli/http/admin_client.rs"]),
    ("hyper_util", &["runtime/", "cli/http/admin_client.rs"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/manual.rs"]),
    ("clap_mangen", &["cli/manual.rs"]),
    // The binary chooses the allocator.
    ("mimalloc", &["main.rs"]),
    (
        "rustix",
        &[
            "model/resource_shortage.rs",
            "runtime/accept_errors.rs",
            "runtime/descriptors.rs",
            // Passes descriptors.
            "runtime/hand_over/message.rs",
            "cli/terminal.rs",
            "store/revocations/file.rs",
        ],
    ),
    ("nix", &["runtime/local_user.rs"]),
    ("listenfd", &["runtime/inherited.rs"]),
    ("sd_notify", &["runtime/supervisor.rs"]),
    ("zeroize", &["model/secret.rs", "config/tree.rs"]),
    // Builds the query or form of a request.
    (
        "url",
        &[
            "model/issuer.rs",
            "model/public_address.rs",
            "config/",
            "fetch/",
            "cli/gate/",
            "cli/http/",
            "control/registry/jwks_url.rs",
        ],
    ),
    (
        "ipnet",
        &[
            "model/",
            "config/",
            "store/",
            "keys_file/",
            "compare/",
            "gate/",
            "control/",
            "cli/keys/",
        ],
    ),
    ("bytes", &["gate/", "proxy/", "control/signing_keys/"]),
    // Types and macros that every module may use.
    ("http", &[""]),
    ("serde", &[""]),
    ("serde_json", &[""]),
    ("thiserror", &[""]),
    ("tracing", &[""]),
    // Reading the environment and the clocks, and ending the process: few places, so that tests can replace them.
    ("std::env", &["config/mod.rs", "cli/"]),
    ("SystemTime::now", &["model/clock.rs"]),
    // Outside `model/clock.rs`: the clock of tokio, for its timers.
    (
        "Instant::now",
        &[
            "model/clock.rs",
            "proxy/filter/guard.rs",
            "proxy/http1/",
            "proxy/exchange/mod.rs",
            "proxy/exchange/attempts.rs",
            "proxy/forward/stream_end.rs",
            // Measures how long a transaction takes.
            "store/sqlite/writer.rs",
        ],
    ),
    ("std::process::exit", &[]),
];

#[test]
fn outside_crates_are_named_only_in_their_allowed_files() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|source| misplaced_names(&source.path, &source.code))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns the outside paths that the file `path` names although it is none of their allowed files.
fn misplaced_names(path: &str, code: &str) -> Vec<String> {
    let is_allowed = |files: &[&str]| {
        files.iter().any(|file| {
            if file.ends_with('/') || file.is_empty() {
                path.starts_with(file)
            } else {
                path == *file
            }
        })
    };
    let misplaced = ALLOWED_FILES
        .iter()
        .filter(|(name, files)| names(code, name) && !is_allowed(files));
    misplaced.map(|(name, _)| format!("{path} names {name}")).collect()
}

/// Returns whether `code` names `path`, an outside crate or an item in one.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(start, _)| {
        let before = code[..start].chars().next_back().unwrap_or(' ');
        let rest = &code[start + path.len()..];
        // The name of a crate is followed by an item of the crate; an item may stand alone.
        let ends = if path.contains("::") {
            !rest.starts_with(is_word)
        } else {
            rest.starts_with("::") || code[..start].ends_with("use ") && rest.starts_with(';')
        };
        // `std::time::SystemTime::now` is `SystemTime::now`; `crate::proxy::tokio` is not `tokio`.
        let begins = if path.starts_with(char::is_uppercase) {
            !is_word(before)
        } else {
            !is_word(before) && before != ':'
        };
        begins && ends
    })
}

#[test]
fn every_allowed_file_names_its_crate() {
    let sources = sources();
    let mut unused = Vec::new();
    for (name, files) in ALLOWED_FILES {
        for file in *files {
            let is_named = sources
                .iter()
                .any(|source| source.path.starts_with(file) && names(&source.code, name));
            if !is_named {
                unused.push(format!("{name} in {file:?}"));
            }
        }
    }
    assert!(unused.is_empty(), "{unused:#?}");
}

#[test]
fn every_dependency_has_allowed_files() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let section = manifest
        .split("\n[dependencies]\n")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next());
    let names = section
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "));
    let dependencies: Vec<String> = names.map(|(name, _)| name.replace('-', "_")).collect();
    assert!(dependencies.len() > 30, "{dependencies:?}");
    let missing: Vec<&String> = dependencies
        .iter()
        .filter(|name| ALLOWED_FILES.iter().all(|(listed, _)| listed != name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn planted_misplaced_names_are_found() {
    #[track_caller]
    fn check(path: &str, code: &str, expected: &[&str]) {
        let expected: Vec<String> = expected.iter().map(|name| format!("{path} names {name}")).collect();
        assert_eq!(
            misplaced_names(path, &without_comments_and_texts(code)),
            expected,
            "{code}"
        );
    }
    check("gate/decide.rs", "use pingora::proxy::Session;", &["pingora"]);
    check("proxy/http1/connection.rs", "use pingora::proxy::Session;", &[]);
    check("proxy/peer.rs.d/a.rs", "use pingora::proxy::Session;", &["pingora"]);
    check("gate/decide.rs", "use pingora;", &["pingora"]);
    check(
        "gate/decide.rs",
        "crate::pingora::f(); pingora_like::f(); not_pingora::f()",
        &[],
    );
    check(
        "model/api_key.rs",
        "use aws_lc_rs::signature::KeyPair;",
        &["aws_lc_rs::signature"],
    );
    check("model/api_key.rs", "use aws_lc_rs::hmac;", &[]);
    check("model/names.rs", "use aws_lc_rs::hmac;", &["aws_lc_rs"]);
    check(
        "gate/decide.rs",
        "let now = std::time::SystemTime::now();",
        &["SystemTime::now"],
    );
    check("gate/decide.rs", "let now = SystemTime::now();", &["SystemTime::now"]);
    check("gate/decide.rs", "let name = std::env::var(a);", &["std::env"]);
    check("runtime/serve.rs", "std::process::exit(1)", &["std::process::exit"]);
    check("observe/access.rs", "#[tokio::main] fn a() {}", &["tokio"]);
}
