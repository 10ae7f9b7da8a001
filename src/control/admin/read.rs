//! How are the members read that several bodies share? Each is parsed into its type, and each mistake
//! is recorded with its place. The result is meaningless after a mistake: [`ValidationErrors::collect`] drops it.

use crate::config::parse_duration;
use crate::control::registry::ValidationErrors;
use crate::keys_file::address_range;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::grace::Grace;
use crate::model::id::UnknownWord;
use crate::model::scope::Scope;
use crate::model::scope::ScopeSet;
use crate::store::record::client::TokenFormat;
use crate::store::record::client::TokenTtl;
use ipnet::IpNet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// The most scopes of a credential: more would make a token too long.
const SCOPES_MAX: usize = 100;
const ADDRESSES_MAX: usize = 100;

/// Reads `scopes`: whole scope tokens (RFC 6749 section 3.3).
pub fn scopes(texts: Option<&[String]>, errors: &mut ValidationErrors) -> Option<ScopeSet> {
    let texts = texts?;
    if texts.len() > SCOPES_MAX {
        errors.add("/scopes", format!("has at most {SCOPES_MAX} scopes"));
        return None;
    }
    let mut scopes = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        scopes.extend(errors.take(&format!("/scopes/{index}"), text.parse::<Scope>()));
    }
    Some(scopes.into_iter().collect())
}

/// Reads `addresses`: addresses and ranges without host bits.
pub fn addresses(texts: Option<&[String]>, errors: &mut ValidationErrors) -> Vec<IpNet> {
    let texts = texts.unwrap_or_default();
    if texts.len() > ADDRESSES_MAX {
        errors.add("/addresses", format!("has at most {ADDRESSES_MAX} ranges"));
        return Vec::new();
    }
    let mut ranges = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let range = address_range(text);
        let range = range.ok_or("must be an address, or a range without host bits, such as 10.0.0.0/8");
        ranges.extend(errors.take(&format!("/addresses/{index}"), range));
    }
    ranges
}

/// Reads a member by the `FromStr` of its type.
pub fn parsed<T: FromStr<Err: Display>>(pointer: &str, text: Option<&str>, errors: &mut ValidationErrors) -> Option<T> {
    text.and_then(|text| errors.take(pointer, text.parse()))
}

/// Reads `environment`; `test` is accepted as `sandbox`.
pub fn environment(text: Option<&str>, errors: &mut ValidationErrors) -> Option<ApiKeyEnvironment> {
    let read = text.map(|text| match text {
        "live" => Ok(ApiKeyEnvironment::Live),
        "sandbox" | "test" => Ok(ApiKeyEnvironment::Test),
        _ => Err("must be `live` or `sandbox`"),
    });
    read.and_then(|read| errors.take("/environment", read))
}

/// Reads `grace`; no grace period if absent.
pub fn grace(text: Option<&str>, errors: &mut ValidationErrors) -> Grace {
    let Some(text) = text else {
        return Grace::NONE;
    };
    let duration: Option<Duration> = errors.take("/grace", parse_duration(text));
    let grace = duration.and_then(|duration| errors.take("/grace", Grace::try_from(duration)));
    grace.unwrap_or(Grace::NONE)
}

/// Reads `token_ttl`: `1m` is as good as `60s`.
pub fn token_ttl(text: Option<&str>, errors: &mut ValidationErrors) -> Option<TokenTtl> {
    let ttl = |text: &str| parse_duration(text).ok().and_then(TokenTtl::of);
    let read = text.map(|text| ttl(text).ok_or("must be `60s`, `5m`, `1h` or `24h`"));
    read.and_then(|read| errors.take("/token_ttl", read))
}

/// Reads `token_format`.
pub fn token_format(text: Option<&str>, errors: &mut ValidationErrors) -> Option<TokenFormat> {
    let read = text.map(|text| text.parse().map_err(|UnknownWord| "must be `jwt` or `opaque`"));
    read.and_then(|read| errors.take("/token_format", read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<T>(read: impl FnOnce(&mut ValidationErrors) -> T, pointer: &str) {
        let mut errors = ValidationErrors::default();
        read(&mut errors);
        let found: Vec<&str> = errors.as_slice().iter().map(|error| &*error.pointer).collect();
        assert_eq!(found, [pointer]);
    }

    #[test]
    fn each_member_is_read_whole_or_refused_where_it_stands() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        refused(|it| scopes(Some(&texts(&["a", "b c"])), it), "/scopes/1");
        refused(|it| scopes(Some(&texts(&[""])), it), "/scopes/0");
        refused(|it| scopes(Some(&vec!["a".to_owned(); 101]), it), "/scopes");
        refused(|it| addresses(Some(&texts(&["10.0.0.1/8"])), it), "/addresses/0");
        refused(|it| addresses(Some(&texts(&["::1", "x"])), it), "/addresses/1");
        for bad in ["prod", "LIVE", ""] {
            refused(|it| environment(Some(bad), it), "/environment");
        }
        for bad in ["24h1s", "25h", "86401s", "-1h", "1", "", "2d"] {
            refused(|it| grace(Some(bad), it), "/grace");
        }
        for bad in ["60", "1", "2m", "2h", "3601s", "1mo", ""] {
            refused(|it| token_ttl(Some(bad), it), "/token_ttl");
        }
        refused(|it| token_format(Some("JWT"), it), "/token_format");
        let mut errors = ValidationErrors::default();
        assert_eq!(grace(Some("24h"), &mut errors), Grace::MAX);
        assert_eq!(grace(None, &mut errors), Grace::NONE);
        assert_eq!(environment(Some("test"), &mut errors), Some(ApiKeyEnvironment::Test));
        for (text, ttl) in [
            ("60s", TokenTtl::Minute),
            ("1m", TokenTtl::Minute),
            ("300s", TokenTtl::FiveMinutes),
            ("60m", TokenTtl::Hour),
            ("1d", TokenTtl::Day),
        ] {
            assert_eq!(token_ttl(Some(text), &mut errors), Some(ttl), "{text}");
        }
        assert_eq!(errors, ValidationErrors::default());
    }
}
