//! API keys, and their entries in the keys file.

use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::ApiKeyText;
use keygate::model::api_key::Digester;
use keygate::model::api_key::system_random;

/// Returns a new API key and its entry in the keys file. By default the key has the scope `orders:read`
/// and never expires. `more` holds lines of the entry; each replaces the default line of its name.
pub fn api_key(more: &str) -> (ApiKeyText, String) {
    let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    let entry = api_key_entry(&key, more);
    (key, entry)
}

/// Returns the entry of `key` in the keys file, with defaults and `more` as for [`api_key()`].
pub fn api_key_entry(key: &ApiKeyText, more: &str) -> String {
    let mut entry = format!(
        "  - id: {}\n    digest: sha256:{}\n",
        key.id(),
        Digester::new(None).digest(key.expose()).to_hex()
    );
    let is_replaced = |line: &str| {
        let (name, _) = line.split_once(':').expect("a default is `name: value`");
        more.lines().any(|other| other.starts_with(&format!("{name}:")))
    };
    let defaults = [
        "name: test",
        "env: live",
        "scopes: [orders:read]",
        "created_at: 2026-01-01T00:00:00Z",
        "expires_at: never",
    ];
    for line in defaults
        .into_iter()
        .filter(|line| !is_replaced(line))
        .chain(more.lines())
    {
        entry.push_str(&format!("    {line}\n"));
    }
    entry
}
