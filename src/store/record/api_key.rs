//! How is an API key stored, and how may it change?

use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::CredentialDigest;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::directory::ApiKeyOrigin;
use crate::model::grace::Grace;
use crate::model::id::SubscriptionId;
use crate::model::lifetime::EXPIRY_DAYS_MAX;
use crate::model::names::Name;
use crate::model::scope::ScopeSet;
use crate::store::record::text;
use ipnet::IpNet;
use serde::Deserialize;
use serde::Serialize;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    #[serde(with = "text")]
    pub id: KeyId,
    #[serde(with = "text::digest")]
    pub digest: CredentialDigest,
    #[serde(with = "text")]
    pub origin: ApiKeyOrigin,
    #[serde(with = "text")]
    pub environment: ApiKeyEnvironment,
    pub name: String,
    #[serde(with = "text")]
    pub organization: Name,
    #[serde(with = "text")]
    pub subscription: SubscriptionId,
    #[serde(with = "text")]
    pub scopes: ScopeSet,
    /// The addresses that may use the key; empty for all.
    #[serde(with = "text::list")]
    pub addresses: Vec<IpNet>,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
    /// The first instant at which the key is refused; `None` for never.
    #[serde(with = "text::optional_millis")]
    pub expires_at: Option<Timestamp>,
    /// The first instant at which the key is revoked; in the future while a grace period runs.
    #[serde(with = "text::optional_millis")]
    pub revoked_at: Option<Timestamp>,
    /// The key that replaces this one.
    #[serde(with = "text::optional")]
    pub replaced_by: Option<KeyId>,
    /// `Active` in a record of an earlier version.
    #[serde(with = "text", default, skip_serializing_if = "is_active")]
    pub state: ApiKeyState,
    /// `true` once the expiry was moved to an earlier instant. A backup from before has the later one, so a revocation of this
    /// key is needed for longer than until `expires_at`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub was_shortened: bool,
    /// The last use, rounded down to the minute and written with a delay.
    #[serde(with = "text::optional_millis")]
    pub last_used_at: Option<Timestamp>,
}

/// The state of a key that is neither revoked nor expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ApiKeyState {
    #[default]
    Active,
    /// Refused until it is enabled again.
    Disabled,
}

impl ApiKeyState {
    pub const ALL: [Self; 2] = [Self::Active, Self::Disabled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

crate::model::id::words!(ApiKeyState);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_active(state: &ApiKeyState) -> bool {
    matches!(state, ApiKeyState::Active)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The maximum lifetime of a key that expires.
const LIFETIME_MAX: Duration = Duration::from_secs(EXPIRY_DAYS_MAX.unsigned_abs() * 86_400);

/// Why a key cannot be created or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    #[error("the key would be expired from its first moment")]
    ExpiresInThePast,
    #[error("a key expires within {EXPIRY_DAYS_MAX} days, or never")]
    ExpiresTooLate,
    #[error("the key is revoked already")]
    AlreadyRevoked,
    #[error("the key was regenerated already; regenerate the one that was made in its place")]
    AlreadyReplaced,
    #[error("the key is expired, and stays so; regenerate it")]
    AlreadyExpired,
    #[error("the key is disabled already")]
    AlreadyDisabled,
    #[error("the key is active already")]
    AlreadyActive,
}

impl ApiKeyError {
    #[cfg(test)]
    pub const ALL: [Self; 7] = [
        Self::ExpiresInThePast,
        Self::ExpiresTooLate,
        Self::AlreadyRevoked,
        Self::AlreadyReplaced,
        Self::AlreadyExpired,
        Self::AlreadyDisabled,
        Self::AlreadyActive,
    ];

    /// Returns the stable word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExpiresInThePast => "expires_in_the_past",
            Self::ExpiresTooLate => "expires_too_late",
            Self::AlreadyRevoked => "already_revoked",
            Self::AlreadyReplaced => "already_replaced",
            Self::AlreadyExpired => "already_expired",
            Self::AlreadyDisabled => "already_disabled",
            Self::AlreadyActive => "already_active",
        }
    }
}

/// Checks the expiry of a key that is created, or gets this expiry, at `now`; `None` is never.
///
/// # Errors
/// The expiry is not after `now`, or more than 730 days after it.
pub fn check_expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), ApiKeyError> {
    match expires_at {
        Some(at) if at <= now => Err(ApiKeyError::ExpiresInThePast),
        Some(at) if at > now.saturating_add(LIFETIME_MAX) => Err(ApiKeyError::ExpiresTooLate),
        Some(_) | None => Ok(()),
    }
}

