//! How is every change recorded? As a chain of events, each with the hash of the previous event (S154).

use crate::model::api_key::CredentialDigest;
use crate::model::clock::Timestamp;
use crate::model::names::Name;
use crate::store::record::text;
use serde::Deserialize;
use serde::Serialize;
use std::net::IpAddr;

/// The actor of a user who may open the store's files. The user follows, as in `local:alice (uid 1000)`.
pub const LOCAL: &str = "local";

/// A change, as an event without its place in the chain, which the store assigns. Never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAuditEvent {
    pub at: Timestamp,
    /// The actor: a client's id, `admin.token`, [`LOCAL`] with the user, `gate` (at its start).
    pub actor: String,
    /// The address of the actor; `None` for a request that did not come over the network.
    pub from: Option<IpAddr>,
    /// The action: `client.create`, `api_key.revoke`, …
    pub action: &'static str,
    /// The id of the changed record.
    pub target: String,
    /// The organization of the record; `None` for records of the gate itself.
    pub organization: Option<Name>,
    /// Further facts: names, scopes, expiry.
    pub details: serde_json::Value,
}

/// An event of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// From 1, without gaps.
    pub sequence: u64,
    #[serde(with = "text::millis")]
    pub at: Timestamp,
    pub actor: String,
    pub from: Option<IpAddr>,
    pub action: String,
    pub target: String,
    #[serde(with = "text::optional")]
    pub organization: Option<Name>,
    pub details: serde_json::Value,
    /// The hash of the previous event, hexadecimal; 64 zeros for the first.
    pub previous_hash: String,
    /// SHA-256 over all fields above; see [`AuditEvent::canonical`].
    pub hash: String,
}

/// The result of verifying the chain of audit events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainState {
    Whole {
        events: u64,
        head: String,
    },
    /// The first event that does not fit: it was changed, added or removed, or an event before it is missing.
    Broken {
        sequence: u64,
        problem: String,
    },
}

/// The end of a chain: the number of its events, and the hash of the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHead {
    pub events: u64,
    pub hash: String,
}

impl ChainHead {
    /// Returns the head of an empty chain.
    pub fn start() -> Self {
        Self {
            events: 0,
            hash: "0".repeat(64),
        }
    }

    /// Returns the next event, made of `new`, and moves the head to it.
    pub fn append(&mut self, new: &NewAuditEvent) -> AuditEvent {
        let mut event = AuditEvent {
            sequence: self.events + 1,
            at: new.at,
            actor: new.actor.clone(),
            from: new.from,
            action: new.action.to_owned(),
            target: new.target.clone(),
            organization: new.organization.clone(),
            details: new.details.clone(),
            previous_hash: self.hash.clone(),
            hash: String::new(),
        };
        event.hash = event.computed_hash();
        *self = Self {
            events: event.sequence,
            hash: event.hash.clone(),
        };
        event
    }
}

impl AuditEvent {
    /// Returns the hashed text: a JSON array without spaces of sequence, milliseconds since 1970, actor, address or
    /// null, action, target, organization or null, details with the members of each object sorted, previous hash. With
    /// this text anybody can verify the chain with `sha256sum`, and no two events have the same text.
    pub fn canonical(&self) -> String {
        serde_json::json!([
            self.sequence,
            self.at.as_unix_millis(),
            self.actor,
            self.from,
            self.action,
            self.target,
            self.organization.as_ref().map(Name::as_str),
            sorted(&self.details),
            self.previous_hash,
        ])
        .to_string()
    }

    fn computed_hash(&self) -> String {
        CredentialDigest::sha256(&self.canonical()).to_hex()
    }
}

/// Returns `value` with the members of each object sorted by name, regardless of serde_json's map type.
fn sorted(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            let members = members.into_iter().map(|(name, value)| (name.clone(), sorted(value)));
            serde_json::Value::Object(members.collect())
        }
        serde_json::Value::Array(items) => serde_json::Value::Array(items.iter().map(sorted).collect()),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => value.clone(),
    }
}

/// Verifies a chain from its first event to its last.
#[derive(Debug)]
pub struct ChainCheck(ChainHead);

impl ChainCheck {
    pub fn start() -> Self {
        Self(ChainHead::start())
    }

    /// Returns the number of the next event.
    pub const fn next_sequence(&self) -> u64 {
        self.0.events + 1
    }

    /// Verifies the next event.
    ///
    /// # Errors
    /// [`ChainState::Broken`]: the event was changed, or an event before it is missing. Do not continue then.
    pub fn next(&mut self, event: &AuditEvent) -> Result<(), ChainState> {
        let expected = self.next_sequence();
        let broken = |sequence, problem: String| Err(ChainState::Broken { sequence, problem });
        if event.sequence != expected {
            return broken(expected, format!("it is missing; the next one is {}", event.sequence));
        }
        if event.hash != event.computed_hash() {
            return broken(expected, "it was changed".to_owned());
        }
        if event.previous_hash != self.0.hash {
            return broken(
                expected,
                "it does not follow the one before, which was changed".to_owned(),
            );
        }
        self.0 = ChainHead {
            events: event.sequence,
            hash: event.hash.clone(),
        };
        Ok(())
    }

