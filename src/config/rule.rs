//! Which conditions must a principal meet? Conditions form rules, each for some methods or for all.

use crate::config::check::Checker;
use crate::config::pattern::list_has;
use crate::config::read::NamedEntries;
use crate::config::read::OneOrMany;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::text::ExactText;
use crate::config::text::texts;
use crate::config::tree::NodeId;
use crate::model::claim::ClaimFact;
use crate::model::claim::ClaimPointer;
use crate::model::claim::ClaimValue;
use crate::model::names::Name;
use crate::model::scope::Scope;
use http::Method;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::de;
use std::borrow::Cow;
use std::fmt;

/// Whether a rule, a limit or an issuer refuses, or only counts what it would have refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Enforce,
    Shadow,
}

/// Conditions on the principal of a request with one of `methods`. All conditions of a rule and
/// all rules of a route must hold; the failure of a rule in [`Mode::Shadow`] is only counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: Option<Name>,
    pub mode: Mode,
    /// Empty: every method. GET includes HEAD.
    pub methods: Vec<Method>,
    /// Never empty.
    pub conditions: Vec<Condition>,
}

/// A condition on a principal. A principal without the value does not meet it. No list is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The client is one of these.
    Clients(Vec<String>),
    /// The token's subject is one of these.
    Subjects(Vec<String>),
    /// The organization is one of these.
    Organizations(Vec<String>),
    /// The claim is one of these values, or an array that contains one.
    Claim(ClaimPointer, Vec<ClaimValue>),
    /// The scopes contain all of these.
    ScopesAll(Vec<Scope>),
    /// The scopes contain one of these.
    ScopesAny(Vec<Scope>),
}

impl Rule {
    /// Returns whether the rule applies to requests with `method`.
    pub fn is_for(&self, method: &Method) -> bool {
        self.methods.is_empty() || list_has(&self.methods, method)
    }
}

impl Rule {
    /// Returns every claim that the rule tests, with the value.
    pub fn claim_facts(&self) -> impl Iterator<Item = ClaimFact> {
        let facts = |condition: &Condition| match condition {
            Condition::Claim(pointer, allowed) => {
                let fact = |value: &ClaimValue| ClaimFact {
                    pointer: pointer.clone(),
                    value: value.clone(),
                };
                allowed.iter().map(fact).collect()
            }
            Condition::Clients(_)
            | Condition::Subjects(_)
            | Condition::Organizations(_)
            | Condition::ScopesAll(_)
            | Condition::ScopesAny(_) => Vec::new(),
        };
        self.conditions.iter().flat_map(facts)
    }
}

/// The maximum of rules that hold on a route, those of the defaults included: nobody can review more.
pub(in crate::config) const RULES_MAX: usize = 64;

/// A rule: what must hold, for which methods.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rule")]
pub(in crate::config) struct Section {
    /// Stands in the access record when the rule refuses, or would. Default: none.
    name: Option<Text<Name>>,
    /// `shadow` counts what the rule would refuse (`outcome="would_deny"`) and refuses nothing. Default `enforce`.
    mode: Option<Mode>,
    /// Requests the rule is for. Default: every method. GET brings HEAD with it.
    methods: Option<Texts<Method>>,
    /// What the credential must be allowed to do.
    scopes: Option<ScopesSection>,
    /// The client must be one of these; of an API key, the one in the keys file.
    clients: Option<Texts<ExactText>>,
    /// The token's subject must be one of these. No API key has one.
    subjects: Option<Texts<ExactText>>,
    /// The organization must be one of these; of an API key, the one in the keys file.
    organizations: Option<Texts<ExactText>>,
    /// By JSON pointer (RFC 6901): the claim must be one of the values, or an array that holds one. No API key has any.
    claims: Option<ClaimsSection>,
}

/// By JSON pointer, the accepted values.
pub(in crate::config) type ClaimsSection = NamedEntries<ClaimPointer, OneOrMany<TypedNode<ClaimValueText>>>;

