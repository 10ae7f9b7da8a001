//! The admin API under `/admin/v1/`: who may ask, for what, and what is answered.

pub mod access;
pub mod answer;
pub mod issuers;

use crate::control::admin::access::Access;
use crate::control::admin::answer::Answer;
use crate::control::admin::answer::problem;
use crate::control::admin::issuers::Issuers;
use crate::model::clock::Now;
use crate::model::names::Name;
use crate::model::secret::Secret;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Where everything in here begins.
pub const PREFIX: &str = "/admin/v1/";

/// One request to the API; bodies are not read, because nothing takes one yet.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a Method,
    /// Without the query, which means nothing in here.
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    pub peer: IpAddr,
    pub now: Now,
}

/// The API of one gate.
pub struct AdminApi {
    access: Access,
    issuers: Arc<dyn Issuers>,
}

/// What a path is the name of.
enum Resource<'a> {
    Issuers,
    Issuer(&'a str),
    IssuerRefresh(&'a str),
}

impl AdminApi {
    /// Without `token` every request is refused, with the key to set.
    pub fn new(token: Option<Secret<Vec<u8>>>, issuers: Arc<dyn Issuers>) -> Self {
        Self {
            access: Access::new(token),
            issuers,
        }
    }

    /// From now on this is the token, and the one before is not.
    pub fn replace_token(&self, token: Option<Secret<Vec<u8>>>) {
        self.access.replace(token);
    }

    /// Answers one request. Who may not ask learns nothing, not even which paths there are.
    pub async fn answer(&self, asked: Asked<'_>) -> Answer {
        if let Err(refusal) = self.access.check(asked.headers, asked.peer, asked.now.tick) {
            return refusal.answer();
        }
        let segments: Vec<&str> = asked.path.strip_prefix(PREFIX).unwrap_or_default().split('/').collect();
        let resource = match segments.as_slice() {
            ["issuers"] => Resource::Issuers,
            ["issuers", name] => Resource::Issuer(name),
            ["issuers", name, "refresh"] => Resource::IssuerRefresh(name),
            _ => {
                return problem(
                    StatusCode::NOT_FOUND,
                    "not-found",
                    "there is no such path in the admin API",
                );
            }
        };
        let allowed = match resource {
            Resource::Issuers | Resource::Issuer(_) => Method::GET,
            Resource::IssuerRefresh(_) => Method::POST,
        };
        if *asked.method != allowed {
            let detail = format!("this path takes {allowed}");
            let allow = HeaderValue::from_str(allowed.as_str()).expect("a method is a token");
            return problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", &detail).with(header::ALLOW, allow);
        }
        match resource {
            Resource::Issuers => issuers::list(&*self.issuers, asked.now.wall),
            Resource::Issuer(name) => match name.parse() {
                Ok(name) => issuers::show(&*self.issuers, &name),
                Err(_) => issuers::unknown(),
            },
            Resource::IssuerRefresh(name) => match name.parse::<Name>() {
                Ok(name) => issuers::refresh(&*self.issuers, &name).await,
                Err(_) => issuers::unknown(),
            },
        }
    }
}

impl fmt::Debug for AdminApi {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AdminApi").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
