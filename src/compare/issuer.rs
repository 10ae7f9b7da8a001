//! Which settings make more tokens of an issuer valid than before?

use crate::compare::Weakening;
use crate::compare::finding::duration;
use crate::compare::finding::list_text;
use crate::compare::finding::relative;
use crate::compare::finding::trusted_roots;
use crate::compare::side::SideRoute;
use crate::config::Introspection;
use crate::config::Issuer;
use crate::config::KeySource;
use crate::config::Mode;
use crate::config::issuer::ConnectSettings;
use crate::config::issuer::JwksLocation;
use crate::config::issuer::RemoteKeys;
use std::path::Path;
use std::time::Duration;

/// Calls `found` with every setting that makes more tokens of one issuer valid on `now` than on `before`.
pub(in crate::compare) fn compare(
    (before, was): (SideRoute<'_>, &Issuer),
    (now, is): (SideRoute<'_>, &Issuer),
    found: &mut dyn FnMut(Weakening),
) {
    let Issuer {
        name: _,
        // The text is equal on both sides, because it identifies the issuer; the tenants may differ.
        issuer,
        keys,
        audiences: _,
        algorithms,
        types,
        clock_skew,
        max_lifetime,
        required_claims,
        scope_claims,
        client_id_claims,
        organization_claim,
        // Claims in headers for upstreams require nothing of the client.
        claim_headers: _,
        // A further place for the same tokens requires no less.
        token_header: _,
        mode,
        // Derived from the rules of the routes, which `rules` compares.
        claim_facts: _,
    } = is;
    compare_audiences((before, was), (now, is), found);
    let mut report = |key: &str, old: String, new: String| {
        let place = |side_route: SideRoute<'_>, issuer: &Issuer| {
            side_route
                .side
                .origins
                .find(["issuers", issuer.name.as_str(), key])
                .clone()
        };
        found(Weakening {
            routes: Vec::new(),
            requirement: format!("issuer {}: {key}", is.name),
            was: old,
            is: new,
            old: place(before, was),
            new: place(now, is),
        });
    };
    if let (Some(old), Some(new)) = (was.issuer.tenants(), issuer.tenants())
        && !old.includes(new)
    {
        report("tenants", old.to_string(), new.to_string());
    }
    compare_keys((before.side.folder, &was.keys), (now.side.folder, keys), &mut report);
    if algorithms.iter().any(|algorithm| !was.algorithms.contains(algorithm)) {
        report("algorithms", list_text(&was.algorithms), list_text(algorithms));
    }
    let typ = |types: &[String]| list_text(types.iter().map(|typ| if typ.is_empty() { "absent" } else { typ }));
    let has = |list: &[String], typ: &str| list.iter().any(|known| known.eq_ignore_ascii_case(typ));
    if types.iter().any(|typ| !has(&was.types, typ)) {
        report("types", typ(&was.types), typ(types));
    }
    for (key, old, new) in [
        ("clock_skew", was.clock_skew, *clock_skew),
        ("max_lifetime", was.max_lifetime, *max_lifetime),
    ] {
        if new > old {
            report(key, duration(old), duration(new));
        }
    }
    let claims = |list: &[(String, Vec<String>)]| {
        list_text(
            list.iter()
                .map(|(name, values)| format!("{name}: {}", list_text(values))),
        )
    };
    let is_kept = |(name, allowed): &(String, Vec<String>)| {
        let same = required_claims.iter().filter(|(other, _)| other == name);
        same.into_iter()
            .any(|(_, values)| values.iter().all(|value| allowed.contains(value)))
    };
    if !was.required_claims.iter().all(is_kept) {
        report("required_claims", claims(&was.required_claims), claims(required_claims));
    }
    // The gate reads the first claim that is present, so a list that was shortened at its end reads no new claim.
    let reads_other_claims = |old: &[String], new: &[String]| !old.starts_with(new);
    for (key, old, new) in [
        ("scope_claims", &was.scope_claims, scope_claims),
        ("client_id_claims", &was.client_id_claims, client_id_claims),
    ] {
        if reads_other_claims(old, new) {
            report(key, old.join(", "), new.join(", "));
        }
    }
    if *mode == Mode::Shadow && was.mode == Mode::Enforce {
        report("mode", "enforce".to_owned(), "shadow".to_owned());
    }
    if was.organization_claim != *organization_claim {
        report(
            "organization_claim",
            was.organization_claim.clone(),
            organization_claim.clone(),
        );
    }
}

/// Compares the audiences of the route; if the route has no audiences, the audiences of the issuer.
fn compare_audiences(
    (before, was): (SideRoute<'_>, &Issuer),
    (now, is): (SideRoute<'_>, &Issuer),
    found: &mut dyn FnMut(Weakening),
) {
    let old = before.route.audiences.as_deref().or(was.audiences.as_deref());
    let new = now.route.audiences.as_deref().or(is.audiences.as_deref());
    let wider = match (old, new) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(old), Some(new)) => new.iter().any(|audience| !old.contains(audience)),
    };
    if !wider {
        return;
    }
    let words = |audiences: Option<&[String]>| audiences.map_or_else(|| "any".to_owned(), list_text);
    let place = |side_route: SideRoute<'_>, issuer: &Issuer| match side_route.route.audiences {
        Some(_) => ["routes".to_owned(), side_route.route.name.to_string()],
        None => ["issuers".to_owned(), issuer.name.to_string()],
    };
    let origin = |side_route: SideRoute<'_>, issuer: &Issuer| {
        let [section, name] = place(side_route, issuer);
        side_route.side.origins.find([&section, &name, "audiences"]).clone()
    };
    found(Weakening {
        routes: Vec::new(),
        requirement: format!("audiences of issuer {}", is.name),
        was: words(old),
        is: words(new),
        old: origin(before, was),
        new: origin(now, is),
    });
}

