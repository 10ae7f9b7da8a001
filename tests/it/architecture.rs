//! Does every module name only the modules it may? One package cannot
//! enforce that by crates, so the test reads the sources as text.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Top-level modules, and the earlier ones of them that each may name.
const MODULES: [(&str, &[&str]); 18] = [
    ("model", &[]),
    ("jose", &["model"]),
    ("config", &["model"]),
    ("observe", &["model"]),
    ("store", &["model"]),
    ("keys_file", &["model"]),
    ("limit", &["model"]),
    // Like `limit`, holds state that a snapshot refers to: which endpoint is next.
    ("upstream", &["model", "config"]),
    // Not `gate` or `proxy`: `runtime` passes the state of the data side to `control`.
    // `keys_file` for the text form of address ranges.
    (
        "control",
        &["model", "jose", "config", "store", "observe", "keys_file", "limit"],
    ),
    // Decides requests and does not know the code that forwards them.
    ("gate", &["model", "jose", "config", "observe", "limit", "upstream"]),
    // Fetches keys and introspection responses; decides nothing.
    ("fetch", &["model", "jose", "config", "observe", "gate", "upstream"]),
    ("proxy", &["model", "config", "observe", "upstream", "gate"]),
    // Chooses routes with the gate's own code.
    ("compare", &["model", "config", "gate"]),
    (
        "runtime",
        &[
            "model",
            "jose",
            "config",
            "store",
            "keys_file",
            "observe",
            "gate",
            "fetch",
            "proxy",
            "control",
        ],
    ),
    // Decides with the gate's code, on state that `runtime` loads as for `keygate run`.
    (
        "explain",
        &[
            "model", "jose", "config", "observe", "gate", "fetch", "proxy", "runtime",
        ],
    ),
    // `jose` signs assertions, `fetch` makes the HTTP clients, `keys_file` is
    // edited, `control` creates the first administrator, `observe` sets up the log.
    (
        "cli",
        &[
            "model",
            "jose",
            "config",
            "compare",
            "explain",
            "runtime",
            "control",
            "store",
            "keys_file",
            "observe",
            "fetch",
        ],
    ),
    // The API for programs that decide requests in their own process.
    (
        "embed",
        &["model", "config", "observe", "fetch", "gate", "proxy", "runtime"],
    ),
    ("main", &[]),
];

/// The modules inside `gate`, and the earlier ones of them that each may name.
const STAGES: [(&str, &[&str]); 15] = [
    ("stage", &[]),
    ("accept", &[]),
    ("intake", &["accept"]),
    ("authenticate", &["intake"]),
    ("authorize", &["authenticate"]),
    ("admit", &["authenticate"]),
    ("denial", &["accept", "intake", "authenticate", "authorize", "admit"]),
    // `authorize` for the scopes that a challenge names.
    ("answer", &["accept", "authorize", "denial"]),
    // Reads the principal's fields.
    ("identity_token", &["authenticate"]),
    // `answer` for the responses on the control side's paths.
    ("live", &["stage", "authenticate", "answer", "identity_token"]),
    (
        "snapshot",
        &[
            "accept",
            "intake",
            "authenticate",
            "authorize",
            "admit",
            "answer",
            "identity_token",
            "live",
        ],
    ),
    ("decision_trace", &["authenticate", "admit", "answer", "snapshot"]),
    ("stop", &["authenticate", "denial", "answer"]),
    (
        "local",
        &[
            "accept",
            "intake",
            "admit",
            "denial",
            "answer",
            "snapshot",
            "decision_trace",
            "stop",
        ],
    ),
    (
        "decide",
        &[
            "stage",
            "accept",
            "intake",
            "authenticate",
            "authorize",
            "admit",
            "denial",
            "live",
            "snapshot",
            "decision_trace",
            "stop",
            "local",
        ],
    ),
];

/// The modules inside `proxy`, and the earlier ones of them that each may name.
const CARRIERS: [(&str, &[&str]); 4] = [
    ("peer", &[]),
    ("forward", &[]),
    ("exchange", &["forward"]),
    ("http1", &["peer", "forward", "exchange"]),
];

