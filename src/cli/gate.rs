//! Which gate does a command ask, as whom and over which way? And what does it tell of the answer?

use crate::cli::args::OutputForm;
use crate::cli::args::Place;
use crate::cli::http::admin_client::AdminClient;
use crate::cli::http::admin_client::AdminError;
use crate::cli::http::admin_client::AdminRequest;
use crate::cli::http::admin_client::AdminResponse;
use crate::cli::http::exchange::exposes_credentials;
use crate::cli::http::token_client;
use crate::cli::http::token_client::Identity;
use crate::cli::http::token_client::Issuer;
use crate::cli::http::token_client::Proof;
use crate::cli::http::token_client::TokenRequest;
use crate::cli::introduction;
use crate::cli::render;
use crate::cli::run::config_path;
use crate::cli::secret_text;
use crate::cli::token;
use crate::config;
use crate::config::Config;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::id::ClientId;
use crate::model::issuer::IssuerUrl;
use crate::model::secret::Secret;
use crate::runtime::local_admin;
use crate::runtime::local_admin::OpenError;
use clap::Args;
use http::Method;
use serde_json::Value;
use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use url::form_urlencoded;

const TOKEN_VARIABLE: &str = "KEYGATE_ADMIN_TOKEN";
/// Items that a list asks for at a time: the most that a page has.
const PAGE: usize = 200;

/// Flags of every command that asks a gate.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which gate")]
pub struct GateArgs {
    #[command(flatten)]
    pub place: Place,
    /// The admin listener of a gate, in place of a configuration
    #[arg(long, value_name = "URL", global = true, conflicts_with_all = ["config", "data_dir"])]
    pub admin: Option<String>,
    /// The socket beside the store of a gate that runs here, in place of a configuration
    #[arg(long, value_name = "FILE", global = true, conflicts_with_all = ["config", "data_dir", "admin", "token_file", "client_id"])]
    pub socket: Option<PathBuf>,
    /// A file with the token for --admin; `-` is stdin [default: the variable KEYGATE_ADMIN_TOKEN]
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// Get the token for --admin as this client, which has the scope `admin:read` or `admin:write`
    #[arg(long, value_name = "ID", global = true, conflicts_with = "token_file")]
    pub client_id: Option<ClientId>,
    /// A file with the client's secret; `-` is stdin [default: the variable KEYGATE_CLIENT_SECRET]
    #[arg(long, value_name = "FILE", global = true)]
    pub secret_file: Option<PathBuf>,
    /// Where the client gets its token: `token_endpoint.issuer` of the gate
    #[arg(long, value_name = "URL", global = true)]
    pub issuer: Option<IssuerUrl>,
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t = OutputForm::Table, global = true)]
    pub output: OutputForm,
}

/// Which part of a list.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Those that follow this one in the list
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
}

/// For what must not happen twice.
#[derive(Clone, Debug, Args)]
pub struct OnceArgs {
    /// A text of your choice: the same command with the same text makes nothing twice, and shows no secret again
    #[arg(long, value_name = "TEXT")]
    pub idempotency_key: Option<String>,
}

/// What the gate said no to.
#[derive(Debug)]
pub struct Refusal {
    status: u16,
    text: String,
}

impl Refusal {
    fn new(answered: &AdminResponse, at: &str) -> Self {
        let body = &answered.body;
        let text = |name: &str| body[name].as_str().map(render::escaped);
        let detail = match (answered.status, text("detail")) {
            (401, _) => format!(
                "{at} refuses the token: is it that of `admin.token` of the gate that runs there, or one with the scope \
                 `admin:read` or `admin:write` that has not expired?"
            ),
            (_, Some(detail)) => detail,
            (_, None) => "no reason was given".to_owned(),
        };
        let title = text("title").unwrap_or_default();
        // The last word of the type is what a script, or a search, can go by.
        let slug = body["type"].as_str().and_then(|kind| kind.rsplit(':').next());
        let slug = slug.map_or_else(String::new, |slug| format!(" {}", render::escaped(slug)));
        let mut lines = vec![format!("{title}: {detail} ({}{slug})", answered.status)];
        for error in body["errors"].as_array().into_iter().flatten() {
            lines.push(format!(
                "  {}: {}",
                render::cell(&error["pointer"]),
                render::cell(&error["detail"])
            ));
        }
        Self {
            status: answered.status,
            text: lines.join("\n"),
        }
    }

