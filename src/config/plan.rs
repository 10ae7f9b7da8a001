//! Which credentials may a subscription under a plan have, with which scopes and limits?

use crate::config::check::Checker;
use crate::config::check::values;
use crate::config::read::NamedEntries;
use crate::config::read::OneOrMany;
use crate::config::read::OrKeyword;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::tree::NodeId;
use crate::config::tree::ROOT;
use crate::model::algorithm::ASSERTION_ALGORITHMS;
use crate::model::algorithm::Algorithm;
use crate::model::names::Name;
use crate::model::plan::Approval;
use crate::model::plan::ClientKeyPlace;
use crate::model::plan::CredentialKinds;
use crate::model::plan::DEFAULT;
use crate::model::plan::OPERATORS;
use crate::model::plan::Payment;
use crate::model::plan::Plan;
use crate::model::scope::Scope;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// What subscriptions under a plan get. The plan, not the developer, says what a credential is made of.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Plan")]
pub(in crate::config) struct Section {
    /// What credentials are made of: `api_key`, `client_secret`, `private_key_jwt`, or several. Required.
    #[schemars(required)]
    credentials: Option<OneOrMany<TypedNode<CredentialWord>>>,
    /// The widest scopes that a credential can have. Default: whatever it was made with.
    scopes: Option<Texts<Scope>>,
    /// Names of limits, spent beside those of the route.
    limits: Option<Texts<Name>>,
    /// `required`: live credentials count only while the subscription is paid for. Default `none`.
    payment: Option<PaymentWord>,
    /// `false`: sandbox credentials only. Default true.
    released: Option<bool>,
    /// `manual`: a new subscription is pending until somebody approves it. `automatic`: it is active at once. Default
    /// `manual`.
    approval: Option<ApprovalWord>,
    /// API keys that one subscription may have at a time; `unlimited` for as many as it likes. Default 2: one, and the one
    /// that will replace it.
    keys_max: Option<TypedNode<OrKeyword<NonZeroU32, Unlimited>>>,
    /// What assertions may be signed with: some of RS256, PS256, ES256, EdDSA. Default: all of them.
    algorithms: Option<Texts<Algorithm>>,
    /// `required`: clients with `private_key_jwt` have their keys behind a JWKS URL, and none that are registered here.
    /// Default `optional`.
    jwks_url: Option<JwksUrlWord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "CredentialKind")]
