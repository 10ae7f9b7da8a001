//! How many requests does a route have, how long do they take, and how are they decided?

use crate::observe::metrics::label::NONE;
use crate::observe::metrics::open::GaugeGuard;
use crate::observe::metrics::registrar::Registrar;
use crate::observe::metrics::route::RouteFamilies;
use crate::observe::metrics::route::RouteMetrics;
use prometheus::IntGauge;
use std::collections::HashSet;
use std::sync::Arc;

/// The `route` label of requests without a route.
const NO_ROUTE: &str = NONE;

/// The metrics of requests and of the decisions about them.
pub struct RequestMetrics {
    families: Arc<RouteFamilies>,
    no_route: Arc<RouteMetrics>,
    in_flight: IntGauge,
}

impl RequestMetrics {
    pub(super) fn new(registrar: &Registrar, denial_reasons: &[&'static str]) -> Self {
        let families = Arc::new(RouteFamilies::new(registrar, denial_reasons));
        Self {
            no_route: Arc::new(RouteMetrics::new(NO_ROUTE, &families)),
            families,
            in_flight: registrar.gauge("keygate_requests_in_flight", "Requests being worked on."),
        }
    }

    /// Returns counters for one route of a new snapshot. Equal names have the same series, so a reload keeps the
    /// counts.
    pub fn of_route(&self, name: &str) -> Arc<RouteMetrics> {
        Arc::new(RouteMetrics::new(name, &self.families))
    }

    /// Returns the counters of requests without a route.
    pub fn of_no_route(&self) -> &Arc<RouteMetrics> {
        &self.no_route
    }

    /// Counts one request as in flight until the guard is dropped.
    pub fn start(&self) -> GaugeGuard {
        GaugeGuard::count(&self.in_flight)
    }

    pub(super) fn forget_all_but(&self, routes: &HashSet<&str>) {
        let mut routes = routes.clone();
        routes.insert(NO_ROUTE);
        self.families.forget_all_but(&routes);
    }
}
