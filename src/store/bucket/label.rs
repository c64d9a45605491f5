//! Labels as headers.

use std::fmt::Write as _;

use object_store::{Attribute, Attributes};

use crate::store::Label;

/// Longest text of one field. All fields of an object have 2 KiB together, and a bucket that is given more
/// refuses the object.
const FIELD_BYTES: usize = 1024;

/// The headers that say what `label` says.
pub(crate) fn attributes(label: &Label) -> Attributes {
    let mut attributes = Attributes::new();
    if !label.content_type.is_empty() {
        attributes.insert(Attribute::ContentType, label.content_type.into());
    }
    for (name, text) in &label.fields {
        attributes.insert(Attribute::Metadata((*name).into()), header_text(text).into());
    }
    attributes
}

/// The text with everything percent-encoded that a header cannot hold or does not keep: bytes other than
/// printable ASCII, spaces at the ends and beside others, and `%` itself. Cut short at [`FIELD_BYTES`].
fn header_text(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut encoded = String::with_capacity(bytes.len());
    for (place, byte) in bytes.iter().enumerate() {
        let is_kept = match byte {
            b'%' => false,
            b' ' => 0 < place && bytes[place - 1] != b' ' && place + 1 < bytes.len(),
            byte => byte.is_ascii_graphic(),
        };
        let needed = if is_kept { 1 } else { 3 };
        if FIELD_BYTES < encoded.len() + needed {
            break;
        }
        if is_kept {
            encoded.push(char::from(*byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_its_own_header() {
        for text in ["", "conv_8k3v9q2m4t7x", "Team sync, Monday (1).m4a", "1934.25"] {
            assert_eq!(header_text(text), text);
        }
    }

    #[test]
    fn what_a_header_cannot_hold_is_percent_encoded() {
        for (text, header) in [
            ("größe", "gr%C3%B6%C3%9Fe"),
            ("100%", "100%25"),
            (" a  b ", "%20a %20b%20"),
            ("a\r\nx-amz-acl: public", "a%0D%0Ax-amz-acl: public"),
        ] {
            assert_eq!(header_text(text), header);
        }
    }

    #[test]
    fn a_long_text_is_cut_before_the_bucket_refuses_it() {
        assert_eq!(header_text(&"x".repeat(5_000)).len(), FIELD_BYTES);
        let encoded = header_text(&"ß".repeat(5_000));
        assert!(encoded.len() <= FIELD_BYTES && encoded.len().is_multiple_of(3));
    }
}
