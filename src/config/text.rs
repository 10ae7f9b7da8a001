//! How are durations, sizes, rates, addresses and other texts written? An error says how to write them.

use crate::config::pattern::HostPattern;
use crate::config::pattern::PathPattern;
use crate::config::pattern::PathPatternError;
use crate::config::read::FromText;
use crate::config::read::nearest;
use crate::config::read::slip_of;
use crate::model::address_range;
use crate::model::algorithm::Algorithm;
use crate::model::api_key;
use crate::model::claim::ClaimPointer;
use crate::model::claim::ClaimPointerError;
use crate::model::issuer::IssuerUrl;
use crate::model::issuer::TokenIssuer;
use crate::model::issuer::TokenIssuerError;
use crate::model::issuer::is_tenant;
use crate::model::names::Name;
use crate::model::scope::Scope;
use crate::model::secret::Secret;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use ipnet::IpNet;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Returns the problem of a text that is not a `T`.
pub(in crate::config) fn mismatch<T: FromText>() -> String {
    format!("not {}", T::DESCRIPTION)
}

/// Returns the whole number at the front of `text`, and the rest; `None` without a number, or over 64 bits.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

impl FromText for Duration {
    const DESCRIPTION: &'static str = "a duration such as `500ms`, `30s`, `5m`, `1h` or `1d`";
    const PATTERN: &'static str = "[0-9]+(ms|s|m|h|d)";

    fn from_text(text: &str) -> Result<Self, String> {
        let (number, unit) = leading_number(text).ok_or_else(mismatch::<Self>)?;
        let millis_each = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => {
                return Err(format!(
                    "a duration needs a unit\nwrite `{number}s` for seconds, `{number}ms` for less"
                ));
            }
            other => {
                let unit = match other.trim_start().to_ascii_lowercase().as_str() {
                    "ms" | "msec" | "millis" | "millisecond" | "milliseconds" => "ms",
                    "s" | "sec" | "secs" | "second" | "seconds" => "s",
                    "m" | "min" | "mins" | "minute" | "minutes" => "m",
                    "h" | "hr" | "hrs" | "hour" | "hours" => "h",
                    "d" | "day" | "days" => "d",
                    _ => return Err(mismatch::<Self>()),
                };
                return Err(format!("{}\nwrite `{number}{unit}`", mismatch::<Self>()));
            }
        };
        // Ten years: far from every overflow in clock arithmetic.
        match number.checked_mul(millis_each) {
            Some(millis) if millis <= 3_653 * 86_400_000 => Ok(Self::from_millis(millis)),
            _ => Err("a duration is at most 3653d".to_owned()),
        }
    }
}

/// Parses a duration as in the configuration: `30s`, `5m`, `1h`, `1d`.
///
/// # Errors
/// The problem, for the author of the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    Duration::from_text(text)
}

/// A duration over zero: a timeout of zero would refuse every request.
#[derive(Debug)]
pub(in crate::config) struct Timeout(pub Duration);

impl FromText for Timeout {
    const DESCRIPTION: &'static str = Duration::DESCRIPTION;
    const PATTERN: &'static str = Duration::PATTERN;

    fn from_text(text: &str) -> Result<Self, String> {
        match Duration::from_text(text)? {
            Duration::ZERO => Err("must be more than zero".to_owned()),
            duration => Ok(Self(duration)),
        }
    }
}

/// A number of bytes, never zero.
#[derive(Debug)]
pub(in crate::config) struct Size(pub u64);

