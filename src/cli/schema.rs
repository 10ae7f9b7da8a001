//! `keygate schema`: what is the JSON Schema of the configuration?

use crate::config;

/// Returns the JSON Schema of the configuration file, or of an included file; indented, with a line end.
pub fn schema(included: bool) -> String {
    let schema = if included {
        config::included_schema()
    } else {
        config::schema()
    };
    format!("{schema:#}\n")
}
