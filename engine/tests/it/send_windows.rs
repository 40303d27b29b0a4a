//! Send windows on logs whose truth is known: drawn hours are compared, chosen ones never ranked; the law masks; schedules
//! learn and are judged.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sendlift_engine::EngineError;
use sendlift_engine::event::Log;
use sendlift_engine::ingest::input::Input;
use sendlift_engine::permission::PermissionRules;
use sendlift_engine::progress::Quiet;
use sendlift_engine::segment::SegmentDefinition;
use sendlift_engine::windows::{
    EvaluationRequest, Objective, OwnFile, RecipientWindowsRequest, RecipientWindowsSummary, ScheduleRequest,
    WindowsAnswer, WindowsIdentification, WindowsRequest, analyze_windows, evaluate_schedule, schedule_list,
    write_recipient_windows,
};

use crate::support::{TestStore, now, toss};

/// How the hours of the campaigns come about.
#[derive(Clone, Copy, PartialEq)]
enum Hours {
    /// Drawn for each recipient among four windows, with the probability logged.
    Drawn,
    /// Each campaign has its own.
    OneEach,
}

const STARTS: [u32; 4] = [10, 13, 16, 19];

struct World {
    hours: Hours,
    /// Click rates of the four windows in ten-thousandths, for countries other than US and for the US.
    rates: [[u32; 4]; 2],
    campaigns: u32,
    recipients: u32,
    /// The rate of each recipient in a window of its own.
    own: Option<u32>,
}

impl World {
    async fn store(&self) -> TestStore {
        let store = TestStore::new();
        let mut contacts = "recipient_id,country,time_zone,age_band\n".to_owned();
        for i in 0..self.recipients {
            let (country, zone) = Self::home(i);
            writeln!(contacts, "r{i},{country},{zone},{}", if i % 2 == 0 { "18-34" } else { "35+" }).unwrap();
        }
        let mut sends = "message_id,campaign_id,recipient_id,channel,message_type,sent_at,send_propensity\n".to_owned();
        let mut clicks = "click_id,message_id,link,clicked_at\n".to_owned();
        for campaign in 0..self.campaigns {
            for i in 0..self.recipients {
                let window = match self.hours {
                    Hours::Drawn => toss(campaign, i, 1) % 4,
                    Hours::OneEach => campaign % 4,
                } as usize;
                let (country, _) = Self::home(i);
                // Winter: Berlin is an hour ahead of UTC, New York five behind. Weekdays, one a campaign.
                let utc = if country == "DE" { STARTS[window] - 1 } else { STARTS[window] + 5 };
                let day = format!("2026-01-{:02}", 12 + campaign % 5);
                let (day, utc) =
                    if utc >= 24 { (format!("2026-01-{:02}", 13 + campaign % 5), utc - 24) } else { (day, utc) };
                let minute = i % 60;
                let propensity = if self.hours == Hours::Drawn { "0.25" } else { "" };
                writeln!(
                    sends,
                    "m{campaign}-{i},c{campaign:02},r{i},sms,promo,{day}T{utc:02}:{minute:02}:00Z,{propensity}"
                )
                .unwrap();
                let rate = match self.own {
                    Some(own) if i / 2 % 4 == u32::try_from(window).unwrap() => own,
                    _ => self.rates[usize::from(country == "US")][window],
                };
                // Campaigns differ in how good they are.
                if toss(campaign, i, 2) < rate + 100 * (campaign % 3) {
                    writeln!(
                        clicks,
                        "k{campaign}-{i},m{campaign}-{i},https://x.example/{campaign},{day}T{utc:02}:59:{:02}Z",
                        i % 60
                    )
                    .unwrap();
                }
            }
        }
        store.ingest(&[(Log::Recipients, &contacts), (Log::Sends, &sends), (Log::Clicks, &clicks)]).await;
        store
    }

    fn home(i: u32) -> (&'static str, &'static str) {
        if i.is_multiple_of(2) { ("DE", "Europe/Berlin") } else { ("US", "America/New_York") }
    }
}

