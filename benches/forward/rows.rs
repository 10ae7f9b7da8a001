//! Which rows do the tables have: which proxy, and which requests?

use crate::credentials;
use crate::credentials::Issuer;
use crate::credentials::bearer;
use crate::credentials::x_api_key;
use crate::exchange::Exchange;
use crate::gate;
use crate::peers::Checks;
use crate::peers::PeerConfig;
use crate::proxies::Proxy;
use std::net::SocketAddr;
use std::slice::from_ref;

/// One line of a table.
pub struct Row {
    pub proxy: Proxy,
    /// Selects one of the addresses of a proxy that has several.
    pub checks: Checks,
    pub name: &'static str,
    pub exchange: Exchange,
}

/// The number of credentials and routes that are created before the measurement.
#[derive(Clone, Copy)]
pub struct Size {
    pub keys: usize,
    /// Keys, tokens and routes that are used in turn.
    pub in_turn: usize,
    /// Tokens for each row in which every token is new.
    pub new_tokens: usize,
}

impl Size {
    /// The full size, without new tokens.
    pub const FULL: Self = Self {
        keys: 10_000,
        in_turn: 10_000,
        new_tokens: 0,
    };
    /// Enough for `Extent::ONCE`.
    pub const SMALL: Self = Self {
        keys: 50,
        in_turn: 20,
        new_tokens: 400,
    };
}

/// The credentials that the rows send, and their issuer.
pub struct BenchInputs {
    pub issuer: Issuer,
    pub keys: Vec<String>,
    in_turn: usize,
    tokens: Vec<String>,
    new_rs256: Vec<String>,
    new_es256: Vec<String>,
    new_eddsa: Vec<String>,
}

impl BenchInputs {
    pub fn new(size: Size) -> Self {
        let issuer = Issuer::new();
        let new = size.in_turn..size.in_turn + size.new_tokens;
        Self {
            keys: credentials::api_keys(size.keys),
            in_turn: size.in_turn,
            tokens: credentials::tokens(&issuer.rs256, 0..size.in_turn),
            new_rs256: credentials::tokens(&issuer.rs256, new.clone()),
            new_es256: credentials::tokens(&issuer.es256, new.clone()),
            new_eddsa: credentials::tokens(&issuer.eddsa, new),
            issuer,
        }
    }

