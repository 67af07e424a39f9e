//! Many damaged inputs to one back end each, against clang: a few here, and as many as
//! asked for with `make test-damage COUNT=10000`.
//!
//! Whatever the damage, the compile ends by itself within a minute, in an error
//! that names a file of its own or in the bytes that clang writes. clang 22
//! itself does not keep that promise, so its ends are counted beside ours.

mod common;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::spoil::{
    Dice, Door, FLAGS, MODULES, OLD, PATIENCE, command, errors, flip, output, program, run_for,
};
use common::{BACKLTO, CLANG, Tree, stderr};

/// The files that a compile of `main` reads.
const FILES: [&str; 3] = ["main.o", "main.o.thinlto.bc", "helper.o"];
/// The inputs of an ordinary run of the tests.
const FEW: u64 = 60;
/// How long clang may take: it does hang, a hundred times in ten thousand.
const CLANGS_PATIENCE: Duration = Duration::from_secs(10);

/// Spoils `tree` in a way that `dice` chooses, and says how.
fn spoil(tree: &Tree, dice: &mut Dice) -> String {
    let file = FILES[dice.below(FILES.len())];
    let mut bytes = tree.read(file);
    let how = match dice.below(12) {
        0..=5 => {
            let bit = dice.below(bytes.len() * 8);
            flip(&mut bytes, bit);
            format!("bit {bit} turned over")
        }
        6 | 7 => {
            let bits: Vec<usize> = (0..8).map(|_| dice.below(bytes.len() * 8)).collect();
            bits.iter().for_each(|&bit| flip(&mut bytes, bit));
            format!("bits {bits:?} turned over")
        }
        8 => {
            // None at all is no damage: an empty index is allowed.
            let length = 1 + dice.below(bytes.len() - 1);
            bytes.truncate(length);
            format!("cut to {length} bytes")
        }
        9 => {
            let start = dice.below(bytes.len());
            let end = (start + 1 + dice.below(512)).min(bytes.len());
            bytes[start..end].fill_with(|| dice.roll().to_le_bytes()[0]);
            format!("noise in {start}..{end}")
        }
        10 => {
            // As long as the original, so that only the content tells.
            let other = ["lone.o", "helper.o.thinlto.bc", "main.c"][dice.below(3)];
            bytes = tree.read(other);
            format!("replaced by {other}")
        }
        _ => {
            std::fs::remove_file(tree.file(file)).expect("the file is there");
            return format!("{file} removed");
        }
    };
    tree.write(file, bytes);
    format!("{file}, {how}")
}

/// How clang ended.
fn clang_end(result: Option<&Output>, object: Option<&[u8]>) -> &'static str {
    let Some(result) = result else { return "hangs" };
    match (result.status.code(), object) {
        (None, _) => "dies of a signal",
        (Some(0), Some([])) => "succeeds with an empty object",
        (Some(0), _) => "succeeds with an object",
        // What its driver says when cc1 crashes.
        _ if stderr(result).contains("PLEASE submit a bug report") => "crashes",
        _ if FILES.iter().any(|file| stderr(result).contains(file)) => "fails and names a file",
        _ => "fails and names no file",
    }
}

/// How backlto ended; an error is what it must not do.
fn our_end(
    tree: &Tree,
    result: Option<&Output>,
    clang: Option<&[u8]>,
) -> Result<&'static str, String> {
    let result = result.ok_or("hangs")?;
    let text = stderr(result);
    if let Some(signal) = result.status.signal() {
        return Err(format!("dies of signal {signal}: {text}"));
    }
    let object = tree.read(&output("main"));
    let left = tree.leftovers();
    if !left.is_empty() {
        return Err(format!("leaves {left:?}: {text}"));
    }
    match result.status.code() {
        Some(0) if object.is_empty() => Err("succeeds with an empty object".to_owned()),
        Some(0) if Some(&object[..]) == clang => Ok("succeeds with clang's bytes"),
        Some(0) => Err("succeeds with bytes that are not clang's".to_owned()),
        Some(1) => {
            let names = |error: &String| {
                // A damaged index can ask for an import of any name.
                let here = tree.path().display().to_string();
                error.contains(&here) && MODULES.iter().any(|m| text.contains(&format!("/{m}.o")))
            };
            match &errors(result)[..] {
                _ if object != OLD => Err("fails, and the old object is gone".to_owned()),
                [error] if !names(error) => Err(format!("names no file: {text}")),
                [error] if error.contains("LLVM crashed") => Ok("fails: a crash was contained"),
                [error] if error.contains("LLVM gave up") => Ok("fails: LLVM gave up"),
                [error] if error.contains("failed to compile") => Ok("fails in the back end"),
                [_] => Ok("fails before any work"),
                all => Err(format!("says {} errors: {text}", all.len())),
            }
        }
        code => Err(format!("ends with {code:?}: {text}")),
    }
}

