//! The windows of a chart before they have a place: what enters may contradict itself, what leaves can be drawn. Each
//! window keeps to the day on which it begins, so the hours across begin where no window is cut in two.

use super::interval_lines::Line;
use super::{AxisUnit, IntervalRow, Language, WindowRow};

pub(super) const HOURS: u8 = 24;
const HOURS_OF_WEEK: usize = 168;

/// What is known of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is legal and has an estimate.
    Compared,
    /// Too little was sent in it for an estimate.
    Unsupported,
    /// It is out of the question.
    Illegal,
}

/// A window that can be drawn.
pub(super) struct Block {
    pub(super) days: (u8, u8),
    /// Local hour, 0 to 23.
    start: u8,
    /// 1 to 24.
    hours: u8,
    pub(super) standing: Standing,
    pub(super) is_recommended: bool,
    pub(super) sends: u64,
    /// Its difference, in the units shown.
    pub(super) line: Line,
}

impl Block {
    /// Nothing for days or hours that there are not.
    fn new(row: &WindowRow, unit: AxisUnit, language: Language) -> Option<Self> {
        let (first, last) = row.days;
        let is_drawable =
            (1..=7).contains(&first) && (first..=7).contains(&last) && row.start < HOURS && row.end <= HOURS;
        if !is_drawable {
            return None;
        }
        let mark = if row.recommended { "★ " } else { "" };
        let interval = IntervalRow {
            label: format!("{mark}{} {:02}\u{2013}{:02}", language.days(row.days), row.start, row.end),
            estimate: row.difference,
            low: row.low,
            high: row.high,
            detail: None,
        };
        let line = Line::new(&interval, unit.factor());
        let standing = match line.estimate {
            _ if !row.legal => Standing::Illegal,
            Some(_) if row.supported => Standing::Compared,
            _ => Standing::Unsupported,
        };
        Some(Self {
            days: row.days,
            start: row.start,
            hours: (row.end + 2 * HOURS - row.start - 1) % HOURS + 1,
            standing,
            is_recommended: row.recommended && standing != Standing::Illegal,
            sends: row.sends,
            line,
        })
    }

    /// Its hours of the week, counted from Monday at midnight.
    fn hours_of_week(&self) -> impl Iterator<Item = usize> + '_ {
        (self.days.0..=self.days.1).flat_map(|day| {
            let from = usize::from(day - 1) * usize::from(HOURS) + usize::from(self.start);
            (from..from + usize::from(self.hours)).map(|hour| hour % HOURS_OF_WEEK)
        })
    }

    /// Hours from the first hour of the picture to its start.
    fn place(&self, first: u8) -> u8 {
        (self.start + HOURS - first) % HOURS
    }

    fn goes_through(&self, hour: u8) -> bool {
        let past = (hour + HOURS - self.start) % HOURS;
        past != 0 && past < self.hours
    }
}

/// The windows in the order of the week.
pub(super) struct Week {
    pub(super) blocks: Vec<Block>,
    /// The rows of the picture: days that share their windows.
    pub(super) days: Vec<(u8, u8)>,
    /// The local hour at the left.
    pub(super) first_hour: u8,
    /// Windows that cannot be drawn.
    pub(super) refused: usize,
}

