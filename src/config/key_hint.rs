//! Which setting does an unknown key mean? Names from other gateways, and the setting of Keygate that does the same.

/// Keys that people try in one section, and the hint for all of them.
struct Row {
    /// Keys of the section. A row is for a section that has all of them.
    beside: &'static [&'static str],
    tried: &'static [&'static str],
    hint: &'static str,
}

const fn row(beside: &'static [&'static str], tried: &'static [&'static str], hint: &'static str) -> Row {
    Row { beside, tried, hint }
}

// Keys by which a section is known.
const TOP: &[&str] = &["issuers", "upstreams", "routes"];
const LISTENER: &[&str] = &["address", "http1"];
const TLS: &[&str] = &["private_key", "client_ca"];
const ADMIN: &[&str] = &["address", "token"];
const LOG: &[&str] = &["level", "format"];
const REQUESTS: &[&str] = &["head_bytes"];
const SHUTDOWN: &[&str] = &["delay", "drain"];
const ISSUER: &[&str] = &["issuer", "jwks_url"];
const INTROSPECTION: &[&str] = &["url", "negative_ttl"];
const API_KEYS: &[&str] = &["header", "pepper"];
const LIMIT: &[&str] = &["by", "quota"];
const QUOTA: &[&str] = &["quota", "burst"];
const UPSTREAM: &[&str] = &["endpoints"];
const ROUTE: &[&str] = &["match", "upstream"];
const OAUTH_CLIENT: &[&str] = &["token_url", "client_secret"];
const CREDENTIAL: &[&str] = &["scheme", "value"];
/// The upstream and the route have these keys too, and more rows before those of this section.
const RESPONSE: &[&str] = &["set_headers", "add_headers", "remove_headers"];
const MATCH: &[&str] = &["host", "path"];
const CORS: &[&str] = &["origins"];
const TOKEN_ENDPOINT: &[&str] = &["issuer", "rotate_every"];
const PLAN: &[&str] = &["credentials", "approval"];
const STORE: &[&str] = &["path"];

/// Names of rules for the headers of responses.
const RESPONSE_HEADERS: &[&str] = &["response_headers", "headers_down", "hide_headers", "add_header"];

