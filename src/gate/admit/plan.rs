//! Which limits does a plan bring along?

use crate::gate::admit::CompiledLimit;
use crate::observe::metrics::LimitMetrics;

/// The limits of a plan, spent beside those of the route.
pub struct PlanLimits {
    pub limits: Box<[CompiledLimit]>,
    /// Those that only count.
    pub shadow_limits: Box<[CompiledLimit]>,
    /// In the order of `limits`.
    pub limit_metrics: Box<[LimitMetrics]>,
    /// In the order of `shadow_limits`.
    pub shadow_limit_metrics: Box<[LimitMetrics]>,
}
