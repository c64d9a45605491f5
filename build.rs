//! Tells the linker where the finished program looks for sherpa-onnx and its ONNX Runtime.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SHERPA_ONNX_LIB_DIR");
    if env::var_os("CARGO_FEATURE_SHERPA").is_none() {
        return;
    }
    // Beside the program, then where packages put them; programs of tests lie one folder deeper.
    for place in ["$ORIGIN", "$ORIGIN/../lib/scribefs", "$ORIGIN/.."] {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{place}");
    }
    // Last, where this build found them: so that `cargo install --path .` works too.
    if let Some(dir) = env::var_os("SHERPA_ONNX_LIB_DIR").map(PathBuf::from)
        && let Ok(dir) = dir.canonicalize()
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", dir.display());
    }
}
