//! How is one route's traffic split among upstreams? `upstream: { orders: 95, orders-next: 5 }`.

use crate::config::balance::HashKey;
use crate::config::check::Checker;
use crate::config::read::NamedEntries;
use crate::config::read::Text;
use crate::config::read::TextOrMap;
use crate::config::read::TypedNode;
use crate::model::names::Name;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde::de::Unexpected;
use serde::de::Visitor;
use std::fmt;

/// The largest weight of an upstream: a thousandth of the traffic can be asked for, next to 999.
const WEIGHT_MAX: u32 = 1000;

/// Where the requests of a route go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteUpstream {
    One(Name),
    /// On the heap: thousands of routes have one upstream each.
    Split(Box<Split>),
}

/// Several upstreams of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Each with its part of the traffic. Not all have weight 0.
    pub shares: Box<[Share]>,
    /// Requests with the same key go to the same upstream.
    pub key: HashKey,
}

/// The part of a route's traffic that one upstream gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub upstream: Name,
    /// Beside the weights of the others; from 0, for nothing, to 1000.
    pub weight: u32,
}

impl RouteUpstream {
    /// Returns the names of all upstreams, those with weight 0 too.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        let (one, shares) = match self {
            Self::One(name) => (Some(name), &[][..]),
            Self::Split(split) => (None, &*split.shares),
        };
        one.into_iter().chain(shares.iter().map(|share| &share.upstream))
    }
}

/// One name, or names with their weights.
pub(in crate::config) type Written = TypedNode<TextOrMap<Name, NamedEntries<Name, Weight>>>;

/// The weight of an upstream, from 0 to 1000.
#[derive(JsonSchema)]
#[schemars(transparent, rename = "SplitWeight")]
pub(in crate::config) struct Weight(#[schemars(range(max = WEIGHT_MAX))] u32);

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Weight;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "a weight, a whole number from 0 to {WEIGHT_MAX}")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Weight, E> {
                let weight = u32::try_from(number).ok().filter(|weight| *weight <= WEIGHT_MAX);
                let weight = weight.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))?;
                Ok(Weight(weight))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Weight, E> {
                Err(E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Weight, E> {
                Err(E::invalid_value(Unexpected::Float(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Weight, E> {
                Err(E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_u32(Number)
    }
}

/// Returns where the requests of a route go, and reports names that no upstream has.
pub(in crate::config) fn convert(
    written: Written,
    key: Option<Text<HashKey>>,
    checker: &mut Checker<'_>,
) -> RouteUpstream {
    let at = written.at;
    let entries = match written.value {
        TextOrMap::Map(NamedEntries(entries)) => entries,
        TextOrMap::Text(name) => {
            if let Some(key) = key {
                let hint = "write `upstream: { orders: 95, orders-next: 5 }`, or remove it";
                checker.error_with(key.at, "no-effect", "all requests go to one upstream", hint);
            }
            checker.refer_to("upstreams", "upstream", &name, at);
            return RouteUpstream::One(name);
        }
    };
    for (name, weight) in &entries {
        checker.refer_to("upstreams", "upstream", name, weight.at);
    }
    // An empty map was reported.
    if !entries.is_empty() && entries.iter().all(|(_, weight)| weight.value.0 == 0) {
        let hint = "give the upstream that serves the API a weight, such as 100";
        checker.error_with(
            at,
            "out-of-range",
            "no upstream has a weight, so none gets a request",
            hint,
        );
    }
    let share = |(upstream, weight): (Name, TypedNode<Weight>)| Share {
        upstream,
        weight: weight.value.0,
    };
    RouteUpstream::Split(Box::new(Split {
        shares: entries.into_iter().map(share).collect(),
        key: key.map(Text::take).unwrap_or_default(),
    }))
}
