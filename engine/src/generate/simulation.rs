//! The run: a fixed world in, rows of the nine logs and counts for the truth out.
//!
//! First all recipients pass by once, for their own rows, their assignment and their consent; then once for each
//! campaign. Recipients are made again each time. After every batch all rows go to disk: memory does not grow with
//! the messages.

use super::behaviour::Cell;
use super::calendar::{HOUR_PROPENSITY, SECOND};
use super::columns::Identifier;
use super::error::GenerateError;
use super::logs::{FinishedLogs, Logs};
use super::options::Scenario;
use super::population::{AGE_BANDS, Arm, GENDERS, INTERESTS, Recipient};
use super::receipts::Receipt;
use super::tally::Tally;
use super::texts::{TEMPLATES, Wording, Wordings};
use super::world::{Fate, World};

/// Recipients, and so at most messages, in one batch.
const BATCH: u64 = 65_536;
/// Ways in which consent was given.
const CONSENT_METHODS: [&str; 4] = ["web_form", "checkout", "app", "branch"];

/// A message that has left, with everything about it that rows need.
pub(super) struct Message<'run> {
    pub(super) message_id: Identifier,
    pub(super) recipient_id: Identifier,
    pub(super) recipient: &'run Recipient,
    /// Index of the campaign.
    pub(super) campaign: usize,
    /// The campaign's texts and links.
    pub(super) wordings: &'run Wordings,
    /// The text of this message.
    pub(super) wording: &'run Wording,
    /// Index of the variant.
    pub(super) variant: usize,
    pub(super) carrier: &'static str,
    /// Local hour of the send, from 0.
    pub(super) hour: usize,
    pub(super) sent_at: i64,
    pub(super) fate: Fate,
    pub(super) opts_out: bool,
}

/// A run under way.
pub(super) struct Run<'world> {
    pub(super) world: &'world World,
    pub(super) logs: Logs,
    pub(super) tally: Tally,
    /// Receipts that go to the end of the batch.
    pub(super) straggling_receipts: Vec<Receipt>,
    last_message: u64,
    pub(super) last_click: u64,
    pub(super) last_conversion: u64,
    pub(super) last_reply: u64,
    pub(super) last_opt_out: u64,
}

impl<'world> Run<'world> {
    /// A run that has written nothing yet.
    pub(super) fn new(world: &'world World, logs: Logs) -> Self {
        Self {
            world,
            logs,
            tally: Tally::new(world.campaigns.len()),
            straggling_receipts: Vec::new(),
            last_message: 0,
            last_click: 0,
            last_conversion: 0,
            last_reply: 0,
            last_opt_out: 0,
        }
    }

    /// Writes all logs, telling after each batch how many messages have been written.
    pub(super) fn write_all(mut self, progress: &mut dyn FnMut(u64)) -> Result<(FinishedLogs, Tally), GenerateError> {
        self.in_batches(progress, Self::write_recipient)?;
        for campaign in 0..self.world.campaigns.len() {
            self.in_batches(progress, |run, index| run.write_campaign_to(campaign, index))?;
        }
        Ok((self.logs.finish()?, self.tally))
    }

    fn in_batches(
        &mut self,
        progress: &mut dyn FnMut(u64),
        mut write: impl FnMut(&mut Self, u64),
    ) -> Result<(), GenerateError> {
        let recipients = self.world.recipients;
        let mut index = 0;
        while index < recipients {
            let batch_end = recipients.min(index + BATCH);
            while index < batch_end {
                write(self, index);
                index += 1;
            }
            self.write_straggling_receipts();
            self.logs.flush()?;
            progress(self.last_message);
        }
        Ok(())
    }

    /// Writes what the company knows of a recipient before the first campaign.
    fn write_recipient(&mut self, index: u64) {
        let recipient = self.world.population.recipient(index);
        self.write_contact(&recipient);
        self.write_assignment(&recipient);
        self.write_consent(&recipient);
        let campaigns = match recipient.arm {
            Arm::Holdout => 0,
            Arm::Variant(_) => self.world.campaigns_received(index, recipient.place.country()),
        };
        self.tally.assigned(&recipient, campaigns);
    }

