//! Do names and comments follow the style guide? The tests search the text of the sources.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Words that are too vague for the name of a type: most are participles, and useless in a search or a backtrace.
const NO_NAMES: &[&str] = &[
    "Accepted",
    "Answered",
    "Asked",
    "Broken",
    "Caused",
    "Certified",
    "Connected",
    "Decided",
    "Documented",
    "Done",
    "Down",
    "Fetched",
    "Fetching",
    "Found",
    "Gone",
    "Good",
    "Held",
    "Holding",
    "Included",
    "Joined",
    "Kept",
    "Known",
    "Late",
    "Listing",
    "Loaded",
    "Lost",
    "Made",
    "Meant",
    "Measured",
    "Meddled",
    "Moved",
    "Named",
    "Nothing",
    "Own",
    "Parsed",
    "Placed",
    "Presented",
    "Published",
    "Put",
    "Ran",
    "Reached",
    "Read",
    "Refreshed",
    "Remembered",
    "Retired",
    "Running",
    "Said",
    "Says",
    "Seen",
    "Sent",
    "Shaped",
    "Shared",
    "Showed",
    "Shown",
    "Signed",
    "Skipped",
    "Spending",
    "Spent",
    "Stopping",
    "Taken",
    "Told",
    "Tried",
    "Trusted",
    "Unhashed",
    "Up",
    "Waiting",
    "Wanted",
    "Watched",
    "Weighed",
    "What",
    "Whole",
    "Written",
];

/// Words that stand for a thing in place of its name.
const PRONOUNS: &[&str] = &["what", "who", "whose", "whoever"];

/// Words that may not begin a doc comment, which begins with a verb or a noun.
const NO_BEGINNINGS: &[&str] = &["What", "Who", "Whose", "Whether", "Which", "Whatever"];

/// The share of comment lines that may hold one of [`PRONOUNS`], in percent.
const PRONOUN_PERCENT_MAX: usize = 5;

/// Derives and attributes that turn doc comments into texts for users: schema, description of the admin API, `--help`.
const TEXTS: &[&str] = &[
    "JsonSchema",
    "ToSchema",
    "IntoParams",
    "utoipa::path",
    "Args",
    "Parser",
    "Subcommand",
    "ValueEnum",
];

struct Source {
    path: PathBuf,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches"].map(|folder| root.join(folder)).into();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("clients") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source { path, text });
            }
        }
    }
    assert!(sources.len() > 300, "{}", sources.len());
    sources
}

/// Returns the names of the types that `text` defines, each with the number of its line.
fn type_names(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim_start();
        let line = match line.strip_prefix("pub") {
            Some(rest) => rest.trim_start_matches(|sign: char| sign != ' ').trim_start(),
            None => line,
        };
        let (keyword, rest) = line.split_once(' ')?;
        let name = rest.split(|sign: char| !sign.is_alphanumeric()).next()?;
        let is_definition = matches!(keyword, "struct" | "enum" | "trait" | "type" | "union");
        (is_definition && name.starts_with(char::is_uppercase)).then_some((index + 1, name))
    })
}

/// Returns the text of a line that is a comment, and whether it is a doc comment (`///`).
fn comment(line: &str) -> Option<(&str, bool)> {
    let rest = line.trim_start().strip_prefix("//")?;
    match rest.strip_prefix('/') {
        Some(doc) => Some((doc.trim(), true)),
        None => Some((rest.trim_start_matches('!').trim(), false)),
    }
}

/// Returns for each line of `text` whether the line belongs to an item with one of [`TEXTS`].
fn text_lines(text: &str) -> Vec<bool> {
    let lines: Vec<&str> = text.lines().collect();
    let mut marks = vec![false; lines.len()];
    for (index, line) in lines.iter().enumerate() {
        let line = line.trim_start();
        if !(line.starts_with("#[") && TEXTS.iter().any(|name| line.contains(name))) {
            continue;
        }
        let is_above = |line: &&str| line.trim_start().starts_with("///") || line.trim_start().starts_with("#[");
        let above = lines[..index].iter().rev().take_while(|line| is_above(line)).count();
        let indent = lines[index].len() - line.len();
        // An item ends with the first line that closes at its own depth, or with `;` there.
        let length = lines[index..].iter().position(|line| {
            let depth = line.len() - line.trim_start().len();
            depth == indent && (line.trim_end() == format!("{:indent$}}}", "") || line.trim_end().ends_with([';', '}']))
        });
        let end = index + length.unwrap_or(0);
        marks[index - above..=end].fill(true);
    }
    marks
}

