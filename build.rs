//! Finds LLVM, compiles `llvm-shims/` against it and links both.
//!
//! LLVM is looked for as llvm-sys does: `LLVM_SYS_221_PREFIX`, then
//! `llvm-config-22` and its other names on PATH. Linking is dynamic; what a
//! static build would need is in `link_llvm` alone.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// The LLVM that the enabled feature asks for.
struct Wanted {
    major: u32,
    prefix_variable: &'static str,
}

const WANTED: Wanted = Wanted {
    major: 22,
    prefix_variable: "LLVM_SYS_221_PREFIX",
};

fn main() {
    println!("cargo:rerun-if-changed=llvm-shims");
    println!("cargo:rerun-if-env-changed={}", WANTED.prefix_variable);
    println!("cargo:rerun-if-env-changed=PATH");

    println!("cargo:rerun-if-env-changed=DOCS_RS");

    // Where only documentation is built, there is no LLVM and no need for one.
    if std::env::var_os("DOCS_RS").is_some() {
        publish("LLVM_VERSION", &WANTED.major.to_string());
        publish("LLVM_MAJOR", &WANTED.major.to_string());
        publish("LLVM_BINDIR", "");
        return;
    }
    let llvm = Llvm::find();
    llvm.check_parts();
    compile_shims(&llvm);
    link_llvm(&llvm);

    // What `backlto --version` says without loading LLVM's own answer, and
    // where the driver library is told that clang lives.
    publish("LLVM_VERSION", &llvm.version);
    publish("LLVM_MAJOR", &WANTED.major.to_string());
    publish("LLVM_BINDIR", &llvm.ask("--bindir"));
    publish("LLVM_LIBDIR", &llvm.ask("--libdir"));
}

/// Tells the crate (`BACKLTO_` before `name`), and the build scripts of those that
/// depend on it (`DEP_BACKLTO_SHIMS_` before it).
fn publish(name: &str, value: &str) {
    println!("cargo:rustc-env=BACKLTO_{name}={value}");
    println!("cargo:{name}={value}");
}

fn compile_shims(llvm: &Llvm) {
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
    let mut sources: Vec<PathBuf> = std::fs::read_dir("llvm-shims")
        .expect("llvm-shims is part of the source tree")
        .map(|entry| entry.expect("llvm-shims can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "cpp"))
        .collect();
    sources.sort();
    build.files(sources).compile("backlto_shims");
}

fn link_llvm(llvm: &Llvm) {
    let libdir = llvm.ask("--libdir");
    println!("cargo:rustc-link-search=native={libdir}");
    println!("cargo:rustc-link-lib=dylib=clang-cpp");
    println!("cargo:rustc-link-lib=dylib=LLVM");
    // The cache tells builds of backlto apart by it.
    println!("cargo:rustc-link-arg=-Wl,--build-id");
    // An LLVM outside the loader's path is found again at run time.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{libdir}");
}

struct Llvm {
    config: PathBuf,
    version: String,
}

impl Llvm {
    fn find() -> Llvm {
        let major = WANTED.major;
        let names = [
            format!("llvm-config-{major}"),
            format!("llvm-config{major}"),
            format!("llvm{major}-config"),
            "llvm-config".to_owned(),
        ];
        let prefix = std::env::var_os(WANTED.prefix_variable).map(PathBuf::from);
        let mut seen = Vec::new();
        for name in &names {
            let config = match &prefix {
                Some(prefix) => prefix.join("bin").join(name),
                None => PathBuf::from(name),
            };
            let Some(version) = run(&config, "--version") else {
                continue;
            };
            if version.split('.').next() == Some(&major.to_string()) {
                return Llvm { config, version };
            }
            seen.push(format!("`{}` is of LLVM {version}", config.display()));
        }
        let place = match &prefix {
            Some(prefix) => format!("in {}={}", WANTED.prefix_variable, prefix.display()),
            None => "on PATH".to_owned(),
        };
        let seen = match seen.is_empty() {
            true => String::new(),
            false => format!(" ({})", seen.join(", ")),
        };
        fail(&format!(
            "found no llvm-config of LLVM {major} {place}{seen}.\n\
             Install Debian's packages (`make setup` does):\n    {}\n\
             or set {} to the prefix of an LLVM {major}.",
            packages(),
            WANTED.prefix_variable,
        ))
    }

    /// What `llvm-config` answers to `option`.
    fn ask(&self, option: &str) -> String {
        run(&self.config, option)
            .unwrap_or_else(|| fail(&format!("`{} {option}` failed", self.config.display())))
    }

    /// llvm-config comes with LLVM alone; clang's headers and library are
    /// packages of their own.
    fn check_parts(&self) {
        let header = Path::new(&self.ask("--includedir")).join("clang/CodeGen/CodeGenAction.h");
        let library = Path::new(&self.ask("--libdir")).join("libclang-cpp.so");
        for part in [header, library] {
            if !part.exists() {
                fail(&format!(
                    "LLVM {} is installed without `{}`.\nInstall Debian's packages:\n    {}",
                    self.version,
                    part.display(),
                    packages(),
                ));
            }
        }
    }
}

fn packages() -> String {
    let major = WANTED.major;
    format!(
        "apt-get install llvm-{major}-dev clang-{major} lld-{major} \
         libclang-{major}-dev libclang-cpp{major}-dev"
    )
}

fn run(program: &Path, option: &str) -> Option<String> {
    let output = Command::new(program).arg(option).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn fail(message: &str) -> ! {
    eprintln!("backlto: error: {message}");
    exit(1);
}
