//! How does the text of a configuration file become a [`Config`], or a list of every mistake in it?
//!
//! The text becomes a tree whose nodes know their file and line (`tree`). The tree becomes serde sections (`read`): a
//! section has the keys of a section as they are written. Each section's file has the section (private), the public type
//! and the conversion. [`load_logged`] and its variants are the entry points.

mod tree;

mod read;

mod mistake;

mod key_hint;

mod include;

mod included;

mod origin;

mod check;

pub mod error;
pub mod file_need;

mod text;

mod pattern;

pub mod path_rewrite;

mod reserved_header;

pub mod match_condition;
pub mod address_rules;
pub mod header_rules;

pub mod admin;
pub mod api_keys;
pub mod built_in;
pub mod certificate;
pub mod client_certificates;
pub mod cors;
pub mod discovery;
pub mod identity_token;
pub mod introspection;
pub mod issuer;
pub mod limit;
pub mod listener;
pub mod oauth_client;
pub mod observe;
pub mod plan;
pub mod resource;
pub mod route;
mod route_section;
pub mod rule;
pub mod shutdown;
pub mod store;
pub mod timeouts;
pub mod tls;
pub mod token_endpoint;
pub mod token_paths;
pub mod upstream;
pub mod endpoint;
pub mod balance;
pub mod split;
pub mod health;
pub mod upstream_tls;
mod name_server;
pub mod upstream_credential;

mod defaults;

mod overlap;
mod reserved_field;

mod shadow;

mod parts;
mod credential_conflict;
mod claim_reach;
mod unmet;
mod unused;
mod server_name;
mod preflight;
mod reach;
mod partial;

mod schema;

#[cfg(test)]
mod tests;

pub use address_rules::AddressRules;
pub use admin::Admin;
pub use api_keys::ApiKeys;
pub use balance::Balance;
pub use balance::Ejection;
pub use balance::HashKey;
pub use built_in::BuiltInPath;
pub use built_in::BuiltInRoute;
pub use built_in::EndpointKind;
pub use check::OWN_ISSUER;
pub use check::ReferencedFiles;
pub use client_certificates::CertificateRequirement;
pub use cors::Cors;
pub use endpoint::Endpoint;
pub use endpoint::EndpointHost;
pub use error::ConfigError;
pub use error::ConfigErrors;
pub use error::ConfigWarning;
pub use header_rules::HeaderRules;
pub use health::HealthCheck;
pub use health::HealthCheckKind;
pub use identity_token::IdentityToken;
pub use include::Includes;
pub use include::ReadLog;
pub use introspection::Introspection;
pub use issuer::ConnectSettings;
pub use issuer::Issuer;
pub use issuer::JwksLocation;
pub use issuer::KeySource;
pub use limit::Limit;
pub use limit::LimitBy;
pub use limit::LimitWindow;
pub use limit::RateLimitHeaders;
pub use listener::Http1Lane;
pub use listener::Listener;
pub use listener::PlainProtocol;
pub use listener::RequestLimits;
pub use match_condition::MatchConditions;
pub use match_condition::MatchField;
pub use match_condition::ValuePattern;
pub use oauth_client::OauthClient;
pub use observe::LogFormat;
pub use observe::Observe;
pub use origin::SourceLine;
pub use origin::SourceLines;
pub use partial::PartialConfig;
pub use path_rewrite::PathRewrite;
pub use path_rewrite::TemplatePart;
pub(crate) use pattern::DEFAULT_METHODS;
pub use pattern::HostPattern;
pub use pattern::PathPattern;
pub(crate) use pattern::is_dot_segment;
pub(crate) use pattern::takes;
pub use resource::Resource;
pub use route::AcceptedCredential;
pub use route::Route;
pub use route::TwoCredentials;
pub use rule::Condition;
pub use rule::Mode;
pub use rule::Rule;
pub use schema::included_schema;
pub use schema::schema;
pub use shutdown::Shutdown;
pub use split::RouteUpstream;
pub use split::Split;
pub use store::StoreSettings;
pub use text::parse_duration;
pub use timeouts::Timeouts;
pub use token_endpoint::TokenEndpoint;
pub use upstream::Upstream;
pub use upstream::UpstreamKind;
pub use upstream_tls::UpstreamTls;

