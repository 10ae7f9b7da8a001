//! Which addresses do the names of endpoints have? The system looks up hosts. SRV records, their hosts, and everything that an
//! upstream's own `name_servers` know are looked up here.

use crate::config::EndpointHost;
use crate::config::endpoint::WEIGHT_MAX;
use crate::upstream::Lookup;
use crate::upstream::Rank;
use crate::upstream::Target;
use hickory_resolver::ResolverBuilder;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::config::NameServerConfig;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::config::ServerOrderingStrategy;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::proto::rr::rdata::SRV;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The records of one name, and the addresses that they lead to, which are used. A response could have thousands.
const RECORDS_MAX: usize = 128;
const ADDRESSES_MAX: usize = 1024;

/// The hosts that are looked up at once.
const HOSTS_AT_ONCE: usize = 64;

/// The time limit of one host of SRV records, so that a silent one does not hold up the others.
const HOST_TIMEOUT: Duration = Duration::from_secs(1);

/// The time in which a name server answers, before the next one is asked.
const SERVER_TIMEOUT: Duration = Duration::from_millis(800);

/// A name that leads to another one leads to SRV records after at most this many steps.
const ALIASES_MAX: usize = 4;

/// Looks up the name of `host`: asks `name_servers`, or the system where there are none.
///
/// # Errors
/// The problem, for the operator.
pub async fn lookup(host: &EndpointHost, name_servers: &[SocketAddr]) -> Result<Lookup, String> {
    let found = match host {
        EndpointHost::Inet { host, port } if name_servers.is_empty() => {
            let addresses = tokio::net::lookup_host((host.as_str(), *port)).await;
            let addresses = addresses.map_err(|error| error.to_string())?;
            Lookup::of_host(host, addresses)
        }
        EndpointHost::Inet { host, port } => {
            let resolver = resolver(name_servers)?;
            let found = resolver.lookup_ip(absolute(host)).await;
            let found = found.map_err(|error| problem(&error))?;
            Lookup::of_host(host, found.iter().map(|ip| SocketAddr::new(ip, *port)))
        }
        EndpointHost::Srv { name } => lookup_service(name, &resolver(name_servers)?).await?,
        EndpointHost::Unix { .. } => Lookup::default(),
    };
    if found.targets.is_empty() {
        return Err("the name has no address".to_owned());
    }
    Ok(found)
}

/// Looks up SRV records (RFC 2782), then their hosts. A host that does not exist, or has no address, is left out; one that cannot
/// be looked up now is unknown.
async fn lookup_service(name: &str, resolver: &TokioResolver) -> Result<Lookup, String> {
    let mut records = records(name, resolver).await?;
    // Servers shuffle their records; the same ones are cut each time.
    records.sort_by_key(|record| (record.priority, record.target.to_ascii(), record.port));
    if records.len() > RECORDS_MAX {
        tracing::warn!(
            name,
            records = records.len(),
            "Too many SRV records; {RECORDS_MAX} are used"
        );
        records.truncate(RECORDS_MAX);
    }
    let hosts: Vec<Arc<str>> = records.iter().map(|record| record.target.to_ascii().into()).collect();
    let found = hosts_of(&hosts, resolver).await;
    let (mut lookup, mut first_problem) = (Lookup::default(), None);
    for (record, host) in records.iter().zip(hosts) {
        let rank = Rank {
            priority: record.priority,
            weight: Some(weight(record, &records)),
        };
        match found.get(&host) {
            Some(HostLookup::Found(ips)) => lookup.targets.extend(ips.iter().map(|ip| Target {
                address: SocketAddr::new(*ip, record.port),
                rank,
                host: Arc::clone(&host),
            })),
            Some(HostLookup::Gone(problem)) => {
                first_problem.get_or_insert_with(|| format!("{host}: {problem}"));
            }
            Some(HostLookup::Unknown(problem)) => {
                first_problem.get_or_insert_with(|| format!("{host}: {problem}"));
                lookup.unknown.push(host);
            }
            None => {
                first_problem.get_or_insert_with(|| format!("{host}: the look-up failed"));
                lookup.unknown.push(host);
            }
        }
    }
    lookup.targets.truncate(ADDRESSES_MAX);
    match first_problem {
        Some(problem) if lookup.targets.is_empty() => Err(problem),
        problem => Ok(Lookup { problem, ..lookup }),
    }
}

