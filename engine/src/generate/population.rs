//! The recipients: a number in, a person with a place, an age, interests, spending and an arm of the experiment out.
//!
//! A recipient is a pure function of the seed and the number, so that none is ever stored: each campaign makes them
//! again.

use jiff::civil::Date;

use super::calendar::{DAY, SECOND, date_before_assignment};
use super::columns::Identifier;
use super::options::{GenerateOptions, Language, Scenario};
use super::places::{PLACES, Place};
use super::random::{Draws, Stream};

/// Share of the recipients who are never sent to.
pub(super) const HOLDOUT_SHARE: f64 = 0.05;
/// Share of the recipients in each of the two variants.
pub(super) const VARIANT_SHARE: f64 = 0.475;

/// Number of age bands.
pub(super) const AGE_BAND_COUNT: usize = 6;
/// Bands of age, in years.
pub(super) static AGE_BANDS: [&str; AGE_BAND_COUNT] = ["18-24", "25-34", "35-44", "45-54", "55-64", "65+"];
/// Number of genders.
pub(super) const GENDER_COUNT: usize = 3;
/// Genders as the customer stated them.
pub(super) static GENDERS: [&str; GENDER_COUNT] = ["female", "male", "unspecified"];
/// What the customer likes to buy; at a bank the same index stands for a product (see `texts`).
pub(super) static INTERESTS: [&str; 5] = ["fashion", "sport", "home", "electronics", "beauty"];
/// The variants of the message, control first.
pub(super) static VARIANTS: [&str; 2] = ["A", "B"];

/// First and last year of each age band.
const AGE_LIMITS: [(u8, u8); AGE_BAND_COUNT] = [(18, 24), (25, 34), (35, 44), (45, 54), (55, 64), (65, 84)];
const AGE_SHARES: [f64; AGE_BAND_COUNT] = [0.14, 0.24, 0.22, 0.17, 0.13, 0.10];
const GENDER_SHARES: [f64; GENDER_COUNT] = [0.48, 0.44, 0.08];
const INTEREST_SHARES: [f64; 5] = [0.28, 0.20, 0.18, 0.18, 0.16];
/// How much the recipient reacts to messages at all: little, middling, much. No log shows it.
const ENGAGEMENT_SHARES: [f64; 3] = [0.3, 0.5, 0.2];
const BIRTHDAY_KNOWN: f64 = 0.6;
/// Spread of the logarithm of spending.
const SPEND_SPREAD: f64 = 0.7;
/// How much of that spread shows in the value of one conversion.
const VALUE_SPREAD: f64 = 0.3;

/// Numbers that differ between the stories. Amounts are in dollars.
struct Habits {
    statuses: [&'static str; 3],
    status_shares: [f64; 3],
    median_spend: f64,
    spend_by_status: [f64; 3],
    value_by_interest: [f64; 5],
    value_by_status: [f64; 3],
}

static RETAIL: Habits = Habits {
    statuses: ["new", "regular", "vip"],
    status_shares: [0.25, 0.60, 0.15],
    median_spend: 120.0,
    spend_by_status: [0.5, 1.0, 2.6],
    value_by_interest: [48.0, 62.0, 75.0, 140.0, 34.0],
    value_by_status: [0.9, 1.0, 1.25],
};

static BANK: Habits = Habits {
    statuses: ["active", "lapsing", "lapsed"],
    status_shares: [0.70, 0.20, 0.10],
    median_spend: 400.0,
    spend_by_status: [1.0, 0.5, 0.1],
    value_by_interest: [120.0, 420.0, 260.0, 180.0, 90.0],
    value_by_status: [1.0, 0.8, 0.6],
};

/// Where the experiment put a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arm {
    /// Never sent to.
    Holdout,
    /// Sent a variant, by its index in [`VARIANTS`].
    Variant(usize),
}

impl Arm {
    /// The word in the logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Holdout => "holdout",
            Self::Variant(variant) => VARIANTS[variant],
        }
    }

    /// The chance of being put here.
    pub(super) const fn propensity(self) -> f64 {
        match self {
            Self::Holdout => HOLDOUT_SHARE,
            Self::Variant(_) => VARIANT_SHARE,
        }
    }
}

/// A person.
#[derive(Debug, Clone)]
pub(super) struct Recipient {
    /// The number, from 0.
    pub(super) index: u64,
    /// Where the experiment put them.
    pub(super) arm: Arm,
    /// Where they live.
    pub(super) place: &'static Place,
    /// Index of their carrier in the country's list.
    pub(super) carrier: usize,
    /// How the shop learnt their time zone.
    pub(super) time_zone_source: &'static str,
    /// Completed years.
    pub(super) age: u8,
    /// Index into [`AGE_BANDS`].
    pub(super) age_band: usize,
    /// Days from their birth to the day of assignment, where the shop knows the birthday.
    pub(super) age_in_days: Option<i64>,
    /// Index into [`GENDERS`].
    pub(super) gender: usize,
    /// Index into [`INTERESTS`].
    pub(super) interest: usize,
    /// A second interest, another one.
    pub(super) second_interest: Option<usize>,
    /// Milliseconds from their signing up to the moment of assignment, a whole number of seconds.
    pub(super) member_for: i64,
    /// Index into the story's customer statuses.
    pub(super) status: usize,
    /// Index of the hidden readiness to react.
    pub(super) engagement: usize,
    /// Spending in the 90 days before assignment, in hundredths of the currency.
    pub(super) spend_cents: i64,
    /// Expected value of one conversion, in units of the currency.
    pub(super) value_mean: f64,
}

