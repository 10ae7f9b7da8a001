//! How many instructions in user space does a request take in the whole proxy? Valgrind counts them; the machine's
//! other load hardly changes the count.

use crate::compare::CONNECTIONS;
use crate::load::Load;
use crate::process;
use crate::process::ProcessLauncher;
use crate::proxies::Proxy;
use crate::proxies::RunningProxy;
use crate::rows::BenchInputs;
use crate::rows::Row;
use crate::rows::Size;
use crate::table::Table;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

/// The number of requests between two counts. The count includes the background work of other threads, some 35 000
/// instructions a second in Keygate. Under valgrind that is less than 0.2 %.
const REQUESTS: usize = 2_048;
/// The number of requests before the first count. Afterwards caches and lists have their final size, and each request
/// that is sent in turn was sent once.
const WARM_UP: usize = 1_024;
const SIZE: Size = Size {
    keys: 10_000,
    in_turn: 1_000,
    new_tokens: WARM_UP + REQUESTS,
};
/// The time that valgrind may take to write a count.
const PATIENCE: Duration = Duration::from_secs(20);

/// Prints the counts of the rows whose names contain `filter`, and of bare pingora as reference.
pub fn measure(filter: &str) {
    let Some(folder) = callgrind_folder() else {
        return;
    };
    let load = Load::start();
    let material = BenchInputs::new(SIZE);
    let rows = material.rows(filter);
    let mut table = Table::new(&["", "instructions", "ratio"]);
    let mut bare = None;
    for proxy in Proxy::ALL {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.proxy == proxy).collect();
        if rows.is_empty() || proxy == Proxy::Direct {
            continue;
        }
        let files = folder.join(format!("{proxy:?}"));
        let running = match RunningProxy::start(
            proxy,
            &ProcessLauncher::Callgrind(files.clone()),
            load.upstream(),
            &material,
        ) {
            Ok(running) => running,
            Err(why) => {
                println!("{why}\n");
                continue;
            }
        };
        let process = running.process().expect("all but `Direct` are processes");
        let mut counter = Counter::new(process.id(), &files);
        for row in rows {
            let count = count(&load, running.address(row.checks), row, &mut counter);
            let bare = *bare.get_or_insert(count);
            // Show progress, because the bench takes minutes.
            eprintln!("{}: {count:.0}", row.name);
            table.row(row.name, &[format!("{count:.0}"), format!("{:.2}", count / bare)]);
        }
    }
    table.print();
    println!(
        "\nUser-space instructions per request of the whole proxy process, over {REQUESTS} requests on {CONNECTIONS} \
         connections, counted by valgrind; {} different ones where keys, tokens or routes come in turn; ratio to the first row.\n\
         What they were spent on: callgrind_annotate on the files in {}",
        SIZE.in_turn,
        folder.display()
    );
}

/// Returns an empty folder for the profiles; `None` without valgrind, after a line that says so.
pub fn callgrind_folder() -> Option<PathBuf> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("Instructions are counted by valgrind, which is not there: apt-get install valgrind.");
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("callgrind");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the build's own folder takes files");
    Some(folder)
}

fn count(load: &Load, address: SocketAddr, row: &Row, counter: &mut Counter) -> f64 {
    let mut session = load.session(address, CONNECTIONS);
    session.warm_up(&row.exchange, WARM_UP);
    counter.take(None);
    session.run(&row.exchange, REQUESTS);
    counter.take(Some(row.name)) as f64 / REQUESTS as f64
}

/// Reads the instruction count of a process under callgrind. Callgrind writes a file on request and then counts from
/// zero again.
pub struct Counter {
    process: u32,
    files: PathBuf,
    taken: usize,
}

impl Counter {
    pub fn new(process: u32, files: &Path) -> Self {
        Self {
            process,
            files: files.to_owned(),
            taken: 0,
        }
    }

    /// Returns the instructions since the last call and keeps the profile under `name`.
    pub fn take(&mut self, name: Option<&str>) -> u64 {
        self.taken += 1;
        let status = Command::new("callgrind_control")
            .args(["--dump", &self.process.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("valgrind brings callgrind_control");
        assert!(status.success(), "callgrind_control: {status}");
        let file = PathBuf::from(format!("{}.{}", self.files.display(), self.taken));
        let begun = Instant::now();
        let count = loop {
            // Callgrind writes `totals:` last: the file is complete when the line is there.
            let text = fs::read_to_string(&file).unwrap_or_default();
            let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
            if let Some(count) = total.and_then(|total| total.trim().parse().ok()) {
                break count;
            }
            assert!(begun.elapsed() < PATIENCE, "no count in {}", file.display());
            process::pause();
        };
        match name {
            Some(name) => fs::rename(&file, file.with_file_name(name.replace(['/', ' '], "-"))),
            None => fs::remove_file(&file),
        }
        .expect("the build's own folder takes files");
        count
    }
}
