"""Writes holidays.toml, the public holidays that send windows treat as days of their own kind.

    pip install holidays==0.109 chinesecalendar==1.11.0 lunardate==0.3.0 hijridate==2.6.0 PyMeeus==0.5.12
    python make_holidays.py > holidays.toml     # the checks below run first and stop it

Sources: the packages `holidays` (all countries) and `chinesecalendar` (China's days off as the State Council announced them,
weekends inside a golden week included). China announces a year's days off in the November before; later years get the days
that are usual since the decree of 2024, and say "expected" in their name.

Checks: movable feasts against packages that share no code with `holidays`: Lunar New Year, Dragon Boat and Mid-Autumn by
`lunardate` and the new moon by `PyMeeus`, Islamic feasts by `hijridate` (Umm al-Qura), Holi and Diwali by the moon.
"""

import datetime as dt
import re
import sys
from collections import defaultdict

import chinese_calendar.constants as announced
import hijridate
import holidays
import lunardate
from pymeeus.Epoch import Epoch
from pymeeus.Moon import Moon

YEARS = range(2015, 2036)
DAY = dt.timedelta(days=1)
# Days of the whole country; of the United Kingdom those of England and Wales, where nine in ten of its people live.
COUNTRIES = {"CN": {}, "CY": {}, "DE": {}, "FR": {}, "GB": {"subdiv": "ENG"}, "IN": {}, "JP": {}, "US": {}}
NAMES = {
    "Labor Day": {"US": "Labor Day", None: "Labour Day"},
    "Mid-autumn Festival": {None: "Mid-Autumn Festival"},
    "Tomb-sweeping Day": {None: "Tomb-Sweeping Day"},
    "Anti-Fascist 70th Day": {None: "70th Anniversary of the Victory"},
}


def lunar(year, month, day):
    """The Gregorian date of a day of the Chinese calendar."""
    return lunardate.LunarDate(year, month, day).to_solar_date()


def moon(day, phase):
    """Days from noon (UTC) of that date to the nearest new or full moon."""
    noon = Epoch(day.year, day.month, day.day + 0.5)
    candidates = [Moon.moon_phase(noon + shift, phase) for shift in (-15.0, 0.0, 15.0)]
    return min(abs(float(found - noon)) for found in candidates)


def chinese_days():
    """Announced days off, then the expected ones."""
    days = {day: name for day, name in announced.holidays.items() if day.year in YEARS}
    last = max(days).year
    for year in range(last + 1, YEARS.stop):
        new_year = lunar(year, 1, 1)
        autumn = lunar(year, 8, 15)
        # Qingming is a solar term, on the 4th or the 5th of April.
        qingming = next(day for day, name in solar_terms(year) if name == "Tomb-Sweeping Day")
        golden = 8 if dt.date(year, 9, 30) <= autumn <= dt.date(year, 10, 8) else 7
        expected = [
            ("New Year's Day", dt.date(year, 1, 1), 1),
            ("Spring Festival", new_year - DAY, 8),
            ("Tomb-Sweeping Day", qingming, 1),
            ("Labour Day", dt.date(year, 5, 1), 5),
            ("Dragon Boat Festival", lunar(year, 5, 5), 1),
            ("Mid-Autumn Festival", autumn, 1),
            ("National Day", dt.date(year, 10, 1), golden),
        ]
        for name, first, length in expected:
            for day in range(length):
                days.setdefault(first + day * DAY, f"{name} (expected)")
    return days


def solar_terms(year):
    china = holidays.country_holidays("CN", years=year, language="en_US")
    return [(day, name) for day, name in china.items() if "observed" not in name]


def days_of(country, options):
    """Date to name."""
    if country == "CN":
        return chinese_days()
    return dict(holidays.country_holidays(country, years=YEARS, language="en_US", **options))


def check(table):
    """Stops at the first date that the independent sources do not give."""
    wrong = []
    china = table["CN"]
    by_library = holidays.country_holidays("CN", years=YEARS, language="en_US")
    last = max(day for day, name in china.items() if "expected" not in name).year
    for day in (day for day in by_library if day.year <= last and day not in china):
        wrong.append(f"CN {day}: off by `holidays` alone")
    for day in (day for day in china if day.year <= last and day not in by_library and day.weekday() < 5):
        wrong.append(f"CN {day}: a weekday off by `chinesecalendar` alone")
    for year in YEARS:
        for month, date in [(1, 1), (5, 5), (8, 15)]:
            if lunar(year, month, date) not in china:
                wrong.append(f"CN {lunar(year, month, date)}: month {month} day {date} is a working day")
        if moon(lunar(year, 1, 1), "new") > 1.0:
            wrong.append(f"CN {year}: no new moon at Lunar New Year")
    islamic = {"Eid al-Fitr": (10, 1), "Eid al-Adha": (12, 10), "Ashura": (1, 10), "Prophet's Birthday": (3, 12)}
    for day, names in table["IN"].items():
        for name in names.split("; "):
            if name.removesuffix(" (estimated)") in islamic:
                month, date = islamic[name.removesuffix(" (estimated)")]
                years = range(hijridate.Gregorian(day.year, 1, 1).to_hijri().year, 1500)
                near = min(
                    abs((dt.date(*hijridate.Hijri(year, month, date).to_gregorian().datetuple()) - day).days)
                    for year in years
                )
                # India's months start when the moon is seen there, a day after Arabia's at most times.
                if near > 2:
                    wrong.append(f"IN {day}: {name} is {near} days from Umm al-Qura")
            if name in ("Holi", "Buddha Purnima", "Guru Nanak's Birthday") and moon(day, "full") > 2.0:
                wrong.append(f"IN {day}: {name} without a full moon")
            if name == "Diwali" and moon(day, "new") > 1.5:
                wrong.append(f"IN {day}: Diwali without a new moon")
    if wrong:
        sys.exit("\n".join(wrong))


def dates_of(days):
    """Dates in order as texts, a run of days as first/last."""
    runs = []
    for day in sorted(days):
        if runs and day - runs[-1][1] == DAY:
            runs[-1][1] = day
        else:
            runs.append([day, day])
    return [f'"{first}"' if first == last else f'"{first}/{last}"' for first, last in runs]


def main():
    table = {country: days_of(country, options) for country, options in COUNTRIES.items()}
    check(table)
    print(
        f"# Public holidays {YEARS.start} to {YEARS.stop - 1}, made by make_holidays.py beside this file\n"
        f"# (holidays {holidays.__version__}, chinesecalendar 1.11.0); do not edit, lay a file of your own over it.\n"
        "# A name has its dates; `first/last` is a run of days, both included. GB: England and Wales. CN: with the weekends\n"
        '# inside a run; years not yet announced say "expected". IN: gazetted for the central government, as the\n'
        '# source knows them; feasts by the moon that are not announced yet say "estimated".'
    )
    for country, days in table.items():
        by_name = defaultdict(list)
        for day, names in days.items():
            for name in names.split("; "):
                base, mark = re.fullmatch(r"(.*?)( \((?:observed|estimated|expected)\))?", name).groups()
                spelled = NAMES.get(base, {})
                by_name[spelled.get(country, spelled.get(None, base)) + (mark or "")].append(day)
        print(f"\n[{country}]")
        for name, found in sorted(by_name.items(), key=lambda item: item[0]):
            line = f'"{name}" = ['
            lines = []
            for date in dates_of(found):
                if len(line) + len(date) + 2 > 118:
                    lines.append(line.rstrip())
                    line = "  "
                line += f"{date}, "
            lines.append(line.removesuffix(", ") + "]")
            print("\n".join(lines))


if __name__ == "__main__":
    main()