use crate::config::check::Checker;
use crate::config::file_need::FileNeed;
use crate::config::header_rules::OwnHeaders;
use crate::config::include::NoLog;
use crate::config::mistake::read;
use crate::config::read::NamedEntries;
use crate::config::read::OneOrMany;
use crate::config::read::OrKeyword;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::tree::FILE_BYTES_MAX;
use crate::config::tree::ROOT;
use crate::config::tree::Tree;
use crate::model::names::Name;
use crate::model::plan::Plan;
use http::HeaderName;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

/// A whole configuration. Every value is typed, every name is resolved and no two routes overlap, so
/// `Snapshot::compile` does not fail.
#[derive(Clone, Debug)]
pub struct Config {
    pub listeners: Vec<Listener>,
    /// Limits on the cost of one connection and one request, for every listener.
    pub requests: RequestLimits,
    /// How the process ends.
    pub shutdown: Shutdown,
    pub admin: Option<Admin>,
    pub observe: Observe,
    /// Folder for data that outlives the process: `state_dir`, else the first path of `$STATE_DIRECTORY`.
    pub state_dir: Option<PathBuf>,
    /// The socket over which a new process takes the place of this one. `None`: none does.
    pub hand_over: Option<PathBuf>,
    /// Addresses of peers that are trusted to report the client's address, in `X-Forwarded-*` and `Forwarded`.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    pub issuers: BTreeMap<Name, Issuer>,
    pub api_keys: ApiKeys,
    pub limits: BTreeMap<Name, Limit>,
    /// Limit of failed authentications per source address. `None`: no limit.
    pub failed_authentication: Option<crate::model::plan::Quota>,
    pub rate_limit_headers: RateLimitHeaders,
    pub upstreams: BTreeMap<Name, Upstream>,
    pub routes: Vec<Route>,
    /// Warnings about a valid configuration, in the order of the files and of each file's lines.
    pub warnings: Vec<ConfigWarning>,
    /// Further warnings, each true unless the files with keys meet its need.
    pub file_needs: Vec<FileNeed>,
    /// APIs as their clients know them (RFC 9728).
    pub resources: BTreeMap<Name, Resource>,
    /// The signer of the tokens that tell upstreams the identity of a principal.
    pub identity_token: Option<IdentityToken>,
    /// Paths that Keygate answers itself; no operator's route has exactly one of them.
    pub built_ins: Vec<BuiltInRoute>,
    /// The store of the credentials that Keygate issues.
    pub store: Option<StoreSettings>,
    /// Present only with `store`. `issuers` contains its issuer, named [`TokenEndpoint::own_issuer`].
    pub token_endpoint: Option<TokenEndpoint>,
    /// Plans by name, the built-in plans included.
    pub plans: BTreeMap<Name, Plan>,
}

