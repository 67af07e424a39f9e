//! Makes plans and jobs.

use std::ffi::c_char;

use backlto::embed::{CodeModel, OptLevel, Relocation};
use backlto::{CodegenOptions, CompilerCommand, Job, Plan};

use crate::guard::{
    Grows, Result, backlto_bytes, backlto_error, free, grown, guard, required, text, texts,
};

/// Backend compiles that belong to one run, and the files that they read.
pub struct backlto_plan(pub(crate) Plan);

/// For `relocation`: the linker decides the address of the code.
pub const BACKLTO_RELOCATION_STATIC: u32 = 1;
/// For `relocation`: any address, symbols may be replaced at run time.
pub const BACKLTO_RELOCATION_PIC: u32 = 2;
/// For `relocation`: any address, in the main program.
pub const BACKLTO_RELOCATION_PIE: u32 = 3;

/// For `code_model`: clang's -mcmodel=tiny.
pub const BACKLTO_CODE_MODEL_TINY: u32 = 1;
/// For `code_model`: clang's -mcmodel=small.
pub const BACKLTO_CODE_MODEL_SMALL: u32 = 2;
/// For `code_model`: clang's -mcmodel=kernel.
pub const BACKLTO_CODE_MODEL_KERNEL: u32 = 3;
/// For `code_model`: clang's -mcmodel=medium.
pub const BACKLTO_CODE_MODEL_MEDIUM: u32 = 4;
/// For `code_model`: clang's -mcmodel=large.
pub const BACKLTO_CODE_MODEL_LARGE: u32 = 5;

/// Tells a back end what it needs to know apart from the module, where there are no
/// clang flags. Zero means as clang has it by default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct backlto_codegen {
    /// sizeof(struct backlto_codegen)
    pub struct_size: usize,
    /// The target triple.
    pub target: *const c_char,
    /// LLVM's name for the processor, such as "x86-64-v3".
    pub cpu: *const c_char,
    /// What the processor can do beyond that, or cannot, up to a NULL: "+avx2", "-sse4a".
    pub features: *const *const c_char,
    /// LLVM's own options (-mllvm), up to a NULL. A process has one set of them
    /// for its life: see the guide on hosts.
    pub llvm: *const *const c_char,
    /// BACKLTO_RELOCATION_…
    pub relocation: u32,
    /// BACKLTO_CODE_MODEL_…
    pub code_model: u32,
    /// '0', '1', '2', '3', 's' or 'z', as after clang's -O; zero is '2'.
    pub opt_level: c_char,
    /// Whether each function gets a section of its own.
    pub function_sections: bool,
    /// Whether each variable gets a section of its own.
    pub data_sections: bool,
}

// SAFETY: it does start with its size, and all may be zero.
unsafe impl Grows for backlto_codegen {}

/// One module to compile.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct backlto_job {
    /// sizeof(struct backlto_job)
    pub struct_size: usize,
    /// The module, by the name by which its index knows it.
    pub module: *const c_char,
    /// Its summary index: MODULE.thinlto.bc when NULL.
    pub index: *const c_char,
    /// The object to write: MODULE.native.o when NULL.
    pub output: *const c_char,
    /// Where relative names start: the directory of the process when NULL. If it is
    /// relative itself, it starts where the process is when the run begins.
    pub directory: *const c_char,
    /// clang's flags, compiler's name first, up to a NULL.
    pub clang: *const *const c_char,
    /// Without those: what to say instead. May be NULL too.
    pub codegen: *const backlto_codegen,
    /// Whether to compile without ThinLTO.
    pub no_index: bool,
}

// SAFETY: it does start with its size, and all may be zero.
unsafe impl Grows for backlto_job {}

