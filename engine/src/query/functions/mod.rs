//! The SQL functions that sendlift adds to `DataFusion`, one a file.

mod cross_moments;
mod local_time;
mod one_group;
mod recipient_counts;
mod unit_half;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;

pub(crate) use self::cross_moments::{CROSS_MOMENTS, CrossMomentsCell};

/// Registers every function of this module.
pub fn register_all(context: &SessionContext) {
    context.register_udf(ScalarUDF::new_from_impl(local_time::LocalTime::new()));
    context.register_udf(ScalarUDF::new_from_impl(unit_half::UnitHalf::new()));
    context.register_udf(ScalarUDF::new_from_impl(unit_half::UnitDraw::new()));
    context.register_udaf(AggregateUDF::new_from_impl(cross_moments::CrossMomentsFunction::new()));
    context.register_udaf(AggregateUDF::new_from_impl(recipient_counts::RecipientCounts::new()));
}
