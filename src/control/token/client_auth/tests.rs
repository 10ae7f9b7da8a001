use super::*;
use crate::config::StoreSettings;
use crate::control::Control;
use crate::control::Settings;
use crate::control::clients::Clients;
use crate::control::fixture::token_endpoint;
use crate::control::signing_keys::SigningKeys;
use crate::control::token::client_jwks::BoxFuture;
use crate::control::token::client_jwks::ClientJwks;
use crate::control::token::client_jwks::JwksHealth;
use crate::control::token::failures::Failures;
use crate::control::token::replay::UsedAssertions;
use crate::jose::jwks::Jwks;
use crate::model::api_key::Digester;
use crate::model::clock::Clock;
use crate::model::clock::ManualClock;
use crate::model::directory::Directory;
use crate::store::sqlite::SqliteStore;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;
use std::time::Instant;

/// No test here fetches a key set.
struct NoJwks;

impl ClientJwks for NoJwks {
    fn keys<'a>(
        &'a self,
        _: &'a ClientId,
        _: &'a str,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<CurrentJwks, JwksUnavailable>> {
        unreachable!("no client has a URL")
    }

    fn newer<'a>(
        &'a self,
        _: &'a ClientId,
        _: &'a str,
        _: &'a Arc<Jwks>,
    ) -> BoxFuture<'a, Result<Arc<Jwks>, JwksUnavailable>> {
        unreachable!("no client has a URL")
    }

    fn health(&self, _: &ClientId, _: &str) -> JwksHealth {
        unreachable!("no client has a URL")
    }

    fn validate<'a>(&'a self, _: &'a ClientId, _: &'a str) -> BoxFuture<'a, JwksHealth> {
        unreachable!("no client has a URL")
    }
}

/// The digest of this secret takes milliseconds; the rest of an authentication takes microseconds.
const LONG_BYTES: usize = 16 * 1024 * 1024;

#[tokio::test]
async fn s133_the_secret_of_an_unknown_client_is_digested_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keygate.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let clock = ManualClock::at(Timestamp::from_unix_secs(1_800_000_000));
    let now = clock.now();
    let service = Service {
        control: Arc::new(Control {
            store: Arc::new(store),
            directory: Arc::new(Directory::new()),
            clients: Clients::default(),
            signing_keys: SigningKeys::default(),
            revocations: Default::default(),
            settings: arc_swap::ArcSwap::from_pointee(Settings {
                store: StoreSettings { path },
                token_endpoint: Some(token_endpoint()),
                plans: BTreeMap::new(),
                key_prefix: "kg".to_owned(),
                digester: Digester::new(None),
            }),
            clock: Arc::new(clock),
        }),
        client_jwks: Arc::new(NoJwks),
        failures: Failures::default(),
        used: UsedAssertions::default(),
    };
    let context = AuthContext {
        endpoint: ReceivingEndpoint::Token,
        source: ClientAddress::Known(Ipv4Addr::LOCALHOST.into()),
        now,
    };
    // Other load on the machine only adds time, so the shortest time of several is that of the work itself.
    let shortest = |secret: String, name: &str| -> Duration {
        let secret = Secret::new(secret);
        let times = (0..5).map(|attempt| {
            let started = Instant::now();
            let refused = authenticate_by_secret(&service, &format!("{name}{attempt}"), &secret, context);
            let time = started.elapsed();
            assert!(matches!(refused, Err(TokenEndpointError::UnknownClient)), "{refused:?}");
            time
        });
        times.min().unwrap()
    };
    let short = shortest("x".to_owned(), "client_short");
    let long = shortest("x".repeat(LONG_BYTES), "client_long");
    assert!(
        long > 10 * short,
        "{long:?} for the long secret, {short:?} for the short one"
    );
}
