//! Which settings does the process take at its start and keep until it ends? A reload puts the other settings in force.

use crate::config::Config;
use crate::config::LogFormat;
use crate::config::StoreSettings;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The settings that a process took at its start.
#[derive(Debug)]
pub struct StartSettings {
    /// `None` in an embedded gate, which has no listener and no store.
    served: Option<ServedSettings>,
    /// The level of the log; `None` in an embedded gate, whose program has its own log.
    log_level: Option<String>,
    /// The format of log lines and access records.
    log_format: LogFormat,
    state_dir: Option<PathBuf>,
}

#[derive(Debug)]
struct ServedSettings {
    listeners: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    store: Option<StoreSettings>,
    hand_over: Option<PathBuf>,
}

/// A setting whose value in the configuration differs from the value at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartNeed {
    /// One of [`RestartNeed::SETTINGS`].
    pub setting: &'static str,
    /// The state until the restart, for people.
    pub effect: String,
}

const LISTENERS: &str = "listeners";
const ADMIN_ADDRESS: &str = "admin.address";
const LOG: &str = "log";
const STATE_DIR: &str = "state_dir";
const STORE: &str = "store";
const HAND_OVER: &str = "hand_over";

impl RestartNeed {
    /// The closed set of the settings.
    pub const SETTINGS: &'static [&'static str] = &[LISTENERS, ADMIN_ADDRESS, LOG, STATE_DIR, STORE, HAND_OVER];
}

impl StartSettings {
    /// Returns the settings of a gateway that starts with `config`.
    pub fn of_gateway(config: &Config) -> Self {
        Self {
            served: Some(ServedSettings {
                listeners: addresses(config),
                admin: config.admin.as_ref().map(|admin| admin.address),
                store: config.store.clone(),
                hand_over: config.hand_over.clone(),
            }),
            log_level: Some(config.observe.level.clone()),
            ..Self::of_embedded_gate(config)
        }
    }

    /// Returns the settings of an embedded gate that starts with `config`.
    pub fn of_embedded_gate(config: &Config) -> Self {
        Self {
            served: None,
            log_level: None,
            log_format: config.observe.format,
            state_dir: config.state_dir.clone(),
        }
    }

    /// Returns the settings of `config` that are in force only after a restart. Listeners' TLS and protocols are none
    /// of them: only the addresses are fixed.
    pub fn needs(&self, config: &Config) -> Vec<RestartNeed> {
        let mut needs = Vec::new();
        let mut need = |setting, effect: String| needs.push(RestartNeed { setting, effect });
        if let Some(served) = &self.served {
            let (added, removed) = difference(&served.listeners, &addresses(config));
            if !added.is_empty() || !removed.is_empty() {
                need(LISTENERS, effect(&added, &removed));
            }
            let admin = config.admin.as_ref().map(|admin| admin.address);
            if served.admin != admin {
                need(ADMIN_ADDRESS, effect(admin.as_slice(), served.admin.as_slice()));
            }
        }
        let level = |level: &String| *level != config.observe.level;
        if self.log_format != config.observe.format || self.log_level.as_ref().is_some_and(level) {
            need(LOG, "level and format stay".to_owned());
        }
        if self.state_dir != config.state_dir {
            need(STATE_DIR, "the folder stays".to_owned());
        }
        if let Some(served) = &self.served
            && served.store != config.store
        {
            need(STORE, opened_store(served.store.as_ref()));
        }
        if self
            .served
            .as_ref()
            .is_some_and(|served| served.hand_over != config.hand_over)
        {
            need(HAND_OVER, "the socket stays".to_owned());
        }
        needs
    }
}

fn addresses(config: &Config) -> Vec<SocketAddr> {
    config.listeners.iter().map(|listener| listener.address).collect()
}

/// Returns the addresses that only `new` has, and those that only `old` has. The order does not count; several
/// listeners may have the same address with port 0.
fn difference(old: &[SocketAddr], new: &[SocketAddr]) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let mut removed = old.to_vec();
    let mut added = new.to_vec();
    added.retain(|address| match removed.iter().position(|old| old == address) {
        Some(place) => {
            removed.remove(place);
            false
        }
        None => true,
    });
    (added, removed)
}

