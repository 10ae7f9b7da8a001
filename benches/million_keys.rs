//! How much memory does a gate with a million API keys take, how soon does it serve, how long does a change take, and
//! do scrapes of the metrics delay requests?
//!
//! `cargo bench --bench million_keys`. With `-- in <folder>`, the database and the keys file stay in the folder for the
//! next run. The bench measures the whole program from outside.

use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::ApiKeyText;
use keygate::model::api_key::CredentialDigest;
use keygate::model::api_key::system_random;
use keygate::model::clock::Timestamp;
use keygate::model::directory::ApiKeyOrigin;
use keygate::model::plan::CredentialKinds;
use keygate::model::plan::Plan;
use keygate::store::Batch;
use keygate::store::Store;
use keygate::store::Versioned;
use keygate::store::Write as Record;
use keygate::store::record::ApiKeyRecord;
use keygate::store::record::NewApiKey;
use keygate::store::record::OrganizationRecord;
use keygate::store::record::SubscriptionRecord;
use keygate::store::sqlite::SqliteStore;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

const MADE: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);
const EXPIRES: Timestamp = Timestamp::from_unix_millis(4_000_000_000_000);
const ORGANIZATIONS: u64 = 100;
const SUBSCRIPTIONS: u64 = 1_000;
/// Records in one batch when the store is filled.
const FILL: u64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(300);
const ADMIN: &str = "Authorization: Bearer 0123456789abcdef0123456789abcdef";

struct Size {
    keys: u64,
    /// Keys that are created and revoked while the gate runs.
    changes: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let full = Size {
        keys: 1_000_000,
        changes: 200,
    };
    let (size, given) = match arguments[..] {
        ["in", folder, "--bench"] => (full, Some(PathBuf::from(folder))),
        ["--bench"] => (full, None),
        // `cargo test --benches`: a short run.
        _ => (
            Size {
                keys: 2_000,
                changes: 3,
            },
            None,
        ),
    };
    let created = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder below target");
    let folder = given.as_deref().unwrap_or(created.path());
    println!("{:<58} {:>12}", format!("{} keys", size.keys), "");
    let store = folder.join("store");
    if !store.join("keygate.db").exists() {
        fill(&store.join("keygate.db"), size.keys);
    }
    let empty = folder.join("empty");
    fs::create_dir_all(&empty).expect("a folder can be made");
    println!("\nempty store");
    Gate::start(&empty, STORE).memory();
    println!("\nin the store");
    let gate = Gate::start(&store, STORE);
    gate.memory();
    gate.changes(size.changes);
    gate.scrapes();
    gate.memory();
    drop(gate);
    let file = folder.join("file");
    if !file.join("keys.yaml").exists() {
        fs::create_dir_all(&file).expect("a folder can be made");
        fs::write(file.join("keys.yaml"), keys_file(size.keys)).expect("the keys file is written");
    }
    println!("\nin the keys file");
    Gate::start(&file, "api_keys: { file: keys.yaml }").memory();
}

const STORE: &str = "store: { path: keygate.db }
plans:
  gold: { credentials: api_key, keys_max: unlimited }";

/// A running gate. Killed when dropped.
struct Gate {
    child: Child,
    data: SocketAddr,
    admin: SocketAddr,
}

