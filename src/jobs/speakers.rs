//! How many people speak in one recording, where its user says so: in its name, its folder's, or an attribute.

use crate::model::{FileName, SpeakerBounds};

/// An extended attribute of a file in the inbox: `3`, or `2-4`.
pub(crate) const ATTRIBUTE: &str = "user.scribefs.speakers";

/// The attribute, else `.spk3` or `.spk2-4` at the end of a name, the file's before its folders'.
pub(crate) fn hint(path: &[FileName], attribute: Option<&[u8]>) -> Option<SpeakerBounds> {
    let attribute = attribute.and_then(|value| bounds(std::str::from_utf8(value).ok()?.trim()));
    attribute.or_else(|| {
        let (file, folders) = path.split_last()?;
        let stem = file.split_extension().0;
        let folders = folders.iter().rev().map(FileName::as_bytes);
        std::iter::once(stem).chain(folders).find_map(in_name)
    })
}

fn in_name(name: &[u8]) -> Option<SpeakerBounds> {
    let name = String::from_utf8_lossy(name).to_lowercase();
    let (_, last) = name.rsplit_once('.')?;
    bounds(last.strip_prefix("spk")?)
}

/// `3`, or `2-4`.
fn bounds(text: &str) -> Option<SpeakerBounds> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|count| 0 < *count);
    let (least, most) = match text.split_once('-') {
        Some((least, most)) => (number(least)?, number(most)?),
        None => (number(text)?, number(text)?),
    };
    (least <= most).then_some(SpeakerBounds { at_least: Some(least), at_most: Some(most) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, attribute: Option<&str>, wanted: Option<(u16, u16)>) {
        let path: Vec<FileName> =
            path.split('/').map(|name| FileName::new(name).unwrap()).collect();
        let found = hint(&path, attribute.map(str::as_bytes));
        let found = found.map(|it| (it.at_least.unwrap(), it.at_most.unwrap()));
        assert_eq!(found, wanted, "{path:?} {attribute:?}");
    }

    #[test]
    fn the_name_the_folder_or_an_attribute_says_how_many_speak() {
        check("call.spk2.wav", None, Some((2, 2)));
        check("call.SPK2-4.m4a", None, Some((2, 4)));
        check("interviews.spk2/monday.wav", None, Some((2, 2)));
        check("interviews.spk2/panel.spk5.wav", None, Some((5, 5)));
        check("panel.spk5.wav", Some("3\n"), Some((3, 3)));
    }

    #[test]
    fn anything_else_says_nothing() {
        for path in ["call.wav", "spk2.wav", "call.spk.wav", "call.spk0.wav", "call.spk4-2.wav"] {
            check(path, None, None);
        }
        check("call.spk2.wav", Some("many"), Some((2, 2)));
    }
}