/// What the credential must be allowed to do.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Scopes")]
pub(in crate::config) struct ScopesSection {
    /// Every one of these.
    all: Option<Texts<Scope>>,
    /// One of these.
    any: Option<Texts<Scope>>,
}

/// A text, a whole number, or true or false.
#[derive(Debug, PartialEq)]
pub(in crate::config) struct ClaimValueText(ClaimValue);

impl<'de> Deserialize<'de> for ClaimValueText {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;

        impl de::Visitor<'_> for Value {
            type Value = ClaimValueText;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a text, a whole number, or true or false")
            }

            fn visit_bool<E: de::Error>(self, yes: bool) -> Result<ClaimValueText, E> {
                Ok(ClaimValueText(ClaimValue::Bool(yes)))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<ClaimValueText, E> {
                if number.unsigned_abs() <= ClaimValue::INTEGER_MAX.unsigned_abs() {
                    Ok(ClaimValueText(ClaimValue::Integer(number)))
                } else {
                    Err(E::custom(
                        "beyond 9007199254740991 two readers of JSON may see different numbers\nhave the issuer send it as a text",
                    ))
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ClaimValueText, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<ClaimValueText, E> {
                Err(E::custom(
                    "two readers of JSON may see different fractions\ncompare with a whole number or a text",
                ))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ClaimValueText, E> {
                use crate::config::read::FromText;
                ExactText::from_text(text)
                    .map(|word| ClaimValueText(ClaimValue::Text(word.0.into())))
                    .map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Value)
    }
}

impl JsonSchema for ClaimValueText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "claim value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let max = ClaimValue::INTEGER_MAX;
        json_schema!({ "type": ["string", "integer", "boolean"], "minLength": 1, "minimum": -max, "maximum": max })
    }
}

/// The keys of conditions in a rule, a route and the defaults.
pub(in crate::config) const CONDITION_KEYS: [&str; 5] = ["scopes", "clients", "subjects", "organizations", "claims"];

/// Keys of conditions that only a token can meet.
pub(in crate::config) const TOKEN_KEYS: [&str; 2] = ["subjects", "claims"];

/// The values under [`CONDITION_KEYS`].
#[derive(Default)]
pub(in crate::config) struct ConditionSections {
    pub scopes: Option<ScopesSection>,
    pub clients: Option<Texts<ExactText>>,
    pub subjects: Option<Texts<ExactText>>,
    pub organizations: Option<Texts<ExactText>>,
    pub claims: Option<ClaimsSection>,
}

impl ConditionSections {
    /// Returns the conditions in the order in which a failure is reported.
    /// Scopes come last, because a client can request more.
    pub(in crate::config) fn convert(self, checker: &mut Checker<'_>) -> Vec<Condition> {
        let mut conditions = Vec::new();
        let mut names = |written: Option<Texts<ExactText>>, condition: fn(Vec<String>) -> Condition| {
            if let Some(written) = written {
                conditions.push(condition(texts(checker.distinct(written.value))));
            }
        };
        names(self.clients, Condition::Clients);
        names(self.subjects, Condition::Subjects);
        names(self.organizations, Condition::Organizations);
        for (pointer, allowed) in self.claims.map(|claims| claims.0).unwrap_or_default() {
            let allowed = allowed.value.0;
            checker.refuse_duplicates(&allowed);
            let values = allowed.into_iter().map(|allowed| allowed.value.0);
            conditions.push(Condition::Claim(pointer, values.collect()));
        }
        let (all, any) = self.scopes.map_or((None, None), |scopes| (scopes.all, scopes.any));
        if let (Some(all), Some(any)) = (&all, &any) {
            let is_in_all = |scope: &&Text<Scope>| all.value.iter().any(|other| other.get() == scope.get());
            if let Some(scope) = any.value.iter().find(is_in_all) {
                let problem = checker.with_value(
                    scope.at,
                    "who has all of `all` has this, so `any` asks for nothing more",
                );
                checker.warn(scope.at, "no-effect", problem, "remove it from one of the two");
            }
        }
        let mut scopes = |written: Option<Texts<Scope>>, condition: fn(Vec<Scope>) -> Condition| {
            if let Some(written) = written {
                conditions.push(condition(checker.distinct(written.value)));
            }
        };
        scopes(all, Condition::ScopesAll);
        scopes(any, Condition::ScopesAny);
        // Thousands of routes keep theirs, and most have one.
        conditions.shrink_to_fit();
        conditions
    }
}

