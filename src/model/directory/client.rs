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
}

impl ClientEntry {
    /// Returns whether a token issued at `issued_at` is valid. `iat` has whole seconds: a token of the
    /// same second as the revocation may be older than it, and is not valid.
    pub fn accepts_token_issued_at(&self, issued_at: Timestamp) -> bool {
        self.tokens_not_before.is_none_or(|not_before| issued_at >= not_before)
    }
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
        };
        for (issued_at, accepted) in [(9, false), (10, false), (11, true)] {
            let issued_at = Timestamp::from_unix_secs(issued_at);
            assert_eq!(client.accepts_token_issued_at(issued_at), accepted, "{issued_at:?}");
        }
    }
}
