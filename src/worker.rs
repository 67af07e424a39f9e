//! A process that compiles for another one, which must not do it itself: it has
//! seen LLVM crash, or its LLVM has other options in force.

use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use crate::compile::{Compiled, Failure, Imported, Watch};
use crate::error::{Error, Kind, Result};
use crate::execute::wire::{self, Hello, Request};
use crate::execute::{STACK_SIZE, Shown};
use crate::flags;
use crate::llvm::{self, Adopted, CompileInput, Invocation};
use crate::sys;

/// Compiles what comes in by standard input, which is the socket of the process
/// that has started this one, until it closes that. A program that is to be
/// [`Options::helper`](crate::Options::helper) calls it when its first argument is
/// `worker`, after [`own_process`](crate::own_process).
///
/// # Errors
/// When standard input is no such socket.
pub fn serve() -> Result<()> {
    sys::end_with_parent();
    // They come to all processes of a terminal. The other process decides.
    sys::ignore_signals(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]);
    let failed = |e| Error::new(Kind::Environment, "cannot compile for another process").because(e);
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let serving = std::thread::Builder::new()
        .name("backend".to_owned())
        .stack_size(STACK_SIZE)
        .spawn(move || {
            let _stack = sys::AlternateStack::new();
            serve_jobs(BufReader::new(UnixStream::from(socket)))
        })
        .map_err(failed)?;
    match serving.join() {
        // The other process has ended, or needs nothing more.
        Ok(Err(e)) if wire::is_end(&e) => Ok(()),
        Ok(served) => served.map_err(failed),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn serve_jobs(mut socket: BufReader<UnixStream>) -> io::Result<()> {
    wire::send(socket.get_mut(), &Hello::of_this_process(), &[])?;
    let mut mapped: Option<(Request, Invocation)> = None;
    while let Some((request, inputs)) = wire::receive::<Request>(&mut socket)? {
        if inputs.len() != request.bodies() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "inputs missing"));
        }
        // Jobs with one flag set tend to come together.
        let same = mapped.as_ref().is_some_and(|(last, _)| {
            last.args == request.args && last.mapped_in() == request.mapped_in()
        });
        let invocation = match mapped.take() {
            Some((_, invocation)) if same => Ok(invocation),
            _ => map(&request),
        };
        let compiled = match invocation {
            Ok(invocation) => {
                let compiled = compile(&request, &invocation, &inputs, &mut socket);
                if request.gives_back {
                    sys::give_back_memory();
                }
                mapped = Some((request, invocation));
                compiled
            }
            Err(failure) => failure.into(),
        };
        wire::send_compiled(socket.get_mut(), compiled)?;
    }
    Ok(())
}

fn map(request: &Request) -> std::result::Result<Invocation, Failure> {
    let (invocation, messages) = flags::map_inside(&request.args, &request.mapped_in())
        .map_err(|e| Failure::NoProcess(e.to_string()))?;
    // The other process has mapped it before.
    invocation.ok_or(Failure::Reported(messages))
}

fn compile(
    request: &Request,
    invocation: &Invocation,
    inputs: &[Vec<u8>],
    socket: &mut BufReader<UnixStream>,
) -> Compiled {
    match llvm::adopt_options(&request.llvm_options) {
        Adopted::InForce => {}
        Adopted::Others => return Failure::OtherOptions.into(),
        Adopted::Rejected(text) => return Failure::Options(text).into(),
    }
    if let Err(e) = sys::enter(request.directory()) {
        return Failure::Directory(e.to_string()).into();
    }
    let mut bytes = inputs.iter().map(Vec::as_slice);
    // There are as many as there are names.
    let mut named = |name| (name, bytes.next().unwrap_or_default());
    let module = named(request.module.as_str());
    let index = request.index.as_deref().map(&mut named);
    let input = CompileInput {
        invocation,
        module,
        index,
        imports: request.imports.iter().map(|name| named(name)).collect(),
        output: &request.output,
        time_trace: request.time_trace,
        wants_functions: request.wants_functions,
    };
    let last_words = socket.get_ref().try_clone();
    let mut asker = Asker {
        socket,
        assembly: Vec::new(),
        wants_imported: request.wants_imported,
    };
    llvm::compile(&input, &mut asker, &|failure, diagnostics| {
        if let Ok(socket) = &last_words {
            let compiled = Compiled {
                diagnostics,
                ..failure.into()
            };
            // If nobody listens, nobody minds.
            let _ = wire::send_compiled(&mut &*socket, compiled);
        }
        sys::exit_now(1)
    })
}

/// Asks the other process whether the object is needed.
struct Asker<'a> {
    socket: &'a mut BufReader<UnixStream>,
    assembly: Vec<Vec<u8>>,
    wants_imported: bool,
}

impl Asker<'_> {
    fn ask(&mut self, shown: &Shown) -> io::Result<bool> {
        wire::send_shown(self.socket.get_mut(), shown)?;
        let mut answer = [0];
        self.socket.read_exact(&mut answer)?;
        Ok(answer[0] != 0)
    }
}

impl Watch for Asker<'_> {
    fn wants_imported(&self) -> bool {
        self.wants_imported
    }

    fn assembly(&mut self, text: &[u8]) {
        self.assembly.push(text.to_owned());
    }

    fn imported(&mut self, imported: Option<Imported>) -> bool {
        let shown = Shown {
            assembly: std::mem::take(&mut self.assembly),
            imported,
        };
        // Without the other process, the object is not needed either.
        self.ask(&shown).unwrap_or(false)
    }
}
