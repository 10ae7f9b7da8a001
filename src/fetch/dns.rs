//! Which addresses do name servers say? The system's resolver is asked for those of hosts; SRV records, and the upstream's own
//! `name_servers`, are asked for here.

use crate::config::EndpointHost;
use crate::config::endpoint::WEIGHT_MAX;
use crate::upstream::Rank;
use crate::upstream::Target;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::config::NameServerConfig;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;

/// The records of one name that are used. A response could have thousands, each with a name to look up.
const RECORDS_MAX: usize = 256;

/// Returns the addresses of `host`, as `name_servers` say them, or the system where there are none.
///
/// # Errors
/// The problem, for the operator.
pub async fn lookup(host: &EndpointHost, name_servers: &[SocketAddr]) -> Result<Vec<Target>, String> {
    let targets = match host {
        EndpointHost::Inet { host, port } => {
            let resolver = own_resolver(name_servers).transpose()?;
            let addresses = addresses(host, *port, resolver.as_ref()).await?;
            let target = |address| Target {
                address,
                rank: Rank::default(),
            };
            addresses.into_iter().map(target).collect()
        }
        EndpointHost::Srv { name } => of_service(name, name_servers).await?,
        EndpointHost::Unix { .. } => Vec::new(),
    };
    if targets.is_empty() {
        return Err("the name has no address".to_owned());
    }
    Ok(targets)
}

/// Returns the addresses of the hosts that the SRV records of `name` name. Hosts without an address are left out.
async fn of_service(name: &str, name_servers: &[SocketAddr]) -> Result<Vec<Target>, String> {
    let own = own_resolver(name_servers).transpose()?;
    let resolver = match &own {
        Some(own) => own.clone(),
        None => system_resolver()?,
    };
    let found = resolver.srv_lookup(name).await.map_err(|error| problem(&error))?;
    let records = found.answers().iter().filter_map(|record| match &record.data {
        // A root name says that the service is not offered here (RFC 2782).
        RData::SRV(srv) if !srv.target.is_root() => Some(srv.clone()),
        _ => None,
    });
    let records: Vec<SRV> = records.take(RECORDS_MAX).collect();
    let own = Arc::new(own);
    let mut lookups = JoinSet::new();
    for record in &records {
        let (record, own) = (record.clone(), Arc::clone(&own));
        let rank = Rank {
            priority: record.priority,
            weight: Some(weight(&record, &records)),
        };
        lookups.spawn(async move {
            let host = record.target.to_ascii();
            let found = addresses(&host, record.port, (*own).as_ref()).await;
            found.map(|addresses| addresses.into_iter().map(move |address| Target { address, rank }))
        });
    }
    let (mut targets, mut problems) = (Vec::new(), BTreeSet::new());
    while let Some(found) = lookups.join_next().await {
        match found.map_err(|error| error.to_string()).flatten() {
            Ok(found) => targets.extend(found),
            Err(problem) => {
                problems.insert(problem);
            }
        }
    }
    match problems.into_iter().next() {
        Some(problem) if targets.is_empty() => Err(problem),
        _ => Ok(targets),
    }
}

/// Returns the weight of `record` among those with its priority, from 1 to [`WEIGHT_MAX`]: the heaviest has the most.
fn weight(record: &SRV, records: &[SRV]) -> u32 {
    let equals = records.iter().filter(|other| other.priority == record.priority);
    let weights = equals.map(|other| u32::from(other.weight));
    let (Some(least), Some(most)) = (weights.clone().min(), weights.max()) else {
        return 1;
    };
    if least == most {
        return 1;
    }
    if most <= WEIGHT_MAX {
        return u32::from(record.weight).max(1);
    }
    (u32::from(record.weight) * WEIGHT_MAX / most).max(1)
}

/// Returns the addresses of a host: from `resolver`, or from the system.
async fn addresses(host: &str, port: u16, resolver: Option<&TokioResolver>) -> Result<Vec<SocketAddr>, String> {
    let Some(resolver) = resolver else {
        let found = tokio::net::lookup_host((host, port)).await;
        return found
            .map(Iterator::collect)
            .map_err(|error: io::Error| error.to_string());
    };
    let found = resolver
        .lookup_ip(absolute(host))
        .await
        .map_err(|error| problem(&error))?;
    Ok(found.iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// Returns the name so that no search domain is put behind it.
fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

/// Returns the resolver that asks `name_servers`; `None` where there are none.
fn own_resolver(name_servers: &[SocketAddr]) -> Option<Result<TokioResolver, String>> {
    if name_servers.is_empty() {
        return None;
    }
    let servers = name_servers.iter().map(|address| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.into())
    });
    let config = ResolverConfig::from_name_servers(servers.collect());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    Some(build(builder))
}

/// Returns the resolver that asks the name servers of the system. Made for each look-up, so that a changed `/etc/resolv.conf`
/// counts.
fn system_resolver() -> Result<TokioResolver, String> {
    let builder = TokioResolver::builder_tokio().map_err(|error| format!("the system's name servers: {error}"))?;
    build(builder)
}

fn build(mut builder: hickory_resolver::ResolverBuilder<TokioRuntimeProvider>) -> Result<TokioResolver, String> {
    let options = builder.options_mut();
    // A look-up is wanted because the answer before may be wrong by now.
    options.cache_size = 0;
    options.edns0 = true;
    builder.build().map_err(|error| problem(&error))
}

fn problem(error: &NetError) -> String {
    if error.is_nx_domain() {
        "there is no such name".to_owned()
    } else if error.is_no_records_found() {
        "the name has no such record".to_owned()
    } else {
        error.to_string()
    }
}
