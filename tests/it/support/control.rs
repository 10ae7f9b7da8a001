//! A [`Control`] in the test process, and the settings of a token endpoint.

use keygate::config::ConnectSettings;
use keygate::config::StoreSettings;
use keygate::config::TokenEndpoint;
use keygate::config::token_endpoint::AssertionAudience;
use keygate::config::token_paths::GlobalEndpoint;
use keygate::config::token_paths::TokenPaths;
use keygate::control::Control;
use keygate::control::Settings;
use keygate::control::clients::Clients;
use keygate::control::signing_keys::SigningKeys;
use keygate::model::algorithm::Algorithm;
use keygate::model::api_key::Digester;
use keygate::model::clock::Clock;
use keygate::model::clock::ManualClock;
use keygate::model::directory::Directory;
use keygate::model::names::Name;
use keygate::model::plan::Plan;
use keygate::model::plan::Quota;
use keygate::model::secret::Secret;
use keygate::store::Store;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

pub fn quota(requests: u32, period: Duration, burst: u32) -> Quota {
    Quota {
        requests: NonZeroU32::new(requests).unwrap(),
        period,
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

/// Returns the settings of a token endpoint at `https://auth.example.com`, with the defaults of the configuration.
pub fn token_endpoint(audience: &str) -> TokenEndpoint {
    TokenEndpoint {
        issuer: "https://auth.example.com".parse().unwrap(),
        audiences: vec![audience.to_owned()],
        default_audiences: vec![audience.to_owned()],
        paths: TokenPaths::default(),
        global_endpoint: GlobalEndpoint::EveryClient,
        algorithm: Algorithm::Es256,
        wrapping_key: None,
        rotate_every: SECOND * 86_400 * 90,
        publish_before: SECOND * 3_600,
        assertion_audience: AssertionAudience::IssuerOrEndpoint,
        assertion_max_lifetime: SECOND * 3_600,
        require_jti: false,
        clock_skew: SECOND * 30,
        allow_clear_text: false,
        limit: quota(600, SECOND * 60, 100),
        failures: quota(10, SECOND * 60, 20),
        client_jwks: ConnectSettings {
            allow_http: false,
            allow_private_addresses: false,
            ca_file: None,
            proxy: None,
            timeout: SECOND * 5,
        },
    }
}

/// Returns a [`Control`] on `store`, with its signing keys in a folder beside the path of `settings`.
pub fn control(
    store: Arc<dyn Store>,
    settings: StoreSettings,
    endpoint: TokenEndpoint,
    plans: BTreeMap<Name, Plan>,
    clock: &Arc<ManualClock>,
) -> Arc<Control> {
    Arc::new(Control {
        store,
        directory: Arc::new(Directory::new()),
        clients: Clients::default(),
        signing_keys: SigningKeys::open(&settings, &endpoint, clock.now().wall).unwrap(),
        revocations: Default::default(),
        settings: arc_swap::ArcSwap::from_pointee(Settings {
            store: settings,
            token_endpoint: Some(endpoint),
            plans,
            key_prefix: "kg".to_owned(),
            digester: Digester::new(Some(&Secret::new(b"a pepper of the test's".to_vec()))),
        }),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
    })
}