/// Reads what C has instead of flags.
///
/// # Safety
/// `codegen` is as the header wants it.
unsafe fn options(codegen: *const backlto_codegen) -> Result<CodegenOptions> {
    let unknown = |what: &str| Err(backlto_error::argument(&format!("there is no such {what}")));
    // SAFETY: promised by the caller.
    let given = unsafe { grown(codegen) }?;
    // SAFETY: promised by the caller.
    let (target, cpu, features, llvm) = unsafe {
        (
            text(given.target)?,
            text(given.cpu)?,
            texts(given.features)?,
            texts(given.llvm)?,
        )
    };
    Ok(CodegenOptions {
        target,
        cpu,
        features,
        llvm,
        opt_level: match given.opt_level.to_ne_bytes()[0] {
            b'0' => OptLevel::O0,
            b'1' => OptLevel::O1,
            0 | b'2' => OptLevel::O2,
            b'3' => OptLevel::O3,
            b's' => OptLevel::Os,
            b'z' => OptLevel::Oz,
            _ => return unknown("opt_level"),
        },
        relocation: match given.relocation {
            0 => None,
            BACKLTO_RELOCATION_STATIC => Some(Relocation::Static),
            BACKLTO_RELOCATION_PIC => Some(Relocation::Pic),
            BACKLTO_RELOCATION_PIE => Some(Relocation::Pie),
            _ => return unknown("relocation"),
        },
        code_model: match given.code_model {
            0 => None,
            BACKLTO_CODE_MODEL_TINY => Some(CodeModel::Tiny),
            BACKLTO_CODE_MODEL_SMALL => Some(CodeModel::Small),
            BACKLTO_CODE_MODEL_KERNEL => Some(CodeModel::Kernel),
            BACKLTO_CODE_MODEL_MEDIUM => Some(CodeModel::Medium),
            BACKLTO_CODE_MODEL_LARGE => Some(CodeModel::Large),
            _ => return unknown("code_model"),
        },
        function_sections: given.function_sections,
        data_sections: given.data_sections,
        ..CodegenOptions::default()
    })
}

/// Reads a job of C's.
///
/// # Safety
/// `job` is as the header wants it.
unsafe fn job(job: *const backlto_job) -> Result<Job> {
    // SAFETY: promised by the caller, here and for all that it points to.
    let (given, module, index, output, directory, flags, options) = unsafe {
        required(job, "job")?;
        let given = grown(job)?;
        (
            given,
            text(given.module)?,
            text(given.index)?,
            text(given.output)?,
            text(given.directory)?,
            texts(given.clang)?,
            options(given.codegen)?,
        )
    };
    let module = module.ok_or_else(|| backlto_error::argument("a job has no module"))?;
    let command = match flags.is_empty() {
        true => options.into(),
        false => CompilerCommand::flags(flags),
    };
    let mut job = Job::new(module, command);
    job.index = index.or(job.index).filter(|_| !given.no_index);
    job.output = output.unwrap_or(job.output);
    job.directory = directory.map_or(job.directory, Into::into);
    Ok(job)
}

/// Makes an empty plan. With `in_memory`, its objects are not written, but kept with the
/// reports.
#[unsafe(no_mangle)]
pub extern "C" fn backlto_plan_new(in_memory: bool) -> *mut backlto_plan {
    Box::into_raw(Box::new(backlto_plan(Plan {
        in_memory,
        ..Plan::default()
    })))
}

/// Adds a copy of `bytes`, bitcode or an index, that stands before the file `name`
/// on disk. A relative name starts at the directory of each job.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_plan_add_file(
    plan: *mut backlto_plan,
    name: *const c_char,
    bytes: backlto_bytes,
    error: *mut *mut backlto_error,
) -> bool {
    // SAFETY: promised by the caller.
    let added = unsafe {
        guard(error, || {
            required(plan, "plan")?;
            let name = text(name)?.ok_or_else(|| backlto_error::argument("name is NULL"))?;
            (*plan).0.files.insert(name.into(), bytes.get().into());
            Ok(())
        })
    };
    added.is_some()
}

/// Adds a job. Reports follow the order in which jobs were added.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_plan_add_job(
    plan: *mut backlto_plan,
    job: *const backlto_job,
    error: *mut *mut backlto_error,
) -> bool {
    // SAFETY: promised by the caller.
    let added = unsafe {
        guard(error, || {
            required(plan, "plan")?;
            let job = self::job(job)?;
            (*plan).0.jobs.push(job);
            Ok(())
        })
    };
    added.is_some()
}

/// Frees a plan.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_plan_free(plan: *mut backlto_plan) {
    // SAFETY: promised by the caller.
    unsafe { free(plan) }
}