    pub const fn status(&self) -> u16 {
        self.status
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Error for Refusal {}

/// A gate that answers, and where a command's words go.
pub struct GateClient<'a> {
    client: AdminClient,
    way: Way,
    pub output: OutputForm,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

/// How the gate is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Listener(String),
    Socket,
    /// Opened in this process.
    Store,
}

/// What the configuration says to a command.
pub enum GateLookup<'a> {
    Running(Box<GateClient<'a>>),
    /// There is a store, and no gate runs on it.
    Stopped(LoadedConfig<'a>),
    /// There is no store: what it is about is in files, or cannot be had.
    NoStore(LoadedConfig<'a>),
}

/// A configuration that no running gate answers for, and where a command's words go.
pub struct LoadedConfig<'a> {
    pub config: Box<Config>,
    pub path: PathBuf,
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
}

impl<'a> GateClient<'a> {
    /// The gate that was named with --admin, else the one that has the configuration's store, else the store itself.
    ///
    /// # Errors
    /// A configuration that cannot be read or has no store, a missing token, a gate that does not answer.
    pub fn open(asked: &GateArgs, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Result<Self, Box<dyn Error>> {
        match Self::find(asked, out, err)? {
            GateLookup::Running(gate) => Ok(*gate),
            GateLookup::Stopped(found) => Self::on_store(asked, found),
            GateLookup::NoStore(found) => Err(format!(
                "{}: `store` is not set, so there is nothing that issues credentials (`store: {{ path: keygate.db }}`)",
                found.path.display()
            )
            .into()),
        }
    }

    /// The same; a configuration without a store is found as well.
    ///
    /// # Errors
    /// Those of [`GateClient::open`], but for the missing store.
    pub fn find(
        asked: &GateArgs,
        out: &'a mut dyn Write,
        err: &'a mut dyn Write,
    ) -> Result<GateLookup<'a>, Box<dyn Error>> {
        let found = |client, way, out, err| {
            GateLookup::Running(Box::new(Self {
                client,
                way,
                output: asked.output,
                out,
                err,
            }))
        };
        if let Some(base) = &asked.admin {
            let token = given_token(asked)?
                .ok_or_else(|| format!("no token: set {TOKEN_VARIABLE}, or name a file with --token-file"))?;
            if exposes_credentials(base) {
                writeln!(err, "warning: the token goes to {base} unencrypted")?;
            }
            let client = AdminClient::over_listener(base, token)?;
            return Ok(found(client, Way::Listener(base.clone()), out, err));
        }
        if let Some(path) = &asked.socket {
            let client = AdminClient::over_socket(path)?.ok_or_else(|| AdminError::Socket {
                at: path.clone(),
                problem: "nobody answers there; is `keygate run` running?".to_owned(),
            })?;
            return Ok(found(client, Way::Socket, out, err));
        }
        let path = config_path(&asked.place)?;
        let config = Box::new(config::load(&path)?);
        let Some(store) = &config.store else {
            return Ok(GateLookup::NoStore(LoadedConfig { config, path, out, err }));
        };
        match AdminClient::over_socket(&store.beside(".sock"))? {
            Some(client) => Ok(found(client, Way::Socket, out, err)),
            None => Ok(GateLookup::Stopped(LoadedConfig { config, path, out, err })),
        }
    }

    /// The store itself, where no gate runs on it.
    ///
    /// # Errors
    /// A store that cannot be opened.
    pub fn on_store(asked: &GateArgs, found: LoadedConfig<'a>) -> Result<Self, Box<dyn Error>> {
        let open = async || {
            let opened = local_admin::open(&found.config).await?;
            Ok::<_, OpenError>((opened.router, opened.first_administrator))
        };
        let (client, first_administrator) = AdminClient::in_process(open)?;
        if let Some(administrator) = &first_administrator {
            // As `keygate run` does where it is the first: it is the one time that it can be seen.
            found
                .err
                .write_all(introduction::first_administrator(administrator).as_bytes())?;
        }
        Ok(Self {
            client,
            way: Way::Store,
            output: asked.output,
            out: found.out,
            err: found.err,
        })
    }

    /// The gate whose admin listener the configuration names: what only a gate that runs knows.
    ///
    /// # Errors
    /// No listener, no token.
    pub fn on_admin_listener(asked: &GateArgs, found: LoadedConfig<'a>) -> Result<Self, Box<dyn Error>> {
        let path = found.path.display();
        let Some(admin) = &found.config.admin else {
            return Err(format!("{path}: there is no `admin` section, so the gate cannot be asked").into());
        };
        if admin.address.port() == 0 {
            let hint = "`admin.address` leaves the port open; say where the gate listens with --admin";
            return Err(format!("{path}: {hint}").into());
        }
        // The configuration's own token is the gate's; another one only where it has none.
        let token = match admin.token.clone() {
            Some(token) => Some(token),
            None => given_token(asked)?,
        };
        let hint = || format!("{path}: no token: set `admin.token` (\"${{{TOKEN_VARIABLE}}}\")");
        let base = format!("http://{}", reachable(admin.address));
        let client = AdminClient::over_listener(&base, token.ok_or_else(hint)?)?;
        Ok(Self {
            client,
            way: Way::Listener(base),
            output: asked.output,
            out: found.out,
            err: found.err,
        })
    }

    /// # Errors
    /// No answer, or a refusal.
    pub fn get(&mut self, path: &str) -> Result<Value, Box<dyn Error>> {
        self.good(Method::GET, path, None, None)
    }

    /// # Errors
    /// No answer, or a refusal.
    pub fn post(&mut self, path: &str, body: Option<&Value>) -> Result<Value, Box<dyn Error>> {
        self.good(Method::POST, path, body, None)
    }

    /// # Errors
    /// No answer, or a refusal.
    pub fn create(&mut self, path: &str, body: &Value, once: &OnceArgs) -> Result<Value, Box<dyn Error>> {
        self.good(Method::POST, path, Some(body), once.idempotency_key.as_deref())
    }

    /// # Errors
    /// No answer, or a refusal.
    pub fn patch(&mut self, path: &str, body: &Value) -> Result<Value, Box<dyn Error>> {
        self.good(Method::PATCH, path, Some(body), None)
    }

    /// # Errors
    /// No answer, or a refusal.
    pub fn delete(&mut self, path: &str) -> Result<Value, Box<dyn Error>> {
        self.good(Method::DELETE, path, None, None)
    }

    fn good(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        idempotency_key: Option<&str>,
    ) -> Result<Value, Box<dyn Error>> {
        let answered = self.send(&AdminRequest {
            method,
            path,
            body,
            idempotency_key,
        })?;
        match answered.status {
            200..=299 => Ok(answered.body),
            _ => Err(self.refusal(&answered).into()),
        }
    }

    /// What was answered, a refusal among it.
    ///
    /// # Errors
    /// No answer.
    pub fn send(&mut self, request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
        self.client.send(request)
    }

    /// Whether paths mean the same there as here.
    pub fn is_on_this_machine(&self) -> bool {
        match self.way {
            Way::Socket | Way::Store => true,
            Way::Listener(_) => false,
        }
    }

    pub fn refusal(&self, answered: &AdminResponse) -> Refusal {
        let at = match &self.way {
            Way::Listener(base) => base,
            Way::Socket | Way::Store => "the gate",
        };
        Refusal::new(answered, at)
    }

    /// Fetches a list, page by page, and prints it.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn list(
        &mut self,
        path: &str,
        filters: &[(&str, Option<String>)],
        asked: &ListArgs,
        columns: &[render::Column],
    ) -> Result<(), Box<dyn Error>> {
        let (mut items, mut after) = (Vec::new(), asked.after.clone());
        let most = usize::try_from(asked.limit).unwrap_or(usize::MAX);
        loop {
            let mut query = form_urlencoded::Serializer::new(String::new());
            for (name, value) in filters {
                if let Some(value) = value {
                    query.append_pair(name, value);
                }
            }
            if let Some(after) = &after {
                query.append_pair("after", after);
            }
            query.append_pair("limit", &PAGE.min(most - items.len()).to_string());
            let mut page = self.get(&format!("{path}?{}", query.finish()))?;
            if let Value::Array(more) = page["items"].take() {
                items.extend(more);
            }
            after = next(&page["next"]);
            if after.is_none() || items.len() >= most {
                break;
            }
        }
        match self.output {
            OutputForm::Json => self.show(&render::json(&serde_json::json!({ "items": items, "next": after }))),
            OutputForm::Table => {
                self.show(&render::table(columns, &items))?;
                if let Some(after) = after {
                    let after = render::escaped(&after);
                    self.tell(&format!("There are more: go on with --after {after}"))?;
                }
                Ok(())
            }
        }
    }

    /// Prints one thing.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn thing(&mut self, thing: &Value, first: &[&str]) -> Result<(), Box<dyn Error>> {
        match self.output {
            OutputForm::Json => self.show(&render::json(thing)),
            OutputForm::Table => self.show(&render::page(thing, first)),
        }
    }

