//! The SQL functions that sendlift adds to `DataFusion`, one a file.

mod local_time;

use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

/// Registers every function of this module.
pub fn register_all(context: &SessionContext) {
    context.register_udf(ScalarUDF::new_from_impl(local_time::LocalTime::new()));
}