/// Crates, or paths in them, and the only files and folders that may name
/// them. A folder ends with `/`; the empty text stands for every file.
const HOMES: &[(&str, &[&str])] = &[
    ("pingora", &["proxy/http1/", "proxy/peer.rs", "runtime/workers.rs"]),
    ("async_trait", &["proxy/http1/connection.rs", "store/"]),
    ("sqlx", &["store/sqlite/"]),
    ("futures_util", &["store/sqlite/"]),
    // Waits and timers; `jwks_cache` waits for a fetch, `introspection` for the issuer's response.
    (
        "tokio",
        &[
            "runtime/",
            // Runs the upkeep.
            "embed/upkeep.rs",
            "store/",
            // A command waits for the response until its time limit.
            "cli/http/",
            "fetch/",
            "proxy/http1/",
            "proxy/exchange/",
            "proxy/forward/stream_end.rs",
            "gate/authenticate/jwks_cache.rs",
            "gate/authenticate/introspection.rs",
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
            "model/secret.rs",
            "observe/trace.rs",
            "limit/key.rs",
            "gate/authenticate/jwks_cache.rs",
            "gate/authenticate/introspection.rs",
            "fetch/",
            // Encrypts the files of signing keys.
            "control/signing_keys/wrap.rs",
        ],
    ),
    ("pem", &["jose/pem_file.rs", "fetch/client.rs"]),
    // The second file uses the alphabet of `Authorization: Basic`.
    ("base64", &["jose/base64url.rs", "control/token/client_auth.rs"]),
    ("rustls", &["fetch/"]),
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
    ("siphasher", &["observe/trace.rs", "limit/key.rs"]),
    // Tables of the configuration, and of verified credentials.
    ("foldhash", &["gate/", "observe/metrics/"]),
    ("memchr", &["proxy/http1/head.rs"]),
    ("itoa", &["gate/", "observe/access/"]),
    ("crc32fast", &["model/api_key.rs"]),
    (
        "arc_swap",
        &[
            "gate/",
            "upstream/",
            "control/state.rs",
            "control/signing_keys/",
            "runtime/follow_store.rs",
        ],
    ),
    ("serde_yaml", &["keys_file/"]),
    ("saphyr_parser", &["keys_file/yaml.rs", "config/tree.rs"]),
    ("schemars", &["config/"]),
    ("glob", &["config/include.rs"]),
    ("strsim", &["config/read.rs"]),
    ("prometheus", &["observe/"]),
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
    ("parking_lot", &["runtime/workers.rs"]),
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
    // The binary chooses the allocator.
    ("mimalloc", &["main.rs"]),
    ("zeroize", &["model/secret.rs", "config/tree.rs"]),
    // Builds the query or form of a request.
    (
        "url",
        &[
            "model/issuer.rs",
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
            "fetch/address.rs",
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
            "proxy/http1/",
            "proxy/exchange/mod.rs",
            "proxy/forward/stream_end.rs",
        ],
    ),
    ("std::process::exit", &[]),
];

/// One source file: its text, and its code without comments, quoted text and tests.
struct Source {
    /// The path below `src`, with `/`.
    path: String,
    text: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                // Leaves out the store's migrations, which are SQL.
                files.push(path);
            }
        }
    }
    files.sort();
    let read: Vec<Source> = files
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let path: Vec<&str> = file
                .strip_prefix(&src)
                .unwrap()
                .iter()
                .map(|part| part.to_str().unwrap())
                .collect();
            Source {
                path: path.join("/"),
                code: without_comments_and_texts(&text),
                text,
            }
        })
        .collect();
    let tests: BTreeSet<PathBuf> = read
        .iter()
        .flat_map(|source| test_files(&source.path, &source.code))
        .collect();
    let production = read
        .into_iter()
        .filter(|source| !tests.contains(Path::new(&source.path)))
        .map(|source| Source {
            code: without_tests(&source.code),
            ..source
        });
    production.collect()
}

