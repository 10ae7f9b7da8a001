//! `keygate issuers`: how a running gate gets on with its issuers. Asks its admin API.

use crate::cli::args::IssuersArgs;
use crate::cli::args::IssuersCommand;
use crate::cli::args::OutputForm;
use crate::cli::run::config_path;
use crate::config;
use crate::model::secret::Secret;
use crate::observe::escape;
use crate::runtime::admin_client;
use http::Method;
use serde_json::Value;
use std::error::Error;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::Path;

const TOKEN_VARIABLE: &str = "KEYGATE_ADMIN_TOKEN";
/// More is no token but the wrong file.
const TOKEN_BYTES_MAX: usize = 4096;

/// Asks, and prints what was answered on `out`. What could not be asked, or was refused, is the error; a refresh whose
/// fetch failed is both.
///
/// # Errors
/// No address or token, nothing that answers, a refusal, or a fetch that failed.
pub fn issuers(asked: &IssuersArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let Whom { base, token } = whom(asked)?;
    if !stays_on_this_machine(&base) && base.starts_with("http://") {
        writeln!(err, "warning: the token goes to {base} unencrypted")?;
    }
    let (method, path) = match &asked.command {
        IssuersCommand::List => (Method::GET, "/admin/v1/issuers".to_owned()),
        IssuersCommand::Show { name } => (Method::GET, format!("/admin/v1/issuers/{name}")),
        IssuersCommand::Refresh { name } => (Method::POST, format!("/admin/v1/issuers/{name}/refresh")),
    };
    let answered = admin_client::ask(&base, &token, &method, &path)?;
    let body = &answered.body;
    // A refresh that failed says how the issuer is, too; any other refusal has nothing to show.
    let health = match &asked.command {
        IssuersCommand::Refresh { .. } => &body["issuer"],
        IssuersCommand::List | IssuersCommand::Show { .. } if answered.status == 200 => body,
        IssuersCommand::List | IssuersCommand::Show { .. } => &Value::Null,
    };
    if health.is_object() {
        let text = match asked.output {
            OutputForm::Json => json(body)?,
            OutputForm::Table => match &asked.command {
                IssuersCommand::List => table(&body["issuers"]),
                IssuersCommand::Show { .. } | IssuersCommand::Refresh { .. } => page(health),
            },
        };
        out.write_all(text.as_bytes())?;
    }
    match answered.status {
        200 => Ok(()),
        401 => {
            Err(format!("{base} refuses the token: is it that of `admin.token` of the gate that runs there?").into())
        }
        status => {
            let detail = clean(body["detail"].as_str().unwrap_or("no reason was given"));
            Err(format!("{detail} (status {status})").into())
        }
    }
}

/// Where a gate's admin API is, and the token for it.
struct Whom {
    base: String,
    token: Secret<Vec<u8>>,
}

fn whom(asked: &IssuersArgs) -> Result<Whom, Box<dyn Error>> {
    let from_file = asked.token_file.as_deref().map(token_in).transpose()?;
    let given = match from_file {
        Some(token) => Some(token),
        None => std::env::var(TOKEN_VARIABLE)
            .ok()
            .filter(|token| !token.is_empty())
            .map(|token| Secret::new(token.into_bytes())),
    };
    if let Some(base) = &asked.admin {
        let hint = format!("no token: set {TOKEN_VARIABLE}, or name a file with --token-file");
        return Ok(Whom {
            base: base.clone(),
            token: given.ok_or(hint)?,
        });
    }
    let path = config_path(&asked.place)?;
    let config = config::load(&path)?;
    let Some(admin) = config.admin else {
        return Err(format!(
            "{}: there is no `admin` section, so the gate cannot be asked",
            path.display()
        )
        .into());
    };
    if admin.address.port() == 0 {
        return Err(format!(
            "{}: `admin.address` leaves the port open; say where the gate listens with --admin",
            path.display()
        )
        .into());
    }
    let hint = format!(
        "{}: no token: set `admin.token` (\"${{{TOKEN_VARIABLE}}}\")",
        path.display()
    );
    // The configuration's own token is the gate's; another one only where it has none.
    let token = admin.token.or(given).ok_or(hint)?;
    Ok(Whom {
        base: format!("http://{}", reachable(admin.address)),
        token,
    })
}

fn token_in(path: &Path) -> Result<Secret<Vec<u8>>, String> {
    let failed = |problem: String| format!("{}: {problem}", path.display());
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let bytes = Secret::new(bytes);
    let text = bytes.expose().trim_ascii();
    match text.len() {
        0 => Err(failed("there is no token in it".to_owned())),
        1..=TOKEN_BYTES_MAX => Ok(Secret::new(text.to_vec())),
        _ => Err(failed("this is too long for a token".to_owned())),
    }
}

/// A gate that listens on every address is asked on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn stays_on_this_machine(base: &str) -> bool {
    let authority = base.split('/').nth(2).unwrap_or_default();
    let loopback = |text: &str| {
        text.parse::<SocketAddr>()
            .is_ok_and(|address| address.ip().is_loopback())
    };
    let bare = |text: &str| {
        let text = text.trim_start_matches('[').trim_end_matches(']');
        text.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    authority == "localhost" || authority.starts_with("localhost:") || loopback(authority) || bare(authority)
}

