//! How is the admin API described to programs? In OpenAPI 3.1, generated from the handlers; the parts that all
//! operations share are defined here once.

use crate::control::admin::access::Right;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::state::Api;
use axum::extract::State;
use http::Method;
use http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa::openapi::Components;
use utoipa::openapi::Content;
use utoipa::openapi::InfoBuilder;
use utoipa::openapi::LicenseBuilder;
use utoipa::openapi::OpenApi;
use utoipa::openapi::OpenApiBuilder;
use utoipa::openapi::Paths;
use utoipa::openapi::Ref;
use utoipa::openapi::RefOr;
use utoipa::openapi::Response;
use utoipa::openapi::ResponseBuilder;
use utoipa::openapi::ServerBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::Http;
use utoipa::openapi::security::HttpAuthScheme;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::security::SecurityScheme;
use utoipa::openapi::tag::TagBuilder;

/// What is wrong (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(super) struct Problem {
    /// `urn:keygate:problem:` and a word that stays, for programs to branch on.
    #[serde(rename = "type")]
    #[schema(example = "urn:keygate:problem:invalid-request")]
    kind: String,
    /// The status in words.
    #[schema(example = "Unprocessable Entity")]
    title: String,
    /// The status of the answer.
    #[schema(example = 422)]
    status: u16,
    /// What is wrong, and what can be done about it.
    #[schema(example = "/expires: an expiry is at most 730 days from now")]
    detail: String,
    /// Everything that is wrong with a request, each with its place.
    #[schema(required = false)]
    errors: Vec<ProblemError>,
    /// Of `credential-not-in-plan`: what the plan gives.
    #[schema(required = false, example = json!(["api_key"]))]
    allowed: Vec<String>,
}

/// One thing that is wrong with a request.
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemError {
    /// Where, in the body (RFC 6901).
    #[schema(required = false, example = "/expires")]
    pointer: String,
    /// Where, in the query.
    #[schema(required = false, example = "limit")]
    parameter: String,
    #[schema(example = "an expiry is at most 730 days from now")]
    detail: String,
}

const PROBLEM: &str = "application/problem+json";

/// The security scheme of all operations.
const BEARER: &str = "bearer";

/// Responses that many operations share: name, status, and condition.
const SHARED: [(&str, &str, &str); 12] = [
    (
        "BadQuery",
        "400",
        "A parameter behind the `?` is unknown, twice, or not what it should be (`invalid-query`); or a header is (`invalid-idempotency-key`, `invalid-if-match`).",
    ),
    (
        "BadRequest",
        "400",
        "The body is not JSON (`malformed-json`), or a header is not what it should be (`invalid-idempotency-key`, `invalid-if-match`).",
    ),
    (
        "Unauthorized",
        "401",
        "No credential (`credential-missing`), or one that is not good: wrong, expired, revoked, of a client that is disabled (`invalid-token`).",
    ),
    (
        "Forbidden",
        "403",
        "The token lacks the scope (`insufficient-scope`), or only operators may do this (`operators-only`), or not in this organization (`other-organization`).",
    ),
    (
        "NotFound",
        "404",
        "There is no such thing, or it belongs to another organization (`unknown-…`); or the gate has no `store` (`no-store`).",
    ),
    (
        "Conflict",
        "409",
        "What is there does not allow it: the problem's type says why (`subscription-pending`, `payment-due`, `key-slots-full`, `already-revoked`, …). An organization, a subscription or a plan that the body names, or needs, is not there (`unresolved-reference`), or the plan does not give what the body asks for (`beyond-plan`); `errors` has the place.",
    ),
    (
        "PreconditionFailed",
        "412",
        "It was changed since the revision in `If-Match` (`precondition-failed`).",
    ),
    (
        "TooLarge",
        "413",
        "The body has more than 65536 bytes (`body-too-large`).",
    ),
    (
        "UnsupportedMediaType",
        "415",
        "The body is not `application/json`, or for PATCH `application/merge-patch+json` (`unsupported-media-type`).",
    ),
    (
        "Invalid",
        "422",
        "What is asked for can never be; `errors` has each mistake with its place (`invalid-request`), or the Idempotency-Key was used for another request (`idempotency-key-reused`).",
    ),
    (
        "TooManyFailures",
        "429",
        "Too many wrong tokens came from this address (`too-many-failures`); `Retry-After` says when to ask again.",
    ),
    ("Unavailable", "503", "The store did not answer (`store-unavailable`)."),
];

/// Returns the document without operations.
pub(super) fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Keygate admin API")
        .version("1")
        .description(Some(DESCRIPTION))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ));
    let tags = TAGS
        .iter()
        .map(|(name, description)| TagBuilder::new().name(*name).description(Some(*description)).build());
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([ServerBuilder::new()
            .url("/")
            .description(Some("The gate's admin listener (`admin.address`)"))
            .build()]))
        .tags(Some(tags))
        .build()
}

const DESCRIPTION: &str = "\
Makes and ends what the gate lets in: organizations, their subscriptions under plans, API keys and clients.

