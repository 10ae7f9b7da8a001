//! `keygate ready`: is the gate ready for traffic? For health checks of containers, which have no other program to ask with.

use crate::cli::gate::find::LoadedConfig;
use crate::cli::http::admin_client::AdminError;
use crate::cli::http::exchange;
use crate::cli::http::exchange::read_json;
use crate::cli::place::ConfigLocation;
use clap::Args;
use std::error::Error;
use std::io::Write;
use std::time::Duration;

/// The time limit of the question, below the 30 s after which most health checks give up.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest response; a gate with a thousand failing issuers has a shorter one.
const BODY_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug, Args)]
pub struct Ready {
    #[command(flatten)]
    pub place: ConfigLocation,
}

pub const HELP: &str = "\
Asks /readyz at the `admin.address` of the configuration. In a Containerfile:
  HEALTHCHECK CMD [\"/usr/bin/keygate\", \"ready\", \"--config\", \"/etc/keygate/keygate.yaml\"]
Prints every condition that is not ok. The exit code is 0 for a gate that is ready, degraded or not;
1 for one that is not ready, as while it starts and shuts down; and 4 where no gate answers.";

/// Asks the gate of the configuration, and prints its conditions that are not ok.
///
/// # Errors
/// If the configuration has no admin listener, if no gate answers within 5 s, or if the gate is not ready.
pub fn run(ready: &Ready, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let address = LoadedConfig::load(&ready.place)?.admin_address()?;
    let url = format!("http://{address}/readyz").parse()?;
    let (status, body) = exchange::get(&url, BODY_BYTES_MAX, TIMEOUT).map_err(|problem| AdminError::NotThere {
        at: url.to_string(),
        problem,
    })?;
    let report = read_json(&body).unwrap_or_default();
    let Some(conditions) = report["conditions"].as_array().filter(|_| matches!(status, 200 | 503)) else {
        let at = url.to_string();
        return Err(AdminError::NotOurs { at, status }.into());
    };
    let is_ready = status == 200;
    let print: &mut dyn Write = if is_ready { out } else { err };
    for condition in conditions.iter().filter(|condition| condition["status"] != "ok") {
        let text = |member: &str| condition[member].as_str().unwrap_or_default();
        writeln!(print, "{} is {}: {}", text("name"), text("status"), text("detail"))?;
    }
    match report["status"].as_str() {
        Some(status) if is_ready => Ok(writeln!(out, "ready ({status})")?),
        _ => Err("the gate is not ready".into()),
    }
}