    fn write_contact(&mut self, recipient: &Recipient) {
        let rows = &mut self.logs.recipients.rows;
        rows.recipient_id.push(recipient.identifier().as_str());
        rows.country.push(recipient.place.country().code);
        rows.region.push_option(recipient.place.region);
        rows.time_zone.push(recipient.place.time_zone());
        rows.time_zone_source.push(recipient.time_zone_source);
        rows.age.push(i64::from(recipient.age));
        rows.gender.push(GENDERS[recipient.gender]);
        let interest = INTERESTS[recipient.interest];
        match recipient.second_interest {
            Some(second) => rows.interests.push_display(format_args!("{interest}|{}", INTERESTS[second])),
            None => rows.interests.push(interest),
        }
        rows.signed_up_at.push(self.world.calendar.assigned_at() - recipient.member_for);
        match recipient.birthday() {
            Some(birthday) => rows.birthday.push_display(birthday),
            None => rows.birthday.push_null(),
        }
        rows.age_band.push(AGE_BANDS[recipient.age_band]);
        rows.spend_90d.push_cents(recipient.spend_cents);
        rows.customer_status.push(self.world.population.statuses()[recipient.status]);
    }

    fn write_assignment(&mut self, recipient: &Recipient) {
        let rows = &mut self.logs.assignments.rows;
        rows.experiment_id.push(self.world.experiment_id());
        rows.recipient_id.push(recipient.identifier().as_str());
        rows.arm.push(recipient.arm.name());
        rows.is_holdout.push(recipient.arm == Arm::Holdout);
        rows.assigned_at.push(self.world.calendar.assigned_at());
        rows.propensity.push(recipient.arm.propensity());
    }

    fn write_consent(&mut self, recipient: &Recipient) {
        let signed_up_at = self.world.calendar.assigned_at() - recipient.member_for;
        let rows = &mut self.logs.consents.rows;
        rows.consent_id.push(Identifier::new(b'n', recipient.index, 8).as_str());
        rows.recipient_id.push(recipient.identifier().as_str());
        rows.channel.push("sms");
        rows.purpose.push(match self.world.options.scenario {
            Scenario::Retail => "marketing",
            Scenario::Bank => "service",
        });
        rows.status.push("granted");
        // The second of signing up is as good as another draw.
        rows.method.push(CONSENT_METHODS[(recipient.member_for / SECOND % 4) as usize]);
        rows.captured_at.push(signed_up_at + 5 * SECOND);
    }

    /// Writes what happens to a recipient during a campaign, whether it reaches them or not.
    fn write_campaign_to(&mut self, campaign: usize, index: u64) {
        let world = self.world;
        let recipient = world.population.recipient(index);
        self.write_organic_conversions(&recipient, campaign);
        let Arm::Variant(variant) = recipient.arm else { return };
        if !world.is_sent(&recipient, campaign) {
            return;
        }
        let country = recipient.place.country();
        let mut attempt = world.attempt(index, country, campaign);
        let (scheduled_at, sent_at) = world.moments(&recipient, campaign, &mut attempt);
        let wordings = &world.campaigns[campaign];
        let template = attempt.draws.below(TEMPLATES);
        self.last_message += 1;
        let message = Message {
            message_id: Identifier::new(b'm', self.last_message, 12),
            recipient_id: recipient.identifier(),
            recipient: &recipient,
            campaign,
            wordings,
            wording: wordings.wording(variant, template, recipient.interest, recipient.status),
            variant,
            carrier: country.carriers[recipient.carrier],
            hour: attempt.hour,
            sent_at,
            fate: attempt.fate,
            opts_out: attempt.opts_out,
        };
        self.tally.sent(campaign, variant, Cell::of(&recipient), recipient.value_mean, message.hour);
        self.write_send(&message, scheduled_at);
        if let Some(delivered_at) = self.write_receipts(&message, &mut attempt.draws) {
            self.tally.delivered(campaign, variant);
            self.write_responses(&message, delivered_at, &mut attempt.draws);
        }
    }

    fn write_send(&mut self, message: &Message<'_>, scheduled_at: i64) {
        let options = &self.world.options;
        let part_price = message.recipient.place.country().part_price;
        let cost = (message.wording.parts * part_price) as f64 * options.language.units_per_dollar();
        let rows = &mut self.logs.sends.rows;
        rows.message_id.push(message.message_id.as_str());
        rows.campaign_id.push(&message.wordings.campaign_id);
        rows.variant.push(message.recipient.arm.name());
        rows.experiment_id.push(self.world.experiment_id());
        rows.recipient_id.push(message.recipient_id.as_str());
        rows.channel.push("sms");
        rows.message_type.push(match options.scenario {
            Scenario::Retail => "promo",
            Scenario::Bank => "notice",
        });
        rows.scheduled_at.push(scheduled_at);
        rows.sent_at.push(message.sent_at);
        rows.text.push(&message.wording.text);
        rows.template_id.push(&message.wording.template_id);
        rows.parts.push(message.wording.parts);
        rows.encoding.push(message.wording.encoding.name());
        rows.cost.push_ten_thousandths(cost.round() as i64);
        rows.currency.push(options.language.currency());
        rows.send_propensity.push(HOUR_PROPENSITY);
        rows.carrier.push(message.carrier);
    }
}
