//! Options in place of clang's flags.

use std::collections::BTreeMap;

use backlto::embed::{CodeModel, Debugger, OptLevel, Relocation};
use backlto::{CodegenOptions, Engine, Job, Plan, Silent, thin_lto_bitcode};

use crate::common::Tree;
use crate::{objects, objects_by_clang, one_worker};

#[test]
fn options_mean_what_clangs_flags_mean() {
    let target = "x86_64-unknown-linux-gnu";
    // No function has attributes of its own.
    let text = format!(
        "target triple = \"{target}\"\n@g = global [64 x i32] zeroinitializer\n@h = global i32 1\ndeclare void @use(ptr)\n\
         define i32 @f(ptr %p, i32 %n) {{\nentry:\n  br label %loop\nloop:\n  %i = phi i32 [ 0, %entry ], [ %i2, %loop ]\n\
         %s = phi i32 [ 0, %entry ], [ %s2, %loop ]\n  %a = getelementptr i32, ptr %p, i32 %i\n  %v = load i32, ptr %a\n\
         %c = call i32 @llvm.ctpop.i32(i32 %v)\n  %s2 = add i32 %s, %c\n  %i2 = add i32 %i, 1\n  %d = icmp ult i32 %i2, %n\n\
         br i1 %d, label %loop, label %done\ndone:\n  call void @use(ptr @g)\n  %x = load i32, ptr @h\n  %r = add i32 %s2, %x\n  ret i32 %r\n}}\n\
         define i32 @e(i32 %n) {{\n  switch i32 %n, label %z [ i32 0, label %a i32 1, label %b i32 2, label %c i32 3, label %d i32 4, label %y ]\n\
         a: tail call void @fa() br label %z b: tail call void @fb() br label %z c: tail call void @fc() br label %z\n\
         d: tail call void @fd() br label %z y: tail call void @fy() br label %z z: ret i32 1\n}}\n\
         declare void @fa() declare void @fb() declare void @fc() declare void @fd() declare void @fy()\ndeclare i32 @llvm.ctpop.i32(i32)\n"
    );
    let bitcode = thin_lto_bitcode("m.ll", text.as_bytes()).expect("good IR");
    let tree = Tree::new();
    tree.write("m.o", &bitcode);
    tree.thin_link(&["m.o".to_owned()]);
    let base = CodegenOptions {
        target: Some(target.to_owned()),
        ..CodegenOptions::default()
    };
    let level = |opt_level| CodegenOptions {
        opt_level,
        ..base.clone()
    };
    let relocation = |relocation| CodegenOptions {
        relocation: Some(relocation),
        ..base.clone()
    };
    let cases = [
        (base.clone(), "-O2"),
        (level(OptLevel::O0), "-O0"),
        (level(OptLevel::O1), "-O1"),
        (level(OptLevel::O3), "-O3"),
        (level(OptLevel::Os), "-Os"),
        (level(OptLevel::Oz), "-Oz"),
        (
            CodegenOptions {
                cpu: Some("haswell".to_owned()),
                ..base.clone()
            },
            "-O2 -march=haswell",
        ),
        (
            CodegenOptions {
                features: vec!["+popcnt".to_owned()],
                ..base.clone()
            },
            "-O2 -mpopcnt",
        ),
        (relocation(Relocation::Static), "-O2 -fno-pic"),
        (relocation(Relocation::Pic), "-O2 -fPIC"),
        (relocation(Relocation::Pie), "-O2 -fPIE"),
        (
            CodegenOptions {
                code_model: Some(CodeModel::Large),
                ..base.clone()
            },
            "-O2 -mcmodel=large",
        ),
        (
            CodegenOptions {
                function_sections: true,
                ..base.clone()
            },
            "-O2 -ffunction-sections",
        ),
        (
            CodegenOptions {
                data_sections: true,
                ..base.clone()
            },
            "-O2 -fdata-sections",
        ),
        (
            CodegenOptions {
                debugger: Some(Debugger::Lldb),
                ..base.clone()
            },
            "-O2 -glldb",
        ),
        (
            CodegenOptions {
                llvm: vec!["-align-all-functions=7".to_owned()],
                ..base.clone()
            },
            "-O2 -mllvm -align-all-functions=7",
        ),
    ];
    let mut seen = BTreeMap::<_, Vec<_>>::new();
    for (options, words) in &cases {
        let mut words: Vec<&str> = words.split(' ').collect();
        let target = format!("--target={target}");
        words.push(&target);
        let expected = objects_by_clang(&tree, &["m"], &words);
        // What cannot be seen in the object is at least in the flags.
        let spelled = words
            .iter()
            .filter(|word| word.starts_with("-O") || word.starts_with("-f"));
        let flags = options.flags();
        assert!(
            spelled
                .into_iter()
                .all(|word| flags.iter().any(|flag| flag == word)),
            "{flags:?}"
        );
        let mut plan = Plan {
            jobs: vec![Job::new("m.o", options.into())],
            in_memory: true,
            ..Plan::default()
        };
        plan.jobs[0].directory = tree.path().to_owned();
        if !options.llvm.is_empty() {
            let given = ["-mllvm", &options.llvm[0]];
            assert!(flags.windows(2).any(|pair| pair == given), "{flags:?}");
            // Jobs before it had other options of LLVM, and there is no other
            // process for it.
            let engine = Engine::new(&one_worker()).expect("an engine");
            let reports = engine.run(&plan, &Silent).expect("the plan fits");
            let error = reports[0]
                .result
                .as_ref()
                .expect_err("options of another job");
            assert_eq!(error.kind(), backlto::error::Kind::Environment, "{error}");
            continue;
        }
        let actual = objects(&plan, &one_worker());
        assert!(actual == expected, "{words:?}");
        seen.entry(actual).or_default().push(words.join(" "));
    }
    // For this module some levels agree, as the kinds of PIC do, and without debug
    // information there is no debugger. The rest must show.
    assert!(seen.len() >= 9, "{:?}", seen.values());
}
