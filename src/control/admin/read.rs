//! How are the members read that several bodies share? Each is parsed into its type, and each mistake
//! is recorded with its place. The result is meaningless after a mistake: [`Mistakes::collect`] drops it.

use crate::config::parse_duration;
use crate::control::registry::Mistakes;
use crate::keys_file::address_range;
use crate::model::api_key::KeyEnvironment;
use crate::model::id::UnknownWord;
use crate::model::scope::Scope;
use crate::model::scope::ScopeSet;
use crate::store::record::client::TokenFormat;
use crate::store::record::client::TokenTtl;
use crate::store::record::grace::Grace;
use ipnet::IpNet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// The most scopes of a credential: more would make a token too long.
const SCOPES_MAX: usize = 100;
const ADDRESSES_MAX: usize = 100;

/// Reads `scopes`: whole scope tokens (RFC 6749 section 3.3).
pub fn scopes(texts: Option<&[String]>, mistakes: &mut Mistakes) -> Option<ScopeSet> {
    let texts = texts?;
    if texts.len() > SCOPES_MAX {
        mistakes.add("/scopes", format!("has at most {SCOPES_MAX} scopes"));
        return None;
    }
    let mut scopes = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        scopes.extend(mistakes.take(&format!("/scopes/{index}"), text.parse::<Scope>()));
    }
    Some(scopes.into_iter().collect())
}

/// Reads `addresses`: addresses and ranges without host bits.
pub fn addresses(texts: Option<&[String]>, mistakes: &mut Mistakes) -> Vec<IpNet> {
    let texts = texts.unwrap_or_default();
    if texts.len() > ADDRESSES_MAX {
        mistakes.add("/addresses", format!("has at most {ADDRESSES_MAX} ranges"));
        return Vec::new();
    }
    let mut ranges = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let range = address_range(text);
        let range = range.ok_or("must be an address, or a range without host bits, such as 10.0.0.0/8");
        ranges.extend(mistakes.take(&format!("/addresses/{index}"), range));
    }
    ranges
}

/// Reads a member by the `FromStr` of its type.
pub fn parsed<T: FromStr<Err: Display>>(pointer: &str, text: Option<&str>, mistakes: &mut Mistakes) -> Option<T> {
    text.and_then(|text| mistakes.take(pointer, text.parse()))
}

/// Reads `environment`; `test` is accepted as `sandbox`.
pub fn environment(text: Option<&str>, mistakes: &mut Mistakes) -> Option<KeyEnvironment> {
    let read = text.map(|text| match text {
        "live" => Ok(KeyEnvironment::Live),
        "sandbox" | "test" => Ok(KeyEnvironment::Test),
        _ => Err("must be `live` or `sandbox`"),
    });
    read.and_then(|read| mistakes.take("/environment", read))
}

/// Reads `grace`; no grace period if absent.
pub fn grace(text: Option<&str>, mistakes: &mut Mistakes) -> Grace {
    let Some(text) = text else {
        return Grace::NONE;
    };
    let duration: Option<Duration> = mistakes.take("/grace", parse_duration(text));
    let grace = duration.and_then(|duration| mistakes.take("/grace", Grace::try_from(duration)));
    grace.unwrap_or(Grace::NONE)
}

/// Reads `token_ttl`.
pub fn token_ttl(text: Option<&str>, mistakes: &mut Mistakes) -> Option<TokenTtl> {
    let read = text.map(|text| text.parse().map_err(|UnknownWord| "must be `60s`, `5m`, `1h` or `24h`"));
    read.and_then(|read| mistakes.take("/token_ttl", read))
}

/// Reads `token_format`.
pub fn token_format(text: Option<&str>, mistakes: &mut Mistakes) -> Option<TokenFormat> {
    let read = text.map(|text| text.parse().map_err(|UnknownWord| "must be `jwt` or `opaque`"));
    read.and_then(|read| mistakes.take("/token_format", read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<T>(read: impl FnOnce(&mut Mistakes) -> T, pointer: &str) {
        let mut mistakes = Mistakes::default();
        read(&mut mistakes);
        let found: Vec<&str> = mistakes.as_slice().iter().map(|mistake| &*mistake.pointer).collect();
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
        for bad in ["60", "1m", "2h", "3600s"] {
            refused(|it| token_ttl(Some(bad), it), "/token_ttl");
        }
        refused(|it| token_format(Some("JWT"), it), "/token_format");
        let mut mistakes = Mistakes::default();
        assert_eq!(grace(Some("24h"), &mut mistakes), Grace::MAX);
        assert_eq!(grace(None, &mut mistakes), Grace::NONE);
        assert_eq!(environment(Some("test"), &mut mistakes), Some(KeyEnvironment::Test));
        assert_eq!(mistakes, Mistakes::default());
    }
}
