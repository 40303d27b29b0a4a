//! How sums are written so that they are read back to the last bit, in JSON, whose numbers are not.

/// An amount as the shortest text that stands for it alone.
pub(crate) mod amount {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[allow(clippy::ref_option)] // serde calls it so.
    pub(crate) fn serialize<S: Serializer>(amount: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        amount.map(|amount| amount.to_string()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse()).transpose().map_err(serde::de::Error::custom)
    }
}

/// Moments, with their numbers as texts.
pub(crate) mod moments {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::stats::Moments;

    pub(crate) fn serialize<S: Serializer>(moments: &Moments, to: S) -> Result<S::Ok, S::Error> {
        (moments.n, moments.mean.to_string(), moments.sum_squared_deviations.to_string()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Moments, D::Error> {
        let (n, mean, squares) = <(u64, String, String)>::deserialize(from)?;
        let number = |text: String| text.parse().map_err(serde::de::Error::custom);
        Ok(Moments { n, mean: number(mean)?, sum_squared_deviations: number(squares)? })
    }
}

/// Cross moments by name, with their numbers as texts.
pub(crate) mod cross_moments {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::stats::CrossMoments;

    type Written = (String, u64, Vec<String>, Vec<String>);

    pub(crate) fn serialize<S: Serializer>(moments: &BTreeMap<String, CrossMoments>, to: S) -> Result<S::Ok, S::Error> {
        let texts = |numbers: &[f64]| numbers.iter().map(f64::to_string).collect::<Vec<_>>();
        to.collect_seq(moments.iter().map(|(name, found)| (name, found.n, texts(&found.means), texts(&found.products))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, CrossMoments>, D::Error> {
        let numbers = |texts: Vec<String>| {
            let parsed: Result<Vec<f64>, _> = texts.iter().map(|text| text.parse()).collect();
            parsed.map_err(serde::de::Error::custom)
        };
        let read = |(name, n, means, products): Written| {
            Ok((name, CrossMoments { n, means: numbers(means)?, products: numbers(products)? }))
        };
        Vec::<Written>::deserialize(from)?.into_iter().map(read).collect()
    }
}

/// A map whose keys are no texts, as a list of pairs.
pub(crate) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S, K, V>(map: &BTreeMap<K, V>, to: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        K: Serialize,
        V: Serialize,
    {
        to.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, D, K, V>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        D: Deserializer<'de>,
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}

/// Shares by name.
pub(crate) mod shares {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(shares: &[(String, f64)], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(shares.iter().map(|(name, share)| (name, share.to_string())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, f64)>, D::Error> {
        let texts = Vec::<(String, String)>::deserialize(from)?;
        let share = |(name, share): (String, String)| Ok((name, share.parse().map_err(serde::de::Error::custom)?));
        texts.into_iter().map(share).collect()
    }
}
