//! Fuzz targets for all that parses files, built by `make fuzz` with libFuzzer. The
//! variable [`TARGET`] picks one: a program for each would link LLVM as many times.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

use crate::doors::programs;
use crate::dtlto::LinkJobs;
use crate::kbuild::fuzz as kbuild;
use crate::runs::keep;
use crate::runs::page::Report;

#[path = "options.rs"]
mod options;
#[path = "response.rs"]
mod response;

/// The variable of the environment that names the target.
const TARGET: &str = "BACKLTO_FUZZ";

/// What reads an input, by the name of its directory in `fuzz/corpus`.
static READ: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var(TARGET).expect("BACKLTO_FUZZ names a target");
    match &*name {
        "archive" => |data| kbuild::members(written("x.a", data), "x.a"),
        "assembly" => backlto::fuzz::assembly,
        "block-list" => backlto::fuzz::block_list,
        "cache" => backlto::fuzz::cache,
        "cmd" => |data| kbuild::cmd(written(".x.o.cmd", data)),
        "jobs" => |data| {
            let _ = LinkJobs::read(&written("jobs.json", data).join("jobs.json"), false);
        },
        "lists" => |data| kbuild::lists(&String::from_utf8_lossy(data)),
        "plan" => |data| {
            let _ = programs::read(&written("plan.json", data).join("plan.json"));
        },
        "record" => |data| backlto::fuzz::record(&written("record", data).join("record")),
        "response" => |data| {
            let file = written("words", data).join("words");
            let words = response::expand(&[format!("@{}", file.display()).into()]);
            let _ = options::carry(&words);
        },
        "run" => |data| {
            if let Ok(run) = keep::read(&written("run", data).join("run")) {
                let _ = Report::of(run.clone(), Some(&run)).json();
            }
        },
        "worker-pipe" => backlto::fuzz::worker_pipe,
        _ => panic!("{TARGET} names no target: {name}"),
    }
});

/// The directory of this process's inputs.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = std::env::temp_dir().join(format!("backlto-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a directory");
    place
});

/// Writes `data` to `name`, and gives the directory that it is in.
fn written(name: &str, data: &[u8]) -> &'static Path {
    let path = PLACE.join(name);
    let directory = path.parent().expect("a file is in a directory");
    std::fs::create_dir_all(directory).expect("a directory");
    std::fs::write(path, data).expect("an input can be written");
    &PLACE
}

fuzz_target!(|data: &[u8]| READ(data));