/// Evenings are better in Germany, mornings in the United States.
fn evenings_or_mornings() -> World {
    World {
        hours: Hours::Drawn,
        rates: [[600, 600, 600, 1_400], [1_400, 600, 600, 600]],
        campaigns: 8,
        recipients: 3_000,
        own: None,
    }
}

fn request(by: &[&str]) -> WindowsRequest {
    WindowsRequest { by: by.iter().map(|column| (*column).to_owned()).collect(), ..WindowsRequest::default() }
}

async fn answers(store: &TestStore, request: &WindowsRequest) -> Vec<WindowsAnswer> {
    analyze_windows(&store.session().await, request).await.unwrap()
}

fn names(answer: &WindowsAnswer) -> Vec<String> {
    answer.recommendation.windows.iter().map(|window| format!("{} {}", window.weekday, window.start)).collect()
}

#[tokio::test]
async fn drawn_hours_are_compared_and_the_best_is_found_by_segment_where_it_differs() {
    let store = evenings_or_mornings().store().await;
    let found = answers(&store, &request(&["country"])).await;
    assert_eq!(found.len(), 2);
    let of: BTreeMap<&str, &WindowsAnswer> =
        found.iter().map(|answer| (answer.by["country"].as_str().unwrap(), answer)).collect();
    for (country, expected) in [("DE", "weekday 18:00"), ("US", "weekday 09:00")] {
        let answer = of[country];
        assert_eq!(answer.identification, WindowsIdentification::Causal);
        assert_eq!(names(answer), [expected], "{country}: {:?}", answer.recommendation.why);
        assert_eq!(answer.sends, 12_000);
        // Over the mean of the legal windows: four in Germany, three where the evening is not legal in every state.
        let truth = if country == "DE" { 0.14 - 0.08 } else { 0.14 - 0.26 / 3.0 };
        let gain = answer.recommendation.expected_gain.as_ref().unwrap();
        assert!(gain.low.unwrap() < truth && truth < gain.high.unwrap(), "{country} {gain:?}");
        let window =
            answer.windows.iter().find(|window| window.chance_of_best.is_some_and(|chance| chance > 0.9)).unwrap();
        assert_eq!(format!("{} {}", window.weekday, window.start), expected);
    }
    // In this world the young live in Germany and nobody else does.
    SegmentDefinition::add(&store.session().await, "young", "age_band = '18-34'", now()).await.unwrap();
    let by_segment = answers(&store, &request(&["segment:young"])).await;
    for (answer, (group, country)) in by_segment.iter().zip([("other", "US"), ("young", "DE")]) {
        assert_eq!((answer.by["segment:young"].as_str(), answer.sends), (Some(group), 12_000));
        assert_eq!(names(answer), names(of[country]));
        assert!(answer.notes.iter().any(|note| note.contains("segment:young is version 1")), "{:?}", answer.notes);
    }
    assert_eq!(by_segment.len(), 2);
    // All together the two cancel out but for nothing: no window is better by enough than practice.
    let all = answers(&store, &request(&[])).await;
    assert_eq!(all.len(), 1);
    assert!(all[0].by.is_empty() && all[0].sends == 24_000);
    // Nothing illegal is ever recommended, and the night is seen as such.
    for answer in found.iter().chain(&all) {
        for window in &answer.recommendation.windows {
            let shown =
                answer.windows.iter().find(|shown| shown.weekday == window.weekday && shown.start == window.start);
            assert!(shown.unwrap().legal);
        }
        assert!(answer.windows.iter().any(|window| !window.legal && window.start == "00:00"));
    }
    // A rule file of one's own forbids the German evening.
    let own = "[[rule]]\nid = \"DE-OWN\"\ncountry = \"DE\"\nhours = [{ days = \"mon-sun\", from = \"09:00\", to = \"18:00\" }]\n\
               citation = \"ours\"\nversion = \"1\"\nstatus = \"convention\"\n";
    let file = |text: &str| Some(OwnFile { name: "rules/own.toml".to_owned(), text: text.to_owned() });
    let masked = answers(&store, &WindowsRequest { legal_hours: file(own), ..request(&["country"]) }).await;
    let german = masked.iter().find(|answer| answer.by["country"] == "DE").unwrap();
    assert!(!names(german).contains(&"weekday 18:00".to_owned()), "{:?}", names(german));
    for wrong in [
        WindowsRequest { legal_hours: file("[[rule]]\nid = 3\n"), ..request(&[]) },
        WindowsRequest { holidays: file("\n[Germany]\n"), ..request(&[]) },
    ] {
        let error = analyze_windows(&store.session().await, &wrong).await.unwrap_err().to_string();
        assert!(error.contains("rules/own.toml line 2"), "{error}");
    }
}