impl FromText for Size {
    const DESCRIPTION: &'static str = "a size such as `8192`, `32KiB`, `10MiB` or `1GiB`";
    const PATTERN: &'static str = "[0-9]+(KiB|MiB|GiB)?";
    const BARE_NUMBERS: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        let (number, unit) = leading_number(text).ok_or_else(mismatch::<Self>)?;
        let bytes_each = match unit {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            other => {
                let unit = match other.trim_start().to_ascii_lowercase().as_str() {
                    "b" | "bytes" => "",
                    "k" | "kb" | "ki" | "kib" => "KiB",
                    "m" | "mb" | "mi" | "mib" => "MiB",
                    "g" | "gb" | "gi" | "gib" => "GiB",
                    _ => return Err(mismatch::<Self>()),
                };
                return Err(format!("{}\nwrite `{number}{unit}`", mismatch::<Self>()));
            }
        };
        match number.checked_mul(bytes_each) {
            Some(0) => Err("must be more than zero".to_owned()),
            Some(bytes) if bytes <= 1 << 50 => Ok(Self(bytes)),
            _ => Err("a size is at most 1048576GiB".to_owned()),
        }
    }
}

/// A number of requests per period.
#[derive(Debug)]
pub(in crate::config) struct Rate {
    pub requests: NonZeroU32,
    pub period: Duration,
}

impl Rate {
    /// Returns the problem of a rate whose period is not written as a rate has it, with the period that is probably meant.
    fn mistaken_period(number: u64, rest: &str) -> String {
        let period = rest.trim_start().to_ascii_lowercase();
        // nginx has `10r/s`, and people write `10 per minute`.
        let period = period
            .strip_prefix("r/")
            .or_else(|| period.strip_prefix("req/"))
            .unwrap_or(&period);
        let period = period
            .strip_prefix('/')
            .or_else(|| period.strip_prefix("per"))
            .unwrap_or(period);
        let meant = match period.trim_start() {
            "s" | "sec" | "secs" | "second" | "seconds" => "s",
            "min" | "mins" | "minute" | "minutes" => "min",
            "h" | "hr" | "hrs" | "hour" | "hours" => "hour",
            "d" | "day" | "days" => "day",
            "mo" | "month" | "months" => "month",
            "m" => return format!("a minute or a month?\nwrite `{number}/min` or `{number}/month`"),
            _ => return mismatch::<Self>(),
        };
        format!("{}\nwrite `{number}/{meant}`", mismatch::<Self>())
    }
}

impl FromText for Rate {
    const DESCRIPTION: &'static str = "a rate such as `10/s`, `500/min`, `5/hour`, `1000/day` or `10000/month`";
    const PATTERN: &'static str = "[1-9][0-9]*/(s|second|min|minute|hour|day|month)";

    fn from_text(text: &str) -> Result<Self, String> {
        let (number, unit) = leading_number(text).ok_or_else(mismatch::<Self>)?;
        let secs = match unit {
            "/s" | "/second" => 1,
            "/min" | "/minute" => 60,
            "/hour" => 3_600,
            "/day" => 86_400,
            // A month is 30 days, so that a quota means the same in February.
            "/month" => 30 * 86_400,
            other => return Err(Self::mistaken_period(number, other)),
        };
        let requests = u32::try_from(number)
            .ok()
            .and_then(NonZeroU32::new)
            .ok_or("a rate is between 1 and 4294967295")?;
        Ok(Self {
            requests,
            period: Duration::from_secs(secs),
        })
    }
}

impl FromText for SocketAddr {
    const DESCRIPTION: &'static str = "an address and port such as `127.0.0.1:8080` or `[::]:8080`";
    const PATTERN: &'static str = ".+:[0-9]+";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| mismatch::<Self>())
    }
}

impl FromText for IpNet {
    const DESCRIPTION: &'static str = "an address range such as `10.0.0.0/8` or `fd00::/8`";
    const PATTERN: &'static str = "[0-9A-Fa-f.:]+/[0-9]+";

    fn from_text(text: &str) -> Result<Self, String> {
        let net: Self = match text.parse() {
            Ok(net) => net,
            Err(_) => {
                return Err(match text.parse::<IpAddr>() {
                    Ok(address) => format!(
                        "{}\nwrite `{}` for one address",
                        mismatch::<Self>(),
                        Self::from(address)
                    ),
                    Err(_) => mismatch::<Self>(),
                });
            }
        };
        if net.trunc() != net {
            return Err(format!("has bits beyond its prefix\nthe range is `{}`", net.trunc()));
        }
        Ok(address_range::canonical(net))
    }
}

