//! All charts at several sizes: no two texts overlap, none leaves the picture, and the PNG shows them.

use resvg::tiny_skia::Pixmap;

use super::*;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A text in a picture, with the box it takes.
#[derive(Debug)]
struct Placed {
    text: String,
    left: f64,
    right: f64,
    upper: f64,
    lower: f64,
}

impl Placed {
    fn overlaps(&self, other: &Self) -> bool {
        // Places are whole pixels: a pixel may be lost on each side.
        self.left + 1.0 < other.right
            && other.left + 1.0 < self.right
            && self.upper + 1.0 < other.lower
            && other.upper + 1.0 < self.lower
    }
}

fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = attributes.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

fn placed(element: &str) -> Option<Placed> {
    let (attributes, rest) = element.split_once(">\n")?;
    let (text, _) = rest.split_once("\n</text>")?;
    let number = |name: &str| -> Option<f64> { attribute(attributes, name)?.parse().ok() };
    let (x, y, size) = (number("x")?, number("y")?, number("font-size")?);
    let width = text::width(text, size);
    let left = match attribute(attributes, "text-anchor")? {
        "start" => x,
        "middle" => x - width / 2.0,
        _ => x - width,
    };
    Some(Placed { text: text.to_owned(), left, right: left + width, upper: y - 0.45 * size, lower: y + 0.45 * size })
}

fn placed_texts(svg: &str) -> Vec<Placed> {
    svg.split("<text ").skip(1).filter_map(placed).collect()
}

fn funnel(campaigns: u64) -> Chart {
    let row = |index: u64| FunnelRow {
        label: match index % 4 {
            0 => format!("春节特惠·老客户回馈 第 {index} 波"),
            1 => format!("Loyalty win-back: a long campaign name, wave {index}"),
            2 => format!("Весна {index}"),
            _ => format!("\u{1F389} sale {index}"),
        },
        stages: [("sent", 1_234_567), ("delivered", 1_190_000), ("clickers", 88_024), ("converters", 5_185)]
            .map(|(name, count)| (name.to_owned(), count / (index + 1)))
            .to_vec(),
    };
    Chart::Funnel {
        title: "Campaign results, from the first message sent to the last conversion of all".to_owned(),
        subtitle: "each % is of messages sent (rates in a report: of recipients delivered to)".to_owned(),
        rows: (0..campaigns).map(row).collect(),
    }
}

fn intervals(count: u32) -> Chart {
    let row = |index: u32| {
        let estimate = f64::from(index % 7) * 0.02 - 0.05;
        let half = if index % 11 == 5 { 0.9 } else { 0.015 };
        let is_known = index % 6 != 4;
        IntervalRow {
            label: format!("全国其他地区（含港澳台）以及海外会员 segment {index}"),
            estimate: is_known.then_some(estimate),
            low: (index % 5 != 3).then_some(estimate - half),
            high: Some(estimate + half),
            detail: index.is_multiple_of(2).then(|| "too few converters to tell: 3 of 41".to_owned()),
        }
    };
    Chart::Intervals {
        title: "Lift by segment".to_owned(),
        axis: "relative lift in converters per assigned recipient, against control".to_owned(),
        unit: if count.is_multiple_of(2) { AxisUnit::Percent } else { AxisUnit::PercentagePoints },
        rows: (0..count).map(row).collect(),
    }
}

fn hours(count: u8) -> Chart {
    let row = |hour: u8| {
        let rate = 0.01 + 0.002 * f64::from(hour);
        HourRow {
            hour,
            sent: 999_000 / (u64::from(hour) + 1),
            clickers: 9_000 / (u64::from(hour) + 1),
            reached: 990_000.0 / (f64::from(hour) + 1.0),
            rate,
            low: rate * 0.7,
            high: if hour == 9 { 0.8 } else { rate * 1.4 },
        }
    };
    Chart::Hours {
        title: "点击率 by local hour".to_owned(),
        subtitle: "clickers as a share of recipients delivered to, with 95 % intervals".to_owned(),
        rows: (0..count).map(row).collect(),
    }
}

