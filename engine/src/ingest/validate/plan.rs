//! What becomes of each of a file's columns: which feed which canonical column, which hold addresses, which stay as
//! attributes, and in which order a row's faults are told.

use polars::prelude::{
    BooleanChunked, Column, DataFrame, DataType, Expr, IntoColumn, NULL, NamedFrom, Series, StringChunked,
};
use polars::prelude::{all_horizontal, coalesce, col, lit, when};

use super::expressions::{MOMENT, double_text, parsed, whole_numbers, without_null_words};
use crate::error::{EngineError, Result};
use crate::event::{
    ColumnKind, ColumnSpec, EARLIEST_MOMENT, Identity, Log, MAY_BE_AHEAD, Presence, SOURCE_ROW, attribute_name,
    is_identity_name,
};
use crate::ingest::identity::{IdentityHasher, looks_like_address};
use crate::ingest::mapping::{Case, LogMapping};
use crate::ingest::times::TimeParser;

const RECIPIENT: &str = "recipient_id";
/// The recipient made from an address.
const HASHED_RECIPIENT: &str = "__hashed_recipient";
/// True where there was an address that is none.
const BAD_ADDRESS: &str = "__bad_address";
/// True where `recipient_id` itself looks like a raw address.
const RAW_ADDRESS: &str = "__raw_address";

/// A file's column while canonical names are in use.
pub(super) fn file_column(name: &str) -> String {
    format!("in:{name}")
}

fn raw_column(name: &str) -> String {
    format!("raw:{name}")
}

/// Whether one of the mapping's cases applies.
fn case_column(place: usize) -> String {
    format!("case:{place}")
}

/// The plan of one log for the columns of one chunk.
pub(super) struct ColumnPlan<'a> {
    log: Log,
    mapping: &'a LogMapping,
    preset: Option<&'a str>,
    /// The file's columns and types.
    file: Vec<(String, DataType)>,
    /// Columns whose addresses become the recipient, in order of preference.
    addresses: Vec<(String, Identity)>,
    /// Other columns that hold addresses, which are stored as keyed hashes.
    hashed: Vec<String>,
    /// For each canonical column the file's columns that feed it.
    sources: Vec<(&'static ColumnSpec, Vec<String>)>,
}

impl<'a> ColumnPlan<'a> {
    pub(super) fn new(
        log: Log,
        mapping: &'a LogMapping,
        preset: Option<&'a str>,
        frame: &DataFrame,
        hasher: Option<&IdentityHasher>,
    ) -> Result<Self> {
        let file: Vec<(String, DataType)> =
            frame.columns().iter().map(|column| (column.name().to_string(), column.dtype().clone())).collect();
        let mut plan =
            Self { log, mapping, preset, file, addresses: Vec::new(), hashed: Vec::new(), sources: Vec::new() };
        plan.sources = log.columns().iter().map(|spec| (spec, plan.sources_of(spec))).collect();
        plan.find_addresses();
        if plan.has_addresses() && hasher.is_none() {
            let column = plan.addresses.first().map(|(name, _)| name).or(plan.hashed.first());
            return Err(EngineError::refused(format!(
                "column \"{}\" of the {log} log holds phone numbers or addresses, which are stored only as keyed hashes: give \
                 the key with --hash-key-file FILE or SENDLIFT_HASH_KEY (make one with `openssl rand -hex 32`)",
                column.map_or("", String::as_str)
            )));
        }
        Ok(plan)
    }

    /// Whether any column holds raw addresses.
    pub(super) fn has_addresses(&self) -> bool {
        !self.addresses.is_empty() || !self.hashed.is_empty()
    }

    /// Columns of the file of which nothing is kept as it is: addresses, and what is hashed or dropped.
    pub(super) fn never_raw(&self) -> Vec<&str> {
        let of_file = self.file.iter().map(|(name, _)| name);
        let is_hidden = |name: &&String| self.is_address(name) || self.hashed.contains(name) || self.is_dropped(name);
        of_file.filter(is_hidden).map(String::as_str).collect()
    }

    /// Whether the mapping has columns hashed or dropped that need not hold addresses.
    pub(super) fn hides_more_than_addresses(&self) -> bool {
        let is_hashed = self.mapping.hash.iter().any(|name| self.find(name).is_some());
        is_hashed || self.file.iter().any(|(name, _)| self.is_dropped(name))
    }

    fn is_dropped(&self, name: &str) -> bool {
        self.mapping.drop.iter().any(|unwanted| self.find(unwanted) == Some(name))
    }

