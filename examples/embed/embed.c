/* Two modules of LLVM IR become objects, in memory all the way. The objects are
 * written to the directory given. See embed.rs for the same in Rust. */

#include <backlto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 2 };
static const char *const names[COUNT] = {"main", "answer"};
static const char *const sources[COUNT] = {
    "declare i32 @answer()\n"
    "define i32 @main() {\n"
    "  %a = call i32 @answer()\n"
    "  %status = sub i32 %a, 42\n"
    "  ret i32 %status\n"
    "}\n",
    "define i32 @answer() { ret i32 42 }\n",
};

static void check(backlto_error *error) {
  if (!error)
    return;
  fprintf(stderr, "error: %s\n", backlto_error_message(error));
  backlto_error_free(error);
  exit(1);
}

static void on_finished(void *context, size_t job, bool ok) {
  (void)context;
  printf("%s: %s\n", names[job], ok ? "done" : "failed");
}

static void write_object(const char *directory, size_t job, backlto_bytes object) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s.o", directory, names[job]);
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(object.data, 1, object.size, file) != object.size || fclose(file) != 0) {
    perror(path);
    exit(1);
  }
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s TRIPLE DIRECTORY\n", argv[0]);
    return 2;
  }
  backlto_error *error = NULL;
  backlto_buffers *bitcode[COUNT];
  backlto_module modules[COUNT];
  for (size_t i = 0; i != COUNT; ++i) {
    char text[1024];
    int size = snprintf(text, sizeof text, "target triple = \"%s\"\n%s", argv[1], sources[i]);
    bitcode[i] = backlto_thin_lto_bitcode(
        names[i], (backlto_bytes){(const uint8_t *)text, (size_t)size}, &error);
    check(error);
    modules[i] = (backlto_module){names[i], backlto_buffers_get(bitcode[i], 0)};
  }

  const char *const used[] = {"main", NULL};
  backlto_thin_link_options link = {.struct_size = sizeof link, .used = used};
  backlto_buffers *indexes = backlto_thin_link(modules, COUNT, &link, &error);
  check(error);

  backlto_codegen codegen = {
      .struct_size = sizeof codegen, .target = argv[1], .opt_level = '2'};
  backlto_plan *plan = backlto_plan_new(/*in_memory=*/true);
  for (size_t i = 0; i != COUNT; ++i) {
    char index[64];
    snprintf(index, sizeof index, "%s.thinlto.bc", names[i]);
    backlto_plan_add_file(plan, names[i], modules[i].bitcode, &error);
    check(error);
    backlto_plan_add_file(plan, index, backlto_buffers_get(indexes, i), &error);
    check(error);
    backlto_job job = {
        .struct_size = sizeof job, .module = names[i], .codegen = &codegen};
    backlto_plan_add_job(plan, &job, &error);
    check(error);
  }

  backlto_engine *engine = backlto_engine_new(NULL, &error);
  check(error);
  backlto_observer observer = {.struct_size = sizeof observer, .finished = on_finished};
  backlto_reports *reports = backlto_run(engine, plan, &observer, &error);
  check(error);
  int failed = 0;
  for (size_t i = 0; i != backlto_reports_count(reports); ++i) {
    fputs(backlto_reports_diagnostics(reports, i), stderr);
    const backlto_error *why = backlto_reports_error(reports, i);
    if (why)
      failed = fprintf(stderr, "error: %s\n", backlto_error_message(why)) != 0;
    else
      write_object(argv[2], i, backlto_reports_object(reports, i));
  }

  backlto_reports_free(reports);
  backlto_engine_free(engine);
  backlto_plan_free(plan);
  backlto_buffers_free(indexes);
  for (size_t i = 0; i != COUNT; ++i)
    backlto_buffers_free(bitcode[i]);
  return failed;
}
