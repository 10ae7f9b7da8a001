//! How are the issuers' keys, and is there anything newer? What the data side knows, as plain values.

use crate::control::admin::Api;
use crate::control::admin::answer::Answer;
use crate::control::admin::answer::HandlerResult;
use crate::control::admin::answer::problem;
use crate::control::admin::answer::problem_with;
use crate::control::admin::body::NoBody;
use crate::control::admin::openapi::Problem;
use crate::control::registry::Actor;
use crate::model::clock::Timestamp;
use crate::model::names::Name;
use crate::observe::access::rfc3339;
use axum::Extension;
use axum::extract::Path;
use axum::extract::State as Served;
use http::StatusCode;
use serde::Deserialize;
use serde::Serialize;
use serde::Serializer;
use std::pin::Pin;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa::PartialSchema;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

/// The issuers of the gate, as `runtime` shows them.
pub trait Issuers: Send + Sync {
    /// All that the configuration in force names, sorted by name.
    fn all(&self) -> Vec<IssuerHealth>;

    fn one(&self, name: &Name) -> Option<IssuerHealth>;

    /// Fetches the issuer's keys now, whatever its cooldown says, or waits for the fetch that is under way.
    fn refresh<'a>(&'a self, name: &'a Name) -> Pin<Box<dyn Future<Output = Refreshed> + Send + 'a>>;
}

/// No issuers: how issuers are doing is known only to a gate that runs.
pub struct NoIssuers;

impl Issuers for NoIssuers {
    fn all(&self) -> Vec<IssuerHealth> {
        Vec::new()
    }

    fn one(&self, _: &Name) -> Option<IssuerHealth> {
        None
    }

    fn refresh<'a>(&'a self, _: &'a Name) -> Pin<Box<dyn Future<Output = Refreshed> + Send + 'a>> {
        Box::pin(std::future::ready(Refreshed::Unknown))
    }
}

/// What came of asking for newer keys.
#[derive(Debug)]
pub enum Refreshed {
    /// No such issuer.
    Unknown,
    /// Its keys are not fetched: they are in files.
    NotFetched(IssuerHealth),
    Good(IssuerHealth),
    /// The fetch failed; what was good before still serves.
    Failed(IssuerHealth),
    /// The fetch goes on, and the answer does not wait for it any longer.
    Unfinished(IssuerHealth),
}

/// What operators see of one issuer; never key material.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct IssuerHealth {
    pub name: String,
    pub issuer: String,
    pub state: State,
    pub source: Source,
    /// How the keys in use came into this process; `None` without keys.
    pub keys_from: Option<KeysFrom>,
    /// When the keys in use were last fetched or confirmed, in this process or one before it.
    pub last_good_at: Option<Time>,
    pub age_seconds: Option<u64>,
    /// From then on they are too old (`max_stale`).
    pub usable_until: Option<Time>,
    pub last_attempt_at: Option<Time>,
    /// Of the last attempt; `None` once one has succeeded since.
    pub last_error: Option<String>,
    pub next_fetch_at: Option<Time>,
    pub consecutive_failures: u32,
    /// Since the process started.
    pub fetches_good: u64,
    pub fetches_failed: u64,
    pub keys: Vec<Key>,
    pub skipped: Vec<Skipped>,
}

/// How an issuer is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IssuerState)]
pub enum State {
    Ok,
    /// The last good keys serve, and the last attempt to get newer ones failed; or an issuer that is asked failed so often
    /// that it is left alone for a while.
    Failing,
    /// The last good keys are older than `max_stale`: tokens are answered with 503.
    Stale,
    /// There never were keys: tokens are answered with 503.
    NoKeys,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = IssuerSource)]
pub enum Source {
    JwksUrl {
        url: String,
    },
    Discovery {
        documents: Vec<String>,
        /// What the last good document said.
        jwks_uri: Option<String>,
    },
    JwksFile {
        path: String,
    },
    PublicKeyFiles {
        paths: Vec<String>,
    },
    /// No keys: the issuer is asked about each token.
    Introspection {
        url: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IssuerKeysFrom)]
pub enum KeysFrom {
    /// From where the configuration says, by this process.
    Source,
    /// From `state_dir`, where a process before this one kept them.
    Disk,
}

/// A key in use. `kid` is a stranger's text.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = IssuerKey)]
pub struct Key {
    pub kid: Option<String>,
    /// RFC 7638, SHA-256.
    pub thumbprint: String,
    pub algorithms: Vec<&'static str>,
}

/// A key of the set that is never used, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = IssuerSkippedKey)]
pub struct Skipped {
    pub kid: Option<String>,
    pub reason: &'static str,
}

