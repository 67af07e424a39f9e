// A compiler that is built on LLVM itself and leaves the ThinLTO back ends to
// backlto, with the LLVM that both share. It builds its modules with LLVM's API,
// has set options and a handler of its own, and finds them untouched afterwards.

#include <backlto.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Module.h>
#include <llvm/Support/CommandLine.h>
#include <llvm/Support/ErrorHandling.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

template <auto Free> struct Deleter {
  template <typename T> void operator()(T *Pointer) const { Free(Pointer); }
};
using Engine = std::unique_ptr<backlto_engine, Deleter<backlto_engine_free>>;
using Plan = std::unique_ptr<backlto_plan, Deleter<backlto_plan_free>>;
using Reports = std::unique_ptr<backlto_reports, Deleter<backlto_reports_free>>;
using Buffers = std::unique_ptr<backlto_buffers, Deleter<backlto_buffers_free>>;

/// The error that a call stores, thrown at the end of the expression.
struct OrThrow {
  backlto_error *Error = nullptr;
  operator backlto_error **() { return &Error; }
  ~OrThrow() noexcept(false) {
    if (!Error)
      return;
    std::string Message = backlto_error_message(Error);
    backlto_error_free(Error);
    throw std::runtime_error(Message);
  }
};

backlto_bytes bytes(const std::string &Text) {
  return {reinterpret_cast<const uint8_t *>(Text.data()), Text.size()};
}

/// `main` returns what `answer` does, less 42, and `answer` 42.
std::string build(const std::string &Name, const std::string &Triple) {
  llvm::LLVMContext Context;
  llvm::Module M(Name, Context);
#if LLVM_VERSION_MAJOR < 21
  M.setTargetTriple(Triple);
#else
  M.setTargetTriple(llvm::Triple(Triple));
#endif
  auto *Int = llvm::Type::getInt32Ty(Context);
  auto *Type = llvm::FunctionType::get(Int, false);
  auto *F = llvm::Function::Create(Type, llvm::Function::ExternalLinkage, Name, M);
  llvm::IRBuilder<> Builder(llvm::BasicBlock::Create(Context, "", F));
  llvm::Value *Result = Builder.getInt32(42);
  if (Name == "main")
    Result = Builder.CreateSub(Builder.CreateCall(M.getOrInsertFunction("answer", Type)), Result);
  Builder.CreateRet(Result);
  std::string Text;
  llvm::raw_string_ostream(Text) << M;
  return Text;
}

llvm::cl::opt<unsigned> Own("host-option", llvm::cl::init(1));
void onFatal(void *, const char *Reason, bool) {
  std::cout << "the host handles: " << Reason << std::endl;
  std::_Exit(0);
}
void onSignal(int) {}

/// What this host has set before, and must find again.
class Settings {
public:
  Settings() {
    const char *Args[] = {"host", "-host-option=7", "-inline-threshold=99"};
    llvm::cl::ParseCommandLineOptions(3, Args);
    llvm::InitializeNativeTarget();
    llvm::install_fatal_error_handler(onFatal);
    std::signal(SIGSEGV, onSignal);
    std::signal(SIGBUS, onSignal);
  }
  void check() const {
    auto *Threshold = llvm::cl::getRegisteredOptions()["inline-threshold"];
    if (Own != 7 || Threshold->getNumOccurrences() != 1)
      throw std::runtime_error("an LLVM option of the host was reset");
    if (std::signal(SIGSEGV, onSignal) != onSignal || std::signal(SIGBUS, onSignal) != onSignal)
      throw std::runtime_error("a signal handler of the host was replaced");
    llvm::report_fatal_error("the end");
  }
};

void run(const std::string &Triple, const std::string &Directory) {
  const std::vector<std::string> Names = {"main", "answer"};
  std::vector<Buffers> Bitcode;
  std::vector<backlto_module> Modules;
  for (const std::string &Name : Names) {
    std::string Source = build(Name, Triple);
    Bitcode.emplace_back(backlto_thin_lto_bitcode(Name.c_str(), bytes(Source), OrThrow()));
    Modules.push_back({Name.c_str(), backlto_buffers_get(Bitcode.back().get(), 0)});
  }
  const char *Used[] = {"main", nullptr};
  backlto_thin_link_options Link = {};
  Link.struct_size = sizeof Link;
  Link.used = Used;
  Buffers Indexes(backlto_thin_link(Modules.data(), Modules.size(), &Link, OrThrow()));

  backlto_codegen Codegen = {};
  Codegen.struct_size = sizeof Codegen;
  Codegen.target = Triple.c_str();
  // Modules go through memory if the loader found backlto before LLVM, which is a
  // matter of the order in which this program was linked.
  const bool InMemory = backlto_shares_inputs();
  std::cout << (InMemory ? "in memory\n" : "in files\n");
  Plan P(backlto_plan_new(/*in_memory=*/true));
  auto Give = [&](const std::string &Name, backlto_bytes Bytes) {
    if (InMemory)
      backlto_plan_add_file(P.get(), Name.c_str(), Bytes, OrThrow());
    else
      std::ofstream(Directory + "/" + Name, std::ios::binary)
          .write(reinterpret_cast<const char *>(Bytes.data), Bytes.size);
  };
  for (size_t I = 0; I != Names.size(); ++I) {
    Give(Names[I], Modules[I].bitcode);
    Give(Names[I] + ".thinlto.bc", backlto_buffers_get(Indexes.get(), I));
    backlto_job Job = {};
    Job.struct_size = sizeof Job;
    Job.module = Names[I].c_str();
    Job.directory = Directory.c_str();
    Job.codegen = &Codegen;
    backlto_plan_add_job(P.get(), &Job, OrThrow());
  }
  Engine E(backlto_engine_new(nullptr, OrThrow()));
  Reports R(backlto_run(E.get(), P.get(), nullptr, OrThrow()));
  for (size_t I = 0; I != Names.size(); ++I) {
    if (const backlto_error *Why = backlto_reports_error(R.get(), I))
      throw std::runtime_error(backlto_error_message(Why));
    backlto_bytes Object = backlto_reports_object(R.get(), I);
    std::ofstream(Directory + "/" + Names[I] + ".o", std::ios::binary)
        .write(reinterpret_cast<const char *>(Object.data), Object.size);
  }
}

} // namespace

int main(int Count, char **Args) try {
  if (Count != 3) {
    std::cerr << "usage: " << Args[0] << " TRIPLE DIRECTORY\n";
    return 2;
  }
  Settings Own;
  run(Args[1], Args[2]);
  Own.check();
  return 1;
} catch (const std::exception &E) {
  std::cerr << "error: " << E.what() << "\n";
  return 1;
}
