//! The picture of an answer about send windows, with its own sentences in English or Chinese.

use super::super::interval_lines::{Figures, Line};
use super::super::number::{counted, fixed, percent, thousands};
use super::super::text;
use super::super::{AxisUnit, Chart, IntervalRow, Language, WindowRow};
use crate::error::{EngineError, Result};
use crate::stats::Estimate;
use crate::stats::send_windows::{AbstentionCause, WindowOptions};
use crate::windows::{Objective, WindowName, WindowsAnswer, WindowsIdentification, WindowsLevel, WindowsPlan};

/// So many recommended windows are named; the rest are counted.
const NAMED: usize = 4;

/// The windows of the week with what each would change, and what to do; where hours cannot be told from campaigns, why
/// not and what would help.
///
/// # Errors
/// When a window has a day or an hour that there is not.
pub fn windows_chart(answer: &WindowsAnswer, language: Language) -> Result<Chart> {
    let speaker = Speaker { answer, language };
    let is_identified = answer.identification != WindowsIdentification::NotIdentifiable;
    Ok(Chart::Windows {
        title: speaker.title(),
        subtitle: speaker.subtitle(),
        words: if is_identified { speaker.verdict()? } else { speaker.no_answer() },
        axis: speaker.axis(),
        unit: speaker.unit(),
        language,
        rows: if is_identified { rows(answer)? } else { Vec::new() },
    })
}

fn rows(answer: &WindowsAnswer) -> Result<Vec<WindowRow>> {
    let row = |window: &crate::windows::WindowOfWeek| {
        Ok(WindowRow {
            days: days_of(window.weekday)?,
            start: hour_of(&window.start)?,
            end: hour_of(&window.end)?,
            legal: window.legal,
            supported: window.supported,
            recommended: answer.recommendation.windows.contains(&window.name()),
            sends: window.sends,
            difference: window.difference.estimate,
            low: window.difference.low,
            high: window.difference.high,
        })
    };
    answer.windows.iter().map(row).collect()
}

/// ISO numbers of the days of a window.
fn days_of(name: &str) -> Result<(u8, u8)> {
    let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let single = days.into_iter().zip(1..).find(|(day, _)| *day == name).map(|(_, number)| (number, number));
    single.or((name == "weekday").then_some((1, 5))).ok_or_else(|| {
        EngineError::usage(format!("\"{name}\" is no day that a window has: use weekday or a day's name"))
    })
}

/// The hour of `18:00`.
fn hour_of(clock: &str) -> Result<u8> {
    let hour = clock.strip_suffix(":00").and_then(|hour| hour.parse().ok()).filter(|hour| *hour <= 24);
    hour.ok_or_else(|| EngineError::usage(format!("\"{clock}\" is no hour that a window has: use 00:00 to 24:00")))
}

/// What the picture says of an answer.
struct Speaker<'a> {
    answer: &'a WindowsAnswer,
    language: Language,
}

