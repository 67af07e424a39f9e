//! What needs the operating system's unsafe calls: mapped files that survive
//! truncation, and a working directory for each worker.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use memmap2::{Mmap, MmapMut, UncheckedAdvice};

use crate::digest::Hasher;
use crate::error::{Error, Kind, Result};

/// A file mapped for reading.
///
/// When another process shrinks the file, touching the lost pages raises
/// SIGBUS. With [`guard_mappings`] they read as zeroes instead and
/// [`Mapping::was_truncated`] tells.
pub(crate) struct Mapping {
    map: Mmap,
    guard: &'static Guarded,
}

impl Mapping {
    pub(crate) fn new(file: &File) -> io::Result<Mapping> {
        // SAFETY: the file may change under the map. Rust never keeps
        // references to interpreted content across a check, LLVM bounds-checks
        // what it reads, and callers compare the file's stamp before they use
        // a result (`files.rs`).
        let map = unsafe { Mmap::map(file)? };
        let guard = Guarded::register(map.as_ptr() as usize, map.len());
        Ok(Mapping { map, guard })
    }

    /// The content of the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Lets go of the memory behind the map until it is read again.
    pub(crate) fn release_pages(&self) {
        if !self.map.is_empty() {
            // SAFETY: the map is read-only and of a file, so what is dropped
            // comes back from there. It is only advice: a refusal changes
            // nothing.
            let _ = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }

    /// True once a page of the map turned out to be gone.
    pub(crate) fn was_truncated(&self) -> bool {
        self.guard.hit.load(Ordering::Relaxed)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard.release();
    }
}

/// Writes `bytes` to `file`, which has that size in reserved blocks and is open
/// nowhere else.
///
/// # Errors
/// When it cannot be mapped; nothing is written then.
pub(crate) fn copy_through_mapping(file: &File, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: nobody else has the file (see above), so the map's content is
    // this function's alone.
    let mut map = unsafe { MmapMut::map_mut(file)? };
    map.copy_from_slice(bytes);
    Ok(())
}

/// One mapped range, in a list that a signal handler can walk: nodes are
/// reused, never freed.
struct Guarded {
    start: AtomicUsize,
    end: AtomicUsize,
    hit: AtomicBool,
    next: AtomicPtr<Guarded>,
}

static GUARDED: AtomicPtr<Guarded> = AtomicPtr::new(std::ptr::null_mut());

/// The nodes that no mapping has now. The handler does not look here.
static FREE: Mutex<Vec<&'static Guarded>> = Mutex::new(Vec::new());

fn free_nodes() -> MutexGuard<'static, Vec<&'static Guarded>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guarded {
    fn register(start: usize, len: usize) -> &'static Guarded {
        // A map of an empty file has no pages to lose.
        let end = start + len.max(1);
        let free = free_nodes().pop();
        if let Some(node) = free {
            node.hit.store(false, Ordering::Relaxed);
            node.end.store(end, Ordering::Release);
            node.start.store(start, Ordering::Release);
            return node;
        }
        let node: &'static mut Guarded = Box::leak(Box::new(Guarded {
            start: AtomicUsize::new(start),
            end: AtomicUsize::new(end),
            hit: AtomicBool::new(false),
            next: AtomicPtr::new(std::ptr::null_mut()),
        }));
        let mut head = GUARDED.load(Ordering::Acquire);
        loop {
            *node.next.get_mut() = head;
            match GUARDED.compare_exchange(head, node, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return node,
                Err(now) => head = now,
            }
        }
    }

    fn release(&'static self) {
        self.start.store(usize::MAX, Ordering::Release);
        self.end.store(0, Ordering::Release);
        free_nodes().push(self);
    }

    fn all() -> impl Iterator<Item = &'static Guarded> {
        let mut at = GUARDED.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: nodes are leaked, so a non-null pointer stays valid.
            let node = unsafe { at.as_ref() }?;
            at = node.next.load(Ordering::Acquire);
            Some(node)
        })
    }
}