/// Returns a host name (RFC 1123 section 2.1, and `_`, which container networks use) or an IPv4 address, in lower case.
/// `None` for any other text.
pub(in crate::config) fn host_name(text: &str) -> Option<String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return None;
    }
    // A name that ends in a number is an IPv4 address or a mistake (WHATWG URL section 3.5).
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<Ipv4Addr>().is_err() {
        return None;
    }
    Some(text.to_ascii_lowercase())
}

impl FromText for HostPattern {
    const DESCRIPTION: &'static str = "a host such as `api.example.com` or `*.example.com`, without scheme and port";
    const PATTERN: &'static str = "[^/@ ]+";

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Err("any host is what a route without `host` matches\nleave `host` out".to_owned());
        }
        if !text.is_ascii() {
            return Err("a host name beyond ASCII is written in its `xn--` form".to_owned());
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            return match host_name(suffix) {
                Some(suffix) if suffix.parse::<Ipv4Addr>().is_err() => Ok(Self::Suffix(suffix)),
                _ => Err(mismatch::<Self>()),
            };
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            let address: Ipv6Addr = inner.parse().map_err(|_| mismatch::<Self>())?;
            return Ok(Self::Exact(format!("[{address}]")));
        }
        host_name(text).map(Self::Exact).ok_or_else(mismatch::<Self>)
    }
}

impl FromText for PathPattern {
    const DESCRIPTION: &'static str = "a path such as `/v1/orders/{id}` or `/v1/{*rest}`";
    const PATTERN: &'static str = "/[^ ?#]*";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: PathPatternError| error.to_string())
    }
}

/// Methods of the IANA registry, without CONNECT (a tunnel), TRACE (its response repeats the credential), and the
/// reserved `*` and PRI.
const METHODS: &[&str] = &[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "QUERY",
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

impl FromText for Method {
    const DESCRIPTION: &'static str = "a method such as `GET`, in capital letters";
    const PATTERN: &'static str = "[A-Z][A-Z-]*";

    fn from_text(text: &str) -> Result<Self, String> {
        if matches!(text, "CONNECT" | "TRACE") {
            return Err("this method is never forwarded".to_owned());
        }
        if METHODS.contains(&text) {
            return Self::from_bytes(text.as_bytes()).map_err(|_| mismatch::<Self>());
        }
        let is_written_as_method = text.starts_with(|char: char| char.is_ascii_uppercase())
            && text.chars().all(|char| char.is_ascii_uppercase() || char == '-');
        let upper = text.to_ascii_uppercase();
        // Others have methods of their own, such as `PURGE`. One letter beside a registered method is a slip.
        if is_written_as_method && text != "PRI" && slip_of(text, METHODS.iter().copied()).is_none() {
            return Self::from_bytes(text.as_bytes()).map_err(|_| mismatch::<Self>());
        }
        let near = nearest(&upper, METHODS.iter().copied());
        Err(match near {
            Some(near) => format!("{}\ndid you mean `{near}`?", mismatch::<Self>()),
            None => mismatch::<Self>(),
        })
    }
}

impl FromText for HeaderName {
    const DESCRIPTION: &'static str = "a header name such as `x-api-key`";
    const PATTERN: &'static str = "[A-Za-z0-9.-]+";

    fn from_text(text: &str) -> Result<Self, String> {
        // CGI, WSGI and PHP read `X_A` and `X-A` as one variable, and `gate::accept` refuses such aliases of protected
        // names (S080).
        if text.contains('_') {
            return Err("a header name has `-`, not `_`".to_owned());
        }
        text.parse().map_err(|_| mismatch::<Self>())
    }
}

impl FromText for HeaderValue {
    const DESCRIPTION: &'static str = "a header value: printable ASCII, no line breaks";
    const PATTERN: &'static str = "[ -~]+";
    // A header value for an upstream is often a secret.
    const MAY_BE_SHOWN: bool = false;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim() != text || !text.bytes().all(|byte| (0x20..0x7F).contains(&byte)) {
            return Err(mismatch::<Self>());
        }
        Self::from_str(text).map_err(|_| mismatch::<Self>())
    }
}

