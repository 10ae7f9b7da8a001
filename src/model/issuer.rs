//! How is an issuer named? By the text in `iss` (RFC 7519 section 4.1.1), which is an issuer identifier (RFC 8414 section 2)
//! for most issuers, or by a template of many such URLs.

use std::fmt;
use std::str::FromStr;

/// An issuer identifier. Compared byte by byte with `iss`, never normalized.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerUrl(Box<str>);

/// Why a text is not an [`IssuerUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerUrlError {
    #[error("not a URL with scheme and host, such as https://login.example.com")]
    NotUrl,
    #[error("an issuer URL has the scheme https (or http for development)")]
    Scheme,
    #[error("an issuer URL has no user, query or fragment (RFC 8414 section 2)")]
    Extra,
    #[error(
        "`{{…}}` stands for nothing here: only `{{tenant}}`, as a whole segment of the path, stands for the part that varies"
    )]
    Braces,
}

impl IssuerUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the URL to derive other URLs from. Not for comparisons: the URL parser normalizes.
    pub fn to_url(&self) -> url::Url {
        url::Url::parse(&self.0).expect("it was a URL when it was parsed first")
    }
}

impl FromStr for IssuerUrl {
    type Err = IssuerUrlError;

    fn from_str(text: &str) -> Result<Self, IssuerUrlError> {
        if text.contains(['{', '}']) {
            return Err(IssuerUrlError::Braces);
        }
        // The URL standard reads `\` as `/`. A URL that two parsers split differently does not identify an issuer.
        if text.bytes().any(|byte| byte <= 0x20 || byte >= 0x7F || byte == b'\\') {
            return Err(IssuerUrlError::NotUrl);
        }
        let url = url::Url::parse(text).map_err(|_| IssuerUrlError::NotUrl)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(IssuerUrlError::Scheme);
        }
        // The parser drops an empty user, so look for `@` in the text.
        let authority = text.split('/').nth(2).unwrap_or_default();
        if authority.contains('@') || url.query().is_some() || url.fragment().is_some() {
            return Err(IssuerUrlError::Extra);
        }
        Ok(Self(text.into()))
    }
}

/// The issuer of tokens, as `iss` names it. Compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenIssuer {
    /// An issuer identifier, from which other URLs can be derived.
    Url(IssuerUrl),
    /// Another StringOrURI (RFC 7519 section 2), such as `accounts.google.com` or `spiffe://example.org`.
    Text(Box<str>),
    /// One of many URLs that differ in one path segment.
    Template(IssuerTemplate),
}

/// URLs of issuers that differ in one path segment, the tenant: `https://login.example.com/{tenant}/v2.0`. The host is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerTemplate {
    text: Box<str>,
    /// The end of the part before the tenant, and the start of the part after it, in bytes of `text`.
    before: usize,
    after: usize,
    tenants: Tenants,
}

/// The tenants of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    Listed(Box<[String]>),
    /// Every tenant of the provider.
    Any,
}

/// Why a text is not a [`TokenIssuer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenIssuerError {
    #[error(transparent)]
    Url(#[from] IssuerUrlError),
    #[error("a text in `iss` is 1 to 256 visible ASCII characters, and one with a `:` is a URI (RFC 7519 section 2)")]
    Text,
    #[error("`{{tenant}}` is one whole segment of the path, and stands there once")]
    Template,
}

/// The variable of a template.
const TENANT: &str = "{tenant}";
const TENANT_BYTES_MAX: usize = 128;

