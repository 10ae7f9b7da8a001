//! Which certificates do endpoints with TLS show?

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::KeyPair;
use std::path::Path;
use std::path::PathBuf;

/// The name of the endpoints.
pub const NAME: &str = "api.internal";

/// The files of an authority and of two certificates that it signed.
pub struct Certificates {
    pub authority: PathBuf,
    /// For [`NAME`].
    pub right: PathBuf,
    /// For another name.
    pub wrong: PathBuf,
}

impl Certificates {
    pub fn make(folder: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for self-signed if its issuer has the same name.
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let signed = |name: &str, file: &str| {
            let params = CertificateParams::new([name.to_owned()]).expect("a name");
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            let path = folder.join(file);
            std::fs::write(&path, certificate.pem() + &key.serialize_pem()).expect("a file");
            path
        };
        let authority = folder.join("authority.pem");
        std::fs::write(&authority, issuer.pem()).expect("a file");
        Self {
            authority,
            right: signed(NAME, "right.pem"),
            wrong: signed("other.internal", "wrong.pem"),
        }
    }
}