/// Compares the key sources. A source in another place may have other keys, so it is always a finding.
fn compare_keys(
    (old_folder, old): (&Path, &KeySource),
    (folder, new): (&Path, &KeySource),
    report: &mut dyn FnMut(&str, String, String),
) {
    match (old, new) {
        (KeySource::Remote(old), KeySource::Remote(new)) => compare_remote((old_folder, old), (folder, new), report),
        (KeySource::Introspection(old), KeySource::Introspection(new)) => {
            compare_introspection((old_folder, old), (folder, new), report);
        }
        (KeySource::Pem(old), KeySource::Pem(new)) => {
            let old: Vec<String> = old.iter().map(|path| relative(old_folder, path)).collect();
            let new: Vec<String> = new.iter().map(|path| relative(folder, path)).collect();
            if new.iter().any(|path| !old.contains(path)) {
                report("public_key_files", list_text(old), list_text(new));
            }
        }
        (KeySource::File(old), KeySource::File(new)) if relative(old_folder, old) == relative(folder, new) => {}
        (KeySource::Own, KeySource::Own) => {}
        (old, new) => {
            let words = |folder: &Path, keys: &KeySource| match keys {
                KeySource::Pem(paths) => (
                    "public_key_files",
                    list_text(paths.iter().map(|path| relative(folder, path))),
                ),
                KeySource::File(path) => ("jwks_file", relative(folder, path)),
                KeySource::Remote(remote) => place(&remote.at),
                KeySource::Introspection(introspection) => ("introspection", introspection.url.to_string()),
                KeySource::Own => ("token_endpoint", "this gate".to_owned()),
            };
            let ((before, was), (key, is)) = (words(old_folder, old), words(folder, new));
            report(key, format!("{before}: {was}"), format!("{key}: {is}"));
        }
    }
}

