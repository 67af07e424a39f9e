/*
 * backlto: ThinLTO back ends in this process.
 *
 * Part of backlto, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * Written by cbindgen from capi/src; `cargo test -p backlto-capi` says when it is
 * out of date.
 *
 * ABI. The major number of the soname, which backlto_abi() returns too, changes
 * when a program must be compiled anew. Until then functions are only added, and
 * structs only grow at their end: those that do start with `struct_size`, which
 * the caller sets to sizeof; every other field means "as usual" when it is zero.
 * Enumerations may get new values.
 *
 * Ownership. What a function named _new, _run, _link or _bitcode returns belongs
 * to the caller, who gives it to the function named _free; NULL may be given to
 * that too. All other pointers that are returned live as long as the object that
 * was asked. What is passed in is borrowed for the call.
 *
 * Errors. A function that can fail returns NULL or false and, if `error` is not
 * NULL, stores what went wrong there, for backlto_error_free().
 *
 * Threads. An engine, and whatever is passed as const, may be used by any number
 * of threads at a time. A plan that is being added to may be used by one. No
 * thread may free what another uses.
 *
 * Exceptions and panics. None leaves a function of this library: an internal error
 * is BACKLTO_KIND_BUG. A callback must return: no exception, no longjmp.
 *
 * Text is UTF-8 and ends with NUL.
 */

#ifndef BACKLTO_H
#define BACKLTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Numbers this interface: see `backlto_abi`; also the number in the soname.
#define BACKLTO_ABI 0

// For `linkage`: the objects become a program.
#define BACKLTO_LINKAGE_EXECUTABLE 0

// For `linkage`: the objects become a shared library.
#define BACKLTO_LINKAGE_SHARED_LIBRARY 1

// For `linkage`: the objects become a larger object.
#define BACKLTO_LINKAGE_RELOCATABLE 2

// For `relocation`: the linker decides the address of the code.
#define BACKLTO_RELOCATION_STATIC 1

// For `relocation`: any address, symbols may be replaced at run time.
#define BACKLTO_RELOCATION_PIC 2

// For `relocation`: any address, in the main program.
#define BACKLTO_RELOCATION_PIE 3

// For `code_model`: clang's -mcmodel=tiny.
#define BACKLTO_CODE_MODEL_TINY 1

// For `code_model`: clang's -mcmodel=small.
#define BACKLTO_CODE_MODEL_SMALL 2

// For `code_model`: clang's -mcmodel=kernel.
#define BACKLTO_CODE_MODEL_KERNEL 3

// For `code_model`: clang's -mcmodel=medium.
#define BACKLTO_CODE_MODEL_MEDIUM 4

// For `code_model`: clang's -mcmodel=large.
#define BACKLTO_CODE_MODEL_LARGE 5

// Tells what went wrong to programs that act on it.
typedef enum backlto_kind {
  // The plan contradicts itself.
  BACKLTO_KIND_PLAN = 1,
  // An input is missing, unreadable, damaged or not what it should be.
  BACKLTO_KIND_INPUT = 2,
  // Flags that clang does not accept.
  BACKLTO_KIND_FLAGS = 3,
  // The back end reported an error: see the diagnostics.
  BACKLTO_KIND_CODEGEN = 4,
  // LLVM crashed or gave up.
  BACKLTO_KIND_CRASH = 5,
  // A program that was to finish an object failed.
  BACKLTO_KIND_POST = 6,
  // An output could not be written.
  BACKLTO_KIND_OUTPUT = 7,
  // The linker failed.
  BACKLTO_KIND_LINK = 8,
  // It was not run: backlto_engine_cancel() was called, or another job had failed.
  BACKLTO_KIND_CANCELLED = 9,
  // A library or the system does not fit.
  BACKLTO_KIND_ENVIRONMENT = 10,
  // It took longer than one object may take.
  BACKLTO_KIND_TIMED_OUT = 11,
  // The call makes no sense: a null pointer, text that is not UTF-8.
  BACKLTO_KIND_ARGUMENT = 100,
  // An error in backlto itself.
  BACKLTO_KIND_BUG = 101,
} backlto_kind;

// Says how bad a diagnostic is.
typedef enum backlto_severity {
  // Text that clang gives no level.
  BACKLTO_SEVERITY_TEXT = 0,
  // Says more about the one before it.
  BACKLTO_SEVERITY_NOTE = 1,
  // Says what an optimisation did.
  BACKLTO_SEVERITY_REMARK = 2,
  // Warns; the object is there all the same.
  BACKLTO_SEVERITY_WARNING = 3,
  // Says why there is no object.
  BACKLTO_SEVERITY_ERROR = 4,
} backlto_severity;

// A list of buffers of bytes.
typedef struct backlto_buffers backlto_buffers;

