//! [`PageKind`]: which page of a recording.

use serde::{Deserialize, Serialize};

/// The pages that stand beside a recording. The order is that of their inode numbers: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageKind {
    Metadata,
    Json,
    Srt,
    Vtt,
    Html,
}

impl PageKind {
    pub const ALL: [Self; 5] = [Self::Metadata, Self::Json, Self::Srt, Self::Vtt, Self::Html];

    /// What follows the recording's stem in the page's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Metadata => "_metadata.json",
            Self::Json => ".json",
            Self::Srt => ".srt",
            Self::Vtt => ".vtt",
            Self::Html => ".html",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Metadata | Self::Json => "application/json",
            Self::Srt => "application/x-subrip",
            Self::Vtt => "text/vtt",
            Self::Html => "text/html",
        }
    }
}
