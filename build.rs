//! Finds LLVM, compiles `llvm-shims/` against it and links both.
//!
//! The feature `llvmNN` says which LLVM. It is looked for as llvm-sys does:
//! `LLVM_SYS_221_PREFIX` (for 22), then `llvm-config-22` and its other names on PATH.
//! Linking is dynamic, or static with the feature `static`.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// The major versions of LLVM that can be linked, each with a feature `llvmNN`. What they
/// differ in is told by the shims.
const RELEASES: [u32; 5] = [19, 20, 21, 22, 23];

/// A release of LLVM.
#[derive(Clone, Copy)]
struct Release {
    major: u32,
}

impl Release {
    /// The one whose feature is on.
    fn chosen() -> Release {
        let on = |major: &u32| std::env::var_os(format!("CARGO_FEATURE_LLVM{major}")).is_some();
        let chosen: Vec<u32> = RELEASES.into_iter().filter(on).collect();
        let [major] = *chosen else {
            let count = match chosen.len() {
                0 => "none",
                _ => "several",
            };
            let [first, .., last] = RELEASES;
            fail(&format!(
                "{count} of the features llvm{first} to llvm{last} is on, where exactly one has to be.\n\
                 Beside the default no other can be: --no-default-features --features llvm{first}"
            ))
        };
        Release { major }
    }

    /// The variable that names the directory where it is installed, as llvm-sys calls it.
    fn prefix_variable(self) -> String {
        format!("LLVM_SYS_{}1_PREFIX", self.major)
    }

    /// The names of its llvm-config.
    fn config_names(self) -> [String; 4] {
        let major = self.major;
        [
            format!("llvm-config-{major}"),
            format!("llvm-config{major}"),
            format!("llvm{major}-config"),
            "llvm-config".to_owned(),
        ]
    }

    /// Debian's packages of it.
    fn packages(self) -> String {
        let major = self.major;
        format!(
            "apt-get install llvm-{major}-dev clang-{major} lld-{major} \
             libclang-{major}-dev libclang-cpp{major}-dev"
        )
    }
}

/// What a static build has to know of LLVM, of one release.
struct Parts {
    major: u32,
    /// The libraries of clang behind its driver and its code generation; those
    /// that call before those that are called.
    clang_libraries: &'static [&'static str],
    /// The components of LLVM (`llvm-config --components`) that these libraries and
    /// the shims call, without the targets.
    components: &'static [&'static str],
    /// The functions that llvm-shims/SeamsWrapped.cpp comes before, as it calls them,
    /// and as the linker does.
    wrapped: [(&'static str, &'static str); 3],
}

const STATIC: Parts = Parts {
    major: 22,
    clang_libraries: &[
        "clangCodeGen",
        "clangFrontend",
        "clangDriver",
        "clangSerialization",
        "clangParse",
        "clangSema",
        "clangAPINotes",
        "clangAnalysisLifetimeSafety",
        "clangAnalysis",
        "clangEdit",
        "clangASTMatchers",
        "clangAST",
        "clangLex",
        "clangOptions",
        "clangSupport",
        "clangBasic",
    ],
    components: &[
        "bitreader",
        "bitwriter",
        "codegen",
        "coroutines",
        "coverage",
        "extensions",
        "frontenddriver",
        "frontendhlsl",
        "frontendoffloading",
        "frontendopenmp",
        "hipstdpar",
        "ipo",
        "irprinter",
        "irreader",
        "linker",
        "lto",
        "object",
        "option",
        "passes",
        "target",
        "windowsdriver",
    ],
    wrapped: [
        ("BACKLTO_ERRS", "_ZN4llvm4errsEv"),
        (
            "BACKLTO_READ_INDEX",
            "_ZN4llvm28getModuleSummaryIndexForFileENS_9StringRefEb",
        ),
        (
            "BACKLTO_THIN_BACKEND",
            "_ZN4llvm3lto11thinBackendERKNS0_6ConfigEjSt8functionIFNS_8ExpectedISt10unique_ptr\
             INS_16CachedFileStreamESt14default_deleteIS7_EEEEjRKNS_5TwineEEERNS_6ModuleERKNS_1\
             8ModuleSummaryIndexERKNS_16FunctionImporter11ImportMapTyERKNS_8DenseMapImPNS_18Glo\
             balValueSummaryENS_12DenseMapInfoImvEENS_6detail12DenseMapPairImSS_EEEEPNS_9MapVec\
             torINS_9StringRefENS_13BitcodeModuleENSQ_IS12_jNST_IS12_vEENSW_IS12_jEEEENS_11Smal\
             lVectorISt4pairIS12_S13_ELj0EEEEEbSG_RKSt6vectorIhSaIhEE",
        ),
    ],
};

