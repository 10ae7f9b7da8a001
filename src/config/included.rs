//! Which further files make up a configuration? The matches of `include`, read into the same tree.

use crate::config::check::Checker;
use crate::config::error::MISSING_FILE;
use crate::config::include::Glob;
use crate::config::include::Includes;
use crate::config::include::matches;
use crate::config::include::read_text;
use crate::config::issuer;
use crate::config::limit;
use crate::config::mistake::read;
use crate::config::read::NamedEntries;
use crate::config::read::OneOrMany;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::route_section;
use crate::config::tree::NodeId;
use crate::config::tree::printable;
use crate::config::upstream;
use crate::model::names::Name;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// With more files, a glob probably matches too much.
const FILES_MAX: usize = 1000;

/// A part of a configuration of Keygate, in a file that the main file names in `include`.
///
/// Names hold over all files: a route here may use an upstream of the main file, and no two files may define one name.
/// Paths of files are relative to the folder of this one. Everything else belongs in the main file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Keygate configuration, an included file")]
pub(in crate::config) struct Section {
    /// Whose tokens are trusted, by a name of your choice.
    pub issuers: Option<NamedEntries<Name, issuer::Section>>,
    /// Limits that routes refer to, by a name of your choice.
    pub limits: Option<NamedEntries<Name, limit::Section>>,
    /// Where requests go, by a name of your choice.
    pub upstreams: Option<NamedEntries<Name, upstream::Section>>,
    /// Which requests, what they must carry, where they go.
    pub routes: Option<Vec<TypedNode<route_section::Section>>>,
}

/// Reads every file that matches an entry of `written`, into the tree. Returns their sections.
pub(in crate::config) fn read_all(written: Option<OneOrMany<Text<Glob>>>, checker: &mut Checker<'_>) -> Vec<Section> {
    let Some(OneOrMany(globs)) = written else {
        return Vec::new();
    };
    let main = checker.tree.files()[0].clone();
    let folder = main.parent().unwrap_or(Path::new(""));
    let includes = Includes::resolve(folder, globs.iter().map(Text::get));
    checker.log.included(&includes, &includes.files());
    let mut found = FileSet::new(&main);
    for glob in &globs {
        found.add_matches(glob, folder, checker);
    }
    if checker
        .errors
        .iter()
        .any(|error| error.file == main && error.path.starts_with("include"))
    {
        checker.tree.mark_incomplete();
    }
    let roots: Vec<NodeId> = found.files.into_iter().filter_map(|path| root(path, checker)).collect();
    let sections: Vec<Section> = roots.into_iter().filter_map(|root| read(root, checker)).collect();
    for section in ["issuers", "limits", "upstreams"] {
        checker.refuse_duplicate_names(section);
    }
    sections
}

/// The files found so far.
struct FileSet {
    files: Vec<PathBuf>,
    /// Device and inode of each file and of the main file: one file may have two names.
    identities: HashSet<(u64, u64)>,
    main: Option<(u64, u64)>,
}

impl FileSet {
    fn new(main: &Path) -> Self {
        let main = std::fs::metadata(main).ok().map(|metadata| identity(&metadata));
        Self {
            files: Vec::new(),
            identities: main.into_iter().collect(),
            main,
        }
    }

    fn add_matches(&mut self, glob: &Text<Glob>, folder: &Path, checker: &mut Checker<'_>) {
        let pattern = glob.get();
        let paths = if pattern.has_wildcard() {
            match matches(&pattern.resolve(folder)) {
                Ok(paths) => paths,
                Err(problem) => return checker.error(glob.at, "unreadable-file", problem),
            }
        } else {
            vec![folder.join(pattern.as_str())]
        };
        for path in paths {
            if self.files.len() >= FILES_MAX {
                let problem = format!("more than {FILES_MAX} files are included");
                let hint = "does a glob match what is no configuration?";
                return checker.error_with(glob.at, "too-many-files", problem, hint);
            }
            self.add(path, glob, checker);
        }
    }

    fn add(&mut self, path: PathBuf, glob: &Text<Glob>, checker: &mut Checker<'_>) {
        let shown = printable(&path.to_string_lossy());
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !glob.get().has_wildcard() => {
                let problem = checker.with_value(glob.at, "there is no such file");
                let hint =
                    "paths are relative to the folder of this file; a glob such as `routes.d/*.yaml` may match nothing";
                return checker.error_with(glob.at, MISSING_FILE, problem, hint);
            }
            // Such as a dangling link or a circle of links.
            Err(error) => {
                return checker.error(glob.at, "unreadable-file", format!("{shown} cannot be read: {error}"));
            }
        };
        if !metadata.is_file() {
            if !glob.get().has_wildcard() {
                let problem = checker.with_value(glob.at, "is not a file");
                let hint = "to include what is in a folder, write `routes.d/*.yaml`";
                checker.error_with(glob.at, MISSING_FILE, problem, hint);
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

/// Reads an included file into the tree. Returns its root; `None` if it was rejected, and reported.
fn root(path: PathBuf, checker: &mut Checker<'_>) -> Option<NodeId> {
    let text = read_text(&path, checker.tree.bytes_left(), checker.log);
    let file = checker.tree.add_file(path);
    match text {
        Ok(text) => checker.tree.parse(&text, file, checker.env, &mut checker.errors),
        Err((code, problem)) => {
            checker.file_error(file, code, problem);
            None
        }
    }
}