/// Returns `text` with comments and quoted text replaced by spaces; line ends stay.
fn without_comments_and_texts(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut index = 0;
    while index < chars.len() {
        let end = match (at(index), at(index + 1)) {
            ('/', '/') => end_of_line(&chars, index),
            ('/', '*') => end_of_block_comment(&chars, index),
            ('r', '"' | '#') if !is_word(previous(&chars, index)) || previous(&chars, index) == 'b' => {
                end_of_raw_text(&chars, index)
            }
            ('"', _) => end_of_text(&chars, index),
            // A character, not a lifetime.
            ('\'', '\\') => end_of_character(&chars, index),
            ('\'', _) if at(index + 2) == '\'' => index + 3,
            _ => {
                out.push(at(index));
                index += 1;
                continue;
            }
        };
        out.extend(
            chars[index..end]
                .iter()
                .map(|char| if *char == '\n' { '\n' } else { ' ' }),
        );
        index = end;
    }
    out
}

fn previous(chars: &[char], index: usize) -> char {
    index.checked_sub(1).map_or('\0', |before| chars[before])
}

fn end_of_line(chars: &[char], start: usize) -> usize {
    chars[start..]
        .iter()
        .position(|char| *char == '\n')
        .map_or(chars.len(), |length| start + length)
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut index = start;
    while index < chars.len() {
        match chars[index..] {
            ['/', '*', ..] => depth += 1,
            ['*', '/', ..] => depth -= 1,
            _ => {
                index += 1;
                continue;
            }
        }
        index += 2;
        if depth == 0 {
            return index;
        }
    }
    chars.len()
}

fn end_of_text(chars: &[char], start: usize) -> usize {
    let mut index = start + 1;
    while index < chars.len() {
        match chars[index] {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    chars.len()
}

/// Returns the end of the raw text that starts with the `r` at `start`; `start + 1` for an identifier such as `r#type`.
fn end_of_raw_text(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|char| **char == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return start + 1;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let length = chars[open + 1..]
        .windows(closing.len())
        .position(|window| window == closing);
    length.map_or(chars.len(), |length| open + 1 + length + closing.len())
}

fn end_of_character(chars: &[char], start: usize) -> usize {
    // The character after the backslash may be a quote itself.
    let rest = chars[start + 3..].iter().position(|char| *char == '\'');
    rest.map_or(chars.len(), |length| start + 3 + length + 1)
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

const TEST_ONLY: &str = "#[cfg(test)]";

/// Returns the end of the item that starts at `start`: the end of its block, or its semicolon.
fn end_of_item(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (index, char) in code[start..].char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth <= 1 => return start + index + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return start + index + 1,
            _ => {}
        }
    }
    code.len()
}

fn test_items(code: &str) -> Vec<(usize, usize)> {
    let starts = code.match_indices(TEST_ONLY).map(|(start, _)| start);
    starts
        .map(|start| (start, end_of_item(code, start + TEST_ONLY.len())))
        .collect()
}

fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    for (start, end) in test_items(code).into_iter().rev() {
        out.replace_range(start..end, "");
    }
    out
}

/// Returns the files of the modules that `code`, the code of the file `path`, declares for tests only.
fn test_files(path: &str, code: &str) -> Vec<PathBuf> {
    let path = Path::new(path);
    let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") => path.parent().unwrap().to_owned(),
        _ => path.with_extension(""),
    };
    let modules = test_items(code).into_iter().filter_map(|(start, end)| {
        let name = code[start..end].split("mod ").nth(1)?.strip_suffix(';')?;
        Some(folder.join(format!("{name}.rs")))
    });
    modules.collect()
}

/// Returns every `::`-separated path in `code` that starts with `first`, without `first`.
fn paths_from<'c>(code: &'c str, first: &str) -> Vec<&'c str> {
    let found = code.match_indices(first).filter_map(|(start, _)| {
        let before = code[..start].chars().next_back().unwrap_or(' ');
        let rest = &code[start + first.len()..];
        let follows = rest.strip_prefix("::")?;
        (!is_word(before) && before != ':' && before != '$').then_some(follows)
    });
    found
        .map(|rest| &rest[..rest.find(|char| !is_word(char) && char != ':').unwrap_or(rest.len())])
        .collect()
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