/// The fields of a new key, with the digest of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApiKey {
    pub id: KeyId,
    pub digest: CredentialDigest,
    pub origin: ApiKeyOrigin,
    pub environment: ApiKeyEnvironment,
    pub name: String,
    pub organization: Name,
    pub subscription: SubscriptionId,
    pub scopes: ScopeSet,
    pub addresses: Vec<IpNet>,
    /// `None` for never.
    pub expires_at: Option<Timestamp>,
}

/// A change of a key; `None` leaves a field unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeyChange {
    pub name: Option<String>,
    pub scopes: Option<ScopeSet>,
    pub addresses: Option<Vec<IpNet>>,
    /// `Some(None)` is never.
    pub expires_at: Option<Option<Timestamp>>,
}

impl ApiKeyRecord {
    /// Returns a new key.
    ///
    /// # Errors
    /// The expiry is in the past, or more than 730 days away (S068).
    pub fn new(fields: NewApiKey, now: Timestamp) -> Result<Self, ApiKeyError> {
        check_expiry(fields.expires_at, now)?;
        Ok(Self {
            id: fields.id,
            digest: fields.digest,
            origin: fields.origin,
            environment: fields.environment,
            name: fields.name,
            organization: fields.organization,
            subscription: fields.subscription,
            scopes: fields.scopes,
            addresses: fields.addresses,
            created_at: now,
            expires_at: fields.expires_at,
            revoked_at: None,
            replaced_by: None,
            state: ApiKeyState::Active,
            was_shortened: false,
            last_used_at: None,
        })
    }

