//! The join that brings columns of the contacts, and segments that are made of them, to messages or to assignments.

use crate::facts::contact_periods;
use crate::query::quoted;
use crate::segment::SegmentColumn;

/// What is wanted of the contacts.
#[derive(Debug, Clone, Default)]
pub(super) struct ContactColumns {
    names: Vec<String>,
    segments: Vec<SegmentColumn>,
}

impl ContactColumns {
    pub(super) fn add(&mut self, name: &str) {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }

    pub(super) fn add_segment(&mut self, segment: &SegmentColumn) {
        if !self.segments.contains(segment) {
            self.segments.push(segment.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.segments.is_empty()
    }

    /// The segments among them, each version once.
    pub(super) fn segments(&self) -> &[SegmentColumn] {
        &self.segments
    }

    /// The join that brings them as `a`, for a recipient and valid at a moment; empty without columns.
    pub(super) fn join(&self, has_history: bool, recipient: &str, moment: &str) -> String {
        if self.is_empty() {
            return String::new();
        }
        let named = self.names.iter().map(|name| quoted(name));
        let wanted: Vec<String> = named.chain(self.segments.iter().map(SegmentColumn::computed)).collect();
        let wanted = wanted.join(", ");
        if !has_history {
            return format!(
                " LEFT JOIN (SELECT recipient_id, {wanted} FROM recipients) AS a ON a.recipient_id = {recipient}"
            );
        }
        let periods = contact_periods(&self.all_names().join(", "));
        let periods = if self.segments.is_empty() {
            periods
        } else {
            format!("SELECT recipient_id, {wanted}, valid_from, valid_to FROM ({periods}) AS periods")
        };
        format!(
            " LEFT JOIN ({periods}) AS a ON a.recipient_id = {recipient} \
             AND {moment} >= a.valid_from AND {moment} < a.valid_to"
        )
    }

    /// The columns themselves and those that the segments are made of, each once.
    fn all_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.names.iter().chain(self.segments.iter().flat_map(SegmentColumn::made_of)) {
            let name = quoted(name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