/// Returns the first module of each `crate::` path, and the second where the first has a table of its own.
fn modules_named(code: &str) -> BTreeSet<String> {
    let words = paths_from(code, "crate").into_iter().map(|path| {
        let mut words = path.split("::");
        let first = words.next().unwrap_or_default();
        match first {
            "gate" | "proxy" => format!("{first}/{}", words.next().unwrap_or_default()),
            _ => first.to_owned(),
        }
    });
    words.collect()
}

/// Returns one part of a file's path: of `gate/intake/scheme.rs`, depth 0 is `gate` and depth 1 is `intake`.
fn module_of(path: &str, depth: usize) -> Option<&str> {
    let part = path.split('/').nth(depth)?;
    Some(part.strip_suffix(".rs").unwrap_or(part))
}

/// Returns one line for each module that `module` names without permission, and for each permission without use.
fn compare(module: &str, named: &BTreeSet<String>, allowed: &[&str]) -> Vec<String> {
    let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
    let too_much = named.difference(&allowed).map(|name| format!("{module} names {name}"));
    let unused = allowed
        .difference(named)
        .map(|name| format!("{module} may name {name} and does not"));
    too_much.chain(unused).collect()
}

fn named_by_module(sources: &[Source]) -> BTreeMap<&str, BTreeSet<String>> {
    let mut named: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(module) = module_of(&source.path, 0).filter(|module| *module != "lib") else {
            continue;
        };
        let others = modules_named(&source.code)
            .into_iter()
            .map(|name| match name.split_once('/') {
                Some((top, _)) => top.to_owned(),
                None => name,
            });
        // The binary refers to the library by its crate name.
        let of_binary = paths_from(&source.code, "keygate")
            .into_iter()
            .filter_map(|path| path.split("::").next());
        let all = others.chain(of_binary.map(str::to_owned));
        named
            .entry(module)
            .or_default()
            .extend(all.filter(|other| other != module));
    }
    named
}

/// Returns, for each module inside `folder`, the other modules inside that it names.
fn named_inside<'s>(folder: &str, sources: &'s [Source]) -> BTreeMap<&'s str, BTreeSet<String>> {
    let mut named: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in sources
        .iter()
        .filter(|source| module_of(&source.path, 0) == Some(folder))
    {
        let Some(stage) = module_of(&source.path, 1).filter(|stage| *stage != "mod") else {
            continue;
        };
        let others = modules_named(&source.code).into_iter().filter_map(|name| {
            let (top, inner) = name.split_once('/')?;
            // `crate::gate::Gate` is an item of the folder itself, not a module.
            let is_module = inner.starts_with(char::is_lowercase);
            (top == folder && is_module && inner != stage).then(|| inner.to_owned())
        });
        named.entry(stage).or_default().extend(others);
    }
    named
}

