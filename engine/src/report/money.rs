//! Money of each group, currency by currency: amounts of different currencies are never added up.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::Float64Type;
use serde::{Deserialize, Serialize};

use super::grouping::Grouping;
use super::precise::amount;
use super::query::cell_text;
use crate::error::Result;
use crate::query::QuerySession;

/// Amounts of one currency, in major units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Amounts {
    #[serde(with = "amount")]
    pub(crate) revenue: Option<f64>,
    #[serde(with = "amount")]
    pub(crate) margin: Option<f64>,
    #[serde(with = "amount")]
    pub(crate) cost: Option<f64>,
}

/// Amounts by group and currency; an amount without a currency stands under the empty name.
pub(crate) type Money = BTreeMap<Vec<Option<String>>, BTreeMap<String, Amounts>>;

/// Adds up money by group and currency. Sums are exact decimals until they are read here.
pub(crate) async fn by_currency(session: &QuerySession, base: &str, grouping: &Grouping) -> Result<Money> {
    let keys = grouping.keys();
    let list = keys.iter().map(|key| format!("{key}, ")).collect::<String>();
    let mut money = Money::new();
    let sums = |amounts: &str, currency: &str, condition: &str| {
        format!(
            "WITH base AS ({base}) SELECT {list}coalesce({currency}, '') AS money_currency, {amounts} FROM base WHERE {condition} GROUP BY {list}{currency}"
        )
    };
    let as_number = |column: &str| format!("arrow_cast(sum({column}), 'Float64')");
    let revenue = sums(
        &format!("{}, {}", as_number("revenue"), as_number("margin")),
        "revenue_currency",
        "revenue IS NOT NULL OR margin IS NOT NULL",
    );
    for batch in session.collect(&revenue).await? {
        for row in 0..batch.num_rows() {
            let amounts = slot(&mut money, &batch, row, keys.len())?;
            amounts.revenue = number(&batch, keys.len() + 1, row);
            amounts.margin = number(&batch, keys.len() + 2, row);
        }
    }
    let cost = sums(&as_number("cost"), "currency", "cost IS NOT NULL");
    for batch in session.collect(&cost).await? {
        for row in 0..batch.num_rows() {
            slot(&mut money, &batch, row, keys.len())?.cost = number(&batch, keys.len() + 1, row);
        }
    }
    let other = format!("WITH base AS ({base}) SELECT {list}revenue_other FROM base WHERE revenue_other IS NOT NULL");
    // In millionths, exactly: the order of rows must not show in a sum.
    let mut others: BTreeMap<(Vec<Option<String>>, String), i128> = BTreeMap::new();
    for batch in session.collect(&other).await? {
        for row in 0..batch.num_rows() {
            let group = group_of(&batch, row, keys.len())?;
            for (currency, amount) in other_amounts(&cell_text(&batch, keys.len(), row)?.unwrap_or_default()) {
                *others.entry((group.clone(), currency)).or_default() += amount;
            }
        }
    }
    for ((group, currency), millionths) in others {
        let amounts = money.entry(group).or_default().entry(currency).or_default();
        #[allow(clippy::cast_precision_loss)] // Shown as a double.
        let amount = millionths as f64 / 1e6;
        amounts.revenue = Some(amounts.revenue.unwrap_or(0.0) + amount);
    }
    Ok(money)
}

/// `EUR=12.500000;GBP=3.000000`, the form in which the facts keep a message's further currencies; in millionths.
fn other_amounts(text: &str) -> Vec<(String, i128)> {
    text.split(';')
        .filter_map(|part| {
            let (currency, amount) = part.split_once('=')?;
            let (whole, part) = amount.split_once('.').unwrap_or((amount, ""));
            Some((currency.to_owned(), format!("{whole}{part:0<6}").parse().ok()?))
        })
        .collect()
}

fn group_of(batch: &RecordBatch, row: usize, keys: usize) -> Result<Vec<Option<String>>> {
    (0..keys).map(|key| cell_text(batch, key, row)).collect()
}

fn slot<'a>(money: &'a mut Money, batch: &RecordBatch, row: usize, keys: usize) -> Result<&'a mut Amounts> {
    let group = group_of(batch, row, keys)?;
    let currency = cell_text(batch, keys, row)?.unwrap_or_default();
    Ok(money.entry(group).or_default().entry(currency).or_default())
}

pub(crate) fn number(batch: &RecordBatch, column: usize, row: usize) -> Option<f64> {
    let column = batch.column(column).as_primitive::<Float64Type>();
    (!column.is_null(row)).then(|| column.value(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_currencies_are_read_back() {
        assert_eq!(
            other_amounts("EUR=12.500000;GBP=3.000000"),
            [("EUR".to_owned(), 12_500_000), ("GBP".to_owned(), 3_000_000)]
        );
        assert!(other_amounts("").is_empty());
    }
}