    /// The file's column of that name, minding case only if it must.
    fn find(&self, name: &str) -> Option<&str> {
        let exact = self.file.iter().find(|(column, _)| column == name);
        let found = exact.or_else(|| self.file.iter().find(|(column, _)| column.trim().eq_ignore_ascii_case(name)));
        found.map(|(column, _)| column.as_str())
    }

    fn sources_of(&self, spec: &ColumnSpec) -> Vec<String> {
        if let Some(names) = self.mapping.columns.get(spec.name) {
            let mut found: Vec<String> = Vec::new();
            for name in names.names().iter().filter_map(|name| self.find(name)) {
                if !found.iter().any(|known| known == name) {
                    found.push(name.to_owned());
                }
            }
            return found;
        }
        let names = std::iter::once(&spec.name).chain(spec.aliases);
        names.into_iter().find_map(|name| self.find(name)).map(str::to_owned).into_iter().collect()
    }

    fn find_addresses(&mut self) {
        let mapped = [("phone", Identity::Phone), ("email", Identity::Email)];
        for (target, kind) in mapped {
            for name in self.mapping.columns.get(target).map_or(&[][..], |names| names.names()) {
                // Two spellings of a mapping (`to`, `To`) may be one column of the file.
                if let Some(found) = self.find(name).map(str::to_owned)
                    && !self.addresses.iter().any(|(known, _)| *known == found)
                {
                    self.addresses.push((found, kind));
                }
            }
        }
        // A mapping that says `recipient_id` of a column whose name says that it holds addresses means those.
        for (_, sources) in self.sources.iter_mut().filter(|(spec, _)| spec.name == RECIPIENT) {
            for name in sources.extract_if(.., |name| is_identity_name(name).is_some()) {
                let kind = is_identity_name(&name).unwrap_or(Identity::Phone);
                if !self.addresses.iter().any(|(known, _)| *known == name) {
                    self.addresses.push((name, kind));
                }
            }
        }
        let mut hashed: Vec<String> =
            self.mapping.hash.iter().filter_map(|name| self.find(name)).map(str::to_owned).collect();
        hashed.sort();
        hashed.dedup();
        let has_recipient_column =
            self.sources.iter().any(|(spec, sources)| spec.name == RECIPIENT && !sources.is_empty());
        for (name, _) in &self.file {
            let fed = self.sources.iter().any(|(_, sources)| sources.contains(name));
            let known = self.addresses.iter().any(|(known, _)| known == name) || hashed.contains(name) || fed;
            let Some(kind) = is_identity_name(name).filter(|_| !known) else { continue };
            // Without a mapping, a column with an address's name stands for the recipient, unless the file names it already.
            let stands_for_recipient =
                self.log.has_recipient() && !has_recipient_column && self.mapping.columns.is_empty();
            // The first is the recipient; any further one stands in where that is missing, and is an attribute, too.
            if !stands_for_recipient || !self.addresses.is_empty() {
                hashed.push(name.clone());
            }
            if stands_for_recipient {
                self.addresses.push((name.clone(), kind));
            }
        }
        hashed.retain(|name| self.addresses.iter().skip(1).any(|(known, _)| known == name) || !self.is_address(name));
        self.hashed = hashed;
    }

    /// Step 1: texts that mean "nothing" in this file become null.
    pub(super) fn cleaned(&self) -> Vec<Expr> {
        let nothing = self.mapping.null_values.clone();
        let texts = self.file.iter().filter(|(_, kind)| kind == &DataType::String);
        texts
            .map(|(name, _)| {
                let nothing = nothing.clone();
                col(file_column(name)).map(
                    move |column| {
                        let texts = column.str()?;
                        let is_nothing = |text: &str| text.trim().is_empty() || nothing.iter().any(|word| word == text);
                        if !texts.iter().flatten().any(is_nothing) {
                            return Ok(column);
                        }
                        let kept: StringChunked =
                            texts.iter().map(|text| text.filter(|text| !is_nothing(text))).collect();
                        Ok(kept.with_name(column.name().clone()).into_column())
                    },
                    |_, field| Ok(field.clone()),
                )
            })
            .collect()
    }

