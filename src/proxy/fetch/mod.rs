//! The I/O that meets a need, and nothing else.
