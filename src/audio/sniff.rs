//! What a file is by its first bytes: for messages, and to know what only a converter can read.

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signature {
    /// RIFF or RF64 with a WAVE form inside.
    Wave,
    /// MP4 and QuickTime.
    Movie,
    /// Matroska and WebM.
    Matroska,
    /// Something that symphonia may read, with its name for messages.
    Readable(&'static str),
    /// Something that only a converter reads, with its name.
    Foreign(&'static str),
    /// Something that only its maker's programs read, with its name and where it comes from.
    Secret(&'static str, &'static str),
    /// It may still be MP3 or ADTS, which have no signature worth the name.
    Unknown,
}

const RECORDER: &str = "the program that came with the recorder";
const MESSENGER: &str = "the messenger, or a converter for SILK such as silk-v3-decoder";

/// At their offsets; the first that fits counts.
const SIGNATURES: [(usize, &[u8], Signature); 34] = [
    (0, b"\x03ds2", Signature::Secret("a dictation file (DS2)", RECORDER)),
    (0, b"\x03enc", Signature::Secret("an encrypted dictation file (DS2)", RECORDER)),
    (0, b"MS_VOICE", Signature::Secret("a Sony voice file (DVF or MSV)", RECORDER)),
    (0, b"#!SILK", Signature::Secret("a voice message in SILK", MESSENGER)),
    (0, b"\x02#!SILK", Signature::Secret("a voice message in SILK", MESSENGER)),
    (0, b"FORM", Signature::Readable("an AIFF file")),
    (0, b"caff", Signature::Readable("a CAF file")),
    (0, b"fLaC", Signature::Readable("a FLAC file")),
    (0, b"ID3", Signature::Readable("an MP3 file")),
    (28, b"Speex   ", Signature::Foreign("Speex")),
    (0, b"OggS", Signature::Readable("an Ogg file")),
    (4, b"ftyp", Signature::Movie),
    (4, b"moov", Signature::Movie),
    (4, b"mdat", Signature::Movie),
    (4, b"wide", Signature::Movie),
    (0, b"\x1A\x45\xDF\xA3", Signature::Matroska),
    (0, b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", Signature::Foreign("Windows Media (WMA)")),
    (0, b"riff\x2E\x91\xCF\x11", Signature::Foreign("Wave64")),
    (0, b".snd", Signature::Foreign("Sun/NeXT audio (AU)")),
    (0, b"#!AMR", Signature::Foreign("AMR")),
    (0, b"\x0B\x77", Signature::Foreign("AC-3")),
    (0, b"MAC ", Signature::Foreign("Monkey's Audio")),
    (0, b"wvpk", Signature::Foreign("WavPack")),
    (0, b"TTA1", Signature::Foreign("True Audio")),
    (0, b"MPCK", Signature::Foreign("Musepack")),
    (0, b"MP+", Signature::Foreign("Musepack")),
    (0, b"DSD ", Signature::Foreign("DSD")),
    (0, b".RMF", Signature::Foreign("RealMedia")),
    (0, b".ra\xFD", Signature::Foreign("RealAudio")),
    (0, b"FLV\x01", Signature::Foreign("Flash video")),
    (0, b"Creative Voice File", Signature::Foreign("Creative Voice")),
    (0, b"\x06\x0E\x2B\x34", Signature::Foreign("MXF video")),
    (0, b"\x00\x00\x01\xBA", Signature::Foreign("MPEG program stream")),
    (0, b"\x7FFR", Signature::Foreign("a DVR recording")),
];

/// Of the first bytes of a file; 64 are enough.
pub(crate) fn of(head: &[u8]) -> Signature {
    let has = |offset: usize, bytes: &[u8]| {
        head.get(offset..).is_some_and(|rest| rest.starts_with(bytes))
    };
    if has(0, b"RIFF") || has(0, b"RF64") || has(0, b"BW64") {
        return match head.get(8..12) {
            Some(b"WAVE") => Signature::Wave,
            Some(b"AVI ") => Signature::Foreign("AVI video"),
            _ => Signature::Readable("a RIFF file"),
        };
    }
    let known = SIGNATURES.iter().find(|(offset, bytes, _)| has(*offset, bytes));
    known.map_or(Signature::Unknown, |(_, _, signature)| *signature)
}

/// Which of the formats without a signature a file may be, by its name.
pub(crate) fn foreign_by_extension(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "gsm" => "raw GSM",
        "ts" | "m2ts" | "mts" => "MPEG transport stream",
        "dss" => "a dictation file (DSS)",
        "mxf" => "MXF video",
        "g722" => "G.722",
        "g729" => "G.729",
        "amr" | "awb" | "3ga" => "AMR",
        "wma" => "Windows Media (WMA)",
        "ac3" | "eac3" => "AC-3",
        "dts" => "DTS",
        "mpg" | "mpeg" | "vob" => "MPEG video",
        _ => return None,
    })
}

/// The same of formats that no converter reads either, with where they come from.
pub(crate) fn secret_by_extension(extension: &str) -> Option<(&'static str, &'static str)> {
    Some(match extension {
        "ds2" => ("a dictation file (DS2)", RECORDER),
        "dvf" | "msv" => ("a Sony voice file (DVF or MSV)", RECORDER),
        "silk" | "slk" => ("a voice message in SILK", MESSENGER),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        assert_eq!(of(b"RIFF....WAVEfmt "), Signature::Wave);
        assert_eq!(of(b"RF64....WAVEds64"), Signature::Wave);
        assert_eq!(of(b"RIFF....AVI LIST"), Signature::Foreign("AVI video"));
        assert_eq!(of(b"\0\0\0\x20ftypM4A "), Signature::Movie);
        assert!(matches!(of(b"\x03ds2....."), Signature::Secret("a dictation file (DS2)", _)));
        assert!(matches!(of(b"\x02#!SILK_V3"), Signature::Secret(..)));
        assert_eq!(of(b"\x06\x0e\x2b\x34\x02\x05"), Signature::Foreign("MXF video"));
        assert_eq!(of(b"RI"), Signature::Unknown);
        assert_eq!(of(b""), Signature::Unknown);
    }
}
