//! Does what real systems document work, end to end, with real clients and the examples in conf/?

mod maverics;
