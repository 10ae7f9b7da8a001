//! What does `keygate check` find out about a configuration?

use crate::cli::args::Check;
use crate::compare;
use crate::compare::FallThrough;
use crate::compare::Side;
use crate::compare::Weakening;
use crate::config;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::ConfigWarning;
use crate::config::MainFile;
use crate::config::ReferencedFiles;
use crate::config::error::Place;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::clock::Timestamp;
use crate::runtime::config_files;
use crate::runtime::config_files::LoadError;
use crate::runtime::descriptors;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

/// The name of a configuration that is read from stdin, in errors.
const STDIN: &str = "<stdin>";

/// More than a configuration may have, so that a longer text is reported as too big and not cut off.
const STDIN_BYTES_MAX: u64 = 2 << 20;

/// Everything that is found out about a configuration.
pub struct Findings {
    pub name: PathBuf,
    pub config: Result<Config, LoadError>,
    /// Of the configuration, then of this machine and of the arguments.
    pub warnings: Vec<ConfigWarning>,
    /// With `--allow-unset`: the parts that were not checked, because their variables are not set.
    pub unchecked: Vec<ConfigWarning>,
    /// With `--diff`.
    pub diff: Option<Diff>,
    /// The time of the check.
    pub now: Timestamp,
}

/// The comparison with the old configuration.
pub struct Diff {
    pub old: PathBuf,
    /// An error is that of `old`.
    pub weakenings: Result<Vec<Weakening>, LoadError>,
}

/// A main file that was named on the command line.
struct Source<'a> {
    path: &'a Path,
    /// The content of stdin, for `-`.
    stdin: Option<Vec<u8>>,
}

impl<'a> Source<'a> {
    fn new(path: &'a Path, stdin: &mut dyn Read) -> io::Result<Self> {
        if path != Path::new("-") {
            return Ok(Self { path, stdin: None });
        }
        let mut bytes = Vec::new();
        stdin.take(STDIN_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Self {
            path: Path::new(STDIN),
            stdin: Some(bytes),
        })
    }

    fn main(&self) -> MainFile<'_> {
        match &self.stdin {
            Some(bytes) => MainFile::Read { name: self.path, bytes },
            None => MainFile::Path(self.path),
        }
    }
}

/// Loads the configuration of `args` as `keygate run` would, and compares it with the old one.
///
/// # Errors
/// Why there is nothing to load: both configurations are stdin, or stdin cannot be read.
pub fn find(args: &Check, stdin: &mut dyn Read) -> Result<Findings, String> {
    let is_stdin = |path: &Path| path == Path::new("-");
    if is_stdin(&args.file) && args.diff.as_deref().is_some_and(is_stdin) {
        return Err("`-` stands for stdin twice: only one of the two configurations can come from there".to_owned());
    }
    let unreadable = |error: io::Error| format!("cannot read stdin: {error}");
    let new = Source::new(&args.file, stdin).map_err(unreadable)?;
    let old = args.diff.as_deref().map(|old| Source::new(old, stdin));
    let old = old.transpose().map_err(unreadable)?;
    let loaded = if args.allow_unset {
        config_files::load_with_unset(new.main())
    } else {
        config_files::load(new.main()).map(|loaded| (loaded, Vec::new()))
    };
    let (config, unset) = match loaded {
        Ok((loaded, unset)) => (Ok(loaded.config), unset),
        Err(error) => (Err(error), Vec::new()),
    };
    let mut warnings = Vec::new();
    let mut diff = None;
    if let Ok(config) = &config {
        warnings.clone_from(&config.warnings);
        // As `keygate run` does.
        descriptors::raise_limit();
        warnings.extend(descriptor_warning(
            new.path,
            config.requests.connections_max,
            descriptors::limit(),
        ));
        warnings.extend(fall_through_warnings(&new));
        if let Some(old) = old {
            warnings.extend(self_comparison_warning(&old, &new));
            diff = Some(Diff {
                old: old.path.to_owned(),
                weakenings: find_weakenings(&old, &new),
            });
        }
    }
    Ok(Findings {
        name: new.path.to_owned(),
        config,
        warnings,
        unchecked: unset.into_iter().map(unchecked).collect(),
        diff,
        now: SystemClock::new().now().wall,
    })
}

/// Returns the warning about a part that was not checked because its variable is not set.
fn unchecked(unset: ConfigError) -> ConfigWarning {
    ConfigWarning(ConfigError {
        problem: format!("{}, so this was not checked", unset.problem),
        hint: None,
        ..unset
    })
}

