//! Which facts about a client does the data side need to validate its tokens?

use crate::model::api_key::ApiKeyEnvironment;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::plan::CredentialKind;

/// A client. A disabled or deleted client is not marked here: it gets no new tokens, and its issued
/// tokens remain valid until they expire or `tokens_not_before` revokes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEntry {
    pub id: ClientId,
    pub organization: Name,
    pub subscription: SubscriptionId,
    pub environment: ApiKeyEnvironment,
    /// The client's form of authentication, which its plan must allow.
    pub kind: CredentialKind,
    /// Tokens issued before this instant are revoked.
    pub tokens_not_before: Option<Timestamp>,
    /// Tokens of an earlier series are revoked.
    pub token_series: u32,
}

impl ClientEntry {
    /// Returns whether the token `id`, issued at `issued_at`, is not revoked with the others of its client.
    pub fn accepts_token(&self, id: &str, issued_at: Timestamp) -> bool {
        accepts_token(self.token_series, self.tokens_not_before, id, issued_at)
    }

    /// Returns the client with its tokens revoked, unless they are already.
    pub fn with_tokens_revoked(self, series: u32, not_before: Option<Timestamp>) -> Self {
        let (token_series, tokens_not_before) = (series, not_before).max((self.token_series, self.tokens_not_before));
        Self {
            tokens_not_before,
            token_series,
            ..self
        }
    }
}

/// Returns whether a token is in the series `series` or a later one, and was not issued before `not_before`. `iat` has whole
/// seconds: a token of the same second as the revocation may be older than it, and is not valid.
///
/// Time alone does not tell which tokens are older than a revocation: if the clock was ahead and is set back, tokens of before
/// have a later `iat` than those of afterwards. The series in their ids does.
pub fn accepts_token(series: u32, not_before: Option<Timestamp>, id: &str, issued_at: Timestamp) -> bool {
    (series == 0 || series_of(id) >= series) && not_before.is_none_or(|not_before| issued_at >= not_before)
}

/// Returns the id (`jti`) of a token of `series` with the random part `random`. A series other than the first stands before a
/// dot, which no random part has.
pub fn token_id_in_series(series: u32, random: String) -> String {
    match series {
        0 => random,
        _ => format!("{series}.{random}"),
    }
}

fn series_of(id: &str) -> u32 {
    id.split_once('.')
        .and_then(|(series, _)| series.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_the_second_in_which_tokens_were_revoked_does_not_count() {
        let client = ClientEntry {
            id: "client_1".parse().unwrap(),
            organization: "acme".parse().unwrap(),
            subscription: "sub_1".parse().unwrap(),
            environment: ApiKeyEnvironment::Live,
            kind: CredentialKind::ClientSecret,
            tokens_not_before: Some(Timestamp::from_unix_millis(10_400)),
            token_series: 0,
        };
        for (issued_at, accepted) in [(9, false), (10, false), (11, true)] {
            let issued_at = Timestamp::from_unix_secs(issued_at);
            assert_eq!(client.accepts_token("a", issued_at), accepted, "{issued_at:?}");
        }
    }

    #[test]
    fn a_token_of_an_earlier_series_does_not_count_however_late_it_was_issued() {
        let at = Timestamp::from_unix_secs;
        for (series, id, issued_at, accepted) in [
            (0, "x", 10, true),
            (0, "x", 9, false),
            (0, "1.x", 10, true),
            (1, "x", 99, false),
            (1, "1.x", 10, true),
            (1, "1.x", 9, false),
            (2, "1.x", 99, false),
            (2, "2.x", 10, true),
            (1, "99999999999.x", 10, false),
            (1, "-1.x", 10, false),
        ] {
            assert_eq!(
                accepts_token(series, Some(at(10)), id, at(issued_at)),
                accepted,
                "{series} {id}"
            );
        }
        assert_eq!(token_id_in_series(0, "x".to_owned()), "x");
        assert_eq!(series_of(&token_id_in_series(7, "x".to_owned())), 7);
    }
}
