//! The one ONNX Runtime of this process, and networks that run in it.
//!
//! sherpa-onnx is linked against `libonnxruntime.so`, and two copies of that library in one process end in
//! version errors or crashes. So `ort` is given the copy that is already loaded; it is looked for on disk only in
//! builds without sherpa-onnx.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

use crate::speech::SpeechError;

const LIBRARY: &str = "libonnxruntime.so";

/// A network of one input and one output, both f32. All its files are read when it is opened.
#[derive(Debug)]
pub(crate) struct Network {
    session: Session,
}

impl Network {
    /// Loads the `.onnx` graph in `model`; it runs on the caller's thread alone where `threads` is 1.
    pub(crate) fn open(model: &[u8], threads: usize) -> Result<Self, SpeechError> {
        let environment = environment()?;
        let session = (|| -> ort::Result<Session> {
            // Threads that spin while they wait would double the price of every job on a shared machine.
            let builder = Session::builder(&environment)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(threads)?
                .with_inter_threads(1)?;
            builder.with_intra_op_spinning(false)?.commit_from_memory(model)
        })();
        Ok(Self { session: session.map_err(engine)? })
    }

    /// Runs it on `input` and shows the shape and the values of what comes out to `read`.
    pub(crate) fn run<T>(
        &mut self,
        shape: [usize; 3],
        input: &[f32],
        read: impl FnOnce(&[i64], &[f32]) -> T,
    ) -> Result<T, SpeechError> {
        let tensor = TensorRef::from_array_view((shape, input)).map_err(engine)?;
        let outputs = self.session.run(ort::inputs![tensor]).map_err(engine)?;
        let (shape, values) = outputs[0].try_extract_tensor::<f32>().map_err(engine)?;
        Ok(read(shape, values))
    }
}

fn engine<Part>(err: ort::Error<Part>) -> SpeechError {
    SpeechError::Engine(err.to_string())
}

/// The environment, made on first use and kept for good: `ort` allows one for each process.
fn environment() -> Result<Environment, SpeechError> {
    /// Guards the making: two threads that ask at once must get the same one.
    static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);
    let mut kept = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = kept.as_ref() {
        return Ok(environment.clone());
    }
    let path = library()?;
    let builder = ort::init_from(&path).map_err(|err| SpeechError::Engine(err.to_string()))?;
    let environment =
        builder.with_name("scribefs").with_telemetry(false).build().map_err(engine)?;
    environment.set_log_level(LogLevel::Error);
    *kept = Some(environment.clone());
    Ok(environment)
}

/// Where the library is: as loaded, else beside the program, else where the build found it.
fn library() -> Result<PathBuf, SpeechError> {
    if let Some(path) = loaded_library() {
        return Ok(path);
    }
    let program = std::env::current_exe().unwrap_or_default();
    let beside = program.parent().unwrap_or(Path::new("/"));
    let places = [
        beside.to_owned(),
        beside.join("../lib/scribefs"),
        // Test programs lie one folder below the libraries.
        beside.join(".."),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("native/lib"),
    ];
    let mut files = places.iter().map(|place| place.join(LIBRARY));
    files.find(|file| file.is_file()).ok_or_else(|| {
        let places = places.each_ref().map(|place| format!("`{}`", place.display())).join(", ");
        SpeechError::Engine(format!(
            "`{LIBRARY}` is in none of {places}: run `scripts/setup`, or put it beside the program"
        ))
    })
}

/// The path under which the dynamic linker has the library. Opening that name again opens no file, so
/// it works in a confined process as well.
fn loaded_library() -> Option<PathBuf> {
    let mut found: Option<PathBuf> = None;
    // SAFETY: `note_library` only reads what the linker shows it during the call, and `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(note_library), (&raw mut found).cast()) };
    found
}

/// Called once for each loaded object; anything but 0 ends the walk.
unsafe extern "C" fn note_library(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    found: *mut c_void,
) -> c_int {
    // SAFETY: the linker passes a valid object.
    let name: *const c_char = unsafe { (*object).dlpi_name };
    if name.is_null() {
        return 0;
    }
    // SAFETY: the name of a loaded object ends in NUL and stays while the object is loaded.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()));
    let file = path.file_name().unwrap_or_default().as_bytes();
    // As installed by a distribution it may carry a version behind.
    if !file.starts_with(LIBRARY.as_bytes()) {
        return 0;
    }
    // SAFETY: `loaded_library` passes its own `Option<PathBuf>` and nobody else has it meanwhile.
    unsafe { *found.cast::<Option<PathBuf>>() = Some(path.to_owned()) };
    1
}