/// A week of six windows a day; a night is not legal, one window has too few messages, the fifth is recommended.
fn week(days: &[(u8, u8)], language: Language, words: &str) -> Chart {
    let windows = [(8, 11), (11, 14), (14, 16), (16, 19), (19, 22), (22, 8)];
    let row = |place: u8, days: (u8, u8), (start, end): (u8, u8)| {
        let difference = f64::from(place % 6) * 0.004 - 0.008;
        WindowRow {
            days,
            start,
            end,
            legal: start != 22,
            supported: (days.0, start) != (6, 14),
            recommended: start == 19 && days.0 != 7,
            sends: 1_234_567 / (u64::from(place) + 1),
            difference: Some(difference),
            low: Some(difference - 0.002),
            high: (place != 7).then_some(difference + 0.003),
        }
    };
    let rows = days.iter().flat_map(|days| windows.map(|window| (*days, window))).zip(0..);
    Chart::Windows {
        title: "Send windows of the local week 发送时段".to_owned(),
        subtitle: "objective click; 1,234,567 messages of 24 campaigns; windows drawn at random".to_owned(),
        words: [words; 3].map(str::to_owned).to_vec(),
        axis: "difference to current practice in percentage points, with 90 % intervals".to_owned(),
        unit: AxisUnit::PercentagePoints,
        language,
        rows: rows.map(|((days, window), place)| row(place, days, window)).collect(),
    }
}

const KINDS_OF_DAYS: [(u8, u8); 3] = [(1, 5), (6, 6), (7, 7)];
const EACH_DAY: [(u8, u8); 7] = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7)];

fn weeks() -> Vec<Chart> {
    let english = "No window is better than what is done now with enough certainty: the best one, weekday 19:00–22:00, \
                   is so with probability 71 %";
    let chinese = "目前无法比较各时段，因此不做排名。原因：24 个活动、214,532 条消息的发送时段都不是随机分配的，也没有可用的自然对照。";
    let days: [&[(u8, u8)]; 4] = [&[], &[(3, 3)], &KINDS_OF_DAYS, &EACH_DAY];
    let each = |language, words: &'static str| days.map(|days| week(days, language, words));
    let weeks = [each(Language::English, english), each(Language::Chinese, chinese), each(Language::English, "")];
    weeks.into_iter().flatten().collect()
}

fn all_charts() -> Vec<Chart> {
    let funnels = [0, 1, 2, 8, 60].map(funnel);
    let forests = [0, 1, 3, 9, 80].map(intervals);
    let days = [0, 1, 24].map(hours);
    funnels.into_iter().chain(forests).chain(days).chain(weeks()).collect()
}

const SIZES: [ChartSize; 6] = [
    ChartSize { width: 800, height: 500 },
    ChartSize { width: 320, height: 320 },
    ChartSize { width: 400, height: 320 },
    ChartSize { width: 1600, height: 400 },
    ChartSize { width: 400, height: 1200 },
    ChartSize { width: 1920, height: 1080 },
];

