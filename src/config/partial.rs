//! Which parts of a configuration may a command use where this process cannot read all of it? The command line runs without
//! the gate's environment, and often without the right to read its secrets.

use crate::config::Config;
use crate::config::ConfigError;
use crate::config::ConfigErrors;
use std::path::PathBuf;

/// A configuration without the parts that this process cannot read.
#[derive(Debug)]
pub struct PartialConfig {
    config: Config,
    /// The mistakes about the missing parts.
    missing: Vec<ConfigError>,
    /// The files of the configuration, in the order in which mistakes are listed.
    files: Vec<PathBuf>,
}

impl PartialConfig {
    pub(in crate::config) const fn new(config: Config, missing: Vec<ConfigError>, files: Vec<PathBuf>) -> Self {
        Self { config, missing, files }
    }

    /// Returns the configuration for a caller that uses the parts at `keys` alone: sections such as `store`, or keys such
    /// as `token_endpoint.issuer`.
    ///
    /// # Errors
    /// The mistakes about missing parts at, in or around `keys`.
    pub fn resolved(&self, keys: &[&str]) -> Result<&Config, ConfigErrors> {
        let needed = |error: &&ConfigError| keys.iter().any(|key| overlap(key, &error.path));
        let missing = self.missing.iter().filter(needed).cloned().collect();
        ConfigErrors::or_ok(missing, &self.files).map(|()| &self.config)
    }

    /// Returns the configuration and the mistakes about its missing parts, for a caller that reports these.
    pub fn into_parts(self) -> (Config, Vec<ConfigError>) {
        (self.config, self.missing)
    }
}

/// Returns whether one of two key paths is the other, or lies in it.
fn overlap(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() {
        (one, other)
    } else {
        (other, one)
    };
    long.strip_prefix(short)
        .is_some_and(|rest| rest.is_empty() || short.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ReferencedFiles;
    use crate::config::include::NoLog;
    use crate::config::parse_with_tree;

    const YAML: &str = "\
        listeners: [{ address: '127.0.0.1:0' }]\n\
        admin: { address: '127.0.0.1:9090', token: '${ADMIN}' }\n\
        store: { path: keygate.db }\n\
        api_keys: { pepper: 'file:absent' }\n\
        issuers: { main: { issuer: 'https://a.example', jwks_url: 'https://a.example/k', ca_file: absent.pem, audiences: any } }\n\
        upstreams: { echo: { builtin: echo }, a: { endpoints: ['a:80'], set_headers: { x-secret: '${HEADER}' } } }\n\
        routes: [{ name: a, match: { path: /a }, accept: [jwt, api_key], issuers: [main], upstream: a }, \
        { name: b, match: { path: /b }, public: true, upstream: echo }]\n";

    fn partial(text: &str, is_tolerated: fn(&ConfigError) -> bool) -> Result<PartialConfig, ConfigErrors> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keygate.yaml");
        let parsed = parse_with_tree(text, &file, &|_| None, ReferencedFiles::MustExist, &mut NoLog);
        parsed?.partial(is_tolerated)
    }

    #[test]
    fn what_a_command_does_not_use_may_be_unreadable() {
        let config = partial(YAML, ConfigError::is_of_process).unwrap();
        let missing = |keys: &[&str]| match config.resolved(keys) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(|error| error.path.clone()).collect(),
        };
        assert_eq!(missing(&["store", "token_endpoint", "plans"]), [""; 0]);
        assert_eq!(missing(&["admin.address", "api_keys.file"]), [""; 0]);
        assert_eq!(missing(&["admin"]), ["admin.token"]);
        assert_eq!(missing(&["admin.token.more"]), ["admin.token"]);
        assert_eq!(missing(&["api_keys", "store"]), ["api_keys.pepper"]);
        assert_eq!(missing(&["issuers"]), ["issuers.main.ca_file"]);
        assert_eq!(missing(&["upstreams"]), ["upstreams.a.set_headers.x-secret"]);
        assert_eq!(missing(&[""]).len(), 4);
    }

    #[test]
    fn any_other_mistake_is_none_of_the_process() {
        let text = YAML.replace("path: /b", "path: b");
        let errors = partial(&text, ConfigError::is_of_process).unwrap_err();
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["routes[1].match.path"]);
        let errors = partial(YAML, ConfigError::is_unset_variable).unwrap_err();
        assert_eq!(errors.iter().count(), 2, "{errors}");
        assert!(partial(YAML, |_| false).is_err());
    }

    #[test]
    fn paths_overlap_at_whole_keys() {
        for (one, other) in [("a", "a.b"), ("a.b", "a"), ("a", "a[0].b"), ("a", "a"), ("", "a")] {
            assert!(overlap(one, other), "{one} {other}");
        }
        for (one, other) in [("a", "ab"), ("a.b", "a.c"), ("a.b", "ab")] {
            assert!(!overlap(one, other), "{one} {other}");
        }
    }
}
