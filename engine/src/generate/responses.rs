//! What recipients, and machines in their place, do about a delivered message: clicks, conversions, replies,
//! opt-outs.
//!
//! Machine clicks come first and in no relation to the variant. People click after a while, some of those convert,
//! and a few answer. Conversions that no message caused are written here too: they are what a holdout makes visible.

use super::behaviour::{Cell, LATE_CONVERSION_SHARE, MACHINE_CLICK_SHARE, REFUND_SHARE, WINDOW_DAYS};
use super::calendar::{DAY, HOUR, SECOND, with_fraction};
use super::columns::Identifier;
use super::options::Scenario;
use super::population::Recipient;
use super::random::{Draws, Stream};
use super::simulation::{Message, Run};

/// Nobody reads and clicks faster than this after the delivery.
const QUICKEST_PERSON: i64 = 20 * SECOND;
/// People who click have clicked by then after the send.
const LAST_FIRST_CLICK: i64 = 4 * DAY;
/// Chance of yet another click, and the most that follow the first.
const CLICK_AGAIN: f64 = 0.22;
const MOST_REPEATS: usize = 3;
/// Share of the conversions caused by a message that carry its number from the link to the shop.
const LINKED_CONVERSION_SHARE: f64 = 0.3;
/// Share of the shop's conversions caused by a message in which its coupon is used.
const COUPON_SHARE: f64 = 0.35;
/// The window in which a conversion counts, and the end of the late ones: before the next campaign's send.
const WINDOW: i64 = WINDOW_DAYS * DAY;
const LATEST_CONVERSION: i64 = WINDOW + 129 * HOUR;
/// Spread of the logarithm of a conversion's value around the recipient's mean.
const VALUE_SPREAD: f64 = 0.5;
/// Share of the delivered messages that get an answer other than an opt-out, and of these the cries for help.
const REPLY_SHARE: f64 = 0.004;
const HELP_SHARE: f64 = 0.25;
/// Share of the replies that the provider ties to the message they answer.
const MATCHED_REPLY_SHARE: f64 = 0.7;
/// Ways to opt out, with their shares. A keyword also leaves a reply.
const OPT_OUT_METHODS: [&str; 4] = ["keyword", "web", "manual", "carrier"];
const OPT_OUT_METHOD_SHARES: [f64; 4] = [0.70, 0.18, 0.05, 0.07];

const PEOPLE_AGENTS: [&str; 6] = [
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 Version/18.3 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/133.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 Chrome/132.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 MicroMessenger/8.0.50",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/133.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.3 Safari/605.1.15",
];
/// Machines that preview links, and one that opens all of them and looks like a person.
const PREVIEW_AGENT: &str = "Mozilla/5.0 (compatible; Google-PageRenderer)";
const SOCIAL_AGENT: &str = "facebookexternalhit/1.1";
const SCANNER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36";
const MACHINE_SHARES: [f64; 3] = [0.4, 0.3, 0.3];
/// Machines share few addresses.
const MACHINE_ADDRESSES: usize = 24;

/// One row of the clicks log, but for its number.
struct Click<'link> {
    link: &'link str,
    clicked_at: i64,
    user_agent: &'static str,
    address: u64,
    method: &'static str,
}

