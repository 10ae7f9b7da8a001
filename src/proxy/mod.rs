//! The data side: a request's way, in the order of its stages. `decide.rs` is the file to read first.

pub mod accept;
pub mod intake;
pub mod authenticate;
pub mod authorize;
pub mod limit;
pub mod answer;
pub mod denial;
pub mod upstream;
pub mod identity_token;
pub mod live;
pub mod snapshot;
pub mod decide;
pub mod fetch;
pub mod http1;
pub mod downstream;
pub mod forward;
pub mod respond;
pub mod connection;
pub mod context;
pub mod exchange;
pub mod gate;
pub mod record;
