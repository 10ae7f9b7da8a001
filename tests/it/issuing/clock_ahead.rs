//! What remains of a clock that was two days ahead and is set back? Revocations hold, also after a restart and with an older
//! database; what was made since works.

use super::Gate;
use super::gate;
use super::gate::form;
use super::gate::text;
use crate::support::LocalGate;
use crate::support::still_clock;
use keygate::jose::sign::SigningKey;
use keygate::jose::sign::token_id;
use keygate::model::algorithm::Algorithm;
use keygate::model::clock::Clock;
use keygate::model::clock::ManualClock;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

/// The credentials that end while the clock is ahead, and their successors.
struct Credentials {
    revoked: String,
    /// A key that is regenerated at once, and its successor.
    replaced: String,
    successor: String,
    /// A key that is regenerated with a grace period.
    graced: String,
    kept: String,
    pair: (String, SigningKey),
    /// A client whose secret is rotated; the last secret is valid.
    rotated: String,
    secrets: Vec<String>,
    /// A client whose tokens are revoked, with its secret, and tokens from before the jump and from while the clock was ahead.
    job: (String, String),
    tokens: Vec<String>,
    /// A token that its own client revokes.
    own_token: String,
}

/// Returns the status of a token request with an assertion of now.
#[track_caller]
fn with_assertion(gate: &Gate, clock: &ManualClock, (id, key): &(String, SigningKey)) -> u16 {
    let now = clock.now().wall.as_unix_secs();
    let claims = json!({
        "iss": id, "sub": id, "aud": gate::ISSUER, "iat": now, "exp": now + 60, "jti": token_id(),
    });
    let assertion = key.sign("JWT", &claims).unwrap();
    let body = format!(
        "grant_type=client_credentials&client_assertion={assertion}&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    gate.client().exchange(form("/oauth/token", "", &body)).status
}

impl Credentials {
    /// Makes the credentials, sets the clock two days ahead, ends them, and sets the clock back.
    #[track_caller]
    fn end_with_a_clock_ahead(gate: &Gate, clock: &ManualClock) -> Self {
        let (revoked_id, revoked) = gate.key(None);
        let (replaced_id, replaced) = gate.key(None);
        let (graced_id, graced) = gate.key(None);
        let (_, kept) = gate.key(None);
        let new = json!({ "name": "pair", "authentication": "private_key_jwt" });
        let pair_id = text(&gate.admin.create("/clients", new)["id"]);
        let path = format!("/clients/{pair_id}/keys");
        let created = gate.admin.create(&path, json!({ "generate": "ES256" }));
        let (kid, private_key) = (text(&created["kid"]), text(&created["private_key"]));
        let pair = (
            pair_id,
            SigningKey::from_pkcs8_pem(Algorithm::Es256, &private_key).unwrap(),
        );
        assert_eq!(with_assertion(gate, clock, &pair), 200);
        let (rotated, first_secret) = gate.secret_client(json!({}));
        let job = gate.secret_client(json!({ "token_ttl": "24h" }));
        let early = gate.token((&job.0, &job.1));
        let own = gate.secret_client(json!({ "token_ttl": "24h" }));
        let own_token = gate.token((&own.0, &own.1));
        gate.admin.create("/backup", json!({ "path": "copy.db" }));

        let start = clock.now().wall;
        clock.set_wall(start.saturating_add(DAY * 2));
        gate.admin.perform("POST", &format!("/keys/{revoked_id}/revoke"), None);
        let created = gate.admin.create(&format!("/keys/{replaced_id}/regenerate"), json!({}));
        gate.admin
            .create(&format!("/keys/{graced_id}/regenerate"), json!({ "grace": "1h" }));
        gate.admin.perform("DELETE", &format!("{path}/{kid}"), None);
        let rotate = || {
            let path = format!("/clients/{rotated}/secret/rotate");
            text(&gate.admin.post(&path, json!({}))["client_secret"])
        };
        let second_secret = rotate();
        let late = gate.token((&job.0, &job.1));
        gate.admin
            .perform("POST", &format!("/clients/{}/revoke-tokens", job.0), None);
        // Its token has expired by this clock, and not by the right one.
        let body = format!("token={own_token}");
        let revoke = form("/oauth/revoke", &gate::basic(&own.0, &own.1), &body);
        assert_eq!(gate.client().exchange(revoke).status, 200);

        clock.set_wall(start.saturating_add(MINUTE));
        gate.admin
            .perform("POST", &format!("/clients/{}/revoke-tokens", job.0), None);
        let third_secret = rotate();
        Self {
            revoked,
            replaced,
            graced,
            successor: text(&created["key"]),
            kept,
            pair,
            rotated,
            secrets: vec![first_secret, second_secret, third_secret],
            job,
            tokens: vec![early, late],
            own_token,
        }
    }

    /// Checks that everything that was ended is refused.
    #[track_caller]
    fn check_ended(&self, gate: &Gate, clock: &ManualClock) {
        for key in [&self.revoked, &self.replaced, &self.graced] {
            assert_eq!(gate.with_key("/any/x", key).status, 401);
        }
        assert!([400, 401].contains(&with_assertion(gate, clock, &self.pair)));
        let (_, earlier) = self.secrets.split_last().unwrap();
        for secret in earlier {
            assert!([400, 401].contains(&gate.ask_token((&self.rotated, secret)).status));
        }
        for token in self.tokens.iter().chain([&self.own_token]) {
            assert_eq!(gate.with_token("/any/x", token).status, 401);
        }
        assert_eq!(gate.with_key("/any/x", &self.kept).status, 200);
        let token = gate.token((&self.job.0, &self.job.1));
        assert_eq!(gate.with_token("/any/x", &token).status, 200);
        assert_eq!(gate.admin.get("/audit/verify")["state"], "whole");
    }

    /// Checks the credentials that were made since.
    #[track_caller]
    fn check_made(&self, gate: &Gate) {
        assert_eq!(gate.with_key("/any/x", &self.successor).status, 200);
        let last = self.secrets.last().unwrap();
        assert_eq!(gate.ask_token((&self.rotated, last)).status, 200);
    }
}

fn restart(gate: Gate, clock: &Arc<ManualClock>, change: impl FnOnce(&Path)) -> Gate {
    Gate::of(gate.running.restart_at(clock, change))
}

#[test]
fn what_ended_while_the_clock_was_ahead_is_over_also_after_restarts() {
    let clock = still_clock();
    let gate = Gate::of(LocalGate::start_at(&clock, &gate::with_endpoint(""), &[]));
    let credentials = Credentials::end_with_a_clock_ahead(&gate, &clock);
    credentials.check_ended(&gate, &clock);
    credentials.check_made(&gate);
    let gate = restart(gate, &clock, |_| {});
    credentials.check_ended(&gate, &clock);
    credentials.check_made(&gate);
    assert!(
        gate.admin.get("/audit?action=store.restored")["items"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    // Also when the clock gets there, which ends what is new by mistake, or revives what is old.
    for days in [1, 2, 3] {
        clock.advance(DAY);
        credentials.check_ended(&gate, &clock);
        credentials.check_made(&gate);
        println!("day {days}");
    }
}

#[test]
fn what_ended_while_the_clock_was_ahead_is_over_in_an_older_database_too() {
    let clock = still_clock();
    let gate = Gate::of(LocalGate::start_at(&clock, &gate::with_endpoint(""), &[]));
    let credentials = Credentials::end_with_a_clock_ahead(&gate, &clock);
    let gate = restart(gate, &clock, |folder| {
        for name in ["keygate.db-wal", "keygate.db-shm"] {
            let _ = std::fs::remove_file(folder.join(name));
        }
        std::fs::rename(folder.join("copy.db"), folder.join("keygate.db")).unwrap();
    });
    // The chain has lost its end with the newer database, which is said.
    let restored = gate.admin.get("/audit?action=store.restored");
    assert_eq!(restored["items"].as_array().unwrap().len(), 1, "{restored}");
    for key in [&credentials.revoked, &credentials.replaced, &credentials.graced] {
        assert_eq!(gate.with_key("/any/x", key).status, 401);
    }
    assert!([400, 401].contains(&with_assertion(&gate, &clock, &credentials.pair)));
    assert!([400, 401].contains(&gate.ask_token((&credentials.rotated, &credentials.secrets[0])).status));
    for token in credentials.tokens.iter().chain([&credentials.own_token]) {
        assert_eq!(gate.with_token("/any/x", token).status, 401);
    }
    assert_eq!(gate.with_key("/any/x", &credentials.kept).status, 200);
}