/// The configuration of Keygate, a gateway that lets a request through only when it carries exactly one good credential.
///
/// Durations are written `500ms`, `30s`, `5m`, `1h`, `1d`; sizes `8192`, `32KiB`, `10MiB`; rates `500/min`. `${NAME}` in a
/// text stands for an environment variable. Paths of files are relative to the folder of this one.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Keygate configuration")]
struct Section {
    /// Files that hold further issuers, limits, upstreams and routes: paths or globs such as `routes.d/*.yaml`, relative to
    /// the folder of this file.
    include: Option<OneOrMany<Text<include::Glob>>>,
    /// Where connections come in. Required.
    #[schemars(required)]
    listeners: Option<Vec<TypedNode<listener::Section>>>,
    admin: Option<TypedNode<admin::Section>>,
    log: Option<observe::Section>,
    /// Folder in which Keygate keeps what it learned, such as the last good keys of issuers and clients; made when it is not there.
    /// Default: the variable `STATE_DIRECTORY`, which systemd sets for `StateDirectory=`; without it, nothing is kept.
    state_dir: Option<Text<PathBuf>>,
    /// Socket over which a second `keygate run` with this configuration takes the listening sockets and the store over, for an
    /// upgrade that loses no request. Made by the gate, for its user alone. Default: none, and a second gate does not start.
    hand_over: Option<Text<PathBuf>>,
    requests: Option<listener::LimitsSection>,
    /// How the process ends.
    shutdown: Option<shutdown::Section>,
    /// Address ranges whose `X-Forwarded-*` and `Forwarded` are believed. Default: none.
    trusted_proxies: Option<Texts<IpNet>>,
    /// Whose tokens are trusted, by a name of your choice.
    issuers: Option<NamedEntries<Name, issuer::Section>>,
    api_keys: Option<api_keys::Section>,
    /// Limits that routes refer to, by a name of your choice.
    limits: Option<NamedEntries<Name, limit::Section>>,
    /// Failed authentications per source address; `off` for none. Default `60/min` with a burst of 20.
    failed_authentication: Option<TypedNode<OrKeyword<limit::FailedSection, limit::Off>>>,
    rate_limit_headers: Option<limit::HeadersSection>,
    /// Where requests go, by a name of your choice. Required, here or in an included file.
    upstreams: Option<NamedEntries<Name, upstream::Section>>,
    /// What every route inherits. Only in the main file.
    defaults: Option<TypedNode<defaults::Section>>,
    /// Which requests, what they must carry, where they go. Required, here or in an included file.
    routes: Option<Vec<TypedNode<route_section::Section>>>,
    /// APIs as their clients know them, by a name of your choice; their metadata are answered here (RFC 9728).
    resources: Option<NamedEntries<Name, resource::Section>>,
    identity_token: Option<TypedNode<identity_token::Section>>,
    store: Option<TypedNode<store::Section>>,
    token_endpoint: Option<TypedNode<token_endpoint::Section>>,
    /// What subscriptions get, by a name of your choice. `default` is there without being written: any credentials, any
    /// scopes, active at once. `operators` is taken.
    plans: Option<NamedEntries<Name, plan::Section>>,
}

/// The main file of a configuration.
#[derive(Clone, Copy, Debug)]
pub enum MainFile<'a> {
    Path(&'a Path),
    /// The bytes of a file that the caller has read, such as stdin. `name` stands for it in errors, and paths in it are
    /// relative to the folder of `name`.
    Read {
        name: &'a Path,
        bytes: &'a [u8],
    },
}

impl<'a> MainFile<'a> {
    /// Returns the path, or the name that stands for it.
    pub fn name(self) -> &'a Path {
        match self {
            Self::Path(path) => path,
            Self::Read { name, .. } => name,
        }
    }

    fn text(self, log: &mut dyn ReadLog) -> Result<String, ConfigErrors> {
        let text = match self {
            Self::Path(path) => include::read_text(path, FILE_BYTES_MAX, log),
            Self::Read { bytes, .. } => include::text(bytes.to_vec(), FILE_BYTES_MAX),
        };
        text.map_err(|(code, problem)| {
            into_errors(vec![ConfigError {
                code,
                file: self.name().to_owned(),
                place: None,
                path: String::new(),
                problem,
                hint: None,
            }])
        })
    }
}

impl<'a, P: AsRef<Path> + ?Sized> From<&'a P> for MainFile<'a> {
    fn from(path: &'a P) -> Self {
        Self::Path(path.as_ref())
    }
}

/// Does the same as [`load_logged`], without a log.
///
/// # Errors
/// Those of [`load_logged`].
#[cfg(any(test, feature = "internals"))]
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let text = MainFile::Path(path).text(&mut NoLog)?;
    let files = ReferencedFiles::MustExistButKeys;
    let parsed = parse_with_tree(&text, path, &from_environment, files, &mut NoLog)?;
    parsed.whole().map(|(config, _)| config)
}

/// Reads and validates a configuration file and the files it includes. Returns the configuration.
/// `${NAME}` is an environment variable of this process. `log` receives each file that is read, and the list of the
/// included files before these are read, so that the caller can notice later changes.
///
/// # Errors
/// Every mistake in the files at once, or the reason why the main file cannot be read.
pub fn load_logged(main: MainFile<'_>, log: &mut dyn ReadLog) -> Result<Config, ConfigErrors> {
    let text = main.text(log)?;
    let files = ReferencedFiles::MustExist;
    let parsed = parse_with_tree(&text, main.name(), &from_environment, files, log)?;
    parsed.whole().map(|(config, _)| config)
}

