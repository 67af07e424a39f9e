//! Hands on what the library's build script found out about LLVM, since what it
//! tells rustc holds for the library alone.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // `links = "backlto_shims"` in the library's manifest makes cargo set these.
    for name in ["LLVM_VERSION", "LLVM_MAJOR", "LLVM_BINDIR"] {
        let value = library(name);
        println!("cargo:rustc-env=BACKLTO_{name}={value}");
    }
    // The linker is told by each package for its own programs.
    for argument in library("LINK_ARGUMENTS").split_whitespace() {
        println!("cargo:rustc-link-arg-bin=backlto={argument}");
        println!("cargo:rustc-link-arg-tests={argument}");
    }
    // ld.backlto has none of the library's code, and would get the shared one.
    let unwinder = library("UNWINDER");
    if !unwinder.is_empty() {
        let directory = library("UNWINDER_DIRECTORY");
        println!("cargo:rustc-link-search=native={directory}");
        println!("cargo:rustc-link-lib=static:-bundle={unwinder}");
    }
}

/// What the library's build script says of `name`.
fn library(name: &str) -> String {
    let variable = format!("DEP_BACKLTO_SHIMS_{name}");
    println!("cargo:rerun-if-env-changed={variable}");
    std::env::var(variable).unwrap_or_default()
}
