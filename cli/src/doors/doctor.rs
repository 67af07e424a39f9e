//! `backlto doctor`: whether everything that builds need is there and fits.

use std::fmt::Display;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use crate::console;
use crate::kbuild;
use crate::linker::{Linker, index_name, native_name};
use crate::session::{Failure, Outcome, Settings};
use crate::tools::CLANG;
use backlto::error::{Error, Kind, Result};
use backlto::{BUILT_VERSION, Engine, Job, Options, Plan, Silent};

/// The targets that are tried from source to object.
const TARGETS: [&str; 4] = [
    "x86_64-linux-gnu",
    "aarch64-linux-gnu",
    "riscv64-linux-gnu",
    "loongarch64-linux-gnu",
];

/// What a check has found.
#[derive(Serialize)]
struct Check {
    name: String,
    ok: bool,
    /// What there is, or what is wrong.
    text: String,
    advice: Option<String>,
}

/// Says what is found, and remembers it.
struct Findings {
    json: bool,
    checks: Vec<Check>,
}

impl Findings {
    fn say(&mut self, name: &str, outcome: Result<String>) {
        let check = Check {
            name: name.to_owned(),
            ok: outcome.is_ok(),
            advice: outcome
                .as_ref()
                .err()
                .and_then(Error::advice)
                .map(str::to_owned),
            text: outcome.unwrap_or_else(|e| e.to_string()),
        };
        if !self.json {
            let word = if check.ok { "ok" } else { "FAILED" };
            let advice = check.advice.as_ref();
            let advice = advice.map(|advice| format!("\n        {:12} {advice}", ""));
            let advice = advice.unwrap_or_default();
            console::line(&format!("{word:<7} {name:<12} {}{advice}", check.text));
        }
        self.checks.push(check);
    }

    /// # Errors
    /// When something has failed.
    fn end(self) -> Outcome {
        let all_well = self.checks.iter().all(|check| check.ok);
        if self.json {
            let text = json!({ "ok": all_well, "checks": self.checks });
            console::line(&text.to_string());
        }
        match all_well {
            true => Ok(()),
            false => Err(Failure::Reported),
        }
    }
}

/// Checks everything, a line each; the kernel's tree at `here` too, if there is one.
///
/// # Errors
/// When something is missing or does not fit.
pub(crate) fn run(here: &Path, settings: &Settings) -> Outcome {
    let mut findings = Findings {
        json: settings.json,
        checks: Vec::new(),
    };
    findings.say(
        "LLVM",
        Engine::new(&Options::default()).map(|_| format!("{BUILT_VERSION}, as built for")),
    );
    let inputs = match backlto::shares_inputs() {
        true => "mapped once and shared by all jobs",
        false => "opened by each job, since the program exports no symbols",
    };
    findings.say("inputs", Ok(inputs.to_owned()));
    let linker = Linker::find(settings.linker.as_deref());
    findings.say(
        "linker",
        linker.as_ref().map_err(Clone::clone).and_then(fits),
    );
    findings.say("compiler", clang_version());
    for target in TARGETS {
        let arch = target.split('-').next().unwrap_or(target);
        let outcome = match &linker {
            Ok(linker) => end_to_end(target, linker),
            // What is wrong has been said.
            Err(_) => Ok("not tried, for want of a linker".to_owned()),
        };
        findings.say(arch, outcome);
    }
    findings.say("cache", cache(settings));
    if let Some(options) = &settings.options.remote {
        let works = |probed| format!("`{}`: {probed}", options.url);
        let probed = backlto::remote::probe(options, settings.options.helper.as_deref());
        findings.say("remote", probed.map(works));
    }
    let jobserver = match backlto::has_jobserver() {
        true => "its tokens are waited for",
        false => "none; all cores are used unless -j says otherwise",
    };
    findings.say("jobserver", Ok(jobserver.to_owned()));
    for (what, outcome) in kbuild::examine(here) {
        findings.say(what, outcome);
    }
    findings.end()
}