#[tokio::test]
async fn hours_that_are_confounded_with_campaigns_give_a_plan_and_no_ranking() {
    let world =
        World { hours: Hours::OneEach, rates: [[300, 600, 900, 1_500]; 2], campaigns: 8, recipients: 1_500, own: None };
    let store = world.store().await;
    let found = answers(&store, &request(&[])).await;
    let answer = &found[0];
    assert_eq!(answer.identification, WindowsIdentification::NotIdentifiable);
    assert!(answer.windows.is_empty() && answer.recommendation.abstained && answer.objectives.is_empty());
    let plan = answer.plan.as_ref().unwrap();
    assert!(plan.sizes.sends_per_window > 0 && !plan.draw_from.is_empty(), "{}", plan.words);
    assert!(plan.draw_from.iter().all(|window| window.start != "00:00" && window.start != "21:00"));
}

#[tokio::test]
async fn where_nothing_differs_nothing_is_recommended() {
    let world = World { hours: Hours::Drawn, rates: [[800; 4]; 2], campaigns: 6, recipients: 2_000, own: None };
    let store = world.store().await;
    let found = answers(&store, &request(&[])).await;
    assert!(found[0].recommendation.abstained, "{:?}", found[0].recommendation.why);
    assert_eq!(found[0].identification, WindowsIdentification::Causal);
}

