"""Clang and LLD as they stand in /usr/bin, with distributed ThinLTO, whose backends backlto runs."""

load("@bazel_tools//tools/build_defs/cc:action_names.bzl", "ACTION_NAMES")
load(
    "@bazel_tools//tools/cpp:cc_toolchain_config_lib.bzl",
    "action_config",
    "feature",
    "flag_group",
    "flag_set",
    "tool",
    "tool_path",
)

# What decides the code: the same in all three stages.
FLAGS = ["-O2"]

COMPILES = [ACTION_NAMES.c_compile, ACTION_NAMES.cpp_compile]
THIN_LINKS = [ACTION_NAMES.lto_index_for_executable]
LINKS = [ACTION_NAMES.cpp_link_executable]

TOOLS = {
    "gcc": "/usr/bin/clang-22",
    "cpp": "/usr/bin/clang-cpp-22",
    "ar": "/usr/bin/llvm-ar-22",
    "ld": "/usr/bin/ld.lld-22",
    "gcov": "/usr/bin/llvm-cov-22",
    "nm": "/usr/bin/llvm-nm-22",
    "objcopy": "/usr/bin/llvm-objcopy-22",
    "objdump": "/usr/bin/llvm-objdump-22",
    "strip": "/usr/bin/llvm-strip-22",
}

def _flags(actions, flags, given = None):
    """FLAGS for ACTIONS, if Bazel has given the variable GIVEN."""
    return flag_set(
        actions = actions,
        flag_groups = [flag_group(flags = flags, expand_if_available = given)],
    )

_thin_lto = feature(
    name = "thin_lto",
    flag_sets = [
        _flags(COMPILES, ["-flto=thin"]),
        _flags(
            COMPILES,
            ["-Xclang", "-fthin-link-bitcode=%{lto_indexing_bitcode_file}"],
            given = "lto_indexing_bitcode_file",
        ),
        _flags(THIN_LINKS, [
            "-flto=thin",
            "-Wl,--thinlto-index-only%{thinlto_optional_params_file}",
            "-Wl,--thinlto-emit-imports-files",
            "-Wl,--thinlto-prefix-replace=%{thinlto_prefix_replace}",
        ]),
        _flags(
            THIN_LINKS,
            ["-Wl,--thinlto-object-suffix-replace=%{thinlto_object_suffix_replace}"],
            given = "thinlto_object_suffix_replace",
        ),
        _flags(
            THIN_LINKS,
            ["-Wl,--lto-obj-path=%{thinlto_merged_object_file}"],
            given = "thinlto_merged_object_file",
        ),
    ],
)

_backend = action_config(
    action_name = ACTION_NAMES.lto_backend,
    enabled = True,
    tools = [tool(path = "backend.sh")],
    flag_sets = [flag_set(flag_groups = [flag_group(flags = FLAGS + [
        "-c",
        "-fthinlto-index=%{thinlto_index}",
        "-o",
        "%{thinlto_output_object_file}",
        "-x",
        "ir",
        "%{thinlto_input_bitcode_file}",
    ])])],
)

_always = feature(
    name = "always",
    enabled = True,
    flag_sets = [
        _flags(COMPILES, FLAGS),
        _flags(THIN_LINKS + LINKS, ["-fuse-ld=/usr/bin/ld.lld-22"]),
    ],
)

def _clang_config(ctx):
    return cc_common.create_cc_toolchain_config_info(
        ctx = ctx,
        action_configs = [_backend],
        features = [
            _always,
            _thin_lto,
            feature(name = "supports_start_end_lib", enabled = True),
        ],
        cxx_builtin_include_directories = ["/usr/include", "/usr/lib"],
        tool_paths = [tool_path(name = name, path = path) for name, path in TOOLS.items()],
        toolchain_identifier = "clang-22",
        compiler = "clang",
        target_cpu = "k8",
        target_libc = "glibc",
        target_system_name = "local",
        host_system_name = "local",
        abi_version = "local",
        abi_libc_version = "local",
    )

clang_config = rule(implementation = _clang_config, provides = [CcToolchainConfigInfo])
