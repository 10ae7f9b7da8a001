//! How does the admin API verify a key? With the stages of the gate itself, without a route.

use crate::control::key_verdict::KeyQuestion;
use crate::control::key_verdict::KeyVerdict;
use crate::control::key_verdict::KeyVerifier;
use crate::control::key_verdict::LimitLevel;
use crate::control::key_verdict::ProvedKey;
use crate::control::key_verdict::TooManyWrongKeys;
use crate::gate::Gate;
use crate::gate::admit;
use crate::gate::admit::LimitFacts;
use crate::gate::admit::Subject;
use crate::gate::authenticate::Identity;
use crate::gate::authenticate::SubscriptionBinding;
use crate::gate::authenticate::api_key::ApiKeyError;
use crate::gate::authorize::Forbidden;
use crate::gate::authorize::subscription;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Now;
use crate::model::names::Name;
use std::sync::Arc;

/// The keys of the configuration and the store in force.
pub struct GateKeys(pub Arc<Gate>);

impl KeyVerifier for GateKeys {
    fn verify(
        &self,
        question: &KeyQuestion<'_>,
        sees: &dyn Fn(Option<&str>) -> bool,
    ) -> Result<KeyVerdict, TooManyWrongKeys> {
        let (now, snapshot) = (self.0.clock.now(), self.0.snapshot());
        let keys = &snapshot.authenticator.api_keys;
        let text = question.text.expose();
        let (proved, error) = match keys.authenticate(text, question.address, now.wall) {
            Ok((identity, binding)) => (Some((identity, binding)), None),
            Err(error) => (keys.owner(&error).map(|identity| (identity, None)), Some(error)),
        };
        let seen = proved.filter(|(identity, _)| sees(identity.organization.as_deref()));
        match (seen, error) {
            (Some((identity, binding)), None) => Ok(self.verdict(&snapshot, &identity, binding, question, now)),
            (seen, error) => {
                if let Some(failures) = &snapshot.failures {
                    let counted = failures.record(question.source.into(), now);
                    counted.map_err(|retry_after| TooManyWrongKeys { retry_after })?;
                }
                let error = match (&seen, error) {
                    (Some(_), Some(error)) => error,
                    // A wrong secret of a known id, or a key of another organization: neither is the caller's to learn.
                    (None, Some(error @ (ApiKeyError::Malformed | ApiKeyError::Checksum))) => error,
                    (None, _) | (Some(_), None) => ApiKeyError::Unknown,
                };
                Ok(KeyVerdict {
                    reason: Some(error.reason()),
                    key: seen.map(|(identity, _)| proved_key(&identity)),
                    limit: None,
                })
            }
        }
    }
}

impl GateKeys {
    /// Returns the verdict on a key whose text is right: on its subscription, its scopes and the limits of its plan.
    fn verdict(
        &self,
        snapshot: &Snapshot,
        identity: &Identity,
        binding: Option<SubscriptionBinding>,
        question: &KeyQuestion<'_>,
        now: Now,
    ) -> KeyVerdict {
        let verdict = |reason, limit| KeyVerdict {
            reason,
            key: Some(proved_key(identity)),
            limit,
        };
        let subscription =
            binding.map(|binding| subscription::in_force(&binding, &snapshot.plans, &self.0.live.directory));
        let subscription = match subscription.transpose() {
            Ok(subscription) => subscription,
            Err(error) => return verdict(Some(error.reason()), None),
        };
        if !question.scopes.iter().all(|scope| identity.scopes.contains(scope)) {
            return verdict(Some(Forbidden::MISSING_SCOPE), None);
        }
        let limits = subscription.and_then(|subscription| snapshot.plan_limits.get(&subscription.plan));
        let limits = limits.map_or(&[][..], |limits| &limits.limits);
        let subject = Subject {
            identity: Some(identity),
            client: question.source.into(),
            route: &no_route(),
        };
        match admit::spend(limits, subject, now) {
            Ok(admission) => verdict(None, admission.closest().map(level)),
            Err(spent) => verdict(Some(spent.reason()), Some(level(spent.facts()))),
        }
    }
}

/// Returns the name that stands for the route in limits by route.
fn no_route() -> Name {
    "keygate.verify".parse().expect("it is a name")
}

fn proved_key(identity: &Identity) -> ProvedKey {
    ProvedKey {
        id: identity.credential_id.as_deref().and_then(|id| id.parse().ok()),
        organization: identity.organization.as_deref().map(str::to_owned),
    }
}

fn level(facts: &LimitFacts) -> LimitLevel {
    LimitLevel {
        name: facts.limit.to_string(),
        requests: facts.requests(),
        remaining: facts.remaining,
        reset_secs: facts.reset_secs,
    }
}
