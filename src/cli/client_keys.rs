//! `keygate clients keys|add-key|remove-key`: which keys may sign for a client?

use crate::cli::confirm::ConfirmArgs;
use crate::cli::gate::GateClient;
use crate::cli::reference::ClientArg;
use crate::cli::reference::ResolvedId;
use crate::cli::render;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::cli::secret_text;
use crate::model::id::ClientId;
use crate::model::secret::Secret;
use clap::Args;
use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::json;
use std::error::Error;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

pub const COLUMNS: &[Column<'_>] = &[
    ("KID", "kid"),
    ("ALGORITHMS", "algorithms"),
    ("MADE HERE", "generated"),
    ("CREATED", "created_at"),
    ("REVOKED", "revoked_at"),
];

pub const ADD_HELP: &str = "\
Examples:
  keygate clients add-key CLIENT --public-key client.public.pem
  keygate clients add-key CLIENT --generate ES256 --out client.pem
Of a pair that is made here only the public half is kept: the private one goes to stdout, or with
--out to a new file that only its owner can read, this once. Its `kid` goes to stderr.";

/// `keygate clients add-key`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["public_key", "generate"]))]
pub struct AddArgs {
    #[command(flatten)]
    pub client: ClientArg,
    /// A PEM file with one public key (`PUBLIC KEY`); `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// Make a pair for this algorithm
    #[arg(long, value_name = "ALGORITHM", value_parser = PossibleValuesParser::new(["ES256", "RS256", "PS256", "EdDSA"]))]
    pub generate: Option<String>,
    /// Where the private key goes: a new file [default: stdout]
    #[arg(long, value_name = "FILE", requires = "generate", conflicts_with = "public_key")]
    pub out: Option<PathBuf>,
}

/// `keygate clients remove-key`.
#[derive(Clone, Debug, Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub client: ClientArg,
    /// As `clients keys` shows it
    #[arg(value_parser = kid, allow_hyphen_values = true)]
    pub kid: String,
    /// End every token of the client that is out as well
    #[arg(long)]
    pub revoke_tokens: bool,
    #[command(flatten)]
    pub confirm: ConfirmArgs,
}

/// Returns the path of a client's keys.
pub fn path(id: &ClientId) -> String {
    format!("clients/{id}/keys")
}

/// Parses a key id, which is a thumbprint (RFC 7638) and needs no encoding in a path.
fn kid(text: &str) -> Result<String, &'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a key id has letters, digits, `-` and `_`")
    }
}

/// Registers a public key, or lets the gate generate a key pair and prints or writes the private key.
///
/// # Errors
/// If `public_key` cannot be read or has a private key, `out` exists already, no gate responds, or the gate refuses.
pub fn add(args: &AddArgs, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
    let body = match (&args.public_key, &args.generate) {
        (Some(file), _) => {
            // Reject a private key here, so that a mistake does not send it to the gate.
            let text = secret_text::from_file(file)?;
            let text = std::str::from_utf8(text.expose()).map_err(|_| format!("{}: not PEM", file.display()))?;
            if text.contains("PRIVATE KEY") {
                let hint =
                    "this is a private key, which only the client may have; its public half is what is asked for";
                return Err(format!("{}: {hint} (`openssl pkey -in FILE -pubout`)", file.display()).into());
            }
            json!({ "public_key": text })
        }
        // clap requires `--public-key` or `--generate`.
        (None, algorithm) => json!({ "generate": algorithm }),
    };
    let id = args.client.find(gate)?.id;
    // Create the file before the request: the gate does not keep the private key, so a later failure would lose it.
    let out = args.out.as_deref().map(PrivateFile::create).transpose()?;
    let mut made = gate.call(Method::POST, &path(&id), body)?;
    let sentence = format!("Client {id} has the key {}", cell(&made["kid"]));
    let Some(private) = made["private_key"].as_str().map(|pem| Secret::new(pem.to_owned())) else {
        return gate.report(&made, &sentence, "");
    };
    match out {
        Some(out) => {
            let path = out.keep(&private)?;
            if let Some(members) = made.as_object_mut() {
                members.remove("private_key");
            }
            gate.report(&made, &format!("{sentence}; its private half is in {path}"), "")
        }
        None => {
            let sentence = format!("{sentence}. This is the only time its private half is shown:");
            gate.report(&made, &sentence, &printable(private.expose()))
        }
    }
}

/// Returns the PEM text with hidden characters escaped, except line ends.
fn printable(pem: &str) -> String {
    pem.lines().map(|line| render::escaped(line) + "\n").collect()
}

/// Removes a public key.
///
/// # Errors
/// If no gate responds, or the gate refuses.
pub fn remove(args: &RemoveArgs, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
    let members = json!({ "revoke_tokens": args.revoke_tokens.then_some(true) });
    let ResolvedId { id, label } = args.client.find(gate)?;
    let consequence = format!("Key {} of client {label} will be refused from now on", args.kid);
    args.confirm.confirm(&mut gate.printer, &consequence)?;
    let path = format!("{}/{}", path(&id), args.kid);
    let tokens = if args.revoke_tokens {
        "; its tokens are ended"
    } else {
        ""
    };
    let changed = gate.call(Method::DELETE, &path, members)?;
    gate.report(
        &changed,
        &format!("Key {} signs for client {id} no more{tokens}", args.kid),
        "",
    )
}

/// A new file for a private key. Dropping it deletes the file, unless the key was written.
struct PrivateFile<'a> {
    path: &'a Path,
    file: Option<File>,
}

impl<'a> PrivateFile<'a> {
    fn create(path: &'a Path) -> Result<Self, String> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = opened.map_err(|error| format!("{}: {error}; it must be a new file", path.display()))?;
        Ok(Self { path, file: Some(file) })
    }

    fn keep(mut self, pem: &Secret<String>) -> Result<String, String> {
        let path = self.path.display().to_string();
        let Some(file) = &mut self.file else {
            return Ok(path);
        };
        let written = file.write_all(pem.expose().as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| {
            format!("{path}: the key was made, and cannot be written: {error}; remove it and add another")
        })?;
        self.file = None;
        Ok(path)
    }
}

impl Drop for PrivateFile<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(self.path);
        }
    }
}