    /// Returns the configuration of a proxy in front of `upstream`.
    pub fn peer_config(&self, upstream: SocketAddr) -> PeerConfig<'_> {
        PeerConfig {
            upstream,
            issuer: &self.issuer,
            keys: &self.keys,
        }
    }

    /// Returns a valid token.
    pub fn token(&self) -> &str {
        &self.tokens[0]
    }

    /// Returns the rows whose names contain `filter`, and always `direct` and bare pingora, as reference.
    pub fn rows(&self, filter: &str) -> Vec<Row> {
        let mut rows = self.unchecked();
        rows.extend(self.of_keygate());
        rows.extend(self.refused());
        rows.extend(self.of_peers());
        rows.retain(|row| matches!(row.proxy, Proxy::Direct | Proxy::Bare) || row.name.contains(filter));
        rows
    }

    fn unchecked(&self) -> Vec<Row> {
        [
            (Proxy::Direct, "direct"),
            (Proxy::Bare, "bare pingora"),
            (Proxy::Tuned, "bare pingora, tuned"),
            (Proxy::Nginx, "nginx"),
            (Proxy::Haproxy, "HAProxy"),
            (Proxy::Envoy, "Envoy"),
            (Proxy::Keygate, "keygate: public route"),
        ]
        .map(|(proxy, name)| Row {
            proxy,
            checks: Checks::Nothing,
            name,
            exchange: Exchange::new("/v1/open", &[], 200),
        })
        .into()
    }

    fn of_keygate(&self) -> Vec<Row> {
        let key = x_api_key(&self.keys[0]);
        let token = bearer(self.token());
        let limited = |header| Exchange::new("/v1/limited", from_ref(header), 200);
        let row = keygate;
        vec![
            row(Proxy::Keygate, "keygate: API key", orders(from_ref(&key))),
            row(Proxy::Keygate, "keygate: API key, many in turn", self.keys_in_turn()),
            row(
                Proxy::KeygateLog,
                "keygate: API key, scope, limit, log file",
                limited(&key),
            ),
            row(Proxy::Keygate, "keygate: RS256 token", orders(from_ref(&token))),
            row(
                Proxy::Keygate,
                "keygate: RS256 token, many in turn",
                self.tokens_in_turn(),
            ),
            row(Proxy::Keygate10, "keygate: API key, 10 routes", self.routes_in_turn(10)),
            row(
                Proxy::Keygate10000,
                "keygate: API key, 10 000 routes",
                self.routes_in_turn(10_000),
            ),
            row(
                Proxy::KeygateNew,
                "keygate: RS256 token, every one new",
                once(&self.new_rs256),
            ),
            row(
                Proxy::KeygateNew,
                "keygate: ES256 token, every one new",
                once(&self.new_es256),
            ),
            row(
                Proxy::KeygateNew,
                "keygate: EdDSA token, every one new",
                once(&self.new_eddsa),
            ),
            row(
                Proxy::KeygateLog,
                "keygate: RS256 token, scope, limit, log file",
                limited(&token),
            ),
        ]
    }

    fn refused(&self) -> Vec<Row> {
        let key = x_api_key(&self.keys[0]);
        let token = bearer(self.token());
        let row = |name, path, headers: &[String], status| {
            keygate(Proxy::Keygate, name, Exchange::new(path, headers, status))
        };
        vec![
            row("keygate: 401, no credential", "/v1/orders/7", &[], 401),
            row("keygate: 403, scope missing", "/v1/admin", from_ref(&key), 403),
            row("keygate: 429, limit spent", "/v1/spent", from_ref(&key), 429),
            row("keygate: 400, two credentials", "/v1/orders/7", &[key, token], 400),
        ]
    }

    fn of_peers(&self) -> Vec<Row> {
        let token = bearer(self.token());
        let row = |proxy, checks, name, exchange| Row {
            proxy,
            checks,
            name,
            exchange,
        };
        vec![
            row(
                Proxy::Haproxy,
                Checks::ApiKey,
                "HAProxy: API key, many in turn",
                self.keys_in_turn(),
            ),
            row(
                Proxy::Haproxy,
                Checks::Token,
                "HAProxy: RS256 token",
                orders(from_ref(&token)),
            ),
            row(
                Proxy::Haproxy,
                Checks::Token,
                "HAProxy: RS256 token, many in turn",
                self.tokens_in_turn(),
            ),
            row(
                Proxy::Haproxy,
                Checks::Token,
                "HAProxy: RS256 token, every one new",
                once(&self.new_rs256),
            ),
            row(
                Proxy::Haproxy,
                Checks::TokenLimitLog,
                "HAProxy: RS256 token, scope, limit, log file",
                orders(from_ref(&token)),
            ),
            row(
                Proxy::Envoy,
                Checks::ApiKey,
                "Envoy: API key, many in turn",
                self.keys_in_turn(),
            ),
            row(
                Proxy::Envoy,
                Checks::Token,
                "Envoy: RS256 token",
                orders(from_ref(&token)),
            ),
            row(
                Proxy::Envoy,
                Checks::Token,
                "Envoy: RS256 token, many in turn",
                self.tokens_in_turn(),
            ),
            row(
                Proxy::EnvoyNew,
                Checks::Token,
                "Envoy: RS256 token, every one new",
                once(&self.new_rs256),
            ),
            row(
                Proxy::Envoy,
                Checks::TokenLimitLog,
                "Envoy: RS256 token, scope, limit, log file",
                orders(from_ref(&token)),
            ),
        ]
    }

    fn keys_in_turn(&self) -> Exchange {
        let keys = self.keys.iter().take(self.in_turn);
        Exchange::in_turn(keys.map(|key| (ORDERS, x_api_key(key))), 200)
    }

    fn routes_in_turn(&self, routes: usize) -> Exchange {
        let some = (0..routes).step_by(routes.div_ceil(self.in_turn));
        let requests = some.map(|route| (gate::path(route), x_api_key(&self.keys[0])));
        Exchange::in_turn(requests, 200)
    }

    fn tokens_in_turn(&self) -> Exchange {
        Exchange::in_turn(self.tokens.iter().map(|token| (ORDERS, bearer(token))), 200)
    }
}

/// A path that requires the scope `orders:read`, of an API key or a token.
pub const ORDERS: &str = "/v1/orders/7";

fn orders(headers: &[String]) -> Exchange {
    Exchange::new(ORDERS, headers, 200)
}

fn once(tokens: &[String]) -> Exchange {
    Exchange::once(tokens.iter().map(|token| (ORDERS, bearer(token))), 200)
}

fn keygate(proxy: Proxy, name: &'static str, exchange: Exchange) -> Row {
    Row {
        proxy,
        checks: Checks::Nothing,
        name,
        exchange,
    }
}
