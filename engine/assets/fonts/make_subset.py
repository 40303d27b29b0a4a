"""Cuts the three fonts that are bundled with the charts out of the full Noto fonts.

Goes in: NotoSansCJK-Regular.ttc, NotoSans-Regular.ttf, NotoEmoji-Regular.ttf, and Unihan's table of other mappings.
Comes out, beside this script: NotoSansCJKsc-subset.otf, NotoSans-subset.ttf, NotoEmoji-subset.ttf.

    python make_subset.py --cjk NotoSansCJK-Regular.ttc --latin NotoSans-Regular.ttf \\
        --emoji NotoEmoji-Regular.ttf --unihan Unihan_OtherMappings.txt.bz2

Needs fonttools 4.68 or newer. README.md says where the fonts come from and why they are cut like this.
"""

import argparse
import bz2
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTCollection, TTFont

HERE = Path(__file__).resolve().parent

# Inclusive ranges of code points.
WESTERN = [
    (0x0020, 0x007E),  # ASCII
    (0x00A0, 0x024F),  # Latin-1, Latin Extended-A and -B
    (0x02B0, 0x02FF),  # modifier letters
    (0x0370, 0x03FF),  # Greek
    (0x0400, 0x052F),  # Cyrillic
    (0x1E00, 0x1EFF),  # Latin Extended Additional: Vietnamese
    (0x2000, 0x206F),  # general punctuation
    (0x2070, 0x209C),  # superscripts and subscripts
    (0x20A0, 0x20C0),  # currency signs
    (0x2100, 0x214F),  # letter-like symbols
    (0x2150, 0x218B),  # fractions, Roman numerals
]
# Only in the Latin face: with marks, the CJK face would build the letters that it lacks from two glyphs, where the
# Latin face makes one, and resvg cannot mix faces that disagree on the number of glyphs.
COMBINING = [(0x0300, 0x036F)]
EAST_ASIAN = [
    (0x2190, 0x21FF),  # arrows
    (0x2200, 0x22FF),  # mathematical signs
    (0x2300, 0x23FF),  # technical signs
    (0x2460, 0x24FF),  # enclosed numbers
    (0x2500, 0x25FF),  # lines, blocks, shapes
    (0x2600, 0x27BF),  # symbols, dingbats
    (0x3000, 0x303F),  # CJK punctuation
    (0x3040, 0x30FF),  # kana
    (0x3105, 0x312F),  # bopomofo
    (0x31F0, 0x31FF),  # kana extensions
    (0x3200, 0x33FF),  # enclosed and squared CJK
    (0xFE30, 0xFE4F),  # vertical forms
    (0xFF00, 0xFFEF),  # full-width and half-width forms
]
# The regional face for Simplified Chinese gives these the width of a hanzi, which tears Latin words apart
# ("Bob ’ s"): take the Korean face's proportional glyphs, which live in the same file.
PROPORTIONAL = "\u2018\u2019\u201c\u201d\u00b7\u2022"
ELLIPSIS = 0x2026
# Seen in campaigns, and in none of the lists below.
ALSO = "\u56e7"


def spread(ranges):
    return {point for first, last in ranges for point in range(first, last + 1)}


def decoded(codec, leads, trails):
    """Every character of a two-byte encoding whose bytes lie in the ranges given."""
    points = set()
    for lead in leads:
        for trail in trails:
            try:
                points.add(ord(bytes([lead, trail]).decode(codec)))
            except (UnicodeDecodeError, TypeError):
                continue
    return points


def standard_hanzi(unihan):
    """China's List of Commonly Used Standard Characters of 2013 (8,105), which has the rarer signs of names."""
    read = bz2.open if str(unihan).endswith(".bz2") else open
    with read(unihan, "rt", encoding="utf-8") as lines:
        rows = (line.rstrip("\n").split("\t") for line in lines if not line.startswith("#"))
        return {int(row[0][2:], 16) for row in rows if len(row) == 3 and row[1] == "kTGH"}