fn begins_with_a_pronoun(doc: &str) -> bool {
    let word = doc
        .split(|sign: char| !sign.is_alphanumeric())
        .next()
        .unwrap_or_default();
    NO_BEGINNINGS.contains(&word)
}

fn holds_a_pronoun(comment: &str) -> bool {
    let words = comment.split(|sign: char| !sign.is_alphanumeric());
    words
        .into_iter()
        .any(|word| PRONOUNS.contains(&word.to_ascii_lowercase().as_str()))
}

#[test]
fn no_type_has_a_name_on_the_list_of_vague_words() {
    let mut wrong = Vec::new();
    for source in sources() {
        let names = type_names(&source.text).filter(|(_, name)| NO_NAMES.contains(name));
        wrong.extend(names.map(|(line, name)| format!("{}:{line}: {name}", source.path.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_doc_comment_begins_with_a_question_word() {
    let mut wrong = Vec::new();
    for source in sources() {
        let marks = text_lines(&source.text);
        let mut follows_doc = false;
        for (index, line) in source.text.lines().enumerate() {
            let doc = comment(line).filter(|(_, is_doc)| *is_doc);
            if let Some((doc, _)) = doc
                && !follows_doc
                && !marks[index]
                && begins_with_a_pronoun(doc)
            {
                wrong.push(format!("{}:{}: {doc}", source.path.display(), index + 1));
            }
            follows_doc = doc.is_some();
        }
    }
    assert!(wrong.is_empty(), "{} of them: {wrong:#?}", wrong.len());
}

#[test]
fn at_most_5_percent_of_comment_lines_hold_a_pronoun_of_the_list() {
    let (mut all, mut vague) = (0, Vec::new());
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if let Some((comment, _)) = comment(line) {
                all += 1;
                if holds_a_pronoun(comment) {
                    vague.push(format!("{}:{}: {comment}", source.path.display(), index + 1));
                }
            }
        }
    }
    let most = all * PRONOUN_PERCENT_MAX / 100;
    assert!(
        vague.len() <= most,
        "{} of {all} lines, at most {most}: {vague:#?}",
        vague.len()
    );
}

/// `if` names its condition beside each branch; `true =>` does not.
#[test]
fn a_bool_is_asked_with_if() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            let code = line.trim_start();
            if ["true =>", "false =>", "true if ", "false if "]
                .iter()
                .any(|arm| code.starts_with(arm))
            {
                wrong.push(format!("{}:{}: {code}", source.path.display(), index + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn planted_words_are_caught() {
    let names: Vec<_> =
        type_names("pub(crate) struct Asked<'a> {\nenum Told;\n    type Kept = u8;\nstruct GateClient;").collect();
    assert_eq!(names, [(1, "Asked"), (2, "Told"), (3, "Kept"), (4, "GateClient")]);
    assert_eq!(comment("    /// What it is."), Some(("What it is.", true)));
    assert_eq!(comment("//! What is it?"), Some(("What is it?", false)));
    assert_eq!(comment("let a = 1; // not this"), None);
    assert!(begins_with_a_pronoun("Whether it holds.") && !begins_with_a_pronoun("Whatsoever"));
    assert!(holds_a_pronoun("whoever asked") && !holds_a_pronoun("somewhat"));
    let text = "/// What\n#[derive(JsonSchema)]\nstruct A {\n    /// Who\n    a: u8,\n}\n/// Whose\nstruct B;\n";
    assert_eq!(text_lines(text), [true, true, true, true, true, true, false, false]);
}
