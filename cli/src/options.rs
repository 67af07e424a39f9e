//! What a link's options mean for its backends, and how to tell them.
//!
//! LLD 22 passes on to distributed backends little of what it was told: the
//! level of `--lto-O`, PIC and the sample profile. The rest it drops in silence.
//! The model here is what ld.lld's own backends do with the same options.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a link has to tell besides what LLD tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    /// What LLD tells the compiler by itself because of an option, in clang's words.
    pub(crate) told: Vec<OsString>,
    /// What options ask of the compiler that LLD does not tell, in clang's words.
    pub(crate) asked: Vec<OsString>,
    /// What the compiler must know of the kind of the link, in clang's words.
    pub(crate) implied: Vec<OsString>,
    /// Whether LLD tells the compiler by itself that code must not depend on its address.
    pub(crate) pic: bool,
    /// Whether the link makes an object (`-r`): the modules say then which code may
    /// move.
    pub(crate) relocatable: bool,
    /// For backlto, as the distributor.
    pub(crate) distributor: Vec<OsString>,
    /// For LLD, after all that it was told already.
    pub(crate) linker: Vec<OsString>,
}

/// Options of LLD that distributed backends would ignore: nothing else does
/// what they ask for.
const UNCARRIED: [&str; 17] = [
    "dwo_dir",
    "load-pass-plugin",
    "lto-aa-pipeline",
    "lto-debug-pass-manager",
    "lto-emit-asm",
    "lto-emit-llvm",
    "lto-newpm-passes",
    "opt-remarks-filename",
    "opt-remarks-format",
    "opt-remarks-hotness-threshold",
    "opt-remarks-passes",
    "opt-remarks-with-hotness",
    // What is kept to repeat a link should not need backlto for that.
    "reproduce",
    "stats-file",
    // With a distributor LLD leaves these empty.
    "thinlto-emit-imports-files",
    "thinlto-emit-index-files",
    "thinlto-single-module",
];

/// Options of LLVM that linkers have and compilers have not, other than those
/// that [`llvm_option`] knows in clang's words (`llvm/CodeGen/CommandFlags.h`).
const LINKERS_ONLY: [&str; 44] = [
    "addrsig",
    "align-loops",
    "call-graph-section",
    "debug-entry-values",
    "denormal-fp-math",
    "denormal-fp-math-f32",
    "disable-tail-calls",
    "emit-call-site-info",
    "enable-jmc-instrument",
    "enable-no-infs-fp-math",
    "enable-no-nans-fp-math",
    "enable-no-signed-zeros-fp-math",
    "enable-no-trapping-fp-math",
    "enable-sign-dependent-rounding-fp-math",
    "exception-model",
    "filetype",
    "float-abi",
    "force-dwarf-frame-section",
    "fp-contract",
    "frame-pointer",
    "ignore-xcoff-visibility",
    "large-data-threshold",
    "load",
    "march",
    "meabi",
    "mxcoff-roptr",
    "no-integrated-as",
    "nozero-initialized-in-bss",
    "partition-static-data-sections",
    "relocation-model",
    "stack-symbol-ordering",
    "stackrealign",
    "strict-dwarf",
    "swift-async-fp",
    "tailcallopt",
    "thread-model",
    "tls-size",
    "trap-func",
    "unique-section-names",
    "use-ctors",
    "vec-extabi",
    "vector-library",
    "xcoff-traceback-table",
    "xray-function-index",
];

/// Options of LLVM's assembler (`llvm/MC/MCTargetOptionsCommandFlags.h`), of any of its
/// versions. A compiler has them too, and goes by its own flags instead.
const ASSEMBLERS: [&str; 23] = [
    "W",
    "as-secure-log-file",
    "asm-show-inst",
    "crel",
    "dwarf-version",
    "dwarf64",
    "emit-compact-unwind-non-canonical",
    "emit-dwarf-unwind",
    "fatal-warnings",
    "fdpic",
    "gsframe",
    "implicit-mapsyms",
    "incremental-linker-compatible",
    "large-eh-encoding",
    "mc-relax-all",
    "no-deprecated-warn",
    "no-type-check",
    "no-warn",
    "reloc-section-sym",
    "save-temp-labels",
    "target-abi",
    "x86-relax-relocations",
    "x86-sse2avx",
];

