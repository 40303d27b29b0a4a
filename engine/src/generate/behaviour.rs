//! What people do: the probability of a click, of a conversion and of an opt-out, from who they are and when they
//! are written to.
//!
//! The true effect of variant B lives here. All probabilities depend on a recipient only through the *profile* (age
//! band, gender, status, engagement), so that they fit in a table and the truth can be computed from counts of
//! profiles.
//!
//! The log odds of a click are a sum: base + age + gender + status + engagement + hour (by stage of life), and for
//! variant B its effect (by age band and gender), times a factor by status and a factor by hour.

use super::calendar::HOURS;
use super::options::Scenario;
use super::places::{COUNTRIES, COUNTRY_COUNT};
use super::population::{AGE_BAND_COUNT, GENDER_COUNT, Recipient};

/// Number of customer statuses, and of levels of engagement.
const LEVELS: usize = 3;
/// Number of profiles.
pub(super) const PROFILES: usize = AGE_BAND_COUNT * GENDER_COUNT * LEVELS * LEVELS;
/// Number of cells: profiles in a country.
pub(super) const CELLS: usize = PROFILES * COUNTRY_COUNT;

/// Share of the messages for which no receipt ever comes; nobody reads them.
pub(super) const NO_RECEIPT_SHARE: f64 = 0.01;
/// Share of the messages that the carrier first calls expired and delivers hours later.
pub(super) const DELIVERED_AFTER_EXPIRY_SHARE: f64 = 0.003;
/// Share of the conversions caused by a click that come more than [`WINDOW_DAYS`] after the send.
pub(super) const LATE_CONVERSION_SHARE: f64 = 0.05;
/// Share of all conversions that are refunded.
pub(super) const REFUND_SHARE: f64 = 0.02;
/// Days after a send in which a conversion counts for the experiment.
pub(super) const WINDOW_DAYS: i64 = 7;
/// Share of the delivered messages whose links a machine opens.
pub(super) const MACHINE_CLICK_SHARE: f64 = 0.01;

const HOUR_EFFECT_YOUNG: [f64; HOURS] = [-0.35, -0.25, -0.12, 0.05, 0.00, -0.10, -0.08, 0.00, 0.15, 0.35, 0.42];
const HOUR_EFFECT_MIDDLE: [f64; HOURS] = [-0.15, -0.08, 0.00, 0.22, 0.12, -0.12, -0.15, -0.08, 0.08, 0.25, 0.22];
const HOUR_EFFECT_OLDER: [f64; HOURS] = [0.18, 0.30, 0.25, 0.10, -0.02, -0.08, -0.10, -0.10, -0.12, -0.18, -0.25];
/// The stage of life of each age band.
const HOUR_EFFECTS: [[f64; HOURS]; AGE_BAND_COUNT] = [
    HOUR_EFFECT_YOUNG,
    HOUR_EFFECT_YOUNG,
    HOUR_EFFECT_MIDDLE,
    HOUR_EFFECT_MIDDLE,
    HOUR_EFFECT_OLDER,
    HOUR_EFFECT_OLDER,
];
/// Variant B works better in the evening.
const TREATMENT_HOUR_FACTORS: [f64; HOURS] = [0.7, 0.8, 0.9, 1.0, 1.0, 0.9, 0.9, 1.0, 1.1, 1.3, 1.4];
const ENGAGEMENT_EFFECTS: [f64; LEVELS] = [-0.8, 0.0, 0.8];
/// Chance that the recipient of a delivered message opts out, by local hour: evenings annoy.
const OPT_OUTS: [f64; HOURS] = [0.003, 0.003, 0.003, 0.003, 0.003, 0.003, 0.003, 0.003, 0.004, 0.006, 0.009];

/// The coefficients of one story.
struct Coefficients {
    /// Log odds that make the average click rate of variant A about 8 % (retail) or 12 % (bank).
    base: f64,
    age: [f64; AGE_BAND_COUNT],
    gender: [f64; GENDER_COUNT],
    status: [f64; LEVELS],
    /// Effect of variant B in log odds, by age band and gender. One band is strong and one is exactly zero.
    treatment: [[f64; GENDER_COUNT]; AGE_BAND_COUNT],
    treatment_by_status: [f64; LEVELS],
    /// Chance that a person who clicked converts, by status.
    conversion: [f64; LEVELS],
    /// Conversions a week that no message causes, by status.
    organic_weekly: [f64; LEVELS],
}

static RETAIL: Coefficients = Coefficients {
    base: -2.544,
    age: [0.25, 0.15, 0.00, -0.10, -0.25, -0.45],
    gender: [0.08, -0.08, 0.00],
    status: [-0.15, 0.00, 0.35],
    treatment: [
        [0.50, 0.40, 0.45],
        [0.38, 0.26, 0.32],
        [0.22, 0.12, 0.17],
        [0.10, 0.04, 0.07],
        [0.00, 0.00, 0.00],
        [-0.10, -0.06, -0.08],
    ],
    treatment_by_status: [1.0, 1.0, 1.0],
    conversion: [0.09, 0.12, 0.17],
    organic_weekly: [0.004, 0.008, 0.020],
};

static BANK: Coefficients = Coefficients {
    base: -2.089,
    age: [-0.20, -0.05, 0.05, 0.10, 0.10, 0.00],
    gender: [0.03, -0.03, 0.00],
    status: [0.15, -0.15, -0.70],
    treatment: [
        [0.05, 0.00, 0.02],
        [0.15, 0.10, 0.12],
        [0.25, 0.18, 0.22],
        [0.35, 0.28, 0.30],
        [0.40, 0.32, 0.36],
        [0.00, 0.00, 0.00],
    ],
    treatment_by_status: [1.0, 1.2, 0.5],
    conversion: [0.15, 0.11, 0.03],
    organic_weekly: [0.030, 0.008, 0.001],
};

