//! Models come whole or not at all: from a wheel, from a server, from a file.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use scribefs::models::{CATALOGUE, Library, ModelsError, Network, Source};
use tempfile::TempDir;

fn library() -> (TempDir, Library) {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::new(&dir.path().join("models"));
    (dir, library)
}

/// A wheel of moonshine-voice, where its place is named.
fn wheel(test: &str) -> Option<PathBuf> {
    let wheel = std::env::var_os("SCRIBEFS_WHEEL").map(PathBuf::from).filter(|it| it.is_file());
    if wheel.is_none() {
        eprintln!("skipped: {test}: no wheel of moonshine-voice is named by SCRIBEFS_WHEEL");
    }
    wheel
}

#[test]
fn a_model_with_a_cut_file_is_among_those_that_are_verified() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("mine");
    std::fs::create_dir(&folder).unwrap();
    for name in ["encoder_model.ort", "decoder_model_merged.ort", "tokens.txt"] {
        std::fs::write(folder.join(name), name.repeat(10)).unwrap();
    }
    let verify = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_scribefs"));
        command.args(["models", "verify", "--models"]).arg(dir.path()).current_dir(dir.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(verify(), (Some(0), "mine: ok\n".to_owned()));
    std::fs::write(folder.join("encoder_model.ort"), "cut").unwrap();
    let (code, said) = verify();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("mine: damaged: encoder_model.ort;"), "{said}");
}

#[test]
fn a_wheel_gives_recognizer_and_diarizer_byte_for_byte() {
    let name = "a_wheel_gives_recognizer_and_diarizer_byte_for_byte";
    let Some(wheel) = wheel(name) else { return };
    let (_dir, library) = library();
    let network = Network { wheel: Some(wheel), ..Network::default() };
    for name in ["moonshine-tiny-en", "pyannote-community-1"] {
        library.pull(name, &network, &mut |_, _, _| {}).unwrap();
        assert!(library.find(name).is_some());
        assert_eq!(library.verify(name).unwrap(), Vec::<String>::new());
    }
    let sums = [
        (
            "moonshine-tiny-en/tokens.txt",
            "8e62ce303ecf4532cd96477e3619f08b3cc2f06ec4d6f735c4cd2606bdebd7d4",
        ),
        (
            "moonshine-tiny-en/encoder_model.ort",
            "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
        ),
        (
            "pyannote-community-1/segmentation.onnx",
            "263780871029388ea127d6f03c970a3bfc114564e1f6f1f05a79819a5d7cd9cd",
        ),
        (
            "pyannote-community-1/embedding_trunk_int8.onnx",
            "851e86d57c46b673df4911dfc068385621b6afc9949a019541e8ad95ef813c73",
        ),
        (
            "pyannote-community-1/embedding_head.safetensors",
            "9c7ad32fb8a456701168fa4093841cc13dd1504c836cd1e1e594f6f61a4f7691",
        ),
        (
            "pyannote-community-1/plda.safetensors",
            "5b5c54d717fc1cf42ec35357e5998a910766c5a79d3c9b7f27bd3c259eec80e6",
        ),
    ];
    for (file, sha256) in sums {
        use sha2::Digest;
        let bytes = fs::read(library.dir().join(file)).unwrap();
        let found: String =
            sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, sha256, "{file}");
    }
}

#[test]
fn another_file_in_the_wheels_place_is_refused() {
    let (dir, library) = library();
    let wheel = dir.path().join("moonshine.whl");
    fs::write(&wheel, "something else").unwrap();
    let network = Network { wheel: Some(wheel), ..Network::default() };
    let err = library.pull("moonshine-tiny-en", &network, &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(err, ModelsError::WrongHash { .. }), "{err}");
    assert_eq!(library.installed(), []);
}

/// How a server misbehaves.
#[derive(Clone, Copy)]
enum Server {
    /// Hangs up after so many bytes of each answer.
    HangsUpAfter(usize),
    IgnoresRanges,
    ShowsAPage,
}

/// Serves `content` under every path. Answers each request on a connection of its own; notes ranges.
fn serve(content: Vec<u8>, manner: Server) -> (String, Arc<Mutex<Vec<usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let noted = ranges.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            answer(stream, &content, manner, &noted);
        }
    });
    (url, ranges)
}