// Workers that run plans, several at a time if several threads ask.
typedef struct backlto_engine backlto_engine;

// An error: what could not be done, why, and what to do next.
typedef struct backlto_error backlto_error;

// Backend compiles that belong to one run, and the files that they read.
typedef struct backlto_plan backlto_plan;

// Tells how each job of a plan ended.
typedef struct backlto_reports backlto_reports;

// Borrows bytes.
typedef struct backlto_bytes {
  // Where the bytes are; may be null when there are none.
  const uint8_t *data;
  // How many bytes there are.
  size_t size;
} backlto_bytes;

// A module and the name by which indexes and jobs know it.
typedef struct backlto_module {
  // The name, unique in its link. It need not be that of a file.
  const char *name;
  // The module itself: ThinLTO bitcode.
  struct backlto_bytes bitcode;
} backlto_module;

// Tells the thin link what it is to know of what is around the modules.
typedef struct backlto_thin_link_options {
  // sizeof(struct backlto_thin_link_options)
  size_t struct_size;
  // Symbols that something outside of the modules refers to, up to a NULL: the
  // entry point, what native objects call. One that is missing may vanish.
  const char *const *used;
  // BACKLTO_LINKAGE_…
  uint32_t linkage;
  // Whether no class is derived from outside of the modules.
  bool whole_program_visibility;
} backlto_thin_link_options;

// Tells a back end what it needs to know apart from the module, where there are no
// clang flags. Zero means as clang has it by default.
typedef struct backlto_codegen {
  // sizeof(struct backlto_codegen)
  size_t struct_size;
  // The target triple.
  const char *target;
  // LLVM's name for the processor, such as "x86-64-v3".
  const char *cpu;
  // What the processor can do beyond that, or cannot, up to a NULL: "+avx2", "-sse4a".
  const char *const *features;
  // LLVM's own options (-mllvm), up to a NULL. A process has one set of them
  // for its life: see the guide on hosts.
  const char *const *llvm;
  // BACKLTO_RELOCATION_…
  uint32_t relocation;
  // BACKLTO_CODE_MODEL_…
  uint32_t code_model;
  // '0', '1', '2', '3', 's' or 'z', as after clang's -O; zero is '2'.
  char opt_level;
  // Whether each function gets a section of its own.
  bool function_sections;
  // Whether each variable gets a section of its own.
  bool data_sections;
} backlto_codegen;

// One module to compile.
typedef struct backlto_job {
  // sizeof(struct backlto_job)
  size_t struct_size;
  // The module, by the name by which its index knows it.
  const char *module;
  // Its summary index: MODULE.thinlto.bc when NULL.
  const char *index;
  // The object to write: MODULE.native.o when NULL.
  const char *output;
  // Where relative names start: the directory of the process when NULL. If it is
  // relative itself, it starts where the process is when the run begins.
  const char *directory;
  // clang's flags, compiler's name first, up to a NULL.
  const char *const *clang;
  // Without those: what to say instead. May be NULL too.
  const struct backlto_codegen *codegen;
  // Whether to compile without ThinLTO.
  bool no_index;
} backlto_job;

// Says how to run plans.
typedef struct backlto_engine_options {
  // sizeof(struct backlto_engine_options)
  size_t struct_size;
  // Back ends at a time; one for each core when zero.
  size_t workers;
  // The directory of a cache of objects; none when NULL.
  const char *cache_directory;
  // How large and old that may get, as for ld.lld's --thinlto-cache-policy=; its
  // default when NULL.
  const char *cache_policy;
  // Whether jobs of a run still start once one of it has failed.
  bool keep_going;
  // How many bytes of memory jobs may take together, by an estimate; as much as
  // the system has when zero. Those that do not fit wait.
  uint64_t memory_limit;
} backlto_engine_options;

// Is told what happens, by the thread that called backlto_run(). Any function may
// be NULL. Jobs are numbered in the order of the plan, from 0.
typedef struct backlto_observer {
  // sizeof(struct backlto_observer)
  size_t struct_size;
  // Handed to each function.
  void *context;
  // A worker has taken up a job.
  void (*started)(void *context, size_t job, size_t worker);
  // The compiler says something of a job: all together, before it has finished.
  // The text lives as long as the call.
  void (*diagnostic)(void *context,
                     size_t job,
                     enum backlto_severity severity,
                     const char *text);
  // A job has ended, well or not.
  void (*finished)(void *context, size_t job, bool ok);
} backlto_observer;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Gives the version of this interface: that of the library, to compare with the one
// in the name of the file that was linked.
uint32_t backlto_abi(void);

// Gives the version of LLVM that this library was built for, such as "22.1.8".
const char *backlto_llvm_version(void);