/// The first row that fits counts: a section with fewer keys of its own stands after those that have them too.
const ROWS: &[Row] = &[
    row(
        TOP,
        &[
            "server",
            "servers",
            "listen",
            "listener",
            "bind",
            "port",
            "address",
            "http",
            "https",
            "entrypoints",
        ],
        "did you mean `listeners`? such as `listeners: [{ address: 127.0.0.1:8080 }]`",
    ),
    row(
        TOP,
        &["tls", "ssl", "certificate", "certificates"],
        "`tls` belongs to a listener: `listeners: [{ address: …, tls: { certificate: …, private_key: … } }]`",
    ),
    row(
        TOP,
        &[
            "service",
            "services",
            "backend",
            "backends",
            "cluster",
            "clusters",
            "endpoints",
            "targets",
            "proxy",
        ],
        "did you mean `upstreams`? such as `upstreams: { orders: { endpoints: [\"10.0.0.5:8080\"] } }`",
    ),
    row(TOP, &["rules", "paths", "apis", "locations"], "did you mean `routes`?"),
    row(
        TOP,
        &[
            "jwt",
            "jwks",
            "oidc",
            "oauth",
            "oauth2",
            "auth",
            "authentication",
            "providers",
            "provider",
            "identity_providers",
            "authorization_servers",
        ],
        "did you mean `issuers`? such as `issuers: { main: { issuer: …, audiences: […], discovery: true } }`",
    ),
    row(
        TOP,
        &["keys", "key_auth", "apikey"],
        "did you mean `api_keys`? such as `api_keys: { file: keys.yaml }`",
    ),
    row(
        TOP,
        &[
            "rate_limit",
            "rate_limits",
            "rate_limiting",
            "ratelimit",
            "ratelimits",
            "quota",
            "quotas",
            "throttling",
        ],
        "did you mean `limits`? such as `limits: { per-key: { by: credential, quota: 500/min } }`, and `limits: [per-key]` on a route",
    ),
    row(
        TOP,
        &["logging", "logger", "logs", "log_level", "access_log"],
        "did you mean `log`? such as `log: { level: info }`",
    ),
    row(
        TOP,
        &[
            "metrics",
            "prometheus",
            "monitoring",
            "health",
            "health_check",
            "healthcheck",
            "healthz",
            "management",
            "status",
        ],
        "did you mean `admin`? `admin: { address: 127.0.0.1:9090 }` serves /metrics, /livez and /readyz",
    ),
    row(
        TOP,
        &["database", "db", "storage", "sqlite"],
        "did you mean `store`? such as `store: { path: keygate.db }`",
    ),
    row(
        TOP,
        &["redis", "postgres", "postgresql", "etcd"],
        "this version keeps one database file: `store: { path: keygate.db }`",
    ),
    row(
        TOP,
        &[
            "client",
            "clients",
            "consumers",
            "users",
            "apps",
            "applications",
            "organizations",
            "subscriptions",
        ],
        "these are kept in the `store`, not here: `keygate clients create`, `keygate orgs create`",
    ),
    row(
        TOP,
        &["timeout", "timeouts"],
        "those of clients are in `requests` (`head_timeout`, `idle_timeout`), those of upstreams in the upstream (`read_timeout`)",
    ),
    row(
        TOP,
        &["retry", "retries"],
        "`connect_attempts` of an upstream is the number of endpoints that are tried",
    ),
    row(
        TOP,
        &["headers", "request_headers"],
        "`set_headers` and `remove_headers` belong to an upstream",
    ),
    row(TOP, &["cors"], "`cors` belongs to a route"),
    row(
        TOP,
        &["body_limit", "max_body_size", "client_max_body_size", "body_bytes"],
        "did you mean `requests`? such as `requests: { body_bytes: 10MiB }`",
    ),
    row(
        TOP,
        &["proxies", "real_ip", "forwarded"],
        "did you mean `trusted_proxies`?",
    ),
    row(TOP, &["includes", "import", "imports"], "did you mean `include`?"),
    row(
        TOP,
        &["graceful_shutdown", "grace_period", "drain"],
        "did you mean `shutdown`? such as `shutdown: { delay: 5s, drain: 30s }`",
    ),
    row(
        TOP,
        &[
            "plugins",
            "plugin",
            "middleware",
            "middlewares",
            "filters",
            "policies",
            "extensions",
        ],
        "there are no plugins: what a route asks for stands in the route (`accept`, `scopes`, `limits`, `cors`)",
    ),
    row(
        TOP,
        &["version", "name"],
        "a configuration has neither a version nor a name; remove it",
    ),
    row(
        TOP,
        &["tracing", "telemetry", "otel", "opentelemetry"],
        "this version sends no traces; remove it",
    ),
    row(
        LISTENER,
        &["port", "host", "bind", "listen", "ip", "addr"],
        "did you mean `address`? such as `address: 0.0.0.0:8080`",
    ),
    row(
        LISTENER,
        &[
            "certificate",
            "cert",
            "private_key",
            "key",
            "ssl",
            "https",
            "certificates",
        ],
        "did you mean `tls`? such as `tls: { certificate: tls.pem, private_key: tls.key }`",
    ),
    row(
        LISTENER,
        &["h2c", "http2"],
        "did you mean `protocol`? such as `protocol: h2c`; with `tls`, clients choose HTTP/2",
    ),
    row(
        LISTENER,
        &[
            "allow",
            "deny",
            "allowed_ips",
            "whitelist",
            "source_ranges",
            "ip_filter",
        ],
        "did you mean `addresses`? such as `addresses: { allow: [10.0.0.0/8] }`",
    ),
    row(LISTENER, &["name", "kind"], "a listener has no such key; remove it"),
    row(
        TLS,
        &["cert", "cert_file", "crt", "certificate_file", "chain"],
        "did you mean `certificate`?",
    ),
    row(
        TLS,
        &["key", "key_file", "private_key_file"],
        "did you mean `private_key`?",
    ),
    row(
        TLS,
        &["ca", "ca_file", "client_ca_file", "trusted_ca"],
        "did you mean `client_ca`?",
    ),
    row(
        TLS,
        &["client_auth", "mtls", "verify_client"],
        "did you mean `client_certificates`? `required` or `optional`",
    ),
    row(
        TLS,
        &["min_version", "protocols", "tls_versions"],
        "did you mean `versions`? such as `versions: [\"1.2\", \"1.3\"]`",
    ),
    row(
        ADMIN,
        &["port", "host", "bind", "listen"],
        "did you mean `address`? such as `address: 127.0.0.1:9090`",
    ),
    row(
        ADMIN,
        &["password", "secret", "api_key", "auth", "bearer_token", "key"],
        "did you mean `token`? such as `token: \"${KEYGATE_ADMIN_TOKEN}\"`",
    ),
    row(
        ADMIN,
        &["tls", "ssl"],
        "the admin listener speaks plain HTTP: keep its address on loopback, or in a network of your own",
    ),
    row(
        LOG,
        &["access_log", "requests"],
        "did you mean `access`? `access: true` writes a record for each request",
    ),
    row(
        LOG,
        &["output", "file", "path", "destination"],
        "logs go to stderr and access records to stdout; remove it",
    ),
    row(
        REQUESTS,
        &["max_body_size", "body_size", "body_limit", "max_body_bytes"],
        "did you mean `body_bytes`? such as `body_bytes: 10MiB`",
    ),
    row(
        REQUESTS,
        &["max_header_size", "header_bytes", "header_size"],
        "did you mean `head_bytes`?",
    ),
    row(REQUESTS, &["max_headers", "header_count"], "did you mean `head_count`?"),
    row(REQUESTS, &["max_connections"], "did you mean `connections`?"),
    row(
        REQUESTS,
        &["keep_alive", "keepalive", "keepalive_timeout", "keep_alive_timeout"],
        "did you mean `idle_timeout`?",
    ),
    row(
        REQUESTS,
        &["header_timeout", "read_timeout", "timeout"],
        "did you mean `head_timeout`? a body has `body_read_timeout`",
    ),
    row(SHUTDOWN, &["timeout", "grace", "grace_period"], "did you mean `drain`?"),
    row(
        ISSUER,
        &["url", "uri", "iss", "name"],
        "did you mean `issuer`? it is the `iss` of its tokens",
    ),
    row(
        ISSUER,
        &["audience", "aud", "client_id"],
        "did you mean `audiences`? such as `audiences: [https://api.example.com]`",
    ),
    row(
        ISSUER,
        &["jwks", "jwks_uri", "jwk_set_uri", "keys_url", "jwks_endpoint", "keys"],
        "did you mean `jwks_url`?",
    ),
    row(
        ISSUER,
        &[
            "oidc",
            "well_known",
            "openid_configuration",
            "discovery_url",
            "metadata_url",
            "configuration_url",
        ],
        "did you mean `discovery`? `discovery: true` finds the document under `issuer`",
    ),
    row(
        ISSUER,
        &[
            "public_key",
            "public_keys",
            "public_key_file",
            "pem",
            "key_file",
            "certificate",
        ],
        "did you mean `public_key_files`? such as `public_key_files: [issuer.pem]`",
    ),
    row(
        ISSUER,
        &["secret", "shared_secret", "hmac_secret", "client_secret"],
        "tokens signed with a shared secret are never accepted; the secret of an issuer that is asked stands in `introspection`",
    ),
    row(
        ISSUER,
        &["leeway", "skew", "clock_tolerance", "tolerance"],
        "did you mean `clock_skew`?",
    ),
    row(
        ISSUER,
        &["algorithm", "algs", "alg"],
        "did you mean `algorithms`? such as `algorithms: [RS256]`",
    ),
    row(
        ISSUER,
        &["cache_ttl", "refresh", "refresh_interval", "jwks_cache_ttl"],
        "did you mean `max_refresh`?",
    ),
    row(
        ISSUER,
        &["insecure", "skip_verify", "insecure_skip_verify", "verify"],
        "certificates are always verified: name your own authority in `ca_file`",
    ),
    row(ISSUER, &["claims"], "did you mean `required_claims`?"),
    row(
        ISSUER,
        &["scope_claim"],
        "did you mean `scope_claims`? such as `scope_claims: [scp]`",
    ),
    row(
        ISSUER,
        &["client_id_claim"],
        "did you mean `client_id_claims`? such as `client_id_claims: [azp]`",
    ),
    row(
        ISSUER,
        &["forward_claims", "claims_to_headers", "headers"],
        "did you mean `claim_headers`? such as `claim_headers: { \"/email\": x-user-email }`",
    ),
    row(ISSUER, &["header", "from_header"], "did you mean `token_header`?"),
    row(
        INTROSPECTION,
        &["endpoint", "introspection_url", "uri"],
        "did you mean `url`?",
    ),
    row(INTROSPECTION, &["secret"], "did you mean `client_secret`?"),
    row(INTROSPECTION, &["token"], "did you mean `bearer_token`?"),
    row(INTROSPECTION, &["ttl", "cache"], "did you mean `cache_ttl`?"),
    row(
        API_KEYS,
        &["name", "header_name", "key_name", "key_names", "in"],
        "did you mean `header`? such as `header: x-api-key`",
    ),
    row(
        API_KEYS,
        &["keys", "path", "keys_file"],
        "did you mean `file`? such as `file: keys.yaml`",
    ),
    row(
        API_KEYS,
        &["salt", "secret", "hmac_secret"],
        "did you mean `pepper`? such as `pepper: \"${KEYGATE_PEPPER}\"`",
    ),
    row(
        API_KEYS,
        &["query", "query_name"],
        "a key in the query would stand in logs: clients send it in `header`",
    ),
    row(
        LIMIT,
        &["key", "key_by", "per", "scope", "identifier"],
        "did you mean `by`? such as `by: credential`",
    ),
    row(
        LIMIT,
        &["algorithm", "strategy", "type"],
        "did you mean `window`? `refilling` or `fixed`",
    ),
    row(
        QUOTA,
        &[
            "rate",
            "limit",
            "requests",
            "max",
            "count",
            "period",
            "interval",
            "requests_per_second",
            "requests_per_minute",
            "requests_per_hour",
            "per_second",
            "per_minute",
            "per_hour",
        ],
        "did you mean `quota`? such as `quota: 500/min`",
    ),
    row(
        UPSTREAM,
        &[
            "url",
            "urls",
            "uri",
            "address",
            "addresses",
            "server",
            "servers",
            "target",
            "targets",
            "hosts",
            "nodes",
            "backend",
            "backends",
            "endpoint",
            "port",
        ],
        "did you mean `endpoints`? such as `endpoints: [\"10.0.0.5:8080\"]`",
    ),
    row(
        UPSTREAM,
        &["retry", "max_retries", "retry_attempts", "attempts"],
        "did you mean `retries`? such as `retries: { attempts: 2 }`; `connect_attempts` are those to connect",
    ),
    row(
        UPSTREAM,
        &[
            "health_check",
            "health_checks",
            "healthcheck",
            "healthchecks",
            "active_health_check",
        ],
        "did you mean `health`? such as `health: { path: /healthz }`",
    ),
    row(
        UPSTREAM,
        &[
            "outlier_detection",
            "passive_health_check",
            "circuit_breaker",
            "max_fails",
            "fail_timeout",
        ],
        "did you mean `ejection`? such as `ejection: { failures: 3 }`; without it, one failure is enough",
    ),
    row(
        UPSTREAM,
        &[
            "timeout",
            "timeouts",
            "request_timeout",
            "response_timeout",
            "proxy_read_timeout",
        ],
        "did you mean `read_timeout`? it is the wait for the response; `total_timeout` bounds the whole of it",
    ),
    row(
        UPSTREAM,
        &["keepalive", "keep_alive", "keepalive_timeout"],
        "did you mean `idle_timeout`?",
    ),
    row(
        UPSTREAM,
        &["headers", "request_headers", "proxy_set_header", "header"],
        "did you mean `set_headers`? such as `set_headers: { x-team: orders }`",
    ),
    row(
        UPSTREAM,
        RESPONSE_HEADERS,
        "did you mean `response`? such as `response: { set_headers: { x-team: orders } }`",
    ),
    row(
        UPSTREAM,
        &[
            "auth",
            "authentication",
            "authorization",
            "api_key",
            "token",
            "bearer",
            "basic_auth",
            "oauth2",
        ],
        "did you mean `credential`? such as `credential: { scheme: Bearer, value: \"file:token\" }`",
    ),
    row(
        UPSTREAM,
        &["host_header", "hostname", "preserve_host"],
        "did you mean `host`? without it, the request's own is kept",
    ),
    row(
        UPSTREAM,
        &["sni"],
        "did you mean `tls`? such as `tls: { server_name: api.example.com }`",
    ),
    row(
        UPSTREAM,
        &["ssl", "https", "scheme", "ca_file", "verify", "server_name"],
        "write the endpoint as a URL, such as `endpoints: [\"https://api.internal\"]`, and more of it under `tls`",
    ),
    row(
        UPSTREAM,
        &["http2", "h2", "h2c", "grpc"],
        "did you mean `protocol`? such as `protocol: h2c`, or `protocol: h2` over TLS",
    ),
    row(
        UPSTREAM,
        &[
            "balancer",
            "load_balancer",
            "load_balancing",
            "lb",
            "lb_policy",
            "algorithm",
        ],
        "did you mean `balance`? such as `balance: least_requests`",
    ),
    row(
        UPSTREAM,
        &["weight", "weights"],
        "it belongs to an endpoint: `endpoints: [{ address: \"10.0.0.5:8080\", weight: 3 }]`",
    ),
    row(
        UPSTREAM,
        &["path", "prefix", "base_path", "rewrite"],
        "the path is that of the request; a route changes it with `strip_prefix`, `add_prefix` or `rewrite`",
    ),
    row(
        ROUTE,
        &[
            "path",
            "paths",
            "uri",
            "url",
            "host",
            "hosts",
            "method",
            "methods",
            "prefix",
            "path_prefix",
        ],
        "it belongs under `match`: `match: { host: api.example.com, path: \"/v1/{*rest}\", methods: [GET] }`",
    ),
    row(
        ROUTE,
        &[
            "service",
            "backend",
            "cluster",
            "target",
            "to",
            "forward_to",
            "proxy_to",
            "proxy_pass",
            "destination",
            "upstreams",
            "endpoints",
        ],
        "did you mean `upstream`? it is the name of an entry of `upstreams`",
    ),
    row(
        ROUTE,
        &[
            "auth",
            "authentication",
            "authenticate",
            "authn",
            "credentials",
            "credential",
            "security",
            "type",
            "require",
            "required",
        ],
        "did you mean `accept`? such as `accept: [jwt, api_key]`",
    ),
    row(
        ROUTE,
        &["required_scopes", "permissions"],
        "did you mean `scopes`? such as `scopes: { all: [\"orders:read\"] }`",
    ),
    row(
        ROUTE,
        &["roles", "groups"],
        "did you mean `claims`? such as `claims: { \"/realm_access/roles\": admin }`",
    ),
    row(ROUTE, &["consumers", "allowed_clients"], "did you mean `clients`?"),
    row(
        ROUTE,
        &[
            "rate_limit",
            "rate_limits",
            "ratelimit",
            "rate_limiting",
            "throttle",
            "quota",
        ],
        "did you mean `limits`? such as `limits: [per-key]`, where `per-key` is an entry of `limits` at the top",
    ),
    row(
        ROUTE,
        &["anonymous", "allow_anonymous", "open", "no_auth", "unauthenticated"],
        "did you mean `public`? `public: true` lets everybody through",
    ),
    row(
        ROUTE,
        &[
            "rewrites",
            "path_rewrite",
            "rewrite_path",
            "rewrite_target",
            "url_rewrite",
            "replace_path",
            "replace_path_regex",
            "regex_rewrite",
        ],
        "did you mean `rewrite`? such as `rewrite: \"/orders/{id}\"`, with the braces of `match`",
    ),
    row(
        ROUTE,
        &["strip_path", "strip", "strip_path_prefix"],
        "did you mean `strip_prefix`? such as `strip_prefix: /v1`",
    ),
    row(
        ROUTE,
        &["replace_prefix", "prefix_rewrite", "replace_prefix_match"],
        "did you mean `strip_prefix`? with `add_prefix` beside it, another prefix takes its place",
    ),
    row(
        ROUTE,
        &["base_path", "path_prefix_add", "prepend"],
        "did you mean `add_prefix`? such as `add_prefix: /api`",
    ),
    row(
        ROUTE,
        &["proxy_redirect", "redirects", "proxy_cookie_path", "rewrite_redirects"],
        "did you mean `rewrite_back`? redirects and cookies name the paths that clients know, unless it is false",
    ),
    row(
        ROUTE,
        &["headers", "request_headers", "header"],
        "did you mean `set_headers`? such as `set_headers: { x-team: orders }`",
    ),
    row(
        ROUTE,
        RESPONSE_HEADERS,
        "did you mean `response`? such as `response: { set_headers: { x-team: orders } }`",
    ),
    row(
        OAUTH_CLIENT,
        &["url", "token_endpoint", "token_uri", "issuer"],
        "did you mean `token_url`? such as `token_url: https://login.example.com/oauth/token`",
    ),
    row(
        OAUTH_CLIENT,
        &["scope"],
        "did you mean `scopes`? such as `scopes: [\"orders:read\"]`",
    ),
    row(
        OAUTH_CLIENT,
        &["auth_method", "token_endpoint_auth_method"],
        "did you mean `authentication`?",
    ),
    row(
        CREDENTIAL,
        &["oauth", "oauth2", "client_credentials", "client"],
        "did you mean `oauth_client`? such as `oauth_client: { token_url: …, client_id: …, client_secret: … }`",
    ),
    row(CREDENTIAL, &["name", "header_name"], "did you mean `header`?"),
    row(
        CREDENTIAL,
        &["token", "secret", "file", "api_key", "password"],
        "did you mean `value`? such as `value: \"file:token\"`",
    ),
    row(RESPONSE, &["set", "headers"], "did you mean `set_headers`?"),
    row(RESPONSE, &["add"], "did you mean `add_headers`?"),
    row(RESPONSE, &["remove", "hide_headers"], "did you mean `remove_headers`?"),
    row(
        ROUTE,
        &[
            "timeout",
            "timeouts",
            "request_timeout",
            "response_timeout",
            "proxy_read_timeout",
        ],
        "did you mean `read_timeout`? it is the wait for the response; `total_timeout` bounds the whole of it",
    ),
    row(ROUTE, &["idle_timeout"], "`idle_timeout` belongs to the upstream"),
    row(ROUTE, &["retry", "retries"], "`retries` belong to the upstream"),
    row(
        ROUTE,
        &["health", "health_check", "healthcheck"],
        "`health` belongs to the upstream",
    ),
    row(ROUTE, &["tls", "ssl", "https"], "`tls` belongs to a listener"),
    row(
        ROUTE,
        &["mtls", "client_certificate"],
        "did you mean `client_certificates`?",
    ),
    row(
        ROUTE,
        &["plugins", "plugin", "middleware", "middlewares", "filters", "policies"],
        "there are no plugins: what a route asks for stands in it (`accept`, `scopes`, `limits`, `cors`)",
    ),
    row(
        ROUTE,
        &["body_limit", "max_body_size", "body_bytes"],
        "it holds for every route: `requests: { body_bytes: 10MiB }` at the top",
    ),
    row(
        ROUTE,
        &["websocket", "websockets", "upgrade", "grpc"],
        "these pass without a setting; remove it",
    ),
    row(
        ROUTE,
        &["priority", "order", "weight"],
        "the order of routes means nothing: the more exact path counts; remove it",
    ),
    row(
        ROUTE,
        &[
            "deny",
            "ips",
            "allowed_ips",
            "ip_allow",
            "ip_allowlist",
            "ip_filter",
            "ip_restriction",
            "ip_whitelist",
            "source_ranges",
            "whitelist",
        ],
        "did you mean `addresses`? such as `addresses: { allow: [10.0.0.0/8] }`",
    ),
    row(ROUTE, &["id"], "did you mean `name`?"),
    row(
        ROUTE,
        &["enabled", "disabled"],
        "a route that is there counts; remove the route, or put `#` before its lines",
    ),
    row(
        MATCH,
        &["prefix", "path_prefix", "starts_with"],
        "did you mean `path`? such as `path: \"/v1/{*rest}\"`",
    ),
    row(
        MATCH,
        &["uri", "url", "path_regex", "regex"],
        "did you mean `path`? such as `path: \"/v1/orders/{id}\"`",
    ),
    row(
        MATCH,
        &["hostname", "hostnames", "domain", "domains"],
        "did you mean `host`?",
    ),
    row(
        MATCH,
        &["header", "request_headers"],
        "did you mean `headers`? such as `headers: { x-version: \"2\" }`",
    ),
    row(
        MATCH,
        &[
            "param",
            "params",
            "parameters",
            "query_params",
            "query_parameters",
            "query_string",
        ],
        "did you mean `query`? such as `query: { version: \"2\" }`",
    ),
    row(
        MATCH,
        &["port", "scheme", "cookie", "cookies"],
        "routes are told apart by `host`, `path`, `methods`, `headers` and `query` alone",
    ),
    row(
        CORS,
        &["allow_origin", "allow_origins", "allowed_origins"],
        "did you mean `origins`?",
    ),
    row(CORS, &["allow_methods", "allowed_methods"], "did you mean `methods`?"),
    row(CORS, &["allow_headers", "allowed_headers"], "did you mean `headers`?"),
    row(CORS, &["expose_headers", "exposed_headers"], "did you mean `expose`?"),
    row(CORS, &["allow_credentials"], "did you mean `credentials`?"),
    row(
        TOKEN_ENDPOINT,
        &["ttl", "token_ttl", "lifetime", "expires_in", "access_token_ttl"],
        "each client has its own: `keygate clients create --token-ttl`",
    ),
    row(TOKEN_ENDPOINT, &["url", "iss"], "did you mean `issuer`?"),
    row(
        TOKEN_ENDPOINT,
        &["path", "address"],
        "it is on every listener; `paths` says where, such as `paths: { token: /oauth/token }`",
    ),
    row(
        TOKEN_ENDPOINT,
        &["clients"],
        "clients are kept in the store: `keygate clients create`",
    ),
    row(
        PLAN,
        &["quota", "rate_limit", "rate_limits"],
        "did you mean `limits`? such as `limits: [per-key]`",
    ),
    row(
        STORE,
        &["url", "dsn", "host", "redis", "postgres"],
        "this version keeps one database file: `path: keygate.db`",
    ),
    row(
        STORE,
        &["file", "database", "db", "sqlite"],
        "did you mean `path`? such as `path: keygate.db`",
    ),
];

