//! API keys, and their entries in the keys file.

use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::ApiKeyText;
use keygate::model::api_key::Digester;
use keygate::model::api_key::parse;
use keygate::model::api_key::system_random;

/// Returns a new API key and its entry in the keys file. By default the key has the scope `orders:read`
/// and never expires. `more` holds lines of the entry; each replaces the default line of its name.
pub fn api_key(more: &str) -> (ApiKeyText, String) {
    let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    let entry = api_key_entry(&key, more);
    (key, entry)
}

/// Returns a well-formed key with the prefix `kg`, the environment and the id of `key`, and another secret.
pub fn with_other_secret(key: &str) -> String {
    let claimed = parse(key, "kg").expect("the key is well-formed");
    let id = claimed.id.to_string();
    // `ApiKeyText::generate` draws the id first, one byte for each character.
    let mut digits = id.bytes().map(|char| match char {
        b'0'..=b'9' => char - b'0',
        b'A'..=b'Z' => char - b'A' + 10,
        _ => char - b'a' + 36,
    });
    let mut random = |bytes: &mut [u8]| match digits.next() {
        Some(digit) => bytes[0] = digit,
        None => system_random(bytes),
    };
    let other = ApiKeyText::generate("kg", claimed.environment, &mut random);
    let other = other.expose().to_owned();
    let parsed = parse(&other, "kg").expect("the checksum is right");
    assert_eq!((parsed.id, parsed.environment), (claimed.id, claimed.environment));
    assert_ne!(other, key);
    other
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
