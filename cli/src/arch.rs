//! Architectures by any of their names: the kernel's, LLVM's, Debian's.

/// Names that mean the same architecture, LLVM's first.
const SYNONYMS: [&[&str]; 4] = [
    &["x86_64", "x86", "x86-64", "amd64"],
    &["aarch64", "arm64"],
    &["riscv64", "riscv"],
    &["loongarch64", "loongarch", "loong64"],
];

/// LLVM's name for `name`; a name that is not known stands for itself.
pub(crate) fn canonical(name: &str) -> &str {
    SYNONYMS
        .iter()
        .find(|names| names.contains(&name))
        .map_or(name, |names| names[0])
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_name_will_do() {
        for (name, expected) in [
            ("arm64", "aarch64"),
            ("x86", "x86_64"),
            ("loongarch64", "loongarch64"),
            ("powerpc64", "powerpc64"),
        ] {
            assert_eq!(super::canonical(name), expected);
        }
    }
}
