//! The pages of a conversation, as their readers see them. Snapshots are read line by line in review.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::date;
use proptest::prelude::*;
use scribefs::model::{
    Conversation, ConversationId, ConversationSeq, Day, DayTranscript, FileName, Flag, Key,
    ModelRef, Object, Overlay, Page, PageKind, Placement, Recipe, RecordedAt, Recording,
    RecordingId, Segment, SoundFacts, Speaker, SpeakerBounds, SpeakerId, Talk, TimeSource, Turn,
    Warning, Word,
};
use scribefs::render::{self, Chapter};

/// All that a chapter borrows.
struct Told {
    conversation: Conversation,
    recording: Recording,
    recipe: Recipe,
    talk: Talk,
}

impl Told {
    fn new(talk: Talk) -> Self {
        let at: Timestamp = "2024-01-15T09:40:00Z".parse().unwrap();
        let id = ConversationId::new("team-sync").unwrap();
        let day = Day::from_ymd(2024, 1, 15).unwrap();
        let recording = Recording {
            id: RecordingId { conversation: ConversationSeq(7), day, number: 1 },
            stem: FileName::new("meeting").unwrap(),
            audio_name: FileName::new("meeting.m4a").unwrap(),
            original_name: FileName::new("meeting.m4a").unwrap(),
            filed_as: id.clone(),
            audio: Object {
                key: Key::audio(&id, day, b"meeting", b"m4a"),
                bytes: 1_234_567,
                blake3: "ab".repeat(32),
            },
            pages: Vec::new(),
            modified_at: at,
            published_at: at,
            recorded_at: RecordedAt {
                time: date(2024, 1, 15).at(10, 2, 0, 0),
                zone: "Europe/Berlin".to_owned(),
                source: TimeSource::Container,
                detail: "mvhd".to_owned(),
            },
            facts: SoundFacts {
                container: "mp4".to_owned(),
                codec: "aac".to_owned(),
                channels: 2,
                sample_rate: 44_100,
                bits_per_sample: None,
                duration: talk.duration,
                created: None,
                tags: BTreeMap::from([("title".to_owned(), "Sync".to_owned())]),
            },
            language: talk.language.clone(),
            speakers: u32::try_from(talk.speakers.len()).unwrap(),
            model: "moonshine-tiny-en".to_owned(),
            placement: Placement::Stored,
            revision: 1,
            overlay: Overlay::default(),
        };
        let conversation = Conversation {
            seq: ConversationSeq(7),
            id: id.clone(),
            filed_as: id,
            created_at: at,
            trashed_at: None,
        };
        let model = |name: &str| ModelRef { name: name.to_owned(), sha256: "cd".repeat(32) };
        let recipe = Recipe {
            recognizer: model("moonshine-tiny-en"),
            diarizer: Some(model("pyannote-community-1")),
            language: None,
            speakers: SpeakerBounds { at_least: Some(2), at_most: None },
            threads: 2,
            version: "0.1.0".to_owned(),
            options: BTreeMap::new(),
        };
        Self { conversation, recording, recipe, talk }
    }

    fn chapter(&self) -> Chapter<'_> {
        Chapter {
            conversation: &self.conversation,
            recording: &self.recording,
            recipe: &self.recipe,
            talk: &self.talk,
        }
    }

    fn srt(&self) -> String {
        String::from_utf8(render::srt(self.chapter())).unwrap()
    }

    fn vtt(&self) -> String {
        String::from_utf8(render::vtt(self.chapter())).unwrap()
    }
}

fn segment(id: u32, speaker: u16, start: f64, end: f64, text: &str) -> Segment {
    let count = text.split_whitespace().count() as f64;
    let word = |(at, word): (usize, &str)| Word {
        word: word.to_owned(),
        start: start + (end - start) * at as f64 / count,
        end: start + (end - start) * (at + 1) as f64 / count,
        probability: None,
        speaker: Some(SpeakerId(speaker)),
        interpolated: true,
    };
    Segment {
        id,
        start,
        end,
        text: text.to_owned(),
        speaker: Some(SpeakerId(speaker)),
        avg_logprob: None,
        no_speech_prob: None,
        confidence: None,
        flags: Vec::new(),
        words: text.split_whitespace().enumerate().map(word).collect(),
    }
}

