//! Names of months, in the languages in which recorders and people write them.

/// Each month's names, from January on. Abbreviations need not be listed: three letters and more that
/// begin a name stand for it.
const NAMES: [&[&str]; 12] = [
    &["january", "januar", "jänner", "janvier", "enero", "gennaio", "janeiro", "januari"],
    &["february", "februar", "février", "fevrier", "febrero", "febbraio", "fevereiro", "februari"],
    &["march", "märz", "maerz", "mars", "marzo", "março", "marco", "maart", "mrz"],
    &["april", "avril", "abril", "aprile"],
    &["may", "mai", "mayo", "maggio", "maio", "mei", "maj"],
    &["june", "juni", "juin", "junio", "giugno", "junho"],
    &["july", "juli", "juillet", "julio", "luglio", "julho"],
    &["august", "août", "aout", "agosto", "augustus", "augusti"],
    &["september", "septembre", "septiembre", "settembre", "setembro", "sept"],
    &["october", "oktober", "octobre", "octubre", "ottobre", "outubro"],
    &["november", "novembre", "noviembre", "novembro"],
    &["december", "dezember", "décembre", "decembre", "diciembre", "dicembre", "dezembro"],
];

/// Fewer letters name no month.
const SHORTEST: usize = 3;

/// 1 to 12 for a month's name or the beginning of one: `Jan`, `sept`, `März`.
pub(crate) fn month(word: &str) -> Option<i8> {
    let word = word.to_lowercase();
    if word.chars().count() < SHORTEST {
        return None;
    }
    // Whole names first: `mar` begins March in every language, `juin` is June although `jui` begins July, too.
    let named =
        |is: &dyn Fn(&str) -> bool| NAMES.iter().position(|names| names.iter().any(|n| is(n)));
    let at = named(&|name| name == word).or_else(|| named(&|name| name.starts_with(&word)))?;
    i8::try_from(at + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_known_by_their_first_letters() {
        for (word, number) in [("Jan", 1), ("MÄRZ", 3), ("mai", 5), ("Sept", 9), ("dez", 12)] {
            assert_eq!(month(word), Some(number), "{word}");
        }
        for word in ["ma", "team", "janx", ""] {
            assert_eq!(month(word), None, "{word}");
        }
    }
}
