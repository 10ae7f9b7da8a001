//! Does the gate enforce what it issues? The real program, with a store and a token endpoint.

mod builtin;
mod gate;
mod revoke;
mod standing;
mod tokens;

use gate::Gate;
