//! The control side: what operators ask and change, apart from the requests that are forwarded. It never names the data
//! side; `runtime` hands it what it needs to know of it.

pub mod admin;