/// Prints `version`, that of backlto, and what belongs to it.
pub(crate) fn print_versions(version: &str) {
    let linker = Linker::find(None).map_or_else(|e| format!("none ({e})"), |ld| ld.to_string());
    let cache = backlto::default_cache_directory();
    let cache = cache.map_or("none".to_owned(), |directory| {
        directory.display().to_string()
    });
    let lines = [
        ("LLVM", BUILT_VERSION.to_owned()),
        ("clang", CLANG.to_owned()),
        ("ld.lld", linker),
        ("cache", cache),
        ("build", backlto::identity::of_this_process().to_string()),
    ];
    console::line(&format!("backlto {version}"));
    for (name, value) in lines {
        console::line(&format!("{name:<8} {value}"));
    }
}

/// What to say of `linker`; an error when its LLVM is not the one that compiles.
fn fits(linker: &Linker) -> Result<String> {
    match linker.mismatch() {
        None => Ok(linker.to_string()),
        Some(text) => Err(Error::new(Kind::Environment, text).hint("install the LLD of that LLVM")),
    }
}

/// The first line of what clang says of its version.
fn clang_version() -> Result<String> {
    let output = Command::new(CLANG).arg("--version").output();
    let failed = |reason: &dyn Display| {
        Error::new(Kind::Environment, format!("cannot run `{CLANG}`"))
            .because(reason.to_string())
            .hint("backlto does not need it, but what it compiles comes from one")
    };
    let output = output.map_err(|e| failed(&e))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.contains(BUILT_VERSION) {
        true => Ok(text.lines().next().unwrap_or_default().to_owned()),
        false => Err(failed(&"it is of another version")),
    }
}

/// Where the cache is, once it is known to take objects.
fn cache(settings: &Settings) -> Result<String> {
    let Some(options) = &settings.options.cache else {
        return Ok("not used".to_owned());
    };
    let engine = Engine::new(&Options {
        remote: None,
        ..settings.options.clone()
    })?;
    let directory = options.directory.display();
    match engine.cache_is_read_only() {
        None => Ok(format!("`{directory}` can be written to")),
        Some(reason) => Err(Error::new(
            Kind::Environment,
            format!("cannot write to the cache `{directory}`"),
        )
        .because(reason)
        .hint("choose another with --cache-dir, or none with --no-cache")),
    }
}

/// Takes a program of two modules for `target` from C to objects.
fn end_to_end(target: &str, linker: &Linker) -> Result<String> {
    let failed = |reason: &dyn Display| {
        Error::new(
            Kind::Environment,
            format!("a small program for {target} does not come through"),
        )
        .because(reason.to_string())
    };
    let directory = tempfile::tempdir().map_err(|e| failed(&e))?;
    let path = directory.path();
    let flag = format!("--target={target}");
    for (name, text) in [
        ("a", "int b(int); int a(int x) { return b(x) + 1; }\n"),
        ("b", "int b(int x) { return x * 2; }\n"),
    ] {
        std::fs::write(path.join(name).with_extension("c"), text).map_err(|e| failed(&e))?;
        let compiled = Command::new(CLANG)
            .args([&flag, "-O2", "-flto=thin", "-c"])
            .arg(format!("{name}.c"))
            .current_dir(path)
            .output()
            .map_err(|e| failed(&e))?;
        if !compiled.status.success() {
            return Err(failed(&String::from_utf8_lossy(&compiled.stderr)));
        }
    }
    let modules = ["a.o", "b.o"];
    let args = ["-r", "--thinlto-index-only", "a.o", "b.o", "-o", "x"];
    linker.run(path, &args, "the thin link")?;
    let flags: Arc<[String]> = [CLANG.to_owned(), flag.clone(), "-O2".to_owned()].into();
    let plan = Plan {
        jobs: modules
            .iter()
            .map(|module| job(path, module, &flags))
            .collect(),
        ..Plan::default()
    };
    let reports = Engine::new(&Options::default())?.run(&plan, &Silent)?;
    let mut bytes = 0;
    for report in reports {
        bytes += report.result?;
    }
    Ok(format!("C to bitcode to index to objects ({bytes} bytes)"))
}

/// The backend of `module` in `directory`.
fn job(directory: &Path, module: &str, flags: &Arc<[String]>) -> Job {
    Job {
        directory: directory.to_owned(),
        module: module.to_owned(),
        index: Some(index_name(module)),
        output: native_name(module),
        command: backlto::CompilerCommand::Flags(Arc::clone(flags)),
        post: None,
    }
}
