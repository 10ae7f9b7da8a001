//! Which settings does every route inherit? A route adds to them and narrows them; only `public: true` drops them.

use crate::config::check::Checker;
use crate::config::check::values;
use crate::config::client_certificates;
use crate::config::client_certificates::CertificateRequirement;
use crate::config::limit::Limit;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::route::AcceptedCredential;
use crate::config::rule;
use crate::config::rule::ClaimsSection;
use crate::config::rule::ConditionSections;
use crate::config::rule::Rule;
use crate::config::rule::ScopesSection;
use crate::config::rule::TOKEN_KEYS;
use crate::config::text::ExactText;
use crate::config::tree::NodeId;
use crate::config::tree::ROOT;
use crate::model::names::Name;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What every route starts from. A route may narrow `accept`, `issuers` and `audiences`, and adds its own rules and
/// limits to these; it cannot drop any. `public: true` leaves all of it but `client_certificates` and the limits that count
/// by `ip` or `route`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Defaults")]
pub(in crate::config) struct Section {
    /// Credential types that count where a route does not say.
    accept: Option<TypedNode<Vec<TypedNode<AcceptedCredential>>>>,
    /// Whose tokens count where a route does not say.
    issuers: Option<Texts<Name>>,
    /// In place of the issuers' audiences, where a route does not say.
    audiences: Option<Texts<ExactText>>,
    /// What every credential must be allowed to do.
    scopes: Option<ScopesSection>,
    /// The client must be one of these; of an API key, the one in the keys file.
    clients: Option<Texts<ExactText>>,
    /// The token's subject must be one of these. No API key has one.
    subjects: Option<Texts<ExactText>>,
    /// The organization must be one of these; of an API key, the one in the keys file.
    organizations: Option<Texts<ExactText>>,
    /// By JSON pointer (RFC 6901): the claim must be one of the values, or an array that holds one. No API key has any.
    claims: Option<ClaimsSection>,
    /// Further rules, each for some methods or for all.
    rules: Option<TypedNode<Vec<TypedNode<rule::Section>>>>,
    /// The client certificates that pass, on public routes too: `any`, or those with one of `names` or `fingerprints`.
    client_certificates: Option<client_certificates::Written>,
    /// Names of limits that hold on every route.
    limits: Option<Texts<Name>>,
}

/// A list that a route may narrow.
pub(in crate::config) struct DefaultList<T> {
    pub list: Vec<T>,
    pub at: NodeId,
}

#[derive(Default)]
pub(in crate::config) struct Defaults {
    pub accept: Option<DefaultList<AcceptedCredential>>,
    pub issuers: Option<DefaultList<Name>>,
    pub audiences: Option<DefaultList<String>>,
    /// First the rule of the conditions that stand beside `rules`, then `rules`.
    pub rules: Arc<[Rule]>,
    /// The first condition, for every method, that only a token can meet: its key and its place.
    pub token_condition: Option<(&'static str, NodeId)>,
    /// The requirement on clients' certificates, and its place.
    pub client_certificates: Option<(CertificateRequirement, NodeId)>,
    pub limits: Vec<Name>,
}

pub(in crate::config) fn convert(written: Option<TypedNode<Section>>, checker: &mut Checker<'_>) -> Defaults {
    let Some(TypedNode { value: section, at }) = written else {
        return Defaults::default();
    };
    if let Some(issuers) = &section.issuers {
        checker.refer_all("issuers", "issuer", &issuers.value);
    }
    let limits = section.limits.map(|limits| limits.value).unwrap_or_default();
    checker.refer_all("limits", "limit", &limits);
    if let Some(audiences) = &section.audiences {
        checker.refuse_duplicates(&audiences.value);
    }
    let sections = ConditionSections {
        scopes: section.scopes,
        clients: section.clients,
        subjects: section.subjects,
        organizations: section.organizations,
        claims: section.claims,
    };
    let base = rule::base(sections, checker);
    let more = rule::convert(section.rules, checker);
    let for_every_method = more.iter().filter(|located| located.rule.methods.is_empty());
    let token_condition = std::iter::once(at)
        .chain(for_every_method.map(|located| located.at))
        .flat_map(|map| TOKEN_KEYS.map(|key| (map, key)))
        .find_map(|(map, key)| Some((key, checker.tree.entry(map, key)?)));
    let client_certificates = section.client_certificates.map(|written| {
        let at = written.at;
        (client_certificates::convert(written, checker), at)
    });
    let accept = section.accept.map(|accept| DefaultList {
        at: accept.at,
        list: distinct_accept(&accept.value, checker),
    });
    Defaults {
        accept,
        issuers: default_list(section.issuers, |name| name),
        audiences: default_list(section.audiences, |word| word.0),
        rules: base
            .into_iter()
            .chain(more.into_iter().map(|located| located.rule))
            .collect(),
        token_condition,
        client_certificates,
        limits: values(limits),
    }
}

fn default_list<T, U>(written: Option<Texts<T>>, convert: fn(T) -> U) -> Option<DefaultList<U>> {
    written.map(|list| DefaultList {
        at: list.at,
        list: values(list.value).into_iter().map(convert).collect(),
    })
}

pub(in crate::config) fn distinct_accept(
    written: &[TypedNode<AcceptedCredential>],
    checker: &mut Checker<'_>,
) -> Vec<AcceptedCredential> {
    checker.refuse_duplicates(written);
    written.iter().map(|item| item.value).collect()
}

/// Returns whether the defaults contain `key`, valid or not.
pub(in crate::config) fn has(key: &str, checker: &Checker<'_>) -> bool {
    let section = checker.tree.entry(ROOT, "defaults");
    section.is_some_and(|section| checker.tree.entry(section, key).is_some())
}

/// Reports every entry of a route's own list that the defaults do not contain (S100).
pub(in crate::config) fn refuse_wider<T: PartialEq>(
    key: &str,
    own: &[(NodeId, T)],
    default: Option<&DefaultList<T>>,
    checker: &mut Checker<'_>,
) {
    let Some(default) = default else { return };
    for (at, _) in own.iter().filter(|(_, item)| !default.list.contains(item)) {
        let whereabouts = checker.tree.whereabouts(default.at, *at);
        let problem = checker.with_value(*at, &format!("`defaults.{key}` ({whereabouts}) does not have it"));
        let hint = "a route narrows the defaults and never widens them";
        checker.error_with(*at, "wider-than-defaults", problem, hint);
    }
}

/// Returns the limits of a route: those of the defaults, then its own. A public route
/// inherits only the limits that count without a principal.
pub(in crate::config) fn merge_limits(
    defaults: &Defaults,
    own: &[Name],
    public: bool,
    limits: &BTreeMap<Name, Limit>,
) -> Vec<Name> {
    let counts_here = |name: &&Name| !public || limits.get(*name).is_some_and(|limit| !limit.needs_principal());
    let mut united: Vec<Name> = defaults.limits.iter().filter(counts_here).cloned().collect();
    for name in own {
        if !united.contains(name) {
            united.push(name.clone());
        }
    }
    united
}
