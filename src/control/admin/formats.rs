//! Which texts may stand in a member? Their patterns, for the description of the API; the handlers parse them in full.

use utoipa::PartialSchema;
use utoipa::ToSchema;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::schema::Type;

/// Defines a schema of texts.
macro_rules! text_schema {
    ($name:ident, $pattern:literal, $example:literal, $description:literal) => {
        #[doc = $description]
        pub(super) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .pattern(Some($pattern))
                    .description(Some($description))
                    .examples([$example])
                    .build()
                    .into()
            }
        }

        impl ToSchema for $name {}
    };
}

text_schema!(
    Expiry,
    "^(never|[0-9]{1,6}(d|mo)|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+)$",
    "90d",
    "`90d`, `6mo` (at most 730 days), an instant (RFC 3339), or `never`."
);
text_schema!(
    GracePeriod,
    "^[0-9]+(ms|s|m|h|d)$",
    "24h",
    "A duration of at most 24 hours, such as `24h`."
);
text_schema!(
    ScopeToken,
    "^[!#-\\[\\]-~]+$",
    "orders:read",
    "A scope (RFC 6749 section 3.3)."
);
