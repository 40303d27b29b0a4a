//! How the tables of this folder know a country: by its ISO 3166 code of two letters.

/// Names that logs have for countries in place of the code: the code of three letters, the English name, the Chinese one.
/// Of other countries only codes are known; what is known of none counts as a country that nothing is known of.
const NAMES: &[(&str, &[&str])] = &[
    ("AE", &["ARE", "UAE", "UNITED ARAB EMIRATES", "阿联酋"]),
    ("AT", &["AUT", "AUSTRIA", "奥地利"]),
    ("AU", &["AUS", "AUSTRALIA", "澳大利亚"]),
    ("BE", &["BEL", "BELGIUM", "比利时"]),
    ("BR", &["BRA", "BRAZIL", "巴西"]),
    ("CA", &["CAN", "CANADA", "加拿大"]),
    ("CH", &["CHE", "SWITZERLAND", "瑞士"]),
    ("CN", &["CHN", "CHINA", "PRC", "P.R.C.", "PEOPLE'S REPUBLIC OF CHINA", "中国", "中华人民共和国"]),
    ("CY", &["CYP", "CYPRUS", "ΚΎΠΡΟΣ", "塞浦路斯"]),
    ("CZ", &["CZE", "CZECHIA", "CZECH REPUBLIC", "捷克"]),
    ("DE", &["DEU", "GERMANY", "DEUTSCHLAND", "德国"]),
    ("DK", &["DNK", "DENMARK", "丹麦"]),
    ("ES", &["ESP", "SPAIN", "ESPAÑA", "西班牙"]),
    ("FI", &["FIN", "FINLAND", "芬兰"]),
    ("FR", &["FRA", "FRANCE", "法国"]),
    (
        "GB",
        &[
            "UK",
            "U.K.",
            "GBR",
            "UNITED KINGDOM",
            "GREAT BRITAIN",
            "ENGLAND",
            "SCOTLAND",
            "WALES",
            "NORTHERN IRELAND",
            "英国",
        ],
    ),
    ("GR", &["GRC", "GREECE", "希腊"]),
    ("HK", &["HKG", "HONG KONG", "香港", "中国香港"]),
    ("ID", &["IDN", "INDONESIA", "印度尼西亚"]),
    ("IE", &["IRL", "IRELAND", "爱尔兰"]),
    ("IN", &["IND", "INDIA", "印度"]),
    ("IT", &["ITA", "ITALY", "ITALIA", "意大利"]),
    ("JP", &["JPN", "JAPAN", "日本"]),
    ("KR", &["KOR", "SOUTH KOREA", "REPUBLIC OF KOREA", "韩国"]),
    ("MX", &["MEX", "MEXICO", "墨西哥"]),
    ("MY", &["MYS", "MALAYSIA", "马来西亚"]),
    ("NL", &["NLD", "NETHERLANDS", "THE NETHERLANDS", "荷兰"]),
    ("NO", &["NOR", "NORWAY", "挪威"]),
    ("NZ", &["NZL", "NEW ZEALAND", "新西兰"]),
    ("PH", &["PHL", "PHILIPPINES", "菲律宾"]),
    ("PL", &["POL", "POLAND", "波兰"]),
    ("PT", &["PRT", "PORTUGAL", "葡萄牙"]),
    ("SA", &["SAU", "SAUDI ARABIA", "沙特阿拉伯"]),
    ("SE", &["SWE", "SWEDEN", "瑞典"]),
    ("SG", &["SGP", "SINGAPORE", "新加坡"]),
    ("TH", &["THA", "THAILAND", "泰国"]),
    ("TR", &["TUR", "TURKEY", "TÜRKIYE", "土耳其"]),
    ("TW", &["TWN", "TAIWAN", "台湾", "中国台湾"]),
    ("US", &["USA", "U.S.", "U.S.A.", "UNITED STATES", "UNITED STATES OF AMERICA", "AMERICA", "美国"]),
    ("VN", &["VNM", "VIETNAM", "VIET NAM", "越南"]),
    ("ZA", &["ZAF", "SOUTH AFRICA", "南非"]),
];

/// The code in capitals, of a name that is known its code (`GB` where a log has `UK`); any other text in capitals.
pub(super) fn code(country: &str) -> String {
    let name = country.trim().to_uppercase();
    let known = NAMES.iter().find(|(_, names)| names.contains(&name.as_str()));
    known.map_or(name, |(code, _)| (*code).to_owned())
}

/// Whether a code is written as one: two capitals.
pub(super) fn is_code(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The part of a state's code that stands behind the country: `TX` of `US-TX` (ISO 3166-2) and of `tx`.
pub(super) fn state(country: &str, state: &str) -> String {
    let state = state.trim().to_ascii_uppercase();
    match state.strip_prefix(country).and_then(|rest| rest.strip_prefix('-')) {
        Some(rest) => rest.to_owned(),
        None => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_the_spellings_of_logs() {
        assert_eq!((code(" uk").as_str(), code("us").as_str()), ("GB", "US"));
        for (name, expected) in
            [("USA", "US"), ("United States", "US"), ("france", "FR"), ("中国", "CN"), ("DEU", "DE")]
        {
            assert_eq!(code(name), expected);
        }
        assert!(!is_code(&code("Ruritania")));
        assert_eq!((state("US", "US-TX").as_str(), state("US", "tx ").as_str()), ("TX", "TX"));
        assert!(is_code("DE") && !is_code("de") && !is_code("DEU"));
    }
}
