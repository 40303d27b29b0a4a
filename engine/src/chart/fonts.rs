//! The faces that text in a PNG is drawn with: those the program carries (`engine/assets/fonts`), and, for characters
//! that none of them has, faces of the machine it runs on.
//!
//! The carried ones make the same picture everywhere, also in a container with no fonts: Chinese, Japanese and Korean
//! with Latin, Greek and Cyrillic in one face, then the rest of the European alphabets, then emoji in outlines.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use resvg::usvg::fontdb::{Database, ID, Source, Style, Weight};

use super::coverage;
use super::error::ChartError;

/// Family and file of each face, the one for plain text first.
pub(super) static BUNDLED: [(&str, &[u8]); 3] = [
    ("Noto Sans CJK SC", include_bytes!("../../assets/fonts/NotoSansCJKsc-subset.otf")),
    ("Noto Sans", include_bytes!("../../assets/fonts/NotoSans-subset.ttf")),
    ("Noto Emoji", include_bytes!("../../assets/fonts/NotoEmoji-subset.ttf")),
];

/// The faces for one picture.
pub(super) struct Fonts {
    pub(super) database: Arc<Database>,
    /// The face that every text asks for; the others fill in.
    pub(super) text_face: ID,
}

impl Fonts {
    /// The faces that the program carries.
    pub(super) fn bundled() -> Result<Self, ChartError> {
        let mut database = Database::new();
        let mut faces = Vec::new();
        for (_, data) in &BUNDLED {
            let source: &'static [u8] = data;
            faces.extend(database.load_font_source(Source::Binary(Arc::new(source))));
        }
        match faces.first() {
            Some(text_face) if faces.len() == BUNDLED.len() => {
                Ok(Self { database: Arc::new(database), text_face: *text_face })
            }
            _ => Err(ChartError::Fonts),
        }
    }

    /// Adds the machine's faces that draw what the carried ones lack; leaves what none draws.
    pub(super) fn complete(&mut self, mut wanted: BTreeSet<char>) -> BTreeSet<char> {
        let machine = machine_faces();
        let database = Arc::make_mut(&mut self.database);
        let upright = machine.faces().filter(|face| face.style == Style::Normal && face.weight == Weight::NORMAL);
        for face in upright {
            if wanted.is_empty() {
                break;
            }
            let found = machine
                .with_face_data(face.id, |data, index| coverage::drawn(data, index, &wanted))
                .unwrap_or_default();
            if !found.is_empty() {
                database.push_face_info(face.clone());
                wanted.retain(|character| !found.contains(character));
            }
        }
        wanted
    }
}

/// The characters of a text that none of the carried faces draws.
pub(super) fn lacking(text: &str) -> BTreeSet<char> {
    let mut wanted: BTreeSet<char> = text.chars().filter(|character| !character.is_ascii()).collect();
    for (_, data) in &BUNDLED {
        let found = coverage::drawn(data, 0, &wanted);
        wanted.retain(|character| !found.contains(character));
    }
    wanted
}

/// The characters of a text that the face for plain text does not draw by itself.
pub(super) fn beyond_text_face(text: &str) -> BTreeSet<char> {
    let wanted: BTreeSet<char> = text.chars().filter(|character| !character.is_ascii()).collect();
    let found = BUNDLED.first().map(|(_, data)| coverage::drawn(data, 0, &wanted)).unwrap_or_default();
    wanted.difference(&found).copied().collect()
}

/// The first face that draws a character, other than those that were tried.
pub(super) fn another_face(character: char, tried: &[ID], database: &Database) -> Option<ID> {
    let wanted = BTreeSet::from([character]);
    let draws = |id: ID| {
        let found = database.with_face_data(id, |data, index| coverage::drawn(data, index, &wanted));
        found.is_some_and(|characters| !characters.is_empty())
    };
    database.faces().map(|face| face.id).find(|id| !tried.contains(id) && draws(*id))
}

/// The machine's fonts: their list is made once, when a picture first needs it, since it takes up to seconds.
fn machine_faces() -> &'static Database {
    static FACES: OnceLock<Database> = OnceLock::new();
    FACES.get_or_init(|| {
        let mut database = Database::new();
        database.load_system_fonts();
        database
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carried_faces_load_under_their_names() -> Result<(), ChartError> {
        let fonts = Fonts::bundled()?;
        let names: Vec<String> =
            fonts.database.faces().flat_map(|face| face.families.iter().map(|(name, _)| name.clone())).collect();
        assert_eq!(names, ["Noto Sans CJK SC", "Noto Sans", "Noto Emoji"]);
        Ok(())
    }

    #[test]
    fn campaign_names_lack_nothing() {
        let names = "春节特惠·老客户回馈 双十一（第一波） Łódź Весна \u{1F389} Ελλάδα 한국 ひらがな";
        assert!(lacking(names).is_empty(), "{:?}", lacking(names));
        assert_eq!(lacking("\u{10FFFD}春"), ['\u{10FFFD}'].into());
        assert_eq!(beyond_text_face("春\u{1F389}"), ['\u{1F389}'].into());
    }
}
