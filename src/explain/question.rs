//! Which request is explained, and which errors prevent an explanation?

use crate::config::ConfigErrors;
use crate::model::certificate::ClientCertificate;
use crate::model::clock::Timestamp;
use crate::model::secret::Secret;
use crate::runtime::config_files::LoadError;
use std::net::IpAddr;
use std::path::PathBuf;

/// The request to explain, and its configuration.
pub struct Question {
    pub config: PathBuf,
    pub subject: QuestionSubject,
    pub token: Option<Secret<String>>,
    pub key: Option<Secret<String>>,
    /// Further header lines, `Name: value`.
    pub headers: Vec<String>,
    /// The certificate that the client shows. It is taken as one that the listener accepts.
    pub client_certificate: Option<ClientCertificate>,
    /// The IP address of the connection's peer.
    pub from: IpAddr,
    pub at: Timestamp,
    /// Issuer names and files: the set in the file replaces the issuer's own keys.
    pub jwks: Vec<(String, PathBuf)>,
}

/// The two ways to specify a request.
pub enum QuestionSubject {
    /// A request that this route matches.
    Route(String),
    /// A method and a URL: `GET https://api.example.com/v1/orders/7`.
    Request(String),
}

/// The reason why a request cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    #[error("{0}")]
    Load(#[from] LoadError),
    #[error("no route is named `{name}`; there are {known}")]
    NoSuchRoute { name: String, known: String },
    #[error("{0}")]
    Request(String),
    #[error("--jwks {name}: {problem}")]
    Jwks { name: String, problem: String },
}
