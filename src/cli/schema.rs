//! `keygate schema`: what may a configuration say, for editors?

use crate::config;

/// The JSON Schema of the configuration file, or of one that it includes; indented, with a line break at its end.
pub fn schema(included: bool) -> String {
    let schema = match included {
        true => config::included_schema(),
        false => config::schema(),
    };
    format!("{schema:#}\n")
}