impl Week {
    pub(super) fn new(rows: &[WindowRow], unit: AxisUnit, language: Language) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        let mut taken = [false; HOURS_OF_WEEK];
        let mut refused = 0;
        for row in rows {
            let block = Block::new(row, unit, language);
            let is_free = |block: &Block| block.hours_of_week().all(|hour| taken.get(hour) == Some(&false));
            let Some(block) = block.filter(is_free) else {
                refused += 1;
                continue;
            };
            for hour in block.hours_of_week() {
                if let Some(place) = taken.get_mut(hour) {
                    *place = true;
                }
            }
            blocks.push(block);
        }
        let is_whole = |hour: &u8| blocks.iter().all(|block| !block.goes_through(*hour));
        let first_hour = (0..HOURS).find(is_whole).unwrap_or(0);
        blocks.sort_by_key(|block| (block.days, block.place(first_hour)));
        let mut days: Vec<(u8, u8)> = blocks.iter().map(|block| block.days).collect();
        days.dedup();
        Self { blocks, days, first_hour, refused }
    }

    /// Where a window lies, in hours from the left: in one piece, or in two where no hour leaves all windows whole.
    pub(super) fn pieces(&self, block: &Block) -> Vec<(u8, u8)> {
        let from = block.place(self.first_hour);
        let to = from + block.hours;
        if to <= HOURS { vec![(from, to)] } else { vec![(from, HOURS), (0, to - HOURS)] }
    }

    pub(super) fn has(&self, standing: Standing) -> bool {
        self.blocks.iter().any(|block| block.standing == standing)
    }

    pub(super) fn has_recommended(&self) -> bool {
        self.blocks.iter().any(|block| block.is_recommended)
    }

    /// Does a window go on after midnight?
    pub(super) fn has_night(&self) -> bool {
        self.blocks.iter().any(|block| block.goes_through(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(days: (u8, u8), start: u8, end: u8) -> WindowRow {
        WindowRow {
            days,
            start,
            end,
            legal: true,
            supported: true,
            recommended: false,
            sends: 9,
            difference: Some(0.01),
            low: None,
            high: None,
        }
    }

    fn week(rows: &[WindowRow]) -> Week {
        Week::new(rows, AxisUnit::PercentagePoints, Language::English)
    }

    #[test]
    fn windows_stand_in_the_order_of_the_week_and_nights_last() {
        let found = week(&[row((6, 6), 8, 22), row((1, 5), 22, 8), row((1, 5), 15, 22), row((1, 5), 8, 15)]);
        let labels: Vec<&str> = found.blocks.iter().map(|block| block.line.label.as_str()).collect();
        assert_eq!(labels, ["Mon–Fri 08–15", "Mon–Fri 15–22", "Mon–Fri 22–08", "Sat 08–22"]);
        assert_eq!((found.first_hour, found.days.len(), found.refused), (8, 2, 0));
        let pieces: Vec<_> = found.blocks.iter().map(|block| found.pieces(block)).collect();
        assert_eq!(pieces, [vec![(0, 7)], vec![(7, 14)], vec![(14, 24)], vec![(0, 14)]]);
        assert!(found.has_night());
    }

    #[test]
    fn days_begin_at_midnight_where_no_window_goes_through_it() {
        let found = week(&[row((1, 1), 0, 12), row((1, 1), 12, 24), row((2, 2), 12, 0)]);
        assert_eq!((found.first_hour, found.refused, found.has_night()), (0, 0, false));
    }

    #[test]
    fn a_window_is_cut_in_two_where_it_must_be() {
        let found = week(&[row((1, 1), 6, 18), row((2, 2), 12, 0), row((3, 3), 18, 6), row((6, 6), 0, 12)]);
        let cut = found.blocks.iter().find(|block| block.days == (3, 3)).map(|block| found.pieces(block));
        assert_eq!(cut, Some(vec![(18, 24), (0, 6)]));
        assert_eq!(week(&[row((1, 1), 6, 6)]).pieces(&week(&[row((1, 1), 6, 6)]).blocks[0]), [(0, 24)]);
    }

    #[test]
    fn what_contradicts_itself_is_counted() {
        let odd = [row((0, 1), 8, 9), row((5, 1), 8, 9), row((1, 8), 8, 9), row((1, 1), 24, 9), row((1, 1), 9, 25)];
        assert_eq!(week(&odd).refused, 5);
        // The night of Sunday reaches into Monday.
        assert_eq!(week(&[row((7, 7), 22, 8), row((1, 1), 7, 9), row((1, 1), 8, 9), row((1, 3), 8, 9)]).refused, 2);
    }

    #[test]
    fn without_an_estimate_there_is_no_comparison() {
        let none = WindowRow { difference: Some(f64::NAN), ..row((1, 1), 8, 9) };
        let illegal = WindowRow { legal: false, recommended: true, ..row((1, 1), 9, 10) };
        let few = WindowRow { supported: false, ..row((1, 1), 10, 11) };
        let standings: Vec<Standing> = week(&[none, illegal, few]).blocks.iter().map(|block| block.standing).collect();
        assert_eq!(standings, [Standing::Unsupported, Standing::Illegal, Standing::Unsupported]);
        let illegal = WindowRow { legal: false, recommended: true, ..row((1, 1), 9, 10) };
        assert!(!week(&[illegal]).has_recommended());
    }
}
