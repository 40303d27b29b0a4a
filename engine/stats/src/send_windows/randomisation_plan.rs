//! How to send the next campaigns so that their hours can be compared.
//!
//! Enters: the response that is expected, the effect that matters, and how many messages go out. Leaves: the share of
//! sends for each legal window, sends a window, campaigns and days.
//!
//! Sends are those of [`CampaignDesign`] with each window compared with one other and alpha shared among the
//! comparisons (Bonferroni). Campaigns allow besides for slot effects that differ from campaign to campaign by τ: the
//! variance of a window's mean over C campaigns with m sends in the window each is (σ²/m + τ²) / C, so that
//!
//! ```text
//! C = n / m + 2 τ² (z_{α/2} + z_β)² / δ²
//! ```
//!
//! with n the sends a window without τ, and δ the effect on the scale of τ (log odds for a rate, shares of the mean for
//! an amount). Murray (1998), "Design and Analysis of Group-Randomized Trials", chapter 9, with the campaign as the
//! group.

use crate::distribution::normal;
use crate::error::{StatsError, check_finite, check_not_negative, check_positive, check_probability};
use crate::numeric::{count, length};
use crate::plan_campaign::{CampaignDesign, PlannedMetric};
use serde::{Deserialize, Serialize};

/// What a window's response is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedResponse {
    /// A share of messages, such as clicks.
    Rate {
        /// The share now, above 0 and below 1.
        rate: f64,
    },
    /// A number of each message, such as profit in the currency.
    Amount {
        /// Its mean now; not zero.
        mean: f64,
        /// Its variance between messages, above zero.
        variance: f64,
    },
}

/// What a randomisation plan is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RandomisationRequest {
    /// The response now.
    pub response: PlannedResponse,
    /// The least relative effect that has to be found: 0.1 is one tenth more or less.
    pub relative_effect: f64,
    /// Two-sided error rate over all comparisons, in (0, 1).
    pub alpha: f64,
    /// Power of each comparison, in (0, 1).
    pub power: f64,
    /// Messages of a campaign.
    pub sends_per_campaign: f64,
    /// Messages of a day, over all campaigns.
    pub sends_per_day: f64,
    /// Share of each campaign whose window is drawn at random, above 0 to 1; the rest goes out as now.
    pub randomised_share: f64,
    /// Standard deviation τ by which a window's effect differs from campaign to campaign, on the log-odds scale for a
    /// rate and as a share of the mean for an amount; zero or more.
    pub between_campaigns: f64,
}

impl RandomisationRequest {
    /// A tenth more or less, at 5 % and 80 % power, with whole campaigns of 20,000 randomised, one a day.
    #[must_use]
    pub fn usual(response: PlannedResponse) -> Self {
        Self {
            response,
            relative_effect: 0.1,
            alpha: 0.05,
            power: 0.8,
            sends_per_campaign: 20_000.0,
            sends_per_day: 20_000.0,
            randomised_share: 1.0,
            between_campaigns: 0.05,
        }
    }

    /// The plan for a number of legal windows.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotPositive`], [`StatsError::NotFinite`], [`StatsError::Negative`] or
    /// [`StatsError::InvalidProbability`] for a request that cannot be, or with fewer than two windows; else as
    /// [`CampaignDesign::units`].
    pub fn plan(&self, windows: usize) -> Result<RandomisationPlan, StatsError> {
        check_positive("the number of legal windows less one", length(windows.saturating_sub(1)))?;
        check_positive("the relative effect", self.relative_effect)?;
        check_positive("the sends of a campaign", self.sends_per_campaign)?;
        check_positive("the sends of a day", self.sends_per_day)?;
        check_positive("the randomised share", self.randomised_share)?;
        check_probability("the randomised share", self.randomised_share)?;
        check_not_negative("the deviation between campaigns", self.between_campaigns)?;
        let (metric, difference, scaled) = self.effect()?;
        let comparisons = u32::try_from(windows - 1).map_err(|_| StatsError::PlanTooLarge)?;
        let design =
            CampaignDesign { treatments: comparisons, ..CampaignDesign::simple(metric, self.alpha, self.power) };
        let needed = design.units(difference)?;
        let pairwise = CampaignDesign { treatments: 1, ..design }.units(difference)?.per_arm;

        let share_per_window = self.randomised_share / length(windows);
        let sends_in_campaign = self.sends_per_campaign * share_per_window;
        let critical = normal::critical_value(needed.comparison_alpha) + normal::quantile(self.power);
        let for_between = 2.0 * (self.between_campaigns * critical / scaled).powi(2);
        let campaigns = (count(needed.per_arm) / sends_in_campaign + for_between).ceil().max(FEWEST_CAMPAIGNS);
        Ok(RandomisationPlan {
            windows,
            share_per_window,
            sends_per_window: needed.per_arm,
            sends_per_window_of_one_pair: pairwise,
            comparison_alpha: needed.comparison_alpha,
            campaigns: whole(campaigns)?,
            sends: whole(campaigns * self.sends_per_campaign)?,
            days: whole((campaigns * self.sends_per_campaign / self.sends_per_day).ceil())?,
        })
    }

