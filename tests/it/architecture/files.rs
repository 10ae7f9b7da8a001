//! Does each file begin with its question, and name other files by whole paths and in no circle?

use super::source::Source;
use super::source::is_word;
use super::source::paths_from;
use super::source::planted;
use super::source::sources;
use super::source::without_comments_and_texts;
use super::source::without_tests;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

#[test]
fn every_file_begins_with_a_comment_about_its_question() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|source| source.path != "main.rs" && !source.text.starts_with("//! "))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn uses_are_one_path_each_from_the_root() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|source| odd_uses(&source.path, &source.code))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns uses of several paths, and relative paths (`super::`, `self::`): the tables see neither.
fn odd_uses(path: &str, code: &str) -> Vec<String> {
    let several = code.match_indices("use ").filter_map(|(start, _)| {
        let before = code[..start].chars().next_back().unwrap_or(' ');
        let used = code[start..].split(';').next().unwrap_or_default();
        (!is_word(before) && used.contains("::{")).then(|| format!("{path}: {used}"))
    });
    let relative = ["super", "self"]
        .into_iter()
        .filter(|word| !paths_from(code, word).is_empty())
        .map(|word| format!("{path}: {word}::"));
    several.chain(relative).collect()
}

#[test]
fn planted_uses_are_found() {
    #[track_caller]
    fn check(code: &str, count: usize) {
        let code = without_tests(&without_comments_and_texts(code));
        assert_eq!(odd_uses("a.rs", &code).len(), count, "{code}");
    }
    check("use std::fmt;\nuse std::io::Write as _;", 0);
    check("use std::{fmt, io};", 1);
    check("use crate::model::{\n    clock::Now,\n};\nfn a() {}", 1);
    check("fn a() { use std::fmt::{self, Write}; }", 1);
    check("use super::Thing;", 1);
    check("pub use self::inner::Thing;", 1);
    check("pub(super) fn a(self: Self) { Self::b() }", 0);
    check("#[cfg(test)]\nmod tests { use super::*; }", 0);
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    let sources = sources();
    let named = named_files(&sources);
    let circles = circles(&named);
    assert!(circles.is_empty(), "{circles:#?}");
}

/// Returns the files that each file names, by the paths in its code. A name that a folder's
/// `mod.rs` re-exports leads to its source file; the re-export itself does not count.
fn named_files(sources: &[Source]) -> BTreeMap<&str, BTreeSet<&str>> {
    let modules: BTreeMap<String, &str> = sources
        .iter()
        .map(|source| (module_path(&source.path), source.path.as_str()))
        .collect();
    let reexports: BTreeMap<String, String> = sources.iter().flat_map(reexports).collect();
    let file_of = |path: &str| {
        let mut path = path.to_owned();
        while let Some(target) = longest(&reexports, &path) {
            path = target;
        }
        let mut end = path.len();
        loop {
            if let Some(file) = modules.get(&path[..end]) {
                return Some(*file);
            }
            end = path[..end].rfind("::")?;
        }
    };
    let named = sources.iter().map(|source| {
        // A visibility such as `pub(in crate::…)` does not count.
        let code = source.code.replace("(in crate", "(in ");
        let files = paths_from(&code, "crate").into_iter().filter_map(file_of);
        (
            source.path.as_str(),
            files.filter(|file| *file != source.path).collect(),
        )
    });
    named.collect()
}

/// Returns a file's module path: `gate/accept/mod.rs` is `gate::accept`.
fn module_path(path: &str) -> String {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    path.strip_suffix("/mod").unwrap_or(path).replace('/', "::")
}

/// Returns the pairs that `pub use child::Name;` makes: `file::Name` and the path it leads to.
fn reexports(source: &Source) -> Vec<(String, String)> {
    let module = module_path(&source.path);
    let uses = source.code.lines().filter_map(|line| {
        let path = line.trim().strip_prefix("pub use ")?.strip_suffix(';')?;
        let (child, name) = (path.split("::").next()?, path.rsplit("::").next()?);
        if child == name {
            // `pub use prepare::prepare;`: the path leads to the file as it is.
            return None;
        }
        let target = match path.strip_prefix("crate::") {
            Some(path) => path.to_owned(),
            None => format!("{module}::{path}"),
        };
        Some((format!("{module}::{name}"), target))
    });
    uses.collect()
}

/// Returns `path` with its longest re-exported beginning replaced; `None` where no beginning is a re-export.
fn longest(reexports: &BTreeMap<String, String>, path: &str) -> Option<String> {
    let mut end = path.len();
    loop {
        if let Some(target) = reexports.get(&path[..end]) {
            return Some(format!("{target}{}", &path[end..]));
        }
        end = path[..end].rfind("::")?;
    }
}

/// Returns the sets of two or more files that reach each other.
fn circles<'s>(named: &BTreeMap<&'s str, BTreeSet<&'s str>>) -> Vec<BTreeSet<&'s str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = named
        .keys()
        .map(|start| {
            let mut reached = BTreeSet::new();
            let mut open = vec![*start];
            while let Some(file) = open.pop() {
                for next in named.get(file).into_iter().flatten() {
                    if reached.insert(*next) {
                        open.push(next);
                    }
                }
            }
            (*start, reached)
        })
        .collect();
    let mut circles: Vec<BTreeSet<&str>> = Vec::new();
    for (file, reached) in &reach {
        let circle: BTreeSet<&str> = reached
            .iter()
            .copied()
            .filter(|other| reach.get(other).is_some_and(|back| back.contains(file)))
            .collect();
        if circle.len() > 1 && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

#[test]
fn planted_circles_are_found() {
    let circles_of = |files: &[(&str, &str)]| -> Vec<Vec<String>> {
        let sources: Vec<Source> = files.iter().map(|(path, code)| planted(path, code)).collect();
        let circles = circles(&named_files(&sources));
        circles
            .iter()
            .map(|circle| circle.iter().map(|file| (*file).to_owned()).collect())
            .collect()
    };
    let two = [
        ("a/b.rs", "use crate::a::c::C;"),
        ("a/c.rs", "fn f() { crate::a::b::f() }"),
    ];
    assert_eq!(circles_of(&two), [["a/b.rs", "a/c.rs"]]);
    // A path to a re-exported name leads to the file that defines the name; the `mod.rs` itself closes no circle.
    let facade = [
        ("a/mod.rs", "pub use b::B;\npub struct A;"),
        ("a/b.rs", "use crate::a::A;"),
        ("c.rs", "use crate::a::B;"),
    ];
    assert_eq!(circles_of(&facade), [[""; 0]; 0]);
    let through = [
        ("a/mod.rs", "pub use b::B;"),
        ("a/b.rs", "use crate::c::C;"),
        ("c.rs", "use crate::a::B;"),
    ];
    assert_eq!(circles_of(&through), [["a/b.rs", "c.rs"]]);
}
