//! Which further files make up a configuration? Those that the globs of `include` match, read into the same tree.

use crate::config::check::Checker;
use crate::config::check::ReadLog;
use crate::config::issuer;
use crate::config::limit;
use crate::config::read::At;
use crate::config::read::Named;
use crate::config::read::OneOrMany;
use crate::config::read::Text;
use crate::config::read::read;
use crate::config::route;
use crate::config::text::FromText;
use crate::config::tree::NodeId;
use crate::config::tree::TOO_MANY_BYTES;
use crate::config::tree::printable;
use crate::config::upstream;
use crate::model::names::Name;
use glob::MatchOptions;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::HashSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// More is a glob that matches what it should not.
const FILES_MAX: usize = 1000;

/// A part of a configuration of Keygate, in a file that the main file names in `include`.
///
/// Names hold over all files: a route here may use an upstream of the main file, and no two files may define one name.
/// Paths of files are relative to the folder of this one. Everything else belongs in the main file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Keygate configuration, an included file")]
pub(in crate::config) struct Mirror {
    /// Whose tokens are trusted, by a name of your choice.
    pub issuers: Option<Named<Name, issuer::Mirror>>,
    /// Limits that routes refer to, by a name of your choice.
    pub limits: Option<Named<Name, limit::Mirror>>,
    /// Where requests go, by a name of your choice.
    pub upstreams: Option<Named<Name, upstream::Mirror>>,
    /// Which requests, what they must carry, where they go.
    pub routes: Option<Vec<At<route::Mirror>>>,
}

/// What only the main file says: there is one of each, and who looks for it looks there.
pub(in crate::config) const MAIN_FILE_ONLY: [&str; 16] = [
    "include",
    "listeners",
    "admin",
    "log",
    "requests",
    "state_dir",
    "trusted_proxies",
    "api_keys",
    "failed_authentication",
    "rate_limit_headers",
    "defaults",
    "resources",
    "identity_token",
    "store",
    "token_endpoint",
    "plans",
];

/// One entry of `include`: a path, relative to the folder of the main file, in which `*` and `?` stand for characters of
/// one name and `[ab]` for one of these.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct Glob(String);

impl FromText for Glob {
    const WHAT: &'static str = "a path or glob such as `routes.d/*.yaml`";
    const PATTERN: &'static str = "[^\\n]+";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(['\0', '\n']) {
            return Err(format!("not {}", Self::WHAT));
        }
        if text.contains("**") {
            return Err("`**` is not known here\nname each folder: `routes.d/*.yaml`, `routes.d/*/*.yaml`".to_owned());
        }
        match glob::Pattern::new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("not {}: {}", Self::WHAT, error.msg)),
        }
    }
}

impl Glob {
    /// The glob as the file system is asked; the folder is one name, whatever characters are in it.
    fn below(&self, folder: &Path) -> String {
        let folder = glob::Pattern::escape(&folder.to_string_lossy());
        match folder.as_str() {
            _ if self.0.starts_with('/') => self.0.clone(),
            "" => self.0.clone(),
            folder => format!("{}/{}", folder.trim_end_matches('/'), self.0),
        }
    }

    fn has_wildcard(&self) -> bool {
        self.0.contains(['*', '?', '['])
    }
}

/// What a configuration includes, so that whoever watches it sees a file that comes or goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Includes(Vec<String>);

impl Includes {
    /// The files that are matched now, in the order in which they are read.
    pub fn files(&self) -> Vec<PathBuf> {
        let found = self.0.iter().flat_map(|glob| matches(glob).unwrap_or_default());
        found.filter(|path| !path.is_dir()).collect()
    }
}

/// What `glob` matches, sorted.
///
/// # Errors
/// That a folder cannot be looked into.
fn matches(glob: &str) -> Result<Vec<PathBuf>, String> {
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        // Editors keep their drafts and locks in such files.
        require_literal_leading_dot: true,
    };
    let found = glob::glob_with(glob, options).map_err(|error| error.msg.to_owned())?;
    let mut paths = found
        .collect::<Result<Vec<PathBuf>, _>>()
        .map_err(|error| format!("{} cannot be looked into: {}", error.path().display(), error.error()))?;
    paths.sort();
    Ok(paths)
}

/// Reads every file that `written` matches.
pub(in crate::config) fn read_all(written: Option<OneOrMany<Text<Glob>>>, checker: &mut Checker<'_>) -> Vec<Mirror> {
    let Some(OneOrMany(globs)) = written else {
        return Vec::new();
    };
    let main = checker.tree.files()[0].clone();
    let folder = main.parent().unwrap_or(Path::new(""));
    let includes = Includes(globs.iter().map(|glob| glob.get().below(folder)).collect());
    checker.log.included(&includes, &includes.files());
    let mut found = Found::new(&main);
    for glob in &globs {
        found.look(glob, folder, checker);
    }
    if checker
        .errors
        .iter()
        .any(|error| error.file == main && error.path.starts_with("include"))
    {
        checker.tree.lacks_a_file();
    }
    let roots: Vec<NodeId> = found.files.into_iter().filter_map(|path| root(path, checker)).collect();
    let mirrors: Vec<Mirror> = roots.into_iter().filter_map(|root| read(root, checker)).collect();
    for section in ["issuers", "limits", "upstreams"] {
        checker.no_name_twice(section);
    }
    mirrors
}

/// Files found so far.
struct Found {
    files: Vec<PathBuf>,
    /// Device and inode of each and of the main file: one file under two names is still one.
    identities: HashSet<(u64, u64)>,
    main: Option<(u64, u64)>,
}

