//! Which of a request's fields decide who asks, for whom, and where the body ends? Found in one pass over the head.
//!
//! Each look-up by name hashes the name; ten of them, which is how often these were asked for, took 900 instructions.

use crate::gate::accept::rules::Rules;
use http::HeaderMap;
use http::HeaderValue;
use http::header;

/// The values of a field that may be there once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Single<'r> {
    #[default]
    Absent,
    One(&'r HeaderValue),
    Repeated,
}

impl<'r> Single<'r> {
    /// Presence counts, not content.
    pub const fn is_present(self) -> bool {
        !matches!(self, Self::Absent)
    }

    fn add(&mut self, value: &'r HeaderValue) {
        *self = match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Repeated => Self::Repeated,
        };
    }
}

/// What is read of the fields more than once, or by more than one stage.
#[derive(Clone, Copy, Default)]
pub struct Fields<'r> {
    pub host: Single<'r>,
    pub authorization: Single<'r>,
    pub api_key: Single<'r>,
    pub content_length: Single<'r>,
    pub transfer_encoding: Single<'r>,
    pub has_connection: bool,
    /// A name that becomes a protected one when `-` and `_` are one.
    pub has_alias: bool,
}

impl<'r> Fields<'r> {
    pub fn of(headers: &'r HeaderMap, rules: &Rules) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            match *name {
                header::HOST => fields.host.add(value),
                header::AUTHORIZATION => fields.authorization.add(value),
                header::CONTENT_LENGTH => fields.content_length.add(value),
                header::TRANSFER_ENCODING => fields.transfer_encoding.add(value),
                header::CONNECTION => fields.has_connection = true,
                _ => {}
            }
            if rules.is_api_key_header(name) {
                fields.api_key.add(value);
            } else {
                fields.has_alias |= rules.is_alias(name.as_str());
            }
        }
        fields
    }

    /// `Content-Length`, where there is one; the framing was checked before.
    pub fn announced_length(&self) -> Option<u64> {
        match self.content_length {
            Single::One(value) => value.to_str().ok()?.parse().ok(),
            Single::Absent | Single::Repeated => None,
        }
    }
}