impl Run<'_> {
    /// Writes everything that follows from a delivery.
    pub(super) fn write_responses(&mut self, message: &Message<'_>, delivered_at: i64, draws: &mut Draws) {
        if draws.chance(MACHINE_CLICK_SHARE) {
            self.write_machine_clicks(message, delivered_at, draws);
        }
        self.write_people_clicks(message, delivered_at, draws);
        if message.opts_out {
            self.write_opt_out(message, delivered_at, draws);
        } else if draws.chance(REPLY_SHARE) {
            self.write_chatter(message, delivered_at, draws);
        }
    }

    fn write_machine_clicks(&mut self, message: &Message<'_>, delivered_at: i64, draws: &mut Draws) {
        let machine = u64::MAX - draws.below(MACHINE_ADDRESSES) as u64;
        let address = Draws::new(self.world.options.seed, Stream::Address, machine, 0).bits();
        let clicked_at = with_fraction(delivered_at + draws.milliseconds(SECOND, 3 * SECOND));
        let (user_agent, method, opens_all) = match draws.weighted(&MACHINE_SHARES) {
            0 => (PREVIEW_AGENT, "GET", false),
            1 => (SOCIAL_AGENT, "HEAD", false),
            _ => (SCANNER_AGENT, "GET", true),
        };
        let link = &message.wordings.links[message.variant];
        self.write_click(message, &Click { link, clicked_at, user_agent, address, method });
        self.tally.counts.machine_clicks += 1;
        if opens_all {
            let next_at = with_fraction(clicked_at + draws.milliseconds(50, 900));
            let terms_link = &message.wordings.terms_link;
            self.write_click(message, &Click { link: terms_link, clicked_at: next_at, user_agent, address, method });
            self.tally.counts.machine_clicks += 1;
        }
    }

    /// Lets the recipient click or not, and convert or not.
    fn write_people_clicks(&mut self, message: &Message<'_>, delivered_at: i64, draws: &mut Draws) {
        let recipient = message.recipient;
        let profile = Cell::of(recipient).profile();
        if !draws.chance(self.world.behaviour.click(message.variant, profile, message.hour)) {
            return;
        }
        let earliest = delivered_at + QUICKEST_PERSON;
        let longest = (message.sent_at + LAST_FIRST_CLICK - earliest) as f64;
        // Most click at once, the others when they next have time.
        let mean = if draws.chance(0.7) { 0.2 * HOUR as f64 } else { 10.0 * HOUR as f64 };
        let first_clicked_at = with_fraction(earliest + draws.exponential_under(mean, longest) as i64);

        let address = Draws::new(self.world.options.seed, Stream::Address, recipient.index, 0).bits();
        let user_agent = PEOPLE_AGENTS[(address % PEOPLE_AGENTS.len() as u64) as usize];
        let link = &message.wordings.links[message.variant];
        let mut clicked_at = first_clicked_at;
        let mut repeats = 0;
        loop {
            self.write_click(message, &Click { link, clicked_at, user_agent, address, method: "GET" });
            self.tally.counts.people_clicks += 1;
            if repeats == MOST_REPEATS || !draws.chance(CLICK_AGAIN) {
                break;
            }
            repeats += 1;
            let pause = draws.exponential_under(3.0 * HOUR as f64, 12.0 * HOUR as f64) as i64;
            clicked_at = with_fraction(clicked_at + 30 * SECOND + pause);
        }
        self.tally.clicked(message.campaign, message.variant);

        if draws.chance(self.world.behaviour.conversion(recipient.status)) {
            self.write_caused_conversion(message, first_clicked_at, draws);
        }
    }

    fn write_click(&mut self, message: &Message<'_>, click: &Click<'_>) {
        self.last_click += 1;
        let rows = &mut self.logs.clicks.rows;
        rows.click_id.push(Identifier::new(b'k', self.last_click, 10).as_str());
        rows.message_id.push(message.message_id.as_str());
        rows.link.push(click.link);
        rows.clicked_at.push(click.clicked_at);
        rows.user_agent.push(click.user_agent);
        rows.ip_hash.push_display(format_args!("{:016x}", click.address));
        rows.method.push(click.method);
    }

    fn write_caused_conversion(&mut self, message: &Message<'_>, clicked_at: i64, draws: &mut Draws) {
        let is_late = draws.chance(LATE_CONVERSION_SHARE);
        let occurred_at = if is_late {
            message.sent_at + draws.milliseconds(WINDOW + HOUR, LATEST_CONVERSION)
        } else {
            let earliest = clicked_at + 2 * 60 * SECOND;
            let longest = (message.sent_at + WINDOW - HOUR - earliest) as f64;
            let mean = if draws.chance(0.6) { 5.0 * HOUR as f64 } else { 40.0 * HOUR as f64 };
            earliest + draws.exponential_under(mean, longest) as i64
        };
        self.tally.converted(message.campaign, message.variant, is_late);
        let linked_to = draws.chance(LINKED_CONVERSION_SHARE).then_some(message.message_id);
        let has_coupon = self.world.options.scenario == Scenario::Retail && draws.chance(COUPON_SHARE);
        let coupon = has_coupon.then(|| ["SALE15", "SALE20", "SALE25"][message.recipient.status]);
        self.write_conversion(message.recipient, linked_to, coupon, occurred_at, draws);
    }

    /// Writes the conversions of the campaign's stretch of time that no message caused: a Poisson process.
    pub(super) fn write_organic_conversions(&mut self, recipient: &Recipient, campaign: usize) {
        let mut draws = Draws::new(self.world.options.seed, Stream::Organic, recipient.index, campaign);
        let mean_gap = 7.0 * DAY as f64 / self.world.behaviour.organic_weekly(recipient.status);
        let (begin, end) = self.world.calendar.organic_period(campaign);
        let mut elapsed = draws.exponential(mean_gap);
        while elapsed < (end - begin) as f64 {
            self.tally.counts.organic_conversions += 1;
            self.write_conversion(recipient, None, None, begin + elapsed as i64, &mut draws);
            elapsed += draws.exponential(mean_gap);
        }
    }

    fn write_conversion(
        &mut self,
        recipient: &Recipient,
        message_id: Option<Identifier>,
        coupon: Option<&'static str>,
        occurred_at: i64,
        draws: &mut Draws,
    ) {
        let (event, margin_share) = match self.world.options.scenario {
            Scenario::Retail => ("purchase", 0.30 + 0.10 * draws.unit()),
            Scenario::Bank => ("payment", 0.02),
        };
        // Less half the variance, so that the mean of the values is the recipient's mean.
        let noise = VALUE_SPREAD * draws.normal() - VALUE_SPREAD * VALUE_SPREAD / 2.0;
        let value = (recipient.value_mean * noise.exp() * 100.0).round().max(1.0);
        let refunded_after = draws.chance(REFUND_SHARE).then(|| draws.milliseconds(DAY, 10 * DAY));
        self.last_conversion += 1;
        let rows = &mut self.logs.conversions.rows;
        rows.conversion_id.push(Identifier::new(b'c', self.last_conversion, 10).as_str());
        rows.recipient_id.push(recipient.identifier().as_str());
        rows.message_id.push_option(message_id.as_ref().map(Identifier::as_str));
        rows.event.push(event);
        rows.occurred_at.push(with_fraction(occurred_at));
        rows.value.push_cents(value as i64);
        rows.margin.push_cents((value * margin_share).round() as i64);
        rows.currency.push(self.world.options.language.currency());
        rows.refunded_at.push_option(refunded_after.map(|after| with_fraction(occurred_at + after)));
        rows.coupon.push_option(coupon);
    }

    fn write_opt_out(&mut self, message: &Message<'_>, delivered_at: i64, draws: &mut Draws) {
        let delay = draws.exponential_under(0.5 * HOUR as f64, 3.0 * DAY as f64) as i64;
        let requested_at = with_fraction(delivered_at + QUICKEST_PERSON + delay);
        let method = OPT_OUT_METHODS[draws.weighted(&OPT_OUT_METHOD_SHARES)];
        if method == "keyword" {
            let word = message.wordings.stop_word(draws.below(100));
            self.write_reply(message, requested_at, word, "stop", draws);
        }
        self.last_opt_out += 1;
        let rows = &mut self.logs.opt_outs.rows;
        rows.opt_out_id.push(Identifier::new(b'o', self.last_opt_out, 10).as_str());
        rows.recipient_id.push(message.recipient_id.as_str());
        rows.channel.push("sms");
        rows.scope.push("all");
        rows.method.push(method);
        rows.requested_at.push(requested_at);
    }

    fn write_chatter(&mut self, message: &Message<'_>, delivered_at: i64, draws: &mut Draws) {
        let delay = draws.exponential_under(0.2 * HOUR as f64, 2.0 * DAY as f64) as i64;
        let received_at = with_fraction(delivered_at + QUICKEST_PERSON + delay);
        let (text, keyword_class) = if draws.chance(HELP_SHARE) {
            (message.wordings.help_word(), "help")
        } else {
            (message.wordings.chatter(draws.below(100)), "other")
        };
        self.write_reply(message, received_at, text, keyword_class, draws);
    }

    fn write_reply(
        &mut self,
        message: &Message<'_>,
        received_at: i64,
        text: &str,
        keyword_class: &str,
        draws: &mut Draws,
    ) {
        let is_matched = draws.chance(MATCHED_REPLY_SHARE);
        self.last_reply += 1;
        let rows = &mut self.logs.replies.rows;
        rows.reply_id.push(Identifier::new(b'a', self.last_reply, 10).as_str());
        rows.recipient_id.push(message.recipient_id.as_str());
        rows.received_at.push(received_at);
        rows.text.push(text);
        rows.keyword_class.push(keyword_class);
        rows.message_id.push_option(is_matched.then(|| message.message_id.as_str()));
        rows.r#match.push_option(is_matched.then_some("id"));
    }
}