/// An instant that is written as in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        crate::control::admin::openapi::instant()
    }
}

impl ToSchema for Time {}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&rfc3339(self.0))
    }
}

/// The issuers of the configuration in force.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuerList)]
pub(super) struct List {
    issuers: Vec<IssuerHealth>,
    at: Time,
}

/// What came of a fetch.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuerRefresh)]
pub(super) struct Outcome {
    outcome: &'static str,
    issuer: IssuerHealth,
}

/// The issuer in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct IssuerPath {
    /// The issuer's name in the configuration
    #[param(example = "sixtyfour")]
    name: String,
}

impl IssuerPath {
    fn name(&self) -> Result<Name, Answer> {
        self.name.parse().map_err(|_| unknown())
    }
}

/// Every issuer and how its keys are
///
/// What the configuration in force names, sorted by name. For operators.
#[utoipa::path(get, path = "/admin/v1/issuers", tag = "issuers", operation_id = "listIssuers",
    responses((status = 200, description = "The issuers", body = List)))]
pub(super) async fn list(Served(api): Served<Arc<Api>>, Extension(actor): Extension<Actor>) -> HandlerResult {
    // Which servers the gate trusts, and what went wrong with them, is for those who run it.
    actor.operators_only()?;
    Ok(Answer::json(&List {
        issuers: api.parts.issuers.all(),
        at: Time(api.parts.clock.now().wall),
    }))
}

/// One issuer and how its keys are
///
/// For operators.
#[utoipa::path(get, path = "/admin/v1/issuers/{name}", tag = "issuers", operation_id = "showIssuer",
    params(IssuerPath), responses((status = 200, description = "The issuer", body = IssuerHealth)))]
pub(super) async fn show(
    Served(api): Served<Arc<Api>>,
    Extension(actor): Extension<Actor>,
    Path(issuer): Path<IssuerPath>,
) -> HandlerResult {
    actor.operators_only()?;
    let name = issuer.name()?;
    let health = api.parts.issuers.one(&name).ok_or_else(unknown)?;
    Ok(Answer::json(&health))
}

/// Fetch an issuer's keys now
///
/// Whatever its cooldown says; or waits for the fetch that is under way. For operators.
#[utoipa::path(post, path = "/admin/v1/issuers/{name}/refresh", tag = "issuers", operation_id = "refreshIssuer",
    params(IssuerPath), responses(
        (status = 200, description = "The fetch succeeded", body = Outcome),
        (status = 502, description = "The fetch failed; what was good before still serves", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The fetch goes on", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn refresh(
    Served(api): Served<Arc<Api>>,
    Extension(actor): Extension<Actor>,
    Path(issuer): Path<IssuerPath>,
    _: NoBody,
) -> HandlerResult {
    actor.operators_only()?;
    let name = issuer.name()?;
    Ok(refreshed(api.parts.issuers.refresh(&name).await))
}

fn refreshed(refreshed: Refreshed) -> Answer {
    match refreshed {
        Refreshed::Unknown => unknown(),
        Refreshed::Good(issuer) => Answer::json(&Outcome {
            outcome: "good",
            issuer,
        }),
        Refreshed::NotFetched(issuer) => {
            let detail =
                "its keys are in files, which are read again by themselves (a JWK set) or with the configuration (PEM)";
            wrong(
                StatusCode::CONFLICT,
                "issuer-not-fetched",
                detail,
                "not_fetched",
                &issuer,
            )
        }
        // A gateway's answer: whom we asked is not us (RFC 9110 section 15.6.3).
        Refreshed::Failed(issuer) => {
            let detail = match &issuer.last_error {
                Some(error) => format!("the fetch failed: {error}"),
                None => "the fetch failed".to_owned(),
            };
            wrong(
                StatusCode::BAD_GATEWAY,
                "issuer-fetch-failed",
                &detail,
                "failed",
                &issuer,
            )
        }
        Refreshed::Unfinished(issuer) => {
            let detail = "the fetch goes on; ask for the issuer again in a while";
            let status = StatusCode::GATEWAY_TIMEOUT;
            wrong(status, "issuer-fetch-unfinished", detail, "unfinished", &issuer)
        }
    }
}

fn unknown() -> Answer {
    let detail = "the configuration in force names no such issuer";
    problem(StatusCode::NOT_FOUND, "unknown-issuer", detail)
}

/// A problem that has the issuer's health in it.
fn wrong(status: StatusCode, slug: &str, detail: &str, outcome: &str, issuer: &IssuerHealth) -> Answer {
    let health = serde_json::to_value(issuer).expect("names, numbers and texts are JSON");
    problem_with(status, slug, detail, &[("outcome", outcome.into()), ("issuer", health)])
}
