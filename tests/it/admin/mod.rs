//! Which operations of the admin API may each caller perform, and with which effect on a real store?

mod fixture;
mod generated_clients;
mod operations;
mod organizations;
mod description;
mod docs;
mod keys;
mod clients;
mod client_keys;
mod subscriptions;
mod requests;
mod audit;
mod revocations;
