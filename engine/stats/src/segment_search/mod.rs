//! An honest search for the segments in which a treatment works: found on one half, measured on the other.
//!
//! Enters: for each segment the counts or moments of control and treatment on two halves of its units, split before
//! anyone looked (by a hash of the unit, so that a unit is always in the same half). Leaves: the segments that the
//! first half points to, their effects on the second half with p values and intervals that allow for their number, the
//! effect of them all together, what the first half had promised, and a verdict that says so when nothing was found.
//!
//! The rule, fixed before the data:
//!
//! 1. *Discovery half.* One-sided p values of every segment with enough units in both arms ([`Question`] says of what),
//!    corrected by Benjamini and Hochberg (1995). Selected: below
//!    [`false_discovery_rate`](SearchOptions::false_discovery_rate), the smallest first.
//! 2. *Estimation half.* The selected segments alone are tested, two-sided, corrected by Holm (1979). The interval of
//!    the segment with the j-th smallest of m p values has confidence 1 − alpha / (m − j + 1), and once Holm stops
//!    finding keeps the level at which he stopped: it excludes zero exactly when Holm finds an effect, and each by
//!    itself misses with a chance of at most alpha.
//!
//! The halves share no unit, so the second knows nothing of why a segment was picked: whatever rule picked it, the
//! chance of any false confirmation is at most alpha, and estimates are not inflated (honest splitting: Athey and
//! Imbens 2016, Proceedings of the National Academy of Sciences 113(27); Fithian, Sun and Taylor 2014 on data
//! splitting). The price is half the data.

mod half;
mod report;

pub use report::{
    Arms, Confirmation, FoundSegment, Question, SearchOptions, SearchVerdict, SegmentHalves, SegmentSearch,
};

use crate::error::{StatsError, check_alpha};
use crate::moments::Moments;
use crate::multiple::{benjamini_hochberg_available, holm_available};
use crate::numeric::length;
use crate::proportion::Proportion;
use half::{ArmData, Half, Test, sign};

/// Searches among segments of a metric that each unit meets or not.
///
/// ```
/// use sendlift_stats::Proportion;
/// use sendlift_stats::segment_search::{Arms, SearchOptions, SearchVerdict, SegmentHalves, search_proportions};
///
/// let half = |control, treatment| -> Result<_, sendlift_stats::StatsError> {
///     Ok(Arms { control: Proportion::new(4_000, control)?, treatment: Proportion::new(4_000, treatment)? })
/// };
/// let segments = [
///     SegmentHalves { discovery: half(400, 405)?, estimation: half(395, 401)? },
///     SegmentHalves { discovery: half(400, 560)?, estimation: half(410, 530)? },
/// ];
/// let search = search_proportions(&segments, SearchOptions::default())?;
/// assert_eq!(search.verdict, SearchVerdict::Confirmed);
/// assert_eq!(search.found.len(), 1);
/// assert_eq!(search.found[0].index, 1);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`] for alpha or the false discovery rate; [`StatsError::SuccessesExceedUnits`].
pub fn search_proportions(
    segments: &[SegmentHalves<Proportion>],
    options: SearchOptions,
) -> Result<SegmentSearch, StatsError> {
    search(segments, options)
}

/// Searches among segments of a metric that is averaged over units.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`] for alpha or the false discovery rate; [`StatsError::NotFinite`] or
/// [`StatsError::Negative`] for moments that no data can have.
pub fn search_means(segments: &[SegmentHalves<Moments>], options: SearchOptions) -> Result<SegmentSearch, StatsError> {
    search(segments, options)
}

