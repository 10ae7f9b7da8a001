//! From which addresses may a listener or a route be used?

use crate::config::check::Checker;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::tree::NodeId;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::LazyLock;

/// Ranges of addresses that may, and that may not. An address in both may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// Empty for every address.
    allow: Box<[IpNet]>,
    deny: Box<[IpNet]>,
}

impl AddressRules {
    /// Returns the rules to keep. Thousands of routes without rules share the same.
    pub(in crate::config) fn shared(self) -> Arc<Self> {
        static EMPTY: LazyLock<Arc<AddressRules>> = LazyLock::new(Arc::default);
        if self.is_empty() {
            Arc::clone(&EMPTY)
        } else {
            Arc::new(self)
        }
    }

    /// Returns whether every address is admitted because there is no rule.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Returns whether `address` is admitted. An IPv4-mapped IPv6 address counts as the IPv4 address, as in the ranges.
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_in = |ranges: &[IpNet]| ranges.iter().any(|range| range.contains(&address));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }

    /// Returns whether these rules admit no address that `other` does not. May return `false` where that holds, and never
    /// `true` where it does not.
    pub fn is_within(&self, other: &Self) -> bool {
        let everything = ["0.0.0.0/0", "::/0"].map(|range| range.parse().expect("a range"));
        let allowed = |rules: &Self| match &*rules.allow {
            [] => everything.to_vec(),
            ranges => ranges.to_vec(),
        };
        let (own, others) = (IpNet::aggregate(&allowed(self)), IpNet::aggregate(&allowed(other)));
        let denied = IpNet::aggregate(&self.deny.to_vec());
        let holds = |ranges: &[IpNet], part: &IpNet| ranges.iter().any(|range| range.contains(part));
        let is_apart = |range: &IpNet| !own.iter().any(|own| own.contains(range) || range.contains(own));
        own.iter().all(|range| holds(&others, range) || holds(&denied, range))
            && other.deny.iter().all(|range| holds(&denied, range) || is_apart(range))
    }
}

/// Writes the rules as the configuration has them.
impl std::fmt::Display for AddressRules {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |ranges: &[IpNet]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match (&*self.allow, &*self.deny) {
            ([], []) => out.write_str("every address"),
            (allow, []) => write!(out, "allow [{}]", list(allow)),
            ([], deny) => write!(out, "deny [{}]", list(deny)),
            (allow, deny) => write!(out, "allow [{}], deny [{}]", list(allow), list(deny)),
        }
    }
}

/// Which addresses are let in: those of `allow`, and none of `deny`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Addresses")]
pub(in crate::config) struct Section {
    /// Ranges such as `10.0.0.0/8`. Default: every address.
    allow: Option<Texts<IpNet>>,
    /// Ranges that are refused, also inside those of `allow`. Default: none.
    deny: Option<Texts<IpNet>>,
}

/// Returns the rules. `None` where a list was rejected: without it, more addresses would be admitted.
pub(in crate::config) fn convert(
    TypedNode { value: section, at }: TypedNode<Section>,
    checker: &mut Checker<'_>,
) -> Option<AddressRules> {
    let is_whole = ["allow", "deny"].iter().all(|key| {
        let list = checker.tree.entry(at, key);
        list.is_none_or(|list| {
            !checker.tree.is_cut(list) && !checker.tree.items(list).iter().any(|item| checker.tree.is_cut(*item))
        })
    });
    let allow_at = section.allow.as_ref().map(|list| list.at);
    let mut ranges = |written: Option<Texts<IpNet>>| -> Box<[IpNet]> {
        written
            .map(|list| checker.distinct(list.value))
            .unwrap_or_default()
            .into()
    };
    let rules = AddressRules {
        allow: ranges(section.allow),
        deny: ranges(section.deny),
    };
    warn_of_denied(&rules, allow_at, at, checker);
    is_whole.then_some(rules)
}