impl TokenIssuer {
    /// Returns the text as it was written; of a template, with `{tenant}`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Url(url) => url.as_str(),
            Self::Text(text) => text,
            Self::Template(template) => &template.text,
        }
    }

    /// Returns whether `iss` names this issuer; for a template, whether it names one of its tenants.
    pub fn is_named_by(&self, iss: &str) -> bool {
        match self {
            Self::Url(_) | Self::Text(_) => self.as_str() == iss,
            Self::Template(template) => template
                .tenant_of(iss)
                .is_some_and(|tenant| template.tenants.has(tenant)),
        }
    }

    /// Returns whether some `iss` could name both issuers.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Template(template), Self::Template(other)) => template.overlaps(other),
            (Self::Template(_), Self::Url(_) | Self::Text(_)) => self.is_named_by(other.as_str()),
            (Self::Url(_) | Self::Text(_), _) => other.is_named_by(self.as_str()),
        }
    }

    /// Returns whether tokens of more than one tenant come from the issuer.
    pub fn has_several_tenants(&self) -> bool {
        match self {
            Self::Template(template) => match &template.tenants {
                Tenants::Listed(tenants) => tenants.len() > 1,
                Tenants::Any => true,
            },
            Self::Url(_) | Self::Text(_) => false,
        }
    }

    /// Returns the URLs of the issuer that are known: none of a template for any tenant, and of a text none.
    pub fn known_urls(&self) -> Vec<String> {
        match self {
            Self::Url(url) => vec![url.as_str().to_owned()],
            Self::Text(_) => Vec::new(),
            Self::Template(template) => match &template.tenants {
                Tenants::Listed(tenants) => tenants.iter().map(|tenant| template.url_of(tenant)).collect(),
                Tenants::Any => Vec::new(),
            },
        }
    }

    /// Returns the tenants of a template; `None` of an issuer that is none.
    pub fn tenants(&self) -> Option<&Tenants> {
        match self {
            Self::Template(template) => Some(&template.tenants),
            Self::Url(_) | Self::Text(_) => None,
        }
    }

    /// Returns the template for `tenants`; anything but a template unchanged.
    #[must_use]
    pub fn with_tenants(self, tenants: Tenants) -> Self {
        match self {
            Self::Template(template) => Self::Template(IssuerTemplate { tenants, ..template }),
            Self::Url(_) | Self::Text(_) => self,
        }
    }
}

impl IssuerTemplate {
    /// Returns the tenant in `iss`, if `iss` is a URL of this template.
    fn tenant_of<'i>(&self, iss: &'i str) -> Option<&'i str> {
        let rest = iss.strip_prefix(&self.text[..self.before])?;
        let tenant = rest.strip_suffix(&self.text[self.after..])?;
        is_tenant(tenant).then_some(tenant)
    }

    fn url_of(&self, tenant: &str) -> String {
        format!("{}{tenant}{}", &self.text[..self.before], &self.text[self.after..])
    }

    fn overlaps(&self, other: &Self) -> bool {
        let names_one_of = |known: &Self, tenants: &[String], other: &Self| {
            let urls = tenants.iter().map(|tenant| known.url_of(tenant));
            let other = TokenIssuer::Template(other.clone());
            urls.into_iter().any(|url| other.is_named_by(&url))
        };
        match (&self.tenants, &other.tenants) {
            (Tenants::Listed(tenants), _) => names_one_of(self, tenants, other),
            (_, Tenants::Listed(tenants)) => names_one_of(other, tenants, self),
            (Tenants::Any, Tenants::Any) => {
                let (own, others) = (self.text.split('/'), other.text.split('/'));
                let is_same = |(one, other): (&str, &str)| one == other || one == TENANT || other == TENANT;
                own.clone().count() == others.clone().count() && own.zip(others).all(is_same)
            }
        }
    }
}

impl Tenants {
    /// Returns whether every tenant of `other` is one of these.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Listed(_), Self::Any) => false,
            (Self::Listed(_), Self::Listed(tenants)) => tenants.iter().all(|tenant| self.has(tenant)),
        }
    }

    fn has(&self, tenant: &str) -> bool {
        match self {
            Self::Listed(tenants) => tenants.iter().any(|known| known == tenant),
            Self::Any => true,
        }
    }
}

impl fmt::Display for Tenants {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(tenants) => out.write_str(&tenants.join(", ")),
            Self::Any => out.write_str("any"),
        }
    }
}