/// The answer as it came, indented; hidden characters stay escaped.
fn json(body: &Value) -> Result<String, Box<dyn Error>> {
    let mut text = Vec::new();
    // Line ends are hidden characters too; those between lines are ours, and in a JSON text there are no others.
    for line in serde_json::to_string_pretty(body)?.lines() {
        escape::push_escaped(&mut text, line);
        text.push(b'\n');
    }
    Ok(String::from_utf8(text)?)
}

/// One line for each issuer.
fn table(issuers: &Value) -> String {
    let mut rows = vec![
        [
            "NAME",
            "STATE",
            "KEYS",
            "SKIPPED",
            "FROM",
            "LAST GOOD",
            "NEXT FETCH",
            "FAILED",
        ]
        .map(str::to_owned),
    ];
    for issuer in issuers.as_array().into_iter().flatten() {
        rows.push([
            said(&issuer["name"]),
            said(&issuer["state"]),
            count(&issuer["keys"]),
            count(&issuer["skipped"]),
            said(&issuer["keys_from"]),
            said(&issuer["last_good_at"]),
            said(&issuer["next_fetch_at"]),
            said(&issuer["consecutive_failures"]),
        ]);
    }
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Everything about one issuer.
fn page(issuer: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:20} {value}\n"));
    for name in [
        "name",
        "issuer",
        "state",
        "keys_from",
        "last_good_at",
        "age_seconds",
        "usable_until",
        "last_attempt_at",
        "last_error",
        "next_fetch_at",
        "consecutive_failures",
        "fetches_good",
        "fetches_failed",
    ] {
        line(name, said(&issuer[name]));
    }
    for (name, value) in issuer["source"].as_object().into_iter().flatten() {
        match value {
            Value::Array(items) => items.iter().for_each(|item| line(name, said(item))),
            value => line(name, said(value)),
        }
    }
    for key in issuer["keys"].as_array().into_iter().flatten() {
        let algorithms: Vec<String> = key["algorithms"].as_array().into_iter().flatten().map(said).collect();
        let kid = said(&key["kid"]);
        line(
            "key",
            format!("{kid} ({}) {}", algorithms.join(" "), said(&key["thumbprint"])),
        );
    }
    for key in issuer["skipped"].as_array().into_iter().flatten() {
        line("skipped", format!("{}: {}", said(&key["kid"]), said(&key["reason"])));
    }
    text
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

fn count(list: &Value) -> String {
    list.as_array().map_or(0, Vec::len).to_string()
}

/// Key ids and errors are strangers' texts: nothing in them may move a cursor.
fn clean(text: &str) -> String {
    let mut out = Vec::new();
    escape::push_escaped(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_every_interface_is_asked_on_this_machine() {
        let check = |address: &str, expected: &str| {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:9090", "127.0.0.1:9090");
        check("[::]:9090", "[::1]:9090");
        check("10.0.0.1:9090", "10.0.0.1:9090");
    }

    #[test]
    fn a_token_that_leaves_the_machine_unencrypted_is_noticed() {
        for here in [
            "http://127.0.0.1:9090",
            "http://localhost:9090/",
            "http://localhost",
            "http://[::1]:9090",
            "http://[::1]",
            "http://127.0.0.2",
        ] {
            assert!(stays_on_this_machine(here), "{here}");
        }
        for away in [
            "http://10.0.0.1:9090",
            "http://localhost.evil.example",
            "http://[2001:db8::1]:1",
            "http://",
        ] {
            assert!(!stays_on_this_machine(away), "{away}");
        }
    }

    #[test]
    fn nothing_hidden_reaches_the_terminal() {
        let health = serde_json::json!({
            "name": "a", "state": "ok", "last_error": "x\u{1b}[31m\n\u{202e}",
            "keys": [{ "kid": "k\r\n\0", "thumbprint": "t", "algorithms": ["ES256"] }],
            "skipped": [{ "kid": null, "reason": "a symmetric key" }],
            "source": { "kind": "discovery", "documents": ["https://a.example/\u{7f}"] },
        });
        for text in [
            page(&health),
            table(&serde_json::json!([health])),
            json(&health).unwrap(),
        ] {
            let hidden = text
                .chars()
                .filter(|character| *character != '\n')
                .any(escape::is_hidden);
            assert!(!hidden, "{text:?}");
        }
        assert!(serde_json::from_str::<Value>(&json(&health).unwrap()).is_ok());
        assert!(page(&health).contains("key                  k\\u000d\\u000a\\u0000 (ES256) t\n"));
        assert!(page(&health).contains("skipped              -: a symmetric key\n"));
    }

    #[test]
    fn columns_stand_below_their_names() {
        let issuers = serde_json::json!([
            { "name": "a-long-name", "state": "ok", "keys": [1, 2], "skipped": [], "keys_from": "source" },
            { "name": "b", "state": "no_keys", "keys": [], "skipped": [], "consecutive_failures": 3 },
        ]);
        let text = table(&issuers);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("STATE"), lines[1].find("ok"));
        assert_eq!(lines[0].find("KEYS"), lines[2].find('0'));
        assert!(lines[2].ends_with('3'));
    }
}
