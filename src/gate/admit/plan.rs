//! Which limits does a plan add to those of a route?

use crate::gate::admit::CompiledLimit;
use crate::observe::metrics::LimitMetrics;

/// The limits of a plan, spent together with the limits of the route.
pub struct PlanLimits {
    pub limits: Box<[CompiledLimit]>,
    /// The limits in shadow mode, which count but refuse nothing.
    pub shadow_limits: Box<[CompiledLimit]>,
    /// The metrics of `limits`, in the same order.
    pub limit_metrics: Box<[LimitMetrics]>,
    /// The metrics of `shadow_limits`, in the same order.
    pub shadow_limit_metrics: Box<[LimitMetrics]>,
}
