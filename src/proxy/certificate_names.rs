//! Which certificate does a name select on a listener?

use crate::model::certificate::CertificateName;

/// The names of each certificate of a listener, and the certificate for all other names.
#[derive(Debug, Default)]
pub struct CertificateNames {
    /// For each certificate, by its index.
    names: Vec<Vec<CertificateName>>,
    default: Option<usize>,
}

impl CertificateNames {
    pub fn new(names: Vec<Vec<CertificateName>>, default: Option<usize>) -> Self {
        Self { names, default }
    }

    /// Returns the index of the certificate for `name`, which is in lower case; `None` where the listener has none. An
    /// exact name goes before a wildcard, and both before the default. A client that sends no name gets the default.
    pub fn select(&self, name: Option<&str>) -> Option<usize> {
        let covering = |name: &str, wildcard: bool| {
            self.names.iter().position(|names| {
                let is_of_kind = |own: &&CertificateName| matches!(own, CertificateName::Wildcard(_)) == wildcard;
                names.iter().filter(is_of_kind).any(|own| own.covers(name))
            })
        };
        name.and_then(|name| covering(name, false).or_else(|| covering(name, true)))
            .or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_goes_before_a_wildcard_and_both_before_the_default() {
        let dns = |name: &str| CertificateName::Dns(name.to_owned());
        let names = vec![
            vec![CertificateName::Wildcard("example.com".to_owned())],
            vec![dns("api.example.com")],
            vec![dns("example.org")],
        ];
        for (default, otherwise) in [(None, None), (Some(2), Some(2))] {
            let names = CertificateNames::new(names.clone(), default);
            for (name, expected) in [
                (Some("api.example.com"), Some(1)),
                (Some("www.example.com"), Some(0)),
                (Some("example.org"), Some(2)),
                (Some("example.com"), otherwise),
                (Some("a.b.example.com"), otherwise),
                (None, otherwise),
            ] {
                assert_eq!(names.select(name), expected, "{name:?}");
            }
        }
    }
}
