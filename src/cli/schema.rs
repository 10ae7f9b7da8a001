//! `keygate schema`: what may a configuration say, for editors?

use crate::config;

/// The JSON Schema of the configuration file, indented, with a line break at its end.
pub fn schema() -> String {
    format!("{:#}\n", config::schema())
}