impl Found {
    fn new(main: &Path) -> Self {
        let main = std::fs::metadata(main).ok().map(|metadata| identity(&metadata));
        Self {
            files: Vec::new(),
            identities: main.into_iter().collect(),
            main,
        }
    }

    fn look(&mut self, glob: &Text<Glob>, folder: &Path, checker: &mut Checker<'_>) {
        let pattern = glob.get();
        let paths = match pattern.has_wildcard() {
            true => match matches(&pattern.below(folder)) {
                Ok(paths) => paths,
                Err(problem) => return checker.error(glob.at, "unreadable-file", problem),
            },
            false => vec![folder.join(&pattern.0)],
        };
        for path in paths {
            if self.files.len() >= FILES_MAX {
                let problem = format!("more than {FILES_MAX} files are included");
                let hint = "does a glob match what is no configuration?";
                return checker.error_with(glob.at, "too-many-files", problem, hint);
            }
            self.take(path, glob, checker);
        }
    }

    fn take(&mut self, path: PathBuf, glob: &Text<Glob>, checker: &mut Checker<'_>) {
        let shown = printable(&path.to_string_lossy());
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !glob.get().has_wildcard() => {
                let problem = checker.with_value(glob.at, "there is no such file");
                let hint =
                    "paths are relative to the folder of this file; a glob such as `routes.d/*.yaml` may match nothing";
                return checker.error_with(glob.at, "file-not-found", problem, hint);
            }
            // A link that leads nowhere or in a circle.
            Err(error) => {
                return checker.error(glob.at, "unreadable-file", format!("{shown} cannot be read: {error}"));
            }
        };
        if !metadata.is_file() {
            if !glob.get().has_wildcard() {
                let problem = checker.with_value(glob.at, "is not a file");
                let hint = "to include what is in a folder, write `routes.d/*.yaml`";
                checker.error_with(glob.at, "file-not-found", problem, hint);
            }
            return;
        }
        if self.identities.insert(identity(&metadata)) {
            self.files.push(path);
        } else if self.main == Some(identity(&metadata)) {
            let problem = format!("{shown} is this file itself");
            checker.error_with(
                glob.at,
                "included-twice",
                problem,
                "keep included files in a folder of their own",
            );
        } else {
            let problem = format!("{shown} is included already");
            let hint = "a file is included once: by one glob, under one name";
            checker.error_with(glob.at, "included-twice", problem, hint);
        }
    }
}

fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The root of an included file in the tree.
fn root(path: PathBuf, checker: &mut Checker<'_>) -> Option<NodeId> {
    let text = text(&path, checker.tree.bytes_left(), checker.log);
    let file = checker.tree.add_file(path);
    match text {
        Ok(text) => checker.tree.parse(&text, file, checker.env, &mut checker.errors),
        Err((code, problem)) => {
            checker.file_error(file, code, problem);
            None
        }
    }
}

/// The text of a configuration file of at most `bytes_max`.
///
/// # Errors
/// Code and words of what is wrong with the file as a whole.
pub(in crate::config) fn text(
    path: &Path,
    bytes_max: u64,
    log: &mut dyn ReadLog,
) -> Result<String, (&'static str, String)> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes))
        .map_err(|source| ("unreadable-file", format!("cannot be read: {source}")))?;
    log.read(path, &bytes);
    if bytes.len() as u64 > bytes_max {
        return Err(("file-too-big", TOO_MANY_BYTES.to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| ("not-utf8", "not UTF-8 text".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, good: bool) {
        assert_eq!(Glob::from_text(text).is_ok(), good, "{text:?}");
    }

    #[test]
    fn a_glob_names_files_of_folders_that_it_names() {
        for good in ["a.yaml", "routes.d/*.yaml", "../*/a?.yaml", "/etc/k/[ab].yaml", "*"] {
            check(good, true);
        }
        for bad in ["", "**/a.yaml", "a/**", "a\nb", "a\0", "a[b", "***"] {
            check(bad, false);
        }
    }

    #[test]
    fn the_folder_of_the_main_file_is_no_pattern() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("[a]*");
        std::fs::create_dir(&odd).unwrap();
        std::fs::write(odd.join("b.yaml"), "").unwrap();
        std::fs::create_dir(folder.path().join("ab")).unwrap();
        std::fs::write(folder.path().join("ab/c.yaml"), "").unwrap();
        let glob = Glob::from_text("*.yaml").unwrap();
        assert_eq!(matches(&glob.below(&odd)).unwrap(), [odd.join("b.yaml")]);
    }

    #[test]
    fn drafts_of_editors_are_not_matched_and_the_rest_is_sorted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yaml", ".#a.yaml", ".a.yaml", "a.yaml~", "A.YAML"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("c.yaml")).unwrap();
        let includes = Includes(vec![Glob::from_text("*.yaml").unwrap().below(folder.path())]);
        assert_eq!(
            includes.files(),
            ["a.yaml", "b.yaml"].map(|name| folder.path().join(name))
        );
    }

    #[test]
    fn a_key_is_for_every_file_or_for_the_main_one() {
        let properties = |schema: serde_json::Value| {
            let properties = schema["properties"].as_object().unwrap().keys().cloned();
            properties.collect::<std::collections::BTreeSet<String>>()
        };
        let included = properties(crate::config::included_schema());
        let all = properties(crate::config::schema());
        let main_only = all.difference(&included).cloned().collect::<Vec<_>>();
        let mut listed = MAIN_FILE_ONLY.map(str::to_owned);
        listed.sort();
        assert_eq!(main_only, listed);
        assert!(included.is_subset(&all));
    }
}
