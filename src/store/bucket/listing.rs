//! Listings as a bucket sends them, with names that the library does not take put aside.
//!
//! `object_store` gives up a whole page of a listing for one name that it cannot spell (`logs//x`, `a/../b`, a
//! control character). Anybody who can write to the bucket could stop everything that way. So such entries are
//! taken out of the answer before the library sees it, and are counted.

use object_store::path::Path;
use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;

/// Names that were put aside, as the bucket spells them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PutAside(pub(crate) Vec<String>);

/// The answer without entries that the library cannot read; `None`: there are none, or it is no listing.
pub(crate) fn without_foreign(xml: &[u8]) -> Option<(Vec<u8>, PutAside)> {
    let text = std::str::from_utf8(xml).ok()?;
    let mut kept = String::with_capacity(text.len());
    let mut aside = PutAside::default();
    let (mut copied, mut is_whole) = (0, true);
    for entry in entries(text)? {
        let name = unescape(entry.key).map_or_else(|_| entry.key.to_owned(), |name| name.into());
        // The library also takes `/a` and `a/` for `a`, which is another object.
        if Path::parse(&name).is_ok_and(|path| path.as_ref() == name) {
            continue;
        }
        kept.push_str(&text[copied..entry.start]);
        copied = entry.end;
        is_whole = false;
        // Consoles mark folders so.
        if !name.ends_with('/') {
            aside.0.push(name);
        }
    }
    kept.push_str(&text[copied..]);
    (!is_whole).then_some((kept.into_bytes(), aside))
}

/// One object of a listing, by where it stands in the answer.
struct Entry<'a> {
    start: usize,
    end: usize,
    /// As it is spelled there.
    key: &'a str,
}

fn entries(text: &str) -> Option<Vec<Entry<'_>>> {
    let mut reader = Reader::from_str(text);
    let mut found = Vec::new();
    let (mut start, mut key) = (None, None);
    loop {
        let before = usize::try_from(reader.buffer_position()).ok()?;
        let event = reader.read_event().ok()?;
        let after = usize::try_from(reader.buffer_position()).ok()?;
        match event {
            Event::Start(tag) if tag.local_name().as_ref() == b"Contents" => {
                (start, key) = (Some(before), None);
            }
            Event::Start(tag) if tag.local_name().as_ref() == b"Key" && start.is_some() => {
                let end = reader.read_to_end(tag.name()).ok()?;
                let (from, to) = (usize::try_from(end.start).ok()?, usize::try_from(end.end).ok()?);
                key = text.get(from..to);
            }
            Event::End(tag) if tag.local_name().as_ref() == b"Contents" => {
                found.extend(Some(Entry { start: start.take()?, end: after, key: key? }));
            }
            Event::Eof => return Some(found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> String {
        let entry = |name: &&str| {
            format!("<Contents><Key>{name}</Key><Size>1</Size><Owner><ID>x</ID></Owner></Contents>")
        };
        let entries: String = names.iter().map(entry).collect();
        format!(
            "<?xml version=\"1.0\"?>\n<ListBucketResult><Name>b</Name>{entries}</ListBucketResult>"
        )
    }

    #[test]
    fn names_that_the_library_does_not_take_are_put_aside_and_all_others_kept() {
        let ours = ["a/2024/01/15/x.wav", "größe &amp; mehr.txt", "a b"];
        let foreign = ["logs//x", "/a", "a/../b", "./c", "a\u{1}b", "c&#x1;d", "a/b/"];
        let mixed = listing(&[&foreign[..4], &ours[..], &foreign[4..]].concat());
        let (kept, aside) = without_foreign(mixed.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(kept).unwrap(), listing(&ours));
        assert_eq!(aside.0.len(), 6, "{aside:?}");
        assert_eq!(aside.0[0], "logs//x");
    }

    #[test]
    fn an_answer_of_good_names_and_one_that_is_no_listing_stay_as_they_are() {
        assert_eq!(without_foreign(listing(&["a", "b/c"]).as_bytes()), None);
        for other in ["<html>", "<Contents><Key>//</Key>", "", "\u{0}", "<a></b>"] {
            assert_eq!(without_foreign(other.as_bytes()), None, "{other:?}");
        }
    }
}
