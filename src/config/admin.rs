//! Where does the admin listener serve `/metrics`, `/livez`, `/readyz` and the admin API, for which token, and under
//! which host names?

use crate::config::api_keys::secret;
use crate::config::check::Checker;
use crate::config::check::ReferencedFiles;
use crate::config::read::FromText;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::text::SecretText;
use crate::config::text::host_name;
use crate::config::text::mismatch;
use crate::config::tree::NodeId;
use crate::model::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::IpAddr;
use std::net::SocketAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub address: SocketAddr,
    /// Bearer token of the admin API. `None`: there is no admin API.
    pub token: Option<Secret<Vec<u8>>>,
    /// Host names that requests may be for, beside `localhost` and every IP address. In lower case.
    pub host_names: Vec<String>,
}

/// The admin listener: `/metrics`, `/livez`, `/readyz` and the admin API. Without this section there is none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Admin")]
pub(in crate::config) struct Section {
    /// Address and port, such as `127.0.0.1:9090`. Never one of a listener. Required.
    #[schemars(required)]
    address: Option<Text<SocketAddr>>,
    /// Bearer token of the admin API (`/admin/v1/…`, `keygate issuers`): `${NAME}` or `file:path`, 32 characters at
    /// least. Without it the admin API is off.
    token: Option<Text<SecretText>>,
    /// Host names that the listener answers to beside `localhost` and IP addresses, such as
    /// `keygate.monitoring.svc`: what scrapers and `--admin` call it by. Any other name is 421, because a web page can make
    /// its own name resolve to this address.
    host_names: Option<Texts<HostName>>,
}

/// A host name without a port, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostName(String);

impl FromText for HostName {
    const DESCRIPTION: &'static str = "a host name such as `keygate.example.internal`, without scheme and port";
    const PATTERN: &'static str = "[A-Za-z0-9._-]+";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.parse::<IpAddr>().is_ok() {
            return Err("IP addresses are answered to without this\nleave it out".to_owned());
        }
        host_name(text).map(Self).ok_or_else(mismatch::<Self>)
    }
}

/// A shorter token could be guessed, and its holder controls Keygate.
const TOKEN_CHARS_MIN: usize = 32;
const TOKEN_CHARS_MAX: usize = 1024;

/// Returns the admin listener, located at its address.
pub(in crate::config) fn convert(section: TypedNode<Section>, checker: &mut Checker<'_>) -> Option<TypedNode<Admin>> {
    let address = checker.need(
        section.at,
        "address",
        section.value.address,
        "such as `address: 127.0.0.1:9090`",
    );
    let token = section.value.token.and_then(|token| {
        let at = token.at;
        secret(at, token.take(), checker).filter(|token| check_token(at, token, checker))
    });
    let host_names = section.value.host_names.map(|names| checker.distinct(names.value));
    let host_names = host_names.unwrap_or_default().into_iter().map(|name| name.0);
    let address = address?;
    Some(TypedNode {
        at: address.at,
        value: Admin {
            address: address.take(),
            token,
            host_names: host_names.collect(),
        },
    })
}

/// Returns whether clients can send the token as it is: a `token68` (RFC 9110 section 11.2) of an allowed length.
/// Reports any other token.
fn check_token(at: NodeId, token: &Secret<Vec<u8>>, checker: &mut Checker<'_>) -> bool {
    let is_token68 = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let problem = match token.expose().as_slice() {
        // Its file was not read.
        [] if checker.files == ReferencedFiles::MayBeMissing => return true,
        token if !token.iter().all(is_token68) => "a token has only letters, digits and `-._~+/=`",
        token if token.len() < TOKEN_CHARS_MIN => "a token has 32 characters at least",
        token if token.len() > TOKEN_CHARS_MAX => "a token has 1024 characters at most",
        _ => return true,
    };
    checker.error_with(
        at,
        "admin-token",
        problem,
        "such as the output of `openssl rand -hex 32`",
    );
    false
}
