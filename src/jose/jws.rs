//! Is this text a signed token? A strict parser of the compact serialization (RFC 7515 section 7.1). Trust no content
//! before [`Jws::verify`].

use crate::jose::base64url;
use crate::jose::json::Json;
use crate::jose::json::JsonError;
use crate::jose::json::Members;
use crate::jose::jwk::BadSignature;
use crate::jose::jwk::VerifyingKey;
use crate::model::algorithm::Algorithm;

/// A compact JWS, decoded but not verified.
pub struct Jws<'a> {
    signing_input: &'a str,
    header: Header,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// The header members that Keygate uses. `jwk`, `jku`, `x5u` and `x5c` are ignored: a token must not supply its own key
/// (S017).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    pub typ: Option<String>,
}

/// Why a text is not a verifiable compact JWS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    #[error("longer than {} bytes", Jws::BYTES_MAX)]
    TooLong,
    #[error("not three parts with dots between")]
    Parts,
    #[error("five parts: an encrypted token (JWE)")]
    Encrypted,
    #[error("its {0} is not base64url without padding")]
    Base64(&'static str),
    #[error("its header cannot be read")]
    Header(#[source] JsonError),
    #[error("header member `{0}` has the wrong type")]
    HeaderMember(&'static str),
    #[error("its `alg` is missing or none of the signature algorithms we accept")]
    Algorithm,
    #[error("it asks for extensions (`crit` or `b64`)")]
    Critical,
    #[error("a token inside a token (`cty`)")]
    Nested,
}

impl<'a> Jws<'a> {
    /// The maximum length of a token, checked before any decoding (S022). `requests.credential_bytes` sets a limit for
    /// clients, by default a lower one.
    pub const BYTES_MAX: usize = 64 * 1024;

    /// Splits and decodes `text`: three parts in strict base64url, the first of which is a JSON object without
    /// duplicate members.
    ///
    /// # Errors
    /// The first mistake. Length and dots are checked before memory is allocated.
    pub fn parse(text: &'a str) -> Result<Self, JwsError> {
        if text.len() > Self::BYTES_MAX {
            return Err(JwsError::TooLong);
        }
        let (signing_input, header, payload, signature) = split(text)?;
        let header = base64url::decode(header).map_err(|_| JwsError::Base64("header"))?;
        let header = Header::parse(&Members::parse(&header).map_err(JwsError::Header)?)?;
        Ok(Self {
            signing_input,
            header,
            payload: base64url::decode(payload).map_err(|_| JwsError::Base64("payload"))?,
            signature: base64url::decode(signature).map_err(|_| JwsError::Base64("signature"))?,
        })
    }

    /// Returns the header, which is unverified.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the payload, which is unverified.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Verifies the signature with `key` and the header's algorithm (RFC 7515 section 5.2).
    ///
    /// # Errors
    /// The signature is invalid, or the algorithm does not fit the key.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), BadSignature> {
        key.verify(self.header.algorithm, self.signing_input.as_bytes(), &self.signature)
    }

    /// Returns the first of `keys` that verifies the signature. The caller bounds the number of keys.
    ///
    /// # Errors
    /// None of them does.
    pub fn signer<'k>(
        &self,
        mut keys: impl Iterator<Item = &'k VerifyingKey>,
    ) -> Result<&'k VerifyingKey, BadSignature> {
        keys.find(|key| self.verify(key).is_ok()).ok_or(BadSignature)
    }
}

/// Returns the signing input, the header, the payload and the signature, all in base64url.
///
/// # Errors
/// `text` has five parts, as a JWE, or another number than three.
fn split(text: &str) -> Result<(&str, &str, &str, &str), JwsError> {
    // At most six pieces, so that a text of dots costs no more than a JWE.
    let mut pieces = text.splitn(6, '.');
    let found: [Option<&str>; 6] = std::array::from_fn(|_| pieces.next());
    match found {
        [Some(header), Some(payload), Some(signature), None, ..] => {
            let signing_input = &text[..header.len() + 1 + payload.len()];
            Ok((signing_input, header, payload, signature))
        }
        [.., Some(_), None] => Err(JwsError::Encrypted),
        _ => Err(JwsError::Parts),
    }
}

impl Header {
    fn parse(members: &Members<'_>) -> Result<Self, JwsError> {
        // Keygate supports no extension, and RFC 7515 section 4.1.11 forbids an unsupported extension and an empty
        // list. `b64` without `crit` would make the payload ambiguous (RFC 7797 section 6).
        if members.get("crit").is_some() || members.get("b64").is_some() {
            return Err(JwsError::Critical);
        }
        let algorithm = match members.get("alg") {
            Some(Json::Text(name)) => name.parse().map_err(|_| JwsError::Algorithm)?,
            _ => return Err(JwsError::Algorithm),
        };
        if optional_text(members, "cty")?.is_some_and(|cty| cty.eq_ignore_ascii_case("JWT")) {
            return Err(JwsError::Nested);
        }
        Ok(Self {
            algorithm,
            // An empty id names no key.
            kid: optional_text(members, "kid")?
                .filter(|kid| !kid.is_empty())
                .map(str::to_owned),
            typ: optional_text(members, "typ")?.map(str::to_owned),
        })
    }
}

/// Returns a text of the header; `None` where the member is absent or `null`, as some libraries write it.
fn optional_text<'a>(members: &'a Members<'_>, name: &'static str) -> Result<Option<&'a str>, JwsError> {
    match members.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(_) => Err(JwsError::HeaderMember(name)),
    }
}

#[cfg(test)]
mod tests;