#[tokio::test]
async fn a_schedule_is_drawn_reproducibly_within_the_law_and_can_be_judged() {
    let world =
        World { hours: Hours::Drawn, rates: [[600, 600, 600, 1_400]; 2], campaigns: 8, recipients: 2_000, own: None };
    let store = world.store().await;
    store
        .ingest(&[(Log::OptOuts, "opt_out_id,recipient_id,channel,requested_at\no1,r4,sms,2026-01-20T10:00:00Z\n")])
        .await;
    let session = store.session().await;
    let mut list = "recipient_id,country,time_zone\n".to_owned();
    for i in 0..2_000 {
        let (country, zone) = World::home(i);
        writeln!(list, "r{i},{country},{}", if i == 6 { "" } else { zone }).unwrap();
    }
    let plan = |seed| ScheduleRequest {
        list: Input::memory("list.csv", list.clone().into()),
        unit: "recipient_id".to_owned(),
        windows: request(&[]),
        propensity_floor: 0.02,
        uniform_share: 0.1,
        capacity: None,
        permission: PermissionRules::default(),
        seed,
    };
    let out = store.folder.path().join("schedule.csv");
    let summary = schedule_list(&session, &plan(3), &out).await.unwrap();
    assert_eq!((summary.identification, summary.recipients), (WindowsIdentification::Causal, 2_000));
    assert_eq!(summary.scheduled, 1_999, "{:?}", summary.left_out);
    assert_eq!((summary.left_out.len(), summary.left_out[0].reason), (1, "opted_out"));
    assert!(summary.least_propensity.unwrap() > 0.01);
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(
        text.starts_with("recipient_id,weekday,window_start,window_end,time_zone,send_propensity,reason\n"),
        "{}",
        &text[..200]
    );
    // Germany has one zone, whose clock a recipient without one is sent by.
    let unknown = text.lines().find(|line| line.starts_with("r6,")).unwrap();
    assert!(unknown.contains("Europe/"), "{unknown}");
    for line in text.lines().skip(1).filter(|line| !line.contains("opted_out")) {
        let cells: Vec<&str> = line.split(',').collect();
        assert!(("09:00".."21:00").contains(&cells[2]), "{line}");
        let propensity: f64 = cells[5].parse().unwrap();
        assert!(propensity > 0.0 && propensity <= 1.0);
    }
    // In the evening only Germans may be sent to; windows that nobody has seen yet are tried, too.
    let germans = |window: &str| text.lines().filter(|line| line.contains(window) && line.contains("Berlin")).count();
    let (evenings, others) =
        (germans("weekday,18:00"), ["09:00", "12:00", "15:00"].map(|start| germans(&format!("weekday,{start}"))));
    assert!(others.iter().all(|other| evenings > 3 * other), "{evenings} in the best window, {others:?} in others");
    assert!(text.lines().all(|line| !(line.contains("weekday,18:00") && line.contains("New_York"))));
    let again = store.folder.path().join("again.csv");
    schedule_list(&session, &plan(3), &again).await.unwrap();
    let mut lines: Vec<Vec<String>> = [&out, &again]
        .map(|path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .into();
    for lines in &mut lines {
        lines.sort();
    }
    assert_eq!(lines[0], lines[1]);

    // Everybody in the evening: 14 % instead of 8 %, by what was drawn.
    let mut evening = "recipient_id,weekday,window_start,window_end\n".to_owned();
    for i in 0..2_000 {
        writeln!(evening, "r{i},weekday,18:00,21:00").unwrap();
    }
    let evaluation = |schedule: String| EvaluationRequest {
        schedule: Input::memory("evening.csv", schedule.into()),
        windows: request(&[]),
        alpha: 0.1,
    };
    let found = evaluate_schedule(&session, &evaluation(evening.clone())).await.unwrap();
    assert!(found.evaluation.refusals.is_empty(), "{:?}", found.evaluation.refusals);
    assert_eq!(found.evaluation.values.len(), 3, "inverse, self-normalised, doubly robust");
    for value in &found.evaluation.values {
        // 14 points and the campaigns' own 0, 1 and 2, nearly one on average.
        let (low, high) = (value.value.low.unwrap(), value.value.high.unwrap());
        assert!(low < 0.149 && 0.149 < high, "{:?} {:?}", value.method, value.value);
        assert!(value.gain.low.unwrap() > 0.0, "{:?}", value.gain);
    }
    let night = evening.replace("18:00,21:00", "21:00,24:00");
    let refused = evaluate_schedule(&session, &evaluation(night)).await.unwrap();
    assert!(!refused.evaluation.refusals.is_empty() && refused.evaluation.values.is_empty());
    let wrong = evaluate_schedule(&session, &evaluation(evening.replace("18:00", "18:30"))).await.unwrap_err();
    assert!(wrong.to_string().contains("there is no window weekday 18:30"), "{wrong}");
}

#[tokio::test]
async fn segments_are_made_of_what_is_known_before_a_send() {
    let world = World { hours: Hours::Drawn, rates: [[800; 4]; 2], campaigns: 4, recipients: 400, own: None };
    let store = world.store().await;
    let session = store.session().await;
    let refusal = async |request: WindowsRequest| match analyze_windows(&session, &request).await {
        Err(EngineError::Usage(message)) => message,
        other => panic!("{other:?}"),
    };
    for (by, words) in [
        (&["country", "country"][..], "\"country\" is there twice"),
        (&["weekday"], "\"weekday\" tells when a message was sent"),
        (&["age_band", "week"], "\"week\" tells when a message was sent"),
        (&["clicks"], "\"clicks\" tells what came of a message"),
        (&["recipient_id"], "\"recipient_id\" is another for each"),
    ] {
        let told = refusal(request(by)).await;
        assert!(told.contains(words), "{told}");
        // It names what may be asked for, and nothing else.
        if by.len() == 1 || by[1] == "week" {
            let (_, usable) = told.split_once("there are ").unwrap();
            let usable: Vec<&str> = usable.split(", ").collect();
            assert!(["age_band", "country", "channel"].iter().all(|name| usable.contains(name)), "{told}");
            assert!(["day", "clicks", "local_hour", "status"].iter().all(|name| !usable.contains(name)), "{told}");
        }
    }
    for opt_out_cost in [f64::NAN, f64::INFINITY, -1.0] {
        let told = refusal(WindowsRequest { opt_out_cost, ..request(&[]) }).await;
        assert!(told.contains("an opt-out cannot cost"), "{told}");
    }
    // A schedule goes by the places of the list's recipients as by any other column.
    let mut list = "recipient_id,country,time_zone\n".to_owned();
    for i in 0..400 {
        let (country, zone) = World::home(i);
        writeln!(list, "r{i},{country},{zone}").unwrap();
    }
    // So it does by a segment, which the list has no column of.
    SegmentDefinition::add(&session, "young", "age_band = '18-34' AND country = 'DE'", now()).await.unwrap();
    let out = store.folder.path().join("schedule.csv");
    for by in [&["country"][..], &["region"], &["time_zone"], &["age_band", "country"], &["segment:young"]] {
        let request = ScheduleRequest {
            list: Input::memory("list.csv", list.clone().into()),
            unit: "recipient_id".to_owned(),
            windows: request(by),
            propensity_floor: 0.02,
            uniform_share: 0.1,
            capacity: None,
            permission: PermissionRules::default(),
            seed: 1,
        };
        let summary = schedule_list(&session, &request, &out).await.unwrap();
        assert_eq!((summary.recipients, summary.scheduled), (400, 400), "{by:?}: {:?}", summary.left_out);
        let twice = ScheduleRequest { windows: self::request(&[by[0], by[0]]), ..request };
        let error = schedule_list(&session, &twice, &out).await.unwrap_err().to_string();
        assert!(error.contains("is there twice"), "{error}");
    }
}

#[tokio::test]
async fn logs_that_tell_nothing_get_a_clear_answer() {
    let store = TestStore::new();
    store.ingest(&[(Log::Sends, "message_id,campaign_id,recipient_id,channel,message_type,sent_at\n")]).await;
    let none = answers(&store, &request(&[])).await;
    assert!(none[0].recommendation.abstained && none[0].sends == 0, "{:?}", none[0]);
    // No time zones at all; a click before its send; all clicks in one campaign.
    let mut sends = "message_id,campaign_id,recipient_id,channel,message_type,sent_at\n".to_owned();
    for i in 0..50 {
        writeln!(sends, "m{i},c{},r{i},sms,promo,2026-01-12T10:{i:02}:00Z", i % 2).unwrap();
    }
    let clicks = "click_id,message_id,link,clicked_at\nk1,m0,https://x.example/,2026-01-12T09:00:00Z\n";
    store.ingest(&[(Log::Sends, &sends), (Log::Clicks, clicks)]).await;
    let found = answers(&store, &request(&[])).await;
    assert!(found[0].recommendation.abstained && found[0].left_out.without_time_zone == 50, "{:?}", found[0].left_out);
    let missing = WindowsRequest { campaign: Some("none".to_owned()), ..request(&[]) };
    let error = analyze_windows(&store.session().await, &missing).await.unwrap_err().to_string();
    assert!(error.contains("no campaign \"none\""), "{error}");
    let profit = WindowsRequest { objective: Objective::Profit, ..request(&[]) };
    assert!(answers(&store, &profit).await[0].recommendation.abstained);
}

/// The rows of a file of recipients' windows, by the names of its columns.
async fn recipient_rows(
    store: &TestStore,
    request: &RecipientWindowsRequest,
) -> (RecipientWindowsSummary, Vec<BTreeMap<String, String>>) {
    let out = store.folder.path().join("recipients.csv");
    let summary = write_recipient_windows(&store.session().await, request, &out, &Quiet).await.unwrap();
    let text = std::fs::read_to_string(&out).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let rows = lines.map(|cells| names.iter().cloned().zip(cells).collect()).collect();
    assert_eq!(
        std::fs::read_dir(store.folder.path())
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".sendlift-") })
            .count(),
        0,
        "nothing is left beside it"
    );
    (summary, rows)
}