fn search<A: ArmData>(segments: &[SegmentHalves<A>], options: SearchOptions) -> Result<SegmentSearch, StatsError> {
    check_alpha(options.alpha)?;
    check_alpha(options.false_discovery_rate)?;
    let discovery = Half::new(segments.iter().map(|segment| segment.discovery), options)?;
    let estimation = Half::new(segments.iter().map(|segment| segment.estimation), options)?;
    let one_sided: Vec<Option<f64>> = (0..segments.len())
        .map(|index| discovery.has_units(index).then(|| discovery.test(index)).flatten().map(Test::one_sided))
        .collect();
    let adjusted = benjamini_hochberg_available(&one_sided)?;
    let mut selected: Vec<(usize, f64, f64)> = one_sided
        .iter()
        .zip(&adjusted)
        .enumerate()
        .filter_map(|(index, (own, adjusted))| Some((index, (*own)?, (*adjusted)?)))
        .filter(|(_, _, adjusted)| *adjusted < options.false_discovery_rate)
        .collect();
    selected.sort_by(|left, right| left.1.total_cmp(&right.1));

    let tests: Vec<Option<Test>> = selected.iter().map(|(index, _, _)| estimation.test(*index)).collect();
    let p_values: Vec<Option<f64>> = tests.iter().map(|test| test.map(Test::two_sided)).collect();
    let holm_p_values = holm_available(&p_values)?;
    let levels = holm_levels(&p_values, options.alpha);
    let shrunk = discovery.shrunk()?;
    let mut found = Vec::with_capacity(selected.len());
    for (place, &(index, discovery_p_value, discovery_adjusted_p_value)) in selected.iter().enumerate() {
        let confirmation = match (tests[place], holm_p_values[place]) {
            (Some(test), Some(p_value)) if p_value < options.alpha => {
                if test.better > 0.0 {
                    Confirmation::Confirmed
                } else {
                    Confirmation::Contradicted
                }
            }
            (Some(_), Some(_)) => Confirmation::NotConfirmed,
            _ => Confirmation::Untestable,
        };
        let against_the_rest = (options.question == Question::BetterThanTheRest)
            .then(|| estimation.against_the_rest(index, levels[place]));
        found.push(FoundSegment {
            index,
            discovery_p_value,
            discovery_adjusted_p_value,
            naive: discovery.compare(index, options.alpha)?,
            shrunk: shrunk[index],
            honest: estimation.compare(index, levels[place])?,
            against_the_rest,
            adjusted_p_value: holm_p_values[place],
            confirmation,
        });
    }
    let indices: Vec<usize> = found.iter().map(|segment| segment.index).collect();
    let together = estimation.together(&indices)?;
    let together_naive = discovery.together(&indices)?;
    let optimism = match (together_naive.difference.estimate, together.difference.estimate) {
        (Some(naive), Some(honest)) => Some((naive - honest) * sign(options.direction)),
        _ => None,
    };
    let considered = one_sided.iter().flatten().count();
    let confirmed = found.iter().filter(|segment| segment.confirmation == Confirmation::Confirmed).count();
    let verdict = match (found.len(), confirmed) {
        (0, _) => SearchVerdict::NothingFound,
        (_, 0) => SearchVerdict::NotConfirmed,
        _ => SearchVerdict::Confirmed,
    };
    Ok(SegmentSearch {
        verdict,
        summary: summary(verdict, considered, found.len(), confirmed),
        segments: segments.len(),
        considered,
        found,
        together,
        together_naive,
        optimism,
    })
}

fn summary(verdict: SearchVerdict, considered: usize, selected: usize, confirmed: usize) -> String {
    match verdict {
        SearchVerdict::NothingFound => {
            format!("nothing found: none of {considered} segments stood out on the discovery half")
        }
        SearchVerdict::NotConfirmed => {
            format!("not confirmed: {selected} of {considered} segments stood out, none held up on the other half")
        }
        SearchVerdict::Confirmed => {
            format!("confirmed: {confirmed} of {selected} segments that stood out held up, {considered} considered")
        }
    }
}

