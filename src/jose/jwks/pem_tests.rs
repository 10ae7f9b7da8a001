//! Which PEM files are a set?

use super::*;
use crate::jose::jwks::tests::ED25519_PEM;
use crate::jose::jwks::tests::P256_PEM;
use crate::jose::jwks::tests::P384_PEM;
use crate::jose::jwks::tests::RSA_PEM;
use crate::jose::jwks::tests::thumbprint;

#[test]
fn s055_a_private_key_a_chain_and_two_keys_have_their_own_errors() {
    let private = include_str!("../../../tests/data/jose/p256.private.pem");
    let sec1 = include_str!("../../../tests/data/jose/p256.sec1.private.pem");
    let certificate = include_str!("../../../tests/data/jose/p256.certificate.pem");
    let check = |pem: String, expected: &str| {
        let error = Jwks::from_pems(&[pem.clone().into()]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}: {pem}");
    };
    check(private.to_owned(), ": a private key");
    check(sec1.to_owned(), ": a private key");
    // A private key is reported at any position in the file.
    check(format!("{P256_PEM}{private}"), ": a private key");
    check(format!("{private}{P256_PEM}"), ": a private key");
    check(format!("{certificate}{private}"), ": a private key");
    check(certificate.to_owned(), ": a certificate,");
    check(format!("{P256_PEM}{certificate}"), ": a certificate,");
    check(format!("{certificate}{certificate}"), ": a chain of certificates");
    check(format!("{P256_PEM}{RSA_PEM}"), ": more than one PEM block");
    check(format!("{P256_PEM}{P256_PEM}"), ": more than one PEM block");
}

#[test]
fn as_many_pem_files_are_read_as_a_set_has_keys() {
    let pems = |count: usize| vec![P256_PEM.as_bytes().to_vec(); count];
    assert_eq!(
        Jwks::from_pems(&pems(Jwks::KEYS_MAX)).map(|set| set.len()),
        Ok(1),
        "one key, once"
    );
    assert_eq!(
        Jwks::from_pems(&pems(Jwks::KEYS_MAX + 1)).map(|set| set.len()),
        Err(JwksError::TooManyKeys)
    );
}

#[test]
fn a_pem_file_holds_one_public_key() {
    for good in [RSA_PEM, P256_PEM, P384_PEM, ED25519_PEM] {
        assert!(Jwks::from_pems(&[good.into()]).is_ok());
        let beside = format!("Bag Attributes\r\n{}\n", good.replace('\n', "\r\n"));
        assert!(Jwks::from_pems(&[beside.into()]).is_ok());
    }
    let pkcs1 = include_str!("../../../tests/data/jose/rsa2048.pkcs1.public.pem");
    assert_eq!(thumbprint(pkcs1), thumbprint(RSA_PEM));
    let check = |pem: &str, start: &str| {
        let error = Jwks::from_pems(&[P256_PEM.into(), pem.into()]).unwrap_err();
        let JwksError::Pem { index: 1, reason } = error else {
            panic!("{error:?}")
        };
        assert!(reason.starts_with(start), "{reason}");
    };
    check("", "no PEM block");
    check("hello", "no PEM block");
    check(&P256_PEM.replace('M', "!"), "not PEM");
    check(&[P256_PEM, P384_PEM].concat(), "more than one PEM block");
    check(
        &[P256_PEM, "-----BEGIN PUBLIC KEY-----\n"].concat(),
        "more than one PEM block",
    );
    check(
        include_str!("../../../tests/data/jose/p256.certificate.pem"),
        "a certificate",
    );
    check(
        include_str!("../../../tests/data/jose/p256.private.pem"),
        "a private key",
    );
    check(
        include_str!("../../../tests/data/jose/p256.sec1.private.pem"),
        "a private key",
    );
    check(
        include_str!("../../../tests/data/jose/p521.public.pem"),
        "a key other than",
    );
    check(&pem_file::write("PUBLIC KEY", &[4; 65]), "a key other than");
    check(&pem_file::write("PUBLIC KEY", &[4; 32]), "a key other than");
    check(&pem_file::write("CERTIFICATE REQUEST", &[4; 32]), "not a `PUBLIC KEY`");
    let der = pem::parse(P256_PEM).unwrap().into_contents();
    check(&pem_file::write("PUBLIC KEY", &der[..der.len() - 1]), "a coordinate");
    check(
        &pem_file::write("PUBLIC KEY", &[&der[..], &[0]].concat()),
        "a coordinate",
    );
    assert_eq!(
        Jwks::from_pems(&[]).map(drop),
        Err(JwksError::NoUsableKey { skipped: Vec::new() })
    );
}