/// Does the same as [`load_logged`] for a caller that uses a part of the configuration: parts that `is_tolerated` accepts may be
/// missing, and [`PartialConfig::resolved`] says whether the caller needs them. `files` says which files must exist.
///
/// # Errors
/// Every other mistake in the files at once, or the reason why the main file cannot be read.
pub fn load_partial<'m>(
    main: impl Into<MainFile<'m>>,
    files: ReferencedFiles,
    is_tolerated: fn(&ConfigError) -> bool,
) -> Result<PartialConfig, ConfigErrors> {
    let main = main.into();
    let text = main.text(&mut NoLog)?;
    let parsed = parse_with_tree(&text, main.name(), &from_environment, files, &mut NoLog)?;
    parsed.partial(is_tolerated)
}

/// Does the same as [`load_logged`], and returns the line of each part too. With [`ReferencedFiles::MayBeMissing`] the files
/// with keys and secrets are not read: a configuration from a version history has no such files.
///
/// # Errors
/// Those of [`load_logged`].
pub fn load_with_lines<'m>(
    main: impl Into<MainFile<'m>>,
    files: ReferencedFiles,
) -> Result<(Config, SourceLines), ConfigErrors> {
    let main = main.into();
    let text = main.text(&mut NoLog)?;
    let parsed = parse_with_tree(&text, main.name(), &from_environment, files, &mut NoLog)?;
    let (config, tree) = parsed.whole()?;
    Ok((config, SourceLines::of(&tree)))
}

fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Parses the text of a configuration file. `file` is its name in errors, and paths
/// in the text are relative to its folder. `env` returns the value of `${NAME}`.
/// Reads included files and secrets, and checks that files with keys exist.
///
/// # Errors
/// Every mistake in the files at once, in the order of the files.
#[cfg(any(test, feature = "internals"))]
pub fn parse(text: &str, file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
    let parsed = parse_with_tree(text, file, env, ReferencedFiles::MustExist, &mut NoLog)?;
    parsed.whole().map(|(config, _)| config)
}

/// The result of parsing: a configuration, without the parts that have mistakes.
struct ParsedConfig {
    config: Option<Config>,
    /// The tree with the place of each part.
    tree: Tree,
    errors: Vec<ConfigError>,
}

impl ParsedConfig {
    /// Returns the configuration and the tree.
    ///
    /// # Errors
    /// Every mistake.
    fn whole(self) -> Result<(Config, Tree), ConfigErrors> {
        ConfigErrors::or_ok(self.errors, self.tree.files())?;
        let config = self.config.expect("a configuration without mistakes is whole");
        Ok((config, self.tree))
    }

    /// Returns the configuration without the parts whose mistakes are tolerated.
    ///
    /// # Errors
    /// Every mistake that is not tolerated, or those that are, if there is no configuration without these parts.
    fn partial(self, is_tolerated: fn(&ConfigError) -> bool) -> Result<PartialConfig, ConfigErrors> {
        let (missing, errors): (Vec<_>, Vec<_>) = self.errors.into_iter().partition(is_tolerated);
        ConfigErrors::or_ok(errors, self.tree.files())?;
        match self.config {
            Some(config) => Ok(PartialConfig::new(config, missing, self.tree.files().to_vec())),
            None => {
                Err(ConfigErrors::or_ok(missing, self.tree.files())
                    .expect_err("a configuration without mistakes is whole"))
            }
        }
    }
}

/// Parses the text of a configuration file.
///
/// # Errors
/// The reason why the text is no tree.
fn parse_with_tree(
    text: &str,
    file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    files: ReferencedFiles,
    log: &mut dyn ReadLog,
) -> Result<ParsedConfig, ConfigErrors> {
    let (mut tree, mut errors) = (Tree::default(), Vec::new());
    let main = tree.add_file(file.to_owned());
    if tree.parse(text, main, env, &mut errors).is_none() {
        return Err(into_errors(errors));
    }
    let mut checker = Checker {
        tree,
        errors,
        warnings: Vec::new(),
        env,
        files,
        log,
    };
    let config = read::<Section>(ROOT, &mut checker).and_then(|mut section| {
        for part in included::read_all(section.include.take(), &mut checker) {
            section.add(part);
        }
        convert(section, &mut checker)
    });
    let (tree, errors, mut warnings) = (checker.tree, checker.errors, checker.warnings);
    let order = |file: &PathBuf| tree.files().iter().position(|known| known == file);
    warnings.sort_by_key(|ConfigWarning(warning)| (order(&warning.file), warning.place));
    let config = config.map(|config| Config { warnings, ..config });
    Ok(ParsedConfig { config, tree, errors })
}

