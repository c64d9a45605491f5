//! [`Token`]: a name cut into numbers, words and what stands between them.

/// A run of characters of one kind. Together the tokens of a name are the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// ASCII digits, as many as stand together.
    Number(&'a str),
    /// Letters of any script.
    Word(&'a str),
    /// Everything else: blanks, dots, dashes, slashes.
    Gap(&'a str),
}

pub(crate) fn tokens(name: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let kind = kind_of(first);
        let end = rest.find(|c| kind_of(c) != kind).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        found.push(match kind {
            Kind::Digit => Token::Number(run),
            Kind::Letter => Token::Word(run),
            Kind::Other => Token::Gap(run),
        });
        rest = after;
    }
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Digit,
    Letter,
    Other,
}

fn kind_of(c: char) -> Kind {
    if c.is_ascii_digit() {
        Kind::Digit
    } else if c.is_alphabetic() {
        Kind::Letter
    } else {
        Kind::Other
    }
}

impl<'a> Token<'a> {
    pub(crate) fn number(self) -> Option<&'a str> {
        match self {
            Self::Number(digits) => Some(digits),
            Self::Word(_) | Self::Gap(_) => None,
        }
    }

    pub(crate) fn word(self) -> Option<&'a str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Number(_) | Self::Gap(_) => None,
        }
    }

    /// Whether this is one of `words`, whatever its case.
    pub(crate) fn is_word(self, words: &[&str]) -> bool {
        self.word().is_some_and(|word| words.iter().any(|known| known.eq_ignore_ascii_case(word)))
    }

    /// Whether this is a gap of one of these spellings.
    pub(crate) fn is_gap(self, gaps: &[&str]) -> bool {
        matches!(self, Self::Gap(gap) if gaps.contains(&gap))
    }
}