fn talk(segments: Vec<Segment>, names: &[Option<&str>]) -> Talk {
    let ids = (0..u16::try_from(names.len()).unwrap()).map(SpeakerId);
    let of = |id: SpeakerId| segments.iter().filter(move |it| it.speaker == Some(id));
    let speakers = ids.zip(names).map(|(id, name)| Speaker {
        id,
        label: id.label(),
        name: name.map(str::to_owned),
        talk_seconds: of(id).map(|it| it.end - it.start).sum(),
        turns: u32::try_from(of(id).count()).unwrap(),
    });
    let speakers = speakers.collect();
    let turns = segments
        .iter()
        .map(|it| Turn { speaker: it.speaker, start: it.start, end: it.end })
        .collect();
    let duration = segments.iter().map(|it| it.end).fold(0.0, f64::max) + 1.0;
    let language = Some("en".to_owned());
    Talk { language, duration, segments, turns, speakers, warnings: Vec::new() }
}

fn meeting() -> Told {
    let mut segments = vec![
        segment(0, 0, 4.2, 7.9, "Good morning. Shall we start with the release?"),
        segment(1, 0, 8.4, 11.0, "I'll send the notes by Friday."),
        segment(2, 1, 12.1, 12.6, "Yes."),
        segment(
            3,
            1,
            12.9,
            24.0,
            "The build failed twice, the first time because the disk of the \
            old machine was full, and then because nobody had told the new one where its tests are.",
        ),
        segment(4, 2, 38.5, 40.0, "Really? <script> & co --> none"),
    ];
    segments[4].flags.push(Flag::Overlap);
    let mut talk = talk(segments, &[Some("Anna"), None, Some("Dr. <b>\u{1b}[1mÜmit")]);
    talk.warnings.push(Warning {
        code: "truncated".to_owned(),
        message: "The file ends before its sound does.".to_owned(),
    });
    Told::new(talk)
}

#[test]
fn a_transcript_is_for_people() {
    insta::assert_snapshot!(day_transcript(&[meeting().chapter()]));
}

#[test]
fn a_day_with_two_recordings_has_both_in_one_transcript() {
    let (first, mut second) = (meeting(), Told::new(talk(Vec::new(), &[])));
    second.recording.audio_name = FileName::new("late.wav").unwrap();
    second.recording.recorded_at.time = date(2024, 1, 15).at(0, 0, 0, 0);
    insta::assert_snapshot!(day_transcript(&[first.chapter(), second.chapter()]));
}

#[test]
fn a_transcript_without_a_conversation_has_the_same_body() {
    let told = meeting();
    let plain = render::plain_transcript("meeting.m4a", &told.recipe, &told.talk);
    let day = day_transcript(&[told.chapter()]);
    let body = |text: &str| text.split_once("Note:").unwrap().1.to_owned();
    assert_eq!(body(&plain), body(&day));
}

#[test]
fn subtitles_are_for_players() {
    insta::assert_snapshot!("srt", meeting().srt());
    insta::assert_snapshot!("vtt", meeting().vtt());
}

#[test]
fn json_is_for_programs() {
    let json = String::from_utf8(render::json(meeting().chapter())).unwrap();
    insta::assert_snapshot!(json.lines().take(40).collect::<Vec<_>>().join("\n"));
}

#[test]
fn rttm_is_for_scorers() {
    insta::assert_snapshot!(render::rttm("my meeting.m4a", &meeting().talk));
}

#[test]
fn a_monologue_gets_a_time_every_minute() {
    let sentences: Vec<Segment> = (0..40)
        .map(|n| {
            segment(n, 0, f64::from(n) * 5.0, f64::from(n) * 5.0 + 4.5, "So it goes on and on.")
        })
        .collect();
    let text = day_transcript(&[Told::new(talk(sentences, &[None])).chapter()]);
    let times: Vec<&str> = text.lines().filter(|line| line.starts_with("[00:")).collect();
    assert_eq!(
        times,
        [
            "[00:00:00] Speaker 1",
            "[00:01:00] Speaker 1",
            "[00:02:00] Speaker 1",
            "[00:03:00] Speaker 1"
        ]
    );
}

