//! Which configurations are valid, for editors? A JSON Schema, made from the sections that read the file.

use crate::config::Section;
use crate::config::included;
use crate::config::read::FromText;
use crate::config::read::Keyword;
use crate::config::read::NamedEntries;
use crate::config::read::OneOrMany;
use crate::config::read::OrKeyword;
use crate::config::read::ParsedText;
use crate::config::read::TextOrMap;
use crate::config::read::TypedNode;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use schemars::json_schema;
use schemars::transform::Transform;
use schemars::transform::transform_subschemas;
use serde_json::Value;
use std::borrow::Cow;

/// Returns the JSON Schema (draft 2020-12) of a configuration's main file.
///
/// It covers keys, types and the forms of texts. Only `load` finds dangling
/// references, overlaps and missing files.
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Section>();
    StrictTransform.transform(&mut schema);
    let somewhere = serde_json::json!([{ "required": ["upstreams", "routes"] }, { "required": ["include"] }]);
    schema.insert("anyOf".to_owned(), somewhere);
    schema.to_value()
}

/// Returns the JSON Schema of an included file.
pub fn included_schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<included::Section>();
    StrictTransform.transform(&mut schema);
    schema.to_value()
}

/// Adds the rules of the tree to the schema: nothing is null, no list and no map is empty.
struct StrictTransform;

impl Transform for StrictTransform {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else {
            return;
        };
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|kind| kind != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
            if let [Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                object.remove("anyOf");
                for (key, value) in only {
                    object.entry(key).or_insert(value);
                }
            }
        }
        match object.get("type").and_then(Value::as_str) {
            Some("array") => object.insert("minItems".to_owned(), 1.into()),
            Some("object") => object.insert("minProperties".to_owned(), 1.into()),
            _ => None,
        };
    }
}

/// Returns a regular expression for every text that `regex` matches and every text with a variable.
fn pattern(regex: &str) -> String {
    format!("^(?:{regex}|[^\\n]*\\$\\{{[A-Za-z_][A-Za-z0-9_]*\\}}[^\\n]*)$")
}

impl<T: FromText> JsonSchema for ParsedText<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::DESCRIPTION.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        if T::BARE_NUMBERS {
            json_schema!({ "type": ["string", "integer"], "pattern": pattern(T::PATTERN), "minimum": 1 })
        } else {
            json_schema!({ "type": "string", "pattern": pattern(T::PATTERN) })
        }
    }
}

impl<T: JsonSchema> JsonSchema for TypedNode<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("one or many {}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl<T: JsonSchema, W: Keyword> JsonSchema for OrKeyword<T, W> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{} or {}", T::schema_name(), W::KEYWORD).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "const": W::KEYWORD }, value] })
    }
}

impl<T: FromText, M: JsonSchema> JsonSchema for TextOrMap<T, M> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("text or {}", M::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<ParsedText<T>>();
        let map = generator.subschema_for::<M>();
        json_schema!({ "anyOf": [text, map] })
    }
}

impl<K: FromText, V: JsonSchema> JsonSchema for NamedEntries<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("named {}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<V>();
        let key = format!("^(?:{})$", K::PATTERN);
        json_schema!({ "type": "object", "propertyNames": { "pattern": key }, "additionalProperties": value })
    }
}