/// Puts a page of zeroes where a shrunk file's page was, or lets the handler
/// that was there before deal with a SIGBUS that is not ours.
extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid siginfo for a SA_SIGINFO handler.
    let address = unsafe { (*info).si_addr() } as usize;
    let ours = Guarded::all().find(|node| {
        (node.start.load(Ordering::Acquire)..node.end.load(Ordering::Acquire)).contains(&address)
    });
    if let Some(node) = ours {
        let page = PAGE_SIZE.load(Ordering::Relaxed);
        // SAFETY: replaces one page inside a live read-only file map (mmap is
        // a plain system call, fit for a signal handler).
        let fresh = unsafe {
            libc::mmap(
                (address & !(page - 1)) as *mut libc::c_void,
                page,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if fresh != libc::MAP_FAILED {
            node.hit.store(true, Ordering::Relaxed);
            return;
        }
    }
    let Some(previous) = PREVIOUS.get() else {
        return;
    };
    // SAFETY: `previous` is what sigaction reported. Putting it back and
    // returning runs the faulting access again under it.
    unsafe {
        if previous.sa_flags & libc::SA_SIGINFO != 0 {
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                std::mem::transmute(previous.sa_sigaction);
            handler(signal, info, context);
        } else if previous.sa_sigaction == libc::SIG_DFL || previous.sa_sigaction == libc::SIG_IGN {
            libc::sigaction(signal, previous, std::ptr::null_mut());
        } else {
            let handler: extern "C" fn(libc::c_int) = std::mem::transmute(previous.sa_sigaction);
            handler(signal);
        }
    }
}

static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
static PAGE_SIZE: AtomicUsize = AtomicUsize::new(4096);

/// Makes reads of a shrunk file's lost pages harmless (see [`Mapping`]).
///
/// Changes how the whole process treats SIGBUS, so a program asks for it
/// itself; a library must not. Call it after LLVM's handlers are in place.
pub(crate) fn guard_mappings() {
    PAGE_SIZE.store(rustix::param::page_size(), Ordering::Relaxed);
    PREVIOUS.get_or_init(|| {
        // SAFETY: both structures are plain data that sigaction reads and
        // fills; the handler above only does what is allowed in one.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut previous: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                on_sigbus;
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &raw const action, &raw mut previous);
            previous
        }
    });
}

/// Has the process, and programs that it starts, ignore `signals`.
pub(crate) fn ignore_signals(signals: &[libc::c_int]) {
    for signal in signals {
        // SAFETY: no handler is installed, and that signals are valid is all that is
        // asked of the caller.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
    }
}

/// A stack for signal handlers of the calling thread, which may have used up its
/// own. It goes with the value.
pub(crate) struct AlternateStack {
    /// `None` where the system has none to give: handlers then run as before.
    memory: Option<MmapMut>,
}

impl AlternateStack {
    pub(crate) fn new() -> AlternateStack {
        // LLVM's handler jumps out at once; the state of wide registers that the
        // system saves there takes the most.
        const SIZE: usize = 64 << 10;
        let memory = MmapMut::map_anon(SIZE).ok().filter(|memory| {
            let stack = libc::stack_t {
                ss_sp: memory.as_ptr().cast_mut().cast(),
                ss_flags: 0,
                ss_size: SIZE,
            };
            // SAFETY: the memory is the thread's own as long as it is in use.
            unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) == 0 }
        });
        AlternateStack { memory }
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        if self.memory.is_some() {
            let none = libc::stack_t {
                ss_sp: std::ptr::null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: 0,
            };
            // SAFETY: only makes the system forget the memory, before it goes.
            unsafe { libc::sigaltstack(&raw const none, std::ptr::null_mut()) };
        }
    }
}

/// Has each thread take memory from a heap of its own, so that none waits for the
/// lock of a heap whose thread has crashed. By default glibc shares eight for
/// each core.
pub(crate) fn separate_heaps() {
    // SAFETY: only sets a limit, as documented.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, libc::c_int::MAX);
    }
}

