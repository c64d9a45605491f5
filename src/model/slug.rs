//! Parts of store keys for names of any kind: safe on every disk and in every bucket, and still readable.

/// Bytes of `-` and eight hexadecimal digits.
const HASH_BYTES: usize = 9;

/// Whether the text can be a part of a key as it stands.
pub(crate) fn is_safe(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.len() <= 255
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The name as it is where it is safe and has at most `longest` bytes, else what its letters sound like, with a
/// hash of the whole: no longer than that either. Nothing for nothing.
pub(crate) fn slug(name: &[u8], longest: usize) -> String {
    match std::str::from_utf8(name) {
        Ok("") => return String::new(),
        Ok(text) if text.len() <= longest && is_safe(text) => return text.to_owned(),
        _ => {}
    }
    let mut kept = String::new();
    for byte in romanised(&String::from_utf8_lossy(name)).bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            kept.push(char::from(byte));
        } else if !kept.ends_with(['_', '-']) {
            kept.push('_');
        }
    }
    let kept = kept.trim_matches(['_', '-']);
    let kept = &kept[..kept.len().min(longest.saturating_sub(HASH_BYTES))];
    let kept = if kept.is_empty() { "unnamed" } else { kept.trim_end_matches(['_', '-']) };
    format!("{kept}-{}", short_hash(name))
}

/// In ASCII letters. Umlauts are spelled as Germans do where they have none; what `any_ascii` does not know, such
/// as pictures, is left out.
fn romanised(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            'ä' => plain.push_str("ae"),
            'ö' => plain.push_str("oe"),
            'ü' => plain.push_str("ue"),
            'Ä' => plain.push_str("Ae"),
            'Ö' => plain.push_str("Oe"),
            'Ü' => plain.push_str("Ue"),
            // The dots of an umlaut that is written in two parts.
            '\u{308}' if plain.ends_with(['a', 'o', 'u', 'A', 'O', 'U']) => plain.push('e'),
            letter => plain.push_str(any_ascii::any_ascii_char(letter)),
        }
    }
    plain
}

/// As slugs were made before they were readable: everything unsafe is a `_`.
pub(crate) fn old_slug(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok("") => return String::new(),
        Ok(text) if text.len() <= 120 && is_safe(text) => return text.to_owned(),
        _ => {}
    }
    let kept = name.iter().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() || b"_-".contains(byte) => char::from(*byte),
        _ => '_',
    });
    let kept: String = kept.take(120).collect();
    format!("{}-{}", kept.trim_start_matches('_'), short_hash(name))
}

fn short_hash(name: &[u8]) -> String {
    blake3::hash(name).to_hex()[..HASH_BYTES - 1].to_owned()
}