fn of_recipients(windows: WindowsRequest) -> RecipientWindowsRequest {
    RecipientWindowsRequest { windows, every_window: false }
}

#[tokio::test]
async fn recipients_have_windows_of_their_own_where_their_messages_tell() {
    // Forty messages each; a window of one's own brings 60 %, the others 10 to 12.
    let world =
        World { hours: Hours::Drawn, rates: [[1_000; 4]; 2], campaigns: 40, recipients: 1_200, own: Some(6_000) };
    let store = world.store().await;
    // Somebody without a message has the answer for all.
    store.ingest(&[(Log::Recipients, "recipient_id,country,time_zone,age_band\nr9999,DE,Europe/Berlin,35+\n")]).await;
    let (summary, rows) = recipient_rows(&store, &of_recipients(request(&[]))).await;
    assert_eq!(summary.identification, WindowsIdentification::Causal);
    assert!(summary.spread.unwrap().recipients_differ, "{:?}", summary.spread);
    assert_eq!((summary.recipients, rows.len()), (1_201, 1_201));
    let ids: Vec<&String> = rows.iter().map(|row| &row["recipient_id"]).collect();
    assert!(ids.is_sorted());
    let (mut own, mut right) = (0, 0);
    for row in rows.iter().filter(|row| row["level"] == "recipient") {
        let i: u32 = row["recipient_id"][1..].parse().unwrap();
        let best = format!("{}:00", [9, 12, 15, 18][(i / 2 % 4) as usize]);
        let best = if best.len() == 4 { format!("0{best}") } else { best };
        own += 1;
        right += u32::from(row["window_start"] == best);
        let rate: f64 = row["rate"].parse().unwrap();
        assert!(row["reason"] == "recommended" && (0.2..0.9).contains(&rate), "{row:?}");
        assert_eq!(row["messages"], "40.0");
        // The evening is not legal all over the United States.
        assert!(row["time_zone"] == "Europe/Berlin" || row["window_start"] != "18:00", "{row:?}");
    }
    // One in eight would have to send when it is not legal.
    assert!(own > 900 && right > 19 * own / 20, "{own} {right}");
    let levels: u64 = summary.levels.iter().map(|level| level.n).sum();
    let without: u64 = summary.without.iter().map(|without| without.n).sum();
    assert_eq!(levels + without, 1_201);
    let nobody = rows.iter().find(|row| row["recipient_id"] == "r9999").unwrap();
    assert!(nobody["messages"] == "0.0" && nobody["level"] != "recipient", "{nobody:?}");
    // A row a legal window, with what is known of each; the same answer twice.
    let every = RecipientWindowsRequest { every_window: true, ..of_recipients(request(&["country"])) };
    let (_, windows) = recipient_rows(&store, &every).await;
    let one: Vec<_> = windows.iter().filter(|row| row["recipient_id"] == "r0").collect();
    assert!(one.len() > 4 && one.iter().filter(|row| row["is_recommended"] == "true").count() == 1, "{one:?}");
    let chances: f64 = one.iter().filter_map(|row| row["chance_of_best"].parse::<f64>().ok()).sum();
    assert!((chances - 1.0).abs() < 1e-6, "{chances}");
    let again = recipient_rows(&store, &every).await.1;
    assert_eq!(again.len(), windows.len());
    let changed = again.iter().zip(&windows).find(|(again, first)| again != first);
    assert!(changed.is_none(), "{changed:?}");
}