/// Returns whether `text` may be the tenant of a template: unreserved characters of a URI (RFC 3986 section 2.3), so that it
/// has one spelling and ends no segment (S054), and no dot segment.
pub fn is_tenant(text: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (1..=TENANT_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_unreserved) && text != "." && text != ".."
}

impl FromStr for TokenIssuer {
    type Err = TokenIssuerError;

    /// Reads an issuer as the configuration writes it. A template is for any tenant, unless
    /// [`Self::with_tenants`] limits it.
    fn from_str(text: &str) -> Result<Self, TokenIssuerError> {
        if let Some(before) = text.find(TENANT) {
            let after = before + TENANT.len();
            // With a tenant in its place, the text is a URL, and the tenant a segment of its path.
            let url: IssuerUrl = format!("{}t{}", &text[..before], &text[after..]).parse()?;
            let path = url.as_str().match_indices('/').nth(2).map(|(at, _)| at);
            let is_segment = path.is_some_and(|path| before > path)
                && text[..before].ends_with('/')
                && (text[after..].is_empty() || text[after..].starts_with('/'));
            if !is_segment || text[after..].contains(['{', '}']) || text[..before].contains(['{', '}']) {
                return Err(TokenIssuerError::Template);
            }
            return Ok(Self::Template(IssuerTemplate {
                text: text.into(),
                before,
                after,
                tenants: Tenants::Any,
            }));
        }
        let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
        if let Some("https" | "http") = scheme.as_deref() {
            return Ok(Self::Url(text.parse()?));
        }
        let is_text = (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_text || (text.contains(':') && url::Url::parse(text).is_err()) || text.contains("://{") {
            return Err(TokenIssuerError::Text);
        }
        Ok(Self::Text(text.into()))
    }
}

impl fmt::Display for TokenIssuer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_urls_keep_their_exact_text() {
        for good in [
            "https://a.example",
            "https://a.example/",
            "http://127.0.0.1:9000/realms/x",
        ] {
            assert_eq!(good.parse::<IssuerUrl>().unwrap().as_str(), good);
        }
        let check = |text: &str, error| assert_eq!(text.parse::<IssuerUrl>(), Err(error), "{text:?}");
        check("a.example", IssuerUrlError::NotUrl);
        check("", IssuerUrlError::NotUrl);
        check("https://a.example/ ", IssuerUrlError::NotUrl);
        check("ftp://a.example", IssuerUrlError::Scheme);
        check("https://u:p@a.example", IssuerUrlError::Extra);
        check("https://a.example?x", IssuerUrlError::Extra);
        check("https://@a.example", IssuerUrlError::Extra);
        check("https://u@a.example/x", IssuerUrlError::Extra);
        check("https://a.example#", IssuerUrlError::Extra);
        check("https://a.example/?", IssuerUrlError::Extra);
        check("https:\\\\a.example", IssuerUrlError::NotUrl);
        check("https://good.example\\@evil.example", IssuerUrlError::NotUrl);
        // `@` in a path is an ordinary character.
        assert!("https://a.example/@tenant".parse::<IssuerUrl>().is_ok());
    }

