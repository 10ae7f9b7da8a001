//! At which paths do clients get tokens, and which clients at which of them?

use crate::config::check::Checker;
use crate::config::pattern::PathPattern;
use crate::config::read::FromText;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::text::mismatch;
use crate::model::names::Name;
use crate::model::plan::DEFAULT;
use crate::model::plan::OPERATORS;
use schemars::JsonSchema;
use serde::Deserialize;

/// The paths of the token endpoint, below the path of the issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPaths {
    /// The global endpoint. Default `/oauth/token`.
    pub token: String,
    /// The endpoint of each organization. Default `/t/{organization}/oauth/token`.
    pub tenant_token: TenantTokenPath,
}

impl Default for TokenPaths {
    fn default() -> Self {
        Self {
            token: "/oauth/token".to_owned(),
            tenant_token: TenantTokenPath {
                before: "/t/".to_owned(),
                after: "/oauth/token".to_owned(),
            },
        }
    }
}

/// A path with an organization as one segment: the text before and after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantTokenPath {
    /// With a `/` at its end. What stands before an organization's name is also where its metadata is.
    pub before: String,
    /// With a `/` at its start.
    pub after: String,
}

impl TenantTokenPath {
    /// Returns the path of one organization's endpoint.
    pub fn of(&self, organization: &str) -> String {
        format!("{}{organization}{}", self.before, self.after)
    }
}

/// The clients that get tokens at the global endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalEndpoint {
    EveryClient,
    /// Those of the organizations `default` and `operators`; others at their organization's endpoint alone.
    BuiltInOrganizations,
}

impl GlobalEndpoint {
    /// Returns whether clients of `organization` get tokens there.
    pub fn serves(self, organization: &Name) -> bool {
        match self {
            Self::EveryClient => true,
            Self::BuiltInOrganizations => [DEFAULT, OPERATORS].contains(&organization.as_str()),
        }
    }
}

/// Where clients ask for tokens, below the path of the issuer.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TokenPaths")]
pub(in crate::config) struct Section {
    /// For clients of all organizations, or of the built-in ones; see `global_endpoint`. Default `/oauth/token`.
    token: Option<Text<FixedPath>>,
    /// For the clients of one organization. What is before `{organization}` also leads to the organization's metadata (RFC
    /// 8414). Default `/t/{organization}/oauth/token`.
    tenant_token: Option<Text<TenantTokenPath>>,
}

/// The clients that get tokens at the global endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "GlobalEndpoint")]
pub(in crate::config) enum GlobalEndpointWord {
    EveryClient,
    BuiltInOrganizations,
}

impl From<GlobalEndpointWord> for GlobalEndpoint {
    fn from(word: GlobalEndpointWord) -> Self {
        match word {
            GlobalEndpointWord::EveryClient => Self::EveryClient,
            GlobalEndpointWord::BuiltInOrganizations => Self::BuiltInOrganizations,
        }
    }
}

/// A path without wildcards.
#[derive(Debug)]
struct FixedPath(String);

impl FromText for FixedPath {
    const DESCRIPTION: &'static str = "a path such as `/oauth/token`";
    const PATTERN: &'static str = "/[^ ?#{}]+";

    fn from_text(text: &str) -> Result<Self, String> {
        let path: PathPattern = PathPattern::from_text(text)?;
        if path.as_str() == "/" || path.as_str().contains(['{', '}']) {
            return Err(mismatch::<Self>());
        }
        Ok(Self(path.as_str().to_owned()))
    }
}

/// The only wildcard of a tenant's path.
const ORGANIZATION: &str = "{organization}";

impl FromText for TenantTokenPath {
    const DESCRIPTION: &'static str =
        "a path with `{organization}` as one segment, such as `/t/{organization}/oauth/token`";
    const PATTERN: &'static str = "/[^ ?#]*\\{organization\\}[^ ?#]*";

    fn from_text(text: &str) -> Result<Self, String> {
        let path: PathPattern = PathPattern::from_text(text)?;
        let (before, after) = path.as_str().split_once(ORGANIZATION).ok_or_else(mismatch::<Self>)?;
        // At the root, every path of one segment and its metadata would be an organization's.
        let is_root = before == "/";
        if is_root || after.is_empty() || [before, after].iter().any(|part| part.contains(['{', '}'])) {
            return Err(mismatch::<Self>());
        }
        Ok(Self {
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }
}

/// Paths below the issuer's that Keygate answers itself, whatever the configuration.
const TAKEN: [&str; 5] = [
    "/oauth/introspect",
    "/oauth/revoke",
    "/oauth/jwks",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
];

/// Returns the paths, and reports one that is taken.
pub(in crate::config) fn convert(section: Option<TypedNode<Section>>, checker: &mut Checker<'_>) -> TokenPaths {
    let mut paths = TokenPaths::default();
    let Some(TypedNode { value: section, at }) = section else {
        return paths;
    };
    if let Some(token) = section.token {
        if TAKEN.contains(&token.get().0.as_str()) {
            let problem = checker.with_value(token.at, "Keygate answers this path otherwise");
            checker.error_with(token.at, "overlaps-built-in", problem, "choose another path");
        }
        paths.token = token.take().0;
    }
    if let Some(tenant_token) = section.tenant_token {
        paths.tenant_token = tenant_token.take();
    }
    let segment = paths.token.strip_prefix(paths.tenant_token.before.as_str());
    let segment = segment.and_then(|rest| rest.strip_suffix(paths.tenant_token.after.as_str()));
    if segment.is_some_and(|segment| !segment.is_empty() && !segment.contains('/')) {
        let problem = "`token` is also the path of an organization's endpoint by `tenant_token`";
        checker.error_with(at, "overlaps-built-in", problem, "choose another path for one of them");
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, &str)>) {
        let read = TenantTokenPath::from_text(text).ok();
        let expected = expected.map(|(before, after)| TenantTokenPath {
            before: before.to_owned(),
            after: after.to_owned(),
        });
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn a_tenants_path_has_the_organization_as_one_segment() {
        check("/t/{organization}/oauth/token", Some(("/t/", "/oauth/token")));
        check(
            "/api/v1/auth/tenants/{organization}/oauth/token",
            Some(("/api/v1/auth/tenants/", "/oauth/token")),
        );
        for bad in [
            "/oauth/token",
            "/{organization}/token",
            "/t/{organization}",
            "/t/{org}/token",
            "/t/x{organization}/token",
            "/t/{organization}/{organization}",
            "/t/{organization}/{*rest}",
            "t/{organization}/token",
            "/t/../{organization}/token",
            "",
        ] {
            check(bad, None);
        }
        for (text, good) in [
            ("/api/token", true),
            ("/", false),
            ("/{a}", false),
            ("token", false),
            ("/a?b", false),
        ] {
            assert_eq!(FixedPath::from_text(text).is_ok(), good, "{text}");
        }
    }
}
