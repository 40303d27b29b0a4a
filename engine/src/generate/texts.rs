//! What the messages say: a story, a language and a week in, every wording with its parts and encoding out.
//!
//! A wording depends on the variant, on which of two templates is used, on the recipient's first interest and on
//! their status: few enough to be written out once a campaign, so that a message only points at its text.

use super::options::{Language, Scenario};
use super::population::VARIANTS;
use crate::event::message_parts::{Encoding, measure};

/// Number of templates of one variant.
pub(super) const TEMPLATES: usize = 2;
/// Number of things a text can be about, one for each interest.
const SUBJECTS: usize = 5;
/// Number of customer statuses.
const STATUSES: usize = 3;
/// The second link of every message. People have no reason to open it; a machine that opens all links does.
const TERMS_LINK: &str = "go.example/t";

/// One story in one language.
struct Script {
    /// Stem of the campaigns' names, and what follows the number of the week.
    campaign: (&'static str, &'static str),
    /// First letter of the tracked link.
    link_letter: char,
    /// By variant, the templates. `{subject}` and `{offer}` are personal, `{link}` and `{terms}` are the links.
    templates: [[&'static str; TEMPLATES]; 2],
    /// What the text is about, by interest.
    subjects: [&'static str; SUBJECTS],
    /// What is offered or when payment is due, by status.
    offers: [&'static str; STATUSES],
    /// What people write back besides a keyword.
    chatter: [&'static str; 4],
    /// Words that ask to be left alone, and a word that asks for help.
    stop_words: [&'static str; 3],
    help_word: &'static str,
}

static RETAIL_ENGLISH: Script = Script {
    campaign: ("flash-sale-w", ""),
    link_letter: 'f',
    templates: [
        [
            "AURORA flash sale: {offer} off {subject} until Sunday midnight. Shop: {link} Terms: {terms} Reply STOP to opt out",
            "AURORA flash sale starts today. Take {offer} off everything in {subject} until Sunday midnight, with free delivery and free returns for 30 days. Shop: {link} Terms: {terms} Reply STOP to opt out",
        ],
        [
            "AURORA: we picked {subject} for you and kept {offer} off aside. Yours until Sunday: {link} Terms: {terms} Reply STOP to opt out",
            "AURORA: {subject} for you 🎁 {offer} off, yours until Sunday: {link} Terms: {terms} Reply STOP to opt out",
        ],
    ],
    subjects: ["dresses and coats", "running shoes", "home decor", "headphones", "skin care"],
    offers: ["15%", "20%", "25%"],
    chatter: ["Thanks!", "Is this valid in store?", "Who is this?", "Do you ship abroad?"],
    stop_words: ["STOP", "Stop please", "UNSUBSCRIBE"],
    help_word: "HELP",
};

static RETAIL_CHINESE: Script = Script {
    campaign: ("限时特卖-第", "周"),
    link_letter: 'f',
    templates: [
        [
            "【极光商城】限时特卖：{subject}{offer}，周日24点截止。{link} 规则 {terms} 拒收请回复R",
            "【极光商城】限时特卖今日开抢：{subject}全场{offer}，周日24点截止，全场包邮，30天无理由退换，先到先得，售完即止。{link} 规则 {terms} 拒收请回复R",
        ],
        [
            "【极光商城】为您挑选了{subject}，专属{offer}已为您保留到周日：{link} 规则 {terms} 拒收请回复R",
            "【极光商城】🎁{subject}专属{offer}，为您保留到周日：{link} 规则 {terms} 拒收请回复R",
        ],
    ],
    subjects: ["新款女装", "跑步鞋", "家居好物", "降噪耳机", "护肤套装"],
    offers: ["8.5折", "8折", "7.5折"],
    chatter: ["谢谢", "门店可以用吗", "你是谁", "什么时候发货"],
    stop_words: ["R", "退订", "TD"],
    help_word: "帮助",
};

static BANK_ENGLISH: Script = Script {
    campaign: ("payment-reminder-w", ""),
    link_letter: 'p',
    templates: [
        [
            "NORTHBANK: your {subject} payment is due {offer}. Pay at {link} Details: {terms} Reply STOP to end texts",
            "NORTHBANK: payment notice. Your {subject} payment is due {offer}. Late payments may be charged under your agreement, so please settle the amount shown in your account. Pay at {link} Details: {terms} Reply STOP to end texts",
        ],
        [
            "NORTHBANK: a gentle reminder that your {subject} payment is due {offer}. It takes a minute: {link} Details: {terms} Reply STOP to end texts",
            "NORTHBANK: your {subject} payment is due {offer}. Need more time? See your choices or pay: {link} Details: {terms} Reply STOP to end texts",
        ],
    ],
    subjects: ["credit card", "home loan", "car loan", "personal loan", "insurance"],
    offers: ["in 5 days", "in 3 days", "today"],
    chatter: ["Already paid", "Thanks", "Please call me", "Can I pay next week?"],
    stop_words: ["STOP", "Stop texting me", "END"],
    help_word: "HELP",
};

static BANK_CHINESE: Script = Script {
    campaign: ("还款提醒-第", "周"),
    link_letter: 'p',
    templates: [
        [
            "【北辰银行】您的{subject}账单{offer}到期，请及时还款：{link} 说明 {terms} 退订回T",
            "【北辰银行】还款通知：您的{subject}账单{offer}到期，逾期可能按合同约定收取费用，请登录账户核对金额并及时还款：{link} 说明 {terms} 退订回T",
        ],
        [
            "【北辰银行】温馨提醒：您的{subject}账单{offer}到期，一分钟即可还清：{link} 说明 {terms} 退订回T",
            "【北辰银行】您的{subject}账单{offer}到期，需要宽限可查看方案或还款：{link} 说明 {terms} 退订回T",
        ],
    ],
    subjects: ["信用卡", "房贷", "车贷", "消费贷", "保险"],
    offers: ["5天后", "3天后", "今天"],
    chatter: ["已经还了", "谢谢", "请给我打电话", "可以下周还吗"],
    stop_words: ["T", "退订", "TD"],
    help_word: "帮助",
};

/// A text as it is sent.
#[derive(Debug)]
pub(super) struct Wording {
    /// The template's name in the logs.
    pub(super) template_id: String,
    /// The text.
    pub(super) text: String,
    /// Its alphabet.
    pub(super) encoding: Encoding,
    /// Its number of parts.
    pub(super) parts: i64,
}

/// Everything that a campaign says.
pub(super) struct Wordings {
    /// The campaign's name.
    pub(super) campaign_id: String,
    /// The tracked link, by variant.
    pub(super) links: [String; 2],
    /// The link to the terms.
    pub(super) terms_link: String,
    script: &'static Script,
    wordings: Vec<Wording>,
}

impl Wordings {
    /// Writes out all texts of the campaign that runs in that week.
    pub(super) fn new(scenario: Scenario, language: Language, week: usize) -> Self {
        let script = match (scenario, language) {
            (Scenario::Retail, Language::English) => &RETAIL_ENGLISH,
            (Scenario::Retail, Language::Chinese) => &RETAIL_CHINESE,
            (Scenario::Bank, Language::English) => &BANK_ENGLISH,
            (Scenario::Bank, Language::Chinese) => &BANK_CHINESE,
        };
        let bare_links = ["a", "b"].map(|variant| format!("go.example/{}{week}{variant}", script.link_letter));
        let mut wordings = Vec::with_capacity(VARIANTS.len() * TEMPLATES * SUBJECTS * STATUSES);
        for (variant, templates) in script.templates.iter().enumerate() {
            for (number, template) in templates.iter().enumerate() {
                let linked = template.replace("{link}", &bare_links[variant]).replace("{terms}", TERMS_LINK);
                let letter = VARIANTS[variant].to_lowercase();
                let template_id = format!("{scenario}-{letter}-{}", number + 1);
                for subject in script.subjects {
                    for offer in script.offers {
                        let text = linked.replace("{subject}", subject).replace("{offer}", offer);
                        let (encoding, parts) = measure(&text);
                        wordings.push(Wording { template_id: template_id.clone(), text, encoding, parts });
                    }
                }
            }
        }
        let (stem, ending) = script.campaign;
        Self {
            campaign_id: format!("{stem}{week}{ending}"),
            links: bare_links.map(|link| format!("https://{link}")),
            terms_link: format!("https://{TERMS_LINK}"),
            script,
            wordings,
        }
    }

    /// The text of a variant's template for that interest and status.
    pub(super) fn wording(&self, variant: usize, template: usize, interest: usize, status: usize) -> &Wording {
        &self.wordings[((variant * TEMPLATES + template) * SUBJECTS + interest) * STATUSES + status]
    }

    /// A word that asks to be left alone; any number picks one.
    pub(super) fn stop_word(&self, pick: usize) -> &'static str {
        self.script.stop_words[pick % self.script.stop_words.len()]
    }

    /// The word that asks for help.
    pub(super) fn help_word(&self) -> &'static str {
        self.script.help_word
    }

    /// Something else that people write back; any number picks one.
    pub(super) fn chatter(&self, pick: usize) -> &'static str {
        self.script.chatter[pick % self.script.chatter.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_filled_in_and_takes_one_or_two_parts() {
        for scenario in [Scenario::Retail, Scenario::Bank] {
            for language in [Language::English, Language::Chinese] {
                let wordings = Wordings::new(scenario, language, 11);
                assert_eq!(wordings.wordings.len(), 60);
                for wording in &wordings.wordings {
                    assert!(!wording.text.contains('{'), "{}", wording.text);
                    assert!(wording.text.contains(TERMS_LINK), "{}", wording.text);
                    assert!((1..=2).contains(&wording.parts), "{}", wording.text);
                }
            }
        }
    }

    #[test]
    fn a_picture_character_turns_a_latin_text_into_ucs_2() {
        let wordings = Wordings::new(Scenario::Retail, Language::English, 1);
        assert_eq!(wordings.campaign_id, "flash-sale-w1");
        assert_eq!(wordings.wording(1, 0, 0, 0).encoding, Encoding::Gsm7);
        let pictured = wordings.wording(1, 1, 0, 0);
        assert_eq!((pictured.encoding, pictured.parts), (Encoding::Ucs2, 2));
        assert_eq!(pictured.template_id, "retail-b-2");
    }

    #[test]
    fn a_chinese_text_is_signed_and_offers_a_way_out() {
        let wordings = Wordings::new(Scenario::Bank, Language::Chinese, 3);
        assert_eq!(wordings.campaign_id, "还款提醒-第3周");
        let text = &wordings.wording(0, 0, 0, 0).text;
        assert!(text.starts_with("【北辰银行】") && text.ends_with("退订回T"), "{text}");
        assert_eq!(wordings.wording(0, 0, 0, 0).parts, 1);
    }
}