/// Returns the SRV records of `name`, which may be an alias.
async fn records(name: &str, resolver: &TokioResolver) -> Result<Vec<SRV>, String> {
    let mut name = name.to_owned();
    for _ in 0..ALIASES_MAX {
        let error = match resolver.srv_lookup(name.as_str()).await {
            Ok(found) => {
                let records = found.answers().iter().filter_map(|record| match &record.data {
                    // A root name says that there is no such service here (RFC 2782), and port 0 is none.
                    RData::SRV(srv) if !srv.target.is_root() && srv.port != 0 => Some(srv.clone()),
                    _ => None,
                });
                return Ok(records.collect());
            }
            Err(error) => error,
        };
        // The resolver follows aliases to addresses, and not to SRV records.
        let alias = resolver.lookup(name.as_str(), RecordType::CNAME).await;
        let alias = alias.ok().and_then(|found| {
            found.answers().iter().find_map(|record| match &record.data {
                RData::CNAME(alias) => Some(alias.0.to_ascii()),
                _ => None,
            })
        });
        match alias {
            Some(alias) => name = alias,
            None => return Err(problem(&error)),
        }
    }
    Err("the name is an alias of an alias, and so on".to_owned())
}

/// The answer of name servers about one host.
enum HostLookup {
    Found(Vec<IpAddr>),
    /// It does not exist, or has no address.
    Gone(String),
    /// They do not say now.
    Unknown(String),
}

/// Looks up each host.
async fn hosts_of(hosts: &[Arc<str>], resolver: &TokioResolver) -> BTreeMap<Arc<str>, HostLookup> {
    let mut found = BTreeMap::new();
    let distinct: Vec<&Arc<str>> = hosts.iter().collect::<BTreeSet<_>>().into_iter().collect();
    for some in distinct.chunks(HOSTS_AT_ONCE) {
        let mut lookups = JoinSet::new();
        for host in some {
            let (host, resolver) = (Arc::clone(host), resolver.clone());
            lookups.spawn(async move {
                let found = timeout(HOST_TIMEOUT, resolver.lookup_ip(absolute(&host))).await;
                let found = match found {
                    Ok(Ok(found)) => HostLookup::Found(found.iter().collect()),
                    Ok(Err(error)) if error.is_nx_domain() || error.is_no_records_found() => {
                        HostLookup::Gone(problem(&error))
                    }
                    Ok(Err(error)) => HostLookup::Unknown(problem(&error)),
                    Err(_) => HostLookup::Unknown(format!("no answer within {} s", HOST_TIMEOUT.as_secs())),
                };
                (host, found)
            });
        }
        while let Some(ended) = lookups.join_next().await {
            // A task that panicked has no result, so that its host is unknown.
            if let Ok((host, lookup)) = ended {
                found.insert(host, lookup);
            }
        }
    }
    found
}

/// Returns the weight of `record` among those with its priority, from 1 to [`WEIGHT_MAX`]. Each address of its host gets it.
fn weight(record: &SRV, records: &[SRV]) -> u32 {
    let equals = records.iter().filter(|other| other.priority == record.priority);
    let weights = equals.map(|other| u32::from(other.weight));
    let (Some(least), Some(most)) = (weights.clone().min(), weights.max()) else {
        return 1;
    };
    let weight = u32::from(record.weight);
    if least == most {
        1
    } else if least > 0 && most <= WEIGHT_MAX {
        weight
    } else {
        // Beside others, a weight of 0 is a very small one (RFC 2782).
        (weight * WEIGHT_MAX / most).max(1)
    }
}

/// Returns the name so that no search domain is put behind it.
fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

/// Returns the resolver that asks `name_servers` in their order, or those of the system. Made for each look-up, so that a changed
/// `/etc/resolv.conf` counts.
fn resolver(name_servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let mut builder: ResolverBuilder<TokioRuntimeProvider> = if name_servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|error| format!("the system's name servers: {error}"))?
    } else {
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
        builder
    };
    let options = builder.options_mut();
    // A look-up is wanted because the answer before may be wrong by now.
    options.cache_size = 0;
    options.edns0 = true;
    options.timeout = SERVER_TIMEOUT;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    // Not two at once: the one that answers first may be the one that does not know the name.
    options.num_concurrent_reqs = 1;
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

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::Name;

    #[track_caller]
    fn check(weights: &[u16], expected: &[u32]) {
        let record = |weight| SRV::new(1, weight, 80, Name::root());
        let mut records: Vec<SRV> = weights.iter().map(|weight| record(*weight)).collect();
        // One of another priority counts for nothing.
        records.push(SRV::new(2, u16::MAX, 80, Name::root()));
        let found: Vec<u32> = records[..weights.len()]
            .iter()
            .map(|record| weight(record, &records))
            .collect();
        assert_eq!(found, expected, "{weights:?}");
    }

    #[test]
    fn weights_are_those_of_the_records_or_in_proportion_and_zero_is_very_small() {
        check(&[0, 0], &[1, 1]);
        check(&[7, 7], &[1, 1]);
        check(&[3, 1], &[3, 1]);
        check(&[30_000, 10_000], &[100, 33]);
        check(&[0, 1], &[1, 100]);
        check(&[0, 2, 1], &[1, 100, 50]);
        check(&[u16::MAX, 1], &[100, 1]);
    }
}
