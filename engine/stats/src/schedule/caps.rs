//! Probabilities brought within what the slots can carry.
//!
//! Enters: groups of recipients with the shares that they would like to have of every slot, and the load that each slot
//! may be expected to have. Leaves: shares within the caps, as near as possible to those wanted.
//!
//! With a factor 0 < a ≤ 1 a slot, shares become `a p / Σ a p`; a slot over its cap has its factor lowered by cap /
//! load, one below it with a factor under one raised again. The fixed point is the projection onto the caps.

/// A group and the shares it would like.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) recipients: f64,
    /// Of each slot, zero or more, adding up to one (or all zero where no slot is open).
    pub(super) shares: Vec<f64>,
}

/// Rounds of fitting; each costs one pass over all groups and slots.
const MOST_ROUNDS: usize = 5_000;
/// A load is within its cap up to this share of it.
const TOLERANCE: f64 = 1e-9;
/// Factors below this are those of slots that cannot carry what has nowhere else to go.
const LEAST_FACTOR: f64 = 1e-15;
/// What the way out weighs at first where capacity is short: it takes only what the slots cannot.
const WAY_OUT: f64 = 1e-9;
/// A share of the way out up to this is none.
const NEGLIGIBLE: f64 = 1e-6;

/// The shares of all parts within the caps, adding up to one less what the slots cannot carry. `caps` are above zero
/// for every slot with a share, infinite where there is no limit.
pub(super) fn within_caps(parts: &[Part], caps: &[f64]) -> Vec<Vec<f64>> {
    let wanted: Vec<Vec<f64>> = parts.iter().map(|part| part.shares.clone()).collect();
    let (shares, is_settled) = fit(parts, &wanted, caps, LEAST_FACTOR);
    if is_settled {
        return shares;
    }
    // One more slot without a limit, hardly wanted: mass goes there only as the factors of full slots vanish.
    let mut with_way_out = caps.to_vec();
    with_way_out.push(f64::INFINITY);
    let mut wanted = wanted;
    for shares in &mut wanted {
        shares.push(WAY_OUT);
    }
    let (mut shares, _) = fit(parts, &wanted, &with_way_out, 0.0);
    for own in &mut shares {
        let out = own.pop().unwrap_or(0.0);
        if out < NEGLIGIBLE {
            for share in own {
                *share /= 1.0 - out;
            }
        }
    }
    shares
}

/// The fitted shares, and whether the loads came within the caps with no factor below `least`.
fn fit(parts: &[Part], wanted: &[Vec<f64>], caps: &[f64], least: f64) -> (Vec<Vec<f64>>, bool) {
    let mut factors = vec![1.0; caps.len()];
    let mut shares = wanted.to_vec();
    for _ in 0..MOST_ROUNDS {
        let mut loads = vec![0.0; caps.len()];
        for ((part, wanted), shares) in parts.iter().zip(wanted).zip(&mut shares) {
            let total: f64 = wanted.iter().zip(&factors).map(|(share, factor)| share * factor).sum();
            for slot in 0..caps.len() {
                shares[slot] = if total > 0.0 { wanted[slot] * factors[slot] / total } else { 0.0 };
                loads[slot] += part.recipients * shares[slot];
            }
        }
        let mut is_settled = true;
        for slot in 0..caps.len() {
            if loads[slot] <= 0.0 || caps[slot].is_infinite() {
                continue;
            }
            let ratio = caps[slot] / loads[slot];
            // Over the cap, or below it while still held down.
            if ratio < 1.0 - TOLERANCE || (ratio > 1.0 + TOLERANCE && factors[slot] < 1.0) {
                let next = (factors[slot] * ratio).min(1.0);
                is_settled &= (next - factors[slot]).abs() <= TOLERANCE * factors[slot];
                factors[slot] = next;
            }
        }
        if is_settled {
            return (shares, true);
        }
        if factors.iter().any(|factor| *factor < least) {
            break;
        }
    }
    (shares, false)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn part(recipients: f64, shares: &[f64]) -> Part {
        Part { recipients, shares: shares.to_vec() }
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let parts = [part(100.0, &[0.7, 0.3]), part(50.0, &[0.0, 1.0])];
        let shares = within_caps(&parts, &[70.0, f64::INFINITY]);
        assert_close(shares[0][0], 0.7, 1e-12);
        assert_close(shares[1][1], 1.0, 1e-12);
    }

    #[test]
    fn the_odds_of_all_parts_move_alike() {
        // Two halves of 100 that want 80 % and 50 % of the first slot, which can carry 100 of 130: odds 4 a and a with
        // 4a / (1 + 4a) + a / (1 + a) = 1 are those of a = 1/2.
        let shares = within_caps(&[part(100.0, &[0.8, 0.2]), part(100.0, &[0.5, 0.5])], &[100.0, 1e9]);
        assert_close(shares[0][0], 2.0 / 3.0, 1e-7);
        assert_close(shares[1][0], 1.0 / 3.0, 1e-7);
    }

    #[test]
    fn a_short_list_of_slots_leaves_the_rest_out() {
        let shares = within_caps(&[part(100.0, &[0.6, 0.4])], &[30.0, 20.0]);
        assert_close(shares[0][0], 0.3, 1e-6);
        assert_close(shares[0][1], 0.2, 1e-6);
        // The second part has a way of its own; the first has not.
        let shares = within_caps(&[part(100.0, &[1.0, 0.0]), part(100.0, &[0.5, 0.5])], &[40.0, f64::INFINITY]);
        assert_close(shares[0][0], 0.4, 1e-5);
        assert!(shares[1][1] > 1.0 - 1e-6);
        let nothing = within_caps(&[part(100.0, &[0.0, 0.0])], &[1.0, 1.0]);
        assert_close(nothing[0].iter().sum(), 0.0, 1e-9);
    }

    #[test]
    fn slots_that_just_carry_the_list_are_filled() {
        let shares = within_caps(&[part(60.0, &[0.9, 0.05, 0.05]), part(40.0, &[0.2, 0.3, 0.5])], &[50.0, 25.0, 25.0]);
        for (slot, cap) in [50.0, 25.0, 25.0].into_iter().enumerate() {
            assert_close(60.0 * shares[0][slot] + 40.0 * shares[1][slot], cap, 1e-4);
        }
    }
}