#[tokio::test]
async fn recipients_who_do_not_differ_have_the_answer_of_their_country() {
    let store = evenings_or_mornings().store().await;
    let (summary, rows) = recipient_rows(&store, &of_recipients(request(&["country"]))).await;
    assert!(!summary.spread.unwrap().recipients_differ, "{:?}", summary.spread);
    assert!(summary.notes.iter().any(|note| note.contains("do not differ")), "{:?}", summary.notes);
    for row in &rows {
        let is_german = row["time_zone"] == "Europe/Berlin";
        assert_eq!(row["window_start"], if is_german { "18:00" } else { "09:00" }, "{row:?}");
        assert!(row["level"] == "country" || row["level"] == "all", "{row:?}");
        // Over the mean of the legal windows: four in Germany, three where the evening is not legal in every state.
        let truth = if is_german { 0.14 - 0.08 } else { 0.14 - 0.26 / 3.0 };
        let end = |name: &str| row[name].parse::<f64>().unwrap();
        assert!(end("gain_low") < truth && truth < end("gain_high"), "{row:?}");
    }
    // Hours that were chosen are never ranked, for nobody.
    let world = World { hours: Hours::OneEach, rates: [[900; 4]; 2], campaigns: 8, recipients: 400, own: None };
    let store = world.store().await;
    let (summary, rows) = recipient_rows(&store, &of_recipients(request(&[]))).await;
    assert_eq!(summary.identification, WindowsIdentification::NotIdentifiable);
    assert!(summary.levels.is_empty() && rows.iter().all(|row| row["rate"].is_empty()), "{:?}", summary.levels);
    assert!(rows.iter().all(|row| row["reason"] == "not_identifiable"));
    // Segments are made of the contacts' columns.
    let refused = of_recipients(request(&["channel"]));
    let out = store.folder.path().join("refused.csv");
    let error = write_recipient_windows(&store.session().await, &refused, &out, &Quiet).await.unwrap_err();
    assert!(error.to_string().contains("no column \"channel\"") && !out.exists(), "{error}");
}

