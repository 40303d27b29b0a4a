//! Tenths of scores.

/// Where the tenths of a list of scores end; equal scores are in one tenth.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Deciles {
    /// The least score of each tenth but the last, the highest tenth first.
    ends: Vec<f64>,
}

impl Deciles {
    /// The tenths of scores, which are left in falling order.
    pub(super) fn of(scores: &mut [f64]) -> Self {
        scores.sort_unstable_by(|left, right| right.total_cmp(left));
        let n = scores.len();
        let end = |tenth: usize| scores.get((n * tenth).div_ceil(10).saturating_sub(1)).copied();
        Self { ends: (1..10).filter_map(end).collect() }
    }

    /// The tenth of a score: 1 for the highest, 10 for the lowest.
    pub(super) fn tenth(&self, score: f64) -> i32 {
        1 + i32::try_from(self.ends.iter().filter(|end| score < **end).count()).unwrap_or(9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_scores_is_in_each() {
        let mut scores: Vec<f64> = (0..20).map(f64::from).collect();
        let deciles = Deciles::of(&mut scores);
        assert_eq!(deciles.tenth(19.0), 1);
        assert_eq!(deciles.tenth(18.0), 1);
        assert_eq!(deciles.tenth(17.0), 2);
        assert_eq!(deciles.tenth(0.0), 10);
    }

    #[test]
    fn equal_scores_are_in_one_tenth() {
        let mut scores = vec![1.0; 7];
        assert_eq!(Deciles::of(&mut scores).tenth(1.0), 1);
        let mut few = vec![3.0, 2.0];
        let deciles = Deciles::of(&mut few);
        assert_eq!((deciles.tenth(3.0), deciles.tenth(2.0)), (1, 6));
        assert_eq!(Deciles::of(&mut []).tenth(1.0), 1);
    }
}