impl Recipient {
    /// The recipient's name in all logs.
    pub(super) fn identifier(&self) -> Identifier {
        Identifier::new(b'r', self.index, 8)
    }

    /// The birthday, where the shop knows it.
    pub(super) fn birthday(&self) -> Option<Date> {
        self.age_in_days.and_then(date_before_assignment)
    }
}

/// All recipients that a seed and a story give.
pub(super) struct Population {
    seed: u64,
    habits: &'static Habits,
    units_per_dollar: f64,
    place_shares: Vec<f64>,
}

impl Population {
    /// The population of those options.
    pub(super) fn new(options: &GenerateOptions) -> Self {
        let chinese = options.language == Language::Chinese;
        Self {
            seed: options.seed,
            habits: match options.scenario {
                Scenario::Retail => &RETAIL,
                Scenario::Bank => &BANK,
            },
            units_per_dollar: options.language.units_per_dollar(),
            place_shares: PLACES
                .iter()
                .map(|place| if chinese { place.chinese_share } else { place.english_share })
                .collect(),
        }
    }

    /// The words for [`Recipient::status`].
    pub(super) fn statuses(&self) -> &'static [&'static str; 3] {
        &self.habits.statuses
    }

    /// Where the experiment puts the recipient: by a hash of its own, so that the arm says nothing about the person.
    pub(super) fn arm(&self, index: u64) -> Arm {
        let draw = Draws::new(self.seed, Stream::Arm, index, 0).unit();
        if draw < HOLDOUT_SHARE {
            Arm::Holdout
        } else if draw < HOLDOUT_SHARE + VARIANT_SHARE {
            Arm::Variant(0)
        } else {
            Arm::Variant(1)
        }
    }

    /// Where the recipient lives, without making the rest of the person.
    pub(super) fn place(&self, index: u64) -> &'static Place {
        self.draw_place(&mut self.profile_draws(index))
    }

    /// The whole person.
    pub(super) fn recipient(&self, index: u64) -> Recipient {
        let mut draws = self.profile_draws(index);
        // The place comes first: `place` stops here.
        let place = self.draw_place(&mut draws);
        let carrier = draws.below(3);
        let time_zone_source = time_zone_source(place, draws.unit());
        let age_band = draws.weighted(&AGE_SHARES);
        let (youngest, oldest) = AGE_LIMITS[age_band];
        let age = youngest + draws.below(usize::from(oldest - youngest) + 1) as u8;
        let age_in_days =
            draws.chance(BIRTHDAY_KNOWN).then(|| (f64::from(age) * 365.25 + 1.0 + draws.unit() * 363.0) as i64);
        let gender = draws.weighted(&GENDER_SHARES);
        let interest = draws.weighted(&INTEREST_SHARES);
        let other_interest = (interest + 1 + draws.below(INTERESTS.len() - 1)) % INTERESTS.len();
        let second_interest = draws.chance(0.5).then_some(other_interest);
        let member_for = draws.milliseconds(20 * DAY, 1_500 * DAY) / SECOND * SECOND;
        let status = draws.weighted(&self.habits.status_shares);
        let engagement = draws.weighted(&ENGAGEMENT_SHARES);
        let spending = draws.normal();
        let spend = self.habits.median_spend * self.habits.spend_by_status[status] * (SPEND_SPREAD * spending).exp();
        let value = self.habits.value_by_interest[interest]
            * self.habits.value_by_status[status]
            * (VALUE_SPREAD * spending).exp();
        Recipient {
            index,
            arm: self.arm(index),
            place,
            carrier,
            time_zone_source,
            age,
            age_band,
            age_in_days,
            gender,
            interest,
            second_interest,
            member_for,
            status,
            engagement,
            spend_cents: (spend * self.units_per_dollar * 100.0).round() as i64,
            value_mean: value * self.units_per_dollar,
        }
    }

    fn profile_draws(&self, index: u64) -> Draws {
        Draws::new(self.seed, Stream::Profile, index, 0)
    }

    fn draw_place(&self, draws: &mut Draws) -> &'static Place {
        &PLACES[draws.weighted(&self.place_shares)]
    }
}

/// How a shop learns a time zone: a postcode or an area code tells it where the country has several, the country
/// elsewhere.
fn time_zone_source(place: &Place, draw: f64) -> &'static str {
    if draw < 0.5 {
        "profile"
    } else if place.country().code != "US" {
        "country"
    } else if draw < 0.8 {
        "zip"
    } else {
        "area_code"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn population() -> Population {
        Population::new(&GenerateOptions::default())
    }

    #[test]
    fn arms_have_their_shares() {
        let population = population();
        let mut counts = [0_u32; 3];
        for index in 0..20_000 {
            match population.arm(index) {
                Arm::Holdout => counts[2] += 1,
                Arm::Variant(variant) => counts[variant] += 1,
            }
        }
        assert!((900..1_100).contains(&counts[2]), "{counts:?}");
        assert!(counts[0].abs_diff(counts[1]) < 600, "{counts:?}");
    }

    #[test]
    fn a_recipient_is_the_same_each_time_and_consistent_in_itself() {
        let population = population();
        for index in 0..2_000 {
            let recipient = population.recipient(index);
            assert_eq!(format!("{recipient:?}"), format!("{:?}", population.recipient(index)));
            assert_eq!(recipient.place.zone, population.place(index).zone);
            let (youngest, oldest) = AGE_LIMITS[recipient.age_band];
            assert!((youngest..=oldest).contains(&recipient.age));
            assert_ne!(recipient.second_interest, Some(recipient.interest));
            assert!(recipient.spend_cents > 0 && recipient.value_mean > 0.0);
        }
    }
}