    fn issuer(text: &str) -> TokenIssuer {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn template(text: &str, tenants: &[&str]) -> TokenIssuer {
        issuer(text).with_tenants(Tenants::Listed(
            tenants.iter().map(|&tenant| tenant.to_owned()).collect(),
        ))
    }

    #[test]
    fn an_issuer_is_any_string_or_uri() {
        for text in [
            "accounts.google.com",
            "urn:example:issuer",
            "spiffe://example.org",
            "kubernetes/serviceaccount",
            "a",
        ] {
            assert_eq!(issuer(text), TokenIssuer::Text(text.into()));
            assert!(issuer(text).is_named_by(text) && !issuer(text).is_named_by(&format!("{text}/")));
        }
        assert!(matches!(issuer("https://a.example"), TokenIssuer::Url(_)));
        for bad in ["", "a b", "a\n", "é", "1:a", "://a", &"a".repeat(257)] {
            assert_eq!(bad.parse::<TokenIssuer>(), Err(TokenIssuerError::Text), "{bad:?}");
        }
        for bad in ["https://u@a.example", "HTTPS://a.example?x", "http://a.example#"] {
            assert!(
                matches!(bad.parse::<TokenIssuer>(), Err(TokenIssuerError::Url(_))),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn s054_a_template_varies_in_one_segment_of_the_path() {
        let entra = issuer("https://login.example.com/{tenant}/v2.0");
        for good in [
            "https://login.example.com/t1/v2.0",
            "https://login.example.com/a-b_c.d~e/v2.0",
        ] {
            assert!(entra.is_named_by(good), "{good}");
        }
        for bad in [
            "https://login.example.com//v2.0",
            "https://login.example.com/v2.0",
            "https://login.example.com/a/b/v2.0",
            "https://login.example.com/./v2.0",
            "https://login.example.com/../v2.0",
            "https://login.example.com/a%2Fb/v2.0",
            "https://login.example.com/a?/v2.0",
            "https://login.example.com/a#/v2.0",
            "https://login.example.com/{tenant}/v2.0",
            "https://login.example.com/t1/v2.0/",
            "https://evil.example/#https://login.example.com/t1/v2.0",
            "https://evil.example/#.login.example.com/t1/v2.0",
            "https://login.example.com.evil.example/t1/v2.0",
            "http://login.example.com/t1/v2.0",
            &format!("https://login.example.com/{}/v2.0", "a".repeat(129)),
        ] {
            assert!(!entra.is_named_by(bad), "{bad}");
        }
        let listed = template("https://login.example.com/{tenant}", &["t1", "t2"]);
        assert!(listed.is_named_by("https://login.example.com/t2"));
        assert!(
            !listed.is_named_by("https://login.example.com/t3") && !listed.is_named_by("https://login.example.com/T1")
        );
        for bad in [
            "https://{tenant}.example.com/v2.0",
            "https://{tenant}/v2.0",
            "https://login.example.com/a{tenant}/v2.0",
            "https://login.example.com/{tenant}a",
            "https://login.example.com/{tenant}/{tenant}",
            "https://login.example.com/{tenant}/{x}",
            "https://login.example.com/?x={tenant}",
            "accounts.example.com/{tenant}",
        ] {
            assert!(bad.parse::<TokenIssuer>().is_err(), "{bad}");
        }
    }

    #[test]
    fn issuers_overlap_where_one_iss_could_name_both() {
        let any = issuer("https://a.example/{tenant}/v2.0");
        let listed = template("https://a.example/{tenant}/v2.0", &["t1"]);
        let check = |one: &TokenIssuer, other: &TokenIssuer, expected: bool| {
            assert_eq!(
                (one.overlaps(other), other.overlaps(one)),
                (expected, expected),
                "{one} {other}"
            );
        };
        check(&any, &any, true);
        check(&any, &listed, true);
        check(&listed, &template("https://a.example/{tenant}/v2.0", &["t2"]), false);
        check(
            &listed,
            &template("https://a.example/{tenant}/v2.0", &["t2", "t1"]),
            true,
        );
        check(&listed, &issuer("https://a.example/t1/v2.0"), true);
        check(&listed, &issuer("https://a.example/t2/v2.0"), false);
        check(&any, &issuer("https://a.example/{tenant}"), false);
        check(
            &issuer("https://a.example/{tenant}/a"),
            &issuer("https://a.example/x/{tenant}"),
            true,
        );
        check(&issuer("https://a.example"), &issuer("https://a.example"), true);
        check(&issuer("a"), &issuer("b"), false);
    }

    #[test]
    fn s054_an_issuer_with_a_fragment_cannot_be_named() {
        for text in [
            "https://evil.example/#.good.example",
            "https://evil.example#.good.example",
            "https://evil.example/?x#.good.example",
            "https://evil.example/?.good.example",
            "https://good.example@evil.example",
        ] {
            assert_eq!(text.parse::<IssuerUrl>(), Err(IssuerUrlError::Extra), "{text}");
        }
    }
}