impl Speaker<'_> {
    fn is_chinese(&self) -> bool {
        self.language == Language::Chinese
    }

    fn unit(&self) -> AxisUnit {
        match self.answer.objective {
            Objective::Click | Objective::Conversion => AxisUnit::PercentagePoints,
            Objective::Revenue | Objective::Profit => AxisUnit::Plain,
        }
    }

    fn title(&self) -> String {
        let title = if self.is_chinese() {
            "一周中的发送时段（当地时间）"
        } else {
            "Send windows of the local week"
        };
        let none = if self.is_chinese() { "（无）" } else { "(none)" };
        let of_each = self.answer.by.values().map(|value| value.as_str().unwrap_or(none));
        let segment = of_each.collect::<Vec<_>>().join(" · ");
        let colon = if self.is_chinese() { "：" } else { ": " };
        if segment.is_empty() { title.to_owned() } else { format!("{title}{colon}{segment}") }
    }

    fn subtitle(&self) -> String {
        let (campaigns, sends) = (self.answer.campaigns, thousands(self.answer.sends));
        if self.is_chinese() {
            let objective = match self.answer.objective {
                Objective::Click => "点击",
                Objective::Conversion => "转化",
                Objective::Revenue => "收入",
                Objective::Profit => "利润",
            };
            let basis = match self.answer.identification {
                WindowsIdentification::Causal => "；时段随机分配",
                WindowsIdentification::QuasiExperimental => "；同一时刻在各地的不同钟点",
                WindowsIdentification::NotIdentifiable => "",
            };
            return format!("目标：{objective}；{campaigns} 个活动，{sends} 条消息{basis}");
        }
        let basis = match self.answer.identification {
            WindowsIdentification::Causal => "; windows drawn at random",
            WindowsIdentification::QuasiExperimental => "; one instant at different local hours",
            WindowsIdentification::NotIdentifiable => "",
        };
        let campaigns = counted(campaigns, "campaign");
        format!("objective {}; {sends} messages of {campaigns}{basis}", self.answer.objective.name())
    }

    fn axis(&self) -> String {
        let level = percent(WindowOptions::default().level);
        let level = level.replace(".0 %", " %");
        match (self.is_chinese(), self.unit()) {
            (true, AxisUnit::Plain) => format!("每条消息与现行做法之差，{level} 区间"),
            (true, _) => format!("与现行做法之差（百分点），{level} 区间"),
            (false, AxisUnit::Plain) => format!("difference to current practice a message, with {level} intervals"),
            (false, _) => format!("difference to current practice in percentage points, with {level} intervals"),
        }
    }

    /// What to do, and what it rests on.
    fn verdict(&self) -> Result<Vec<String>> {
        let found = &self.answer.recommendation;
        let why = match found.cause {
            Some(cause) if self.is_chinese() => chinese_cause(cause).to_owned(),
            _ => found.why.join("; "),
        };
        if found.abstained || found.windows.is_empty() {
            let verdict = match (self.is_chinese(), why.is_empty()) {
                (true, true) => "暂不推荐任何时段。".to_owned(),
                (true, false) => format!("暂不推荐任何时段：{why}"),
                (false, true) => "No window is recommended.".to_owned(),
                (false, false) => format!("No window is recommended: {why}"),
            };
            return Ok(vec![verdict]);
        }
        let names = self.names(&found.windows)?;
        let written = |estimate: &Option<Estimate>, unit| estimate.as_ref().and_then(|it| written(it, unit));
        let gain = written(&found.expected_gain, self.unit());
        let relative = written(&found.relative_gain, AxisUnit::Percent);
        let chance = found.chance_of_gain.map(|chance| format!("{} %", fixed(100.0 * chance, 0)));
        let mut verdict = if self.is_chinese() { format!("推荐：{names}") } else { format!("Use {names}") };
        let parts: Vec<String> = if self.is_chinese() {
            let parts = [gain.map(|it| format!("预期提升 {it}")), relative.map(|it| format!("相对 {it}"))];
            parts.into_iter().chain([chance.map(|it| format!("优于现状的概率 {it}"))]).flatten().collect()
        } else {
            let parts = [gain.map(|it| format!("{it} expected")), relative.map(|it| format!("relative {it}"))];
            parts
                .into_iter()
                .chain([chance.map(|it| format!("better than now with probability {it}"))])
                .flatten()
                .collect()
        };
        let (colon, comma, stop) = if self.is_chinese() { ("：", "，", "。") } else { (": ", ", ", ".") };
        if !parts.is_empty() {
            verdict.push_str(colon);
            verdict.push_str(&parts.join(comma));
        }
        verdict.push_str(stop);
        let mut words = vec![verdict];
        if !self.answer.by.is_empty() && self.answer.level == WindowsLevel::All {
            let of_all = if self.is_chinese() {
                "此人群的数据不足以得出不同的结论：推荐与全体收件人相同。"
            } else {
                "What this segment shows asks for no other windows: the recommendation is that of all recipients."
            };
            words.push(of_all.to_owned());
        }
        Ok(words)
    }

    /// `Mon–Fri 19–22 or Sat 08–11`.
    fn names(&self, windows: &[WindowName]) -> Result<String> {
        let name = |window: &WindowName| {
            let days = self.language.days(days_of(window.weekday)?);
            Ok(format!("{days} {:02}\u{2013}{:02}", hour_of(&window.start)?, hour_of(&window.end)?))
        };
        let named = windows.iter().take(NAMED).map(name).collect::<Result<Vec<_>>>()?;
        let rest = windows.len() - named.len();
        let mut joined = named.join(if self.is_chinese() { "、" } else { " or " });
        if rest > 0 {
            let more =
                if self.is_chinese() { format!("等 {} 个时段", windows.len()) } else { format!(" or {rest} more") };
            joined.push_str(&more);
        }
        Ok(joined)
    }

    /// Why there is no answer, and what would lead to one.
    fn no_answer(&self) -> Vec<String> {
        let plan = self.answer.plan.as_ref();
        if !self.is_chinese() {
            let what = plan.map_or_else(
                || "fewer than two windows are legal wherever these recipients live: ask by country, or give your own rules".to_owned(),
                |plan| plan.words.clone(),
            );
            return vec![
                "Hours cannot be compared yet, so no window is ranked.".to_owned(),
                format!("Why: {}.", self.answer.reason.trim_end_matches('.')),
                format!("What to do: {}.", what.trim_end_matches('.')),
            ];
        }
        let evidence = &self.answer.evidence;
        let why = if evidence.sends == 0 {
            "还没有发送记录。".to_owned()
        } else {
            format!(
                "{} 个活动、{} 条消息的发送时段都不是随机分配的，也没有可用的自然对照：时段的影响与活动、人群的影响无法区分。",
                evidence.campaigns,
                thousands(evidence.sends)
            )
        };
        let what = plan.map_or_else(
            || "在这些收件人所在的各地都合法的时段不足两个：请按国家分别查询，或提供自己的规则。".to_owned(),
            chinese_plan,
        );
        vec!["目前无法比较各时段，因此不做排名。".to_owned(), format!("原因：{why}"), format!("怎么做：{what}")]
    }
}

