//! Which gate does a command call, over which connection, and with which token?

use crate::cli::gate::args::GateArgs;
use crate::cli::gate::profile::with_profile;
use crate::cli::http::admin_client::AdminClient;
use crate::cli::http::admin_client::AdminError;
use crate::cli::http::exchange::exposes_credentials;
use crate::cli::http::token_client;
use crate::cli::http::token_client::Identity;
use crate::cli::http::token_client::Issuer;
use crate::cli::http::token_client::Proof;
use crate::cli::http::token_client::TokenRequest;
use crate::cli::introduction;
use crate::cli::place::ConfigLocation;
use crate::cli::printer::Printer;
use crate::cli::secret_text;
use crate::config;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::PartialConfig;
use crate::config::ReferencedFiles;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::id::ClientId;
use crate::model::secret::Secret;
use std::error::Error;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::PathBuf;

const TOKEN_VARIABLE: &str = "KEYGATE_ADMIN_TOKEN";

/// The gate or the configuration that [`find`] found.
pub enum GateLookup {
    Running(AdminClient),
    /// The configuration has a store, and no gate runs on it.
    Stopped(LoadedConfig),
    /// The configuration has no store. Its gate may run, but has no socket.
    NoStore(LoadedConfig),
}

/// A configuration whose gate cannot be called over a socket.
pub struct LoadedConfig {
    pub config: Box<PartialConfig>,
    pub path: PathBuf,
}

/// Finds the gate named with --profile, --admin or --socket, or the gate that runs on the configuration's store.
///
/// # Errors
/// If the profile or the configuration cannot be read, if there is no token for --admin, if no gate listens on --socket, or
/// if a socket may not be used.
pub fn find(args: &GateArgs, printer: &mut Printer<'_>) -> Result<GateLookup, Box<dyn Error>> {
    let args = &with_profile(args)?;
    if let Some(base) = &args.admin {
        let token = token_from_flags(args)?
            .ok_or_else(|| format!("no token: set {TOKEN_VARIABLE}, or name a file with --token-file"))?;
        if exposes_credentials(base) {
            printer.warn(&format!("warning: the token goes to {base} unencrypted"))?;
        }
        return Ok(GateLookup::Running(AdminClient::over_listener(base, token)?));
    }
    if let Some(path) = &args.socket {
        let client = AdminClient::over_socket(path)?.ok_or_else(|| AdminError::Socket {
            at: path.clone(),
            problem: "nobody answers there; is `keygate run` running?".to_owned(),
        })?;
        return Ok(GateLookup::Running(client));
    }
    let loaded = LoadedConfig::load(&args.place)?;
    let Some(store) = &loaded.config.resolved(&["store"])?.store else {
        return Ok(GateLookup::NoStore(loaded));
    };
    match AdminClient::over_socket(&store.beside(".sock"))? {
        Some(client) => Ok(GateLookup::Running(client)),
        None => Ok(GateLookup::Stopped(loaded)),
    }
}

/// Returns a client of the gate that [`find`] finds, or of the store itself if no gate runs.
///
/// # Errors
/// Those of [`find`], or if the configuration has no store or the store cannot be opened.
pub fn open(args: &GateArgs, printer: &mut Printer<'_>) -> Result<AdminClient, Box<dyn Error>> {
    match find(args, printer)? {
        GateLookup::Running(client) => Ok(client),
        GateLookup::Stopped(loaded) => loaded.open_store(printer),
        GateLookup::NoStore(loaded) => Err(format!(
            "{}: `store` is not set, so there is nothing that issues credentials (`store: {{ path: keygate.db }}`)",
            loaded.path.display()
        )
        .into()),
    }
}

impl LoadedConfig {
    /// Reads the configuration at `place`.
    ///
    /// # Errors
    /// If the configuration cannot be read, or has a mistake.
    pub fn load(place: &ConfigLocation) -> Result<Self, Box<dyn Error>> {
        let path = place.config_path()?;
        let config = config::load_partial(&path, ReferencedFiles::MustExistButKeys, ConfigError::is_of_process)?;
        let config = Box::new(config);
        Ok(Self { config, path })
    }