fn into_errors(errors: Vec<ConfigError>) -> ConfigErrors {
    ConfigErrors::or_ok(errors, &[]).expect_err("a text that is no tree has left an error")
}

impl Config {
    /// Returns the files of certificates and keys that the listeners and the upstreams use.
    pub fn tls_files(&self) -> impl Iterator<Item = &PathBuf> {
        let certificates = self.certificates();
        let certificates = certificates.flat_map(|(_, certificate)| [&certificate.file, &certificate.key_file]);
        let tls = self.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let authorities = tls.filter_map(|tls| tls.clients.as_ref().map(|clients| &clients.ca_file));
        let upstreams = self.upstreams.values().flat_map(Upstream::tls_files);
        certificates.chain(authorities).chain(upstreams)
    }

    /// Returns every certificate of the listeners, each with its listener.
    pub fn certificates(&self) -> impl Iterator<Item = (&Listener, &tls::Certificate)> {
        self.listeners.iter().flat_map(|listener| {
            let certificates = listener.tls.iter().flat_map(|tls| &tls.certificates);
            certificates.map(move |certificate| (listener, certificate))
        })
    }
}

impl Section {
    /// Adds the sections of an included file.
    fn add(&mut self, part: included::Section) {
        fn append<K, V>(entries: &mut Option<NamedEntries<K, V>>, part: Option<NamedEntries<K, V>>) {
            if let Some(NamedEntries(part)) = part {
                entries.get_or_insert(NamedEntries(Vec::new())).0.extend(part);
            }
        }
        let included::Section {
            issuers,
            limits,
            upstreams,
            routes,
        } = part;
        append(&mut self.issuers, issuers);
        append(&mut self.limits, limits);
        append(&mut self.upstreams, upstreams);
        if let Some(routes) = routes {
            self.routes.get_or_insert_default().extend(routes);
        }
    }
}

