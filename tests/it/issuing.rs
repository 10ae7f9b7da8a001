//! Does a gate with a store and a token endpoint accept the credentials that it issued, until they end?

mod builtin;
mod gate;
mod pepper;
mod revoke;
mod standing;
mod store_faults;
mod store_writes;
mod clock_ahead;
mod tokens;
mod verify;

use gate::Gate;