/// The alpha at which to make each interval so that it excludes zero exactly when Holm's correction finds an effect.
fn holm_levels(p_values: &[Option<f64>], alpha: f64) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> =
        p_values.iter().enumerate().filter_map(|(place, p_value)| Some((place, (*p_value)?))).collect();
    order.sort_by(|left, right| left.1.total_cmp(&right.1));
    // One without a p value has no interval to correct, or is held to the strictest level.
    let mut levels = vec![alpha / length(p_values.len().max(1)); p_values.len()];
    let mut level = alpha;
    let mut is_finding = true;
    for (rank, &(place, p_value)) in order.iter().enumerate() {
        if is_finding {
            level = alpha / length(order.len() - rank);
            is_finding = p_value < level;
        }
        levels[place] = level;
    }
    levels
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]
mod tests {
    use super::*;
    use crate::equivalence::Direction;
    use crate::numeric::assert_close;

    fn arms(control: (u64, u64), treatment: (u64, u64)) -> Arms<Proportion> {
        let arm = |(successes, n)| Proportion::new(n, successes).unwrap();
        Arms { control: arm(control), treatment: arm(treatment) }
    }

    fn flat() -> SegmentHalves<Proportion> {
        let half = arms((400, 4_000), (402, 4_000));
        SegmentHalves { discovery: half, estimation: half }
    }

    fn strong() -> SegmentHalves<Proportion> {
        SegmentHalves { discovery: arms((400, 4_000), (600, 4_000)), estimation: arms((400, 4_000), (560, 4_000)) }
    }

    #[test]
    fn nothing_to_find_is_said() {
        let search = search_proportions(&[flat(); 5], SearchOptions::default()).unwrap();
        assert_eq!(search.verdict, SearchVerdict::NothingFound);
        assert!(search.found.is_empty());
        assert_eq!(search.considered, 5);
        assert_eq!(search.together.difference.estimate, None);
        assert_eq!(search.optimism, None);
        assert!(search.summary.starts_with("nothing found: none of 5"));
    }

    #[test]
    fn luck_on_one_half_is_not_confirmed() {
        let lucky = SegmentHalves { discovery: strong().discovery, estimation: flat().estimation };
        let search = search_proportions(&[flat(), lucky, flat()], SearchOptions::default()).unwrap();
        assert_eq!(search.verdict, SearchVerdict::NotConfirmed);
        assert_eq!(search.found[0].index, 1);
        assert_eq!(search.found[0].confirmation, Confirmation::NotConfirmed);
        assert_close(search.optimism.unwrap(), 0.05 - 0.0005, 1e-12);
    }

    #[test]
    fn what_is_found_is_measured_on_the_other_half() {
        let search = search_proportions(&[flat(), strong(), flat(), strong()], SearchOptions::default()).unwrap();
        assert_eq!(search.verdict, SearchVerdict::Confirmed);
        let indices: Vec<usize> = search.found.iter().map(|segment| segment.index).collect();
        assert_eq!(indices, [1, 3]);
        for segment in &search.found {
            assert_close(segment.honest.difference.estimate.unwrap(), 0.04, 1e-12);
            assert_close(segment.naive.difference.estimate.unwrap(), 0.05, 1e-12);
            assert!(segment.shrunk.unwrap() < 0.05);
        }
        // Segments that are alike are together what each is.
        assert_close(search.together.difference.estimate.unwrap(), 0.04, 1e-12);
        assert_close(search.optimism.unwrap(), 0.01, 1e-10);
    }

    #[test]
    fn an_effect_that_turns_round_is_contradicted() {
        let turned = SegmentHalves { discovery: strong().discovery, estimation: arms((560, 4_000), (400, 4_000)) };
        let search = search_proportions(&[turned, flat()], SearchOptions::default()).unwrap();
        assert_eq!(search.found[0].confirmation, Confirmation::Contradicted);
        assert_eq!(search.verdict, SearchVerdict::NotConfirmed);
    }