fn effect(added: &[SocketAddr], removed: &[SocketAddr]) -> String {
    let added = added.iter().map(|address| format!("{address} is not open"));
    let removed = removed.iter().map(|address| format!("{address} still accepts"));
    added.chain(removed).collect::<Vec<_>>().join(", ")
}

fn opened_store(store: Option<&StoreSettings>) -> String {
    match store {
        Some(store) => format!("{} stays open", store.path.display()),
        None => "none is open".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    fn parse(listeners: &str, rest: &str) -> Config {
        let yaml = format!(
            "listeners: [{listeners}]\nupstreams: {{ e: {{ builtin: echo }} }}\n\
             routes: [{{ name: a, match: {{ path: / }}, public: true, upstream: e }}]\n{rest}"
        );
        config::parse(&yaml, Path::new("conf/keygate.yaml"), &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
    }

    const ONE: &str = "{ address: 127.0.0.1:1 }";

    /// Checks the needs after a reload from one listener and nothing more to the given configuration.
    #[track_caller]
    fn check(listeners: &str, rest: &str, expected: &[(&str, &str)]) {
        let needs = StartSettings::of_gateway(&parse(ONE, "")).needs(&parse(listeners, rest));
        let needs: Vec<_> = needs.iter().map(|need| (need.setting, need.effect.as_str())).collect();
        assert_eq!(needs, expected, "{listeners} {rest}");
    }

    #[test]
    fn the_addresses_of_listeners_need_a_restart_and_their_other_settings_do_not() {
        check(ONE, "", &[]);
        check("{ address: 127.0.0.1:1, protocol: h2c }", "", &[]);
        check("{ address: 127.0.0.1:1, http1: pingora }", "", &[]);
        check(
            "{ address: 127.0.0.1:2 }",
            "",
            &[("listeners", "127.0.0.1:2 is not open, 127.0.0.1:1 still accepts")],
        );
        let (one, two) = ("127.0.0.1:0".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        assert_eq!(difference(&[one, two], &[two, one]), (vec![], vec![]));
        assert_eq!(difference(&[one], &[one, one]), (vec![one], vec![]));
    }

    #[test]
    fn what_else_is_fixed_at_the_start_needs_a_restart_and_nothing_more() {
        check(
            ONE,
            "admin: { address: 127.0.0.1:3 }",
            &[("admin.address", "127.0.0.1:3 is not open")],
        );
        check(ONE, "log: { level: debug }", &[("log", "level and format stay")]);
        check(ONE, "log: { access: false }", &[]);
        check(ONE, "state_dir: state", &[("state_dir", "the folder stays")]);
        check(ONE, "store: { path: keygate.db }", &[("store", "none is open")]);
        check(ONE, "hand_over: gate.sock", &[("hand_over", "the socket stays")]);
        check(ONE, "trusted_proxies: [10.0.0.0/8]", &[]);
    }

    #[test]
    fn an_embedded_gate_has_neither_listeners_nor_a_store() {
        let start = StartSettings::of_embedded_gate(&parse(ONE, ""));
        let store = "store: { path: keygate.db }\nlog: { level: debug }";
        assert_eq!(start.needs(&parse("{ address: 127.0.0.1:2 }", store)), []);
        assert_eq!(start.needs(&parse(ONE, "log: { format: text }")).len(), 1);
    }

    #[test]
    fn every_need_is_of_the_closed_set() {
        let everything =
            "admin: { address: 127.0.0.1:3 }\nlog: { level: debug }\nstate_dir: s\nstore: { path: k.db }\nhand_over: h";
        let needs = StartSettings::of_gateway(&parse(ONE, "")).needs(&parse("{ address: 127.0.0.1:2 }", everything));
        let settings: Vec<_> = needs.iter().map(|need| need.setting).collect();
        assert_eq!(settings, RestartNeed::SETTINGS);
    }
}