/// Warns of rules that admit no address.
fn warn_of_denied(rules: &AddressRules, allow_at: Option<NodeId>, at: NodeId, checker: &mut Checker<'_>) {
    let denied = IpNet::aggregate(&rules.deny.to_vec());
    let is_denied = |range: &IpNet| denied.iter().any(|denied| denied.contains(range));
    if !rules.allow.is_empty() && rules.allow.iter().all(is_denied) {
        let problem = "`deny` contains every address of `allow`, so every request is refused";
        let hint = "deny wins: take these ranges out of `deny`";
        checker.warn(allow_at.unwrap_or(at), "refuses-everybody", problem, hint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges(text: &str) -> Vec<IpNet> {
        text.split_whitespace().map(|range| range.parse().unwrap()).collect()
    }

    fn rules(allow: &str, deny: &str) -> AddressRules {
        AddressRules {
            allow: ranges(allow).into(),
            deny: ranges(deny).into(),
        }
    }

    #[test]
    fn deny_wins_and_without_allow_all_others_are_admitted() {
        let inside = rules("10.0.0.0/8 fd00::/8", "10.1.0.0/16");
        for (address, admitted) in [
            ("10.0.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("10.1.0.1", false),
            ("::ffff:10.1.0.1", false),
            ("11.0.0.1", false),
            ("fd00::1", true),
            ("fe00::1", false),
            // The deprecated form without `ffff` is another address.
            ("::10.0.0.1", false),
        ] {
            assert_eq!(inside.admits(address.parse().unwrap()), admitted, "{address}");
        }
        let not_there = rules("", "10.0.0.0/8");
        assert!(!not_there.admits("10.0.0.1".parse().unwrap()));
        assert!(!not_there.admits("::ffff:10.0.0.1".parse().unwrap()));
        assert!(not_there.admits("192.0.2.1".parse().unwrap()) && not_there.admits("::1".parse().unwrap()));
    }

    #[test]
    fn rules_are_within_others_that_admit_as_much() {
        let check = |now: (&str, &str), before: (&str, &str), expected: bool| {
            let (now, before) = (rules(now.0, now.1), rules(before.0, before.1));
            assert_eq!(now.is_within(&before), expected, "{now} after {before}");
        };
        check(("10.0.0.0/8", ""), ("10.0.0.0/8", ""), true);
        check(("10.1.0.0/16", ""), ("10.0.0.0/8", ""), true);
        check(("10.0.0.0/8", ""), ("10.0.0.0/9 10.128.0.0/9", ""), true);
        check(("10.0.0.0/8", ""), ("10.1.0.0/16", ""), false);
        check(("", ""), ("10.0.0.0/8", ""), false);
        check(("10.0.0.0/8", ""), ("", ""), true);
        check(("", "10.0.0.0/8"), ("", "10.0.0.0/8"), true);
        check(("", "10.0.0.0/8"), ("", "10.1.0.0/16"), true);
        check(("", "10.1.0.0/16"), ("", "10.0.0.0/8"), false);
        check(("", ""), ("", "10.0.0.0/8"), false);
        check(("192.0.2.0/24", ""), ("", "10.0.0.0/8"), true);
        check(("10.0.0.0/8", ""), ("", "10.1.0.0/16"), false);
        check(("10.0.0.0/8 192.0.2.0/24", "192.0.2.0/24"), ("10.0.0.0/8", ""), true);
        check(("::/0", ""), ("0.0.0.0/0", ""), false);
    }

    proptest! {
        /// Tries every address of a small net.
        #[test]
        fn rules_within_others_never_admit_more(
            nets in prop::collection::vec(prop::collection::vec((0..16_u8, 28..=32_u8), 0..3), 4),
        ) {
            let range = |&(last, prefix): &(u8, u8)| IpNet::new([192, 0, 2, last].into(), prefix).unwrap().trunc();
            let of = |at: usize| nets[at].iter().map(range).collect::<Vec<_>>();
            let now = AddressRules { allow: of(0).into(), deny: of(1).into() };
            let before = AddressRules { allow: of(2).into(), deny: of(3).into() };
            if now.is_within(&before) {
                for last in 0..=255 {
                    let address = IpAddr::from([192, 0, 2, last]);
                    prop_assert!(!now.admits(address) || before.admits(address), "{} {} {}", now, before, address);
                }
            }
        }
    }
}