    /// A change was made: `sentence` for people on stderr, and on stdout what the next command needs, or the answer.
    ///
    /// # Errors
    /// The output cannot be written; then a secret in it is lost, which the error says.
    pub fn done(&mut self, answer: &Value, sentence: &str, needed: &str) -> Result<(), Box<dyn Error>> {
        let text = match self.output {
            OutputForm::Json if answer.is_null() => String::new(),
            OutputForm::Json => render::json(answer),
            OutputForm::Table => {
                self.tell(sentence)?;
                needed.to_owned()
            }
        };
        if self.way == Way::Store {
            self.tell("The gate is not running: it is written to the store, and in force from its next start")?;
        }
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|error| format!("it was done, and its answer is lost: cannot write to stdout: {error}").into())
    }

    /// A line for people.
    ///
    /// # Errors
    /// Stderr cannot be written.
    pub fn tell(&mut self, sentence: &str) -> Result<(), Box<dyn Error>> {
        Ok(writeln!(self.err, "{sentence}")?)
    }

    /// An answer that can be had again: whoever reads it may stop when they have read enough.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn show(&mut self, text: &str) -> Result<(), Box<dyn Error>> {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(format!("cannot write to stdout: {error}").into())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// `next` is an id, or the number of an event.
fn next(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn given_token(asked: &GateArgs) -> Result<Option<Secret<Vec<u8>>>, Box<dyn Error>> {
    match (&asked.client_id, &asked.token_file) {
        (Some(client_id), _) => clients_token(asked, client_id).map(Some),
        (None, Some(file)) => Ok(secret_text::from_file(file).map(Some)?),
        (None, None) => Ok(secret_text::from_variable(TOKEN_VARIABLE)),
    }
}

/// A token that the gate issues to an administrator's client.
fn clients_token(asked: &GateArgs, client_id: &ClientId) -> Result<Secret<Vec<u8>>, Box<dyn Error>> {
    let issuer = asked.issuer.as_ref();
    let issuer = issuer.ok_or("--client-id: say where the client gets its token, with --issuer")?;
    let identity = Identity {
        client_id: client_id.to_string(),
        proof: Proof::Secret(token::secret(asked.secret_file.as_deref())?),
    };
    let at = Issuer {
        url: issuer,
        ca_file: None,
    };
    let answer = token_client::send(
        at,
        &identity,
        &TokenRequest::Token { scope: None },
        SystemClock::new().now().wall,
    )?;
    let token = answer["access_token"]
        .as_str()
        .ok_or("the answer has no `access_token`")?;
    Ok(Secret::new(token.as_bytes().to_vec()))
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
}
