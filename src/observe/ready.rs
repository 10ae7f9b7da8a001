//! May traffic be sent here? Named conditions that must hold, and what `/readyz` says about them.

use crate::observe::escape;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// The condition every process has: a configuration is in force.
pub const CONFIG: &str = "config";
/// Fails once the process was told to stop.
pub const DRAINING: &str = "draining";

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    Ok,
    Failed,
}

/// Every condition that must hold before traffic is sent here. Starts unready: nothing was loaded yet.
#[derive(Debug)]
pub struct Readiness {
    conditions: Mutex<BTreeMap<String, (Condition, String)>>,
}

/// What `/readyz` answers.
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
    pub fn new() -> Self {
        let readiness = Self {
            conditions: Mutex::default(),
        };
        readiness.set(CONFIG, Condition::Failed, "not loaded yet");
        readiness.set(DRAINING, Condition::Ok, "");
        readiness
    }

    /// Sets one condition, new or known: `issuer:main`, `keys_file`. One that exists must hold. `draining` is not set
    /// here, see [`Self::begin_drain`]; a process on its way out does not come back.
    pub fn set(&self, name: &str, condition: Condition, detail: impl Into<String>) {
        let mut conditions = self.lock();
        let draining = matches!(conditions.get(DRAINING), Some((Condition::Failed, _)));
        if !(name == DRAINING && draining) {
            conditions.insert(name.to_owned(), (condition, detail.into()));
        }
    }

    /// Forgets one condition: what it was about is past.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Forgets every condition that starts with `prefix` and is not in `names`: the issuers a new configuration no
    /// longer has must not keep it unready.
    pub fn keep_only(&self, prefix: &str, names: &[&str]) {
        self.lock()
            .retain(|name, _| !name.starts_with(prefix) || names.contains(&name.as_str()));
    }

    /// A configuration is in force; an earlier failed reload is past.
    pub fn config_loaded(&self) {
        self.set(CONFIG, Condition::Ok, "");
    }

    /// A reload failed. What was in force stays in force, so this is said and changes no status: a process that never
    /// had a configuration stays unready, one that has serves on.
    pub fn config_reload_failed(&self, error: &str) {
        let mut conditions = self.lock();
        if let Some((condition, detail)) = conditions.get_mut(CONFIG) {
            *detail = match condition {
                Condition::Ok => format!("serving the previous configuration, the last reload failed: {error}"),
                Condition::Failed => error.to_owned(),
            };
        }
    }

    /// From here on nothing makes this process ready again.
    pub fn begin_drain(&self) {
        self.set(DRAINING, Condition::Failed, "shutting down");
    }

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
        // Each change is one insertion or one assignment: a thread that panicked left the map whole.
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl ReadinessReport {
    /// One line; details may quote files that somebody else wrote, so hidden characters are escaped.
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