/// The variable that names the targets of a static build, by LLVM's names for them.
const TARGETS_VARIABLE: &str = "BACKLTO_TARGETS";
const DEFAULT_TARGETS: &str = "X86 AArch64 RISCV LoongArch";

/// The variable that names a directory with archives of LLVM that a static build takes in
/// place of the installed ones (`make dist TUNE=full`).
const ARCHIVES_VARIABLE: &str = "BACKLTO_LLVM_ARCHIVES";

/// What a static build takes into the program besides LLVM: a program that only
/// needs libc runs on systems with other versions of these.
const STATIC_SYSTEM_LIBRARIES: [&str; 4] = ["z", "zstd", "stdc++", UNWINDER];

/// Rust's own library asks for the shared one of it, which the linker drops when
/// nothing is left to be found there.
const UNWINDER: &str = "gcc_eh";

fn main() {
    println!("cargo:rerun-if-changed=llvm-shims");
    let release = Release::chosen();
    println!("cargo:rerun-if-env-changed={}", release.prefix_variable());
    println!("cargo:rerun-if-env-changed=PATH");

    println!("cargo:rerun-if-env-changed=DOCS_RS");

    // Where only documentation is built, there is no LLVM and no need for one.
    if std::env::var_os("DOCS_RS").is_some() {
        publish("LLVM_VERSION", &release.major.to_string());
        publish("LLVM_MAJOR", &release.major.to_string());
        publish("LLVM_BINDIR", "");
        return;
    }
    let llvm = Llvm::find(release);
    // Packages keep the dates that files had when they were built, so it is a directory that
    // is younger after an upgrade. This one is LLVM's alone, and small.
    println!("cargo:rerun-if-changed={}", llvm.ask("--cmakedir"));
    let linking = Linking::chosen(&llvm);
    llvm.check_parts(&linking);
    compile_shims(&llvm, &linking);
    let arguments = match &linking {
        Linking::Dynamic => link_dynamically(&llvm),
        Linking::Static { targets } => link_statically(&llvm, targets),
    };
    for argument in &arguments {
        println!("cargo:rustc-link-arg={argument}");
    }
    // Those who link a program with this library have to repeat them.
    println!("cargo:LINK_ARGUMENTS={}", arguments.join(" "));

    // What `backlto --version` says without loading LLVM's own answer, and
    // where the driver library is told that clang lives.
    publish("LLVM_VERSION", &llvm.version);
    publish("LLVM_MAJOR", &release.major.to_string());
    publish("LLVM_BINDIR", &llvm.ask("--bindir"));
}

/// Tells the crate (`BACKLTO_` before `name`), and the build scripts of those that
/// depend on it (`DEP_BACKLTO_SHIMS_` before it).
fn publish(name: &str, value: &str) {
    println!("cargo:rustc-env=BACKLTO_{name}={value}");
    println!("cargo:{name}={value}");
}

/// How LLVM becomes part of the program.
enum Linking {
    Dynamic,
    /// With these targets of LLVM.
    Static {
        targets: Vec<String>,
    },
}

impl Linking {
    fn chosen(llvm: &Llvm) -> Linking {
        println!("cargo:rerun-if-env-changed={TARGETS_VARIABLE}");
        if std::env::var_os("CARGO_FEATURE_STATIC").is_none() {
            return Linking::Dynamic;
        }
        if llvm.release.major != STATIC.major {
            fail(&format!(
                "static builds are for LLVM {}; without the feature `static`, {} is linked, too",
                STATIC.major, llvm.release.major
            ));
        }
        let asked = std::env::var(TARGETS_VARIABLE).unwrap_or_else(|_| DEFAULT_TARGETS.to_owned());
        let built = llvm.ask("--targets-built");
        let targets: Vec<String> = asked.split_whitespace().map(str::to_owned).collect();
        for target in &targets {
            if !built.split_whitespace().any(|name| name == target) {
                fail(&format!(
                    "{TARGETS_VARIABLE} names `{target}`, which LLVM {} does not have.\n\
                     It has: {built}",
                    llvm.version
                ));
            }
        }
        if targets.is_empty() {
            fail(&format!("{TARGETS_VARIABLE} names no target"));
        }
        Linking::Static { targets }
    }
}

