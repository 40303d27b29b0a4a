//! Where recipients live: countries with their carriers, delivery faults and prices, and the places with their time
//! zones.
//!
//! Plain tables. The faults and prices are of the size that providers publish, not any provider's own list.

/// A country that messages go to.
#[derive(Debug)]
pub(super) struct Country {
    /// ISO 3166 code.
    pub(super) code: &'static str,
    /// Mobile carriers, equally common.
    pub(super) carriers: [&'static str; 3],
    /// Share of messages that the carrier fails to deliver and says so.
    pub(super) undelivered: f64,
    /// Price of one message part, in ten-thousandths of a dollar.
    pub(super) part_price: i64,
}

/// Number of countries.
pub(super) const COUNTRY_COUNT: usize = 6;
/// All countries. [`Place::country`] is an index into them.
pub(super) static COUNTRIES: [Country; COUNTRY_COUNT] = [
    Country { code: "US", carriers: ["Verizon", "AT&T", "T-Mobile"], undelivered: 0.030, part_price: 79 },
    Country { code: "GB", carriers: ["EE", "O2", "Vodafone"], undelivered: 0.025, part_price: 400 },
    Country {
        code: "CN",
        carriers: ["China Mobile", "China Unicom", "China Telecom"],
        undelivered: 0.035,
        part_price: 65,
    },
    Country { code: "DE", carriers: ["Telekom", "Vodafone", "O2"], undelivered: 0.025, part_price: 750 },
    Country { code: "IN", carriers: ["Jio", "Airtel", "Vi"], undelivered: 0.050, part_price: 42 },
    Country { code: "NP", carriers: ["Ncell", "Nepal Telecom", "Smart"], undelivered: 0.070, part_price: 880 },
];

/// The time zones of [`PLACES`], whole-hour, half-hour and 45-minute ones, with and without summer time.
pub(super) static ZONES: [&str; 9] = [
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "Europe/London",
    "Europe/Berlin",
    "Asia/Shanghai",
    "Asia/Kolkata",
    "Asia/Kathmandu",
];

/// A region of a country, within one time zone.
#[derive(Debug)]
pub(super) struct Place {
    /// Index into [`COUNTRIES`].
    pub(super) country: usize,
    /// The region's usual short code, where the shop knows it.
    pub(super) region: Option<&'static str>,
    /// Index into [`ZONES`].
    pub(super) zone: usize,
    /// Share of the recipients when the messages are in English.
    pub(super) english_share: f64,
    /// Share of the recipients when the messages are in Chinese.
    pub(super) chinese_share: f64,
}

/// All places. Each column of shares sums to one.
pub(super) static PLACES: [Place; 19] = [
    place(0, Some("NY"), 0, 0.14, 0.02),
    place(0, Some("FL"), 0, 0.10, 0.00),
    place(0, Some("IL"), 1, 0.10, 0.00),
    place(0, Some("TX"), 1, 0.10, 0.00),
    place(0, Some("CO"), 2, 0.04, 0.00),
    place(0, Some("CA"), 3, 0.10, 0.03),
    place(0, Some("WA"), 3, 0.02, 0.00),
    place(1, Some("ENG"), 4, 0.14, 0.02),
    place(1, Some("SCT"), 4, 0.02, 0.00),
    place(2, Some("GD"), 6, 0.02, 0.30),
    place(2, Some("SH"), 6, 0.01, 0.18),
    place(2, Some("BJ"), 6, 0.01, 0.20),
    place(2, Some("SC"), 6, 0.01, 0.18),
    place(3, Some("BY"), 5, 0.03, 0.01),
    place(3, Some("NW"), 5, 0.03, 0.01),
    place(4, Some("MH"), 7, 0.03, 0.01),
    place(4, Some("KA"), 7, 0.03, 0.01),
    place(4, Some("DL"), 7, 0.02, 0.00),
    place(5, None, 8, 0.05, 0.03),
];

const fn place(
    country: usize,
    region: Option<&'static str>,
    zone: usize,
    english_share: f64,
    chinese_share: f64,
) -> Place {
    Place { country, region, zone, english_share, chinese_share }
}

impl Place {
    /// The country of the place.
    pub(super) fn country(&self) -> &'static Country {
        &COUNTRIES[self.country]
    }

    /// The IANA name of the place's time zone.
    pub(super) fn time_zone(&self) -> &'static str {
        ZONES[self.zone]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_to_one_and_point_at_known_zones() {
        let english: f64 = PLACES.iter().map(|place| place.english_share).sum();
        let chinese: f64 = PLACES.iter().map(|place| place.chinese_share).sum();
        assert!((english - 1.0).abs() < 1e-9, "{english}");
        assert!((chinese - 1.0).abs() < 1e-9, "{chinese}");
        for place in &PLACES {
            assert!(jiff::tz::TimeZone::get(place.time_zone()).is_ok());
            assert!(!place.country().code.is_empty());
        }
    }
}