fn check_table(table: &[(&str, &[&str])], named: &BTreeMap<&str, BTreeSet<String>>) {
    let mut wrong = Vec::new();
    for (module, names) in named {
        match table.iter().find(|(listed, _)| listed == module) {
            Some((_, allowed)) => wrong.extend(compare(module, names, allowed)),
            None => wrong.push(format!("{module} is not in the table")),
        }
    }
    wrong.extend(
        table
            .iter()
            .filter(|(module, _)| !named.contains_key(module))
            .map(|(module, _)| format!("there is no {module}")),
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn modules_name_what_the_table_says() {
    check_table(&MODULES, &named_by_module(&sources()));
}

#[test]
fn stages_name_what_the_table_says() {
    check_table(&STAGES, &named_inside("gate", &sources()));
    check_table(&CARRIERS, &named_inside("proxy", &sources()));
}

#[test]
fn a_stage_before_decide_names_only_stages_before_it() {
    for table in [&STAGES[..], &CARRIERS, &MODULES] {
        let order: Vec<&str> = table.iter().map(|(stage, _)| *stage).collect();
        let place = |name: &str| order.iter().position(|stage| *stage == name).expect("a stage");
        let backwards: Vec<(&str, &str)> = table
            .iter()
            .flat_map(|(stage, names)| names.iter().map(move |name| (*stage, *name)))
            .filter(|(stage, name)| place(name) > place(stage))
            .collect();
        assert!(backwards.is_empty(), "{backwards:?}");
    }
}

#[test]
fn files_name_each_other_in_no_circle_but_those_with_a_reason() {
    let sources = sources();
    let named = named_files(&sources);
    let circles = circles(&named);
    assert!(circles.is_empty(), "{circles:#?}");
}

/// Returns the files that each file names, by the paths in its code. A name that a folder's
/// `mod.rs` re-exports leads to its source file; the re-export itself does not count.
fn named_files(sources: &[Source]) -> BTreeMap<&str, BTreeSet<&str>> {
    let modules: BTreeMap<String, &str> = sources
        .iter()
        .map(|source| (module_path(&source.path), source.path.as_str()))
        .collect();
    let reexports: BTreeMap<String, String> = sources.iter().flat_map(reexports).collect();
    let file_of = |path: &str| {
        let mut path = path.to_owned();
        while let Some(target) = longest(&reexports, &path) {
            path = target;
        }
        let mut end = path.len();
        loop {
            if let Some(file) = modules.get(&path[..end]) {
                return Some(*file);
            }
            end = path[..end].rfind("::")?;
        }
    };
    let named = sources.iter().map(|source| {
        // A visibility such as `pub(in crate::…)` does not count.
        let code = source.code.replace("(in crate", "(in ");
        let files = paths_from(&code, "crate").into_iter().filter_map(file_of);
        (
            source.path.as_str(),
            files.filter(|file| *file != source.path).collect(),
        )
    });
    named.collect()
}

/// Returns a file's module path: `gate/accept/mod.rs` is `gate::accept`.
fn module_path(path: &str) -> String {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    path.strip_suffix("/mod").unwrap_or(path).replace('/', "::")
}

/// Returns the pairs that `pub use child::Name;` makes: `file::Name` and the path it leads to.
fn reexports(source: &Source) -> Vec<(String, String)> {
    let module = module_path(&source.path);
    let uses = source.code.lines().filter_map(|line| {
        let path = line.trim().strip_prefix("pub use ")?.strip_suffix(';')?;
        let (child, name) = (path.split("::").next()?, path.rsplit("::").next()?);
        if child == name {
            // `pub use prepare::prepare;`: the path leads to the file as it is.
            return None;
        }
        let target = match path.strip_prefix("crate::") {
            Some(path) => path.to_owned(),
            None => format!("{module}::{path}"),
        };
        Some((format!("{module}::{name}"), target))
    });
    uses.collect()
}

/// Returns `path` with its longest re-exported beginning replaced; `None` where no beginning is a re-export.
fn longest(reexports: &BTreeMap<String, String>, path: &str) -> Option<String> {
    let mut end = path.len();
    loop {
        if let Some(target) = reexports.get(&path[..end]) {
            return Some(format!("{target}{}", &path[end..]));
        }
        end = path[..end].rfind("::")?;
    }
}

/// Returns the sets of two or more files that reach each other.
fn circles<'s>(named: &BTreeMap<&'s str, BTreeSet<&'s str>>) -> Vec<BTreeSet<&'s str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = named
        .keys()
        .map(|start| {
            let mut reached = BTreeSet::new();
            let mut open = vec![*start];
            while let Some(file) = open.pop() {
                for next in named.get(file).into_iter().flatten() {
                    if reached.insert(*next) {
                        open.push(next);
                    }
                }
            }
            (*start, reached)
        })
        .collect();
    let mut circles: Vec<BTreeSet<&str>> = Vec::new();
    for (file, reached) in &reach {
        let circle: BTreeSet<&str> = reached
            .iter()
            .copied()
            .filter(|other| reach.get(other).is_some_and(|back| back.contains(file)))
            .collect();
        if circle.len() > 1 && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

#[test]
fn planted_circles_are_caught() {
    let planted = |files: &[(&str, &str)]| -> Vec<Vec<String>> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, code)| Source {
                path: (*path).to_owned(),
                text: String::new(),
                code: without_tests(&without_comments_and_texts(code)),
            })
            .collect();
        let circles = circles(&named_files(&sources));
        circles
            .iter()
            .map(|circle| circle.iter().map(|file| (*file).to_owned()).collect())
            .collect()
    };
    let two = [
        ("a/b.rs", "use crate::a::c::C;"),
        ("a/c.rs", "fn f() { crate::a::b::f() }"),
    ];
    assert_eq!(planted(&two), [["a/b.rs", "a/c.rs"]]);
    // A path to a re-exported name leads to the file that defines the name; the `mod.rs` itself closes no circle.
    let facade = [
        ("a/mod.rs", "pub use b::B;\npub struct A;"),
        ("a/b.rs", "use crate::a::A;"),
        ("c.rs", "use crate::a::B;"),
    ];
    assert_eq!(planted(&facade), [[""; 0]; 0]);
    let through = [
        ("a/mod.rs", "pub use b::B;"),
        ("a/b.rs", "use crate::c::C;"),
        ("c.rs", "use crate::a::B;"),
    ];
    assert_eq!(planted(&through), [["a/b.rs", "c.rs"]]);
}

