//! `models`: what is installed, what can be had, and how it gets here.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::cli::arguments::{Models, ModelsAction};
use crate::cli::print::{self, CliError};
use crate::cli::progress;
use crate::cli::settings::Settings;
use crate::daemon::Environment;
use crate::models::{CATALOGUE, DEFAULTS, Library, Network, Purpose};

pub(crate) fn models(args: &Models, environment: &Environment) -> Result<ExitCode, CliError> {
    let config = Settings::with_models(args.models.as_deref()).config(environment)?;
    let library = Library::new(&config.models);
    match &args.action {
        ModelsAction::List { json } => list(&library, *json),
        ModelsAction::Pull { names, from } => pull(&library, names, from.as_deref(), environment),
        ModelsAction::Import { path, name } => {
            let name = library.import(path, name.as_deref())?;
            print::print(format!("{name}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        ModelsAction::Verify { names } => verify(&library, names),
        ModelsAction::Remove { names } => {
            names.iter().try_for_each(|name| library.remove(name))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list(library: &Library, as_json: bool) -> Result<ExitCode, CliError> {
    if as_json {
        print::print_json(&as_value(library))?;
    } else {
        print::print(table(library))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(library: &Library) -> String {
    let installed = library.installed();
    let mut text = format!("{}\n\n", library.dir().display());
    let row = |text: &mut String, mark: &str, name: &str, bytes: u64, about: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{mark} {name:<26} {:>11}  {about}", HumanBytes(bytes).to_string());
    };
    for entry in CATALOGUE {
        let here = installed.iter().find(|model| model.reference.name == entry.name);
        let bytes = here.map_or(entry.bytes(), |model| model.bytes);
        let about = format!("{} · {} · {}", entry.languages, entry.kind.engine(), entry.licence);
        row(&mut text, if here.is_some() { "*" } else { " " }, entry.name, bytes, about);
    }
    let is_own = |name: &str| CATALOGUE.iter().all(|entry| entry.name != name);
    for model in installed.iter().filter(|model| is_own(&model.reference.name)) {
        row(&mut text, "*", &model.reference.name, model.bytes, "imported".to_owned());
    }
    text.push_str("\n* = installed. Install another with `scribefs models pull NAME`.\n");
    text
}

fn as_value(library: &Library) -> Value {
    let installed = library.installed();
    let models = installed.iter().map(|model| {
        let purpose = match model.purpose {
            Purpose::Recognizer => "recognizer",
            Purpose::Diarizer => "diarizer",
        };
        json!({
            "name": model.reference.name,
            "sha256": model.reference.sha256,
            "purpose": purpose,
            "bytes": model.bytes,
            "folder": model.folder,
        })
    });
    let available = CATALOGUE.iter().map(|entry| {
        json!({
            "name": entry.name,
            "engine": entry.kind.engine(),
            "languages": entry.languages,
            "licence": entry.licence,
            "bytes": entry.bytes(),
        })
    });
    json!({ "installed": models.collect::<Vec<_>>(), "available": available.collect::<Vec<_>>() })
}

fn pull(
    library: &Library,
    names: &[String],
    wheel: Option<&Path>,
    environment: &Environment,
) -> Result<ExitCode, CliError> {
    let network = Network {
        hub: environment.variables().get("HF_ENDPOINT").cloned(),
        python: environment.find_program("python3"),
        wheel: wheel.map(|wheel| environment.working_directory().join(wheel)),
    };
    let defaults: Vec<String> = DEFAULTS.iter().map(|&name| name.to_owned()).collect();
    for name in if names.is_empty() { &defaults } else { names } {
        if library.find(name).is_some() {
            print::remark(&format!("{name}: installed"));
            continue;
        }
        let bar = progress::bar(0, "{msg}: {bar:24} {bytes}/{total_bytes} {eta}");
        let pulled = library.pull(name, &network, &mut |what, have, all| {
            bar.set_message(what.to_owned());
            bar.set_length(all);
            bar.set_position(have);
        });
        bar.finish_and_clear();
        pulled?;
        print::remark(&format!("{name}: installed in {}", library.dir().join(name).display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(library: &Library, names: &[String]) -> Result<ExitCode, CliError> {
    // Adopts what was put there by hand, which is compared from then on.
    library.installed();
    let all = library.names();
    let mut code = ExitCode::SUCCESS;
    for name in if names.is_empty() { &all } else { names } {
        let damaged = library.verify(name)?;
        if damaged.is_empty() {
            print::print(format!("{name}: ok\n"))?;
            continue;
        }
        code = ExitCode::FAILURE;
        print::print(format!(
            "{name}: damaged: {}; `scribefs models remove {name}`, then pull it again\n",
            damaged.join(", ")
        ))?;
    }
    Ok(code)
}
