//! Which client certificates pass on a route, and which did before?

use crate::compare::Weakening;
use crate::compare::finding::list_text;
use crate::compare::side::SideRoute;
use crate::config::CertificateRequirement;

/// Calls `found` if a connection may meet the requirements of `now` and fail those of `before`.
pub(in crate::compare) fn compare(before: SideRoute<'_>, now: SideRoute<'_>, found: &mut dyn FnMut(Weakening)) {
    let (was, is) = (&before.route.client_certificates, &now.route.client_certificates);
    if !was.iter().all(|before| is.iter().any(|now| implies(now, before))) {
        found(before.weakening(now, "client_certificates", words(was), words(is)));
    }
}

/// Returns whether every certificate that meets `now` also meets `before`.
fn implies(now: &CertificateRequirement, before: &CertificateRequirement) -> bool {
    match (now, before) {
        (_, CertificateRequirement::Any) => true,
        (CertificateRequirement::Any, CertificateRequirement::OneOf { .. }) => false,
        (
            CertificateRequirement::OneOf { names, fingerprints },
            CertificateRequirement::OneOf {
                names: names_before,
                fingerprints: fingerprints_before,
            },
        ) => {
            names.iter().all(|name| names_before.contains(name))
                && fingerprints
                    .iter()
                    .all(|fingerprint| fingerprints_before.contains(fingerprint))
        }
    }
}

fn words(requirements: &[CertificateRequirement]) -> String {
    let words = |requirement: &CertificateRequirement| match requirement {
        CertificateRequirement::Any => "any".to_owned(),
        CertificateRequirement::OneOf { names, fingerprints } => {
            let fingerprints = fingerprints.iter().map(ToString::to_string);
            let all = names.iter().map(ToString::to_string).chain(fingerprints);
            format!("one of {}", list_text(all))
        }
    };
    if requirements.is_empty() {
        return "none needed".to_owned();
    }
    requirements.iter().map(words).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::certificate::CertificateName;
    use crate::model::certificate::Fingerprint;

    fn one_of(names: &[&str], ders: &[&str]) -> CertificateRequirement {
        CertificateRequirement::OneOf {
            names: names
                .iter()
                .map(|name| CertificateName::of_host(name).unwrap())
                .collect(),
            fingerprints: ders.iter().map(|der| Fingerprint::of(der.as_bytes())).collect(),
        }
    }

    #[test]
    fn fewer_certificates_imply_more() {
        let any = CertificateRequirement::Any;
        for (now, before, expected) in [
            (any.clone(), any.clone(), true),
            (one_of(&["a"], &[]), any.clone(), true),
            (any, one_of(&["a"], &[]), false),
            (one_of(&["a"], &[]), one_of(&["b", "a"], &[]), true),
            (one_of(&["a", "b"], &[]), one_of(&["a"], &[]), false),
            (one_of(&["a"], &[]), one_of(&["a"], &["x"]), true),
            (one_of(&["a"], &["x"]), one_of(&["a"], &[]), false),
            (one_of(&[], &["x"]), one_of(&["a"], &["x"]), true),
            (one_of(&[], &["x"]), one_of(&["a"], &["y"]), false),
        ] {
            assert_eq!(implies(&now, &before), expected, "{now:?} {before:?}");
        }
    }
}
