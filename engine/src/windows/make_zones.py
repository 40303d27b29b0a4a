"""Writes zones.txt: the time zones of each country and of the states of some.

    pip install tzdata==2026.6
    python make_zones.py > zones.txt

Countries: zone.tab of the IANA database (public domain), without Asia/Urumqi: all of China lives by Beijing's clock by law,
and that zone would take two hours from every legal window. States: 49 CFR part 71 and its counterparts in Canada and
Australia, written down below; a state has every zone in which some of its people live, counties included.
"""

import importlib.resources
from collections import defaultdict

import tzdata

NOT_BY_LAW = {("CN", "Asia/Urumqi")}
EASTERN, CENTRAL, MOUNTAIN, PACIFIC = "New_York", "Chicago", "Denver", "Los_Angeles"
STATES = {
    "US": {
        EASTERN: "CT DC DE GA MA MD ME NC NH NJ NY OH PA RI SC VA VT WV",
        CENTRAL: "AL AR IA IL LA MN MO MS OK WI",
        MOUNTAIN: "CO MT NM UT WY",
        PACIFIC: "CA WA",
        f"{EASTERN} {CENTRAL}": "FL TN",
        f"{CENTRAL} {MOUNTAIN}": "KS NE SD TX",
        f"{PACIFIC} Boise": "OR",
        f"{PACIFIC} {MOUNTAIN} Boise": "ID NV",
        f"Phoenix {MOUNTAIN}": "AZ",
        f"{EASTERN} {CENTRAL} Kentucky/Louisville Kentucky/Monticello": "KY",
        f"Detroit Menominee {CENTRAL}": "MI",
        f"{CENTRAL} {MOUNTAIN} North_Dakota/Center North_Dakota/New_Salem North_Dakota/Beulah": "ND",
        f"{EASTERN} {CENTRAL} Indiana/Indianapolis Indiana/Vincennes Indiana/Winamac Indiana/Marengo Indiana/Petersburg "
        "Indiana/Vevay Indiana/Tell_City Indiana/Knox": "IN",
        "Anchorage Juneau Sitka Metlakatla Yakutat Nome Adak": "AK",
        "Pacific/Honolulu": "HI",
        "Puerto_Rico": "PR",
        "St_Thomas": "VI",
        "Pacific/Guam": "GU",
        "Pacific/Saipan": "MP",
        "Pacific/Pago_Pago": "AS",
    },
    "CA": {
        "Edmonton": "AB",
        "Vancouver Creston Dawson_Creek Fort_Nelson Edmonton": "BC",
        "Winnipeg": "MB",
        "Moncton": "NB",
        "St_Johns Goose_Bay": "NL",
        "Halifax Glace_Bay": "NS",
        "Halifax": "PE",
        "Edmonton Inuvik": "NT",
        "Iqaluit Atikokan Resolute Rankin_Inlet Cambridge_Bay": "NU",
        "Toronto Atikokan Winnipeg": "ON",
        "Toronto Blanc-Sablon Halifax": "QC",
        "Regina Swift_Current Edmonton Winnipeg": "SK",
        "Whitehorse Dawson": "YT",
    },
    "AU": {
        "Australia/Sydney": "ACT",
        "Australia/Sydney Australia/Broken_Hill Australia/Brisbane Australia/Lord_Howe": "NSW",
        "Australia/Darwin": "NT",
        "Australia/Brisbane Australia/Lindeman": "QLD",
        "Australia/Adelaide": "SA",
        "Australia/Hobart Antarctica/Macquarie": "TAS",
        "Australia/Melbourne": "VIC",
        "Australia/Perth Australia/Eucla": "WA",
    },
}


def main():
    lines = (importlib.resources.files("tzdata") / "zoneinfo" / "zone.tab").read_text().splitlines()
    countries = defaultdict(list)
    for country, _, zone, *_ in (line.split("\t") for line in lines if not line.startswith("#")):
        if (country, zone) not in NOT_BY_LAW:
            countries[country].append(zone)
    known = {zone for zones in countries.values() for zone in zones}
    print(
        f"# Made by make_zones.py beside this file from the IANA time zone database {tzdata.IANA_VERSION}; do not edit."
    )
    for country, zones in sorted(countries.items()):
        print(country, *zones)
        by_state = {}
        for names, states in STATES.get(country, {}).items():
            full = [name if name in known else f"America/{name}" for name in names.split()]
            unknown = set(full) - known
            assert not unknown, unknown
            by_state |= {state: full for state in states.split()}
        for state, zones in sorted(by_state.items()):
            print(f"{country}-{state}", *zones)


if __name__ == "__main__":
    main()
