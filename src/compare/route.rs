//! Which requirements does a route have, and which did the route have before?

use crate::compare::Weakening;
use crate::compare::client_certificates;
use crate::compare::finding::list_text;
use crate::compare::issuer;
use crate::compare::limit;
use crate::compare::rules;
use crate::compare::side::SideRoute;
use crate::config::AcceptedCredential;
use crate::config::Issuer;
use crate::config::KeySource;
use crate::config::Route;
use crate::config::TwoCredentials;
use crate::model::names::Name;

/// Calls `found` with every requirement of `now` that is weaker than in `before`.
pub(in crate::compare) fn compare(before: SideRoute<'_>, now: SideRoute<'_>, found: &mut dyn FnMut(Weakening)) {
    // Every field is named, so that the build fails until a new field is compared here.
    let Route {
        name: _,
        // `requests` compares which requests a route matches.
        hosts: _,
        path: _,
        methods: _,
        conditions: _,
        addresses,
        accept,
        public,
        issuers: _,
        audiences: _,
        // `rules` compares the rules for each method.
        rules: _,
        // `client_certificates` compares these.
        client_certificates: _,
        limits: _,
        plans,
        // The destination of a request requires nothing of its client.
        upstream: _,
        timeouts: _,
        // No rule writes or removes a field that says who the client is.
        request_headers: _,
        response_headers: _,
        // The gate decides by the path that the client asked for.
        rewrite: _,
        rewrite_back: _,
        // The origins that may read a response require nothing of the client, and a preflight is never forwarded.
        cors: _,
        // Published metadata and extra headers for the upstream require nothing of the client.
        resource: _,
        identity_token: _,
        forward_credential,
        two_credentials,
        // A further place for the same tokens requires no less.
        websocket_token: _,
        reject_query_credentials,
        allow_encoded_slash,
        allow_empty_segments,
    } = now.route;
    let was = before.route;
    let mut report = |key: &str, was: &str, is: &str| found(before.weakening(now, key, was.to_owned(), is.to_owned()));
    if was.reject_query_credentials && !reject_query_credentials {
        report("query_credentials", "reject", "ignore");
    }
    if *allow_encoded_slash && !was.allow_encoded_slash {
        report("allow", "without encoded_slash", "with encoded_slash");
    }
    if *allow_empty_segments && !was.allow_empty_segments {
        report("allow", "without empty_segments", "with empty_segments");
    }
    if !addresses.is_within(&was.addresses) {
        report("addresses", &was.addresses.to_string(), &addresses.to_string());
    }
    client_certificates::compare(before, now, found);
    limit::compare(before, now, found);
    if *public {
        if !was.public {
            let types = list_text(&was.accept);
            found(before.weakening(
                now,
                "public",
                format!("accept: {types}"),
                "open to everybody".to_owned(),
            ));
        }
        return;
    }
    if was.public {
        return;
    }
    let mut report = |key: &str, was: String, is: String| found(before.weakening(now, key, was, is));
    if *forward_credential && !was.forward_credential {
        report("forward_credential", "false".to_owned(), "true".to_owned());
    }
    if *two_credentials == TwoCredentials::Report && was.two_credentials == TwoCredentials::Refuse {
        report("two_credentials", "refuse".to_owned(), "report".to_owned());
    }
    if accept.iter().any(|kind| !was.accept.contains(kind)) {
        report("accept", list_text(&was.accept), list_text(accept));
    }
    // An added plan admits its subscribers. An empty list admits clients with any plan and without a plan.
    if !was.plans.is_empty() && (plans.is_empty() || plans.iter().any(|plan| !was.plans.contains(plan))) {
        let words = |plans: &[Name]| {
            if plans.is_empty() {
                "any, and none".to_owned()
            } else {
                list_text(plans)
            }
        };
        found(before.weakening(now, "plans", words(&was.plans), words(plans)));
    }
    rules::compare(before, now, found);
    if accept.contains(&AcceptedCredential::Jwt) && was.accept.contains(&AcceptedCredential::Jwt) {
        compare_issuers(before, now, found);
    }
}

/// Compares each issuer that `now` trusts with the issuer of the same `iss` that `before` trusts. Ignores the names,
/// because the operator may rename an issuer.
fn compare_issuers(before: SideRoute<'_>, now: SideRoute<'_>, found: &mut dyn FnMut(Weakening)) {
    let mut reported = false;
    for trusted in now.issuers() {
        // An issuer with keys and an introspected issuer may share a URL.
        // Each is compared with an issuer of the same kind, if there is such an issuer.
        let is_introspected = |issuer: &Issuer| matches!(issuer.keys, KeySource::Introspection(_));
        let is_same = |issuer: &&Issuer| issuer.issuer.as_str() == trusted.issuer.as_str();
        let same_url = before.issuers().filter(is_same);
        match same_url.min_by_key(|issuer| is_introspected(issuer) != is_introspected(trusted)) {
            Some(was) => issuer::compare((before, was), (now, trusted), found),
            None if reported => {}
            None => {
                reported = true;
                let urls = |side_route: SideRoute<'_>| {
                    list_text(side_route.issuers().map(|issuer| issuer.issuer.as_str().to_owned()))
                };
                let weaker = before.weakening(now, "issuers", urls(before), urls(now));
                found(weaker);
            }
        }
    }
}