impl FromText for Name {
    const DESCRIPTION: &'static str = "a name such as `orders-read`";
    const PATTERN: &'static str = Self::PATTERN;

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error: crate::model::names::NameError| error.to_string())
    }
}

impl FromText for TokenIssuer {
    const DESCRIPTION: &'static str =
        "the `iss` of its tokens: a URL, another text, or a URL with `{tenant}` for a segment of its path";
    const PATTERN: &'static str = "(?:https?://[^@?#\\\\\\s]+|(?!https?:)[!-~]{1,256})";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: TokenIssuerError| error.to_string())
    }
}

/// A tenant of an issuer's template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Tenant(pub String);

impl FromText for Tenant {
    const DESCRIPTION: &'static str = "letters, digits, `-`, `.`, `_` and `~`, as they stand in the URL";
    const PATTERN: &'static str = "[A-Za-z0-9._~-]{1,128}";

    fn from_text(text: &str) -> Result<Self, String> {
        if is_tenant(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(mismatch::<Self>())
        }
    }
}

impl FromText for IssuerUrl {
    const DESCRIPTION: &'static str = "an issuer URL such as `https://login.example.com`";
    const PATTERN: &'static str = "https?://[^ ?#]+";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error: crate::model::issuer::IssuerUrlError| error.to_string())
    }
}

impl FromText for Algorithm {
    const DESCRIPTION: &'static str = "a signature algorithm such as `RS256` or `ES256`";
    const PATTERN: &'static str = "RS256|RS384|RS512|PS256|PS384|PS512|ES256|ES384|EdDSA|Ed25519";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error: crate::model::algorithm::UnknownAlgorithm| error.to_string())
    }
}

impl FromText for ClaimPointer {
    const DESCRIPTION: &'static str = "a JSON pointer such as `/department` or `/realm_access/roles`";
    const PATTERN: &'static str = "(/([^~/]|~[01])+)+";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| match error {
            ClaimPointerError::NoLeadingSlash if !text.is_empty() => {
                let name = text.replace('~', "~0").replace('/', "~1");
                format!(
                    "{error}\nthe claim of this name is `/{}`",
                    crate::config::tree::printable(&name)
                )
            }
            ClaimPointerError::NoLeadingSlash
            | ClaimPointerError::Escape
            | ClaimPointerError::NoName
            | ClaimPointerError::Control => error.to_string(),
        })
    }
}

impl FromText for Scope {
    const DESCRIPTION: &'static str = "a scope such as `orders:read`";
    const PATTERN: &'static str = Self::PATTERN;

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: crate::model::scope::ScopeError| {
            if text.contains(' ') {
                format!("{error}\neach scope is an entry of its own")
            } else {
                error.to_string()
            }
        })
    }
}

impl FromText for Url {
    const DESCRIPTION: &'static str = "an absolute http or https URL";
    const PATTERN: &'static str = "https?://.+";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.bytes().any(|byte| byte <= 0x20 || byte >= 0x7F) {
            return Err(mismatch::<Self>());
        }
        let url = Self::parse(text).map_err(|_| mismatch::<Self>())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(mismatch::<Self>());
        }
        // A user or password would be printed with the URL, for example in logs.
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL here has no user or password".to_owned());
        }
        if url.fragment().is_some() {
            return Err("a URL here has no fragment (`#…`)".to_owned());
        }
        if text.contains(['{', '}']) {
            return Err("a URL here is asked as it stands: nothing is put in the place of `{…}`".to_owned());
        }
        Ok(url)
    }
}

impl FromText for PathBuf {
    const DESCRIPTION: &'static str = "the path of a file";
    const PATTERN: &'static str = "[^\\n]+";

