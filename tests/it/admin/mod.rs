//! The admin API over a real store and real access tokens: which caller may do what, and with which effect?

mod fixture;
mod operations;
mod description;
mod keys;
mod clients;
mod client_keys;
mod subscriptions;
mod requests;
mod audit;