/// Forty days of a hundred messages each, in a log that ends with the last of them and was taken in months later: the time of
/// the last week's to respond had not run out there, whatever the clock says.
#[tokio::test]
async fn messages_at_the_end_of_an_old_log_are_left_out() {
    let logs = |days: i32| {
        let first: jiff::civil::Date = "2026-01-05".parse().unwrap();
        let mut sends = "message_id,campaign_id,recipient_id,channel,sent_at,time_zone\n".to_owned();
        let mut clicks = "click_id,message_id,link,clicked_at\n".to_owned();
        for day in 0..days {
            let date = first + jiff::Span::new().days(day);
            for i in 0..100 {
                let hour = STARTS[i % 4];
                writeln!(sends, "m{day}-{i},c,r{i},sms,{date}T{hour}:00:00Z,UTC").unwrap();
                if i % 10 == 0 {
                    writeln!(clicks, "k{day}-{i},m{day}-{i},https://a.example,{date}T{hour}:30:00Z").unwrap();
                }
            }
        }
        (sends, clicks)
    };
    let told = async |days: i32, horizon_days: u32| {
        let store = TestStore::new();
        let (sends, clicks) = logs(days);
        store.ingest(&[(Log::Sends, &sends), (Log::Clicks, &clicks)]).await;
        let request = WindowsRequest { horizon_days: Some(horizon_days), ..request(&[]) };
        let answer = answers(&store, &request).await.remove(0);
        let notes = answer.notes.iter().filter(|note| note.contains("the logs tell of nothing after")).cloned();
        (answer.left_out.immature, notes.collect::<Vec<_>>().join("; "))
    };
    // The last event is the send at 19:00 of the last day: those of that hour seven days before have just had their time, and
    // those of the seven days after it have not.
    let (left_out, note) = told(40, 7).await;
    assert_eq!(left_out, 700, "{note}");
    assert!(note.contains("700 messages of the 7 days before it are left out"), "{note}");
    // One short campaign, after which nothing came: all that there is, and a word about it.
    let (left_out, note) = told(3, 7).await;
    assert_eq!(left_out, 0);
    assert!(note.contains("responses to 300 of 300 messages are missing"), "{note}");
}