#[test]
fn outside_crates_are_named_in_their_homes() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|source| strays(&source.path, &source.code))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns the paths that the file `path` names without being their home.
fn strays(path: &str, code: &str) -> Vec<String> {
    let at_home = |homes: &[&str]| {
        homes.iter().any(|home| {
            if home.ends_with('/') || home.is_empty() {
                path.starts_with(home)
            } else {
                path == *home
            }
        })
    };
    let stray = HOMES
        .iter()
        .filter(|(name, homes)| names(code, name) && !at_home(homes));
    stray.map(|(name, _)| format!("{path} names {name}")).collect()
}

#[test]
fn every_home_is_lived_in() {
    let sources = sources();
    let mut empty = Vec::new();
    for (name, homes) in HOMES {
        for home in *homes {
            let lived_in = sources
                .iter()
                .any(|source| source.path.starts_with(home) && names(&source.code, name));
            if !lived_in {
                empty.push(format!("{name} in {home:?}"));
            }
        }
    }
    assert!(empty.is_empty(), "{empty:#?}");
}

#[test]
fn every_dependency_has_a_home() {
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
    let homeless: Vec<&String> = dependencies
        .iter()
        .filter(|name| HOMES.iter().all(|(listed, _)| listed != name))
        .collect();
    assert!(homeless.is_empty(), "{homeless:?}");
}

#[test]
fn every_file_says_first_which_question_it_answers() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|source| source.path != "main.rs" && !source.text.starts_with("//! "))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn uses_are_one_path_each_from_the_root() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|source| odd_uses(&source.path, &source.code))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns uses of several paths, and relative paths (`super::`, `self::`): the tables see neither.
fn odd_uses(path: &str, code: &str) -> Vec<String> {
    let several = code.match_indices("use ").filter_map(|(start, _)| {
        let before = code[..start].chars().next_back().unwrap_or(' ');
        let used = code[start..].split(';').next().unwrap_or_default();
        (!is_word(before) && used.contains("::{")).then(|| format!("{path}: {used}"))
    });
    let relative = ["super", "self"]
        .into_iter()
        .filter(|word| !paths_from(code, word).is_empty())
        .map(|word| format!("{path}: {word}::"));
    several.chain(relative).collect()
}

#[test]
fn the_sources_are_found_and_tests_are_left_out() {
    let sources = sources();
    let has = |path: &str| sources.iter().any(|source| source.path == path);
    assert!(sources.len() > 90, "{}", sources.len());
    assert!(has("main.rs") && has("gate/decide.rs") && has("proxy/http1/head.rs"));
    assert!(!has("proxy/http1/head/tests.rs") && !has("fetch/fake_issuer.rs"));
    for source in &sources {
        assert!(!source.code.contains("#[test]"), "{}", source.path);
    }
}