/// Keeps the files of `tree` for whoever looks into it.
fn keep(tree: &Tree, number: u64) -> PathBuf {
    let place: PathBuf = std::env::temp_dir().join("damage").join(number.to_string());
    std::fs::create_dir_all(&place).expect("a directory for reproducers");
    for (name, bytes) in tree.files() {
        std::fs::write(place.join(Path::new(&name)), bytes).expect("a reproducer is written");
    }
    place
}

/// How many inputs ended in which way, and what was wrong with some.
#[derive(Default)]
struct Outcome {
    tally: BTreeMap<(&'static str, &'static str), u64>,
    wrong: Vec<String>,
}

impl Outcome {
    fn count(&mut self, who: &'static str, end: &'static str) {
        *self.tally.entry((who, end)).or_default() += 1;
    }
}

/// Spoils the program in the way of `number`, and has both compile it.
fn try_input(number: u64, outcome: &Mutex<Outcome>) {
    let tree = program();
    let how = spoil(&tree, &mut Dice(number));
    let clang = run_for(
        CLANGS_PATIENCE,
        command(&tree, CLANG, &Tree::backend_args("main", "clang.o", &FLAGS)),
    );
    let object = std::fs::read(tree.file("clang.o")).ok();
    // One that was killed, since it hangs, leaves its own.
    for name in tree.leftovers() {
        std::fs::remove_file(tree.file(&name)).expect("it is removed");
    }
    let ours = run_for(PATIENCE, command(&tree, BACKLTO, &Door::Cc.args()));

    let clang_said = clang_end(clang.as_ref(), object.as_deref());
    let right = object
        .as_deref()
        .filter(|_| clang.as_ref().is_some_and(|c| c.status.success()));
    let end = our_end(&tree, ours.as_ref(), right);
    let mut outcome = outcome.lock().expect("no thread has panicked");
    outcome.count("clang", clang_said);
    let end = end.unwrap_or_else(|what| {
        let place = keep(&tree, number);
        let args = Door::Cc.args().join(" ");
        outcome.wrong.push(format!(
            "input {number} ({how}): backlto {what}\n  clang {clang_said}\n  \
             cd {} && backlto {args}",
            place.display()
        ));
        "does what it must not"
    });
    outcome.count("backlto", end);
}

#[test]
fn damaged_inputs_end_in_an_error_or_in_clangs_bytes() {
    let count = std::env::var("BACKLTO_DAMAGE").map_or(FEW, |n| n.parse().expect("a number"));
    let next = AtomicU64::new(0);
    let outcome = Mutex::<Outcome>::default();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                for number in numbers.take_while(|&number| number < count) {
                    try_input(number, &outcome);
                }
            });
        }
    });
    let Outcome { tally, wrong } = outcome.into_inner().expect("no thread has panicked");
    println!("{count} damaged inputs:");
    for ((who, end), times) in &tally {
        println!("{times:6}  {who} {end}");
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let fails = |(who, end): &(&str, &str)| *who == "backlto" && end.starts_with("fails");
    let refused = tally.iter().filter(|(what, _)| fails(what));
    let refused: u64 = refused.map(|(_, times)| times).sum();
    assert!(
        refused * 2 > count,
        "only {refused} of {count} inputs were refused: no damage?"
    );
}