#[test]
fn scripts_without_blanks_are_broken_between_characters() {
    let mut long = segment(0, 0, 0.0, 12.0, "");
    long.words = "今日はとてもいい天気ですから皆さんと一緒に公園まで歩いて行きたいと思いますがどうでしょうか。"
        .chars()
        .enumerate()
        .map(|(at, c)| Word {
            word: c.to_string(),
            start: at as f64 * 0.25,
            end: (at + 1) as f64 * 0.25,
            probability: None,
            speaker: Some(SpeakerId(0)),
            interpolated: true,
        })
        .collect();
    long.text = long.words.iter().map(|word| word.word.as_str()).collect();
    insta::assert_snapshot!(Told::new(talk(vec![long], &[None])).srt());
}

#[test]
fn a_long_name_stands_within_the_lines_of_its_cue() {
    let said = "We should have a look at what the others have written about this before we go on.";
    let longer = "Somebody with a very long name ".repeat(3);
    let talk = talk(
        vec![segment(0, 0, 0.0, 5.0, said), segment(1, 1, 6.0, 11.0, said)],
        &[Some("Dr. Katharina Müller-Schmidt"), Some(longer.as_str())],
    );
    let srt = Told::new(talk).srt();
    assert!(srt.contains("Dr. Katharina Müller-Schmidt: "), "{srt}");
    let blocks = srt.split("\n\n").filter(|block| !block.trim().is_empty());
    for lines in blocks.flat_map(|block| block.lines().skip(2)) {
        assert!(lines.chars().count() <= 42, "{srt}");
    }
    assert_eq!(cues(&srt).iter().filter(|(_, _, text)| text.contains(':')).count(), 2, "{srt}");
    let words: Vec<String> = cues(&srt).iter().flat_map(|(_, _, text)| words(text)).collect();
    assert!(said.split_whitespace().all(|word| words.iter().any(|it| it == word)), "{srt}");
}

#[test]
fn a_script_without_blanks_and_without_word_times_is_broken_too() {
    let said =
        "今日はとてもいい天気ですから、皆さんと一緒に公園まで歩いて行きたいと思います。".repeat(4);
    let long = Segment { words: Vec::new(), ..segment(0, 0, 0.0, 28.0, &said) };
    let srt = Told::new(talk(vec![long], &[None])).srt();
    let cues = cues(&srt);
    assert!(4 <= cues.len(), "{srt}");
    assert!(cues.iter().all(|(start, end, _)| end - start <= 8_000), "{srt}");
    assert!(27_000 < cues[cues.len() - 1].1, "{srt}");
    let blocks = srt.split("\n\n").filter(|block| !block.trim().is_empty());
    let lines: Vec<&str> = blocks.flat_map(|block| block.lines().skip(2)).collect();
    assert!(lines.iter().all(|line| line.chars().count() <= 21), "{srt}");
    assert_eq!(lines.concat(), said);
}

#[test]
fn metadata_holds_all_that_the_index_knows_and_nothing_that_was_said() {
    let mut told = meeting();
    told.recording.original_name = FileName::new(vec![0xff, b'.', b'm']).unwrap();
    told.recording.overlay.names.insert(SpeakerId(0), "Anna".to_owned());
    let object = |kind| Object {
        key: Key::page(&told.recording.filed_as, told.recording.id.day, b"meeting", kind),
        bytes: 3,
        blake3: "ef".repeat(32),
    };
    told.recording.placement = Placement::Uploading {
        upload_id: Some("a secret of this machine".to_owned()),
        parts: Vec::new(),
        attempts: 0,
        not_before: None,
    };
    let pages = [PageKind::Json, PageKind::Srt].map(|kind| Page {
        kind,
        object: object(kind),
        written_at: None,
    });
    let transcript = DayTranscript {
        conversation: told.conversation.seq,
        day: told.recording.id.day,
        object: object(PageKind::Vtt),
        modified_at: "2024-01-17T08:00:00Z".parse().unwrap(),
        access: None,
    };
    let json =
        render::metadata(told.chapter(), &pages, &transcript, Some("file:///talks/meeting.m4a"));
    let text = String::from_utf8(json.clone()).unwrap();
    assert!(!text.contains("build failed"), "{text}");
    let (conversation, recording, day) = render::from_metadata(&json).unwrap();
    assert_eq!(conversation, told.conversation);
    assert!(!text.contains("a secret of this machine"), "{text}");
    let placement = Placement::Stored;
    let expected = Recording { pages: pages.to_vec(), placement, ..told.recording.clone() };
    assert_eq!(recording, expected);
    let fields: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(fields["recording_url"], "file:///talks/meeting.m4a");
    let id = &told.conversation.id;
    let date = told.recording.id.day.to_string().replace('-', "/");
    let folder = format!("conversations/{id}/{date}");
    assert!(fields["audio_file_path"].as_str().unwrap().starts_with(&folder), "{text}");
    assert_eq!(fields["transcript_file_path"], format!("{folder}/{id}_transcript.txt"));
    // Nobody has looked for any.
    assert!(fields.get("entities").is_none() && fields.get("action_items").is_none());
    assert_eq!(day, transcript);
    for damaged in [&json[..json.len() / 2], b"{}", b"", b"[1]"] {
        assert!(render::from_metadata(damaged).is_err());
        assert!(render::talk_from_json(damaged).is_err());
    }
}

