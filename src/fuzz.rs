//! Entries to parsers of this crate for the fuzz targets of `cli/src/fuzz.rs`: they
//! may refuse what they are given, and must not panic. Only built with `--cfg fuzzing`.

use std::path::Path;

use crate::asm::{AsmFiles, Search};
use crate::block_list::BlockList;
use crate::cache::Policy;
use crate::execute::wire::{self, Reply, Request};
use crate::files::Files;
use crate::incremental::Record;
use crate::incremental::entry;

/// Reads `data` as what comes over a worker's socket, from either side.
pub fn worker_pipe(data: &[u8]) {
    let mut from = data;
    while let Ok(Some((request, bodies))) = wire::receive::<Request>(&mut from) {
        assert!(bodies.len() <= data.len());
        let _ = (request.bodies(), request.directory(), request.mapped_in());
    }
    let mut from = data;
    while let Ok(Some(_)) = wire::receive::<Reply>(&mut from) {}
}

/// Reads the file at `path` as a record, and writes it back.
pub fn record(path: &Path) {
    let record = Record::read(path);
    let again = path.with_extension("again");
    record.write(&again).expect("a record can be written");
    let _ = Record::read(&again);
}

/// Looks for files in `text`, which is assembly.
pub fn assembly(text: &[u8]) {
    let files = Files::default();
    let search = Search {
        directory: Path::new("/nowhere"),
        include: &[],
        files: &files,
    };
    AsmFiles::none().add(text, &search);
}

/// Reads `data` as a list of basic blocks, and asks for what it says of functions.
pub fn block_list(data: &[u8]) {
    if let Some(list) = BlockList::parse(data) {
        list.part_for(["f", "start"]);
    }
}

/// Reads `data` as entries of a cache, and as a cache's policy.
pub fn cache(data: &[u8]) {
    entry::read_entries(data);
    let _ = String::from_utf8_lossy(data).parse::<Policy>();
}