enum CredentialWord {
    ApiKey,
    ClientSecret,
    PrivateKeyJwt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Payment")]
enum PaymentWord {
    None,
    Required,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Approval")]
enum ApprovalWord {
    Automatic,
    Manual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "PlanJwksUrl")]
enum JwksUrlWord {
    Optional,
    Required,
}

/// `keys_max: unlimited`.
#[derive(Debug)]
struct Unlimited;

impl crate::config::read::Keyword for Unlimited {
    const KEYWORD: &'static str = "unlimited";
    const ALTERNATIVE: &'static str = "a number from 1 on";
}

/// The current key and its successor.
const KEYS_MAX: u32 = 2;

/// Returns the plans of the file and the two built-in plans: `default`,
/// which the file may replace, and `operators`.
pub(in crate::config) fn convert(
    written: Option<NamedEntries<Name, Section>>,
    has_store: bool,
    checker: &mut Checker<'_>,
) -> BTreeMap<Name, Plan> {
    let mut plans = BTreeMap::new();
    for name in [DEFAULT, OPERATORS] {
        let name: Name = name.parse().expect("it is a name");
        plans.insert(name.clone(), Plan::open(name, CredentialKinds::ANY));
    }
    if written.is_some()
        && !has_store
        && let Some(at) = checker.tree.entry(ROOT, "plans")
        && checker.tree.entry(ROOT, "store").is_none()
    {
        let problem = "subscriptions are under plans, and without a store there are none";
        checker.error_with(
            at,
            "no-store",
            problem,
            "say where it is: `store: { path: keygate.db }`",
        );
    }
    for (name, TypedNode { value: section, at }) in written.map(|plans| plans.0).unwrap_or_default() {
        if name.as_str() == OPERATORS {
            let problem = "`operators` is the built-in plan of those who administer the gate";
            checker.error_with(at, "reserved-name", problem, "choose another name");
            continue;
        }
        if let Some(plan) = plan(name.clone(), section, at, checker) {
            plans.insert(name, plan);
        }
    }
    plans
}

fn plan(name: Name, section: Section, at: NodeId, checker: &mut Checker<'_>) -> Option<Plan> {
    let hint = "`api_key`, `client_secret`, `private_key_jwt`, or a list of them";
    let credentials = checker.need(at, "credentials", section.credentials, hint)?;
    let scopes = section.scopes.map(|scopes| checker.distinct(scopes.value));
    let limits = section.limits.map(|limits| limits.value).unwrap_or_default();
    checker.refer_all("limits", "limit", &limits);
    let credentials = kinds(&credentials.0, checker);
    for (key, at) in [
        (
            "algorithms",
            section.algorithms.as_ref().map(|algorithms| algorithms.at),
        ),
        ("jwks_url", section.jwks_url.and(checker.tree.entry(at, "jwks_url"))),
    ] {
        if let Some(at) = at
            && !credentials.private_key_jwt
        {
            let problem = format!("`{key}` is about `private_key_jwt`, which is not among the credentials of the plan");
            checker.warn(at, "no-effect", problem, "add it to `credentials`, or remove this");
        }
    }
    Some(Plan {
        name,
        credentials,
        scopes: scopes.map(|scopes| scopes.into_iter().collect()),
        limits: values(limits),
        payment: match section.payment {
            Some(PaymentWord::Required) => Payment::Required,
            Some(PaymentWord::None) | None => Payment::None,
        },
        released: section.released.unwrap_or(true),
        approval: match section.approval {
            Some(ApprovalWord::Automatic) => Approval::Automatic,
            Some(ApprovalWord::Manual) | None => Approval::Manual,
        },
        keys_max: match section.keys_max.map(|most| most.value) {
            None => Some(KEYS_MAX),
            Some(OrKeyword::Keyword(_)) => None,
            Some(OrKeyword::Value(most)) => Some(most.get()),
        },
        assertion_algorithms: section
            .algorithms
            .map(|algorithms| assertion_algorithms(algorithms, checker)),
        client_keys: match section.jwks_url {
            Some(JwksUrlWord::Required) => ClientKeyPlace::JwksUrl,
            Some(JwksUrlWord::Optional) | None => ClientKeyPlace::Any,
        },
    })
}

/// Returns the algorithms, and reports those that assertions cannot have.
fn assertion_algorithms(written: Texts<Algorithm>, checker: &mut Checker<'_>) -> Vec<Algorithm> {
    for algorithm in &written.value {
        if !ASSERTION_ALGORITHMS.contains(algorithm.get()) {
            let problem = checker.with_value(algorithm.at, "assertions are not taken with this here");
            checker.error_with(algorithm.at, "bad-value", problem, "one of RS256, PS256, ES256, EdDSA");
        }
    }
    checker.distinct(written.value)
}

fn kinds(written: &[TypedNode<CredentialWord>], checker: &mut Checker<'_>) -> CredentialKinds {
    checker.refuse_duplicates(written);
    let has = |kind| written.iter().any(|word| word.value == kind);
    CredentialKinds {
        api_key: has(CredentialWord::ApiKey),
        client_secret: has(CredentialWord::ClientSecret),
        private_key_jwt: has(CredentialWord::PrivateKeyJwt),
    }
}

/// Returns the plans of which a route requires one, and reports unknown plans. The built-in
/// plans are known only with a store, which has the subscriptions.
pub(in crate::config) fn of_route(written: Option<Texts<Name>>, checker: &mut Checker<'_>) -> Vec<Name> {
    let Some(written) = written else {
        return Vec::new();
    };
    let has_store = checker.tree.entry(ROOT, "store").is_some();
    for plan in &written.value {
        let built_in = [DEFAULT, OPERATORS].contains(&plan.get().as_str()) && has_store;
        if !built_in {
            checker.refer("plans", "plan", plan);
        }
    }
    checker.distinct(written.value)
}