    /// What is planned for, the difference in its units, and the effect on the scale of τ.
    fn effect(&self) -> Result<(PlannedMetric, f64, f64), StatsError> {
        match self.response {
            PlannedResponse::Rate { rate } => {
                check_probability("the rate", rate)?;
                check_positive("the rate", rate)?;
                check_positive("one less the rate", 1.0 - rate)?;
                let changed = rate * (1.0 + self.relative_effect);
                let difference = rate * self.relative_effect;
                if changed >= 1.0 {
                    return Err(StatsError::InvalidDifference { difference, baseline: rate });
                }
                let log_odds = (changed / (1.0 - changed)).ln() - (rate / (1.0 - rate)).ln();
                Ok((PlannedMetric::Proportion { baseline: rate }, difference, log_odds))
            }
            PlannedResponse::Amount { mean, variance } => {
                check_finite("the mean", mean)?;
                check_positive("the size of the mean", mean.abs())?;
                Ok((PlannedMetric::Mean { variance }, mean.abs() * self.relative_effect, self.relative_effect))
            }
        }
    }
}

/// One campaign cannot show that an effect comes back in the next.
const FEWEST_CAMPAIGNS: f64 = 2.0;

/// How to send so that windows can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RandomisationPlan {
    /// Legal windows to draw from, with equal chances.
    pub windows: usize,
    /// Share of each campaign's sends for each window, 0 to 1.
    pub share_per_window: f64,
    /// Sends in each window over all campaigns, with the number of windows allowed for.
    pub sends_per_window: u64,
    /// Sends in each of two windows, if these two alone were compared.
    pub sends_per_window_of_one_pair: u64,
    /// Alpha of each comparison.
    pub comparison_alpha: f64,
    /// Campaigns to send like this.
    pub campaigns: u64,
    /// Sends of these campaigns, the part that is not randomised too.
    pub sends: u64,
    /// Days until they are sent.
    pub days: u64,
}

/// A whole number that can be counted.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie between 0 and 10^18")]
fn whole(value: f64) -> Result<u64, StatsError> {
    if (0.0..=1e18).contains(&value) { Ok(value.round() as u64) } else { Err(StatsError::PlanTooLarge) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn eight_percent_and_a_tenth_take_some_18_400_sends() {
        let request = RandomisationRequest::usual(PlannedResponse::Rate { rate: 0.08 });
        let pair = request.plan(2).unwrap();
        // Fleiss's formula gives 18,872; the figure of 18,400 rounds its variances.
        assert_eq!(pair.sends_per_window_of_one_pair, 18_872);
        assert!((count(pair.sends_per_window) / 18_400.0 - 1.0).abs() < 0.03);
        let six = request.plan(6).unwrap();
        assert_eq!(six.sends_per_window_of_one_pair, 18_872);
        assert!(six.sends_per_window > pair.sends_per_window);
        assert!((six.share_per_window - 1.0 / 6.0).abs() < 1e-15);
        // Without differences between campaigns, the sends alone count.
        let steady = RandomisationRequest { between_campaigns: 0.0, ..request }.plan(2).unwrap();
        assert_eq!(steady.campaigns, 2);
        let part = RandomisationRequest { randomised_share: 0.1, sends_per_day: 10_000.0, ..request }.plan(2).unwrap();
        assert!(part.campaigns > 18 && part.days == 2 * part.campaigns, "{part:?}");
    }

    #[test]
    fn amounts_are_planned_by_their_variance() {
        let request = RandomisationRequest::usual(PlannedResponse::Amount { mean: -0.5, variance: 25.0 });
        // 2 × 25 × (1.96 + 0.84)² / 0.05² = 156,978, and 1.96² / 4 for the t test.
        assert_eq!(request.plan(2).unwrap().sends_per_window, 156_979);
    }

    #[test]
    fn impossible_requests_are_refused() {
        let request = RandomisationRequest::usual(PlannedResponse::Rate { rate: 0.08 });
        assert!(request.plan(1).is_err());
        assert!(RandomisationRequest { relative_effect: 0.0, ..request }.plan(4).is_err());
        assert!(RandomisationRequest { relative_effect: 12.0, ..request }.plan(4).is_err());
        assert!(RandomisationRequest { randomised_share: 1.5, ..request }.plan(4).is_err());
        assert!(RandomisationRequest { sends_per_day: 0.0, ..request }.plan(4).is_err());
        assert!(RandomisationRequest { sends_per_campaign: 1e-300, ..request }.plan(4).is_err());
        for rate in [0.0, 1.0, f64::NAN] {
            assert!(RandomisationRequest { response: PlannedResponse::Rate { rate }, ..request }.plan(4).is_err());
        }
    }
}