    /// Returns the configuration with the sections that the store needs.
    ///
    /// # Errors
    /// If a variable that one of them names is not set.
    pub fn of_store(&self) -> Result<&Config, Box<dyn Error>> {
        Ok(self
            .config
            .resolved(&["store", "api_keys", "token_endpoint", "plans"])?)
    }

    /// Opens the store and returns a client of it. Prints the first administrator if the store is new.
    ///
    /// # Errors
    /// If the store cannot be opened, or stderr cannot be written.
    pub fn open_store(&self, printer: &mut Printer<'_>) -> Result<AdminClient, Box<dyn Error>> {
        let (client, administrator) = AdminClient::on_store(self.of_store()?)?;
        if let Some(administrator) = &administrator {
            // Only the process that creates the store can show this secret.
            printer.warn(introduction::first_administrator(administrator).expose().trim_end())?;
        }
        Ok(client)
    }

    /// Returns a client of the configured admin listener, for facts that only a running gate has.
    ///
    /// # Errors
    /// If the configuration has no admin listener, or leaves its port open, or if there is no token.
    pub fn admin_listener(&self, args: &GateArgs) -> Result<AdminClient, Box<dyn Error>> {
        let address = self.admin_address()?;
        // Prefer `admin.token`, the token of this gate, to a token of the flags.
        let token = match self.admin()?.token.clone() {
            Some(token) => Some(token),
            None => token_from_flags(&with_profile(args)?)?,
        };
        let token = token.ok_or_else(|| {
            let path = self.path.display();
            format!("{path}: no token: set `admin.token` (\"${{{TOKEN_VARIABLE}}}\")")
        })?;
        Ok(AdminClient::over_listener(&format!("http://{address}"), token)?)
    }

    /// Returns the address for calls to the admin listener.
    ///
    /// # Errors
    /// If the configuration has no admin listener, or leaves its port open.
    pub fn admin_address(&self) -> Result<SocketAddr, Box<dyn Error>> {
        let address = self.admin()?.address;
        if address.port() == 0 {
            let hint = "`admin.address` leaves the port open; say where the gate listens with --admin";
            return Err(format!("{}: {hint}", self.path.display()).into());
        }
        Ok(reachable(address))
    }

    fn admin(&self) -> Result<&config::Admin, Box<dyn Error>> {
        match &self.config.resolved(&["admin"])?.admin {
            Some(admin) => Ok(admin),
            None => {
                let path = self.path.display();
                Err(format!("{path}: there is no `admin` section, so the gate cannot be asked").into())
            }
        }
    }
}

fn token_from_flags(args: &GateArgs) -> Result<Option<Secret<Vec<u8>>>, Box<dyn Error>> {
    match (&args.client_id, &args.token_file) {
        (Some(client_id), _) => client_token(args, client_id).map(Some),
        (None, Some(file)) => Ok(secret_text::from_file(file).map(Some)?),
        (None, None) => Ok(secret_text::from_variable(TOKEN_VARIABLE)),
    }
}

/// Returns an access token that the issuer of `--issuer` issues to the client `client_id`.
fn client_token(args: &GateArgs, client_id: &ClientId) -> Result<Secret<Vec<u8>>, Box<dyn Error>> {
    let issuer = args.issuer.as_ref();
    let issuer = issuer.ok_or("--client-id: say where the client gets its token, with --issuer")?;
    let issuer = Issuer {
        url: issuer,
        ca_file: None,
    };
    let identity = Identity {
        client_id: client_id.to_string(),
        proof: Proof::Secret(secret_text::client_secret(args.secret_file.as_deref())?),
    };
    let request = TokenRequest::Token {
        scope: None,
        resources: Vec::new(),
    };
    let response = token_client::send(issuer, &identity, &request, SystemClock::new().now().wall)?;
    let token = response["access_token"]
        .as_str()
        .ok_or("the answer has no `access_token`")?;
    Ok(Secret::new(token.as_bytes().to_vec()))
}

/// Returns the address for a call to a gate that listens on `address`: loopback for an unspecified address.
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
    fn an_unspecified_address_is_called_over_loopback() {
        let check = |address: &str, expected: &str| {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:9090", "127.0.0.1:9090");
        check("[::]:9090", "[::1]:9090");
        check("10.0.0.1:9090", "10.0.0.1:9090");
    }
}
