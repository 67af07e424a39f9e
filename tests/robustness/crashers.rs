//! Modules that LLVM 22.1 itself cannot compile, though it accepts them: bugs of the
//! kinds that its tracker has many of (what a feature is missing for is found out by the
//! instruction selector, which gives up the process).

use crate::common::spoil::{PATIENCE, command, errors, output, run_for};
use crate::common::{BACKLTO, CLANG, MAJOR, Tree, not_shown, stderr, succeed};

/// Targets, modules for them that nobody imports from, and what LLVM says last.
const CRASHERS: [(&str, &str, &str); 4] = [
    // An intrinsic for a register that is too wide.
    (
        "x86_64-linux-gnu",
        "declare <16 x i32> @llvm.x86.avx512.conflict.d.512(<16 x i32>)
         define void @crash(ptr %p) noinline {
           %v = load <16 x i32>, ptr %p
           %w = call <16 x i32> @llvm.x86.avx512.conflict.d.512(<16 x i32> %v)
           store <16 x i32> %w, ptr %p
           ret void }",
        "Do not know how to split",
    ),
    // A garbage collector that nobody has registered.
    (
        "x86_64-linux-gnu",
        "define void @crash(ptr %p) noinline gc \"unknown\" { ret void }",
        "unsupported GC",
    ),
    // Scalable vectors where the target has none.
    (
        "aarch64-linux-gnu",
        "define void @crash(ptr %p) noinline {
           %v = load <vscale x 4 x i32>, ptr %p
           %w = add <vscale x 4 x i32> %v, %v
           store <vscale x 4 x i32> %w, ptr %p
           ret void }",
        "scalable",
    ),
    (
        "riscv64-linux-gnu",
        "define void @crash(ptr %p) noinline {
           store <vscale x 1 x i8> zeroinitializer, ptr %p
           ret void }",
        "scalable",
    ),
];

/// More than there is of any crasher, so that it is compiled first.
const WHOLE: &str = "void crash(void *);
    int whole(int *p, int n) {
      int sum = 0;
      for (int i = 0; i < n; i++) sum += p[i] * i;
      crash(p);
      return sum; }
    int other(int *p) { return whole(p, 3) + whole(p, 5); }";

#[test]
fn what_llvm_cannot_compile_is_lost_alone() {
    let mut tested = 0;
    for (target, crasher, said) in CRASHERS {
        let tree = Tree::new();
        let target = format!("--target={target}");
        let flags = [&*target, "-O2", "-w"];
        tree.compile("whole", WHOLE, &flags);
        tree.write("crasher.ll", crasher);
        let args = ["-flto=thin", "-c", "-o", "crasher.o", "crasher.ll"];
        succeed(&tree.run(CLANG, &[&flags, &args[..]].concat()));
        tree.thin_link(&["whole.o", "crasher.o"].map(str::to_owned));
        let crashed = tree.clang_backend("crasher", "clang.o", &flags);
        if crashed.status.success() {
            not_shown(&format!("not tested: clang {MAJOR} compiles it: {crasher}"));
            continue;
        }
        assert!(stderr(&crashed).contains(said), "{}", stderr(&crashed));
        tested += 1;
        tree.write(
            "plan.json",
            serde_json::json!({"programs": [{
                "name": "half", "directory": ".", "flags": flags,
                "inputs": ["whole.o", "crasher.o"],
                "thin_link": ["-r"], "link": ["-r"], "output": "half",
            }]})
            .to_string(),
        );
        let args = ["-q", "-j1", "run", "plan.json"];
        let ours = run_for(PATIENCE, command(&tree, BACKLTO, &args)).expect("it ends");
        assert_eq!(ours.status.code(), Some(1), "{}", stderr(&ours));
        let errors = errors(&ours);
        assert!(
            matches!(&errors[..], [error] if error.contains("crasher.o`") && error.contains(said)),
            "{errors:?}"
        );
        assert!(!tree.file(&output("crasher")).exists() && !tree.file("half").exists());
        succeed(&tree.clang_backend("whole", "clang.o", &flags));
        assert!(
            tree.read(&output("whole")) == tree.read("clang.o"),
            "{target}"
        );
    }
    assert!(tested > 1, "clang {MAJOR} compiles nearly all of them now");
}
