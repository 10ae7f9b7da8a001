//! What is the code of each source file, without comments, quoted text and tests?

use super::modules::modules_named;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// One source file: its text, and its code without comments, quoted text and tests.
pub struct Source {
    /// The path below `src`, with `/`.
    pub path: String,
    pub text: String,
    pub code: String,
}

pub fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                // Leaves out the store's migrations, which are SQL.
                files.push(path);
            }
        }
    }
    files.sort();
    let read: Vec<Source> = files
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let path: Vec<&str> = file
                .strip_prefix(&src)
                .unwrap()
                .iter()
                .map(|part| part.to_str().unwrap())
                .collect();
            Source {
                path: path.join("/"),
                code: without_comments_and_texts(&text),
                text,
            }
        })
        .collect();
    let tests: BTreeSet<PathBuf> = read
        .iter()
        .flat_map(|source| test_files(&source.path, &source.code))
        .collect();
    let production = read
        .into_iter()
        .filter(|source| !tests.contains(Path::new(&source.path)))
        .map(|source| Source {
            code: without_tests(&source.code),
            ..source
        });
    production.collect()
}

/// Returns the file `path` with `code`, for tests of the checks themselves.
pub fn planted(path: &str, code: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: String::new(),
        code: without_tests(&without_comments_and_texts(code)),
    }
}

/// Returns every `::`-separated path in `code` that starts with `first`, without `first`.
pub fn paths_from<'c>(code: &'c str, first: &str) -> Vec<&'c str> {
    let found = code.match_indices(first).filter_map(|(start, _)| {
        let before = code[..start].chars().next_back().unwrap_or(' ');
        let rest = &code[start + first.len()..];
        let follows = rest.strip_prefix("::")?;
        (!is_word(before) && before != ':' && before != '$').then_some(follows)
    });
    found
        .map(|rest| &rest[..rest.find(|char| !is_word(char) && char != ':').unwrap_or(rest.len())])
        .collect()
}

pub fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// Returns `text` with comments and quoted text replaced by spaces; line ends stay.
pub fn without_comments_and_texts(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut index = 0;
    while index < chars.len() {
        let end = match (at(index), at(index + 1)) {
            ('/', '/') => end_of_line(&chars, index),
            ('/', '*') => end_of_block_comment(&chars, index),
            ('r', '"' | '#') if !is_word(previous(&chars, index)) || previous(&chars, index) == 'b' => {
                end_of_raw_text(&chars, index)
            }
            ('"', _) => end_of_text(&chars, index),
            // A character, not a lifetime.
            ('\'', '\\') => end_of_character(&chars, index),
            ('\'', _) if at(index + 2) == '\'' => index + 3,
            _ => {
                out.push(at(index));
                index += 1;
                continue;
            }
        };
        out.extend(
            chars[index..end]
                .iter()
                .map(|char| if *char == '\n' { '\n' } else { ' ' }),
        );
        index = end;
    }
    out
}

fn previous(chars: &[char], index: usize) -> char {
    index.checked_sub(1).map_or('\0', |before| chars[before])
}

fn end_of_line(chars: &[char], start: usize) -> usize {
    chars[start..]
        .iter()
        .position(|char| *char == '\n')
        .map_or(chars.len(), |length| start + length)
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut index = start;
    while index < chars.len() {
        match chars[index..] {
            ['/', '*', ..] => depth += 1,
            ['*', '/', ..] => depth -= 1,
            _ => {
                index += 1;
                continue;
            }
        }
        index += 2;
        if depth == 0 {
            return index;
        }
    }
    chars.len()
}

fn end_of_text(chars: &[char], start: usize) -> usize {
    let mut index = start + 1;
    while index < chars.len() {
        match chars[index] {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    chars.len()
}

/// Returns the end of the raw text that starts with the `r` at `start`; `start + 1` for an identifier such as `r#type`.
fn end_of_raw_text(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|char| **char == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return start + 1;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let length = chars[open + 1..]
        .windows(closing.len())
        .position(|window| window == closing);
    length.map_or(chars.len(), |length| open + 1 + length + closing.len())
}

fn end_of_character(chars: &[char], start: usize) -> usize {
    // The character after the backslash may be a quote itself.
    let rest = chars[start + 3..].iter().position(|char| *char == '\'');
    rest.map_or(chars.len(), |length| start + 3 + length + 1)
}

const TEST_ONLY: &str = "#[cfg(test)]";

/// Returns the end of the item that starts at `start`: the end of its block, or its semicolon.
fn end_of_item(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (index, char) in code[start..].char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth <= 1 => return start + index + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return start + index + 1,
            _ => {}
        }
    }
    code.len()
}

fn test_items(code: &str) -> Vec<(usize, usize)> {
    let starts = code.match_indices(TEST_ONLY).map(|(start, _)| start);
    starts
        .map(|start| (start, end_of_item(code, start + TEST_ONLY.len())))
        .collect()
}

pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    for (start, end) in test_items(code).into_iter().rev() {
        out.replace_range(start..end, "");
    }
    out
}

/// Returns the files of the modules that `code`, the code of the file `path`, declares for tests only.
fn test_files(path: &str, code: &str) -> Vec<PathBuf> {
    let path = Path::new(path);
    let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") => path.parent().unwrap().to_owned(),
        _ => path.with_extension(""),
    };
    let modules = test_items(code).into_iter().filter_map(|(start, end)| {
        let name = code[start..end].split("mod ").nth(1)?.strip_suffix(';')?;
        Some(folder.join(format!("{name}.rs")))
    });
    modules.collect()
}

#[test]
fn the_sources_are_found_and_tests_are_left_out() {
    let sources = sources();
    let has = |path: &str| sources.iter().any(|source| source.path == path);
    assert!(sources.len() > 90, "{}", sources.len());
    assert!(has("main.rs") && has("gate/decide.rs") && has("proxy/head.rs"));
    assert!(!has("proxy/head/tests.rs") && !has("fetch/fake_issuer.rs"));
    for source in &sources {
        assert!(!source.code.contains("#[test]"), "{}", source.path);
    }
}

#[test]
fn comments_texts_and_tests_name_nothing() {
    let code = |text: &str| without_tests(&without_comments_and_texts(text));
    for text in [
        "// crate::gate::decide",
        "/* crate::gate::decide /* nested */ crate::gate::decide */",
        "let a = \"crate::gate::decide \\\" crate::gate::decide\";",
        "let a = r#\"crate::gate::decide \" crate::gate::decide\"#;",
        "let a = br\"crate::gate::decide\";",
        "#[cfg(test)]\nuse crate::gate::decide;",
        "#[cfg(test)]\nmod tests { fn a() { crate::gate::decide::decide(); } }",
    ] {
        assert_eq!(modules_named(&code(text)), BTreeSet::new(), "{text}");
        let after = format!("{text}\nuse crate::model::clock::Now;");
        assert_eq!(
            modules_named(&code(&after)),
            BTreeSet::from(["model".to_owned()]),
            "{after}"
        );
    }
    // A lifetime and a quoted quote do not open a text.
    for text in [
        "fn a<'a>(b: &'a str)",
        "let a = '\"';",
        "let a = '\\'';",
        "let a = b'\"';",
        "let r#type = 1;",
    ] {
        let after = format!("{text}\nuse crate::model::clock::Now;\n// \"");
        assert_eq!(
            modules_named(&code(&after)),
            BTreeSet::from(["model".to_owned()]),
            "{after}"
        );
    }
}