#[test]
fn texts_never_overlap_nor_leave_the_picture() -> Outcome {
    for chart in all_charts() {
        for size in SIZES {
            let svg = draw_svg(&chart, size)?.text;
            let texts = placed_texts(&svg);
            assert!(!texts.is_empty(), "{svg}");
            let (width, height) = (f64::from(size.width), f64::from(size.height));
            for (index, one) in texts.iter().enumerate() {
                assert!(
                    one.left >= -1.0 && one.right <= width + 1.0 && one.upper >= 0.0 && one.lower <= height,
                    "{one:?} leaves {size:?} in {svg}"
                );
                for other in texts.iter().skip(index + 1) {
                    assert!(!one.overlaps(other), "{} over {} at {size:?}: {one:?}, {other:?}", one.text, other.text);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn pictures_hold_numbers_only_and_are_the_same_each_time() -> Outcome {
    for chart in all_charts() {
        let svg = draw_svg(&chart, ChartSize::default())?;
        assert!(!svg.text.contains("NaN"), "{}", svg.text);
        assert!(svg.text.contains(chart.title()), "{}", svg.text);
        assert_eq!(svg, draw_svg(&chart, ChartSize::default())?);
    }
    Ok(())
}

#[test]
fn pngs_have_the_size_of_their_svg_and_ink() -> Outcome {
    let small = ChartSize { width: 400, height: 320 };
    let weeks = [week(&EACH_DAY, Language::Chinese, "推荐：周一"), week(&[], Language::English, "no ranking")];
    for chart in [funnel(0), funnel(1), funnel(3), intervals(4), hours(24)].into_iter().chain(weeks) {
        let png = render_png(&draw_svg(&chart, small)?.text)?;
        assert!(png.warnings.is_empty(), "{:?}", png.warnings);
        let pixmap = Pixmap::decode_png(&png.bytes)?;
        assert_eq!((pixmap.width(), pixmap.height()), (400, 320));
        let dark = pixmap.pixels().iter().filter(|pixel| pixel.red() < 128);
        assert!(dark.count() > 100, "{chart:?}");
    }
    Ok(())
}

#[test]
fn markup_in_names_stays_text() -> Outcome {
    let chart = Chart::Funnel {
        title: "<b>&\"sale\"\u{0}".to_owned(),
        subtitle: "a < b\u{7}".to_owned(),
        rows: vec![FunnelRow { label: "</text><script>'1' & 2".to_owned(), stages: vec![("se\u{8}nt".to_owned(), 5)] }],
    };
    let svg = draw_svg(&chart, ChartSize::default())?.text;
    assert!(!svg.contains("<script") && !svg.contains("<b>"), "{svg}");
    assert!(svg.contains("&lt;script&gt;"), "{svg}");
    assert!(!svg.contains('\u{0}') && !svg.contains('\u{8}'), "{svg}");
    assert!(render_png(&svg)?.warnings.is_empty());
    Ok(())
}

/// What is written in a picture, without the title of the document.
fn written(chart: &Chart, size: ChartSize) -> Result<Vec<String>, ChartError> {
    Ok(placed_texts(&draw_svg(chart, size)?.text).into_iter().map(|it| it.text).collect())
}

#[test]
fn windows_say_what_they_are() -> Outcome {
    let size = ChartSize::default();
    let english = written(&week(&KINDS_OF_DAYS, Language::English, "Use Mon–Fri"), size)?;
    for shown in [
        "Mon–Fri",
        "Sat",
        "not legal",
        "too few messages",
        "★ recommended",
        "★ Mon–Fri 19–22",
        "Sun 19–22",
        "★ +0.8 pp",
        "+0.8 pp [0.6, 1.1]",
        "messages",
        "1,234,567",
    ] {
        assert!(english.iter().any(|text| text == shown), "{shown} is not in {english:?}");
    }
    // A window that is not legal or has too few messages has no interval.
    for hidden in ["Mon–Fri 22–08", "Sat 14–16"] {
        assert!(english.iter().all(|text| text != hidden), "{hidden} is in {english:?}");
    }
    let chinese = written(&week(&KINDS_OF_DAYS, Language::Chinese, "推荐"), size)?;
    for shown in ["周一至周五", "周六", "法规不允许", "数据不足", "★ 推荐", "★ 周一至周五 19–22", "发送量"]
    {
        assert!(chinese.iter().any(|text| text == shown), "{shown} is not in {chinese:?}");
    }
    assert!(render_png(&draw_svg(&week(&EACH_DAY, Language::Chinese, "推荐"), size)?.text)?.warnings.is_empty());
    Ok(())
}

#[test]
fn windows_stand_in_the_order_of_the_week() -> Outcome {
    let Chart::Windows { title, subtitle, words, axis, unit, language, mut rows } =
        week(&KINDS_OF_DAYS, Language::English, "")
    else {
        return Ok(());
    };
    let labels = |chart: &Chart| -> Result<Vec<String>, ChartError> {
        let texts = written(chart, ChartSize::default())?;
        Ok(texts
            .into_iter()
            .filter(|text| text.contains("–") && text.contains(|it: char| it.is_ascii_digit()))
            .collect())
    };
    let ordered = labels(&week(&KINDS_OF_DAYS, Language::English, ""))?;
    assert_eq!(ordered.first().map(String::as_str), Some("Mon–Fri 08–11"));
    assert_eq!(ordered.last().map(String::as_str), Some("Sun 19–22"));
    rows.reverse();
    let reversed = Chart::Windows { title, subtitle, words, axis, unit, language, rows };
    assert_eq!(labels(&reversed)?, ordered);
    Ok(())
}

#[test]
fn what_has_no_room_is_counted_and_the_recommended_stay() -> Outcome {
    let size = ChartSize { width: 400, height: 320 };
    let chart = week(&EACH_DAY, Language::English, "");
    let svg = draw_svg(&chart, size)?;
    assert!(svg.warnings.iter().any(|warning| warning.contains("fewer messages")), "{:?}", svg.warnings);
    let texts = written(&chart, size)?;
    assert!(texts.iter().any(|text| text.starts_with("and ") && text.contains("more windows")), "{texts:?}");
    assert!(texts.iter().any(|text| text == "★ Mon 19–22"), "{texts:?}");
    let wide = draw_svg(&chart, ChartSize { width: 800, height: 1000 })?;
    assert!(wide.warnings.is_empty(), "{:?}", wide.warnings);
    Ok(())
}

#[test]
fn hours_that_cannot_be_compared_are_not_ranked() -> Outcome {
    let reason = "Hours cannot be told from campaigns. Draw the window of each recipient at random. ".repeat(3);
    let page = week(&[], Language::English, &reason);
    for size in SIZES {
        let svg = draw_svg(&page, size)?;
        assert!(!svg.text.contains("<circle") && !svg.text.contains("recommended"), "{}", svg.text);
        // Wrapped, and whole where there is room.
        let texts: String = placed_texts(&svg.text).iter().skip(2).map(|it| format!("{} ", it.text)).collect();
        assert_eq!(texts.matches("recipient at random.").count() == 9, svg.warnings.is_empty(), "{texts}");
    }
    let long = week(&[], Language::Chinese, &"时段的影响与活动无法区分。".repeat(400));
    assert_eq!(draw_svg(&long, ChartSize::default())?.warnings.len(), 1);
    Ok(())
}

#[test]
fn a_week_without_comparisons_says_so() -> Outcome {
    let Chart::Windows { title, subtitle, words, axis, unit, language, rows } =
        week(&KINDS_OF_DAYS, Language::English, "")
    else {
        return Ok(());
    };
    let row = |row: &WindowRow| WindowRow { supported: false, difference: None, low: None, high: None, ..row.clone() };
    let mut rows: Vec<WindowRow> = rows.iter().map(row).collect();
    rows.push(rows[0].clone());
    let chart = Chart::Windows { title, subtitle, words, axis, unit, language, rows };
    for size in SIZES {
        let svg = draw_svg(&chart, size)?;
        assert_eq!(svg.warnings.len(), 1, "{:?}", svg.warnings);
        assert!(svg.warnings.iter().all(|warning| warning.starts_with("1 window left out")));
        assert!(!svg.text.contains("<circle") && !svg.text.contains("NaN"));
    }
    let texts = written(&chart, ChartSize::default())?;
    assert!(texts.iter().any(|text| text.starts_with("no legal window has enough messages")), "{texts:?}");
    Ok(())
}

#[test]
fn markup_in_the_words_of_windows_stays_text() -> Outcome {
    for days in [&[][..], &KINDS_OF_DAYS] {
        let svg = draw_svg(&week(days, Language::English, "a </text><script>'1' & 2\u{0}"), ChartSize::default())?.text;
        assert!(!svg.contains("<script") && !svg.contains('\u{0}'), "{svg}");
        assert!(svg.contains("&lt;script&gt;"), "{svg}");
        assert!(render_png(&svg)?.warnings.is_empty());
    }
    Ok(())
}

#[test]
fn sizes_out_of_range_are_refused() {
    let size = ChartSize { width: 10, height: 500 };
    assert!(matches!(draw_svg(&funnel(1), size), Err(ChartError::Size { width: 10, height: 500 })));
}