/// Compares the introspection endpoint, the security of the connection to it, and the lifetime of cached responses.
fn compare_introspection(
    (old_folder, old): (&Path, &Introspection),
    (folder, new): (&Path, &Introspection),
    report: &mut dyn FnMut(&str, String, String),
) {
    let Introspection {
        url,
        // Keygate's own credential at the endpoint. A wrong credential makes no token valid.
        authentication: _,
        allow_http,
        allow_private_addresses,
        ca_file,
        // A proxy relays TLS unchanged; without TLS, `allow_http` is the finding.
        proxy: _,
        cache_ttl,
        // Cached refusals, and limits on memory and calls, make no token valid.
        negative_ttl: _,
        cache_bytes_max: _,
        timeout: _,
        concurrency: _,
        breaker: _,
    } = new;
    let (old_file, new_file) = (
        trusted_roots(old_folder, old.ca_file.as_ref()),
        trusted_roots(folder, ca_file.as_ref()),
    );
    let private = (old.allow_private_addresses, *allow_private_addresses);
    for (what, weaker, was, is) in [
        ("url", *url != old.url, old.url.to_string(), url.to_string()),
        (
            "allow_http",
            *allow_http && !old.allow_http,
            old.allow_http.to_string(),
            allow_http.to_string(),
        ),
        (
            "allow_private_addresses",
            private.1 && !private.0,
            private.0.to_string(),
            private.1.to_string(),
        ),
        ("ca_file", old_file != new_file, old_file, new_file),
        (
            "cache_ttl",
            *cache_ttl > old.cache_ttl,
            duration(old.cache_ttl),
            duration(*cache_ttl),
        ),
    ] {
        if weaker {
            report("introspection", format!("{what}: {was}"), format!("{what}: {is}"));
        }
    }
}

/// Returns the setting that locates the keys, and its value. For discovery, the value is the issuer: every metadata URL
/// derives from the issuer.
fn place(at: &JwksLocation) -> (&'static str, String) {
    match at {
        JwksLocation::JwksUrl(url) => ("jwks_url", url.to_string()),
        JwksLocation::Discovery(discovery) => ("discovery", discovery.issuer.to_string()),
    }
}

fn compare_remote(
    (old_folder, old): (&Path, &RemoteKeys),
    (folder, new): (&Path, &RemoteKeys),
    report: &mut dyn FnMut(&str, String, String),
) {
    let RemoteKeys {
        at,
        // The token of the gate for the server of the keys requires nothing of clients.
        bearer_token_file: _,
        connect,
        min_refresh,
        max_refresh,
        // These settings delay the use of a new key, but do not prolong the use of a withdrawn key.
        cooldown: _,
        wait: _,
        start_wait: _,
        max_stale,
    } = new;
    let ConnectSettings {
        allow_http,
        allow_private_addresses,
        ca_file,
        // A proxy relays TLS unchanged; without TLS, `allow_http` is the finding.
        proxy: _,
        timeout: _,
    } = connect;
    let ((before, was), (key, is)) = (place(&old.at), place(at));
    if before != key {
        report(key, format!("{before}: {was}"), format!("{key}: {is}"));
    } else if was != is {
        report(key, was, is);
    }
    for (key, was, is) in [
        ("allow_http", old.connect.allow_http, *allow_http),
        (
            "allow_private_addresses",
            old.connect.allow_private_addresses,
            *allow_private_addresses,
        ),
    ] {
        if is && !was {
            report(key, "false".to_owned(), "true".to_owned());
        }
    }
    let (was, is) = (
        trusted_roots(old_folder, old.connect.ca_file.as_ref()),
        trusted_roots(folder, ca_file.as_ref()),
    );
    if was != is {
        report("ca_file", was, is);
    }
    // These settings prolong the use of a withdrawn key.
    let longer: [(&str, Duration, Duration); 3] = [
        ("min_refresh", old.min_refresh, *min_refresh),
        ("max_refresh", old.max_refresh, *max_refresh),
        ("max_stale", old.max_stale, *max_stale),
    ];
    for (key, was, is) in longer {
        if is > was {
            report(key, duration(was), duration(is));
        }
    }
}
