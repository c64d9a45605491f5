//! Which file imports which, read from their text, and the circles among them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Code of files by their path below `src`, without comments.
type Files = BTreeMap<PathBuf, String>;

/// Files that import each other, directly or by way of others: one line for each circle, their paths in order.
///
/// A front page (`room.rs`) that re-exports an item does not import it, and whoever imports the item from there
/// imports the file that has it.
pub(crate) fn circles(files: &Files) -> Vec<String> {
    let imports: BTreeMap<&Path, BTreeSet<PathBuf>> =
        files.iter().map(|(path, code)| (path.as_path(), imports_of(files, path, code))).collect();
    let reach: BTreeMap<&Path, BTreeSet<PathBuf>> =
        imports.keys().map(|path| (*path, reachable(&imports, path))).collect();
    let mut found = BTreeSet::new();
    for (path, reached) in &reach {
        let circle: Vec<&Path> = reached
            .iter()
            .map(PathBuf::as_path)
            .filter(|other| reach.get(other).is_some_and(|back| back.contains(*path)))
            .collect();
        if 1 < circle.len() {
            let names: Vec<String> = circle.iter().map(|path| path.display().to_string()).collect();
            found.insert(names.join(" "));
        }
    }
    found.into_iter().collect()
}

/// All that is imported by `from`, by what that imports, and so on.
fn reachable(imports: &BTreeMap<&Path, BTreeSet<PathBuf>>, from: &Path) -> BTreeSet<PathBuf> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![from.to_owned()];
    while let Some(next) = ahead.pop() {
        for import in imports.get(next.as_path()).into_iter().flatten() {
            if reached.insert(import.clone()) {
                ahead.push(import.clone());
            }
        }
    }
    reached
}

fn imports_of(files: &Files, path: &Path, code: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for named in paths_named_in(&without_re_exports(code)) {
        found.extend(file_of(files, &named));
    }
    // A front page calls its parts by their name alone.
    let folder = path.with_extension("");
    let calls = without_uses(code);
    for part in parts_of(code) {
        if is_called(&calls, &part) {
            found.insert(folder.join(format!("{part}.rs")));
        }
    }
    found.remove(path);
    found.retain(|path| files.contains_key(path));
    found
}

/// Every path behind `crate::`, with the groups of `use` taken apart.
fn paths_named_in(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        take_apart(&code[at + "crate::".len()..], &Vec::new(), &mut found);
    }
    found
}

/// Reads one tree of paths and returns what is behind it.
fn take_apart<'a>(text: &'a str, before: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches([',', ' ', '\n']);
            if rest.is_empty() || rest.starts_with('}') {
                return rest.get(1..).unwrap_or("");
            }
            let behind = take_apart(rest, before, found);
            if behind.len() == rest.len() {
                return "";
            }
            rest = behind;
        }
    }
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let rest = &text[name.len()..];
    let mut path = before.to_vec();
    if name != "self" && !name.is_empty() {
        path.push(name);
    }
    match rest.strip_prefix("::") {
        Some(deeper) => take_apart(deeper, &path, found),
        None => {
            found.push(path);
            // `as` gives it a name that matters to nobody here.
            let renamed = rest.trim_start().strip_prefix("as ");
            renamed.map_or(rest, |rest| {
                rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
            })
        }
    }
}

/// The file that has what is named: a part of the path, or where a front page takes the item from.
fn file_of(files: &Files, named: &[String]) -> Option<PathBuf> {
    let mut file = PathBuf::new();
    for (depth, name) in named.iter().enumerate() {
        let next = PathBuf::from_iter(&named[..=depth]).with_extension("rs");
        if files.contains_key(&next) {
            file = next;
            continue;
        }
        let mut from = re_exported(files.get(&file)?, &named[..depth], name);
        return match from.pop() {
            Some(item) if from.as_slice() != &named[..depth] => {
                from.push(item);
                file_of(files, &from)
            }
            _ => Some(file),
        };
    }
    Some(file)
}

/// The whole path from which the front page of `room` re-exports `item`; empty where it is its own.
fn re_exported(code: &str, room: &[String], item: &str) -> Vec<String> {
    for (at, _) in code.match_indices("pub use ").chain(code.match_indices("pub(crate) use ")) {
        let Some((_, tree)) = code[at..].split_once("use ") else { continue };
        let mut found = Vec::new();
        take_apart(tree, &[], &mut found);
        let Some(path) = found.into_iter().find(|path| path.last().is_some_and(|it| it == item))
        else {
            continue;
        };
        return match path.first().is_some_and(|first| first == "crate") {
            true => path[1..].to_vec(),
            false => room.iter().cloned().chain(path).collect(),
        };
    }
    Vec::new()
}

fn parts_of(code: &str) -> Vec<String> {
    let after = code.split("mod ").skip(1);
    let names = after.filter_map(|rest| rest.split_once(';').map(|(name, _)| name.to_owned()));
    names
        .filter(|name| {
            name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .collect()
}

fn without_re_exports(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("pub use ") {
        kept.push_str(before);
        rest = after.split_once(';').map_or("", |(_, rest)| rest);
    }
    kept + rest
}

fn without_uses(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("use ") {
        kept.push_str(before);
        rest = after.split_once(';').map_or("", |(_, rest)| rest);
    }
    kept + rest
}

fn is_called(code: &str, part: &str) -> bool {
    code.match_indices(&format!("{part}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}
