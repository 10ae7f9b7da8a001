//! Which texts may stand in a member or a parameter? Each is described by the rule that parses it: its pattern, its lengths,
//! its words. Tests hold the descriptions against the parsers.

use crate::control::admin::number_pattern::up_to;
use crate::control::admin::response::environment_word;
use crate::control::registry::backup;
use crate::control::registry::jwks_url;
use crate::control::registry::text;
use crate::jose::uploaded;
use crate::model::algorithm::ASSERTION_ALGORITHMS;
use crate::model::algorithm::Algorithm;
use crate::model::api_key;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::CredentialDigest;
use crate::model::grace::Grace;
use crate::model::id;
use crate::model::lifetime::EXPIRY_DAYS_MAX;
use crate::model::lifetime::EXPIRY_MONTHS_MAX;
use crate::model::names::Name;
use crate::model::scope::Scope;
use crate::model::subscription;
use crate::store::record::client;
use utoipa::PartialSchema;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::schema::Object;
use utoipa::openapi::schema::OneOfBuilder;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::schema::SchemaFormat;
use utoipa::openapi::schema::Type;

/// The longest text of a key that is verified.
pub(super) const KEY_CHARS_MAX: usize = 1024;

/// Returns the schema of the texts that match `pattern`, which has no anchors.
fn matching(pattern: &str) -> ObjectBuilder {
    string().pattern(Some(format!("^{pattern}$")))
}

/// Returns the schema of the texts of a format: one of the registry of OpenAPI, or of this API.
fn formatted(format: &str) -> ObjectBuilder {
    string().format(Some(SchemaFormat::Custom(format.to_owned())))
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// Returns the schema of these words.
pub(super) fn words(words: impl IntoIterator<Item = &'static str>) -> ObjectBuilder {
    string().enum_values(Some(words))
}

/// Restricts the member `name` of a body to one word.
pub(super) fn only_word(body: &mut Object, name: &str, word: &'static str) {
    body.properties.insert(name.to_owned(), words([word]).into());
}

/// Returns the schema of a body that has one of several forms: the members of `T`, as each of `forms` changes them.
pub(super) fn one_of<T: PartialSchema>(forms: &[fn(&mut Object)]) -> RefOr<Schema> {
    let RefOr::T(Schema::Object(body)) = T::schema() else {
        return T::schema();
    };
    let form = |change: &fn(&mut Object)| {
        let mut form = body.clone();
        form.description = None;
        change(&mut form);
        form
    };
    let schema = OneOfBuilder::new().description(body.description.clone());
    forms.iter().map(form).fold(schema, OneOfBuilder::item).into()
}

/// Defines a type that stands for the schema `one_of` of a body, under the name that the description has for it. Serde reads
/// the body in one form, so that a mistake is told in the words of its handler.
macro_rules! forms {
    ($name:ident, $body:ty, $component:literal, $forms:expr) => {
        pub(super) struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::control::admin::formats::one_of::<$body>(&$forms)
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                $component.into()
            }

            fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>) {
                <$body as utoipa::ToSchema>::schemas(schemas);
            }
        }
    };
}
pub(super) use forms;

