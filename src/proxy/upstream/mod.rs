//! Where it can go.
