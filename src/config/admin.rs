//! The admin listener: `/metrics`, `/livez`, `/readyz`. Never a data listener.

use crate::config::check::Checker;
use crate::config::read::At;
use crate::config::read::Text;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::SocketAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub address: SocketAddr,
}

/// The admin listener: `/metrics`, `/livez`, `/readyz`. Without this section there is none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Admin")]
pub(in crate::config) struct Mirror {
    /// Address and port, such as `127.0.0.1:9090`. Never one of a listener. Required.
    #[schemars(required)]
    address: Option<Text<SocketAddr>>,
}

/// The admin listener and where its address stands.
pub(in crate::config) fn typed(mirror: At<Mirror>, checker: &mut Checker<'_>) -> Option<At<Admin>> {
    let address = checker.need(
        mirror.at,
        "address",
        mirror.value.address,
        "such as `address: 127.0.0.1:9090`",
    )?;
    Some(At {
        at: address.at,
        value: Admin {
            address: address.take(),
        },
    })
}
