//! Which claims does a token have (RFC 7519 section 4)? A claim of a wrong type refuses the token.

use crate::gate::authenticate::ClaimPicks;
use crate::gate::authenticate::PickedClaims;
use crate::gate::authenticate::token::TokenError;
use crate::jose::json::Json;
use crate::jose::json::Members;
use crate::model::clock::Timestamp;
use crate::model::scope::Scope;
use crate::model::scope::ScopeSet;

/// The members of a token's payload, or of an introspection response.
pub struct Claims<'a>(Members<'a>);

/// The longest subject, client id, organization or token id: these become header values and log fields.
const NAME_BYTES_MAX: usize = 512;

impl<'a> Claims<'a> {
    pub const fn new(members: Members<'a>) -> Self {
        Self(members)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    /// Returns a claim that is one string; `None` if the claim is absent. JSON `null` is an error, like any other type.
    pub fn text(&self, name: &str) -> Result<Option<&str>, TokenError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(name)),
        }
    }

    /// Returns a claim that is a string, neither empty nor longer than [`NAME_BYTES_MAX`]; `None` if the claim is
    /// absent.
    pub fn name(&self, name: &str) -> Result<Option<String>, TokenError> {
        match self.text(name)? {
            None => Ok(None),
            Some(text) if text.is_empty() || text.len() > NAME_BYTES_MAX => Err(invalid(name)),
            Some(text) => Ok(Some(text.to_owned())),
        }
    }

    /// Returns [`Self::name`] of the first of `names` that is present.
    pub fn first_name(&self, names: &[String]) -> Result<Option<String>, TokenError> {
        match names.iter().find(|name| self.has(name)) {
            Some(name) => self.name(name),
            None => Ok(None),
        }
    }

    /// Returns a NumericDate (RFC 7519 section 2) in whole seconds from 1970 on; `None` if the claim is absent. The RFC
    /// allows fractions, but they are refused, because two parsers may round differently (S027).
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, TokenError> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let secs = match value {
            Json::Number(number) => number.as_i64().map(u64::try_from),
            Json::Null | Json::Bool(_) | Json::Text(_) | Json::Array(_) | Json::Object(_) => None,
        };
        match secs {
            Some(Ok(secs)) => Ok(Some(Timestamp::from_unix_secs(secs))),
            Some(Err(_)) | None => Err(invalid(name)),
        }
    }

    /// Returns the members of `aud`, which is a string or an array of strings, none of them empty (RFC 7519 section
    /// 4.1.3). Returns an empty list if `aud` is absent.
    pub fn audiences(&self) -> Result<Vec<String>, TokenError> {
        let audiences: Vec<String> = match self.0.get("aud") {
            None => Vec::new(),
            Some(value) => texts(value)
                .ok_or_else(|| invalid("aud"))?
                .into_iter()
                .map(str::to_owned)
                .collect(),
        };
        if audiences.iter().any(String::is_empty) {
            return Err(invalid("aud"));
        }
        Ok(audiences)
    }

    /// Returns the scopes from the first of `names` that is present: a space-separated list (RFC 6749
    /// section 3.3) or an array of scopes.
    pub fn scopes(&self, names: &[String]) -> Result<ScopeSet, TokenError> {
        let Some((name, value)) = names.iter().find_map(|name| Some((name, self.0.get(name)?))) else {
            return Ok(ScopeSet::default());
        };
        match value {
            Json::Text(list) => ScopeSet::parse_list(list).map_err(|_| invalid(name)),
            Json::Array(members) => members
                .iter()
                .map(|member| member.as_str()?.parse::<Scope>().ok())
                .collect::<Option<ScopeSet>>()
                .ok_or_else(|| invalid(name)),
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
        let value = self.0.get(name).ok_or_else(refused)?;
        let members = texts(value).ok_or_else(|| invalid(name))?;
        let holds = |member: &&str| allowed.iter().any(|value| value == *member);
        if members.iter().any(holds) {
            Ok(())
        } else {
            Err(refused())
        }
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
