//! Which page of a list does the query select, by which filter, and which revision does
//! `If-Match` require? Unknown parameters are rejected.

use crate::control::admin::formats;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::problem;
use crate::control::admin::response::problem_with;
use crate::store::Filter;
use crate::store::Page;
use crate::store::Revision;
use axum::extract::FromRequestParts;
use axum::extract::Query;
use http::HeaderMap;
use http::StatusCode;
use http::header;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Display;
use std::str::FromStr;
use utoipa::IntoParams;

pub const LIMIT_DEFAULT: u32 = 50;
pub const LIMIT_MAX: u32 = 200;

/// The query of a request, as a `T` that denies unknown fields.
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = AdminResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminResponse> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => Err(bad_query("", rejection.body_text())),
        }
    }
}

/// Returns 400 for an invalid query; `parameter` is empty if the detail names the parameter.
pub fn bad_query(parameter: &str, detail: impl Display) -> AdminResponse {
    let detail = detail.to_string();
    let message = match parameter {
        "" => detail.clone(),
        parameter => format!("{parameter}: {detail}"),
    };
    let more = [("errors", json!([{ "parameter": parameter, "detail": detail }]))];
    problem_with(StatusCode::BAD_REQUEST, "invalid-query", &message, &more)
}

/// Parses the value of a parameter, if it is present.
///
/// # Errors
/// 400 with the name of the parameter.
pub fn parsed<T: FromStr<Err: Display>>(parameter: &str, text: Option<&str>) -> Result<Option<T>, AdminResponse> {
    text.map(|text| text.parse().map_err(|error: T::Err| bad_query(parameter, error)))
        .transpose()
}

/// Returns the page to read, with one item more than is shown: the extra item reveals a next page. `I` is the type of the
/// ids in the list: a text that can be none of them would be an empty page.
///
/// # Errors
/// 400 if the limit is not 1 to 200, or `after` is no id.
pub fn page<I: FromStr<Err: Display>>(limit: Option<u32>, after: Option<String>) -> Result<Page, AdminResponse> {
    parsed::<I>("after", after.as_deref())?;
    match limit.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(Page {
            after,
            limit: limit + 1,
        }),
        _ => Err(bad_query("limit", format!("must be 1 to {LIMIT_MAX}"))),
    }
}

/// Which part of a list of credentials.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CredentialListing {
    /// Of this organization alone.
    #[param(inline, value_type = formats::OrganizationId, required = false)]
    organization: Option<String>,
    /// Of this subscription alone.
    #[param(inline, value_type = formats::SubscriptionId, required = false)]
    subscription: Option<String>,
    /// With exactly this name.
    #[param(required = false)]
    name: Option<String>,
    /// In this `state` alone. Each list describes it, with the states that it knows.
    #[param(ignore)]
    state: Option<String>,
    /// At most so many items.
    #[param(minimum = 1, maximum = 200, default = 50, required = false)]
    limit: Option<u32>,
    /// `next` of the page before. Each list describes it, as an id of its records.
    #[param(ignore)]
    after: Option<String>,
}

impl CredentialListing {
    /// Returns the filter and the page to read, and the name and the state that are asked for. `states` are those that
    /// there are.
    ///
    /// # Errors
    /// 400 for the first invalid parameter.
    pub fn read<I: FromStr<Err: Display>>(
        self,
        states: &[&str],
    ) -> Result<(Filter, Page, ListCondition), AdminResponse> {
        let page = page::<I>(self.limit, self.after)?;
        let filter = Filter {
            organization: parsed("organization", self.organization.as_deref())?,
            subscription: parsed("subscription", self.subscription.as_deref())?,
        };
        let wanted = ListCondition {
            name: self.name,
            state: state(self.state, states)?,
        };
        Ok((filter, page, wanted))
    }
}

/// Returns the state that a list is restricted to.
///
/// # Errors
/// 400 for a word that is none of `states`.
pub fn state(state: Option<String>, states: &[&str]) -> Result<Option<String>, AdminResponse> {
    match &state {
        Some(word) if !states.contains(&word.as_str()) => {
            let words: Vec<String> = states.iter().map(|state| format!("`{state}`")).collect();
            Err(bad_query("state", format!("must be one of {}", words.join(", "))))
        }
        Some(_) | None => Ok(state),
    }
}

/// The name and the state that credentials of a list must have; `None` for any.
#[derive(Debug)]
pub struct ListCondition {
    name: Option<String>,
    state: Option<String>,
}

impl ListCondition {
    /// Returns whether every credential is wanted.
    pub const fn is_any(&self) -> bool {
        self.name.is_none() && self.state.is_none()
    }

    /// Returns whether a credential of this name and state is wanted.
    pub fn has(&self, name: &str, state: &str) -> bool {
        self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self.state.as_deref().is_none_or(|wanted| wanted == state)
    }
}

/// The revision that a change requires (RFC 9110 section 13.1.1); `None` without the header, or for any revision (`*`).
pub struct IfMatch(pub Option<Revision>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = AdminResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminResponse> {
        if_match(&parts.headers).map(Self)
    }
}

fn if_match(headers: &HeaderMap) -> Result<Option<Revision>, AdminResponse> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let (Some(value), more) = (values.next(), values.next()) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" && more.is_none() {
        return Ok(None);
    }
    let revision = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok());
    match (revision, more) {
        (Some(revision), None) => Ok(Some(Revision(revision))),
        _ => Err(problem(
            StatusCode::BAD_REQUEST,
            "invalid-if-match",
            "If-Match is one ETag as an answer gave it, such as `\"3\"`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::Name;
    use http::HeaderValue;

    fn check(values: &[&str], expected: Result<Option<u64>, u16>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        }
        let found = if_match(&headers)
            .map(|revision| revision.map(|revision| revision.0))
            .map_err(|response| response.status.as_u16());
        assert_eq!(found, expected, "{values:?}");
    }

    #[test]
    fn if_match_is_one_strong_tag_of_a_revision_or_any() {
        check(&[], Ok(None));
        check(&["*"], Ok(None));
        check(&["\"3\""], Ok(Some(3)));
        for bad in [
            &["3"][..],
            &["W/\"3\""],
            &["\"3\", \"4\""],
            &["\"3\"", "\"4\""],
            &["\"\""],
            &["\"-1\""],
            &["\"99999999999999999999\""],
            &[""],
        ] {
            check(bad, Err(400));
        }
    }

    #[test]
    fn a_page_has_1_to_200_items() {
        let page = |limit, after: Option<&str>| page::<Name>(limit, after.map(str::to_owned));
        assert_eq!(page(None, None).unwrap().limit, 51);
        assert_eq!(page(Some(1), Some("acme")).unwrap().limit, 2);
        assert_eq!(page(Some(200), None).unwrap().limit, 201);
        assert!(page(Some(0), None).is_err());
        assert!(page(Some(201), None).is_err());
        assert!(page(None, Some("no id")).is_err());
    }
}
