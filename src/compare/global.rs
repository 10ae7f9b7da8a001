//! Which settings apply to every request, and which applied before?

use crate::compare::Side;
use crate::compare::Weakening;
use crate::compare::finding::Findings;
use crate::compare::finding::list_text;
use crate::compare::finding::relative;
use crate::compare::limit;
use crate::compare::listener;
use crate::compare::plan;
use crate::compare::token_endpoint;
use crate::config::ApiKeys;
use crate::config::Config;
use std::path::Path;

pub(in crate::compare) fn compare(old: Side<'_>, new: Side<'_>, findings: &mut Findings) {
    let Config {
        // Compared by `listener`.
        listeners: _,
        // Resource bounds and logs require nothing of a client.
        requests: _,
        shutdown: _,
        admin: _,
        observe: _,
        state_dir: _,
        hand_over: _,
        trusted_proxies,
        api_keys,
        failed_authentication,
        rate_limit_headers: _,
        // `route` compares routes with their issuers and limits. Upstreams and warnings require nothing of a client.
        issuers: _,
        limits: _,
        upstreams: _,
        routes: _,
        warnings: _,
        file_needs: _,
        // Headers for upstreams and metadata for clients require nothing of a client.
        resources: _,
        identity_token: _,
        built_ins: _,
        // The configuration does not show which credentials a store contains.
        store: _,
        token_endpoint,
        plans,
    } = new.config;
    let mut report = |path: [&str; 2], was: String, is: String| {
        let [section, key] = path;
        findings.add_global(Weakening {
            routes: Vec::new(),
            requirement: path.join(if key.is_empty() { "" } else { "." }),
            was,
            is,
            old: old.origins.find([section, key, ""]).clone(),
            new: new.origins.find([section, key, ""]).clone(),
        });
    };
    listener::compare(old, new, &mut report);
    let before = &old.config.trusted_proxies;
    let was_trusted = |range: &ipnet::IpNet| before.iter().any(|known| known.contains(range));
    if !trusted_proxies.iter().all(was_trusted) {
        report(["trusted_proxies", ""], list_text(before), list_text(trusted_proxies));
    }
    let off = || "off".to_owned();
    match (&old.config.failed_authentication, failed_authentication) {
        (Some(was), None) => report(["failed_authentication", ""], was.to_string(), off()),
        (Some(was), Some(is)) if !limit::at_most(is, was) => {
            report(["failed_authentication", ""], was.to_string(), is.to_string());
        }
        (None, _) | (Some(_), Some(_)) => {}
    }
    for was in old.config.plans.values() {
        if let Some(is) = plans.get(&was.name) {
            plan::compare((old, was), (new, is), &mut report);
        }
    }
    if let (Some(was), Some(is)) = (&old.config.token_endpoint, token_endpoint) {
        token_endpoint::compare(was, is, &mut report);
    }
    compare_api_keys((old.folder, &old.config.api_keys), (new.folder, api_keys), &mut report);
}

fn compare_api_keys(
    (old_folder, old): (&Path, &ApiKeys),
    (folder, new): (&Path, &ApiKeys),
    report: &mut dyn FnMut([&str; 2], String, String),
) {
    let ApiKeys {
        // Another header or prefix changes the required text, but does not require less.
        header: _,
        prefix: _,
        // A further field for the same keys requires no less.
        bearer: _,
        pepper,
        file,
    } = new;
    if old.pepper.is_some() && pepper.is_none() {
        report(["api_keys", "pepper"], "set".to_owned(), "not set".to_owned());
    }
    if let (Some(was), Some(is)) = (&old.file, file) {
        let (was, is) = (relative(old_folder, was), relative(folder, is));
        if was != is {
            report(["api_keys", "file"], was, is);
        }
    }
}