// Says whether modules and indexes can be in memory. They cannot where the program has
// linked LLVM before backlto; files give the same objects then.
bool backlto_shares_inputs(void);

// Makes this process outlive crashes and fatal errors of LLVM in a job, and files
// that shrink while they are read. It installs signal handlers and LLVM's
// fatal-error handler: for programs that are all about backlto. Nothing else in
// this library touches handlers.
//
// # Safety
// `error` is null or writable.
bool backlto_own_process(struct backlto_error **error);

// Writes ThinLTO bitcode of `source`, which is LLVM IR as text or bitcode: one
// buffer.
//
// # Safety
// See the crate.
struct backlto_buffers *backlto_thin_lto_bitcode(const char *name,
                                                 struct backlto_bytes source,
                                                 struct backlto_error **error);

// Thin-links `count` modules: gives the summary index of each, in their order.
// `options` may be NULL.
//
// # Safety
// See the crate.
struct backlto_buffers *backlto_thin_link(const struct backlto_module *modules,
                                          size_t count,
                                          const struct backlto_thin_link_options *options,
                                          struct backlto_error **error);

// Counts the buffers of a list.
//
// # Safety
// See the crate.
size_t backlto_buffers_count(const struct backlto_buffers *buffers);

// Gives buffer `number` of a list; nothing when there is none.
//
// # Safety
// See the crate.
struct backlto_bytes backlto_buffers_get(const struct backlto_buffers *buffers,
                                         size_t number);

// Frees a list of buffers.
//
// # Safety
// See the crate.
void backlto_buffers_free(struct backlto_buffers *buffers);

// Says what went wrong, for people.
//
// # Safety
// See the crate.
const char *backlto_error_message(const struct backlto_error *error);

// Says what went wrong, for programs.
//
// # Safety
// See the crate; `error` is not null.
enum backlto_kind backlto_error_kind(const struct backlto_error *error);

// Frees an error.
//
// # Safety
// See the crate.
void backlto_error_free(struct backlto_error *error);

// Makes an empty plan. With `in_memory`, its objects are not written, but kept with the
// reports.
struct backlto_plan *backlto_plan_new(bool in_memory);

// Adds a copy of `bytes`, bitcode or an index, that stands before the file `name`
// on disk. A relative name starts at the directory of each job.
//
// # Safety
// See the crate.
bool backlto_plan_add_file(struct backlto_plan *plan,
                           const char *name,
                           struct backlto_bytes bytes,
                           struct backlto_error **error);

// Adds a job. Reports follow the order in which jobs were added.
//
// # Safety
// See the crate.
bool backlto_plan_add_job(struct backlto_plan *plan,
                          const struct backlto_job *job,
                          struct backlto_error **error);

// Frees a plan.
//
// # Safety
// See the crate.
void backlto_plan_free(struct backlto_plan *plan);

// Starts the workers. `options` may be NULL.
//
// # Safety
// See the crate.
struct backlto_engine *backlto_engine_new(const struct backlto_engine_options *options,
                                          struct backlto_error **error);

// Ends all runs soon: jobs that have not started end with BACKLTO_KIND_CANCELLED,
// now and in runs to come. Callbacks may call it.
//
// # Safety
// See the crate.
void backlto_engine_cancel(const struct backlto_engine *engine);

// Waits for the workers and frees an engine that no thread uses any more. What is too
// old or too much for the cache's policy is removed, when it is time to.
//
// # Safety
// See the crate.
void backlto_engine_free(struct backlto_engine *engine);

// Compiles every job of `plan`. `observer` may be NULL. NULL is returned when the
// plan, its flags or its files do not fit together; a job that fails says so in
// its report, `keep_going` says what becomes of the others.
//
// # Safety
// See the crate.
struct backlto_reports *backlto_run(const struct backlto_engine *engine,
                                    const struct backlto_plan *plan,
                                    const struct backlto_observer *observer,
                                    struct backlto_error **error);

// Counts the jobs that there were.
//
// # Safety
// See the crate.
size_t backlto_reports_count(const struct backlto_reports *reports);

// Gives the object of a job, if the plan asks for it in memory and the job went well.
//
// # Safety
// See the crate.
struct backlto_bytes backlto_reports_object(const struct backlto_reports *reports,
                                            size_t job);

// Gives what clang would have printed for a job.
//
// # Safety
// See the crate.
const char *backlto_reports_diagnostics(const struct backlto_reports *reports,
                                        size_t job);

// Says why a job gave no object; NULL when it did. It belongs to the reports.
//
// # Safety
// See the crate.
const struct backlto_error *backlto_reports_error(const struct backlto_reports *reports,
                                                  size_t job);

// Frees reports.
//
// # Safety
// See the crate.
void backlto_reports_free(struct backlto_reports *reports);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BACKLTO_H */