    /// Compares the verified end of the chain with `expected`, the stored head, and returns the result.
    pub fn finish(self, expected: &ChainHead) -> ChainState {
        let broken = |sequence, problem: String| ChainState::Broken { sequence, problem };
        let events = self.0.events;
        if events < expected.events {
            let missing = expected.events - events;
            return broken(events + 1, format!("the last {missing} events are missing"));
        }
        if events > expected.events {
            return broken(
                expected.events + 1,
                "it was added behind the end of the chain".to_owned(),
            );
        }
        if self.0.hash != expected.hash {
            return broken(events, "it is not the event that the chain ended with".to_owned());
        }
        ChainState::Whole {
            events,
            head: self.0.hash,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(target: &str) -> NewAuditEvent {
        NewAuditEvent {
            at: Timestamp::from_unix_millis(1_700_000_000_123),
            actor: "client_1".to_owned(),
            from: Some("192.0.2.1".parse().unwrap()),
            action: "api_key.create",
            target: target.to_owned(),
            organization: Some("acme".parse().unwrap()),
            details: serde_json::json!({"b": [1, {"z": null, "a": "\u{e9}\n"}], "a": 1.5}),
        }
    }

    fn chain(length: usize) -> (Vec<AuditEvent>, ChainHead) {
        let mut head = ChainHead::start();
        let events = (0..length)
            .map(|number| head.append(&new(&number.to_string())))
            .collect();
        (events, head)
    }

    fn verify(events: &[AuditEvent], head: &ChainHead) -> ChainState {
        let mut check = ChainCheck::start();
        for event in events {
            if let Err(broken) = check.next(event) {
                return broken;
            }
        }
        check.finish(head)
    }

    #[track_caller]
    fn check_broken(events: &[AuditEvent], head: &ChainHead, expected: u64) {
        match verify(events, head) {
            ChainState::Broken { sequence, .. } => assert_eq!(sequence, expected),
            whole @ ChainState::Whole { .. } => panic!("{whole:?}"),
        }
    }

    #[test]
    fn the_hash_is_of_the_canonical_json_of_the_event() {
        let (events, _) = chain(1);
        let expected = r#"[1,1700000000123,"client_1","192.0.2.1","api_key.create","0","acme",{"a":1.5,"b":[1,{"a":"\u{e9}\n","z":null}]},"#;
        let expected = format!("{expected}\"{}\"]", "0".repeat(64)).replace("\\u{e9}", "\u{e9}");
        assert_eq!(events[0].canonical(), expected);
        assert_eq!(events[0].hash, CredentialDigest::sha256(&expected).to_hex());
    }

    #[test]
    fn an_unchanged_chain_is_whole() {
        for length in [0, 1, 5] {
            let (events, head) = chain(length);
            let whole = ChainState::Whole {
                events: length as u64,
                head: head.hash.clone(),
            };
            assert_eq!(verify(&events, &head), whole);
        }
    }

    #[test]
    fn s154_an_event_that_was_removed_added_or_moved_is_noticed() {
        let (events, head) = chain(5);
        for (index, _) in events.iter().enumerate() {
            let mut less = events.clone();
            less.remove(index);
            check_broken(&less, &head, index as u64 + 1);
        }
        check_broken(&[], &head, 1);
        let mut swapped = events.clone();
        swapped.swap(1, 2);
        check_broken(&swapped, &head, 2);
        // With their numbers changed as well.
        swapped[1].sequence = 2;
        swapped[2].sequence = 3;
        check_broken(&swapped, &head, 2);
        let mut more = events.clone();
        let mut end = head.clone();
        more.push(end.append(&new("one more")));
        check_broken(&more, &head, 6);
        let mut replaced = events[..4].to_vec();
        let mut end = ChainHead {
            events: 4,
            hash: events[3].hash.clone(),
        };
        replaced.push(end.append(&new("another")));
        check_broken(&replaced, &head, 5);
    }

    #[test]
    fn s154_a_change_to_any_field_is_noticed() {
        let (events, head) = chain(3);
        let changes: [fn(&mut AuditEvent); 9] = [
            |event| event.at = Timestamp::from_unix_millis(1),
            |event| event.actor.push('x'),
            |event| event.from = None,
            |event| event.action.push('x'),
            |event| event.target.push('x'),
            |event| event.organization = None,
            |event| event.details = serde_json::json!({}),
            |event| event.previous_hash = "0".repeat(63) + "1",
            |event| event.hash = "0".repeat(64),
        ];
        for change in changes {
            for index in 0..events.len() {
                let mut changed = events.clone();
                change(&mut changed[index]);
                check_broken(&changed, &head, index as u64 + 1);
                // If its own hash is corrected, the next event does not fit, or the head of the chain.
                changed[index].hash = changed[index].computed_hash();
                if changed != events {
                    assert!(matches!(verify(&changed, &head), ChainState::Broken { .. }));
                }
            }
        }
    }
}
