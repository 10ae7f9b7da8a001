//! Which credential of its own does an upstream receive, in place of the client's?

use crate::config::api_keys::secret;
use crate::config::check::Checker;
use crate::config::check::ReferencedFiles;
use crate::config::header_rules::HeaderRules;
use crate::config::header_rules::OwnHeaders;
use crate::config::oauth_client;
use crate::config::oauth_client::OauthClient;
use crate::config::read::FromText;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::reserved_header::carries_credentials;
use crate::config::reserved_header::is_reserved_header;
use crate::config::text::SecretText;
use crate::config::text::mismatch;
use crate::config::tree::NodeId;
use crate::model::secret::Secret;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use schemars::JsonSchema;
use serde::Deserialize;

/// `upstreams.<name>.credential`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCredential {
    /// The header that carries the credential. Never one in which Keygate tells the upstream something else.
    pub header: HeaderName,
    pub source: CredentialSource,
}

/// Where the value of a credential comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// The value of the header: printable ASCII. Empty where the files of secrets are not read.
    Fixed(Secret<Vec<u8>>),
    /// An access token in `Authorization` (RFC 6750 section 2.1).
    OauthClient(Box<OauthClient>),
}

impl UpstreamCredential {
    /// Returns the rule for the header of the credential: the client's field is dropped, and a fixed value is set. The value
    /// is never printed.
    pub fn as_rule(&self) -> HeaderRules {
        let name = self.header.clone();
        match &self.source {
            CredentialSource::Fixed(value) => {
                let mut value = HeaderValue::from_bytes(value.expose()).expect("the configuration checked the value");
                value.set_sensitive(true);
                HeaderRules {
                    set: vec![(name, value)],
                    ..HeaderRules::default()
                }
            }
            CredentialSource::OauthClient(_) => HeaderRules {
                remove: vec![name],
                ..HeaderRules::default()
            },
        }
    }

    /// Returns the OAuth client that gets the credential, if it is an access token.
    pub fn oauth_client(&self) -> Option<&OauthClient> {
        match &self.source {
            CredentialSource::Fixed(_) => None,
            CredentialSource::OauthClient(client) => Some(client),
        }
    }
}

/// The upstream's own credential, which it receives in place of the client's.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UpstreamCredential")]
pub(in crate::config) struct Section {
    /// The header that carries it. Default `authorization`.
    header: Option<Text<HeaderName>>,
    /// A word before the value, such as `Bearer`: for a file that holds the token alone. Default: none.
    scheme: Option<Text<Scheme>>,
    /// The value: `${NAME}` or `file:path`. This or `oauth_client`.
    value: Option<Text<SecretText>>,
    /// An OAuth client of Keygate's own, whose access token is sent in `authorization`. This or `value`.
    oauth_client: Option<TypedNode<oauth_client::Section>>,
}

/// An authentication scheme (RFC 9110 section 11.1).
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct Scheme(String);

impl FromText for Scheme {
    const DESCRIPTION: &'static str = "an authentication scheme such as `Bearer`";
    const PATTERN: &'static str = "[A-Za-z0-9-]+";

    fn from_text(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(mismatch::<Self>())
        }
    }
}

/// Returns the credential. Reports a header that means something else, and a value that no header can carry.
pub(in crate::config) fn convert(
    TypedNode { value: section, at }: TypedNode<Section>,
    own: &OwnHeaders<'_>,
    checker: &mut Checker<'_>,
) -> Option<UpstreamCredential> {
    if let Some(written) = &section.header {
        let name = written.get();
        let is_other = (is_reserved_header(name) && !carries_credentials(name))
            || own.claims.contains(&name)
            || own.tokens.contains(&name)
            || matches!(name.as_str(), "x-request-id" | "traceparent");
        if is_other {
            let problem = checker.with_value(
                written.at,
                "this header means something else and cannot carry a credential",
            );
            checker.error_with(
                written.at,
                "reserved-header",
                problem,
                "such as `authorization` or `x-api-key`",
            );
        }
    }
    let written = match (section.value, section.oauth_client) {
        (value, None) => checker.need(at, "value", value, "such as `value: \"file:token\"`, or `oauth_client`")?,
        (None, Some(client)) => {
            for key in ["header", "scheme"] {
                if let Some(entry) = checker.tree.entry(at, key) {
                    let problem =
                        format!("`{key}` is for a `value`: an access token is sent as `Authorization: Bearer`");
                    checker.error_with(entry, "two-kinds", problem, "remove it");
                }
            }
            let client = oauth_client::convert(client, checker)?;
            return Some(UpstreamCredential {
                header: header::AUTHORIZATION,
                source: CredentialSource::OauthClient(Box::new(client)),
            });
        }
        (Some(_), Some(_)) => {
            let problem = "has both `value` and `oauth_client`, and can be only one of them";
            checker.error(at, "two-kinds", problem);
            return None;
        }
    };
    let value_at = written.at;
    let secret = secret(value_at, written.take(), checker)?;
    let text = std::str::from_utf8(secret.expose()).unwrap_or("\0");
    let is_unread = checker.files == ReferencedFiles::MayBeMissing && text.is_empty();
    if !is_unread && let Err(problem) = HeaderValue::from_text(text) {
        checker.error_with(
            value_at,
            "bad-value",
            format!("the secret is {problem}"),
            "one line of text",
        );
        return None;
    }
    let value = match section.scheme {
        Some(scheme) => Secret::new([scheme.take().0.as_bytes(), b" ", secret.expose()].concat()),
        None => secret,
    };
    Some(UpstreamCredential {
        header: section.header.map_or(header::AUTHORIZATION, Text::take),
        source: CredentialSource::Fixed(value),
    })
}

/// Reports rules for the header of a credential, at `place`: the credential replaces whatever they write.
pub(in crate::config) fn refuse_rules(
    credential: &UpstreamCredential,
    rules: &HeaderRules,
    place: NodeId,
    checker: &mut Checker<'_>,
) {
    let name = &credential.header;
    for (key, is_there) in [
        ("set_headers", rules.set.iter().any(|(other, _)| other == name)),
        ("add_headers", rules.add.iter().any(|(other, _)| other == name)),
        ("remove_headers", rules.remove.contains(name)),
    ] {
        if is_there {
            let at = checker.tree.entry(place, key).unwrap_or(place);
            let problem = format!("`{name}` carries the `credential` of the upstream");
            checker.error_with(at, "conflicting-headers", problem, "remove one of the two");
        }
    }
}