    /// Returns whether the key is revoked at `now`. Only a key with a successor is revoked at a later instant, the end of its grace
    /// period; every other later instant is from when the clock was ahead, and the key stays revoked after the clock is set back.
    pub fn is_revoked(&self, now: Timestamp) -> bool {
        let in_grace = |at| now < at && self.replaced_by.is_some() && Grace::may_end_at(at, now);
        self.revoked_at.is_some_and(|at| !in_grace(at))
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| now >= at)
    }

    /// Returns whether the key counts against `keys_max` of its plan. A key
    /// in its grace period does not: its successor does.
    pub fn counts_against_plan(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && !self.is_expired(now)
    }

    /// Returns whether the key can be regenerated: it is not revoked and has no successor.
    pub fn is_replaceable(&self, now: Timestamp) -> bool {
        !self.is_revoked(now) && self.replaced_by.is_none()
    }

    /// Returns the default expiry of a successor created at `now`: after the lifetime that this key was created with,
    /// at most 730 days; `None` if this key never expires.
    pub fn renewed_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let lifetime = self.expires_at?.saturating_since(self.created_at);
        Some(now.saturating_add(lifetime.min(LIFETIME_MAX)))
    }

    /// Changes the fields that `change` names.
    ///
    /// # Errors
    /// The key is revoked; or the expiry is not valid, or is that of a key that has expired: a key that everybody takes for
    /// dead does not come back to life (S067).
    pub fn change(self, change: ApiKeyChange, now: Timestamp) -> Result<Self, ApiKeyError> {
        self.check_not_revoked(now)?;
        let expires_at = match change.expires_at {
            Some(expires_at) if expires_at != self.expires_at => {
                if self.is_expired(now) {
                    return Err(ApiKeyError::AlreadyExpired);
                }
                check_expiry(expires_at, now)?;
                expires_at
            }
            Some(_) | None => self.expires_at,
        };
        let is_shortened = match (self.expires_at, expires_at) {
            (Some(before), Some(after)) => after < before,
            (None, after) => after.is_some(),
            (Some(_), None) => false,
        };
        Ok(Self {
            name: change.name.unwrap_or(self.name),
            scopes: change.scopes.unwrap_or(self.scopes),
            addresses: change.addresses.unwrap_or(self.addresses),
            expires_at,
            was_shortened: self.was_shortened || is_shortened,
            ..self
        })
    }

    /// Disables the key: it is refused until it is enabled. Keeps its place among the keys of its plan.
    ///
    /// # Errors
    /// The key is disabled or revoked.
    pub fn disable(self, now: Timestamp) -> Result<Self, ApiKeyError> {
        self.check_not_revoked(now)?;
        match self.state {
            ApiKeyState::Active => Ok(self.into_state(ApiKeyState::Disabled)),
            ApiKeyState::Disabled => Err(ApiKeyError::AlreadyDisabled),
        }
    }

    /// Enables the key: it is accepted again.
    ///
    /// # Errors
    /// The key is active or revoked.
    pub fn enable(self, now: Timestamp) -> Result<Self, ApiKeyError> {
        self.check_not_revoked(now)?;
        match self.state {
            ApiKeyState::Disabled => Ok(self.into_state(ApiKeyState::Active)),
            ApiKeyState::Active => Err(ApiKeyError::AlreadyActive),
        }
    }

    fn into_state(self, state: ApiKeyState) -> Self {
        Self { state, ..self }
    }

    fn check_not_revoked(&self, now: Timestamp) -> Result<(), ApiKeyError> {
        if self.is_revoked(now) {
            Err(ApiKeyError::AlreadyRevoked)
        } else {
            Ok(())
        }
    }

    /// Revokes the key at once, even during a grace period.
    ///
    /// # Errors
    /// The key is revoked already.
    pub fn revoke(self, now: Timestamp) -> Result<Self, ApiKeyError> {
        self.check_not_revoked(now)?;
        Ok(Self {
            revoked_at: Some(now),
            ..self
        })
    }

    /// Returns this key, which ends after `grace`, and a new key with the same rights.
    /// An expired key can be regenerated, but stays expired itself. The successor of a disabled key is disabled too: a
    /// regeneration does not enable a key.
    ///
    /// # Errors
    /// The key is revoked or has a successor, or the expiry of the new key is not valid.
    pub fn regenerate(
        self,
        id: KeyId,
        digest: CredentialDigest,
        expires_at: Option<Timestamp>,
        grace: Grace,
        now: Timestamp,
    ) -> Result<(Self, Self), ApiKeyError> {
        self.check_not_revoked(now)?;
        if self.replaced_by.is_some() {
            return Err(ApiKeyError::AlreadyReplaced);
        }
        let fields = NewApiKey {
            id,
            digest,
            // Keygate generates the text of the new key, even if the old key was imported.
            origin: ApiKeyOrigin::Own,
            environment: self.environment,
            name: self.name.clone(),
            organization: self.organization.clone(),
            subscription: self.subscription.clone(),
            scopes: self.scopes.clone(),
            addresses: self.addresses.clone(),
            expires_at,
        };
        let new = Self::new(fields, now)?.into_state(self.state);
        let old = Self {
            revoked_at: Some(now.saturating_add(grace.duration())),
            replaced_by: Some(id),
            ..self
        };
        Ok((old, new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn fields(expires_at: Option<Timestamp>) -> NewApiKey {
        NewApiKey {
            id: "aaaaaaaaaaaaaaaa".parse().unwrap(),
            digest: CredentialDigest::sha256("a"),
            origin: ApiKeyOrigin::Own,
            environment: ApiKeyEnvironment::Live,
            name: "ci".to_owned(),
            organization: "acme".parse().unwrap(),
            subscription: "sub_1".parse().unwrap(),
            scopes: "a b".parse().unwrap(),
            addresses: vec!["192.0.2.0/24".parse().unwrap()],
            expires_at,
        }
    }

    fn key() -> ApiKeyRecord {
        ApiKeyRecord::new(fields(Some(NOW.saturating_add(DAY * 90))), NOW).unwrap()
    }

    fn later(duration: Duration) -> Timestamp {
        NOW.saturating_add(duration)
    }

    fn regenerate(
        key: ApiKeyRecord,
        grace: Grace,
        now: Timestamp,
    ) -> Result<(ApiKeyRecord, ApiKeyRecord), ApiKeyError> {
        let expires_at = key.renewed_expiry(now);
        let id = "bbbbbbbbbbbbbbbb".parse().unwrap();
        key.regenerate(id, CredentialDigest::sha256("b"), expires_at, grace, now)
    }

    #[test]
    fn s068_a_key_expires_after_now_and_within_730_days_or_never() {
        let tick = Duration::from_millis(1);
        for (expires_at, expected) in [
            (None, Ok(())),
            (Some(later(tick)), Ok(())),
            (Some(later(DAY * 730)), Ok(())),
            (Some(later(DAY * 730 + tick)), Err(ApiKeyError::ExpiresTooLate)),
            (Some(later(DAY * 731)), Err(ApiKeyError::ExpiresTooLate)),
            (Some(Timestamp::MAX), Err(ApiKeyError::ExpiresTooLate)),
            (Some(NOW), Err(ApiKeyError::ExpiresInThePast)),
            (Some(NOW.saturating_sub(tick)), Err(ApiKeyError::ExpiresInThePast)),
            (Some(Timestamp::from_unix_secs(0)), Err(ApiKeyError::ExpiresInThePast)),
        ] {
            let created = ApiKeyRecord::new(fields(expires_at), NOW);
            assert_eq!(created.map(drop), expected, "{expires_at:?}");
            let regenerated = key().regenerate(
                "bbbbbbbbbbbbbbbb".parse().unwrap(),
                CredentialDigest::sha256("b"),
                expires_at,
                Grace::NONE,
                NOW,
            );
            assert_eq!(regenerated.map(drop), expected, "{expires_at:?}");
        }
    }

    #[test]
    fn a_key_is_revoked_from_the_instant_and_once() {
        let revoked = key().revoke(NOW).unwrap();
        assert!(revoked.is_revoked(NOW));
        // The clock was set back.
        assert!(revoked.is_revoked(NOW.saturating_sub(Duration::from_millis(1))));
        assert!(!revoked.counts_against_plan(NOW));
        assert_eq!(revoked.clone().revoke(later(DAY)), Err(ApiKeyError::AlreadyRevoked));
        assert_eq!(
            regenerate(revoked, Grace::NONE, later(DAY)).map(drop),
            Err(ApiKeyError::AlreadyRevoked)
        );
    }

    #[test]
    fn s070_the_old_key_ends_at_once_or_with_its_grace() {
        let (old, new) = regenerate(key(), Grace::NONE, NOW).unwrap();
        assert!(old.is_revoked(NOW));
        assert_eq!(old.replaced_by, Some(new.id));
        assert!(!new.is_revoked(NOW) && new.replaced_by.is_none());

        let (old, new) = regenerate(key(), Grace::MAX, NOW).unwrap();
        assert!(!old.is_revoked(later(DAY - Duration::from_millis(1))));
        assert!(old.is_revoked(later(DAY)));
        // Only the new key counts against the maximum.
        assert!(!old.counts_against_plan(NOW) && new.counts_against_plan(NOW));
        assert_eq!(
            regenerate(old.clone(), Grace::MAX, later(DAY / 2)).map(drop),
            Err(ApiKeyError::AlreadyReplaced),
            "its life cannot be prolonged by asking again"
        );
        // The clock was ahead: no grace period ends so late.
        assert!(old.is_revoked(NOW.saturating_sub(Duration::from_millis(1))));
        // A grace period can be cut short.
        assert!(old.revoke(later(DAY / 2)).unwrap().is_revoked(later(DAY / 2)));
    }

    #[test]
    fn a_regenerated_key_may_do_the_same_for_as_long() {
        let (old, new) = regenerate(key(), Grace::NONE, later(DAY * 100)).unwrap();
        assert!(
            old.is_expired(later(DAY * 100)),
            "an expired one can be regenerated, and stays expired"
        );
        assert_eq!(new.expires_at, Some(later(DAY * 190)));
        assert_eq!(
            (
                &new.name,
                &new.organization,
                &new.subscription,
                &new.scopes,
                &new.addresses,
                new.environment
            ),
            (
                &old.name,
                &old.organization,
                &old.subscription,
                &old.scopes,
                &old.addresses,
                old.environment
            )
        );
        assert_ne!((new.id, new.digest), (old.id, old.digest));
        assert_eq!(new.last_used_at, None);
        let endless = ApiKeyRecord::new(fields(None), NOW).unwrap();
        assert_eq!(endless.renewed_expiry(later(DAY)), None);
    }

    #[test]
    fn a_change_changes_what_it_names() {
        let change = ApiKeyChange {
            name: Some("other".to_owned()),
            scopes: Some("c".parse().unwrap()),
            addresses: Some(Vec::new()),
            expires_at: Some(None),
        };
        let changed = key().change(change, NOW).unwrap();
        assert_eq!(
            (
                changed.name.as_str(),
                changed.scopes.to_string().as_str(),
                changed.addresses.len(),
                changed.expires_at
            ),
            ("other", "c", 0, None)
        );
        assert_eq!(key().change(ApiKeyChange::default(), NOW), Ok(key()));
        let revoked = key().revoke(NOW).unwrap();
        assert_eq!(
            revoked.change(ApiKeyChange::default(), NOW),
            Err(ApiKeyError::AlreadyRevoked)
        );
    }

    fn with_expiry(
        key: ApiKeyRecord,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<ApiKeyRecord, ApiKeyError> {
        let change = ApiKeyChange {
            expires_at: Some(expires_at),
            ..ApiKeyChange::default()
        };
        key.change(change, now)
    }

    #[test]
    fn s067_an_expiry_moves_within_the_bounds_of_a_new_key_and_never_back_to_life() {
        let tick = Duration::from_millis(1);
        let now = later(DAY * 80);
        for (expires_at, expected) in [
            (None, Ok(())),
            (Some(now.saturating_add(tick)), Ok(())),
            (Some(now.saturating_add(DAY * 730)), Ok(())),
            (
                Some(now.saturating_add(DAY * 730 + tick)),
                Err(ApiKeyError::ExpiresTooLate),
            ),
            (Some(now), Err(ApiKeyError::ExpiresInThePast)),
        ] {
            assert_eq!(
                with_expiry(key(), expires_at, now).map(drop),
                expected,
                "{expires_at:?}"
            );
        }
        let over = later(DAY * 90);
        let longer = Some(later(DAY * 100));
        assert!(with_expiry(key(), longer, over.saturating_sub(tick)).is_ok());
        assert_eq!(with_expiry(key(), longer, over), Err(ApiKeyError::AlreadyExpired));
        assert_eq!(with_expiry(key(), None, over), Err(ApiKeyError::AlreadyExpired));
        // A program that writes the whole resource back sends the expiry that it read.
        assert_eq!(with_expiry(key(), key().expires_at, over), Ok(key()));
    }

    #[test]
    fn s078_a_key_whose_expiry_came_nearer_remembers_that_a_backup_has_a_later_one() {
        let endless = ApiKeyRecord::new(fields(None), NOW).unwrap();
        for (key, expires_at, expected) in [
            (key(), Some(later(DAY * 91)), false),
            (key(), None, false),
            (key(), Some(later(DAY * 89)), true),
            (endless.clone(), Some(later(DAY * 89)), true),
            (endless, None, false),
        ] {
            let changed = with_expiry(key, expires_at, NOW).unwrap();
            assert_eq!(changed.was_shortened, expected, "{expires_at:?}");
            let longer = with_expiry(changed, None, NOW).unwrap();
            assert_eq!(longer.was_shortened, expected, "for good");
        }
    }

    #[test]
    fn a_disabled_key_can_be_enabled_and_its_successor_is_disabled_too() {
        let disabled = key().disable(NOW).unwrap();
        assert_eq!(disabled.state, ApiKeyState::Disabled);
        assert!(disabled.counts_against_plan(NOW), "its place is kept");
        assert_eq!(disabled.clone().disable(NOW), Err(ApiKeyError::AlreadyDisabled));
        assert_eq!(disabled.clone().enable(NOW), Ok(key()));
        assert_eq!(key().enable(NOW), Err(ApiKeyError::AlreadyActive));
        let (old, new) = regenerate(disabled.clone(), Grace::MAX, NOW).unwrap();
        assert_eq!((old.state, new.state), (ApiKeyState::Disabled, ApiKeyState::Disabled));
        let revoked = disabled.revoke(NOW).unwrap();
        assert_eq!(revoked.clone().enable(NOW), Err(ApiKeyError::AlreadyRevoked));
        assert_eq!(revoked.disable(NOW), Err(ApiKeyError::AlreadyRevoked));
    }

    #[test]
    fn a_record_of_an_earlier_version_is_active() {
        let mut document = serde_json::to_value(key()).unwrap();
        assert_eq!((document.get("state"), document.get("was_shortened")), (None, None));
        document["state"] = "disabled".into();
        let read: ApiKeyRecord = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(read.state, ApiKeyState::Disabled);
        document["state"] = "paused".into();
        assert!(
            serde_json::from_value::<ApiKeyRecord>(document).is_err(),
            "no word is passed over"
        );
    }

    #[test]
    fn an_imported_key_is_regenerated_as_an_own_key() {
        let imported = ApiKeyRecord {
            origin: ApiKeyOrigin::Imported,
            ..key()
        };
        let (old, new) = regenerate(imported, Grace::NONE, NOW).unwrap();
        assert_eq!((old.origin, new.origin), (ApiKeyOrigin::Imported, ApiKeyOrigin::Own));
    }

    #[test]
    fn each_refusal_has_a_word_of_its_own() {
        let mut words: Vec<&str> = ApiKeyError::ALL.map(ApiKeyError::as_str).into();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ApiKeyError::ALL.len());
    }
}
