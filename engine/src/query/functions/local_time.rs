//! `local_time(moment, zone)`: what the clock on the recipient's wall shows, by IANA rules with daylight saving time.
//!
//! In: a timestamp in UTC and the text of an IANA zone, row by row. Out: a timestamp without a zone; null where the moment
//! or the zone is missing, and where the zone is unknown (a guess would put a recipient into the wrong hour).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct LocalTime {
    signature: Signature,
}

impl LocalTime {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for LocalTime {
    fn name(&self) -> &'static str {
        "local_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let utc = arrow::compute::cast(&arrays[0], &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
        let zones = arrow::compute::cast(&arrays[1], &DataType::Utf8View)?;
        let local = local_times(utc.as_primitive::<TimestampMicrosecondType>(), zones.as_string_view());
        Ok(ColumnarValue::Array(Arc::new(local) as ArrayRef))
    }
}

/// The offset of a zone during one hour of UTC is looked up once: no zone changes its offset within an hour of UTC that
/// starts on the hour, save for a few historical changes before 1972.
fn local_times(utc: &TimestampMicrosecondArray, zones: &StringViewArray) -> TimestampMicrosecondArray {
    const QUARTER_HOUR: i64 = 900_000_000;
    let mut known: HashMap<&str, (Option<TimeZone>, HashMap<i64, i64>)> = HashMap::new();
    (0..utc.len())
        .map(|row| {
            if utc.is_null(row) || zones.is_null(row) {
                return None;
            }
            let microseconds = utc.value(row);
            let (zone, offsets) =
                known.entry(zones.value(row)).or_insert_with(|| (TimeZone::get(zones.value(row)).ok(), HashMap::new()));
            let zone = zone.as_ref()?;
            let quarter = microseconds.div_euclid(QUARTER_HOUR);
            let offset = if let Some(offset) = offsets.get(&quarter) {
                *offset
            } else {
                let start = Timestamp::from_microsecond(quarter * QUARTER_HOUR).ok()?;
                let offset = i64::from(zone.to_offset(start).seconds()) * 1_000_000;
                offsets.insert(quarter, offset);
                offset
            };
            Some(microseconds + offset)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(moment: &str, zone: &str) -> Option<String> {
        let moment: Timestamp = moment.parse().unwrap();
        let utc = TimestampMicrosecondArray::from(vec![moment.as_microsecond()]);
        let local = local_times(&utc, &StringViewArray::from(vec![zone]));
        (!local.is_null(0)).then(|| Timestamp::from_microsecond(local.value(0)).unwrap().to_string())
    }

    /// Expected times by the IANA database, seen with Python's zoneinfo.
    #[test]
    fn clocks_follow_the_zone() {
        for (moment, zone, expected) in [
            ("2026-03-08T06:59:59Z", "America/New_York", "2026-03-08T01:59:59Z"),
            ("2026-03-08T07:00:00Z", "America/New_York", "2026-03-08T03:00:00Z"),
            ("2026-11-01T05:30:00Z", "America/New_York", "2026-11-01T01:30:00Z"),
            ("2026-11-01T06:30:00Z", "America/New_York", "2026-11-01T01:30:00Z"),
            ("2026-07-01T18:30:00Z", "Asia/Kathmandu", "2026-07-02T00:15:00Z"),
            ("2019-11-24T16:00:00Z", "Asia/Tokyo", "2019-11-25T01:00:00Z"),
            ("2026-10-03T15:30:00Z", "Australia/Lord_Howe", "2026-10-04T02:30:00Z"),
        ] {
            assert_eq!(local(moment, zone).as_deref(), Some(expected), "{moment} {zone}");
        }
        assert_eq!(local("2026-07-01T18:30:00Z", "Mars/Olympus"), None);
    }
}
