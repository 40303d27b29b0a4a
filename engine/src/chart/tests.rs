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

fn all_charts() -> Vec<Chart> {
    let funnels = [0, 1, 2, 8, 60].map(funnel);
    let forests = [0, 1, 3, 9, 80].map(intervals);
    let days = [0, 1, 24].map(hours);
    funnels.into_iter().chain(forests).chain(days).collect()
}

const SIZES: [ChartSize; 5] = [
    ChartSize { width: 800, height: 500 },
    ChartSize { width: 320, height: 320 },
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
    for chart in [funnel(0), funnel(1), funnel(3), intervals(4), hours(24)] {
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

#[test]
fn sizes_out_of_range_are_refused() {
    let size = ChartSize { width: 10, height: 500 };
    assert!(matches!(draw_svg(&funnel(1), size), Err(ChartError::Size { width: 10, height: 500 })));
}
