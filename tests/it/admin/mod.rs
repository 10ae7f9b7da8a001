//! The admin API over a real store and real access tokens: who may do what, and what becomes of it.

mod fixture;
mod operations;
mod description;
mod keys;
mod clients;
mod client_keys;
mod subscriptions;
mod requests;
mod audit;