impl Gate {
    fn start(folder: &Path, keys: &str) -> Self {
        let config = folder.join("keygate.yaml");
        fs::write(&config, configuration(keys)).expect("a file can be written");
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_keygate"))
            .args(["run", "--config"])
            .arg(&config)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let (mut data, mut admin) = (None, None);
        let mut log = String::new();
        while let (None, _) | (_, None) = (data, admin) {
            let Some(line) = lines.next() else {
                panic!("it did not say where it listens:\n{log}");
            };
            data = data.or_else(|| listening(&line, "data"));
            admin = admin.or_else(|| listening(&line, "admin"));
            log.push_str(&line);
            log.push('\n');
        }
        // Read stderr to its end: the gate could not write its log to a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let gate = Self {
            child,
            data: data.expect("it was found"),
            admin: admin.expect("it was found"),
        };
        while ask(gate.admin, "GET", "/readyz", &[], "").0 != 200 {
            assert!(started.elapsed() < PATIENCE, "it is not ready");
        }
        row("from the start of the process to ready", &millis(started.elapsed()));
        gate
    }

    fn memory(&self) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        for (what, field) in [("resident", "VmRSS:"), ("resident at most, so far", "VmHWM:")] {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
            let kilobytes: f64 = kilobytes.and_then(|number| number.parse().ok()).unwrap_or(0.0);
            row(what, &format!("{:.1} MB", kilobytes * 1.024 / 1_000.0));
        }
    }

    /// Creates and revokes keys; every change must be in force for the next request.
    fn changes(&self, count: usize) {
        let mut created = Times::default();
        let mut revoked = Times::default();
        let mut seen = Times::default();
        for _ in 0..count {
            let body = r#"{"name":"one more","expires":"1d","subscription":"sub_7"}"#;
            let key = created.take(|| self.admin("POST", "/admin/v1/keys", body));
            let (id, text) = (key["id"].as_str().expect("an id"), key["key"].as_str().expect("a key"));
            assert_eq!(
                seen.take(|| self.present(text)),
                502,
                "it counts, and there is no upstream"
            );
            revoked.take(|| self.admin("POST", &format!("/admin/v1/keys/{id}/revoke"), "{}"));
            assert_eq!(seen.take(|| self.present(text)), 401, "it is revoked");
        }
        created.print("a key made and on disk");
        revoked.print("a key revoked and on disk");
        seen.print("the next request, which saw it");
    }

    /// Measures requests alone, and requests while another thread scrapes the metrics without a pause.
    fn scrapes(&self) {
        let key = self.admin(
            "POST",
            "/admin/v1/keys",
            r#"{"name":"k","expires":"1d","subscription":"sub_7"}"#,
        );
        let text = key["key"].as_str().expect("a key");
        let mut alone = Times::default();
        (0..500).for_each(|_| assert_eq!(alone.take(|| self.present(text)), 502));
        alone.print("a request on a new connection");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let scraper = scope.spawn(|| {
                let mut scrapes = Times::default();
                while !done.load(Ordering::Relaxed) {
                    let (status, body) = scrapes.take(|| ask(self.admin, "GET", "/metrics", &[], ""));
                    assert!(status == 200 && body.contains("keygate_api_keys"), "{status} {body}");
                }
                scrapes
            });
            let mut beside = Times::default();
            (0..500).for_each(|_| assert_eq!(beside.take(|| self.present(text)), 502));
            done.store(true, Ordering::Relaxed);
            beside.print("the same while metrics are asked for all the time");
            scraper.join().expect("scraping ends").print("metrics");
        });
    }

    fn present(&self, key: &str) -> u16 {
        ask(self.data, "GET", "/v1/orders/7", &[&format!("X-Api-Key: {key}")], "").0
    }

    fn admin(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, text) = ask(
            self.admin,
            method,
            path,
            &[ADMIN, "Content-Type: application/json"],
            body,
        );
        assert!(status < 300, "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening(line: &str, listener: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let found = line["message"] == "Listening" && line["listener"] == listener;
    found.then(|| line["address"].as_str()?.parse().ok()).flatten()
}