/// Returns the rule of the condition keys of a route or of the defaults, beside `rules`; `None` where they set none.
pub(in crate::config) fn base(sections: ConditionSections, checker: &mut Checker<'_>) -> Option<Rule> {
    let conditions = sections.convert(checker);
    (!conditions.is_empty()).then_some(Rule {
        name: None,
        mode: Mode::Enforce,
        methods: Vec::new(),
        conditions,
    })
}

/// A rule and its place.
#[derive(Clone, Debug)]
pub(in crate::config) struct LocatedRule {
    pub rule: Rule,
    pub at: NodeId,
}

pub(in crate::config) fn convert(
    written: Option<TypedNode<Vec<TypedNode<Section>>>>,
    checker: &mut Checker<'_>,
) -> Vec<LocatedRule> {
    let mut rules: Vec<LocatedRule> = Vec::new();
    for TypedNode { value: section, at } in written.map(|rules| rules.value).unwrap_or_default() {
        if let Some(name) = &section.name
            && rules.iter().any(|known| known.rule.name.as_ref() == Some(name.get()))
        {
            let problem = checker.with_value(name.at, "another rule here has this name already");
            checker.error_with(
                name.at,
                "duplicate-name",
                problem,
                "records tell rules apart by their names",
            );
        }
        let methods = section.methods.map(|methods| checker.distinct(methods.value));
        let sections = ConditionSections {
            scopes: section.scopes,
            clients: section.clients,
            subjects: section.subjects,
            organizations: section.organizations,
            claims: section.claims,
        };
        let conditions = sections.convert(checker);
        // A key with a rejected value was reported already.
        let written = |key: &&str| checker.tree.entry(at, key).is_some();
        if conditions.is_empty() && !CONDITION_KEYS.iter().any(written) {
            let hint = format!(
                "one or more of {}",
                CONDITION_KEYS.map(|key| format!("`{key}`")).join(", ")
            );
            checker.error_with(
                at,
                "rule-asks-nothing",
                "the rule asks for nothing, and nobody fails it",
                hint,
            );
        }
        let mode = section.mode.unwrap_or_default();
        if mode == Mode::Shadow {
            warn_of_shadow("the rule", at, checker);
        }
        rules.push(LocatedRule {
            at,
            rule: Rule {
                name: section.name.map(Text::take),
                mode,
                methods: methods.unwrap_or_default(),
                conditions,
            },
        });
    }
    rules
}

/// Warns that `subject`, the map at `at`, refuses no request.
pub(in crate::config) fn warn_of_shadow(subject: &str, at: NodeId, checker: &mut Checker<'_>) {
    let place = checker.tree.entry(at, "mode").unwrap_or(at);
    let hint = "watch keygate_decisions_total{outcome=\"would_deny\"}; `mode: enforce` makes it refuse";
    checker.warn(
        place,
        "refuses-nobody",
        format!("{subject} is only tried out and refuses nobody"),
        hint,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s099_a_rule_for_get_is_one_for_head_and_for_nothing_else() {
        let rule = |methods: &[Method]| Rule {
            name: None,
            mode: Mode::Enforce,
            methods: methods.to_vec(),
            conditions: vec![Condition::Clients(vec!["a".to_owned()])],
        };
        let get = rule(&[Method::GET]);
        assert!(get.is_for(&Method::GET) && get.is_for(&Method::HEAD));
        assert!(!get.is_for(&Method::POST) && !get.is_for(&Method::from_bytes(b"get").unwrap()));
        assert!(!rule(&[Method::HEAD]).is_for(&Method::GET));
        assert!(rule(&[]).is_for(&Method::from_bytes(b"PURGE").unwrap()));
    }
}