    fn from_text(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file:") {
            return Err(format!(
                "the file itself stands here, without `file:`\nwrite `{}`",
                crate::config::tree::printable(path)
            ));
        }
        if text.is_empty() || text.contains(['\n', '\0']) {
            return Err(mismatch::<Self>());
        }
        Ok(Self::from(text))
    }
}

/// A text that is compared byte by byte: an audience, a claim, a claim's value.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct ExactText(pub String);

/// Returns `words` as strings.
pub(in crate::config) fn texts(words: Vec<ExactText>) -> Vec<String> {
    words.into_iter().map(|word| word.0).collect()
}

impl FromText for ExactText {
    const DESCRIPTION: &'static str = "a text of one line without blanks around it";
    const PATTERN: &'static str = "[^\\n]+";

    fn from_text(text: &str) -> Result<Self, String> {
        // Blanks at the ends are typing errors, and the text would never match.
        if text.is_empty() || text.trim() != text || text.chars().any(char::is_control) {
            return Err(mismatch::<Self>());
        }
        Ok(Self(text.to_owned()))
    }
}

/// The `typ` of a token, in lower case; `absent` becomes the empty text.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct TokenType(pub String);

impl FromText for TokenType {
    const DESCRIPTION: &'static str = "a token type such as `at+jwt`, or `absent`";
    const PATTERN: &'static str = "[A-Za-z0-9!#$&^_.+/-]+";

    fn from_text(text: &str) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+/-".contains(&byte);
        if text.is_empty() || !text.bytes().all(fits) {
            return Err(mismatch::<Self>());
        }
        let text = text.to_ascii_lowercase();
        Ok(Self(if text == "absent" { String::new() } else { text }))
    }
}

/// The first part of an API key's text.
#[derive(Debug)]
pub(in crate::config) struct KeyPrefix(pub String);

impl FromText for KeyPrefix {
    const DESCRIPTION: &'static str = "1 to 16 lower-case letters or digits, a letter first";
    const PATTERN: &'static str = "[a-z][a-z0-9]{0,15}";

    fn from_text(text: &str) -> Result<Self, String> {
        if api_key::is_key_prefix(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(mismatch::<Self>())
        }
    }
}

/// A `tracing` filter. Validated here: `tracing` takes a misspelt level for the name of a module, and logs nothing.
#[derive(Debug)]
pub(in crate::config) struct LogFilter(pub String);

impl FromText for LogFilter {
    const DESCRIPTION: &'static str =
        "a log level (`error`, `warn`, `info`, `debug`, `trace`, `off`) or `module=level`, with commas";
    const PATTERN: &'static str = "[A-Za-z0-9_:=,]+";

    fn from_text(text: &str) -> Result<Self, String> {
        let level = |word: &str| matches!(word, "error" | "warn" | "info" | "debug" | "trace" | "off");
        let module = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
        };
        let directive = |part: &str| match part.split_once('=') {
            Some((name, word)) => module(name) && level(word),
            None => level(part),
        };
        if !text.split(',').all(directive) {
            return Err(mismatch::<Self>());
        }
        let modules = text.split(',').filter_map(|part| part.split_once('='));
        let mut roots = modules.map(|(module, _)| module.split(':').next().unwrap_or_default());
        if roots.any(|root| slip_of(root, ["keygate"].into_iter()).is_some()) {
            return Err("no module has this name\ndid you mean `keygate`?".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

/// A secret as it is written, after `${NAME}` was replaced: the secret itself, or `file:path`.
#[derive(Debug)]
pub(in crate::config) struct SecretText(pub Secret<String>);

impl FromText for SecretText {
    const DESCRIPTION: &'static str = "a secret: `${NAME}` or `file:path`";
    const PATTERN: &'static str = ".+";
    const MAY_BE_SHOWN: bool = false;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a secret cannot be empty".to_owned());
        }
        Ok(Self(Secret::new(text.to_owned())))
    }
}

#[cfg(test)]
mod tests;