    /// To which rows each of the mapping's cases applies, while addresses can be read: they tell channels.
    pub(super) fn cases(&self) -> Vec<Expr> {
        let applies = |(place, case): (usize, &Case)| {
            let condition =
                case.condition.iter().fold(lit(true), |condition, (column, values)| match self.find(column) {
                    Some(found) => condition.and(has_one_of(found, values)),
                    None => lit(false),
                });
            condition.alias(case_column(place))
        };
        self.mapping.cases.iter().enumerate().map(applies).collect()
    }

    /// Which rows the mapping takes.
    pub(super) fn kept(&self) -> Expr {
        let mut condition = lit(true);
        for (column, values) in &self.mapping.keep {
            if let Some(found) = self.find(column) {
                condition = condition.and(has_one_of(found, values));
            }
        }
        for (column, values) in &self.mapping.skip {
            if let Some(found) = self.find(column) {
                condition = condition.and(has_one_of(found, values).not());
            }
        }
        condition
    }

    /// Step 2: addresses become keyed hashes; from here on no raw address is in the frame.
    pub(super) fn identify(&self, mut frame: DataFrame, hasher: Option<&IdentityHasher>) -> Result<DataFrame> {
        let Some(hasher) = hasher.filter(|_| self.has_addresses()) else { return Ok(frame) };
        if !self.addresses.is_empty() {
            let mut recipients: Vec<Option<String>> = vec![None; frame.height()];
            let mut bad = vec![false; frame.height()];
            for (name, kind) in &self.addresses {
                let texts = frame.column(&file_column(name))?.cast(&DataType::String)?;
                for (row, text) in texts.str()?.iter().enumerate() {
                    let Some(text) = text.filter(|_| recipients[row].is_none()) else { continue };
                    recipients[row] = hasher.recipient(*kind, text);
                    bad[row] = recipients[row].is_none();
                }
            }
            frame.with_column(Series::new(HASHED_RECIPIENT.into(), recipients).into_column())?;
            frame.with_column(Series::new(BAD_ADDRESS.into(), bad).into_column())?;
            for (name, _) in self.addresses.iter().filter(|(name, _)| !self.hashed.contains(name)) {
                frame = frame.drop(&file_column(name))?;
            }
        }
        for name in &self.hashed {
            let column = file_column(name);
            let texts = frame.column(&column)?.cast(&DataType::String)?;
            let kind = is_identity_name(name);
            let hashes: StringChunked =
                texts.str()?.iter().map(|text| text.map(|text| hasher.attribute(kind, text))).collect();
            let hashes: Column = hashes.with_name(column.as_str().into()).into_column();
            frame.with_column(hashes)?;
        }
        Ok(frame)
    }

    /// Step 3: each canonical column's cell as the file has it, from its columns, cases, parts and constant.
    pub(super) fn selected(&self) -> Vec<Expr> {
        self.sources
            .iter()
            .map(|(spec, sources)| {
                let cell = self.cell(spec, sources);
                // "NULL" may be a campaign's name; it is nobody's id.
                let may_be_words = matches!(spec.kind, ColumnKind::Text) && spec.presence != Presence::Required;
                let cell = if may_be_words { cell } else { without_null_words(cell) };
                cell.alias(raw_column(spec.name))
            })
            .collect()
    }

    fn cell(&self, spec: &ColumnSpec, sources: &[String]) -> Expr {
        let mut candidates: Vec<Expr> = sources.iter().map(|name| self.source_cell(name)).collect();
        if let Some(parts) = self.mapping.join.get(spec.name) {
            let parts: Vec<Expr> = parts
                .iter()
                .map(|part| match self.find(part) {
                    Some(found) if self.is_address(found) => self.hashed_recipient(),
                    Some(found) => col(file_column(found)).cast(DataType::String),
                    None if part == RECIPIENT => self.hashed_recipient(),
                    None => lit(NULL).cast(DataType::String),
                })
                .collect();
            // A missing part makes the whole text missing.
            if let Some(joined) = parts.into_iter().reduce(|joined, part| joined + lit(":") + part) {
                candidates.insert(0, joined);
            }
        }
        if spec.name == RECIPIENT && !self.addresses.is_empty() {
            candidates.push(self.hashed_recipient());
        }
        if let Some(constant) = self.mapping.constants.get(spec.name) {
            candidates.push(lit(constant.clone()));
        }
        let plain = match candidates.len() {
            0 => lit(NULL).cast(DataType::String),
            1 => candidates.swap_remove(0),
            _ => coalesce(&candidates.into_iter().map(|cell| cell.cast(DataType::String)).collect::<Vec<_>>()),
        };
        let cases = self.mapping.cases.iter().enumerate().rev().filter(|(_, case)| case.column == spec.name);
        cases.fold(plain, |otherwise, (place, case)| {
            when(col(case_column(place))).then(lit(case.value.clone())).otherwise(otherwise.cast(DataType::String))
        })
    }

