//! Titles, artists, comments: what a file says of itself, bounded.

use std::collections::BTreeMap;

use symphonia::core::formats::FormatReader;
use symphonia::core::meta::{MetadataRevision, RawValue, StandardTag};

/// Tags that are kept, and characters of each.
const MOST_TAGS: usize = 64;
const LONGEST: usize = 1_000;

/// Tags of a file.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    /// For people, by a plain name.
    pub(crate) shown: BTreeMap<String, String>,
    /// As the file has them, in order: key and text.
    pub(crate) raw: Vec<(String, String)>,
}

impl Tags {
    /// All that were read so far, of the container and of the tracks.
    pub(crate) fn read(format: &mut dyn FormatReader) -> Self {
        let mut tags = Self::default();
        let mut metadata = format.metadata();
        loop {
            if let Some(revision) = metadata.current() {
                tags.take(revision);
            }
            if metadata.pop().is_none() {
                return tags;
            }
        }
    }

    fn take(&mut self, revision: &MetadataRevision) {
        let tracks = revision.per_track.iter().map(|track| &track.metadata);
        for container in std::iter::once(&revision.media).chain(tracks) {
            for tag in &container.tags {
                if self.raw.len() == MOST_TAGS {
                    return;
                }
                let Some(text) = text_of(&tag.raw.value) else { continue };
                let name = tag.std.as_ref().and_then(plain_name).map(str::to_owned);
                let name = name.unwrap_or_else(|| cut(&tag.raw.key).to_lowercase());
                self.shown.entry(name).or_insert_with(|| text.clone());
                self.raw.push((cut(&tag.raw.key), text));
            }
        }
    }

    /// The first text with that key, whatever its case.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let mut raw = self.raw.iter();
        raw.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, text)| text.as_str())
    }
}

fn text_of(value: &RawValue) -> Option<String> {
    let text = match value {
        RawValue::Binary(_) | RawValue::Flag => return None,
        value => cut(&value.to_string()),
    };
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    (!text.is_empty()).then(|| text.to_owned())
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').take(LONGEST).collect()
}

fn plain_name(tag: &StandardTag) -> Option<&'static str> {
    Some(match tag {
        StandardTag::TrackTitle(_) => "title",
        StandardTag::Artist(_) => "artist",
        StandardTag::Album(_) => "album",
        StandardTag::Comment(_) => "comment",
        StandardTag::Genre(_) => "genre",
        StandardTag::Composer(_) => "composer",
        StandardTag::Description(_) => "description",
        StandardTag::Encoder(_) => "encoder",
        StandardTag::Copyright(_) => "copyright",
        StandardTag::Language(_) => "language",
        _ => return None,
    })
}
