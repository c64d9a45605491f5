//! What people are told of a drop whose bytes are known.

use crate::index::{Index, IndexError};
use crate::jobs::duplicates::Kept;
use crate::model::Recording;

/// For whoever waits for a drop that was a duplicate.
pub(crate) fn remark(index: &Index, known: &Recording, kept: Kept) -> Result<String, IndexError> {
    let place = place(index, known)?;
    Ok(match kept {
        Kept::Whole => format!("The same bytes are already there, as {place}."),
        Kept::PutBack => {
            format!("The same bytes were there as {place}, but lost or damaged: they are restored.")
        }
        Kept::Copied => format!(
            "The same bytes are already there, as {place}. The bucket cannot provide them now, so they are kept on \
             local disk too."
        ),
    })
}

/// For whoever waits for a drop that is filed with words that were known.
pub(crate) fn remark_of_filing(index: &Index, known: &Recording) -> Result<String, IndexError> {
    let place = place(index, known)?;
    Ok(format!("The same bytes are known as {place}: they are filed with that transcript."))
}

/// For whoever waits for a drop from which lost words were found again.
pub(crate) fn remark_of_words(index: &Index, known: &Recording) -> Result<String, IndexError> {
    let place = place(index, known)?;
    Ok(format!(
        "The same bytes were there as {place}, without their words: they are written again."
    ))
}

/// Where users find a recording.
fn place(index: &Index, recording: &Recording) -> Result<String, IndexError> {
    let (name, day) = (recording.audio_name.display(), recording.id.day);
    let conversation = index.conversation(recording.id.conversation)?;
    let is_trashed = recording.overlay.trashed_at.is_some();
    Ok(match conversation.filter(|_| !is_trashed) {
        Some(conversation) => format!(
            "conversations/{}/{:04}/{:02}/{:02}/{name}",
            conversation.id.shown(),
            day.year(),
            day.month(),
            day.day()
        ),
        None => format!("{name} of {day}, in the trash"),
    })
}