    fn source_cell(&self, name: &str) -> Expr {
        if self.is_address(name) { self.hashed_recipient() } else { col(file_column(name)) }
    }

    fn is_address(&self, name: &str) -> bool {
        self.addresses.iter().any(|(known, _)| known == name)
    }

    /// The recipient's keyed hash. A log without recipients has it where one of its columns alone holds an address.
    fn hashed_recipient(&self) -> Expr {
        match self.hashed.as_slice() {
            _ if !self.addresses.is_empty() => col(HASHED_RECIPIENT),
            [only] => col(file_column(only)),
            _ => lit(NULL).cast(DataType::String),
        }
    }

    /// Step 4: each canonical column in its type; a cell that does not parse becomes null.
    pub(super) fn typed(&self, times: &TimeParser) -> Vec<Expr> {
        let mut columns: Vec<Expr> = self
            .sources
            .iter()
            .map(|(spec, names)| {
                let is_double = |name: &String| self.file.contains(&(name.clone(), DataType::Float64));
                let cell = col(raw_column(spec.name));
                // Only where there are doubles: what is mapped value by value stands in the way of the optimiser.
                let cell = match spec.kind {
                    ColumnKind::Text if names.iter().any(is_double) => whole_numbers(cell),
                    ColumnKind::Money if names.iter().any(is_double) => double_text(cell),
                    _ => cell,
                };
                parsed(cell, spec.name, spec.kind, self.mapping, times).alias(spec.name)
            })
            .collect();
        if self.log.has_recipient() {
            let looks = col(raw_column(RECIPIENT)).cast(DataType::String).map(
                |column| {
                    let flags: BooleanChunked = column
                        .str()?
                        .iter()
                        .map(|text| {
                            text.is_some_and(|text| text.contains(['+', '＋', '@', '＠']) && looks_like_address(text))
                        })
                        .collect();
                    Ok(flags.with_name(column.name().clone()).into_column())
                },
                |_, field| Ok(polars::prelude::Field::new(field.name().clone(), DataType::Boolean)),
            );
            columns.push(looks.alias(RAW_ADDRESS));
        }
        columns
    }

    /// Step 5: what can be wrong with a row, in the order in which it is told.
    pub(super) fn faults(&self, latest: i64) -> Faults {
        let mut faults: Vec<(Expr, Expr)> = Vec::new();
        if !self.addresses.is_empty() {
            faults.push((col(BAD_ADDRESS), lit("the phone number or address is not a valid one")));
        }
        if self.log.has_recipient() {
            faults.push((
                col(RAW_ADDRESS),
                lit("recipient_id is a raw phone number or address: map that column as phone or email"),
            ));
        }
        for (spec, sources) in &self.sources {
            self.faults_of(spec, sources, latest, &mut faults);
        }
        let one_of = self.log.needs_one_of();
        if !one_of.is_empty() {
            let empty: Vec<Expr> = one_of.iter().map(|name| col(*name).is_null()).collect();
            if let Ok(all_empty) = all_horizontal(empty) {
                faults.push((all_empty, lit(format!("{} are all missing", one_of.join(" and ")))));
            }
        }
        Faults(faults)
    }

