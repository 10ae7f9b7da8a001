//! Under which names do other gateways read a credential from the query?

/// The names, in lower case, without `-`, `_` and `.`.
pub const NAMES: [&str; 4] = ["accesstoken", "apikey", "key", "xapikey"];

/// Returns whether `name`, decoded, is one of [`NAMES`] in some spelling.
pub fn is_one(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(|character| !matches!(character, '-' | '_' | '.'))
        .map(|character| character.to_ascii_lowercase())
        .collect();
    NAMES.contains(&plain.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_in_every_spelling() {
        for name in ["access_token", "Api-Key", "x.api.key", "KEY"] {
            assert!(is_one(name), "{name}");
        }
        for name in ["keys", "version", "token_type", ""] {
            assert!(!is_one(name), "{name}");
        }
    }
}