/// Options of LLVM that decide what is imported, which is the thin link's business
/// (`llvm/lib/Transforms/IPO/FunctionImport.cpp`).
const THIN_LINKS_ONLY: [&str; 7] = [
    "import-cold-multiplier",
    "import-critical-multiplier",
    "import-cutoff",
    "import-hot-evolution-factor",
    "import-hot-multiplier",
    "import-instr-evolution-factor",
    "import-instr-limit",
];

/// Finds what has to be told because of `args`, a command line of ld.lld with
/// response files in place.
///
/// # Errors
/// With the argument that only ld.lld's own backends follow, if there is one: LLD
/// describes jobs in JSON, where names have to be text, and have to be those of files.
pub(crate) fn carry(args: &[OsString]) -> Result<Carried, OsString> {
    let before = [None].into_iter().chain(args.iter().map(Some));
    let is_odd = |(arg, before): &(&OsString, Option<&OsString>)| {
        let is_value = before.is_some_and(|before| NAME_FILES.iter().any(|name| before == name));
        arg.to_str().is_none() || !is_value && names_device(arg)
    };
    if let Some((name, _)) = args.iter().zip(before).find(is_odd) {
        return Err(name.clone());
    }
    let options = Given::all(args);
    let mut carried = Carried::default();
    for option in &options {
        let words = compiler_words(option).ok_or_else(|| option.arg.clone())?;
        carried.asked.extend(words);
        carried.told.extend(told_by_lld(option));
    }
    // clang has one level for the optimiser and the code generator.
    let level = options
        .iter()
        .rev()
        .find_map(|o| o.name.strip_prefix("lto-O"));
    let with_level = |o: &&Given| o.name.starts_with("lto-CGO");
    if let Some(codegen) = options.iter().rfind(with_level)
        && codegen.name.strip_prefix("lto-CGO") != Some(level.unwrap_or("2"))
    {
        return Err(codegen.arg.clone());
    }
    let last = |names: &[&str]| {
        let found = options.iter().rfind(|o| names.contains(&&*o.name));
        found.map(|option| (&*option.name, option.value.as_deref()))
    };
    let has = |names: &[&str]| last(names).is_some();
    let value = |name: &str| last(&[name]).and_then(|(_, value)| value);
    let is_on = |on: &str, off: &str| last(&[on, off]).is_some_and(|(name, _)| name == on);

    // LLD says when code must not depend on its address, not when it may.
    carried.relocatable = has(&["r", "relocatable"]);
    let movable = carried.relocatable
        || has(&["shared", "Bshareable"])
        || last(&["pie", "pic-executable", "no-pie", "no-pic-executable"])
            .is_some_and(|(name, _)| !name.starts_with("no-"));
    carried.pic = movable && !carried.relocatable;
    // There, clang has no other code.
    let mips = value("m").is_some_and(|emulation| emulation.as_bytes().ends_with(b"mip"));
    if !movable && !mips {
        carried.implied.push("-fno-pic".into());
    }

    for name in [
        "basic-block-address-map",
        "unique-basic-block-section-names",
    ] {
        if is_on(&format!("lto-{name}"), &format!("no-lto-{name}")) {
            let asked = front_end(format!("-f{name}").as_ref());
            carried.asked.extend(asked);
        }
    }
    // As in LLD, silence goes before severity. The flags are not for clang's driver, which
    // warns of what LLD tells it.
    if has(&["no-warnings", "w"]) {
        for flag in ["-w", "-massembler-no-warn"] {
            carried.asked.extend(front_end(flag.as_ref()));
        }
    } else if is_on("fatal-warnings", "no-fatal-warnings") {
        // LLD has no such warning: modules of one link may say their target in other words.
        for flag in ["-Werror", "-Wno-error=override-module"] {
            carried.asked.extend(front_end(flag.as_ref()));
        }
    }

    let profile = value("lto-cs-profile-file");
    if has(&["lto-cs-profile-generate"]) {
        let file = profile.unwrap_or("default_%m.profraw".as_ref());
        carried
            .asked
            .extend(front_end("-fprofile-instrument=csllvm".as_ref()));
        carried
            .asked
            .extend(front_end(&joined("-fprofile-instrument-path=", file)));
    } else if let Some(file) = profile {
        carried.asked.push(joined("-fprofile-use=", file));
    }

    // As in LLD, a number of threads is one of backends too.
    let jobs = value("thinlto-jobs").or_else(|| value("threads"));
    if let Some(jobs) = jobs.filter(|jobs| is_positive(jobs)) {
        carried.distributor.push(joined("-j", jobs));
    }
    if let Some(directory) = value("thinlto-cache-dir").filter(|name| !name.is_empty()) {
        carried.distributor.push(joined("--cache-dir=", directory));
        // Else each object would be kept twice.
        carried.linker.push("--thinlto-cache-dir=".into());
    }
    if has(&["save-temps"]) {
        carried.distributor.push("--keep-objects".into());
    }
    if let Some(policy) = value("thinlto-cache-policy") {
        carried.distributor.push(joined("--cache-policy=", policy));
    }
    Ok(carried)
}

