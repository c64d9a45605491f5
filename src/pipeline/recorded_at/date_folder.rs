//! Folders that say when and not what: a date, or a part of one where the others stand above it.

use crate::model::FileName;
use crate::pipeline::recorded_at::dates::{Reading, readings};
use crate::pipeline::recorded_at::months::month;
use crate::pipeline::recorded_at::times::time_after_date;
use crate::pipeline::recorded_at::tokens::{Token, tokens};

/// Words that belong to a time behind a date.
const OF_TIMES: [&str; 13] =
    ["t", "z", "at", "um", "h", "am", "pm", "utc", "gmt", "st", "nd", "rd", "th"];

/// What a folder can be a part of, by those above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    Nothing,
    Year,
    Month,
}

/// The first folder of a path below the inbox that is not only a date or a part of one: it names the conversation.
/// `None`: there is none.
pub(crate) fn naming_folder(path: &[FileName]) -> Option<&FileName> {
    let (_, folders) = path.split_last()?;
    let mut above = Above::Nothing;
    for folder in folders {
        let text = folder.display();
        let tokens = tokens(text.trim());
        let tokens = without_gaps(&tokens);
        above = match above {
            _ if is_date(tokens) => Above::Nothing,
            _ if is_month_of_year(tokens) => Above::Month,
            _ if is_year(tokens) => Above::Year,
            Above::Year if is_month(tokens) => Above::Month,
            Above::Month if is_number(tokens, 1..=31) => Above::Nothing,
            Above::Nothing | Above::Year | Above::Month => return Some(folder),
        };
    }
    None
}

/// Without what stands around: `[2024-01-15]`.
fn without_gaps<'a>(tokens: &'a [Token<'a>]) -> &'a [Token<'a>] {
    let is_gap = |token: Option<&Token<'_>>| matches!(token, Some(Token::Gap(_)));
    let begin = usize::from(is_gap(tokens.first()));
    let end = tokens.len() - usize::from(begin < tokens.len() && is_gap(tokens.last()));
    &tokens[begin..end]
}

/// A whole date, with or without a time.
fn is_date(tokens: &[Token<'_>]) -> bool {
    readings(tokens).iter().any(|reading| {
        let behind = &tokens[reading.used..];
        match reading.day {
            // As likely a number of something.
            Reading::Instant(_) => false,
            Reading::Day(_) | Reading::Moment(_) if behind.is_empty() => true,
            Reading::Moment(_) => behind.iter().all(is_of_time),
            Reading::Day(_) => {
                behind.iter().all(is_of_time) && time_after_date(behind, true).is_some()
            }
        }
    })
}

fn is_of_time(token: &Token<'_>) -> bool {
    match token {
        Token::Number(digits) => digits.len() <= 6,
        Token::Word(_) => token.is_word(&OF_TIMES),
        Token::Gap(_) => true,
    }
}

/// `2024-01`, `01.2024`, `202401`, `Jan 2024`, `2024 January`.
fn is_month_of_year(tokens: &[Token<'_>]) -> bool {
    match tokens {
        [one, Token::Gap(_), other] => {
            let is_one = |year: &Token<'_>, month: &Token<'_>| {
                is_year(&[*year]) && is_month(std::slice::from_ref(month))
            };
            is_one(one, other) || is_one(other, one)
        }
        [Token::Number(digits)] if digits.len() == 6 => {
            let (year, month) = digits.split_at(4);
            is_year(&[Token::Number(year)]) && is_month(&[Token::Number(month)])
        }
        _ => false,
    }
}

/// Four digits that can be the year of a recording.
fn is_year(tokens: &[Token<'_>]) -> bool {
    matches!(tokens, [Token::Number(digits)] if digits.len() == 4) && is_number(tokens, 1971..=2099)
}

/// `01`, `Jan`, `01 January`, `1-Jan`.
fn is_month(tokens: &[Token<'_>]) -> bool {
    match tokens {
        [Token::Word(word)] => month(word).is_some(),
        [Token::Number(_)] => is_number(tokens, 1..=12),
        [number @ Token::Number(_), rest @ ..] => {
            let word = rest.last().and_then(|token| token.word()).and_then(month);
            let is_it = word.is_some_and(|it| is_number(&[*number], it.into()..=it.into()));
            is_it && matches!(rest, [_] | [Token::Gap(_), _])
        }
        _ => false,
    }
}

fn is_number(tokens: &[Token<'_>], range: std::ops::RangeInclusive<i32>) -> bool {
    let [Token::Number(digits)] = tokens else { return false };
    digits.len() <= 4 && digits.parse().is_ok_and(|number| range.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, wanted: Option<&str>) {
        let names: Vec<FileName> =
            path.split('/').map(|name| FileName::new(name).unwrap()).collect();
        let found = naming_folder(&names).map(FileName::display);
        assert_eq!(found.as_deref(), wanted, "{path}");
    }

    #[test]
    fn a_folder_that_is_only_a_date_names_no_conversation() {
        for path in [
            "x.wav",
            "2024/x.wav",
            "2024/01/x.wav",
            "2024/01/15/REC001.WAV",
            "2024/1/5/x.wav",
            "2024/January/15/x.wav",
            "2024/01 January/15/x.wav",
            "2024/2024-01/2024-01-15/x.wav",
            "2024-01/15/x.wav",
            "202401/15/x.wav",
            "Jan 2024/x.wav",
            "01.2024/x.wav",
            "2024-01-15/x.wav",
            "20240115/102339A.wav",
            "240115/x.wav",
            "15.01.2024/x.wav",
            "15 Jan 2024/x.wav",
            "[2024-01-15]/x.wav",
            "2024-01-15 10.02.03/x.wav",
            "2024-01-15T10-02-03/x.wav",
            "20240115_100203/x.wav",
            "20240115100203/x.wav",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn the_first_folder_that_says_more_names_the_conversation() {
        for (path, folder) in [
            ("standup/x.wav", "standup"),
            ("standup/2024-01-15/x.wav", "standup"),
            ("2024/standup/01/x.wav", "standup"),
            ("2024/01/15/standup/morning/x.wav", "standup"),
            ("2024-01-15/standup/x.wav", "standup"),
            ("2024-01-15 standup/x.wav", "2024-01-15 standup"),
            (
                "Zoom 2024-01-15 10.02.03 Team Meeting/x.m4a",
                "Zoom 2024-01-15 10.02.03 Team Meeting",
            ),
            // Parts of a date only below the others.
            ("01/x.wav", "01"),
            ("15/x.wav", "15"),
            ("January/x.wav", "January"),
            ("2024/13/x.wav", "13"),
            ("2024/01/32/x.wav", "32"),
            ("2024/01/15/07/x.wav", "07"),
            ("1066/x.wav", "1066"),
            ("12345/x.wav", "12345"),
            ("5551234/x.wav", "5551234"),
            ("1705312923/x.wav", "1705312923"),
            ("may/x.wav", "may"),
            ("v2024/x.wav", "v2024"),
            ("2024 budget/x.wav", "2024 budget"),
        ] {
            check(path, Some(folder));
        }
    }
}
