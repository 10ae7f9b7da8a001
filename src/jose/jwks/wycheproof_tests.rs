//! Which signatures verify with the keys of a set? Those that Project Wycheproof says.

use super::*;

/// Checks each vector, and returns the number of signatures that verified.
#[track_caller]
fn wycheproof(
    pem: &str,
    algorithm: Algorithm,
    tests: impl Iterator<Item = (usize, Vec<u8>, Vec<u8>, bool, bool)>,
) -> usize {
    let set = Jwks::from_pems(&[pem.into()]).unwrap();
    let key = set.find(None, algorithm).unwrap().first();
    let mut valid = 0;
    for (id, message, signature, may, must) in tests {
        let verified = key.verify(algorithm, &message, &signature).is_ok();
        assert!(may || !verified, "{algorithm} {id} must not verify");
        assert!(verified || !must, "{algorithm} {id} must verify");
        valid += usize::from(verified);
    }
    valid
}

macro_rules! run_wycheproof {
    ($module:ident, $name:ident, $algorithm:expr) => {{
        use wycheproof::TestResult;
        let set = wycheproof::$module::TestSet::load(wycheproof::$module::TestName::$name).unwrap();
        let mut valid = 0;
        for group in &set.test_groups {
            let tests = group.tests.iter().map(|test| {
                let must = test.result == TestResult::Valid;
                let may = test.result != TestResult::Invalid;
                (test.tc_id, test.msg.to_vec(), test.sig.to_vec(), may, must)
            });
            valid += wycheproof(&group.pem, $algorithm, tests);
        }
        assert!(valid > 0);
    }};
}

#[test]
fn s026_wycheproof_ecdsa() {
    run_wycheproof!(ecdsa, EcdsaSecp256r1Sha256P1363, Algorithm::Es256);
    run_wycheproof!(ecdsa, EcdsaSecp384r1Sha384P1363, Algorithm::Es384);
}

#[test]
fn s026_wycheproof_eddsa() {
    run_wycheproof!(eddsa, Ed25519, Algorithm::EdDsa);
}

#[test]
fn s026_wycheproof_rsa() {
    run_wycheproof!(rsa_pkcs1_verify, Rsa2048Sha256, Algorithm::Rs256);
    run_wycheproof!(rsa_pkcs1_verify, Rsa2048Sha384, Algorithm::Rs384);
    run_wycheproof!(rsa_pkcs1_verify, Rsa2048Sha512, Algorithm::Rs512);
    run_wycheproof!(rsa_pkcs1_verify, Rsa4096Sha256, Algorithm::Rs256);
    run_wycheproof!(rsa_pss_verify, RsaPss2048Sha256Mgf1SaltLen32, Algorithm::Ps256);
    run_wycheproof!(rsa_pss_verify, RsaPss2048Sha384Mgf1SaltLen48, Algorithm::Ps384);
    run_wycheproof!(rsa_pss_verify, RsaPss4096Sha512Mgf1SaltLen64, Algorithm::Ps512);
}
