//! The words that a chart of the week brings itself, in the languages that it speaks.

use super::text;

/// In which language a chart writes its own words. Titles and names are drawn as they are given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Simplified Chinese.
    Chinese,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The ISO 639-1 code.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// The language of an ISO 639-1 code.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.name() == name)
    }

    pub(super) const fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::Chinese => &CHINESE,
        }
    }

    /// Days by their ISO numbers, the first and the last: `Mon–Fri`, `Sat`.
    pub(super) fn days(self, (first, last): (u8, u8)) -> String {
        let words = self.words();
        let name = |day: u8| words.days.get(usize::from(day).wrapping_sub(1)).copied().unwrap_or(text::DASH);
        if first == last { name(first).to_owned() } else { format!("{}{}{}", name(first), words.until, name(last)) }
    }

    /// So many windows that are not drawn as intervals.
    pub(super) fn more_windows(self, count: usize) -> String {
        match self {
            Self::English if count == 1 => "and 1 more window with fewer messages".to_owned(),
            Self::English => format!("and {count} more windows with fewer messages"),
            Self::Chinese => format!("另有 {count} 个发送量较少的时段未画出"),
        }
    }
}

/// What a chart of the week says in one language.
#[derive(Debug)]
pub(super) struct Words {
    /// Monday first.
    days: [&'static str; 7],
    /// Between the first and the last of several days.
    until: &'static str,
    /// Beside the hours.
    pub(super) hour: &'static str,
    /// Over the column of counts.
    pub(super) messages: &'static str,
    pub(super) not_legal: &'static str,
    pub(super) too_few: &'static str,
    /// The same where there is less room.
    pub(super) few: &'static str,
    pub(super) recommended: &'static str,
    /// What the colours compare with.
    pub(super) against: &'static str,
    pub(super) night: &'static str,
    pub(super) arrow: &'static str,
    /// In place of intervals: with legal windows, and without.
    pub(super) nothing_to_compare: &'static str,
    pub(super) nothing_legal: &'static str,
    /// Between two notes.
    pub(super) semicolon: &'static str,
}

static ENGLISH: Words = Words {
    days: ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
    until: "\u{2013}",
    hour: "hour",
    messages: "messages",
    not_legal: "not legal",
    too_few: "too few messages",
    few: "too few",
    recommended: "recommended",
    against: "against now",
    night: "a night belongs to the day on which it begins",
    arrow: "an arrow: the interval goes on beyond the axis",
    nothing_to_compare: "no legal window has enough messages to be compared",
    nothing_legal: "no window is legal",
    semicolon: "; ",
};

static CHINESE: Words = Words {
    days: ["周一", "周二", "周三", "周四", "周五", "周六", "周日"],
    until: "至",
    hour: "时",
    messages: "发送量",
    not_legal: "法规不允许",
    too_few: "数据不足",
    few: "不足",
    recommended: "推荐",
    against: "与现状相比",
    night: "夜间时段归入其开始的那一天",
    arrow: "箭头：区间超出坐标轴",
    nothing_to_compare: "没有可比较的时段：合法时段的数据都不足",
    nothing_legal: "没有合法的时段",
    semicolon: "；",
};

#[cfg(test)]
mod tests {
    use super::super::fonts;
    use super::*;

    #[test]
    fn days_have_names() {
        assert_eq!(Language::English.days((1, 5)), "Mon–Fri");
        assert_eq!(Language::English.days((7, 7)), "Sun");
        assert_eq!(Language::Chinese.days((1, 5)), "周一至周五");
        assert_eq!(Language::Chinese.days((7, 7)), "周日");
        assert_eq!(Language::English.days((0, 9)), "–––");
    }

    #[test]
    fn the_bundled_fonts_draw_every_word() {
        for language in Language::ALL {
            let own = format!("{:?}{}★", language.words(), language.more_windows(3));
            let lacking = fonts::lacking(&own);
            assert!(lacking.is_empty(), "{lacking:?}");
        }
    }

    #[test]
    fn languages_have_their_codes() {
        assert_eq!(Language::ALL.map(|language| Language::of(language.name())), Language::ALL.map(Some));
        assert_eq!(Language::of("tlh"), None);
    }
}
