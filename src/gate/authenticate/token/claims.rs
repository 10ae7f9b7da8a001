//! Which claims does a token have (RFC 7519 section 4)? A claim of a wrong type refuses the token.

use crate::gate::authenticate::ClaimPicks;
use crate::gate::authenticate::PickedClaims;
use crate::gate::authenticate::token::TokenError;
use crate::jose::json::Json;
use crate::jose::json::Members;
use crate::jose::numeric_date;
use crate::jose::numeric_date::Rounding;
use crate::model::clock::Timestamp;
use crate::model::scope::Scope;
use crate::model::scope::ScopeSet;

/// The members of a token's payload, or of an introspection response. A member that is `null` is absent: many servers write
/// every member that they know. So is a name, a list of scopes or an audience that is an empty text or array.
pub struct Claims<'a>(Members<'a>);

/// The longest subject, client id, organization or token id: these become header values and log fields.
const NAME_BYTES_MAX: usize = 512;

impl<'a> Claims<'a> {
    pub const fn new(members: Members<'a>) -> Self {
        Self(members)
    }

    fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.0.get(name).filter(|value| !matches!(value, Json::Null))
    }

    /// Returns a member that says something; see [`says_nothing`].
    fn said(&self, name: &str) -> Option<&Json<'a>> {
        self.get(name).filter(|value| !says_nothing(value))
    }

    /// Returns whether the member is there and says something.
    pub fn has(&self, name: &str) -> bool {
        self.said(name).is_some()
    }

    /// Returns a claim that is one string; `None` if the claim is absent.
    pub fn text(&self, name: &str) -> Result<Option<&str>, TokenError> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(name)),
        }
    }

    /// Returns a claim that is a string; `None` if the claim is absent or says nothing.
    pub fn nonempty_text(&self, name: &str) -> Result<Option<&str>, TokenError> {
        match self.said(name) {
            None => Ok(None),
            Some(_) => self.text(name),
        }
    }

    /// Returns a claim that is a string, not longer than [`NAME_BYTES_MAX`]; `None` if the claim is absent or says
    /// nothing.
    pub fn name(&self, name: &str) -> Result<Option<String>, TokenError> {
        match self.nonempty_text(name)? {
            Some(text) if text.len() > NAME_BYTES_MAX => Err(invalid(name)),
            text => Ok(text.map(str::to_owned)),
        }
    }

    /// Returns [`Self::name`] of the first of `names` that has one.
    pub fn first_name(&self, names: &[String]) -> Result<Option<String>, TokenError> {
        names.iter().find_map(|name| self.name(name).transpose()).transpose()
    }

    /// Returns a NumericDate (RFC 7519 section 2); `None` if the claim is absent.
    ///
    /// # Errors
    /// The claim is no number, or one that [`numeric_date::instant`] does not take.
    pub fn time(&self, name: &str, rounding: Rounding) -> Result<Option<Timestamp>, TokenError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let Json::Number(number) = value else {
            return Err(invalid(name));
        };
        numeric_date::instant(number, rounding)
            .map(Some)
            .ok_or_else(|| invalid(name))
    }

    /// Returns the members of `aud`, which is a string or an array of strings (RFC 7519 section 4.1.3), without empty ones,
    /// which name nobody. Returns an empty list if `aud` is absent.
    pub fn audiences(&self) -> Result<Vec<String>, TokenError> {
        let Some(value) = self.get("aud") else {
            return Ok(Vec::new());
        };
        let audiences = texts(value).ok_or_else(|| invalid("aud"))?;
        let named = audiences.into_iter().filter(|audience| !audience.is_empty());
        Ok(named.map(str::to_owned).collect())
    }

    /// Returns the scopes from the first of `names` that says something: a space-separated list (RFC 6749 section 3.3) or an
    /// array of texts. A text that can be no scope, such as the name of a role with a space in it, is passed over: it can
    /// meet no requirement.
    ///
    /// # Errors
    /// The claim is of another type.
    pub fn scopes(&self, names: &[String]) -> Result<ScopeSet, TokenError> {
        let Some((name, value)) = names.iter().find_map(|name| Some((name, self.said(name)?))) else {
            return Ok(ScopeSet::default());
        };
        let scope = |text: &str| text.parse::<Scope>().ok();
        match value {
            Json::Text(list) => Ok(list.split(' ').filter_map(scope).collect()),
            Json::Array(_) => {
                let members = texts(value).ok_or_else(|| invalid(name))?;
                Ok(members.into_iter().filter_map(scope).collect())
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => Err(invalid(name)),
        }
    }

    /// Returns the claims that rules check and upstreams receive; see [`ClaimPicks::pick`].
    pub fn picked(&self, picks: &ClaimPicks) -> Result<PickedClaims, TokenError> {
        picks.pick(&self.0).map_err(|too_long| invalid(too_long.0.as_str()))
    }

    /// Checks that the claim `name` is one of `allowed`, or an array of strings that contains one of `allowed`.
    pub fn check_required(&self, name: &str, allowed: &[String]) -> Result<(), TokenError> {
        let refused = || TokenError::RequiredClaim(name.to_owned());
        let value = self.get(name).ok_or_else(refused)?;
        let members = texts(value).ok_or_else(|| invalid(name))?;
        let holds = |member: &&str| allowed.iter().any(|value| value == *member);
        if members.iter().any(holds) {
            Ok(())
        } else {
            Err(refused())
        }
    }
}

/// Returns whether a value is there and names nothing: servers that write every member that they know write an empty text
/// or array where they have no client, no organization or no scopes (RFC 6749 section 3.3 has no empty list of scopes).
fn says_nothing(value: &Json<'_>) -> bool {
    let is_blank = |member: &Json<'_>| match member {
        Json::Null => true,
        Json::Text(text) => text.is_empty(),
        Json::Array(_) | Json::Bool(_) | Json::Number(_) | Json::Object(_) => false,
    };
    match value {
        Json::Null | Json::Text(_) => is_blank(value),
        Json::Array(members) => members.iter().all(is_blank),
        Json::Bool(_) | Json::Number(_) | Json::Object(_) => false,
    }
}

/// Returns the members of a string or of an array of strings; `None` for any other value.
fn texts<'j>(value: &'j Json<'_>) -> Option<Vec<&'j str>> {
    match value {
        Json::Text(text) => Some(vec![&**text]),
        Json::Array(members) => members.iter().map(Json::as_str).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => None,
    }
}

fn invalid(name: &str) -> TokenError {
    TokenError::ClaimInvalid(name.to_owned())
}
