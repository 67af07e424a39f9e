//! Hands on what the library's build script found out about LLVM, since what it
//! tells rustc holds for the library alone.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // `links = "backlto_shims"` in the library's manifest makes cargo set these.
    for name in ["LLVM_VERSION", "LLVM_MAJOR", "LLVM_BINDIR"] {
        let value = library(name);
        println!("cargo:rustc-env=BACKLTO_{name}={value}");
    }
    // The cache tells builds of backlto apart by it.
    println!("cargo:rustc-link-arg-bin=backlto=-Wl,--build-id");
    // An LLVM outside the loader's path is found again at run time.
    let libdir = library("LLVM_LIBDIR");
    if !libdir.is_empty() {
        println!("cargo:rustc-link-arg-bin=backlto=-Wl,-rpath,{libdir}");
    }
}

/// What the library's build script says of `name`.
fn library(name: &str) -> String {
    let variable = format!("DEP_BACKLTO_SHIMS_{name}");
    println!("cargo:rerun-if-env-changed={variable}");
    std::env::var(variable).unwrap_or_default()
}
