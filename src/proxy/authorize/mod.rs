//! Whether that principal may; gives `Entitlement`.
