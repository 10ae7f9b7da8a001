//! `keygate audit`: how are the audit log's events listed, and its integrity verified?

use crate::cli::gate::GateClient;
use crate::cli::gate::args::ItemFilter;
use crate::cli::gate::args::ListArgs;
use crate::cli::member;
use crate::cli::noun::GateCommand;
use crate::cli::reference::Reference;
use crate::cli::render;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::config::parse_duration;
use crate::keys_file::rfc3339;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::clock::Timestamp;
use crate::model::lifetime::rfc3339_instant;
use crate::model::names::Name;
use clap::Subcommand;
use http::Method;
use serde_json::Value;
use serde_json::json;
use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

const PATH: &str = "audit";
const COLUMNS: &[Column<'_>] = &[
    ("EVENT", "sequence"),
    ("AT", "at"),
    ("ACTOR", "actor"),
    ("FROM", "from"),
    ("ACTION", "action"),
    ("TARGET", "target"),
    ("ORGANIZATION", "organization"),
    ("DETAILS", "details"),
];

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List changes, the newest first
    #[command(visible_alias = "ls")]
    List {
        /// Of what belongs to this organization
        #[arg(long, value_name = "ID")]
        organization: Option<Name>,
        /// By whom: a client's id, `admin.token`, `gate`, or a user of the gate's machine (`local:alice`; `local` for all)
        #[arg(long, value_name = "WHO")]
        actor: Option<String>,
        /// What, such as `client.create`
        #[arg(long, value_name = "WHAT")]
        action: Option<String>,
        /// The id of what was changed, or the text of an API key; `-` reads it from stdin
        #[arg(long, value_name = "ID")]
        target: Option<Reference>,
        /// From then on: how long ago, such as `1h`, or an instant, such as 2026-11-22T08:00:00Z
        #[arg(long, value_name = "TIME", value_parser = moment)]
        since: Option<String>,
        /// Before then
        #[arg(long, value_name = "TIME", value_parser = moment)]
        until: Option<String>,
        /// Print the oldest first, and go on with each change that is made, until it is interrupted
        #[arg(short, long, conflicts_with_all = ["until", "after"])]
        follow: bool,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Read the whole log; the exit code is 1 when an event was changed or removed
    Verify,
}

impl GateCommand for AuditCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List {
                organization,
                actor,
                action,
                target,
                since,
                until,
                follow,
                list,
            } => {
                let filters = json!({
                    "organization": member::text(organization),
                    "actor": actor,
                    "action": action,
                    "target": target.as_ref().map(Reference::target).transpose()?,
                    "since": since,
                    "until": until,
                });
                if *follow {
                    return follow_log(gate, &filters, list);
                }
                gate.list(PATH, filters, &ItemFilter::default(), list, COLUMNS)
            }
            Self::Verify => {
                let chain = gate.call(Method::GET, &format!("{PATH}/verify"), Value::Null)?;
                gate.printer
                    .show(&chain, |chain| render::page(chain, &["state", "events", "head"]))?;
                if chain["state"] == "whole" {
                    return Ok(());
                }
                let (sequence, problem) = (cell(&chain["sequence"]), cell(&chain["problem"]));
                Err(format!("the record is not whole, from event {sequence} on: {problem}").into())
            }
        }
    }
}

/// The time between two looks at the log.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// Prints the events that `filters` admit, the oldest first, and then each new one. Ends when stdout is closed.
fn follow_log(gate: &mut GateClient<'_>, filters: &Value, args: &ListArgs) -> Result<(), Box<dyn Error>> {
    if gate.is_in_process() {
        return Err("no gate runs, so nothing changes: there is nothing to follow".into());
    }
    let (mut last, mut most) = (0, usize::try_from(args.limit).unwrap_or(usize::MAX));
    loop {
        let mut events = Vec::new();
        // Events come the newest first, so the first known one ends the search.
        gate.each(PATH, filters.clone(), None, 1, &mut |event| {
            let is_enough = event["sequence"].as_u64() <= Some(last) || events.len() == most;
            if !is_enough {
                events.push(event);
            }
            is_enough
        })?;
        for event in events.iter().rev() {
            last = event["sequence"].as_u64().unwrap_or(last);
            if let Err(error) = gate.printer.write_line(COLUMNS, event) {
                return match error.kind() {
                    ErrorKind::BrokenPipe => Ok(()),
                    _ => Err(format!("cannot write to stdout: {error}").into()),
                };
            }
        }
        most = usize::MAX;
        gate.pause(FOLLOW_INTERVAL);
    }
}

/// Returns the instant for the admin API that `text` names: itself, or how long ago it is.
fn moment(text: &str) -> Result<String, String> {
    moment_before(SystemClock::new().now().wall, text)
}

fn moment_before(now: Timestamp, text: &str) -> Result<String, String> {
    if rfc3339_instant(text).is_some() {
        return Ok(text.to_owned());
    }
    let hint = "write how long ago, such as `30m`, `1h` or `7d`, or an instant, such as 2026-11-22T08:00:00Z";
    let ago = parse_duration(text).map_err(|_| hint)?;
    let millis = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
    Ok(rfc3339(Timestamp::from_unix_millis(
        now.as_unix_millis().saturating_sub(millis),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_instant_or_how_long_ago_it_is() {
        // 2026-11-22T08:00:00Z.
        let now = Timestamp::from_unix_secs(1_795_334_400);
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(moment_before(now, text).ok().as_deref(), expected, "{text}");
        };
        check("1h", Some("2026-11-22T07:00:00Z"));
        check("30m", Some("2026-11-22T07:30:00Z"));
        check("1d", Some("2026-11-21T08:00:00Z"));
        check("2026-11-22T08:00:00Z", Some("2026-11-22T08:00:00Z"));
        check("2026-11-22T09:00:00+01:00", Some("2026-11-22T09:00:00+01:00"));
        for bad in ["", "yesterday", "1", "1mo", "-1h", "2026-11-22"] {
            check(bad, None);
        }
    }
}