def east_asian_text(unihan):
    """What simplified and traditional Chinese, Japanese and Korean text of our day is written with."""
    trails = range(0xA1, 0xFF)
    gb2312 = decoded("gb2312", range(0xA1, 0xF8), trails)  # 6,763 hanzi
    big5_level_1 = decoded("big5", range(0xA4, 0xC7), [*range(0x40, 0x7F), *trails])  # 5,401
    jis_level_1 = decoded("euc_jp", range(0xB0, 0xD0), trails)  # 2,965 kanji
    hangul = decoded("euc_kr", range(0xB0, 0xC9), trails)  # the 2,350 syllables of KS X 1001
    return gb2312 | big5_level_1 | jis_level_1 | hangul | standard_hanzi(unihan) | set(map(ord, ALSO))


def cut(font, points, features, path):
    """Keeps the glyphs of `points`, writes the font and says what it holds."""
    options = subset.Options()
    # One character, one glyph: resvg falls back from face to face glyph by glyph, and gives up where two faces
    # make a different number of glyphs of the same text. So no ligatures, and no variation sequences.
    options.layout_features = features
    options.drop_tables += ["vhea", "vmtx", "VORG", "BASE", "STAT", "gasp", "DSIG", "MERG", "meta"]
    options.hinting = False
    options.notdef_outline = True
    options.glyph_names = False
    options.name_languages = [0x0409]
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14]
    options.recalc_bounds = False
    options.canonical_order = True
    worker = subset.Subsetter(options)
    worker.populate(unicodes=points)
    worker.subset(font)
    for table in font["cmap"].tables[:]:
        if table.format == 14:
            font["cmap"].tables.remove(table)
    # The same inputs give the same bytes.
    font["head"].modified = font["head"].created
    font.recalcTimestamp = False
    font.save(path)
    print(f"{path.name}: {len(font.getBestCmap()):,} characters, {path.stat().st_size:,} bytes")


def cut_cjk(source, unihan):
    faces = {font["name"].getDebugName(1): font for font in TTCollection(source).fonts}
    font, korean = faces["Noto Sans CJK SC"], faces["Noto Sans CJK KR"]
    replaced = {ord(character): korean.getBestCmap()[ord(character)] for character in PROPORTIONAL}
    # The centred ellipsis likewise: the feature pwid knows the one on the baseline.
    for table in single_substitutions(font, "pwid"):
        replaced[ELLIPSIS] = table.mapping.get(font.getBestCmap()[ELLIPSIS], replaced.get(ELLIPSIS))
    for table in font["cmap"].tables:
        if table.isUnicode() and table.format != 14:
            table.cmap.update(replaced)
    points = spread(WESTERN) | spread(EAST_ASIAN) | east_asian_text(unihan)
    cut(font, points, ["kern"], HERE / "NotoSansCJKsc-subset.otf")


def single_substitutions(font, tag):
    """The one-to-one tables of a feature."""
    gsub = font["GSUB"].table
    indices = {
        index
        for record in gsub.FeatureList.FeatureRecord
        if record.FeatureTag == tag
        for index in record.Feature.LookupListIndex
    }
    tables = (table for index in sorted(indices) for table in gsub.LookupList.Lookup[index].SubTable)
    unwrapped = (getattr(table, "ExtSubTable", table) for table in tables)
    return [table for table in unwrapped if table.LookupType == 1]


def cut_latin(source):
    cut(TTFont(source), spread(WESTERN + COMBINING), ["kern", "mark", "mkmk"], HERE / "NotoSans-subset.ttf")


def cut_emoji(source):
    font = TTFont(source)
    # The digits and signs of keycaps belong to the text faces; the space hides joiners. Skin tones and the key of a
    # keycap would stand beside the sign that they are meant to change: without them the plain sign is drawn.
    modifiers = spread([(0x1F3FB, 0x1F3FF), (0x20D0, 0x20FF)])
    points = {point for point in font.getBestCmap() if point >= 0x2000} - modifiers | {0x20}
    cut(font, points, [], HERE / "NotoEmoji-subset.ttf")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cjk", required=True, help="NotoSansCJK-Regular.ttc")
    parser.add_argument("--latin", required=True, help="NotoSans-Regular.ttf")
    parser.add_argument("--emoji", required=True, help="NotoEmoji-Regular.ttf")
    parser.add_argument("--unihan", required=True, help="Unihan_OtherMappings.txt, as it is or with bzip2")
    arguments = parser.parse_args()
    cut_cjk(arguments.cjk, arguments.unihan)
    cut_latin(arguments.latin)
    cut_emoji(arguments.emoji)


if __name__ == "__main__":
    main()
