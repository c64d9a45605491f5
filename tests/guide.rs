//! What `STORAGE_GUIDE.md` claims: settings, rights and commands here, what is durable when in `guide/durability.rs`.

mod crash_world;
#[path = "guide/durability.rs"]
mod durability;
mod pieces;
mod power_fs;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use scribefs::config::{Config, KEYS, Layer, Origin, Places, Storage};
use scribefs::store::Provider;
use serde_json::Value;

fn guide() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("STORAGE_GUIDE.md")).unwrap()
}

/// Blocks in that language, each with the heading above it.
fn blocks(language: &str) -> Vec<(String, String)> {
    let guide = guide();
    let (mut heading, mut block, mut blocks) = (String::new(), None, Vec::new());
    for line in guide.lines() {
        match &mut block {
            Some(_) if line == "```" => blocks.extend(block.take().map(|it| (heading.clone(), it))),
            Some(text) => *text = format!("{text}{line}\n"),
            None if line == format!("```{language}") => block = Some(String::new()),
            None if line.starts_with('#') => {
                heading = line.trim_start_matches('#').trim().to_owned()
            }
            None => {}
        }
    }
    blocks
}

fn config(layer: &Layer) -> Config {
    let places = Places {
        home: "/home/me".into(),
        working_directory: "/work".into(),
        state: "/state".into(),
        models: "/models".into(),
        cores: 2,
    };
    Config::new(layer, &places).unwrap()
}

fn from_environment(block: &str) -> Config {
    let variables: BTreeMap<String, String> = block
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    config(&Layer::from_variables(&variables, Origin::Environment).unwrap())
}

#[test]
fn every_setting_is_named_and_can_be_given_in_the_environment() {
    let guide = guide();
    let rows: Vec<&str> = guide.lines().skip_while(|line| *line != "## All settings").collect();
    let row = |head: &str| {
        let head = format!("| {head} | ");
        *rows.iter().find(|row| row.starts_with(&head)).unwrap_or_else(|| panic!("{head}"))
    };
    let given = |name: &str| {
        let variables = [(format!("SCRIBEFS_{}", name.to_uppercase()), "1".to_owned())];
        Layer::from_variables(&variables.into(), Origin::Environment).unwrap()
    };
    for key in KEYS {
        let section = ["s3", "retention"]
            .into_iter()
            .find_map(|section| Some((section, key.strip_prefix(&format!("{section}_"))?)));
        let (head, name) =
            section.map_or(("none".to_owned(), key), |(head, name)| (format!("`[{head}]`"), name));
        assert!(row(&head).contains(&format!("`{name}`")), "{key}");
        assert!(given(key).has(key), "{key}");
        if head == "`[retention]`" {
            assert!(given(name).has(key), "{name}");
        }
    }
}

#[test]
fn each_providers_variables_lead_to_its_bucket() {
    let of_heading = |heading: &str| match heading {
        "AWS" | "Where settings come from" => Provider::Aws,
        "MinIO" => Provider::Minio,
        "Cloudflare R2" => Provider::R2,
        "Wasabi" => Provider::Wasabi,
        "Garage" => Provider::Garage,
        "Backblaze B2" => Provider::B2,
        other => panic!("which provider is {other}?"),
    };
    let blocks = blocks("env");
    assert!(6 < blocks.len());
    for (heading, block) in blocks {
        let config = from_environment(&block);
        let bucket = config.bucket.unwrap();
        assert_eq!((bucket.bucket.as_str(), config.storage), ("talks", Storage::S3), "{heading}");
        assert_eq!(bucket.provider, of_heading(&heading), "{heading}");
    }
}

#[test]
fn file_and_environment_say_the_same() {
    let (_, file) = &blocks("toml")[0];
    let (_, environment) = &blocks("env")[0];
    let file = config(&Layer::from_toml(file, Path::new("scribefs.toml")).unwrap());
    assert_eq!(format!("{file:?}"), format!("{:?}", from_environment(environment)));
}

#[test]
fn the_policy_has_the_rights_that_are_used_and_no_others() {
    let (_, policy) = blocks("json").into_iter().find(|it| it.0 == "Permissions").unwrap();
    let policy: Value = serde_json::from_str(&policy).unwrap();
    let mut rights = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        assert_eq!(statement["Effect"], "Allow");
        for action in statement["Action"].as_array().unwrap() {
            let action = action.as_str().unwrap().to_owned();
            let is_of_objects = statement["Resource"].as_str().unwrap().ends_with("/*");
            assert_eq!(is_of_objects, action != "s3:ListBucket", "{action}");
            rights.insert(action);
        }
    }
    let used = ["AbortMultipartUpload", "DeleteObject", "GetObject", "ListBucket", "PutObject"];
    assert_eq!(rights, used.map(|name| format!("s3:{name}")).into());
}

#[test]
fn every_policy_and_lifecycle_is_json() {
    let blocks = blocks("json");
    assert_eq!(blocks.len(), 3);
    for (heading, block) in &blocks {
        let parsed = serde_json::from_str::<Value>(block);
        assert!(parsed.is_ok(), "{heading}: {parsed:?}");
    }
    assert!(blocks[2].1.contains("AbortIncompleteMultipartUpload"));
}

#[test]
fn every_command_that_the_guide_names_is_there() {
    let guide = guide();
    let codes =
        ["`scribefs ", "\n    scribefs "].into_iter().flat_map(|it| guide.split(it).skip(1));
    let words = codes.map(|rest| {
        rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>()
    });
    let named: BTreeSet<String> = words.collect();
    let help = Command::new(env!("CARGO_BIN_EXE_scribefs")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split("  ").next())
        .filter(|word| !word.is_empty())
        .collect();
    assert!(10 < named.len());
    for command in named {
        assert!(commands.contains(command.as_str()), "{command}");
    }
}