    #[test]
    fn lower_can_be_better() {
        let fewer =
            SegmentHalves { discovery: arms((600, 4_000), (400, 4_000)), estimation: arms((560, 4_000), (400, 4_000)) };
        let options = SearchOptions { direction: Direction::LowerIsBetter, ..SearchOptions::default() };
        let search = search_proportions(&[flat(), fewer], options).unwrap();
        assert_eq!(search.verdict, SearchVerdict::Confirmed);
        assert!(search.optimism.unwrap() > 0.0);
        assert_eq!(search_proportions(&[flat(), fewer], SearchOptions::default()).unwrap().found.len(), 0);
    }

    #[test]
    fn an_effect_that_all_share_sets_no_segment_apart() {
        let options = SearchOptions { question: Question::BetterThanTheRest, ..SearchOptions::default() };
        let search = search_proportions(&[strong(); 6], options).unwrap();
        assert_eq!(search.verdict, SearchVerdict::NothingFound);
        let search = search_proportions(&[flat(), flat(), strong(), flat()], options).unwrap();
        assert_eq!(search.found[0].index, 2);
        let against = search.found[0].against_the_rest.clone().unwrap();
        assert_close(against.estimate.unwrap(), 0.04 - 0.0005, 1e-12);
        assert!(!against.contains_zero());
    }

    #[test]
    fn overlapping_segments_are_not_added_up() {
        let options = SearchOptions { disjoint: false, ..SearchOptions::default() };
        let search = search_proportions(&[strong(), flat(), strong()], options).unwrap();
        assert_eq!(search.found.len(), 2);
        assert_eq!(search.together.difference.estimate, None);
        assert!(search.together.difference.note.unwrap().contains("overlap"));
        let rest = SearchOptions { question: Question::BetterThanTheRest, ..options };
        assert_eq!(search_proportions(&[strong(), flat()], rest).unwrap().considered, 0);
    }

    #[test]
    fn small_segments_are_not_considered() {
        let small = SegmentHalves { discovery: arms((0, 20), (20, 20)), estimation: arms((0, 20), (20, 20)) };
        let search = search_proportions(&[small, flat()], SearchOptions::default()).unwrap();
        assert_eq!((search.segments, search.considered, search.found.len()), (2, 1, 0));
        let none = search_proportions(&[], SearchOptions::default()).unwrap();
        assert_eq!((none.verdict, none.considered), (SearchVerdict::NothingFound, 0));
    }

    #[test]
    fn a_half_without_units_is_untestable() {
        let empty = SegmentHalves { discovery: strong().discovery, estimation: Arms::default() };
        let search = search_proportions(&[empty, flat()], SearchOptions::default()).unwrap();
        assert_eq!(search.found[0].confirmation, Confirmation::Untestable);
        assert_eq!(search.found[0].adjusted_p_value, None);
        assert_eq!(search.verdict, SearchVerdict::NotConfirmed);
    }

    #[test]
    fn levels_follow_holm() {
        // Four with p values: the first is held to a quarter, the second to a third and stops.
        let levels = holm_levels(&[Some(0.02), Some(0.001), None, Some(0.5), Some(0.03)], 0.05);
        assert_close(levels[1], 0.0125, 1e-12);
        for place in [0, 3, 4] {
            assert_close(levels[place], 0.05 / 3.0, 1e-12);
        }
    }

    #[test]
    fn impossible_input_is_refused() {
        for (alpha, rate) in [(0.0, 0.1), (0.05, 1.0), (f64::NAN, 0.1)] {
            let options = SearchOptions { alpha, false_discovery_rate: rate, ..SearchOptions::default() };
            assert!(search_proportions(&[flat()], options).is_err());
        }
        let broken = Arms { control: Proportion { n: 1, successes: 2 }, treatment: Proportion::default() };
        let segment = SegmentHalves { discovery: broken, estimation: broken };
        assert!(search_proportions(&[segment], SearchOptions::default()).is_err());
        let nan = Moments { n: 4, mean: f64::NAN, sum_squared_deviations: 1.0 };
        let half = Arms { control: nan, treatment: nan };
        let segment = SegmentHalves { discovery: half, estimation: half };
        assert!(search_means(&[segment], SearchOptions::default()).is_err());
    }
}