fn compile_shims(llvm: &Llvm, linking: &Linking) {
    let mut build = cc::Build::new();
    build.cpp(true).warnings(true).flag("-Wno-unused-parameter");
    for flag in llvm.ask("--cxxflags").split_whitespace() {
        // LLVM's headers are not ours to warn about.
        match flag.strip_prefix("-I") {
            Some(dir) => build.flag("-isystem").flag(dir),
            None => build.flag(flag),
        };
    }
    // LLVM is built without exceptions, but the C++ library under it throws when
    // damaged input asks for absurd sizes; the shims catch that.
    build.flag("-fexceptions");
    let other_seams = match linking {
        Linking::Dynamic => "SeamsWrapped.cpp",
        Linking::Static { targets } => {
            define_static(&mut build, llvm, targets);
            "SeamsLoaded.cpp"
        }
    };
    let mut sources: Vec<PathBuf> = std::fs::read_dir("llvm-shims")
        .expect("llvm-shims is part of the source tree")
        .map(|entry| entry.expect("llvm-shims can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "cpp"))
        .filter(|path| !path.ends_with(other_seams))
        .collect();
    sources.sort();
    build.files(sources).compile("backlto_shims");
}

/// Tells the shims what a static build consists of.
fn define_static(build: &mut cc::Build, llvm: &Llvm, targets: &[String]) {
    for (variable, symbol) in STATIC.wrapped {
        build.define(variable, format!("\"{symbol}\"").as_str());
    }
    let parses = |target: &&String| {
        let library = format!("libLLVM{target}AsmParser.a");
        Path::new(&llvm.ask("--libdir")).join(library).exists()
    };
    let list = |names: &mut dyn Iterator<Item = &String>| {
        let calls: Vec<String> = names
            .map(|name| format!("BACKLTO_TARGET({name})"))
            .collect();
        calls.join(" ")
    };
    build.define("BACKLTO_TARGETS", list(&mut targets.iter()).as_str());
    // Some targets have no assembly.
    let parsers = list(&mut targets.iter().filter(parses));
    build.define("BACKLTO_ASM_PARSERS", parsers.as_str());
    // It is linked after LLVM, which needs it too.
    build.cpp_link_stdlib(None);
}

/// Has LLVM's and clang's shared libraries linked; returns what the linker of a
/// program is to be told besides.
fn link_dynamically(llvm: &Llvm) -> Vec<String> {
    let libdir = llvm.ask("--libdir");
    println!("cargo:rustc-link-search=native={libdir}");
    println!("cargo:rustc-link-lib=dylib=clang-cpp");
    println!("cargo:rustc-link-lib=dylib=LLVM");
    // An LLVM outside the loader's path is found again at run time.
    vec![BUILD_ID.to_owned(), format!("-Wl,-rpath,{libdir}")]
}

/// Has LLVM's and clang's archives linked, with `targets`; returns what the linker of a
/// program is to be told besides. The C library stays a shared one, with its libm: LLVM
/// computes constants with it, and is to get what clang gets on that system.
fn link_statically(llvm: &Llvm, targets: &[String]) -> Vec<String> {
    println!("cargo:rerun-if-env-changed={ARCHIVES_VARIABLE}");
    if let Ok(directory) = std::env::var(ARCHIVES_VARIABLE) {
        println!("cargo:rerun-if-changed={directory}");
        println!("cargo:rustc-link-search=native={directory}");
    }
    println!("cargo:rustc-link-search=native={}", llvm.ask("--libdir"));
    // Archives stay where they are: cargo would copy them into the library.
    let link = |library: &str| println!("cargo:rustc-link-lib=static:-bundle={library}");
    STATIC
        .clang_libraries
        .iter()
        .for_each(|library| link(library));

    let mut question = vec!["--link-static".to_owned(), "--libnames".to_owned()];
    question.extend(STATIC.components.iter().map(|&name| name.to_owned()));
    question.extend(targets.iter().map(|name| name.to_lowercase()));
    let files = llvm.ask_all(&question);
    let names = files
        .split_whitespace()
        .filter_map(|file| file.strip_prefix("lib")?.strip_suffix(".a"));
    names.for_each(link);

    let compiler = cc::Build::new().cpp(true).get_compiler();
    for library in STATIC_SYSTEM_LIBRARIES {
        let directory = directory_of(compiler.path(), &format!("lib{library}.a"));
        println!("cargo:rustc-link-search=native={}", directory.display());
        link(library);
        if library == UNWINDER {
            println!("cargo:UNWINDER={UNWINDER}");
            println!("cargo:UNWINDER_DIRECTORY={}", directory.display());
        }
    }
    println!("cargo:rustc-link-lib=dylib=m");
    let wrap = STATIC
        .wrapped
        .map(|(_, symbol)| format!("-Wl,--wrap={symbol}"));
    std::iter::once(BUILD_ID.to_owned()).chain(wrap).collect()
}

/// The cache tells builds of backlto apart by it.
const BUILD_ID: &str = "-Wl,--build-id";

/// Where `compiler` finds the archive `file`.
fn directory_of(compiler: &Path, file: &str) -> PathBuf {
    let answer = run(compiler, &[format!("-print-file-name={file}")]).map(PathBuf::from);
    // What it does not find, it repeats.
    match answer.as_deref().and_then(Path::parent) {
        Some(directory) if directory.is_absolute() => directory.to_owned(),
        _ => fail(&format!(
            "`{}` does not find `{file}`, which a static build needs.\n\
             Install Debian's packages:\n    apt-get install {}",
            compiler.display(),
            static_packages(),
        )),
    }
}

struct Llvm {
    release: Release,
    config: PathBuf,
    version: String,
}

impl Llvm {
    fn find(release: Release) -> Llvm {
        let major = release.major;
        let prefix = std::env::var_os(release.prefix_variable()).map(PathBuf::from);
        let mut seen = Vec::new();
        for name in release.config_names() {
            let config = match &prefix {
                Some(prefix) => prefix.join("bin").join(name),
                None => PathBuf::from(name),
            };
            let Some(version) = run(&config, &["--version"]) else {
                continue;
            };
            if version.split('.').next() == Some(&major.to_string()) {
                return Llvm {
                    release,
                    config,
                    version,
                };
            }
            seen.push(format!("`{}` is of LLVM {version}", config.display()));
        }
        let place = match &prefix {
            Some(prefix) => format!("in {}={}", release.prefix_variable(), prefix.display()),
            None => "on PATH".to_owned(),
        };
        let seen = match seen.is_empty() {
            true => String::new(),
            false => format!(" ({})", seen.join(", ")),
        };
        fail(&format!(
            "found no llvm-config of LLVM {major} {place}{seen}.\n\
             {}Install Debian's packages (`make setup` does):\n    {}\n\
             or set {} to the prefix of an LLVM {major}.",
            Llvm::other(major),
            release.packages(),
            release.prefix_variable(),
        ))
    }

    /// How to build with the newest LLVM that is installed, where `major` is not.
    fn other(major: u32) -> String {
        let installed = |&other: &u32| {
            let [config, ..] = Release { major: other }.config_names();
            other != major && run(Path::new(&config), &["--version"]).is_some()
        };
        RELEASES
            .into_iter()
            .rfind(installed)
            .map(|major| {
                format!(
                    "LLVM {major} is there: --no-default-features --features llvm{major}, \
                     or `make`, which takes what is installed.\n"
                )
            })
            .unwrap_or_default()
    }

    /// What `llvm-config` answers to `option`.
    fn ask(&self, option: &str) -> String {
        self.ask_all(&[option])
    }

    /// The answer of llvm-config to several words.
    fn ask_all<S: AsRef<str>>(&self, words: &[S]) -> String {
        run(&self.config, words).unwrap_or_else(|| {
            let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
            fail(&format!(
                "`{} {}` failed",
                self.config.display(),
                words.join(" ")
            ))
        })
    }

    /// llvm-config comes with LLVM alone; clang's headers and library are
    /// packages of their own.
    fn check_parts(&self, linking: &Linking) {
        let libraries: (&[&str], String) = match linking {
            Linking::Dynamic => (&["libclang-cpp.so"], self.release.packages()),
            // LLVM's Debian packages have Polly's archives in one of their own.
            Linking::Static { .. } => (
                &["libclangCodeGen.a", "libLLVMLTO.a", "libPolly.a"],
                format!("{} {}", self.release.packages(), static_packages()),
            ),
        };
        let (libraries, packages) = libraries;
        let header = Path::new(&self.ask("--includedir")).join("clang/CodeGen/CodeGenAction.h");
        let libdir = PathBuf::from(self.ask("--libdir"));
        let libraries = libraries.iter().map(|library| libdir.join(library));
        for part in std::iter::once(header).chain(libraries) {
            if !part.exists() {
                fail(&format!(
                    "LLVM {} is installed without `{}`.\nInstall Debian's packages:\n    {packages}",
                    self.version,
                    part.display(),
                ));
            }
        }
    }
}

fn static_packages() -> String {
    let major = STATIC.major;
    format!("llvm-{major}-dev libclang-{major}-dev libpolly-{major}-dev zlib1g-dev libzstd-dev g++")
}

/// What `program` prints when it is called with `words`; `None` when it fails.
fn run<S: AsRef<str>>(program: &Path, words: &[S]) -> Option<String> {
    let words = words.iter().map(AsRef::as_ref);
    let output = Command::new(program).args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn fail(message: &str) -> ! {
    eprintln!("backlto: error: {message}");
    exit(1);
}
