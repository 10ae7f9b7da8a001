//! Configuration text for tests: the parts that all tests share, and the sections of one test as YAML.

use super::lane::Lane;
use std::net::SocketAddr;

/// The beginning of a route in the file.
const ROUTE: &str = "  - name: ";

/// Builds the YAML of a gateway on free loopback ports. Sections are
/// written as in the file, so that a test reads like the documentation.
///
/// ```text
/// GatewayBuilder::new()
///     .upstream("orders", upstream.address())
///     .route("open", "match: { path: /{*rest} }\npublic: true\nupstream: orders")
///     .yaml()
/// ```
#[derive(Clone, Debug, Default)]
pub struct GatewayBuilder {
    top: String,
    admin: String,
    issuers: String,
    limits: String,
    upstreams: String,
    routes: String,
    /// The origin of the pages that may call every route.
    pages: Option<String>,
}

impl GatewayBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds text at the top level: `log: { level: debug }`.
    pub fn top(mut self, yaml: &str) -> Self {
        push_indented(&mut self.top, 0, yaml);
        self
    }

    /// Adds `yaml` to `admin`, beside its address.
    pub fn admin(mut self, yaml: &str) -> Self {
        push_indented(&mut self.admin, 2, yaml);
        self
    }

    /// Adds an issuer; `yaml` is its section.
    pub fn issuer(mut self, name: &str, yaml: &str) -> Self {
        push_entry(&mut self.issuers, name, yaml);
        self
    }

    /// Adds a limit; `yaml` is its section.
    pub fn limit(mut self, name: &str, yaml: &str) -> Self {
        push_entry(&mut self.limits, name, yaml);
        self
    }

    /// Adds an upstream of one endpoint.
    pub fn upstream(self, name: &str, endpoint: SocketAddr) -> Self {
        self.upstream_with(name, &format!("endpoints: [\"{endpoint}\"]"))
    }

    /// Adds an upstream; `yaml` is its section.
    pub fn upstream_with(mut self, name: &str, yaml: &str) -> Self {
        push_entry(&mut self.upstreams, name, yaml);
        self
    }

    /// Adds a route; `yaml` holds everything but its name.
    pub fn route(mut self, name: &str, yaml: &str) -> Self {
        self.routes.push_str(&format!("{ROUTE}{name}\n"));
        push_indented(&mut self.routes, 4, yaml);
        self
    }

    /// Lets pages of `origin` call every route that has no `cors`.
    pub fn pages(mut self, origin: Option<&str>) -> Self {
        self.pages = origin.map(str::to_owned);
        self
    }

    /// Returns the section `routes`.
    fn routes(&self) -> String {
        let Some(origin) = &self.pages else {
            return self.routes.clone();
        };
        let cors = format!("    cors: {{ origins: [{origin}] }}\n");
        let with_cors = |route: &str| {
            let cors = if route.contains("    cors:") { "" } else { &*cors };
            format!("{ROUTE}{route}{cors}")
        };
        self.routes.split(ROUTE).skip(1).map(with_cors).collect()
    }

    /// Returns the whole file, without the sections that are empty.
    pub fn yaml(&self) -> String {
        let lane = Lane::current().listener_yaml();
        let mut yaml = format!("listeners:\n  - address: 127.0.0.1:0\n{lane}admin:\n  address: 127.0.0.1:0\n");
        yaml.push_str(&self.admin);
        yaml.push_str(&self.top);
        for (section, text) in [
            ("issuers", &self.issuers),
            ("limits", &self.limits),
            ("upstreams", &self.upstreams),
            ("routes", &self.routes()),
        ] {
            if !text.is_empty() {
                yaml.push_str(&format!("{section}:\n{text}"));
            }
        }
        yaml
    }
}

fn push_entry(out: &mut String, name: &str, yaml: &str) {
    out.push_str(&format!("  {name}:\n"));
    push_indented(out, 4, yaml);
}

fn push_indented(out: &mut String, spaces: usize, yaml: &str) {
    for line in yaml.lines() {
        out.push_str(&format!("{:spaces$}{line}\n", ""));
    }
}

#[test]
fn the_text_is_yaml_with_every_section_in_its_place() {
    let yaml = GatewayBuilder::new()
        .top("log: { level: debug }")
        .upstream("orders", "127.0.0.1:9".parse().unwrap())
        .issuer("main", "issuer: https://main.example\naudiences:\n  - api")
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: orders")
        .route("second", "upstream: orders")
        .yaml();
    let read: serde_json::Value = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(read["admin"]["address"], "127.0.0.1:0");
    assert_eq!(read["log"]["level"], "debug");
    assert_eq!(read["upstreams"]["orders"]["endpoints"][0], "127.0.0.1:9");
    assert_eq!(read["issuers"]["main"]["audiences"][0], "api");
    assert_eq!(read["routes"][0]["match"]["path"], "/{*rest}");
    assert_eq!(read["routes"][1]["name"], "second");
    assert!(read.get("limits").is_none());
}
