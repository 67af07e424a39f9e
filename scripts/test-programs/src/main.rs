//! Packs and unpacks from several threads, and sees damage.

use std::panic::catch_unwind;

fn main() {
    let text: String = (0..20_000).map(|i| format!("line {}\n", i * i % 997)).collect();
    let threads: Vec<_> = (1..=8)
        .map(|level| {
            let text = text.clone();
            std::thread::spawn(move || {
                let packed = zstd::encode_all(text.as_bytes(), level).expect("packs");
                assert!(packed.len() * 4 < text.len());
                assert_eq!(zstd::decode_all(&*packed).expect("unpacks"), text.as_bytes());
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let damaged = catch_unwind(|| zstd::decode_all(&b"damage"[..]).expect("unpacks"));
    println!("{}", damaged.is_err());
}
