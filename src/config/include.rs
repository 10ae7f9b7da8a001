//! Which files do the globs of `include` match, and how is a configuration file read? A [`ReadLog`] receives each file.

use crate::config::read::FromText;
use crate::config::tree::TOO_MANY_BYTES;
use glob::MatchOptions;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

/// One entry of `include`: a path, relative to the folder of the main file. `*` and
/// `?` match characters within one name, `[ab]` matches one of these characters.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct Glob(String);

impl FromText for Glob {
    const DESCRIPTION: &'static str = "a path or glob such as `routes.d/*.yaml`";
    const PATTERN: &'static str = "[^\\n]+";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(['\0', '\n']) {
            return Err(format!("not {}", Self::DESCRIPTION));
        }
        if text.contains("**") {
            return Err("`**` is not known here\nname each folder: `routes.d/*.yaml`, `routes.d/*/*.yaml`".to_owned());
        }
        match glob::Pattern::new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("not {}: {}", Self::DESCRIPTION, error.msg)),
        }
    }
}

impl Glob {
    /// Returns the pattern for the file system. Wildcards in `folder` are escaped: `folder` is a path, not a pattern.
    pub(in crate::config) fn resolve(&self, folder: &Path) -> String {
        let folder = glob::Pattern::escape(&folder.to_string_lossy());
        match folder.as_str() {
            _ if self.0.starts_with('/') => self.0.clone(),
            "" => self.0.clone(),
            folder => format!("{}/{}", folder.trim_end_matches('/'), self.0),
        }
    }

    pub(in crate::config) fn as_str(&self) -> &str {
        &self.0
    }

    pub(in crate::config) fn has_wildcard(&self) -> bool {
        self.0.contains(['*', '?', '['])
    }
}

/// The globs of a configuration, so that its watcher notices files that come or go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Includes(Vec<String>);

impl Includes {
    pub(in crate::config) fn resolve<'g>(folder: &Path, globs: impl Iterator<Item = &'g Glob>) -> Self {
        Self(globs.map(|glob| glob.resolve(folder)).collect())
    }

    /// Returns the files that match now, in the order in which `load` reads them.
    pub fn files(&self) -> Vec<PathBuf> {
        let found = self.0.iter().flat_map(|glob| matches(glob).unwrap_or_default());
        found.filter(|path| !path.is_dir()).collect()
    }
}

/// Receives each file that is read while a configuration is loaded.
pub trait ReadLog {
    /// Receives the files that `includes` matches, before they are read. Not called without `include`.
    fn included(&mut self, includes: &Includes, files: &[PathBuf]);

    /// Receives the path of a secret's file, before it is read.
    fn secret_file(&mut self, path: &Path);

    /// Receives `content`, which was read from `path` and may be a secret.
    fn read(&mut self, path: &Path, content: &[u8]);
}

/// A log that drops everything, for callers that load once.
pub(in crate::config) struct NoLog;

impl ReadLog for NoLog {
    fn included(&mut self, _: &Includes, _: &[PathBuf]) {}

    fn secret_file(&mut self, _: &Path) {}

    fn read(&mut self, _: &Path, _: &[u8]) {}
}

/// Returns the paths that match `glob`, sorted.
///
/// # Errors
/// A folder cannot be read.
pub(in crate::config) fn matches(glob: &str) -> Result<Vec<PathBuf>, String> {
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        // Editors keep drafts and locks in hidden files.
        require_literal_leading_dot: true,
    };
    let found = glob::glob_with(glob, options).map_err(|error| error.msg.to_owned())?;
    let mut paths = found
        .collect::<Result<Vec<PathBuf>, _>>()
        .map_err(|error| format!("{} cannot be looked into: {}", error.path().display(), error.error()))?;
    paths.sort();
    Ok(paths)
}

/// Returns the text of a configuration file of at most `bytes_max` bytes.
///
/// # Errors
/// The code and the description of a problem with the whole file.
pub(in crate::config) fn read_text(
    path: &Path,
    bytes_max: u64,
    log: &mut dyn ReadLog,
) -> Result<String, (&'static str, String)> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes))
        .map_err(|source| ("unreadable-file", format!("cannot be read: {source}")))?;
    log.read(path, &bytes);
    text(bytes, bytes_max)
}

/// Returns the text of a configuration file of at most `bytes_max` bytes.
///
/// # Errors
/// Those of [`read_text`].
pub(in crate::config) fn text(bytes: Vec<u8>, bytes_max: u64) -> Result<String, (&'static str, String)> {
    if bytes.len() as u64 > bytes_max {
        return Err(("file-too-big", TOO_MANY_BYTES.to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| ("not-utf8", "not UTF-8 text".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mistake::MAIN_FILE_ONLY;

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
        assert_eq!(matches(&glob.resolve(&odd)).unwrap(), [odd.join("b.yaml")]);
    }

    #[test]
    fn drafts_of_editors_are_not_matched_and_the_rest_is_sorted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yaml", ".#a.yaml", ".a.yaml", "a.yaml~", "A.YAML"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("c.yaml")).unwrap();
        let includes = Includes(vec![Glob::from_text("*.yaml").unwrap().resolve(folder.path())]);
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