fn chinese_plan(plan: &WindowsPlan) -> String {
    let sizes = &plan.sizes;
    let share = fixed(100.0 * sizes.share_per_window, 1);
    format!(
        "为每位收件人随机抽取发送时段：每个活动在 {} 个合法时段中各发 {share} %，并把概率记为 send_propensity。每个时段约需 {} 条消息，即 \
         {} 个活动，按目前的发送量约 {} 天，才能看出一成的差别。",
        sizes.windows,
        thousands(sizes.sends_per_window),
        thousands(sizes.campaigns),
        thousands(sizes.days)
    )
}

/// `+0.8 pp [0.3, 1.3]`; nothing without an estimate.
fn written(estimate: &Estimate, unit: AxisUnit) -> Option<String> {
    let row = IntervalRow {
        label: text::DASH.to_owned(),
        estimate: estimate.estimate,
        low: estimate.low,
        high: estimate.high,
        detail: None,
    };
    let line = Line::new(&row, unit.factor());
    let shown = Figures::new([&line], unit.suffix()).estimate_and_interval(&line);
    Some(shown).filter(|shown| !shown.is_empty())
}

/// Why nothing is recommended.
fn chinese_cause(cause: AbstentionCause) -> &'static str {
    match cause {
        AbstentionCause::NoLegalSlot => "没有对所有收件人都合法的时段。",
        AbstentionCause::NoOutcome => "无人响应，或人人响应：无从比较。",
        AbstentionCause::NotSupported => "在足够多的活动中有足够消息的合法时段不足两个：请继续随机发送。",
        AbstentionCause::PracticeIsGoodEnough => "现行做法与最佳时段相差无几：无需改变。",
        AbstentionCause::NotToldApart => "还不能确定哪个时段优于现行做法：请继续随机发送。",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::send_windows::{RandomisationPlan, TimingEvidence};
    use crate::windows::{LeftOut, WindowOfWeek, WindowsRecommendation};

    fn around(value: f64) -> Estimate {
        Estimate { estimate: Some(value), low: Some(value - 0.002), high: Some(value + 0.002), note: None }
    }

    fn name(weekday: &'static str, start: &str, end: &str) -> WindowName {
        WindowName { weekday, start: start.to_owned(), end: end.to_owned() }
    }

    fn window(name: WindowName, difference: f64) -> WindowOfWeek {
        WindowOfWeek {
            weekday: name.weekday,
            start: name.start,
            end: name.end,
            legal: true,
            supported: true,
            sends: 1_234,
            rate: around(0.05 + difference),
            difference: around(difference),
            chance_of_best: None,
            expected_loss: None,
        }
    }

    fn answer(identification: WindowsIdentification, recommended: Vec<WindowName>) -> WindowsAnswer {
        let is_recommended = !recommended.is_empty();
        WindowsAnswer {
            objective: Objective::Click,
            identification,
            reason: "each campaign went out in one window".to_owned(),
            level: WindowsLevel::All,
            by: serde_json::Map::default(),
            sends: 12_345,
            campaigns: 7,
            left_out: LeftOut::default(),
            evidence: TimingEvidence {
                campaigns: 7,
                causal_campaigns: 0,
                quasi_experimental_campaigns: 0,
                sends: 12_345,
                causal_share: 0.0,
                quasi_experimental_share: 0.0,
            },
            practice: Some(around(0.05)),
            windows: vec![
                window(name("weekday", "19:00", "22:00"), 0.01),
                window(name("weekday", "22:00", "08:00"), -0.01),
                window(name("sunday", "08:00", "11:00"), 0.0),
            ],
            recommendation: WindowsRecommendation {
                abstained: !is_recommended,
                windows: recommended,
                expected_gain: is_recommended.then(|| around(0.01)),
                relative_gain: is_recommended.then(|| around(0.2)),
                chance_of_gain: is_recommended.then_some(0.987),
                cause: (!is_recommended).then_some(AbstentionCause::NotToldApart),
                why: vec!["it is not certain enough".to_owned()],
            },
            days: Vec::new(),
            objectives: Vec::new(),
            with_machine_clicks: None,
            sooner_or_more: None,
            plan: Some(WindowsPlan {
                draw_from: Vec::new(),
                sizes: RandomisationPlan {
                    windows: 15,
                    share_per_window: 1.0 / 15.0,
                    sends_per_window: 48_213,
                    sends_per_window_of_one_pair: 20_000,
                    comparison_alpha: 0.003,
                    campaigns: 37,
                    sends: 723_195,
                    days: 92,
                },
                words: "draw the window of each recipient at random".to_owned(),
            }),
            notes: Vec::new(),
        }
    }

    fn parts(answer: &WindowsAnswer, language: Language) -> Result<(String, Vec<WindowRow>)> {
        let Chart::Windows { title, subtitle, words, rows, .. } = windows_chart(answer, language)? else {
            return Err(EngineError::usage("another chart"));
        };
        Ok((format!("{title}\n{subtitle}\n{}", words.join("\n")), rows))
    }

    #[test]
    fn a_recommendation_is_named_with_what_it_gains() -> Result<()> {
        let found = answer(WindowsIdentification::Causal, vec![name("weekday", "19:00", "22:00")]);
        let (words, rows) = parts(&found, Language::English)?;
        let verdict = "Use Mon–Fri 19–22: +1.0 pp [0.8, 1.2] expected, relative +20.0 % [19.8, 20.2], better than now \
                       with probability 99 %.";
        assert!(words.ends_with(verdict) && words.contains("12,345 messages of 7 campaigns"), "{words}");
        let hours: Vec<_> = rows.iter().map(|row| (row.days, row.start, row.end, row.recommended)).collect();
        assert_eq!(hours, [((1, 5), 19, 22, true), ((1, 5), 22, 8, false), ((7, 7), 8, 11, false)]);
        let (words, _) = parts(&found, Language::Chinese)?;
        assert!(words.contains("推荐：周一至周五 19–22：预期提升 +1.0 pp") && words.contains("目标：点击"), "{words}");
        Ok(())
    }

    #[test]
    fn an_abstention_says_why() -> Result<()> {
        let found = answer(WindowsIdentification::QuasiExperimental, Vec::new());
        let (words, rows) = parts(&found, Language::English)?;
        assert!(words.contains("No window is recommended: it is not certain enough"), "{words}");
        let (chinese, _) = parts(&found, Language::Chinese)?;
        assert!(chinese.contains("暂不推荐任何时段：还不能确定") && !chinese.contains("certain"), "{chinese}");
        assert!(rows.len() == 3 && rows.iter().all(|row| !row.recommended));
        Ok(())
    }

    #[test]
    fn hours_that_cannot_be_told_have_no_rows_even_if_the_answer_has() -> Result<()> {
        let mut found = answer(WindowsIdentification::NotIdentifiable, Vec::new());
        let (words, rows) = parts(&found, Language::English)?;
        assert!(
            rows.is_empty() && words.contains("Why: each campaign") && words.contains("What to do: draw"),
            "{words}"
        );
        let (words, _) = parts(&found, Language::Chinese)?;
        assert!(words.contains("不做排名") && words.contains("48,213") && words.contains("6.7 %"), "{words}");
        found.plan = None;
        assert!(parts(&found, Language::English)?.0.contains("fewer than two windows are legal"));
        Ok(())
    }

    #[test]
    fn a_segment_is_named_and_so_is_an_answer_that_is_not_its_own() -> Result<()> {
        let mut found = answer(WindowsIdentification::Causal, vec![name("sunday", "08:00", "11:00")]);
        found.by.insert("country".to_owned(), "CN".into());
        let (words, _) = parts(&found, Language::English)?;
        assert!(words.starts_with("Send windows of the local week: CN\n"), "{words}");
        assert!(words.contains("that of all recipients"), "{words}");
        Ok(())
    }

    #[test]
    fn days_and_hours_that_there_are_not_are_refused() {
        for (day, start) in [("someday", "08:00"), ("sunday", "08:30"), ("sunday", "25:00"), ("sunday", "")] {
            let mut found = answer(WindowsIdentification::Causal, Vec::new());
            found.windows.push(window(name(day, start, "11:00"), 0.0));
            assert!(windows_chart(&found, Language::English).is_err(), "{day} {start}");
        }
    }
}