fn convert(section: Section, checker: &mut Checker<'_>) -> Option<Config> {
    let listeners = checker.need(
        ROOT,
        "listeners",
        section.listeners,
        "such as `listeners: [{ address: \"127.0.0.1:8080\" }]`",
    );
    let upstreams = checker.need_section("upstreams", section.upstreams, "where requests go");
    let routes = checker.need_section(
        "routes",
        section.routes,
        "which requests, what they must carry, where they go",
    );
    let listeners = listener::convert(listeners.unwrap_or_default(), checker);
    let admin = section.admin.and_then(|admin| admin::convert(admin, checker));
    if let Some(admin) = &admin {
        listener::refuse_shared(&listeners, admin.at, admin.value.address, checker);
    }
    let api_keys = api_keys::convert(section.api_keys.unwrap_or_default(), checker);
    let limits = limit::convert(section.limits.unwrap_or(NamedEntries(Vec::new())), checker);
    let mut issuers = issuer::convert(
        section.issuers.unwrap_or(NamedEntries(Vec::new())),
        &api_keys.header,
        checker,
    );
    let store = section.store.and_then(|store| store::convert(store, checker));
    let token_endpoint = section
        .token_endpoint
        .and_then(|token_endpoint| token_endpoint::convert(token_endpoint, checker));
    let ports: Vec<u16> = listeners.iter().map(|listener| listener.value.address.port()).collect();
    token_endpoint::warn_of_port(token_endpoint.as_ref(), &ports, checker);
    token_endpoint::add_own_issuer(token_endpoint.as_ref(), &mut issuers, checker);
    let plans = plan::convert(section.plans, store.is_some(), checker);
    let claim_headers: Vec<&HeaderName> = issuers.values().flat_map(Issuer::claim_header_names).collect();
    let token_headers: Vec<&HeaderName> = issuers
        .values()
        .filter_map(|issuer| issuer.token_header.as_ref())
        .collect();
    let own_headers = OwnHeaders {
        api_key: &api_keys.header,
        claims: &claim_headers,
        tokens: &token_headers,
    };
    let upstreams = upstream::convert(upstreams.unwrap_or(NamedEntries(Vec::new())), &own_headers, checker);
    let resources = resource::convert(section.resources.unwrap_or(NamedEntries(Vec::new())), checker);
    let identity_token = section
        .identity_token
        .and_then(|identity_token| identity_token::convert(identity_token, checker));
    let routes = routes.unwrap_or_default();
    let written_routes = routes.len();
    let defaults = defaults::convert(section.defaults, checker);
    let routes = route_section::convert(routes, &defaults, &limits, &own_headers, checker);
    overlap::refuse(&routes, checker);
    reserved_field::refuse(&routes, &headers_with_a_meaning(&api_keys, &issuers), checker);
    let of_routes = routes
        .iter()
        .filter_map(|located| checker.tree.entry(located.at, "client_certificates"));
    let of_defaults = defaults.client_certificates.iter().map(|(_, at)| *at);
    let certificate_places: Vec<tree::NodeId> = of_defaults.chain(of_routes).collect();
    client_certificates::warn_of_unreachable(&certificate_places, &listeners, checker);
    let built_ins = built_in::all(&resources, identity_token.as_ref(), token_endpoint.as_ref());
    built_in::refuse_overlap(&built_ins, &routes, checker);
    // The only route of a resource may be among the rejected routes.
    if routes.len() == written_routes {
        resource::refuse_unused(&resources, &routes, checker);
    }
    for located in &routes {
        check_api_key_file(located, &api_keys, checker);
        check_public_limits(located, &limits, checker);
        shadow::check(located, &issuers, &limits, checker);
        check_one_introspection(located, checker);
    }
    let requests = listener::convert_limits(section.requests.unwrap_or_default(), checker);
    let parts = parts::Parts {
        listeners: &listeners,
        requests: &requests,
        issuers: &issuers,
        api_keys: &api_keys,
        limits: &limits,
        upstreams: &upstreams,
        resources: &resources,
        plans: &plans,
        token_endpoint: token_endpoint.as_ref(),
        routes: &routes,
        has_store: store.is_some(),
    };
    credential_conflict::refuse(&parts, checker);
    let file_needs = reach::warn(&parts, checker);
    issuer::note_claim_facts(&mut issuers, routes.iter().map(|located| &located.route));
    Some(Config {
        listeners: listeners.into_iter().map(|listener| listener.value).collect(),
        shutdown: shutdown::convert(section.shutdown.unwrap_or_default()),
        requests,
        admin: admin.map(|admin| admin.value),
        observe: observe::convert(section.log.unwrap_or_default()),
        state_dir: state_dir(section.state_dir, checker),
        hand_over: section.hand_over.and_then(|path| socket_path(&path, checker)),
        trusted_proxies: trusted_proxies(section.trusted_proxies, checker),
        issuers,
        api_keys,
        limits,
        failed_authentication: limit::convert_failed(section.failed_authentication, checker),
        rate_limit_headers: limit::convert_headers(section.rate_limit_headers.unwrap_or_default()),
        upstreams,
        routes: routes.into_iter().map(|located| located.route).collect(),
        warnings: Vec::new(),
        file_needs,
        resources,
        identity_token,
        built_ins,
        store,
        token_endpoint,
        plans,
    })
}

/// Returns the headers that carry credentials or identities because a setting says so, each with the setting.
fn headers_with_a_meaning<'c>(
    api_keys: &'c ApiKeys,
    issuers: &'c BTreeMap<Name, Issuer>,
) -> BTreeMap<&'c str, &'static str> {
    let tokens = issuers.values().filter_map(|issuer| issuer.token_header.as_ref());
    let claims = issuers.values().flat_map(Issuer::claim_header_names);
    let tokens = tokens.map(|name| (name.as_str(), "token_header"));
    let claims = claims.map(|name| (name.as_str(), "claim_headers"));
    let keys = (api_keys.header.as_str(), "api_keys.header");
    claims.chain(tokens).chain([keys]).collect()
}

fn trusted_proxies(written: Option<Texts<IpNet>>, checker: &mut Checker<'_>) -> Vec<IpNet> {
    let written = written.map(|ranges| ranges.value).unwrap_or_default();
    checker.refuse_duplicates(&written);
    for range in &written {
        if range.get().prefix_len() == 0 {
            let problem = checker.with_value(range.at, "this range is everybody, who could then claim any address");
            checker.error_with(
                range.at,
                "trusts-everyone",
                problem,
                "name the addresses of your own proxies",
            );
        }
    }
    written.into_iter().map(Text::take).collect()
}