/// Defines a type that stands for a schema.
macro_rules! schema {
    ($name:ident, $example:expr, $description:literal, $schema:expr) => {
        #[doc = $description]
        pub(super) struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let schema = $schema;
                schema.description(Some($description)).examples([$example]).into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(super) use schema;

schema!(
    OrganizationId,
    "acme",
    "1 to 64 characters: a lower-case letter or a digit first, then also `-`, `_` and `.`.",
    matching(Name::PATTERN)
);
schema!(
    PlanName,
    "default",
    "A plan of the configuration.",
    matching(Name::PATTERN)
);
schema!(
    IssuerName,
    "sixtyfour",
    "An issuer of the configuration.",
    matching(Name::PATTERN)
);
schema!(
    UpstreamName,
    "orders",
    "An upstream of the configuration.",
    matching(Name::PATTERN)
);
schema!(
    EndpointAddress,
    "10.0.0.5:8080",
    "An address as in the list of endpoints.",
    ObjectBuilder::new().schema_type(Type::String)
);
schema!(
    SubscriptionId,
    "sub_default",
    "1 to 64 letters, digits, `-` and `_`.",
    matching(id::SubscriptionId::PATTERN)
);
schema!(
    ClientId,
    "client_4Vb8mTq0ZxN7sKe2RcYw1h",
    "1 to 64 letters, digits, `-` and `_`.",
    matching(id::ClientId::PATTERN)
);
schema!(
    ApiKeyId,
    "0123456789abcdef",
    "The 16 characters between the second and the third `_` of the key's text.",
    matching(api_key::KeyId::PATTERN)
);
schema!(
    ApiKeyText,
    "kg_live_0123456789abcdef_<43 characters of secret><6 of check>",
    "The whole text of a key.",
    string().min_length(Some(1)).max_length(Some(KEY_CHARS_MAX))
);
schema!(
    ApiKeyDigest,
    "ef4be9c2bb3a4ca0e0c5b1ba3b9a4a5a1f4d0d4cdeb7f8e0d3a1e2c1c4b5a697",
    "SHA-256 of a key's whole text: 64 lower-case hexadecimal digits (`printf %s \"$KEY\" | sha256sum`).",
    matching(CredentialDigest::PATTERN)
);
schema!(
    Label,
    "ci",
    "1 to 200 characters, for people: none of them hidden, and no space at either end.",
    matching(&text::pattern())
        .min_length(Some(1))
        .max_length(Some(text::LABEL_CHARS_MAX))
);
schema!(
    Description,
    "Exports orders every night.",
    "At most 1000 characters: none of them hidden, and no space at either end.",
    matching(&format!("({})?", text::pattern())).max_length(Some(text::DESCRIPTION_CHARS_MAX))
);
schema!(
    ScopeToken,
    "orders:read",
    "A scope (RFC 6749 section 3.3).",
    matching(Scope::PATTERN)
);
schema!(
    Expiry,
    "90d",
    "`90d`, `6mo` (at most 730 days), an instant within that time (RFC 3339), or `never`.",
    AnyOfBuilder::new()
        .item(matching(&lifetime_pattern()))
        .item(formatted("date-time"))
);
schema!(
    GracePeriod,
    "24h",
    "A duration of at most 24 hours, such as `24h`.",
    matching(&grace_pattern())
);
schema!(
    Instant,
    "2027-01-31T00:00:00Z",
    "An instant (RFC 3339).",
    formatted("date-time")
);
schema!(
    AuditSequence,
    "7",
    "The sequence number of an event.",
    matching(&format!("(0|{})", up_to(u64::MAX)))
);
schema!(
    Address,
    "192.0.2.7",
    "An address of IPv4 or IPv6.",
    AnyOfBuilder::new().item(formatted("ipv4")).item(formatted("ipv6"))
);
schema!(
    AddressRange,
    "192.0.2.0/24",
    "An address, or a range without bits beyond its prefix.",
    formatted("address-range")
);
schema!(
    JwksUrl,
    "https://client.example/jwks.json",
    "An https URL without user, password and fragment. `token_endpoint.client_jwks.allow_http` of the configuration allows \
     http as well.",
    matching(jwks_url::JwksUrl::PATTERN)
        .format(Some(SchemaFormat::Custom("uri".to_owned())))
        .max_length(Some(jwks_url::URL_BYTES_MAX))
);
schema!(
    PublicKeyPem,
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAszzkoRO3L/drRBu/tDt/JxO9QoXrYn43z9FL5mOFZTY=\n-----END PUBLIC KEY-----\n",
    "One `PUBLIC KEY` block: P-256, Ed25519 or RSA from 2048 bits.",
    formatted("pem-public-key").max_length(Some(uploaded::PEM_BYTES_MAX))
);
schema!(
    BackupName,
    "keygate-2027-01-31.db",
    "The name of a file that is not there yet: letters, digits, `-`, `_` and `.`.",
    matching(backup::FILE_NAME_PATTERN)
);
schema!(
    Environment,
    "live",
    "`live` or `sandbox`.",
    words([ApiKeyEnvironment::Live, ApiKeyEnvironment::Test].map(environment_word))
);
schema!(
    TokenTtl,
    "1h",
    "`60s`, `5m`, `1h` or `24h`.",
    words(client::TokenTtl::ALL.map(client::TokenTtl::as_str))
);
schema!(
    TokenFormat,
    "jwt",
    "`jwt` (RFC 9068) or `opaque`.",
    words(client::TokenFormat::ALL.map(client::TokenFormat::as_str))
);
schema!(
    AssertionAlgorithm,
    "ES256",
    "`ES256`, `RS256`, `PS256` or `EdDSA`.",
    words(ASSERTION_ALGORITHMS.map(Algorithm::as_str))
);
schema!(
    CredentialSwitch,
    "disabled",
    "`active` or `disabled`.",
    words([client::ClientState::Active, client::ClientState::Disabled].map(client::ClientState::as_str))
);
schema!(
    SubscriptionState,
    "pending",
    "`pending`, `active`, `provisioning_failed` or `cancelled`.",
    words(subscription::SubscriptionState::ALL.map(subscription::SubscriptionState::as_str))
);

fn lifetime_pattern() -> String {
    let days = up_to(EXPIRY_DAYS_MAX.unsigned_abs());
    let months = up_to(EXPIRY_MONTHS_MAX.unsigned_abs());
    format!("(never|{days}d|{months}mo)")
}

fn grace_pattern() -> String {
    let millis = u64::try_from(Grace::MAX.duration().as_millis()).unwrap_or(u64::MAX);
    let units = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let alternatives = units.map(|(unit, millis_each)| format!("{}{unit}", up_to(millis / millis_each)));
    format!("({})", alternatives.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::read;
    use crate::control::registry::ValidationErrors;
    use crate::control::registry::text as registry_text;
    use crate::model::clock::Timestamp;
    use crate::model::lifetime;
    use proptest::prelude::*;
    use proptest::string::string_regex;
    use serde_json::Value;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_795_953_600);

    fn described<T: PartialSchema>() -> Value {
        serde_json::to_value(T::schema()).unwrap()
    }

    /// Checks that the parser takes what the description has, for texts of its pattern and for others.
    #[track_caller]
    fn agree<T: PartialSchema>(parses: impl Fn(&str) -> bool, others: &[&str]) {
        let schema = described::<T>();
        let matcher = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap();
        for text in others {
            assert_eq!(matcher.is_valid(&json!(text)), parses(text), "{text:?} of {schema}");
        }
        let pattern = schema["pattern"]
            .as_str()
            .or_else(|| schema["anyOf"][0]["pattern"].as_str());
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let pattern = pattern.unwrap().trim_start_matches('^').trim_end_matches('$');
        let of_pattern = string_regex(pattern).unwrap().boxed();
        let near = string_regex("[a-zA-Z0-9 ._:/\\[\\]\"é-]{0,5}").unwrap().boxed();
        let texts = prop_oneof![
            of_pattern.clone(),
            near.clone(),
            (of_pattern, near).prop_map(|(one, other)| one + &other)
        ];
        let checked = runner.run(&texts, |text| {
            prop_assert_eq!(
                matcher.is_valid(&json!(text)),
                parses(&text),
                "{:?} of {}",
                text,
                schema
            );
            Ok(())
        });
        checked.unwrap();
    }

    #[test]
    fn what_is_described_is_what_is_parsed() {
        let long = |length: usize| "a".repeat(length);
        let (name, name_too_long) = (long(64), long(65));
        let names = ["", "a", "A", "-a", "a.b", "a\n", &name, &name_too_long];
        agree::<OrganizationId>(|text| text.parse::<Name>().is_ok(), &names);
        agree::<SubscriptionId>(|text| text.parse::<id::SubscriptionId>().is_ok(), &names);
        agree::<ClientId>(|text| text.parse::<id::ClientId>().is_ok(), &names);
        agree::<ApiKeyId>(
            |text| text.parse::<api_key::KeyId>().is_ok(),
            &["0123456789abcdef\n", ""],
        );
        let sequences = ["0", "1", "", "-1", "18446744073709551615", "18446744073709551616"];
        // Leading zeros are taken as well, and no client needs to know.
        let sequence = |text: &str| text.parse::<u64>().is_ok_and(|number| number.to_string() == text);
        agree::<AuditSequence>(sequence, &sequences);
        agree::<ApiKeyDigest>(|text| CredentialDigest::from_hex(text).is_ok(), &["", "0"]);
        agree::<ScopeToken>(
            |text| text.parse::<Scope>().is_ok(),
            &["", "a b", "a\"", "a\\", "a\n", "é"],
        );
        let (full, over) = ("ü".repeat(200), "ü".repeat(201));
        let labels = [
            "",
            " ",
            "a ",
            " a",
            "a b",
            "a\n",
            "\u{200b}",
            "a\u{e0041}b",
            "\u{1f600}",
            &full,
            &over,
        ];
        agree::<Label>(|text| registry_text::Label::parse(text).is_ok(), &labels);
        let (full, over) = ("ü".repeat(1_000), "ü".repeat(1_001));
        let texts = ["", " ", "a ", "a\nb", &full, &over];
        agree::<Description>(|text| registry_text::Description::parse(text).is_ok(), &texts);
        let (full, over) = (long(200), long(201));
        let files = ["", ".a", "a.db", "../a", "a/b", &full, &over];
        agree::<BackupName>(backup::is_file_name, &files);
        let grace = |text: &str| {
            let mut errors = ValidationErrors::default();
            read::grace(Some(text), &mut errors);
            errors.as_slice().is_empty()
        };
        let graces = [
            "24h",
            "25h",
            "1d",
            "2d",
            "1440m",
            "1441m",
            "86400s",
            "86401s",
            "86400000ms",
            "86400001ms",
            "-1h",
            "1",
        ];
        agree::<GracePeriod>(grace, &graces);
        let expiry = |text: &str| lifetime::instant(text, NOW).is_ok();
        let expiries = [
            "never",
            "730d",
            "731d",
            "24mo",
            "25mo",
            "0d",
            "1m",
            "90",
            "",
            "2027-06-01T00:00:00Z",
            "2027-06-01",
        ];
        agree::<Expiry>(expiry, &expiries);
    }

    #[test]
    fn the_words_that_are_described_are_those_that_are_read() {
        fn words_of<T: PartialSchema>() -> Vec<String> {
            let words = described::<T>()["enum"].as_array().unwrap().clone();
            words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        }
        let mut errors = ValidationErrors::default();
        for word in words_of::<Environment>() {
            assert!(read::environment(Some(&word), &mut errors).is_some(), "{word}");
        }
        for word in words_of::<TokenTtl>() {
            assert!(read::token_ttl(Some(&word), &mut errors).is_some(), "{word}");
        }
        for word in words_of::<TokenFormat>() {
            assert!(read::token_format(Some(&word), &mut errors).is_some(), "{word}");
        }
        assert_eq!(errors, ValidationErrors::default());
    }

    #[test]
    fn every_example_is_valid() {
        fn check<T: PartialSchema>(parses: impl Fn(&str) -> bool) {
            let schema = described::<T>();
            let example = schema["examples"][0].as_str().unwrap();
            assert!(parses(example), "{schema}");
        }
        check::<PublicKeyPem>(|text| uploaded::public_key(text).is_ok());
        check::<JwksUrl>(|text| jwks_url::JwksUrl::parse(text, false).is_ok());
        check::<AddressRange>(|text| crate::keys_file::address_range(text).is_some());
        check::<Address>(|text| text.parse::<std::net::IpAddr>().is_ok());
        check::<Label>(|text| registry_text::Label::parse(text).is_ok());
        check::<ApiKeyDigest>(|text| CredentialDigest::from_hex(text).is_ok());
        check::<ClientId>(|text| text.parse::<id::ClientId>().is_ok());
    }
}