A request carries `Authorization: Bearer` with `admin.token` of the configuration, or with an access token of the gate's \
own token endpoint. Reading takes the scope `admin:read`, everything else `admin:write`; neither holds the other. Clients \
of the organization `operators` see and change everything, others what belongs to their own organization: everything \
else is not there for them (404). The socket beside the store needs no token.

A change is in force on the gate before it is answered. A revocation is in force also while the store cannot be written: it \
is then answered with 202 and `durable`, and the store gets it as soon as it can. Secrets (keys, client secrets, private keys) are in the answer \
that made them and nowhere else. A request with `Idempotency-Key` makes its thing once: sent again, it is answered with \
the same thing, without the secret, and `Idempotent-Replayed: true`. Answers that show one thing have an `ETag`: a \
change with `If-Match` is made only if nobody was faster, and with `If-None-Match` an unchanged thing is answered with 304.

Lists have at most `limit` items (1 to 200, 50 by default), sorted by id; `next` is the `after` of the next page, and \
`null` on the last. Every refusal is a problem (RFC 9457) whose `type` stays.";

const TAGS: [(&str, &str); 10] = [
    ("organizations", "Who holds subscriptions."),
    ("plans", "What subscriptions give, from the configuration."),
    ("subscriptions", "An organization's right to use routes under a plan."),
    ("keys", "API keys."),
    ("clients", "OAuth clients, their secrets and keys."),
    ("signing-keys", "What access tokens are signed with."),
    ("audit", "Who changed what."),
    (
        "issuers",
        "The authorization servers whose tokens the gate trusts, and how their keys are.",
    ),
    ("upstreams", "Where requests go, and how the endpoints are."),
    ("gate", "The gate itself."),
];

/// Adds to each operation the parts that follow from its method and path: the required scope, and the shared refusals.
pub(super) fn complete(mut description: OpenApi) -> OpenApi {
    let components = description.components.get_or_insert_with(Components::default);
    let scheme = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "`admin.token` of the configuration, or an access token of the gate's own token endpoint with the scope \
             that the operation names.",
        ))
        .build();
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    let mut schemas = Vec::new();
    <Problem as ToSchema>::schemas(&mut schemas);
    schemas.push(("Problem".to_owned(), <Problem as utoipa::PartialSchema>::schema()));
    components.schemas.extend(schemas);
    for (name, _, text) in SHARED {
        components
            .responses
            .insert(name.to_owned(), problem_response(text).into());
    }
    for_each_operation(&mut description.paths, |path, method, operation| {
        add_shared(path, &method, operation)
    });
    description
}

fn for_each_operation(paths: &mut Paths, mut visit: impl FnMut(&str, Method, &mut Operation)) {
    for (path, item) in &mut paths.paths {
        let PathItem {
            get,
            post,
            patch,
            delete,
            ..
        } = item;
        let operations = [
            (Method::GET, get),
            (Method::POST, post),
            (Method::PATCH, patch),
            (Method::DELETE, delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                visit(path, method, operation);
            }
        }
    }
}

fn problem_response(description: &str) -> Response {
    let schema = Ref::from_schema_name("Problem");
    ResponseBuilder::new()
        .description(description)
        .content(PROBLEM, Content::new(Some(schema)))
        .build()
}

fn add_shared(path: &str, method: &Method, operation: &mut Operation) {
    let scope = Right::of(method, path).scope();
    operation.security = Some(if path == PATH {
        Vec::new()
    } else {
        vec![SecurityRequirement::new(BEARER, [scope])]
    });
    let changes = *method != Method::GET;
    let takes_body = operation.request_body.is_some();
    let about_one = path.contains('{');
    let in_query = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
        RefOr::Ref(_) => false,
    };
    let has_query = operation.parameters.iter().flatten().any(in_query);
    for (name, status, _) in SHARED {
        let applies = match name {
            "Unauthorized" | "Forbidden" | "TooManyFailures" | "Unavailable" => path != PATH,
            "BadQuery" => has_query && !takes_body,
            "BadRequest" => takes_body || (changes && !has_query),
            "NotFound" => about_one || has_query || changes,
            "Conflict" | "TooLarge" | "UnsupportedMediaType" | "Invalid" => changes,
            "PreconditionFailed" => changes && about_one,
            _ => true,
        };
        if applies {
            operation
                .responses
                .responses
                .entry(status.to_owned())
                .or_insert_with(|| Ref::from_response_name(name).into());
        }
    }
}

/// The path of the description, which is the same for every gate, so it needs no token.
pub(super) const PATH: &str = "/admin/v1/openapi.json";

/// This description
///
/// The only operation without a token.
#[utoipa::path(get, path = "/admin/v1/openapi.json", tag = "gate", operation_id = "describe",
    responses((status = 200, description = "OpenAPI 3.1", body = Object),
        (status = 421, description = "The listener does not answer to this `Host` (`admin.host_names`).", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(State(api): State<Arc<Api>>) -> AdminResponse {
    AdminResponse {
        status: StatusCode::OK,
        content_type: "application/json",
        headers: Vec::new(),
        body: api.description.clone(),
    }
}