/// Returns the configured folder, else the first of the folders that systemd created (`$STATE_DIRECTORY`, separated by
/// `:`; see systemd.exec, `StateDirectory=`).
fn state_dir(written: Option<Text<PathBuf>>, checker: &mut Checker<'_>) -> Option<PathBuf> {
    let Some(written) = written else {
        let list = (checker.env)("STATE_DIRECTORY")?;
        let first = list.split(':').next().map(PathBuf::from);
        return first.filter(|path| path.is_absolute());
    };
    let path = checker.resolve(written.at, written.get());
    if path.exists() && !path.is_dir() {
        let problem = checker.with_value(written.at, "this is not a folder");
        checker.error_with(
            written.at,
            "not-a-folder",
            problem,
            "files with names of their own are kept in it",
        );
    }
    Some(path)
}

/// Returns the path of a unix socket. Reports one that the system does not take.
fn socket_path(written: &Text<PathBuf>, checker: &mut Checker<'_>) -> Option<PathBuf> {
    let path = checker.resolve(written.at, written.get());
    if path.as_os_str().len() > endpoint::UNIX_PATH_BYTES_MAX {
        let limit = endpoint::UNIX_PATH_BYTES_MAX;
        checker.error(
            written.at,
            "out-of-range",
            format!("the path of a socket has at most {limit} bytes"),
        );
        return None;
    }
    Some(path)
}

/// Reports a route that accepts API keys where no source of keys is configured: it would refuse every API key.
fn check_api_key_file(located: &route::LocatedRoute, api_keys: &ApiKeys, checker: &mut Checker<'_>) {
    let stored = checker.tree.entry(ROOT, "store").is_some();
    if !located.route.accept.contains(&AcceptedCredential::ApiKey) || api_keys.file.is_some() || stored {
        return;
    }
    let section = checker.tree.entry(ROOT, "api_keys");
    let reported =
        section.is_some_and(|section| checker.tree.is_cut(section) || checker.tree.entry(section, "file").is_some());
    if !reported {
        let at = checker.tree.entry(located.at, "accept").unwrap_or(located.at);
        let hint = "say where the keys are: `store: { path: keygate.db }`, or `api_keys: { file: keys.yaml }`";
        let problem = "accepts API keys, and there is neither a `store` nor an `api_keys.file`";
        checker.error_with(at, "no-keys", problem, hint);
    }
}

/// Reports limits by a property of the principal on a public route: only the address and the route are known there.
fn check_public_limits(located: &route::LocatedRoute, limits: &BTreeMap<Name, Limit>, checker: &mut Checker<'_>) {
    if !located.route.public {
        return;
    }
    for (name, at) in &located.own_limits {
        let at = *at;
        if limits.get(name).is_some_and(Limit::needs_principal) {
            let problem = checker.with_value(at, "counts by who was proved, and this route is public");
            checker.error_with(at, "limit-needs-credential", problem, "count by `ip` or `route` here");
        }
    }
}

/// Reports a route with more than one issuer that introspects. An opaque token does not name its issuer, and trying one
/// issuer after the other would show each the tokens of the others.
fn check_one_introspection(located: &route::LocatedRoute, checker: &mut Checker<'_>) {
    let tree = &checker.tree;
    let introspects = |name: &&Name| {
        let named = |section| tree.entry(section, name.as_str());
        let mut issuers = tree.sections("issuers").filter_map(named);
        issuers.any(|issuer| tree.entry(issuer, "introspection").is_some())
    };
    let introspecting: Vec<&str> = located
        .route
        .issuers
        .iter()
        .filter(introspects)
        .map(Name::as_str)
        .collect();
    if introspecting.len() > 1 {
        let at = checker.tree.entry(located.at, "issuers").unwrap_or(located.at);
        let problem = format!(
            "opaque tokens would go to {}, and only one of them can be asked",
            introspecting.join(" and ")
        );
        let hint = "name the issuers of this route, at most one of them with `introspection`";
        checker.error_with(at, "two-introspections", problem, hint);
    }
}