fn answer(mut stream: TcpStream, content: &[u8], manner: Server, ranges: &Mutex<Vec<usize>>) {
    let mut start = 0;
    for line in BufReader::new(&stream).lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse().unwrap();
        }
    }
    ranges.lock().unwrap().push(start);
    let (status, kind, start) = match manner {
        Server::ShowsAPage => ("200 OK", "text/html", 0),
        Server::IgnoresRanges => ("200 OK", "application/octet-stream", 0),
        Server::HangsUpAfter(_) if start == 0 => ("200 OK", "application/octet-stream", 0),
        Server::HangsUpAfter(_) => ("206 Partial Content", "application/octet-stream", start),
    };
    let body = &content[start..];
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let sent = match manner {
        Server::HangsUpAfter(bytes) => &body[..body.len().min(bytes)],
        _ => body,
    };
    // The other side may have had enough.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
}

/// The smallest file of the catalogue by itself is a whole model to nobody, so pulls end in its hash; what is
/// looked at is how the bytes came.
fn pull_from(url: &str) -> (TempDir, Library, ModelsError) {
    let (dir, library) = library();
    let network = Network { hub: Some(url.to_owned()), ..Network::default() };
    let err = library.pull("whisper-tiny", &network, &mut |_, _, _| {}).unwrap_err();
    assert_eq!(library.installed(), []);
    (dir, library, err)
}

fn size_of_whisper_tiny() -> usize {
    let entry = CATALOGUE.iter().find(|entry| entry.name == "whisper-tiny").unwrap();
    let Source::Files([file]) = entry.source else { panic!("one file") };
    usize::try_from(file.bytes).unwrap()
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let third = size_of_whisper_tiny() / 3 + 1;
    let (url, ranges) = serve(vec![7; size_of_whisper_tiny()], Server::HangsUpAfter(third));
    let (_dir, _, err) = pull_from(&url);
    assert_eq!(*ranges.lock().unwrap(), [0, third, 2 * third]);
    // All bytes came, and they are not the model's.
    assert!(matches!(err, ModelsError::WrongHash { .. }), "{err}");
}

#[test]
fn a_server_that_knows_no_ranges_begins_anew() {
    let (url, ranges) = serve(vec![7; size_of_whisper_tiny()], Server::IgnoresRanges);
    let (_dir, library, _) = pull_from(&url);
    let partial = library.dir().join(".partial");
    let half = partial.join("ggerganov_whisper.cpp_resolve_main_ggml-tiny.bin");
    assert!(!half.exists(), "what is wrong must not be gone on with");
    fs::write(half, b"half").unwrap();
    let network = Network { hub: Some(url), ..Network::default() };
    let err = library.pull("whisper-tiny", &network, &mut |_, _, _| {}).unwrap_err();
    assert_eq!(*ranges.lock().unwrap(), [0, 4]);
    assert!(matches!(err, ModelsError::WrongHash { .. }), "{err}");
}

#[test]
fn a_web_page_is_never_taken_for_a_model() {
    let (url, _) = serve(b"<html>log in</html>".to_vec(), Server::ShowsAPage);
    let (_dir, _, err) = pull_from(&url);
    assert!(err.to_string().contains("web page"), "{err}");
}

#[test]
fn a_file_can_be_imported_verified_and_removed() {
    let (dir, library) = library();
    let file = dir.path().join("my-own.bin");
    fs::write(&file, b"lmgg and weights").unwrap();
    assert_eq!(library.import(&file, None).unwrap(), "my-own");
    assert!(matches!(library.import(&file, None), Err(ModelsError::Exists { .. })));
    assert_eq!(library.installed()[0].reference.name, "my-own");
    assert_eq!(library.verify("my-own").unwrap(), Vec::<String>::new());
    let weights = library.dir().join("my-own/ggml-my-own.bin");
    fs::write(&weights, b"lmgg and wEights").unwrap();
    assert_eq!(library.verify("my-own").unwrap(), ["ggml-my-own.bin"]);
    library.remove("my-own").unwrap();
    assert_eq!(library.installed(), []);
    assert!(library.remove("../models").is_err());
    assert!(library.import(Path::new("/nonexistent"), None).is_err());
    let other = dir.path().join("other.bin");
    fs::write(&other, b"no weights").unwrap();
    assert!(matches!(library.import(&other, None), Err(ModelsError::NoModel { .. })));
}
