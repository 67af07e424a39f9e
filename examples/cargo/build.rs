fn main() {
    cc::Build::new().file("src/blank.c").compile("blank");
}
