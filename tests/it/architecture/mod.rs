//! Does every source file name only what it may? One package cannot enforce that by crates, so these tests read the
//! sources as text.

mod source;
mod modules;
mod files;
mod crates;
