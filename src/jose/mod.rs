//! JSON object signing: the only home of the signature crate.
