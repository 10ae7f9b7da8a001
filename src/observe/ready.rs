//! Is the process ready for traffic? It is unless a named condition fails. `/readyz` reports the conditions.

use crate::observe::escape;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// The condition that a configuration is in force. Every process has this condition.
pub const CONFIG: &str = "config";
/// The condition that the process is not shutting down. Every process has this condition.
pub const DRAINING: &str = "draining";

/// The condition that the store can be written. A gate with a store has this condition; it is never failing.
pub const STORE: &str = "store";

/// The condition that connections are accepted. A process has it while it starts.
pub const START: &str = "start";

/// The state of one condition. The order is from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    Ok,
    /// Someone should look at it, but the process answers as before: traffic may be sent to it.
    Degraded,
    /// The process cannot answer as it should: no traffic may be sent to it.
    Failing,
}

/// The conditions that must hold before traffic is sent to the process.
#[derive(Debug)]
pub struct Readiness {
    conditions: Mutex<BTreeMap<String, (Condition, String)>>,
}

/// The body of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadinessReport {
    /// The worst status of a condition.
    pub status: Condition,
    /// Sorted by name.
    pub conditions: Vec<ConditionReport>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConditionReport {
    pub name: String,
    pub status: Condition,
    /// A text for people, without credentials or key material.
    pub detail: String,
}

impl Readiness {
    /// Returns the conditions of a process that has just started: no configuration, not draining.
    pub fn new() -> Self {
        let readiness = Self {
            conditions: Mutex::default(),
        };
        readiness.set(CONFIG, Condition::Failing, "not loaded yet");
        readiness.set(DRAINING, Condition::Ok, "");
        readiness
    }

    /// Sets or adds a condition, such as `issuer:main` or `keys_file`. Ignores a change of [`DRAINING`] after
    /// [`Self::begin_drain`]: a process that shuts down never becomes ready again.
    pub fn set(&self, name: &str, condition: Condition, detail: impl Into<String>) {
        let mut conditions = self.lock();
        let draining = matches!(conditions.get(DRAINING), Some((Condition::Failing, _)));
        if !(name == DRAINING && draining) {
            conditions.insert(name.to_owned(), (condition, detail.into()));
        }
    }

    /// Removes one condition.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Removes every condition with a name that starts with `prefix` and is not in `names`: an issuer that a new
    /// configuration no longer has must not keep the process unready.
    pub fn keep_only(&self, prefix: &str, names: &[&str]) {
        self.lock()
            .retain(|name, _| !name.starts_with(prefix) || names.contains(&name.as_str()));
    }

    /// Records that a configuration is in force, and clears the error of an earlier reload.
    pub fn config_loaded(&self) {
        self.set(CONFIG, Condition::Ok, "");
    }

    /// Records the error of a reload. A configuration that is in force stays so, and is then degraded: only a process
    /// without any configuration is unready.
    pub fn config_reload_failed(&self, error: &str) {
        let mut conditions = self.lock();
        if let Some((condition, detail)) = conditions.get_mut(CONFIG) {
            *detail = match condition {
                Condition::Ok | Condition::Degraded => {
                    *condition = Condition::Degraded;
                    format!("serving the previous configuration, the last reload failed: {error}")
                }
                Condition::Failing => error.to_owned(),
            };
        }
    }

    /// Records that a configuration is in force except for a part that could not be applied, for the reason `problem`.
    pub fn config_loaded_in_part(&self, problem: &str) {
        let detail = format!("a part of the configuration is not in force, SIGHUP tries again: {problem}");
        self.set(CONFIG, Condition::Degraded, detail);
    }

    /// Makes the process unready until it ends.
    pub fn begin_drain(&self) {
        self.set(DRAINING, Condition::Failing, "shutting down");
    }

    /// Returns the current state of every condition, sorted by name.
    pub fn report(&self) -> ReadinessReport {
        let conditions: Vec<_> = self
            .lock()
            .iter()
            .map(|(name, (status, detail))| ConditionReport {
                name: name.clone(),
                status: *status,
                detail: detail.clone(),
            })
            .collect();
        let statuses = conditions.iter().map(|condition| condition.status);
        ReadinessReport {
            status: statuses.max().unwrap_or(Condition::Ok),
            conditions,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Condition, String)>> {
        // Each change is one insertion or one assignment, so the map is consistent even after a panic.
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl ReadinessReport {
    /// Returns the report as one line of JSON. Escapes hidden characters, because details may quote files of others.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        escape::push_json(&mut out, self).expect("text and enums are always JSON");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(readiness: &Readiness, expected: Condition) {
        let report = readiness.report();
        assert_eq!(report.status, expected, "{report:?}");
    }

    fn detail(readiness: &Readiness, name: &str) -> String {
        let report = readiness.report();
        report.conditions.into_iter().find(|it| it.name == name).unwrap().detail
    }

    #[test]
    fn a_process_is_unready_until_everything_it_named_holds() {
        let readiness = Readiness::new();
        check(&readiness, Condition::Failing);
        readiness.config_loaded();
        check(&readiness, Condition::Ok);
        readiness.set("issuer:main", Condition::Failing, "no keys yet");
        check(&readiness, Condition::Failing);
        readiness.set("issuer:main", Condition::Ok, "2 keys");
        check(&readiness, Condition::Ok);
    }

    #[test]
    fn s148_a_failed_reload_is_reported_and_the_old_configuration_stays_ready() {
        let readiness = Readiness::new();
        readiness.config_reload_failed("line 3: unknown key");
        check(&readiness, Condition::Failing);
        readiness.config_loaded();
        readiness.config_reload_failed("line 3: unknown key");
        check(&readiness, Condition::Degraded);
        assert!(detail(&readiness, CONFIG).contains("line 3: unknown key"));
        readiness.config_reload_failed("line 4: unknown key");
        check(&readiness, Condition::Degraded);
        readiness.config_loaded();
        check(&readiness, Condition::Ok);
        assert_eq!(detail(&readiness, CONFIG), "");
        readiness.config_loaded_in_part("no certificate");
        check(&readiness, Condition::Degraded);
        assert!(detail(&readiness, CONFIG).contains("no certificate"));
    }

    #[test]
    fn a_draining_process_never_becomes_ready_again() {
        let readiness = Readiness::new();
        readiness.config_loaded();
        readiness.begin_drain();
        check(&readiness, Condition::Failing);
        readiness.set(DRAINING, Condition::Ok, "");
        readiness.config_loaded();
        check(&readiness, Condition::Failing);
    }

    #[test]
    fn conditions_of_removed_issuers_are_forgotten_and_no_others() {
        let readiness = Readiness::new();
        readiness.config_loaded();
        readiness.set("issuer:old", Condition::Failing, "");
        readiness.set("issuer:main", Condition::Ok, "");
        readiness.set("keys_file", Condition::Ok, "");
        readiness.keep_only("issuer:", &["issuer:main"]);
        check(&readiness, Condition::Ok);
        let names: Vec<_> = readiness.report().conditions.into_iter().map(|it| it.name).collect();
        assert_eq!(names, [CONFIG, DRAINING, "issuer:main", "keys_file"]);
    }

    #[test]
    fn s144_the_body_is_json_without_hidden_characters() {
        let readiness = Readiness::new();
        readiness.set("keys_file", Condition::Failing, "k\u{202E}\x1B\n");
        let body = String::from_utf8(readiness.report().to_json()).unwrap();
        assert!(!body.chars().any(escape::is_hidden), "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["status"], "failing");
        assert_eq!(body["conditions"][2]["detail"], "k\u{202E}\x1B\n");
    }
}