    fn faults_of(&self, spec: &ColumnSpec, sources: &[String], latest: i64, faults: &mut Vec<(Expr, Expr)>) {
        let (raw, typed) = (col(raw_column(spec.name)), col(spec.name));
        let fed = !sources.is_empty()
            || self.mapping.constants.contains_key(spec.name)
            || self.mapping.join.contains_key(spec.name)
            || self.mapping.cases.iter().any(|case| case.column == spec.name)
            || (spec.name == RECIPIENT && !self.addresses.is_empty());
        match spec.presence {
            Presence::Required if !fed => {
                faults.push((lit(true), lit(format!("there is no column {0} (map one to it with --map)", spec.name))));
            }
            Presence::Required => faults.push((raw.clone().is_null(), lit(format!("{} is missing", spec.name)))),
            Presence::RequiredIfPresent if fed && !self.mapping.may_lack.iter().any(|column| column == spec.name) => {
                faults.push((raw.clone().is_null(), lit(format!("{} is missing", spec.name))));
            }
            Presence::RequiredIfPresent | Presence::Optional => {}
        }
        let what = match spec.kind {
            ColumnKind::Text => return,
            ColumnKind::Time if self.mapping.time_formats.is_empty() => {
                "a time such as 2026-03-02T10:15:30Z (name other formats in a mapping, as time_formats)"
            }
            ColumnKind::Time => "a time in one of the mapping's time_formats",
            ColumnKind::Money => "an amount",
            ColumnKind::Integer => "a whole number",
            ColumnKind::Number => "a number",
            ColumnKind::Boolean => "true or false",
            ColumnKind::Word(list) => list.name,
        };
        let unknown = if matches!(spec.kind, ColumnKind::Word(_)) { "is not a known" } else { "is not" };
        let quoted =
            lit(format!("{} \"", spec.name)) + raw.clone().cast(DataType::String) + lit(format!("\" {unknown} {what}"));
        faults.push((raw.is_not_null().and(typed.clone().is_null()), quoted));
        if spec.kind == ColumnKind::Time {
            faults.push((
                typed.clone().lt(lit(EARLIEST_MOMENT).cast(MOMENT)),
                lit(format!("{} is before the year 2000", spec.name)),
            ));
            if !MAY_BE_AHEAD.contains(&spec.name) {
                let ahead = typed.clone().gt(lit(latest).cast(MOMENT));
                faults.push((ahead, lit(format!("{} is more than a day ahead of the clock", spec.name))));
            }
        }
        if spec.non_negative {
            faults.push((typed.lt(lit(0)), lit(format!("{} is negative", spec.name))));
        }
    }

    /// The columns of the result: canonical ones, attributes, what a preset converted, and the row's number.
    pub(super) fn output(&self) -> Vec<Expr> {
        let mut names: Vec<String> = self.log.columns().iter().map(|spec| spec.name.to_owned()).collect();
        let mut columns: Vec<Expr> = names.iter().map(|name| col(name.as_str())).collect();
        let mut add = |name: String, cell: Expr, columns: &mut Vec<Expr>| {
            let mut unique = name.clone();
            let mut number = 2;
            while names.contains(&unique) {
                unique = if number == 2 { format!("input_{name}") } else { format!("input_{name}_{number}") };
                number += 1;
            }
            names.push(unique.clone());
            columns.push(cell.cast(DataType::String).alias(unique));
        };
        if let Some(preset) = self.preset {
            add("source_preset".to_owned(), lit(preset.to_owned()), &mut columns);
            add("raw_time".to_owned(), col(raw_column(self.log.time_column())), &mut columns);
            if self.log == Log::Deliveries {
                add("raw_status".to_owned(), col(raw_column("status")), &mut columns);
            }
        }
        for (name, _) in &self.file {
            let fed = self.sources.iter().any(|(_, sources)| sources.contains(name));
            let address = self.is_address(name) && !self.hashed.contains(name);
            if fed || address || self.is_dropped(name) {
                continue;
            }
            let hashed = self.hashed.contains(name);
            let attribute = attribute_name(name);
            let attribute = if hashed { format!("{attribute}_hash") } else { attribute };
            add(attribute, col(file_column(name)), &mut columns);
        }
        columns.push(col(SOURCE_ROW));
        columns
    }
}

/// What can be wrong with a row: conditions, each with the words for it.
pub(super) struct Faults(Vec<(Expr, Expr)>);

impl Faults {
    /// Whether a row has any fault.
    pub(super) fn any(&self) -> Expr {
        self.0.iter().fold(lit(false), |any, (condition, _)| any.or(condition.clone().fill_null(lit(false))))
    }

    /// The first fault of a row in words.
    pub(super) fn reason(&self) -> Expr {
        self.0.iter().rev().fold(lit(NULL).cast(DataType::String), |otherwise, (condition, reason)| {
            when(condition.clone()).then(reason.clone()).otherwise(otherwise)
        })
    }
}

/// Whether a cell is one of some texts, or begins with one that ends in `*`.
fn has_one_of(column: &str, values: &[String]) -> Expr {
    let cell = col(file_column(column)).cast(DataType::String);
    values.iter().fold(lit(false), |condition, value| {
        let is_it = match value.strip_suffix('*') {
            Some(beginning) => cell.clone().str().starts_with(lit(beginning)),
            None => cell.clone().eq(lit(value.clone())),
        };
        condition.or(is_it.fill_null(lit(false)))
    })
}
