//! What arrived, made unambiguous, and which route it is for.