/// Options that matter here and whose values may be words of their own.
const APART: [&str; 5] = [
    "m",
    "mllvm",
    "plugin-opt",
    "thinlto-cache-policy",
    "threads",
];

/// One option of a command line, its aliases resolved.
struct Given {
    /// The name without the dashes before it.
    name: String,
    value: Option<OsString>,
    /// The argument as it was written.
    arg: OsString,
}

impl Given {
    /// The options in `args`. A value of another option may be taken for one.
    fn all(args: &[OsString]) -> Vec<Given> {
        let mut found = Vec::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let Some(text) = arg.as_bytes().strip_prefix(b"-") else {
                continue;
            };
            let text = text.strip_prefix(b"-").unwrap_or(text);
            let (mut name, mut value) = split(text);
            if value.is_none() && APART.contains(&&*name) {
                value = args.next().cloned();
            }
            if name == "plugin-opt"
                && let Some(option) = value.take()
            {
                (name, value) = of_plugin(option);
            }
            found.push(Given {
                name,
                value,
                arg: arg.clone(),
            });
        }
        found
    }
}

/// What gcc says to its own plugin in every link, and LLD ignores.
const OF_GCC: [&str; 2] = ["-fresolution=", "-pass-through="];

/// What `--plugin-opt=` means: those options have names of their own.
fn of_plugin(option: OsString) -> (String, Option<OsString>) {
    let is_of_gcc = |name: &&str| option.as_bytes().starts_with(name.as_bytes());
    if OF_GCC.iter().any(is_of_gcc) {
        return ("plugin-opt".into(), None);
    }
    if option.as_bytes().starts_with(b"-") {
        return ("mllvm".into(), Some(option));
    }
    let (name, value) = split(option.as_bytes());
    let name = match &*name {
        "jobs" => "thinlto-jobs".into(),
        "cs-profile-path" => "lto-cs-profile-file".into(),
        "cs-profile-generate"
        | "debug-pass-manager"
        | "emit-asm"
        | "emit-llvm"
        | "sample-profile" => {
            format!("lto-{name}")
        }
        level if level.starts_with('O') => format!("lto-{level}"),
        _ => name,
    };
    (name, value)
}