/// The page of a day with these recordings.
fn day_transcript(chapters: &[Chapter<'_>]) -> String {
    let title = chapters.iter().find_map(|it| it.recording.overlay.title.as_deref());
    let title = title.unwrap_or(chapters[0].conversation.id.as_str());
    let mut page = render::DayPage::new(title);
    chapters.iter().for_each(|chapter| page.add(&render::chapter(*chapter)));
    page.into_text()
}

/// Cues of a SubRip page: start and end in milliseconds, and the text.
fn cues(srt: &str) -> Vec<(u64, u64, String)> {
    let time = |text: &str| -> u64 {
        let numbers: Vec<u64> =
            text.trim().split([':', ',']).map(|number| number.parse().unwrap()).collect();
        ((numbers[0] * 60 + numbers[1]) * 60 + numbers[2]) * 1000 + numbers[3]
    };
    let blocks = srt.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks
        .enumerate()
        .map(|(at, block)| {
            let lines: Vec<&str> = block.lines().collect();
            assert_eq!(lines[0], (at + 1).to_string());
            assert!(lines.len() <= 4, "{block}");
            let (start, end) = lines[1].split_once("-->").unwrap();
            (time(start), time(end), lines[2..].join(" "))
        })
        .collect()
}

fn any_talk() -> impl Strategy<Value = Talk> {
    let word = "[a-zA-Zé<&>\n.,-]{1,12}";
    let text = prop::collection::vec(word, 1..40).prop_map(|words| words.join(" "));
    let one = (0_u16..3, 0.0..3.0_f64, 0.1..30.0_f64, text);
    prop::collection::vec(one, 0..12).prop_map(|told| {
        let mut at = 0.0;
        let segments = (0..).zip(told).map(|(id, (speaker, pause, length, text))| {
            // Sometimes somebody begins before the other has ended.
            at += pause - 0.5;
            let start = f64::max(at, 0.0);
            at = start + length;
            segment(id, speaker, start, at, &text)
        });
        talk(segments.collect(), &[Some("Anna"), None, None])
    })
}

proptest! {
    #[test]
    fn a_talk_survives_its_json_page(talk in any_talk()) {
        let told = Told::new(talk);
        let json = render::json(told.chapter());
        let (talk, recipe) = render::talk_from_json(&json).unwrap();
        prop_assert_eq!(&recipe, &told.recipe);
        prop_assert_eq!(talk.segments.len(), told.talk.segments.len());
        // What was rounded once stays as it is.
        let again = Told { talk, ..told };
        prop_assert_eq!(render::json(again.chapter()), json);
    }

    #[test]
    fn cues_follow_one_another_and_lose_no_word(talk in any_talk()) {
        let mut told = Told::new(talk);
        told.talk.speakers.clear();
        let srt = told.srt();
        let cues = cues(&srt);
        prop_assert!(cues.iter().all(|(start, end, _)| start < end));
        prop_assert!(cues.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{}", srt);
        let mut shown: Vec<String> = cues.iter().flat_map(|(_, _, text)| words(text)).collect();
        let mut said: Vec<String> =
            told.talk.segments.iter().flat_map(|it| words(&it.text.replace("-->", "→"))).collect();
        shown.sort();
        said.sort();
        prop_assert_eq!(shown, said);
    }

    #[test]
    fn nothing_in_a_vtt_page_can_be_taken_for_a_tag_or_a_cue(talk in any_talk()) {
        let vtt = Told::new(talk).vtt();
        for line in vtt.lines().filter(|line| !line.contains(" --> ")) {
            let text = line.strip_prefix("<v ").and_then(|it| it.split_once('>')).map_or(line, |it| it.1);
            prop_assert!(!text.contains(['<', '>']), "{}", line);
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
