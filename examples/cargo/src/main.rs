use std::ffi::c_char;

unsafe extern "C" {
    safe fn is_blank(c: c_char) -> i32;
}

fn count(text: &str) -> usize {
    let mut blank_before = true;
    let starts = text.bytes().filter(|&byte| {
        let blank = is_blank(byte as c_char) != 0;
        std::mem::replace(&mut blank_before, blank) && !blank
    });
    starts.count()
}

fn main() {
    let words: usize = std::env::args().skip(1).map(|arg| count(&arg)).sum();
    println!("{words} words");
}