/// What LLD tells clang because of `option`.
fn told_by_lld(option: &Given) -> Vec<OsString> {
    match (&*option.name, &option.value) {
        ("lto-sample-profile", Some(file)) => vec![joined("-fprofile-sample-use=", file)],
        ("thinlto-remote-compiler-arg", Some(word)) => vec![word.clone()],
        (name, None) => match name.strip_prefix("lto-O") {
            Some(level) => vec![format!("-O{level}").into()],
            None => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// What clang must be told because of `option`; `None` when there is no way to.
fn compiler_words(option: &Given) -> Option<Vec<OsString>> {
    let name = &*option.name;
    if UNCARRIED.contains(&name) {
        return None;
    }
    let value = option.value.as_deref();
    Some(match (name, value) {
        ("mllvm", Some(text)) => return llvm_option(text),
        ("mcpu", Some(cpu)) => [front_end("-target-cpu".as_ref()), front_end(cpu)].concat(),
        ("disable-verify", _) => front_end("-disable-llvm-verifier".as_ref()),
        // clang's driver refuses some of these for some targets, LLD for none.
        ("lto-basic-block-sections", Some(which)) => block_sections(which),
        _ => Vec::new(),
    })
}

/// What clang must be told because of `text`, one option of LLVM; `None` when there
/// is no way to.
fn llvm_option(text: &OsStr) -> Option<Vec<OsString>> {
    let bytes = text.as_bytes();
    let start = bytes.iter().position(|&byte| byte != b'-').unwrap_or(0);
    let (name, value) = split(&bytes[start..]);
    let value = value.as_deref();
    let on = value.is_none_or(|value| value == "1" || value == "true");
    Some(match (&*name, value) {
        // LLD has one answer, which it passes on.
        ("function-sections" | "data-sections", _) => Vec::new(),
        ("mcpu", Some(cpu)) => [front_end("-target-cpu".as_ref()), front_end(cpu)].concat(),
        ("mattr", Some(features)) => features
            .as_bytes()
            .split(|&byte| byte == b',')
            .flat_map(|feature| {
                let feature = front_end(OsStr::from_bytes(feature));
                [front_end("-target-feature".as_ref()), feature].concat()
            })
            .collect(),
        ("code-model", Some(model)) => vec![joined("-mcmodel=", model)],
        ("debugger-tune", Some(debugger)) => front_end(&joined("-debugger-tuning=", debugger)),
        ("basic-block-sections", Some(which)) => block_sections(which),
        ("enable-tlsdesc", _) if on => front_end("-enable-tlsdesc".as_ref()),
        (
            "basic-block-address-map"
            | "emulated-tls"
            | "separate-named-sections"
            | "split-machine-functions"
            | "stack-size-section"
            | "unique-basic-block-section-names",
            _,
        ) if on => front_end(format!("-f{name}").as_ref()),
        (
            "mcpu"
            | "mattr"
            | "code-model"
            | "debugger-tune"
            | "basic-block-sections"
            | "enable-tlsdesc"
            | "basic-block-address-map"
            | "emulated-tls"
            | "separate-named-sections"
            | "split-machine-functions"
            | "stack-size-section"
            | "unique-basic-block-section-names",
            _,
        ) => return None,
        (name, _) if LINKERS_ONLY.contains(&name) || ASSEMBLERS.contains(&name) => return None,
        (name, Some(_)) if THIN_LINKS_ONLY.contains(&name) => Vec::new(),
        _ => vec!["-mllvm".into(), text.to_owned()],
    })
}

/// The words for `which`, a choice of basic blocks that are to have sections: a word, or
/// the name of a file that lists them.
fn block_sections(which: &OsStr) -> Vec<OsString> {
    let option = match which.to_str() {
        Some("all" | "none" | "labels") => "-fbasic-block-sections=",
        _ => "-fbasic-block-sections=list=",
    };
    front_end(&joined(option, which))
}

/// Options whose value, a word of its own, names a file that is neither input nor output.
const NAME_FILES: [&str; 11] = [
    "--Map",
    "--dependency-file",
    "--dynamic-list",
    "--retain-symbols-file",
    "--script",
    "--symbol-ordering-file",
    "--version-script",
    "-Map",
    "-T",
    "-dynamic-list",
    "-version-script",
];

/// Whether `word` names an input or the output, and that is a device or a pipe: LLD writes
/// files beside its output, and what backlto reads is read more than once.
fn names_device(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    let mut outputs = ["-o", "--output="].iter();
    let output = outputs.find_map(|option| bytes.strip_prefix(option.as_bytes()));
    let name = OsStr::from_bytes(output.unwrap_or(bytes));
    let metadata = Path::new(name).metadata();
    metadata.is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Splits a name from what stands behind its `=`.
fn split(text: &[u8]) -> (String, Option<OsString>) {
    let mut parts = text.splitn(2, |&byte| byte == b'=');
    let name = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let value = parts
        .next()
        .map(|value| OsStr::from_bytes(value).to_owned());
    (name.into_owned(), value)
}

/// One word of `name` and `value`.
fn joined(name: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(name);
    word.push(value);
    word
}

/// The words that hand `word` to the compiler proper, past clang's driver.
fn front_end(word: &OsStr) -> Vec<OsString> {
    vec!["-Xclang".into(), word.to_owned()]
}

/// Whether `number` is a number of threads that LLD would take as one.
fn is_positive(number: &OsStr) -> bool {
    let number = number.to_str().and_then(|text| text.parse::<u32>().ok());
    number.is_some_and(|number| number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn compiler(line: &str) -> Vec<OsString> {
        let carried = carry(&words(line)).expect("carried");
        [carried.asked, carried.implied].concat()
    }

    #[test]
    fn every_spelling_says_the_same() {
        for spelling in [
            "-mllvm -x=3",
            "--mllvm -x=3",
            "-mllvm=-x=3",
            "--plugin-opt=-x=3",
            "-plugin-opt=-x=3",
            "-plugin-opt -x=3",
        ] {
            assert_eq!(
                compiler(spelling),
                words("-mllvm -x=3 -fno-pic"),
                "{spelling}"
            );
        }
        for spelling in ["--thinlto-jobs=3", "-thinlto-jobs=3", "-plugin-opt=jobs=3"] {
            let carried = carry(&words(spelling)).expect("carried");
            assert_eq!(carried.distributor, words("-j3"), "{spelling}");
        }
        for spelling in ["--lto-emit-asm", "-lto-emit-asm", "-plugin-opt=emit-asm"] {
            assert_eq!(carry(&words(spelling)), Err(spelling.into()));
        }
    }

    #[test]
    fn values_of_llvm_options_may_stand_apart() {
        assert_eq!(
            compiler("-pie -mllvm -x -mllvm 3"),
            words("-mllvm -x -mllvm 3")
        );
    }

    #[test]
    fn what_only_linkers_know_is_said_in_clangs_words() {
        for (option, expected) in [
            ("mcpu=x", "-Xclang -target-cpu -Xclang x"),
            (
                "mattr=+a,-b",
                "-Xclang -target-feature -Xclang +a -Xclang -target-feature -Xclang -b",
            ),
            ("code-model=large", "-mcmodel=large"),
            (
                "basic-block-sections=all",
                "-Xclang -fbasic-block-sections=all",
            ),
            (
                "basic-block-sections=p.txt",
                "-Xclang -fbasic-block-sections=list=p.txt",
            ),
            ("emulated-tls", "-Xclang -femulated-tls"),
            ("function-sections=0", ""),
        ] {
            let line = format!("-shared -mllvm -{option}");
            assert_eq!(compiler(&line), words(expected), "{option}");
        }
        for option in [
            "relocation-model=pic",
            "emulated-tls=0",
            "code-model",
            "crel",
            "x86-relax-relocations=0",
        ] {
            let line = format!("-mllvm -{option}");
            assert_eq!(carry(&words(&line)), Err("-mllvm".into()), "{option}");
        }
    }

    #[test]
    fn what_gcc_tells_its_own_plugin_means_nothing() {
        let line = "-r -plugin-opt=-fresolution=x.res -plugin-opt=-pass-through=-lgcc";
        assert_eq!(compiler(line), Vec::<OsString>::new());
    }

    #[test]
    fn the_last_of_two_opposites_counts() {
        for name in [
            "basic-block-address-map",
            "unique-basic-block-section-names",
        ] {
            let (on, off) = (format!("--lto-{name}"), format!("--no-lto-{name}"));
            let asked = words(&format!("-Xclang -f{name}"));
            assert_eq!(compiler(&format!("-r {off} {on}")), asked);
            assert_eq!(compiler(&format!("-r {on} {off}")), Vec::<OsString>::new());
        }
    }

    #[test]
    fn warnings_are_as_severe_as_for_lld() {
        let fatal = "-Xclang -Werror -Xclang -Wno-error=override-module";
        let silent = "-Xclang -w -Xclang -massembler-no-warn";
        for (line, expected) in [
            ("--fatal-warnings", fatal),
            ("--no-fatal-warnings --fatal-warnings", fatal),
            ("--fatal-warnings --no-fatal-warnings", ""),
            ("--no-warnings", silent),
            ("-w --fatal-warnings", silent),
        ] {
            assert_eq!(compiler(&format!("-r {line}")), words(expected), "{line}");
        }
    }

    #[test]
    fn devices_and_pipes_are_for_lld_alone() {
        for line in [
            "-o /dev/null",
            "-o/dev/null",
            "--output=/dev/null",
            "/dev/zero",
        ] {
            assert!(carry(&words(line)).is_err(), "{line}");
        }
        for line in ["-o /", "-o/dev/no/such", "Cargo.toml", "-Map /dev/null"] {
            assert!(carry(&words(line)).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_lld_tells_by_itself_is_known_too() {
        for (option, expected) in [
            ("--lto-O3", "-O3"),
            ("-plugin-opt=O1", "-O1"),
            ("--lto-sample-profile=p", "-fprofile-sample-use=p"),
            ("-plugin-opt=sample-profile=p", "-fprofile-sample-use=p"),
            ("--thinlto-remote-compiler-arg=-x", "-x"),
            ("--lto-CGO2", ""),
        ] {
            let carried = carry(&words(option)).expect("carried");
            assert_eq!(carried.told, words(expected), "{option}");
        }
    }

    #[test]
    fn what_only_the_thin_link_reads_is_for_nobody_else() {
        assert_eq!(
            compiler("-r -mllvm -import-instr-limit=5"),
            Vec::<OsString>::new()
        );
    }

    #[test]
    fn code_is_fixed_in_programs_that_do_not_move() {
        let fixed = |line: &str| compiler(line) == words("-fno-pic");
        for line in ["", "-static", "-pie -no-pie", "-m elf_x86_64"] {
            assert!(fixed(line), "{line}");
        }
        for line in ["-pie", "--shared", "-r", "-no-pie -pie", "-m elf64ltsmip"] {
            assert!(!fixed(line), "{line}");
        }
    }

    #[test]
    fn the_code_generators_level_must_be_the_optimisers() {
        for line in ["--lto-CGO2", "--lto-O3 --lto-CGO3", "--lto-CGO0 --lto-CGO2"] {
            assert!(carry(&words(line)).is_ok(), "{line}");
        }
        for line in ["--lto-CGO3", "--lto-O3 --lto-CGO2", "--lto-O1 --lto-CGO2"] {
            assert!(carry(&words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn what_keeps_and_runs_objects_goes_to_backlto() {
        for line in [
            "--thinlto-cache-dir=c --thinlto-cache-policy=p --threads=4",
            "--thinlto-cache-dir=c --thinlto-cache-policy p --threads 4",
        ] {
            let carried = carry(&words(line)).expect("carried");
            assert_eq!(
                carried.distributor,
                words("-j4 --cache-dir=c --cache-policy=p")
            );
            assert_eq!(carried.linker, words("--thinlto-cache-dir="));
        }
        for spelling in ["--save-temps", "-save-temps=opt", "-plugin-opt=save-temps"] {
            let carried = carry(&words(spelling)).expect("carried");
            assert_eq!(carried.distributor, words("--keep-objects"), "{spelling}");
        }
        let none = carry(&words("--thinlto-jobs=all --thinlto-cache-dir=")).expect("carried");
        assert!(none.distributor.is_empty() && none.linker.is_empty());
    }
}
