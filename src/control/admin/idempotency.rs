//! How does a request that makes something make it once, however often it is sent? `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header): the answer is kept in the transaction that made the thing, without its
//! secret, which was in the first answer alone.

use crate::control::admin::answer::Answer;
use crate::control::admin::answer::json_line;
use crate::control::admin::answer::problem;
use crate::control::registry::Refused;
use crate::control::registry::Registry;
use crate::model::api_key::KeyDigest;
use crate::model::clock::Timestamp;
use crate::store::IdempotentAnswer;
use crate::store::StoreError;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use serde::Serialize;

const HEADER: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const KEY_CHARS_MAX: usize = 255;

/// What is kept of a request that named an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remember {
    /// Who asked, for what, and the key: the same key of somebody else is another.
    key: String,
    /// SHA-256 of the body.
    request: String,
}

impl Remember {
    /// `None` without the header.
    ///
    /// # Errors
    /// The header twice, or anything but 1 to 255 visible ASCII characters.
    pub fn read(
        headers: &HeaderMap,
        actor: &str,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<Option<Self>, Answer> {
        let mut values = headers.get_all(HEADER).iter();
        let (Some(key), more) = (values.next(), values.next()) else {
            return Ok(None);
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
        Ok(Some(Self {
            // None of the first three can have a line end in it.
            key: format!("{actor}\n{method} {path}\n{text}"),
            request: KeyDigest::sha256_of(body).to_hex(),
        }))
    }

    /// What is kept: the answer that is given without a secret.
    pub fn answer(&self, view: &impl Serialize, at: Timestamp) -> IdempotentAnswer {
        IdempotentAnswer {
            key: self.key.clone(),
            request: self.request.clone(),
            status: StatusCode::CREATED.as_u16(),
            body: String::from_utf8(json_line(view)).expect("JSON is UTF-8"),
            at,
        }
    }
}

/// Makes something unless the same request made it before; then the answer is the one of that time without its secret.
///
/// # Errors
/// Those of `make`; the key was used for another request.
pub async fn once<T>(
    registry: &Registry,
    remember: Option<&Remember>,
    make: impl Future<Output = Result<T, Refused>> + Send,
    told: impl FnOnce(T) -> Answer + Send,
) -> Result<Answer, Answer> {
    if let Some(remember) = remember
        && let Some(replayed) = replay(registry, remember).await?
    {
        return Ok(replayed);
    }
    match make.await {
        Ok(made) => Ok(told(made)),
        Err(refused) => {
            // Two of the same at the same time: the other one was first.
            let lost = matches!(refused, Refused::Store(StoreError::Conflict(_)) | Refused::Exists(_));
            if let (true, Some(remember)) = (lost, remember)
                && let Some(replayed) = replay(registry, remember).await?
            {
                return Ok(replayed);
            }
            Err(refused.into())
        }
    }
}

async fn replay(registry: &Registry, remember: &Remember) -> Result<Option<Answer>, Refused> {
    let Some(kept) = registry.idempotent_answer(&remember.key).await? else {
        return Ok(None);
    };
    if kept.request != remember.request {
        return Err(Refused::IdempotencyKeyReused);
    }
    let answer = Answer {
        status: StatusCode::from_u16(kept.status).unwrap_or(StatusCode::CREATED),
        content_type: "application/json",
        headers: Vec::new(),
        body: kept.body.into_bytes(),
    };
    Ok(Some(answer.with(REPLAYED, HeaderValue::from_static("true"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str], actor: &str, path: &str, body: &str) -> Result<Option<Remember>, StatusCode> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Remember::read(&headers, actor, &Method::POST, path, body.as_bytes()).map_err(|answer| answer.status)
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
