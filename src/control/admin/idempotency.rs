//! How does a repeated request create only one record? `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header): the response is stored in the transaction
//! that created the record. It lacks the secret, which only the first response contains.

use crate::control::admin::resource::Resource;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::response::json_line;
use crate::control::admin::response::problem;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::model::api_key::CredentialDigest;
use crate::store::StoreError;
use crate::store::StoredResponse;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use utoipa::IntoParams;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::Required;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::path::ParameterBuilder;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::Type;

const HEADER: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const KEY_CHARS_MAX: usize = 255;

/// The idempotency key of a request, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency(Option<Key>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    /// The actor, the method, the path and the header: the same header from another actor is another key.
    key: String,
    /// SHA-256 of the body.
    request: String,
}

impl Idempotency {
    /// Reads the header. A request without the header creates a record each time.
    ///
    /// # Errors
    /// The header appears twice, or is anything but 1 to 255 visible ASCII characters.
    pub fn read(
        headers: &HeaderMap,
        actor: &str,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<Self, AdminResponse> {
        let mut values = headers.get_all(HEADER).iter();
        let (Some(key), more) = (values.next(), values.next()) else {
            return Ok(Self(None));
        };
        let text = key.to_str().unwrap_or_default();
        let is_visible = text.bytes().all(|byte| (0x21..=0x7E).contains(&byte));
        if more.is_some() || !is_visible || !(1..=KEY_CHARS_MAX).contains(&text.len()) {
            return Err(problem(
                StatusCode::BAD_REQUEST,
                "invalid-idempotency-key",
                "send one Idempotency-Key of 1 to 255 visible ASCII characters without spaces, such as a UUID",
            ));
        }
        Ok(Self(Some(Key {
            // Actor, method and path cannot contain a line end.
            key: format!("{actor}\n{method} {path}\n{text}"),
            request: CredentialDigest::sha256_of(body).to_hex(),
        })))
    }

    /// Returns a function that makes the response to store with a new record, without the record's
    /// secret. The function returns `None` for a request without an idempotency key.
    pub(super) fn stored_response<R: Resource>(
        &self,
        registry: &Registry,
    ) -> impl Fn(&R) -> Option<StoredResponse> + Send + Sync {
        move |made| {
            let Key { key, request } = self.0.clone()?;
            Some(StoredResponse {
                key,
                request,
                status: StatusCode::CREATED.as_u16(),
                body: String::from_utf8(json_line(&made.view(registry))).expect("JSON is UTF-8"),
                at: registry.now(),
            })
        }
    }

    /// Runs `make` and returns the response that `respond` makes from its result; for a repeated
    /// request, returns the stored response instead.
    ///
    /// # Errors
    /// Those of `make`, or the key was used for another request.
    pub async fn run_once<T>(
        &self,
        registry: &Registry,
        make: impl Future<Output = Result<T, RegistryError>> + Send,
        respond: impl FnOnce(T) -> AdminResponse + Send,
    ) -> HandlerResult {
        if let Some(replayed) = self.replay(registry).await? {
            return Ok(replayed);
        }
        let error = match make.await {
            Ok(made) => return Ok(respond(made)),
            Err(error) => error,
        };
        // A concurrent request with the same key may have been first.
        let was_second = matches!(
            error,
            RegistryError::Store(StoreError::Conflict(_)) | RegistryError::Exists(_)
        );
        if was_second && let Some(replayed) = self.replay(registry).await? {
            return Ok(replayed);
        }
        Err(error.into())
    }

    /// Returns the stored response of an earlier request with the same key, if any.
    async fn replay(&self, registry: &Registry) -> Result<Option<AdminResponse>, RegistryError> {
        let Some(key) = &self.0 else {
            return Ok(None);
        };
        let Some(stored) = registry.stored_response(&key.key).await? else {
            return Ok(None);
        };
        if stored.request != key.request {
            return Err(RegistryError::IdempotencyKeyReused);
        }
        let response = AdminResponse {
            status: StatusCode::from_u16(stored.status).unwrap_or(StatusCode::CREATED),
            content_type: "application/json",
            headers: Vec::new(),
            body: stored.body.into_bytes(),
        };
        Ok(Some(response.with(REPLAYED, HeaderValue::from_static("true"))))
    }
}

/// The header in the API description.
impl IntoParams for Idempotency {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(KEY_CHARS_MAX))
            .pattern(Some("^[!-~]+$"));
        let header = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .description(Some(
                "Makes it once, however often it is sent: 1 to 255 visible ASCII characters",
            ))
            .required(Required::False)
            .schema(Some(schema));
        vec![header.build()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str], actor: &str, path: &str, body: &str) -> Result<Option<Key>, StatusCode> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Idempotency::read(&headers, actor, &Method::POST, path, body.as_bytes())
            .map(|read| read.0)
            .map_err(|response| response.status)
    }

    #[test]
    fn a_key_is_one_header_of_visible_characters() {
        assert_eq!(read(&[], "a", "/x", ""), Ok(None));
        let long = "k".repeat(255);
        for good in ["1", "3f1c-\u{7e}", &long] {
            assert!(read(&[good], "a", "/x", "").unwrap().is_some(), "{good}");
        }
        for bad in [&[""][..], &["a b"], &["a", "a"], &["a\tb"], &["é"], &[&"k".repeat(256)]] {
            assert_eq!(read(bad, "a", "/x", ""), Err(StatusCode::BAD_REQUEST), "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_its_callers_and_its_paths_own() {
        let one = read(&["k"], "a", "/x", "{}").unwrap().unwrap();
        assert_eq!(read(&["k"], "a", "/x", "{}").unwrap().unwrap(), one);
        for other in [
            read(&["k"], "b", "/x", "{}"),
            read(&["k"], "a", "/y", "{}"),
            read(&["l"], "a", "/x", "{}"),
        ] {
            assert_ne!(other.unwrap().unwrap().key, one.key);
        }
        assert_ne!(read(&["k"], "a", "/x", "{ }").unwrap().unwrap().request, one.request);
    }
}
