//! Which access token does Keygate itself hold for an upstream (RFC 6749 section 4.4)? A background task fetches it; requests
//! only read it.

use crate::config::OauthClient;
use crate::model::clock::Tick;
use crate::observe::metrics::CredentialMetrics;
use arc_swap::ArcSwapOption;
use http::HeaderValue;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::SetOnce;

/// The shortest time between an attempt and one that a refusal of the upstream asks for. Without it, an upstream that
/// refuses every token would have one fetched for each request.
const REFUSAL_COOLDOWN: Duration = Duration::from_secs(30);

/// The credential of one upstream in a snapshot, which its routes share.
#[derive(Debug)]
pub struct OwnCredential {
    /// `None` where the credential stands in the configuration: it is one of the rules for the fields of requests.
    pub token: Option<Arc<ClientToken>>,
    pub metrics: CredentialMetrics,
}

impl OwnCredential {
    /// Records that the upstream refused the credential with 401. A token may have been revoked before its end, so another
    /// one is fetched, once in a while.
    pub fn note_refusal(&self, now: Tick) {
        self.metrics.count_refusal();
        if let Some(token) = &self.token {
            token.request_fetch(now);
        }
    }

    /// Returns whether there is a credential to send at `now`.
    pub fn is_usable(&self, now: Tick) -> bool {
        self.token.as_ref().is_none_or(|token| token.is_usable(now))
    }
}

/// The access token of an OAuth client that Keygate is. It outlives reloads that do not change the client.
pub struct ClientToken {
    settings: OauthClient,
    held: ArcSwapOption<HeldToken>,
    wake: Notify,
    /// Set once there was a token.
    fetched: SetOnce<()>,
    /// The start of the last attempt to fetch a token.
    last_started: AtomicU64,
}

/// A token, and how long it may be used.
pub struct HeldToken {
    /// The value of `Authorization`; never printed.
    pub value: HeaderValue,
    /// `None` where the server does not say.
    pub expires_at: Option<Tick>,
}

impl ClientToken {
    pub fn new(settings: OauthClient) -> Self {
        Self {
            settings,
            held: ArcSwapOption::empty(),
            wake: Notify::new(),
            fetched: SetOnce::new(),
            last_started: AtomicU64::new(0),
        }
    }

    /// Returns the token of `settings`. It begins with that of `before`, if that is one for the same client: a rotated secret
    /// must not refuse requests until the next token is there.
    pub fn after(before: &Self, settings: OauthClient) -> Self {
        let token = Self::new(settings);
        if token.settings.asks_like(&before.settings)
            && let Some(held) = before.held.load_full()
        {
            token.held.store(Some(held));
            let _ = token.fetched.set(());
        }
        token
    }

    pub const fn settings(&self) -> &OauthClient {
        &self.settings
    }

    /// Returns the value of `Authorization`; `None` before the first token.
    pub fn value(&self) -> Option<HeaderValue> {
        self.held.load().as_ref().map(|held| held.value.clone())
    }

    /// Returns whether there is a token that has not expired.
    pub fn is_usable(&self, now: Tick) -> bool {
        let held = self.held.load();
        held.as_ref()
            .is_some_and(|held| held.expires_at.is_none_or(|expires_at| now < expires_at))
    }

    /// Returns how long the token can still be used: zero without one, and `None` where its server does not say.
    pub fn remaining(&self, now: Tick) -> Option<Duration> {
        match &*self.held.load() {
            Some(held) => held.expires_at.map(|expires_at| expires_at.saturating_since(now)),
            None => Some(Duration::ZERO),
        }
    }

    /// Puts a fetched token in the place of the one before. For the fetcher.
    pub fn replace(&self, held: HeldToken) {
        self.held.store(Some(Arc::new(held)));
        // It may be set: this is not the first token.
        let _ = self.fetched.set(());
    }

    /// Waits until there was a token.
    pub async fn fetched(&self) {
        self.fetched.wait().await;
    }

    /// Records the start of an attempt to fetch a token. For the fetcher.
    pub fn start_attempt(&self, now: Tick) {
        self.last_started.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Waits until [`Self::request_fetch`] was called. For the fetcher.
    pub async fn fetch_requested(&self) {
        self.wake.notified().await;
    }

    /// Wakes the fetcher, unless an attempt began less than [`REFUSAL_COOLDOWN`] ago.
    fn request_fetch(&self, now: Tick) {
        let last = self.last_started.load(Ordering::Relaxed);
        let is_due = now.saturating_since(Tick::from_nanos(last)) >= REFUSAL_COOLDOWN;
        // Of several refusals at once, one wakes the fetcher.
        let exchanged = || {
            self.last_started
                .compare_exchange(last, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed)
        };
        if is_due && exchanged().is_ok() {
            self.wake.notify_one();
        }
    }
}

impl fmt::Debug for ClientToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ClientToken")
            .field("client_id", &self.settings.client.client_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    fn token() -> ClientToken {
        let yaml = "listeners: [{ address: 127.0.0.1:0 }]\n\
            upstreams: { a: { endpoints: [\"127.0.0.1:9\"], credential: { oauth_client: { token_url: \"https://a.test/token\", \
            client_id: kg, client_secret: s3cret } } } }\n\
            routes: [{ name: a, match: { path: / }, public: true, upstream: a }]\n";
        let config = config::parse(yaml, Path::new("keygate.yaml"), &|_| None);
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let credential = config.upstreams.values().next().unwrap().credential.as_ref();
        ClientToken::new(credential.unwrap().oauth_client().unwrap().clone())
    }

    fn at(secs: u64) -> Tick {
        Tick::ZERO.saturating_add(Duration::from_secs(secs))
    }

    fn held(expires_at: Option<Tick>) -> HeldToken {
        HeldToken {
            value: HeaderValue::from_static("Bearer t"),
            expires_at,
        }
    }

    #[test]
    fn a_token_is_usable_until_it_expires() {
        let token = token();
        assert!(!token.is_usable(at(0)) && token.value().is_none());
        assert_eq!(token.remaining(at(0)), Some(Duration::ZERO));
        token.replace(held(Some(at(60))));
        assert!(token.is_usable(at(59)) && !token.is_usable(at(60)));
        assert_eq!(token.remaining(at(20)), Some(Duration::from_secs(40)));
        token.replace(held(None));
        assert!(token.is_usable(at(u64::from(u32::MAX))));
        assert_eq!(token.remaining(at(0)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_wake_the_fetcher_once_per_cooldown() {
        let token = token();
        let is_woken = async || {
            let woken = token.fetch_requested();
            tokio::time::timeout(Duration::from_millis(1), woken).await.is_ok()
        };
        token.start_attempt(at(100));
        token.request_fetch(at(129));
        assert!(!is_woken().await);
        for _ in 0..3 {
            token.request_fetch(at(130));
        }
        assert!(is_woken().await && !is_woken().await);
        token.request_fetch(at(159));
        assert!(!is_woken().await);
    }

    #[test]
    fn s143_neither_secret_nor_token_is_printed() {
        let token = token();
        let mut value = held(None);
        value.value.set_sensitive(true);
        token.replace(value);
        let printed = format!("{token:?} {:?} {:?}", token.settings(), token.value());
        assert!(
            !printed.contains("s3cret") && !printed.contains("Bearer t"),
            "{printed}"
        );
    }
}