/// Sends one request on a new connection and returns the status and the body of the response.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, String) {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    write!(request, "Content-Length: {}\r\n\r\n{body}", body.len()).expect("text takes what is written to it");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket can be set");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("it answers with text");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn take<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let created = what();
        self.0.push(started.elapsed());
        created
    }

    fn print(mut self, what: &str) {
        self.0.sort_unstable();
        let at = |part: usize| millis(self.0[(self.0.len() - 1) * part / 100]);
        row(what, &format!("{}, p99 {}, most {}", at(50), at(99), at(100)));
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

fn row(what: &str, value: &str) {
    println!("  {what:<56} {value}");
}

fn configuration(keys: &str) -> String {
    format!(
        "
listeners: [{{ address: '127.0.0.1:0' }}]
admin: {{ address: '127.0.0.1:0', token: 0123456789abcdef0123456789abcdef }}
failed_authentication: off
{keys}
upstreams:
  orders: {{ endpoints: ['127.0.0.1:1'] }}
routes:
  - name: orders
    match: {{ path: '/v1/orders/{{*rest}}' }}
    accept: [api_key]
    upstream: orders
"
    )
}

fn fill(path: &Path, count: u64) {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let store = SqliteStore::open(path).await.expect("the store opens");
        let write = async |writes: Vec<Record>| {
            let batch = Batch {
                writes,
                ..Batch::default()
            };
            store.commit(batch).await.expect("records are made");
        };
        let organizations = (0..ORGANIZATIONS).map(|number| {
            let id = format!("org-{number}").parse().expect("a name");
            Record::Organization(Versioned::new(OrganizationRecord::new(
                id,
                format!("Organization {number}"),
                MADE,
            )))
        });
        write(organizations.collect()).await;
        let plan = Plan::open("gold".parse().expect("a name"), CredentialKinds::ANY);
        let subscriptions = (0..SUBSCRIPTIONS).map(|number| {
            Record::Subscription(Versioned::new(SubscriptionRecord::new(
                format!("sub_{number}").parse().expect("an id"),
                format!("org-{}", number % ORGANIZATIONS).parse().expect("a name"),
                &plan,
                ApiKeyEnvironment::Live,
                MADE,
            )))
        });
        write(subscriptions.collect()).await;
        let mut number = 0;
        while number < count {
            let keys = number..(number + FILL).min(count);
            number = keys.end;
            write(keys.map(|number| Record::ApiKey(Versioned::new(key(number)))).collect()).await;
        }
        store.close().await;
    });
    let bytes = fs::metadata(path).expect("the database is there").len();
    row("store filled", &millis(started.elapsed()));
    row("on disk", &format!("{:.1} MB", bytes as f64 / 1e6));
}

fn key(number: u64) -> ApiKeyRecord {
    let text = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    let subscription = number % SUBSCRIPTIONS;
    let mut created = ApiKeyRecord::new(
        NewApiKey {
            id: text.id(),
            digest: CredentialDigest::sha256(text.expose()),
            origin: ApiKeyOrigin::Own,
            environment: ApiKeyEnvironment::Live,
            name: format!("key {number} of a build server"),
            organization: format!("org-{}", subscription % ORGANIZATIONS).parse().expect("a name"),
            subscription: format!("sub_{subscription}").parse().expect("an id"),
            scopes: format!("orders:read orders:write tier:{}", number % 20)
                .parse()
                .expect("scopes"),
            addresses: Vec::new(),
            expires_at: None,
        },
        MADE,
    )
    .expect("it does not expire");
    // Every other key expires, long after the bench.
    created.expires_at = number.is_multiple_of(2).then_some(EXPIRES);
    created
}

fn keys_file(count: u64) -> String {
    let mut file = "keys:\n".to_owned();
    for number in 0..count {
        let text = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        let digest = CredentialDigest::sha256(text.expose()).to_hex();
        writeln!(
            file,
            "  - id: {}\n    digest: sha256:{digest}\n    name: key {number} of a build server\n    env: live\n    \
             scopes: [orders:read, orders:write]\n    client: client_{}\n    organization: org-{}\n    \
             created_at: 2026-01-01T00:00:00Z\n    expires_at: never",
            text.id(),
            number % SUBSCRIPTIONS,
            number % ORGANIZATIONS,
        )
        .expect("text takes what is written to it");
    }
    file
}