/// Returns the hint for `key`, which people try in the section that has the keys `known`; `None` for a key that nobody is
/// known to try.
pub(in crate::config) fn find(key: &str, known: &[&str]) -> Option<&'static str> {
    // `rate-limit` and `rateLimit` are `rate_limit`.
    let mut snake = String::with_capacity(key.len() + 4);
    for char in key.chars() {
        match char {
            '-' | ' ' => snake.push('_'),
            upper if upper.is_ascii_uppercase() => {
                if snake.ends_with(|before: char| before.is_ascii_lowercase()) {
                    snake.push('_');
                }
                snake.push(upper.to_ascii_lowercase());
            }
            other => snake.push(other),
        }
    }
    let fits = |row: &&Row| row.tried.contains(&snake.as_str()) && row.beside.iter().all(|own| known.contains(own));
    ROWS.iter().find(fits).map(|row| row.hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    const UPSTREAM_KEYS: &[&str] = &["endpoints", "connect_timeout", "set_headers"];
    const ROUTE_KEYS: &[&str] = &["name", "match", "upstream", "strip_prefix"];

    #[track_caller]
    fn check(key: &str, known: &[&str], setting: Option<&str>) {
        let hint = find(key, known);
        assert_eq!(hint.is_some(), setting.is_some(), "{key}: {hint:?}");
        let names = |hint: &str| hint.contains(&format!("`{}`", setting.unwrap_or_default()));
        assert!(hint.is_none_or(names), "{key}: {hint:?}");
    }

    #[test]
    fn a_key_of_another_gateway_gets_the_setting_it_means() {
        check("max_retries", UPSTREAM_KEYS, Some("retries"));
        check("timeout", UPSTREAM_KEYS, Some("read_timeout"));
        check("timeout", ROUTE_KEYS, Some("read_timeout"));
        check("health_check", UPSTREAM_KEYS, Some("health"));
        check("headers", UPSTREAM_KEYS, Some("set_headers"));
        check("headers", ROUTE_KEYS, Some("set_headers"));
        check("path_rewrite", ROUTE_KEYS, Some("rewrite"));
        check("plugins", ROUTE_KEYS, Some("accept"));
        check("tls", TOP, Some("tls"));
        check("no_such_word", ROUTE_KEYS, None);
    }

    #[test]
    fn the_way_of_writing_does_not_count() {
        for key in ["rate_limit", "rate-limit", "rateLimit", "RateLimit", "Rate Limit"] {
            check(key, ROUTE_KEYS, Some("limits"));
        }
    }

    /// Returns every set of keys that one section of the schema has.
    fn sections(schema: &Value, found: &mut Vec<BTreeSet<String>>) {
        if let Some(properties) = schema["properties"].as_object() {
            found.push(properties.keys().cloned().collect());
        }
        let children = schema.as_object().into_iter().flat_map(|object| object.values());
        for child in children.chain(schema.as_array().into_iter().flatten()) {
            sections(child, found);
        }
    }

    #[test]
    fn every_row_is_for_a_section_that_there_is_and_for_none_of_its_keys() {
        let mut found = Vec::new();
        sections(&crate::config::schema(), &mut found);
        let all: BTreeSet<&String> = found.iter().flatten().collect();
        for row in ROWS {
            let fits = |keys: &&BTreeSet<String>| row.beside.iter().all(|own| keys.contains(*own));
            let of_row: Vec<_> = found.iter().filter(fits).collect();
            assert!(!of_row.is_empty(), "{:?}", row.beside);
            for tried in row.tried {
                let is_everywhere = of_row.iter().all(|keys| keys.contains(*tried));
                assert!(!is_everywhere, "{tried} is a key beside {:?}", row.beside);
            }
            // A hint names settings in backticks; the first word of each is a key, a value or a command.
            for quoted in row.hint.split('`').skip(1).step_by(2) {
                let word = quoted.split([':', ' ']).next().unwrap_or_default();
                let is_key = all.iter().any(|key| *key == word);
                let is_other = [
                    "keygate",
                    "required",
                    "optional",
                    "refilling",
                    "fixed",
                    "iss",
                    "per-key",
                    "#",
                ];
                assert!(is_key || is_other.contains(&word), "{word} in {:?}", row.hint);
            }
        }
    }
}
