//! Which fields of a record does an audit event show? All but secrets, each with its old and its new value.

use crate::model::clock::Timestamp;
use crate::model::subscription::SubscriptionState;
use crate::observe::access::rfc3339;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ClientRecord;
use crate::store::record::OrganizationRecord;
use crate::store::record::Record;
use crate::store::record::SubscriptionRecord;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientKey;
use crate::store::record::client::ClientSecret;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// The fields of a record by name.
pub(in crate::control) type Fields = Map<String, Value>;

/// A record whose changes are audited.
///
/// Implementations take the record apart without `..`, so a new field does not compile until its author has decided.
/// Omitted are digests, `id` and `organization` (members of the event), and `created_at` and `changed_at` (its `at`).
pub(in crate::control) trait AuditFields: Record {
    fn audit_fields(&self) -> Fields;
}

impl AuditFields for OrganizationRecord {
    fn audit_fields(&self) -> Fields {
        let Self {
            id: _,
            name,
            created_at: _,
            state,
        } = self;
        fields([("name", json!(name)), ("state", json!(state.as_str()))])
    }
}

impl AuditFields for SubscriptionRecord {
    fn audit_fields(&self) -> Fields {
        let Self {
            id: _,
            organization: _,
            plan,
            environment,
            state,
            paid,
            created_at: _,
            changed_at: _,
        } = self;
        fields([
            ("plan", json!(plan.as_str())),
            ("environment", json!(environment.as_str())),
            ("state", json!(state.as_str())),
            ("paid", json!(paid)),
        ])
    }
}

impl AuditFields for ApiKeyRecord {
    fn audit_fields(&self) -> Fields {
        let Self {
            id: _,
            digest: _,
            origin,
            environment,
            name,
            organization: _,
            subscription,
            scopes,
            addresses,
            created_at: _,
            expires_at,
            revoked_at,
            replaced_by,
            state,
            // It follows from the changes of `expires_at`.
            was_shortened: _,
            // Written late and without an event.
            last_used_at: _,
        } = self;
        fields([
            ("origin", json!(origin.as_str())),
            ("environment", json!(environment.as_str())),
            ("name", json!(name)),
            ("subscription", json!(subscription.as_str())),
            ("scopes", json!(scopes.to_string())),
            (
                "addresses",
                json!(addresses.iter().map(ToString::to_string).collect::<Vec<_>>()),
            ),
            ("expires_at", time(*expires_at)),
            ("revoked_at", time(*revoked_at)),
            ("state", json!(state.as_str())),
            ("replaced_by", json!(replaced_by.map(|id| id.to_string()))),
        ])
    }
}

impl AuditFields for ClientRecord {
    fn audit_fields(&self) -> Fields {
        let Self {
            id: _,
            organization: _,
            subscription,
            environment,
            name,
            description,
            authentication,
            scopes,
            token_ttl,
            token_format,
            state,
            tokens_not_before,
            token_series,
            created_at: _,
            changed_at: _,
        } = self;
        let mut all = fields([
            ("subscription", json!(subscription.as_str())),
            ("environment", json!(environment.as_str())),
            ("name", json!(name)),
            ("description", json!(description)),
            ("authentication", json!(authentication.kind().as_str())),
            ("scopes", json!(scopes.to_string())),
            ("token_ttl", json!(token_ttl.as_str())),
            ("token_format", json!(token_format.as_str())),
            ("state", json!(state.as_str())),
            ("tokens_not_before", time(*tokens_not_before)),
            ("token_series", json!(token_series)),
        ]);
        match authentication {
            ClientAuthentication::ClientSecret { secrets } => {
                let secrets: Vec<Value> = secrets.iter().map(secret).collect();
                all.insert("secrets".to_owned(), json!(secrets));
            }
            ClientAuthentication::JwksUrl { url } => {
                all.insert("jwks_url".to_owned(), json!(url));
            }
            // Each key is a field of its own: a client may have a hundred, and a change is about one.
            ClientAuthentication::Keys { keys } => all.extend(keys.iter().map(key)),
        }
        all
    }
}

fn secret(secret: &ClientSecret) -> Value {
    let ClientSecret {
        digest: _,
        created_at,
        ends_at,
        // It shows a part of the secret.
        hint: _,
    } = secret;
    json!({ "created_at": time(Some(*created_at)), "ends_at": time(*ends_at) })
}

fn key(key: &ClientKey) -> (String, Value) {
    let ClientKey {
        kid,
        // `kid` is the thumbprint of the public key.
        public_pem: _,
        algorithms,
        generated,
        created_at,
        revoked_at,
    } = key;
    let value = json!({
        "algorithms": algorithms.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "generated": generated,
        "created_at": time(Some(*created_at)),
        "revoked_at": time(*revoked_at),
    });
    (format!("keys/{kid}"), value)
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Fields {
    let owned = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
    owned.collect()
}

fn time(time: Option<Timestamp>) -> Value {
    json!(time.map(|time| rfc3339(time).to_string()))
}

/// Returns the member `changes` of an event: each field that differs, as `{"old": …, "new": …}`. A field that a record
/// does not have is `null` there.
pub(in crate::control) fn changes(old: &Fields, new: &Fields) -> Value {
    let mut changes = Fields::new();
    for name in old.keys().chain(new.keys()) {
        let of = |fields: &Fields| fields.get(name).cloned().unwrap_or_default();
        let (old, new) = (of(old), of(new));
        if old != new {
            changes.insert(name.clone(), json!({ "old": old, "new": new }));
        }
    }
    Value::Object(changes)
}

/// Returns the member `changes` of the revocation of a key whose record is not at hand. `ends_at` is the end of its grace.
pub(super) fn changes_of_revoked_key(ends_at: Option<Timestamp>, revoked_at: Timestamp) -> Value {
    let [old, new] = [ends_at, Some(revoked_at)].map(|at| fields([("revoked_at", time(at))]));
    changes(&old, &new)
}

/// Returns the member `changes` of the cancellation of a subscription whose record is not at hand.
pub(super) fn changes_of_cancelled_subscription(before: SubscriptionState) -> Value {
    let states = [before, SubscriptionState::Cancelled];
    let [old, new] = states.map(|state| fields([("state", json!(state.as_str()))]));
    changes(&old, &new)
}

#[cfg(test)]
mod tests;
