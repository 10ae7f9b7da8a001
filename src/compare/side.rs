//! Which configuration and which route are compared, and where are their settings in the files?

use crate::compare::Weakening;
use crate::config::Config;
use crate::config::Issuer;
use crate::config::Limit;
use crate::config::Route;
use crate::config::SourceLines;
use crate::model::names::Name;
use std::path::Path;

/// One of the two configurations, and the place of each setting in its files.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub config: &'a Config,
    pub origins: &'a SourceLines,
    /// The folder of the main file. Paths are compared relative to this folder.
    pub folder: &'a Path,
}

impl<'a> Side<'a> {
    /// Returns the limits with these names.
    pub(in crate::compare) fn limits(self, names: &'a [Name]) -> impl Iterator<Item = &'a Limit> {
        names.iter().filter_map(|name| self.config.limits.get(name))
    }
}

/// A route of one side.
#[derive(Clone, Copy)]
pub(in crate::compare) struct SideRoute<'a> {
    pub side: Side<'a>,
    pub route: &'a Route,
}

impl<'a> SideRoute<'a> {
    /// Returns the issuers that the route trusts.
    pub(in crate::compare) fn issuers(self) -> impl Iterator<Item = &'a Issuer> {
        let config = self.side.config;
        self.route.issuers.iter().filter_map(|name| config.issuers.get(name))
    }

    /// Returns the limits of the route.
    pub(in crate::compare) fn limits(self) -> impl Iterator<Item = &'a Limit> {
        self.side.limits(&self.route.limits)
    }

    /// Returns a finding: the setting `key` has the value `was` in this route, and the weaker value `is` in the route
    /// `now`.
    pub(in crate::compare) fn weakening(self, now: Self, key: &str, was: String, is: String) -> Weakening {
        let place = |side_route: Self| {
            side_route
                .side
                .origins
                .find(["routes", side_route.route.name.as_str(), key])
                .clone()
        };
        Weakening {
            routes: Vec::new(),
            requirement: key.to_owned(),
            was,
            is,
            old: place(self),
            new: place(now),
        }
    }
}
