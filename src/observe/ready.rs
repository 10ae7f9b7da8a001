//! Is the process ready for traffic? Named conditions that must hold, and the `/readyz` report about them.

use crate::observe::escape;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// The condition every process has: a configuration is in force.
pub const CONFIG: &str = "config";
/// Fails once shutdown has begun.
pub const DRAINING: &str = "draining";

/// The state of one condition: it holds, or it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    Ok,
    Failed,
}

/// Every condition that must hold before traffic is sent to the
/// process. Starts unready: no configuration is loaded yet.
#[derive(Debug)]
pub struct Readiness {
    conditions: Mutex<BTreeMap<String, (Condition, String)>>,
}

/// The body of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadinessReport {
    /// `Ok` when every condition holds.
    pub status: Condition,
    /// Sorted by name.
    pub conditions: Vec<ConditionReport>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConditionReport {
    pub name: String,
    pub status: Condition,
    /// For people; never a credential, never key material.
    pub detail: String,
}

impl Readiness {
    /// Returns the conditions of a process that has just started: no configuration, not draining.
    pub fn new() -> Self {
        let readiness = Self {
            conditions: Mutex::default(),
        };
        readiness.set(CONFIG, Condition::Failed, "not loaded yet");
        readiness.set(DRAINING, Condition::Ok, "");
        readiness
    }

    /// Sets a condition, such as `issuer:main` or `keys_file`; adds it if it is new. Ignores changes of `draining`
    /// after [`Self::begin_drain`]: a process that shuts down never becomes ready again.
    pub fn set(&self, name: &str, condition: Condition, detail: impl Into<String>) {
        let mut conditions = self.lock();
        let draining = matches!(conditions.get(DRAINING), Some((Condition::Failed, _)));
        if !(name == DRAINING && draining) {
            conditions.insert(name.to_owned(), (condition, detail.into()));
        }
    }

    /// Removes one condition, because its subject no longer exists.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Removes every condition that starts with `prefix` and is not in `names`: an issuer that a new configuration no
    /// longer has must not keep the process unready.
    pub fn keep_only(&self, prefix: &str, names: &[&str]) {
        self.lock()
            .retain(|name, _| !name.starts_with(prefix) || names.contains(&name.as_str()));
    }

    /// Records that a configuration is in force and clears the error of an earlier reload.
    pub fn config_loaded(&self) {
        self.set(CONFIG, Condition::Ok, "");
    }

    /// Records that a reload failed. The status does not change, because the previous configuration stays in force: a
    /// process without any configuration stays unready, any other stays ready.
    pub fn config_reload_failed(&self, error: &str) {
        let mut conditions = self.lock();
        if let Some((condition, detail)) = conditions.get_mut(CONFIG) {
            *detail = match condition {
                Condition::Ok => format!("serving the previous configuration, the last reload failed: {error}"),
                Condition::Failed => error.to_owned(),
            };
        }
    }

    /// Makes the process unready for the rest of its life.
    pub fn begin_drain(&self) {
        self.set(DRAINING, Condition::Failed, "shutting down");
    }

    /// Returns the present state of every condition, sorted by name.
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
        let holds = conditions.iter().all(|condition| condition.status == Condition::Ok);
        ReadinessReport {
            status: if holds { Condition::Ok } else { Condition::Failed },
            conditions,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Condition, String)>> {
        // Each change is one insertion or one assignment: a thread that panicked left the map consistent.
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl ReadinessReport {
    /// Returns the report as one line of JSON. Hidden characters
    /// are escaped, because details may quote files of strangers.
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
        check(&readiness, Condition::Failed);
        readiness.config_loaded();
        check(&readiness, Condition::Ok);
        readiness.set("issuer:main", Condition::Failed, "no keys yet");
        check(&readiness, Condition::Failed);
        readiness.set("issuer:main", Condition::Ok, "2 keys");
        check(&readiness, Condition::Ok);
    }

    #[test]
    fn s148_a_failed_reload_is_told_and_the_old_configuration_stays_ready() {
        let readiness = Readiness::new();
        readiness.config_reload_failed("line 3: unknown key");
        check(&readiness, Condition::Failed);
        readiness.config_loaded();
        readiness.config_reload_failed("line 3: unknown key");
        check(&readiness, Condition::Ok);
        assert!(detail(&readiness, CONFIG).contains("line 3: unknown key"));
        readiness.config_loaded();
        assert_eq!(detail(&readiness, CONFIG), "");
    }

    #[test]
    fn a_draining_process_never_becomes_ready_again() {
        let readiness = Readiness::new();
        readiness.config_loaded();
        readiness.begin_drain();
        check(&readiness, Condition::Failed);
        readiness.set(DRAINING, Condition::Ok, "");
        readiness.config_loaded();
        check(&readiness, Condition::Failed);
    }

    #[test]
    fn conditions_of_removed_issuers_are_forgotten_and_no_others() {
        let readiness = Readiness::new();
        readiness.config_loaded();
        readiness.set("issuer:old", Condition::Failed, "");
        readiness.set("issuer:main", Condition::Ok, "");
        readiness.set("keys_file", Condition::Ok, "");
        readiness.keep_only("issuer:", &["issuer:main"]);
        check(&readiness, Condition::Ok);
        let names: Vec<_> = readiness.report().conditions.into_iter().map(|it| it.name).collect();
        assert_eq!(names, [CONFIG, DRAINING, "issuer:main", "keys_file"]);
    }

    #[test]
    fn s144_the_body_is_json_with_nothing_hidden_in_it() {
        let readiness = Readiness::new();
        readiness.set("keys_file", Condition::Failed, "k\u{202E}\x1B\n");
        let body = String::from_utf8(readiness.report().to_json()).unwrap();
        assert!(!body.chars().any(escape::is_hidden), "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["status"], "failed");
        assert_eq!(body["conditions"][2]["detail"], "k\u{202E}\x1B\n");
    }
}