#[test]
fn comments_texts_and_tests_name_nothing() {
    let code = |text: &str| without_tests(&without_comments_and_texts(text));
    for text in [
        "// crate::gate::decide",
        "/* crate::gate::decide /* nested */ crate::gate::decide */",
        "let a = \"crate::gate::decide \\\" crate::gate::decide\";",
        "let a = r#\"crate::gate::decide \" crate::gate::decide\"#;",
        "let a = br\"crate::gate::decide\";",
        "#[cfg(test)]\nuse crate::gate::decide;",
        "#[cfg(test)]\nmod tests { fn a() { crate::gate::decide::decide(); } }",
    ] {
        assert_eq!(modules_named(&code(text)), BTreeSet::new(), "{text}");
        let after = format!("{text}\nuse crate::model::clock::Now;");
        assert_eq!(
            modules_named(&code(&after)),
            BTreeSet::from(["model".to_owned()]),
            "{after}"
        );
    }
    // A lifetime and a quoted quote do not open a text.
    for text in [
        "fn a<'a>(b: &'a str)",
        "let a = '\"';",
        "let a = '\\'';",
        "let a = b'\"';",
        "let r#type = 1;",
    ] {
        let after = format!("{text}\nuse crate::model::clock::Now;\n// \"");
        assert_eq!(
            modules_named(&code(&after)),
            BTreeSet::from(["model".to_owned()]),
            "{after}"
        );
    }
}

#[test]
fn planted_violations_of_the_tables_are_caught() {
    let planted = |path: &str, code: &str| Source {
        path: path.to_owned(),
        text: String::new(),
        code: without_tests(&without_comments_and_texts(code)),
    };
    let named = |code: &str| {
        let sources = [planted("gate/intake/mod.rs", code)];
        named_inside("gate", &sources)["intake"]
            .iter()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(named("use crate::gate::admit::Admission;"), ["admit"]);
    assert_eq!(named("fn a() { crate::gate::admit::spend(1) }"), ["admit"]);
    assert_eq!(named("let a = \"http://x\"; crate::gate::admit::spend()"), ["admit"]);
    assert_eq!(named("use crate::gate::intake::Credential;"), [""; 0]);
    assert_eq!(
        named("use mycrate::gate::admit::A; fn f() { a::crate::gate::admit::b() }"),
        [""; 0]
    );

    let sources = [
        planted("model/clock.rs", "use crate::gate::decide::Permit;"),
        planted("main.rs", "keygate::runtime::serve()"),
    ];
    let named = named_by_module(&sources);
    assert_eq!(named["model"], BTreeSet::from(["gate".to_owned()]));
    assert_eq!(named["main"], BTreeSet::from(["runtime".to_owned()]));

    let names = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    assert_eq!(compare("x", &names, &["a", "b"]), [""; 0]);
    assert_eq!(compare("x", &names, &["a"]), ["x names b"]);
    assert_eq!(compare("x", &names, &["a", "b", "c"]), ["x may name c and does not"]);
}

#[test]
fn planted_strays_are_caught() {
    #[track_caller]
    fn check(path: &str, code: &str, expected: &[&str]) {
        let expected: Vec<String> = expected.iter().map(|name| format!("{path} names {name}")).collect();
        assert_eq!(strays(path, &without_comments_and_texts(code)), expected, "{code}");
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

#[test]
fn planted_uses_are_caught() {
    #[track_caller]
    fn check(code: &str, count: usize) {
        let code = without_tests(&without_comments_and_texts(code));
        assert_eq!(odd_uses("a.rs", &code).len(), count, "{code}");
    }
    check("use std::fmt;\nuse std::io::Write as _;", 0);
    check("use std::{fmt, io};", 1);
    check("use crate::model::{\n    clock::Now,\n};\nfn a() {}", 1);
    check("fn a() { use std::fmt::{self, Write}; }", 1);
    check("use super::Thing;", 1);
    check("pub use self::inner::Thing;", 1);
    check("pub(super) fn a(self: Self) { Self::b() }", 0);
    check("#[cfg(test)]\nmod tests { use super::*; }", 0);
}
