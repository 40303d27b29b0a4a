//! How sums are written so that they are read back to the last bit, in JSON, whose numbers are not.

/// An amount as the shortest text that stands for it alone.
pub(in crate::report) mod amount {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[allow(clippy::ref_option)] // serde calls it so.
    pub(in crate::report) fn serialize<S: Serializer>(amount: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        amount.map(|amount| amount.to_string()).serialize(to)
    }

    pub(in crate::report) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse()).transpose().map_err(serde::de::Error::custom)
    }
}

/// Moments, with their numbers as texts.
pub(in crate::report) mod moments {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::stats::Moments;

    pub(in crate::report) fn serialize<S: Serializer>(moments: &Moments, to: S) -> Result<S::Ok, S::Error> {
        (moments.n, moments.mean.to_string(), moments.sum_squared_deviations.to_string()).serialize(to)
    }

    pub(in crate::report) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Moments, D::Error> {
        let (n, mean, squares) = <(u64, String, String)>::deserialize(from)?;
        let number = |text: String| text.parse().map_err(serde::de::Error::custom);
        Ok(Moments { n, mean: number(mean)?, sum_squared_deviations: number(squares)? })
    }
}

/// A map whose keys are no texts, as a list of pairs.
pub(in crate::report) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::report) fn serialize<S, K, V>(map: &BTreeMap<K, V>, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        K: Serialize,
        V: Serialize,
    {
        to.collect_seq(map)
    }

    pub(in crate::report) fn deserialize<'de, D, K, V>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        D: Deserializer<'de>,
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}