/// A profile or a cell taken apart into its indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    /// Index into the countries.
    pub(super) country: usize,
    /// Index into the age bands.
    pub(super) age_band: usize,
    /// Index into the genders.
    pub(super) gender: usize,
    /// Index into the story's statuses.
    pub(super) status: usize,
    /// Level of engagement.
    pub(super) engagement: usize,
}

impl Cell {
    /// The recipient's cell.
    pub(super) fn of(recipient: &Recipient) -> Self {
        Self {
            country: recipient.place.country,
            age_band: recipient.age_band,
            gender: recipient.gender,
            status: recipient.status,
            engagement: recipient.engagement,
        }
    }

    /// The cell of that number.
    pub(super) const fn from_number(number: usize) -> Self {
        Self {
            country: number / PROFILES,
            age_band: number / (LEVELS * LEVELS * GENDER_COUNT) % AGE_BAND_COUNT,
            gender: number / (LEVELS * LEVELS) % GENDER_COUNT,
            status: number / LEVELS % LEVELS,
            engagement: number % LEVELS,
        }
    }

    /// The number of the profile, under [`PROFILES`].
    pub(super) const fn profile(self) -> usize {
        ((self.age_band * GENDER_COUNT + self.gender) * LEVELS + self.status) * LEVELS + self.engagement
    }

    /// The number of the cell, under [`CELLS`].
    pub(super) const fn number(self) -> usize {
        self.country * PROFILES + self.profile()
    }
}

/// The probabilities of one story, tabulated.
pub(super) struct Behaviour {
    coefficients: &'static Coefficients,
    /// By variant, profile and hour, the hour innermost.
    clicks: Vec<f64>,
    /// By variant and profile: the mean over the hours, which are equally likely.
    mean_clicks: Vec<f64>,
}

impl Behaviour {
    /// Tabulates the story.
    pub(super) fn new(scenario: Scenario) -> Self {
        let coefficients = match scenario {
            Scenario::Retail => &RETAIL,
            Scenario::Bank => &BANK,
        };
        let mut clicks = Vec::with_capacity(2 * PROFILES * HOURS);
        for treated in [false, true] {
            for profile in 0..PROFILES {
                let cell = Cell::from_number(profile);
                clicks.extend((0..HOURS).map(|hour| click_probability(coefficients, cell, hour, treated)));
            }
        }
        let mean_clicks = clicks.chunks(HOURS).map(|hours| hours.iter().sum::<f64>() / HOURS as f64).collect();
        Self { coefficients, clicks, mean_clicks }
    }

    /// The chance that a person clicks in a delivered message of that variant, sent at that hour (from 0).
    pub(super) fn click(&self, variant: usize, profile: usize, hour: usize) -> f64 {
        self.clicks[(variant * PROFILES + profile) * HOURS + hour]
    }

    /// The same, over an hour drawn at random.
    pub(super) fn mean_click(&self, variant: usize, profile: usize) -> f64 {
        self.mean_clicks[variant * PROFILES + profile]
    }

    /// The chance that a person who clicked converts because of it, ever.
    pub(super) fn conversion(&self, status: usize) -> f64 {
        self.coefficients.conversion[status]
    }

    /// Conversions a week that no message causes.
    pub(super) fn organic_weekly(&self, status: usize) -> f64 {
        self.coefficients.organic_weekly[status]
    }
}

/// The chance that the recipient of a delivered message opts out, whatever the variant.
pub(super) fn opt_out_probability(hour: usize) -> f64 {
    OPT_OUTS[hour]
}

/// The chance that a message to that country is delivered in the end.
pub(super) fn delivery_probability(country: usize) -> f64 {
    1.0 - COUNTRIES[country].undelivered - NO_RECEIPT_SHARE
}

fn click_probability(coefficients: &Coefficients, cell: Cell, hour: usize, treated: bool) -> f64 {
    let untreated = coefficients.base
        + coefficients.age[cell.age_band]
        + coefficients.gender[cell.gender]
        + coefficients.status[cell.status]
        + ENGAGEMENT_EFFECTS[cell.engagement]
        + HOUR_EFFECTS[cell.age_band][hour];
    let effect = coefficients.treatment[cell.age_band][cell.gender]
        * coefficients.treatment_by_status[cell.status]
        * TREATMENT_HOUR_FACTORS[hour];
    let log_odds = if treated { untreated + effect } else { untreated };
    1.0 / (1.0 + (-log_odds).exp())
}

#[cfg(test)]
mod tests {
    use super::super::population::AGE_BANDS;
    use super::*;

    #[test]
    fn a_cell_is_read_back_from_its_number() {
        for number in 0..CELLS {
            assert_eq!(Cell::from_number(number).number(), number);
        }
    }

    #[test]
    fn probabilities_are_small_and_one_segment_feels_nothing() {
        for (scenario, unmoved) in [(Scenario::Retail, "55-64"), (Scenario::Bank, "65+")] {
            let behaviour = Behaviour::new(scenario);
            for number in 0..PROFILES {
                let cell = Cell::from_number(number);
                for hour in 0..HOURS {
                    let control = behaviour.click(0, number, hour);
                    let treatment = behaviour.click(1, number, hour);
                    assert!(control > 0.005 && treatment < 0.6, "{scenario} {cell:?}");
                    if AGE_BANDS[cell.age_band] == unmoved {
                        assert!((control - treatment).abs() < 1e-12, "{scenario} {cell:?}");
                    }
                }
            }
        }
    }
}
