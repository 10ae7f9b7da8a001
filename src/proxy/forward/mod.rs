//! Sending it on; takes `Permit`.
