//! Makes objects of two modules of LLVM IR, in memory all the way, as a front end
//! without clang does. The objects are written to the directory given, if any.

use backlto::{CodegenOptions, Engine, Job, JobReport, Module, Options, Plan, ThinLinkOptions};

const MAIN: &str = "declare i32 @answer()
    define i32 @main() {
      %a = call i32 @answer()
      %status = sub i32 %a, 42
      ret i32 %status
    }";
const ANSWER: &str = "define i32 @answer() { ret i32 42 }";

/// Prints how each job ends.
struct Progress;

impl backlto::Observer for Progress {
    fn finished(&self, _: usize, _: usize, job: &Job, report: &JobReport) {
        println!("{}: {:?}", job.output, report.result);
    }
}

/// Makes the objects; each comes with its name.
pub(crate) fn objects() -> backlto::Result<Vec<(String, Vec<u8>)>> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let module = |name: &str, text: &str| -> backlto::Result<Module> {
        let text = format!("target triple = \"{target}\"\n{text}");
        Ok(Module::new(
            name,
            backlto::thin_lto_bitcode(name, text.as_bytes())?,
        ))
    };
    let modules = [module("main", MAIN)?, module("answer", ANSWER)?];
    let link = ThinLinkOptions {
        used: vec!["main".to_owned()],
        ..Default::default()
    };
    let indexes = backlto::thin_link(&modules, &link)?;
    let options = CodegenOptions {
        target: Some(target),
        ..Default::default()
    };
    let plan = Plan::in_memory(&modules, indexes, &options.into())?;
    let engine = Engine::new(&Options::default())?;
    let reports = engine.run(&plan, &Progress)?;
    let objects = reports.into_iter().zip(plan.jobs).map(|(report, job)| {
        report.result?;
        Ok((job.output, report.object.unwrap_or_default()))
    });
    objects.collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (name, object) in objects()? {
        if let Some(directory) = std::env::args().nth(1) {
            std::fs::write(format!("{directory}/{name}"), object)?;
        }
    }
    Ok(())
}