/// Gives free memory of the C++ heaps back to the system, which costs milliseconds:
/// each thread's heap keeps it otherwise. It waits for the locks of all heaps.
pub(crate) fn give_back_memory() {
    // SAFETY: touches nothing that is in use, as documented.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the calling thread a working directory of its own, as far as the
/// system allows (containers may forbid it). After `Ok`, [`enter`] changes it
/// for this thread alone.
pub(crate) fn own_working_directory() -> io::Result<()> {
    // SAFETY: only detaches this thread's file-system attributes (working
    // directory, root, umask) from those of the process.
    match unsafe { libc::unshare(libc::CLONE_FS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The jobserver of the make or cargo that this process was started by, if it
/// has one that can be reached.
pub(crate) fn jobserver() -> Option<jobserver::Client> {
    static CLIENT: OnceLock<Option<jobserver::Client>> = OnceLock::new();
    // SAFETY: the descriptors are asked for once in the life of the process, and
    // taken for a jobserver's only if they are pipes that MAKEFLAGS names.
    let client =
        CLIENT.get_or_init(|| unsafe { jobserver::Client::from_env_ext(true).client.ok() });
    client.clone()
}

/// Runs `act` with `directory` for its working directory, where threads can have
/// their own.
///
/// # Errors
/// When there is no thread to be had; `act` is not run then.
pub(crate) fn in_directory<T: Send>(directory: &Path, act: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            if own_working_directory().is_ok() {
                // Without it, relative names are only looked for elsewhere.
                let _ = enter(directory);
            }
            act()
        });
        let thread = thread.map_err(|e| {
            let text = format!("cannot start a thread for `{}`", directory.display());
            Error::new(Kind::Environment, text).because(e)
        })?;
        Ok(thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Has the system end this process when the one that started it ends.
pub(crate) fn end_with_parent() {
    // Where that is not to be had, the end of its socket tells, if later.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

/// Ends the process without running anybody's clean-up.
pub(crate) fn exit_now(status: i32) -> ! {
    // Standard output is the only stream with a buffer of ours.
    let _ = io::Write::flush(&mut io::stdout());
    // SAFETY: does not return, and touches no memory of the process.
    unsafe { libc::_exit(status) }
}

/// Changes the working directory of the thread (see
/// [`own_working_directory`]), else of the process.
pub(crate) fn enter(directory: &Path) -> io::Result<()> {
    std::env::set_current_dir(directory)
}

/// What tells the programs and libraries in this process from their other builds,
/// one item for each: its build ID, else the hash of its code and constants in
/// memory. What the kernel provides (the vDSO) has neither file nor say.
pub(crate) fn loaded_code() -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    // SAFETY: the callback gets the pointer to `found`, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit_loaded), (&raw mut found).cast()) };
    found
}

/// Functions of libm as LLVM computes constants with (`ConstantFolding.cpp`), of some of which
/// a library has several, with results that differ in the last bit. What it takes for one, it
/// takes by what the processor can do, so these speak for the others.
const OF_LIBM: [&CStr; 25] = [
    c"acos", c"acosh", c"asin", c"asinh", c"atan", c"atan2", c"atanh", c"cos", c"cosf", c"cosh",
    c"erf", c"exp", c"exp2", c"exp2f", c"expf", c"log", c"log10", c"log1p", c"log2", c"logf",
    c"pow", c"powf", c"sin", c"tan", c"tanh",
];

/// Where in their library those functions of libm are that the loader has chosen for this
/// processor. The build ID is the same for all of them.
pub(crate) fn chosen_of_libm() -> Vec<usize> {
    let place = |name: &&CStr| {
        // SAFETY: a name that ends in NUL; `RTLD_DEFAULT` is no handle to be freed.
        let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: any address may be asked for; what is not known leaves zeroes, which are
        // null pointers.
        let base = unsafe {
            libc::dladdr(function, info.as_mut_ptr());
            info.assume_init().dli_fbase
        };
        function.addr().wrapping_sub(base.addr())
    };
    OF_LIBM.iter().map(place).collect()
}

/// # Safety
/// Called by dl_iterate_phdr with the pointer that [`loaded_code`] passes.
unsafe extern "C" fn visit_loaded(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    found: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader passes a valid description, its headers included, and
    // `found` is the list of `loaded_code`.
    let (info, headers, found) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        (info, headers, &mut *found.cast::<Vec<Vec<u8>>>())
    };
    // SAFETY: the loader keeps what its headers describe mapped and readable as
    // long as the object is loaded, and holds its lock during this call.
    let bytes = |header: &libc::Elf64_Phdr| unsafe {
        let start = info.dlpi_addr.wrapping_add(header.p_vaddr) as *const u8;
        std::slice::from_raw_parts(start, usize::try_from(header.p_memsz).unwrap_or(0))
    };
    // SAFETY: a name is null or ends in NUL.
    let name = (!info.dlpi_name.is_null()).then(|| unsafe { CStr::from_ptr(info.dlpi_name) });
    if name.is_some_and(|name| name.to_bytes().starts_with(b"linux-vdso")) {
        return 0;
    }
    let notes = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_NOTE);
    let build_id = notes.filter_map(|header| build_id(bytes(header))).next();
    found.push(build_id.map_or_else(
        || {
            let is_code = |header: &&libc::Elf64_Phdr| {
                header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0
            };
            let mut hasher = Hasher::new();
            for header in headers.iter().filter(is_code) {
                hasher.field("segment", bytes(header));
            }
            hasher.digest().as_bytes().to_vec()
        },
        <[u8]>::to_vec,
    ));
    0
}

/// The build ID among the ELF notes `notes` (`elf(5)`): each has the lengths of its
/// name and of its content and its kind, then both, padded to four bytes.
fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let word = |notes: &[u8], at: usize| {
        let bytes = notes.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    loop {
        let name_length = word(notes, 0)? as usize;
        let length = word(notes, 4)? as usize;
        let kind = word(notes, 8)?;
        let start = 12 + name_length.next_multiple_of(4);
        let content = notes.get(start..start.checked_add(length)?)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..12 + name_length)? == b"GNU\0" {
            return Some(content);
        }
        notes = notes.get(start + length.next_multiple_of(4)..)?;
    }
}
