//! Where does an issuer publish the location of its keys? OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3.

use crate::model::issuer::IssuerUrl;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::de;
use serde::de::Deserializer;
use serde::de::Visitor;
use std::borrow::Cow;
use std::fmt;
use url::Url;

/// An issuer's `discovery:`, where it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The value that `issuer` in the document must have, byte by byte.
    pub issuer: IssuerUrl,
    /// URLs of the document, in the order in which they are tried. Never empty.
    pub documents: Vec<Url>,
}

/// A well-known document (RFC 8615), by its registered name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum WellKnown {
    /// Inserted between host and path (RFC 8414 section 3.1).
    OauthAuthorizationServer,
    /// Appended to the issuer (OpenID Connect Discovery 1.0 section 4.1).
    OpenidConfiguration,
}

/// `discovery:` as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum DiscoverySetting {
    /// `false`, the default.
    Off,
    /// `true`: both forms, that of RFC 8414 first.
    Every,
    One(WellKnown),
}

const OAUTH: &str = "oauth-authorization-server";
const OPENID: &str = "openid-configuration";
const WORDS: &[&str] = &["true", "false", OAUTH, OPENID];

impl DiscoverySetting {
    /// Returns the URLs to try for `issuer`; `None` where discovery is off.
    pub(in crate::config) fn convert(self, issuer: &IssuerUrl) -> Option<Discovery> {
        let forms: &[WellKnown] = match self {
            Self::Off => return None,
            Self::Every => &[WellKnown::OauthAuthorizationServer, WellKnown::OpenidConfiguration],
            Self::One(ref form) => std::slice::from_ref(form),
        };
        Some(Discovery {
            issuer: issuer.clone(),
            documents: forms.iter().map(|form| form.document(issuer)).collect(),
        })
    }
}

impl WellKnown {
    fn document(self, issuer: &IssuerUrl) -> Url {
        let mut url = issuer.to_url();
        // Both standards remove a `/` at the end before they add anything.
        let path = url.path().strip_suffix('/').unwrap_or(url.path());
        let path = match self {
            Self::OauthAuthorizationServer => format!("/.well-known/{OAUTH}{path}"),
            Self::OpenidConfiguration => format!("{path}/.well-known/{OPENID}"),
        };
        url.set_path(&path);
        url
    }
}

impl<'de> Deserialize<'de> for DiscoverySetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoolOrWord;

        impl Visitor<'_> for BoolOrWord {
            type Value = DiscoverySetting;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "true, false, or one of the words `{OAUTH}` and `{OPENID}`")
            }

            fn visit_bool<E: de::Error>(self, yes: bool) -> Result<DiscoverySetting, E> {
                Ok(if yes {
                    DiscoverySetting::Every
                } else {
                    DiscoverySetting::Off
                })
            }

            // `true` from an environment variable is text.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<DiscoverySetting, E> {
                match text {
                    "true" => Ok(DiscoverySetting::Every),
                    "false" => Ok(DiscoverySetting::Off),
                    OAUTH => Ok(DiscoverySetting::One(WellKnown::OauthAuthorizationServer)),
                    OPENID => Ok(DiscoverySetting::One(WellKnown::OpenidConfiguration)),
                    _ => Err(E::unknown_variant(text, WORDS)),
                }
            }
        }

        deserializer.deserialize_any(BoolOrWord)
    }
}

impl JsonSchema for DiscoverySetting {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "discovery".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "boolean" },
            { "type": "string", "pattern": format!("^(?:{}|[^\\n]*\\$\\{{[A-Za-z_][A-Za-z0-9_]*\\}}[^\\n]*)$", WORDS.join("|")) },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(issuer: &str, oauth: &str, openid: &str) {
        let found = DiscoverySetting::Every.convert(&issuer.parse().unwrap()).unwrap();
        assert_eq!(found.issuer.as_str(), issuer);
        assert_eq!(
            found.documents.iter().map(Url::as_str).collect::<Vec<_>>(),
            [oauth, openid]
        );
    }

    #[test]
    fn the_document_is_inserted_or_appended_as_each_standard_says() {
        check(
            "https://a.example",
            "https://a.example/.well-known/oauth-authorization-server",
            "https://a.example/.well-known/openid-configuration",
        );
        check(
            "https://a.example/",
            "https://a.example/.well-known/oauth-authorization-server",
            "https://a.example/.well-known/openid-configuration",
        );
        check(
            "https://a.example:8443/realms/x",
            "https://a.example:8443/.well-known/oauth-authorization-server/realms/x",
            "https://a.example:8443/realms/x/.well-known/openid-configuration",
        );
        check(
            "https://a.example/tenant/v2.0/",
            "https://a.example/.well-known/oauth-authorization-server/tenant/v2.0",
            "https://a.example/tenant/v2.0/.well-known/openid-configuration",
        );
        // Percent-encoding is kept: the path is moved, not decoded.
        check(
            "https://a.example/a%2Fb",
            "https://a.example/.well-known/oauth-authorization-server/a%2Fb",
            "https://a.example/a%2Fb/.well-known/openid-configuration",
        );
    }

    #[test]
    fn a_word_picks_one_form_and_false_picks_none() {
        let issuer: IssuerUrl = "https://a.example/x".parse().unwrap();
        let convert = |json: &str| serde_json::from_str::<DiscoverySetting>(json).unwrap().convert(&issuer);
        let paths = |json: &str| -> Vec<String> {
            let documents = convert(json).unwrap().documents;
            documents.iter().map(|url| url.path().to_owned()).collect()
        };
        assert_eq!(
            paths("\"oauth-authorization-server\""),
            ["/.well-known/oauth-authorization-server/x"]
        );
        assert_eq!(
            paths("\"openid-configuration\""),
            ["/x/.well-known/openid-configuration"]
        );
        assert_eq!(paths("true").len(), 2);
        assert_eq!(convert("false"), None);
        for bad in ["\"oidc\"", "1", "[]", "\"\"", "\"True\""] {
            assert!(serde_json::from_str::<DiscoverySetting>(bad).is_err(), "{bad}");
        }
    }
}
