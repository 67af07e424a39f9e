//! One plan again and again in one process, as a host does it that lives long: the same
//! objects, no more memory, no more open files, no more threads. `make test-soak` has it
//! run longer than the other tests do.

use std::fmt::Write as _;

use backlto::{
    CodegenOptions, Engine, Module, Options, Plan, Silent, ThinLinkOptions, thin_link,
    thin_lto_bitcode,
};

/// Runs in the ordinary tests.
const FEW: usize = 20;
/// Modules of the plan; each calls the next two.
const MODULES: usize = 24;
/// Of a run, these many may not count: heaps and pools grow until then.
const WARM: usize = 5;
/// What memory may grow by after that: heaps do not give back what they split.
const SLACK: usize = 48 << 20;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Functions enough that a leak of a module would show.
fn source(number: usize) -> String {
    let mut text = format!("target triple = \"{TARGET}\"\n");
    for next in [1, 2] {
        let other = (number + next) % MODULES;
        writeln!(text, "declare i32 @f{other}_0(i32)").expect("a string takes it");
    }
    for function in 0..20 {
        let (a, b) = ((number + 1) % MODULES, (number + 2) % MODULES);
        writeln!(
            text,
            "define i32 @f{number}_{function}(i32 %x) {{
               %a = call i32 @f{a}_0(i32 {function})
               %b = call i32 @f{b}_0(i32 %a)
               %c = mul i32 %b, %x
               %d = add i32 %c, {function}
               %e = sdiv i32 %d, %a
               ret i32 %e }}"
        )
        .expect("a string takes it");
    }
    text
}

fn plan() -> Plan {
    let modules: Vec<Module> = (0..MODULES)
        .map(|number| {
            let name = format!("m{number}");
            let bitcode = thin_lto_bitcode(&name, source(number).as_bytes()).expect("bitcode");
            Module::new(name, bitcode)
        })
        .collect();
    let used = (0..MODULES).map(|number| format!("f{number}_0")).collect();
    let link = ThinLinkOptions {
        used,
        ..ThinLinkOptions::default()
    };
    let indexes = thin_link(&modules, &link).expect("a thin link");
    let options = CodegenOptions {
        target: Some(TARGET.to_owned()),
        ..CodegenOptions::default()
    };
    Plan::in_memory(&modules, indexes, &options.into()).expect("a plan")
}

fn objects(engine: &Engine) -> Vec<Vec<u8>> {
    let reports = engine.run(&plan(), &Silent).expect("it can start");
    let objects = reports.into_iter().map(|report| {
        report.result.expect("it compiles");
        report.object.expect("an object in memory")
    });
    objects.collect()
}

/// What this process holds of the machine: bytes, open files, threads.
fn held() -> (usize, usize, usize) {
    let entries = |path: &str| std::fs::read_dir(path).expect("a process can look").count();
    let memory = std::fs::read_to_string("/proc/self/statm").expect("a process can look");
    let pages = memory.split(' ').nth(1).and_then(|n| n.parse().ok());
    let pages: usize = pages.expect("statm has numbers");
    (
        pages * rustix::param::page_size(),
        entries("/proc/self/fd"),
        entries("/proc/self/task"),
    )
}

#[test]
fn a_plan_leaves_nothing_behind_however_often_it_runs() {
    let count = std::env::var("BACKLTO_SOAK").map_or(FEW, |n| n.parse().expect("a number"));
    let engine = Engine::new(&Options::default()).expect("an engine");
    let first = objects(&engine);
    for _ in 1..WARM {
        assert!(objects(&engine) == first, "other objects");
    }
    let (memory, files, threads) = held();
    for run in WARM..count {
        assert!(objects(&engine) == first, "other objects in run {run}");
    }
    let (memory_now, files_now, threads_now) = held();
    println!(
        "{count} runs of {MODULES} modules: {} MB, then {} MB; {files} open files, then \
         {files_now}; {threads} threads, then {threads_now}",
        memory >> 20,
        memory_now >> 20
    );
    assert_eq!(files_now, files, "open files");
    assert!(
        threads_now <= threads,
        "{threads} threads, then {threads_now}"
    );
    assert!(
        memory_now < memory + SLACK,
        "{memory} bytes, then {memory_now}"
    );
}
