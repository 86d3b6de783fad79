#include "framework/host/crash.hh"

#include "framework/host/direct.hh"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>
#include <atomic>
#include <csignal>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

extern "C" {
// The linker's: where the file's first byte is mapped, and the program's code.
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char __executable_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));
// libstdc++'s demangler without an allocation: it hands out pieces of the name. Weak: the shared library, which only
// builds with sanitizers use, keeps it to itself.
[[gnu::weak]] int __gcclibcxx_demangle_callback(const char* mangled, void (*take)(const char*, size_t, void*),
                                                void* context);
}

namespace solaster::internal {
namespace {

constexpr size_t stack_bytes = 128 << 10;
constexpr unsigned frames_max = 64;
constexpr unsigned long null_zone = 64 << 10;
constexpr unsigned long stack_reach = 256 << 10;  // how far from the stack pointer an access of a full stack can be
constexpr int caught[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

const char* program_name = "program";

void say(std::string_view text) noexcept {
  while (!text.empty()) {
    ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n <= 0) {
      return;
    }
    text.remove_prefix(size_t(n));
  }
}

// One line, cut rather than allocated.
template <typename... A>
void say_line(fmt::format_string<A...> f, A&&... a) noexcept {
  char line[600];
  auto out = fmt::format_to_n(line, sizeof line - 1, f, std::forward<A>(a)...);
  size_t n = std::min(out.size, sizeof line - 1);
  line[n] = '\n';
  say({line, n + 1});
}

// The program's own file, for its symbols.
class symbol_table {
 public:
  symbol_table() noexcept {
    int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat s{};
    if (fd < 0 || fstat(fd, &s) != 0 || size_t(s.st_size) < sizeof(Elf64_Ehdr)) {
      return;
    }
    void* at = mmap(nullptr, size_t(s.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    ::close(fd);
    if (at == MAP_FAILED) {
      return;
    }
    // SAFETY (file): the other casts are addresses as numbers; the program that runs is a well-formed ELF file; sizes
    // were its linker's.
    _file = static_cast<const char*>(at);
    auto* header = reinterpret_cast<const Elf64_Ehdr*>(_file);
    auto* sections = reinterpret_cast<const Elf64_Shdr*>(_file + header->e_shoff);
    _bias = header->e_type == ET_DYN ? reinterpret_cast<uintptr_t>(__ehdr_start) : 0;
    for (unsigned i = 0; i < header->e_shnum; ++i) {
      if (sections[i].sh_type == SHT_SYMTAB) {
        _symbols = reinterpret_cast<const Elf64_Sym*>(_file + sections[i].sh_offset);
        _count = sections[i].sh_size / sizeof(Elf64_Sym);
        _names = _file + sections[sections[i].sh_link].sh_offset;
      }
    }
  }
  struct found {
    const char* name;
    uintptr_t offset;
  };
  std::optional<found> find(uintptr_t address) const noexcept {
    uintptr_t wanted = address - _bias;
    for (size_t i = 0; i < _count; ++i) {
      const Elf64_Sym& s = _symbols[i];
      if (ELF64_ST_TYPE(s.st_info) == STT_FUNC && s.st_shndx != SHN_UNDEF && wanted >= s.st_value &&
          wanted < s.st_value + s.st_size) {
        return found{_names + s.st_name, wanted - s.st_value};
      }
    }
    return std::nullopt;
  }

 private:
  const char* _file = nullptr;
  const Elf64_Sym* _symbols = nullptr;
  const char* _names = nullptr;
  size_t _count = 0;
  uintptr_t _bias = 0;
};

struct readable_name {
  char text[400];
  size_t length = 0;
};

// The name alone, as the kernel's reports have it: `a::(anonymous)::b<>.resume` of a name with all its types.
void shorten(readable_name& n) noexcept {
  std::string_view in(n.text, n.length);
  constexpr std::pair<std::string_view, std::string_view> words[] = {
      {"(anonymous namespace)", "(anonymous)"}, {"operator()", "operator()"}, {" [clone ", ""}};
  size_t to = 0;
  for (size_t i = 0; i < in.size();) {
    bool taken = false;
    for (auto [word, instead] : words) {
      if (in.substr(i, word.size()) == word) {
        std::memmove(n.text + to, instead.data(), instead.size());
        to += instead.size();
        i += word.size();
        taken = true;
        break;
      }
    }
    if (taken) {
      continue;
    }
    char c = in[i];
    if (c == '(' || c == '<') {  // to its end, whatever is in it
      int depth = 0;
      do {
        depth += (in[i] == '(' || in[i] == '<') - (in[i] == ')' || in[i] == '>');
      } while (++i < in.size() && depth > 0);
      if (c == '<') {
        n.text[to++] = '<';
        n.text[to++] = '>';
      }
    } else if (c == ']') {
      ++i;
    } else {
      n.text[to++] = c;
      ++i;
    }
  }
  // A template's name begins with its result.
  std::string_view out(n.text, to);
  size_t blank = out.rfind(' ', out.find("<>"));
  size_t from = blank != out.npos && out.find("operator") == out.npos && out.find(" const") != blank ? blank + 1 : 0;
  n.length = to - from;
  std::memmove(n.text, n.text + from, n.length);
}

std::string_view demangle(const char* mangled, readable_name& out) noexcept {
  auto take = [](const char* piece, size_t n, void* context) {
    auto& o = *static_cast<readable_name*>(context);
    n = std::min(n, sizeof o.text - o.length);
    std::memcpy(o.text + o.length, piece, n);
    o.length += n;
  };
  if (!__gcclibcxx_demangle_callback || __gcclibcxx_demangle_callback(mangled, take, &out) != 0) {
    return mangled;
  }
  shorten(out);
  return {out.text, out.length};
}

// Prints frames; a run of the same address (recursion) becomes one line.
class frame_printer {
 public:
  void add(uintptr_t address, bool is_return) noexcept {
    if (address == _last) {
      ++_repeats;
      return;
    }
    end_run();
    _last = address;
    // A return address may be the first byte of the next function: look up the call.
    auto s = _symbols.find(address - is_return);
    readable_name name;
    if (s) {
      say_line("{}:   #{} {:016x} {}+{:#x}", program_name, _index++, address, demangle(s->name, name),
               s->offset + is_return);
    } else {
      say_line("{}:   #{} {:016x}", program_name, _index++, address);
    }
  }
  void end_run() noexcept {
    if (_repeats) {
      say_line("{}:   ... the same {} more times", program_name, _repeats);
    }
    _index += std::exchange(_repeats, 0u);
  }

 private:
  symbol_table _symbols;
  uintptr_t _last = 0;
  unsigned _index = 0, _repeats = 0;
};

bool is_code(uintptr_t address) noexcept {
  return address >= reinterpret_cast<uintptr_t>(__executable_start) && address < reinterpret_cast<uintptr_t>(etext);
}

// Reads two words that may not be there: the kernel checks them, as write(2)'s buffer.
bool read_frame(uintptr_t at, uintptr_t (&out)[2]) noexcept {
  int ends[2];
  if (at % sizeof(uintptr_t) != 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    return false;
  }
  bool good = ::write(ends[1], reinterpret_cast<const void*>(at), sizeof out) == ssize_t(sizeof out) &&
              ::read(ends[0], out, sizeof out) == ssize_t(sizeof out);
  ::close(ends[0]);
  ::close(ends[1]);
  return good;
}

struct walk {
  frame_printer* out;
  uintptr_t from;       // where the signal came
  bool begun = false;   // the frames before are the report's own
  unsigned frames = 0;  // without repeated ones
  uintptr_t last = 0;
};

_Unwind_Reason_Code on_frame(_Unwind_Context* c, void* context) {
  auto& w = *static_cast<walk*>(context);
  int before = 0;
  uintptr_t ip = _Unwind_GetIPInfo(c, &before);
  if (ip == 0 || w.frames == frames_max) {
    return _URC_NORMAL_STOP;
  }
  bool first = !w.begun && ip == w.from;
  w.begun |= first;
  if (w.begun) {
    w.frames += ip != w.last;
    w.last = ip;
    w.out->add(ip, !first);
  }
  return _URC_NO_REASON;
}

void print_backtrace(const ucontext_t& u) noexcept {
  frame_printer out;
  auto rip = uintptr_t(u.uc_mcontext.gregs[REG_RIP]);
  if (is_code(rip)) {
    walk w{&out, rip};
    _Unwind_Backtrace(on_frame, &w);
    if (!w.begun) {
      out.add(rip, false);
    }
    return out.end_run();
  }
  // A jump through a bad pointer has no unwind table: the caller is what the call left on the stack, and from there our
  // own functions keep frame pointers.
  out.add(rip, false);
  uintptr_t frame[2];
  if (read_frame(uintptr_t(u.uc_mcontext.gregs[REG_RSP]) & ~uintptr_t{7}, frame) && is_code(frame[0])) {
    out.add(frame[0], true);
  }
  auto rbp = uintptr_t(u.uc_mcontext.gregs[REG_RBP]);
  for (unsigned i = 0; i < frames_max && read_frame(rbp, frame) && is_code(frame[1]); ++i) {
    out.add(frame[1], true);
    if (frame[0] <= rbp) {
      break;
    }
    rbp = frame[0];
  }
  out.end_run();
}

std::string_view describe_fault(const siginfo_t& s, const ucontext_t& u, char (&out)[160]) noexcept {
  auto format = [&](auto f, const auto&... a) {
    return std::string_view(out, std::min(fmt::format_to_n(out, sizeof out, f, a...).size, sizeof out));
  };
  if (s.si_signo == SIGABRT) {
    return "abort() was called";
  }
  if (s.si_code <= 0) {
    return "sent by a process";
  }
  if (s.si_signo == SIGFPE) {
    return s.si_code == FPE_INTDIV ? "integer division by zero or overflow" : "floating-point exception";
  }
  if (s.si_signo == SIGILL) {
    return "invalid instruction";
  }
  auto address = reinterpret_cast<uintptr_t>(s.si_addr), rsp = uintptr_t(u.uc_mcontext.gregs[REG_RSP]);
  auto error = u.uc_mcontext.gregs[REG_ERR];
  if (s.si_code == SI_KERNEL) {
    return "general protection fault (a non-canonical address or a misaligned vector access)";
  }
  const char* access = error & 16 ? "jump to" : error & 2 ? "write to" : "read of";
  if (address < null_zone) {
    return format(FMT_STRING("null pointer dereference: {} address {:#x}"), access, address);
  }
  if (s.si_signo == SIGSEGV && address + stack_reach >= rsp && address < rsp + 4096) {
    return format(FMT_STRING("stack overflow: {} address {:#x}"), access, address);
  }
  return format(FMT_STRING("{} address {:#x}, which is {}"), access, address,
                s.si_signo == SIGBUS       ? "behind the end of its file"
                : s.si_code == SEGV_MAPERR ? "not mapped"
                : error & 16               ? "not executable"
                : error & 2                ? "not writable"
                                           : "not readable");
}

void on_crash(int number, siginfo_t* info, void* context) {
  static std::atomic<bool> is_dying{false};
  if (is_dying.exchange(true)) {
    for (;;) {
      pause();  // another thread's report is being written; the process ends with it
    }
  }
  for (int n : caught) {
    signal(n, SIG_DFL);  // a fault of the report ends it
  }
  const auto& u = *static_cast<const ucontext_t*>(context);
  const auto& r = u.uc_mcontext.gregs;
  char reason[160], thread[16] = "?";
  prctl(PR_GET_NAME, thread);
  say_line("{}: killed by SIG{}: {} (thread {} \"{}\")", program_name, sigabbrev_np(number),
           describe_fault(*info, u, reason), syscall(SYS_gettid), thread);
  say_line("{}:   rip {:016x} rsp {:016x} rbp {:016x} rax {:016x}", program_name, uint64_t(r[REG_RIP]),
           uint64_t(r[REG_RSP]), uint64_t(r[REG_RBP]), uint64_t(r[REG_RAX]));
  print_backtrace(u);
  // To be taken when this handler returns, and not by another thread.
  syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
}

}  // namespace

void install_crash_report(const char* name) noexcept {
  if (is_guest()) {
    return;
  }
  program_name = name;
  give_crash_stack();
  for (int number : caught) {
    struct sigaction now{}, ours{};
    if (sigaction(number, nullptr, &now) != 0 || now.sa_handler != SIG_DFL) {
      continue;
    }
    ours.sa_sigaction = &on_crash;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(number, &ours, nullptr);
  }
}

void give_crash_stack() noexcept {
  stack_t have{};
  if (is_guest() || sigaltstack(nullptr, &have) != 0 || !(have.ss_flags & SS_DISABLE)) {
    return;
  }
  void* at = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    return;  // reported all the same, but for an overflow of the stack
  }
  stack_t ours{.ss_sp = at, .ss_flags = 0, .ss_size = stack_bytes};
  sigaltstack(&ours, nullptr);  // for the life of the process: shards end with it
}

}  // namespace solaster::internal