/// Returns a warning about the configuration `file` as a whole, or about its key `path`.
fn warning(file: &Path, path: &str, code: &'static str, problem: String, hint: &str) -> ConfigWarning {
    ConfigWarning(ConfigError {
        code,
        file: file.to_owned(),
        place: None,
        path: path.to_owned(),
        problem,
        hint: Some(hint.to_owned()),
    })
}

/// Returns a warning where `old` and `new` are one file: nothing in it can be weaker than in itself.
fn self_comparison_warning(old: &Source<'_>, new: &Source<'_>) -> Option<ConfigWarning> {
    let identity = |source: &Source<'_>| {
        let metadata = std::fs::metadata(source.path).ok().filter(|_| source.stdin.is_none())?;
        Some((metadata.dev(), metadata.ino()))
    };
    let is_same = identity(old).is_some_and(|old| Some(old) == identity(new));
    is_same.then(|| {
        warning(
            old.path,
            "",
            "compared-with-itself",
            "--diff compares this file with itself".to_owned(),
            "name the file as it was before, such as `git show HEAD:keygate.yaml | keygate check keygate.yaml --diff -`",
        )
    })
}

/// Returns a warning where `limit`, the file descriptors of a program that starts here, is not enough for `connections`.
fn descriptor_warning(file: &Path, connections: usize, limit: Option<u64>) -> Option<ConfigWarning> {
    let needed = descriptors::needed_for(connections);
    // As at the start, a shortfall of a few is not worth a word.
    let limit = limit.filter(|limit| descriptors::is_clearly_less(*limit, needed))?;
    Some(warning(
        file,
        "requests.connections",
        "few-descriptors",
        format!(
            "{connections} connections may need {needed} file descriptors, and a program that starts here may have {limit}"
        ),
        "raise the limit (`ulimit -n`, `LimitNOFILE=` in a systemd unit), or allow fewer connections; with too few, fewer \
         are served",
    ))
}

/// Returns a warning for each route that gets requests which miss a more specific route, and that requires less. None for a
/// configuration whose variables are not set: its parts were not checked.
fn fall_through_warnings(source: &Source<'_>) -> Vec<ConfigWarning> {
    let Ok((config, origins)) = config::load_with_lines(source.main(), ReferencedFiles::MayBeMissing) else {
        return Vec::new();
    };
    let side = Side {
        config: &config,
        origins: &origins,
        folder: source.path.parent().unwrap_or(Path::new("")),
    };
    let found = compare::find_fall_throughs(side).into_iter();
    found.map(fall_through_warning).collect()
}

fn fall_through_warning(found: FallThrough) -> ConfigWarning {
    /// The more specific routes that are named.
    const NAMED_MAX: usize = 5;
    let mut names: Vec<String> = found
        .from
        .iter()
        .take(NAMED_MAX)
        .map(|name| format!("`{name}`"))
        .collect();
    if found.from.len() > NAMED_MAX {
        names.push(format!("{} more", found.from.len() - NAMED_MAX));
    }
    ConfigWarning(ConfigError {
        code: "falls-through",
        file: found.place.file,
        place: Some(Place {
            line: found.place.line,
            column: 1,
        }),
        path: format!("routes.{}.match", found.to),
        problem: format!(
            "requests that miss the methods or conditions of {} come here, where less is required ({})",
            names.join(", "),
            found.difference
        ),
        hint: Some(
            "clients choose methods, headers and query: require as much here, or give what needs protection a path of its own"
                .to_owned(),
        ),
    })
}

fn find_weakenings(old: &Source<'_>, new: &Source<'_>) -> Result<Vec<Weakening>, LoadError> {
    let load = |source: &Source<'_>, files| config::load_with_lines(source.main(), files).map_err(LoadError::Config);
    let (before, before_origins) = load(old, ReferencedFiles::MayBeMissing)?;
    let (now, now_origins) = load(new, ReferencedFiles::MustExist)?;
    let none = Path::new("");
    let before = Side {
        config: &before,
        origins: &before_origins,
        folder: old.path.parent().unwrap_or(none),
    };
    let now = Side {
        config: &now,
        origins: &now_origins,
        folder: new.path.parent().unwrap_or(none),
    };
    Ok(compare::find_weakenings(before, now)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_are_said_with_the_cure() {
        let warning =
            |limit| descriptor_warning(Path::new("a.yaml"), 10_000, Some(limit)).map(|warning| warning.to_string());
        let text = warning(1_024).unwrap();
        assert!(
            text.starts_with("a.yaml: requests.connections: warning: 10000 connections"),
            "{text}"
        );
        for part in ["20224", "1024", "LimitNOFILE"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(warning(20_000), None);
        assert_eq!(descriptor_warning(Path::new("a.yaml"), 10_000, None), None);
    }
}
