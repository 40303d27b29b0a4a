//! An aggregate without groups is one with a single group.

use std::fmt::Debug;

use arrow::array::ArrayRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// What an aggregate over groups can do beside taking rows.
pub(super) trait Groups: GroupsAccumulator + Debug + Sync {
    /// Makes room for groups of which no row was seen.
    fn make_room(&mut self, groups: usize);

    /// What the function answers of each group; they stay as they are.
    fn answers(&mut self) -> Result<ArrayRef>;
}

/// All rows as one group.
#[derive(Debug)]
pub(super) struct OneGroup<T>(pub(super) T);

impl<T: Groups> Accumulator for OneGroup<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.make_room(1);
        ScalarValue::try_from_array(&self.0.answers()?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.make_room(1);
        let states = self.0.state(EmitTo::All)?;
        states.iter().map(|state| ScalarValue::try_from_array(state, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &vec![0; states[0].len()], 1)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
