//! Which fixtures do the unit tests of the control side share?

use crate::config::ConnectSettings;
use crate::config::TokenEndpoint;
use crate::config::token_endpoint::AssertionAudience;
use crate::config::token_paths::GlobalEndpoint;
use crate::config::token_paths::TokenPaths;
use crate::model::algorithm::Algorithm;
use crate::model::plan::Quota;
use std::num::NonZeroU32;
use std::time::Duration;

/// Returns the settings of a token endpoint at `https://auth.example.com`. Every duration is one hour.
pub(in crate::control) fn token_endpoint() -> TokenEndpoint {
    let hour = Duration::from_secs(3_600);
    let quota = Quota {
        requests: NonZeroU32::MIN,
        period: hour,
        burst: NonZeroU32::MIN,
    };
    TokenEndpoint {
        issuer: "https://auth.example.com".parse().unwrap(),
        audiences: vec!["https://api.example.com".to_owned()],
        default_audiences: vec!["https://api.example.com".to_owned()],
        paths: TokenPaths::default(),
        global_endpoint: GlobalEndpoint::EveryClient,
        algorithm: Algorithm::Es256,
        wrapping_key: None,
        rotate_every: hour,
        publish_before: hour,
        assertion_audience: AssertionAudience::IssuerOrEndpoint,
        assertion_max_lifetime: hour,
        require_jti: false,
        clock_skew: hour,
        allow_clear_text: false,
        limit: quota,
        failures: quota,
        client_jwks: ConnectSettings {
            allow_http: false,
            allow_private_addresses: false,
            ca_file: None,
            proxy: None,
            timeout: hour,
        },
    }
}
