// The program's start: what the command line names is found in the initrd, loaded, given a stack, and entered.
//
// Spec: psABI 3.4.1 (initial stack), Linux fs/binfmt_elf.c (create_elf_tables) for the auxiliary vector.
// Context: the first kernel thread. Errors of the user end in refuse(): one line.

#include <cstring>

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/direct/direct.hh"
#include "kernel/firmware/boot_info.hh"
#include "kernel/fs/tty.hh"
#include "kernel/lib/entropy.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/sched/hooks.hh"
#include "kernel/task/process.hh"
#include "kernel/task/signal.hh"

namespace solaster::kernel::task {

namespace {

constexpr usize environment_max = 256;

struct string_list {
  std::string_view items[arguments_max];
  usize count = 0;
};

// Writes downwards on the program's stack. A failure means that memory is out.
class stack_writer {
 public:
  explicit stack_writer(uptr top) : _at(top) {}
  uptr at() const { return _at; }
  void align(u64 a) { _at = align_down(_at, a); }
  uptr push(const void* bytes, usize n) {
    _at -= n;
    if (!mm::copy_out(mm::program_pointer<void>(_at), bytes, n))
      refuse("not enough memory for the program's stack");
    return _at;
  }
  uptr push_string(std::string_view s) {
    push("", 1);
    return push(s.data(), s.size());
  }
  void push_word(u64 w) { push(&w, sizeof w); }

 private:
  uptr _at;
};

uptr map_stack() {
  auto& p = the_process();
  u64 total = main_stack_bytes + main_stack_guard_bytes;
  mm::map_request guard;
  guard.address = mm::random_base(total);
  guard.length = total;
  guard.prot = mm::prot_none;
  auto low = mm::map(guard);
  if (!low)
    refuse("cannot map the program's stack");
  mm::map_request stack;
  stack.address = *low + main_stack_guard_bytes;
  stack.length = main_stack_bytes;
  stack.fixed = true;
  stack.is_stack = true;
  stack.no_reserve = true;  // in a small machine it is larger than the RAM, and only touched pages cost
  stack.name = "[stack]";
  if (!mm::map(stack))
    refuse("cannot map the program's stack");
  p.stack_low = stack.address;
  p.stack_high = stack.address + main_stack_bytes;
  return p.stack_high;
}

uptr map_vdso() {
  mm::map_request r;
  r.address = mm::random_base(direct::vdso_size);
  r.length = direct::vdso_size;
  r.prot = mm::prot_read | mm::prot_exec;
  r.kind = mm::backing::bytes;
  auto image = direct::build_vdso(r.address);
  r.bytes = image.data();
  r.bytes_length = image.size();
  r.fixed = true;
  r.name = "[vdso]";
  auto at = mm::map(r);
  if (!at)
    refuse("cannot map the vDSO");
  return *at;
}

void fill_auxv(const loaded_program& program, uptr vdso, uptr random, uptr platform, uptr file_name) {
  auto& p = the_process();
  const abi::auxv_entry entries[] = {
      {abi::at_sysinfo_ehdr, vdso},
      {abi::at_minsigstksz, signal_frame_max()},
      {abi::at_hwcap, cpuid(1).edx},
      {abi::at_pagesz, page_size},
      {abi::at_clktck, 100},
      {abi::at_phdr, program.phdr},
      {abi::at_phent, sizeof(abi::elf_phdr)},
      {abi::at_phnum, program.phnum},
      {abi::at_base, 0},
      {abi::at_flags, 0},
      {abi::at_entry, program.entry},
      {abi::at_uid, 0},
      {abi::at_euid, 0},
      {abi::at_gid, 0},
      {abi::at_egid, 0},
      {abi::at_secure, 0},
      {abi::at_random, random},
      // No FSGSBASE (bit 1): GS is the kernel's, and FS must not change behind its back.
      {abi::at_hwcap2, 0},
      {abi::at_execfn, file_name},
      {abi::at_platform, platform},
      {abi::at_null, 0},
  };
  static_assert(sizeof entries <= sizeof p.auxv);
  std::memcpy(p.auxv, entries, sizeof entries);
  p.auxv_count = sizeof entries / sizeof entries[0];
}

// Strings first (highest), then the vectors below them. Returns the program's first stack pointer.
uptr fill_stack(uptr top, const loaded_program& program, uptr vdso, const string_list& arguments,
                const string_list& environment) {
  auto& p = the_process();
  stack_writer w(top - 16);
  static uptr pointers[arguments_max + environment_max + 2];
  usize n = 0;
  uptr file_name = w.push_string(p.executable_path);
  p.environment_end = w.at();
  for (usize i = environment.count; i-- > 0;)
    pointers[arguments.count + 1 + i] = w.push_string(environment.items[i]);
  p.environment_start = p.arguments_end = w.at();
  for (usize i = arguments.count; i-- > 0;)
    pointers[i] = w.push_string(arguments.items[i]);
  p.arguments_start = w.at();
  pointers[arguments.count] = pointers[arguments.count + 1 + environment.count] = 0;
  n = arguments.count + environment.count + 2;
  uptr platform = w.push_string("x86_64");
  u8 seed[16];
  random_bytes(seed, sizeof seed);
  w.align(16);
  uptr random = w.push(seed, sizeof seed);
  fill_auxv(program, vdso, random, platform, file_name);
  usize bytes = p.auxv_count * sizeof(abi::auxv_entry) + n * sizeof(uptr) + sizeof(u64);
  if ((w.at() - bytes) % 16)
    w.push_word(0);
  w.push(p.auxv, p.auxv_count * sizeof(abi::auxv_entry));
  w.push(pointers, n * sizeof(uptr));
  w.push_word(arguments.count);
  return w.at();
}

// Cuts `line` at blanks; double quotes and backslashes keep them. The text is unquoted in place in a copy.
void split_line(std::string_view line, string_list& out) {
  char* to = static_cast<char*>(kmalloc(line.size() + 1));
  if (!to)
    refuse("not enough memory for the command line");
  usize i = 0;
  for (;;) {
    while (i < line.size() && (line[i] == ' ' || line[i] == '\t' || line[i] == '\n'))
      i++;
    if (i == line.size())
      return;
    if (out.count == arguments_max)
      refuse("the command line has more than {} arguments", arguments_max);
    char* start = to;
    bool quoted = false;
    for (; i < line.size() && (quoted || (line[i] != ' ' && line[i] != '\t' && line[i] != '\n')); i++) {
      if (line[i] == '"') {
        quoted = !quoted;
        continue;
      }
      if (line[i] == '\\' && i + 1 < line.size())
        i++;
      *to++ = line[i];
    }
    if (quoted)
      refuse("the command line has an opening quote without its end");
    out.items[out.count++] = {start, usize(to - start)};
  }
}

void open_standard_files() {
  auto& p = the_process();
  p.cwd.set(fs::root());
  auto console = fs::open(fs::root().get(), "/dev/console", abi::o_rdwr, 0);
  for (int fd = 0; fd < 3; fd++)
    if (!console || !p.files.add(*console, false))
      refuse("not enough memory for the program's files");
}

void find_executable(std::string_view path) {
  auto& p = the_process();
  if (path.size() + 2 > sizeof p.executable_path)
    refuse("the program's path is too long");
  usize n = 0;
  if (path.front() != '/')
    p.executable_path[n++] = '/';
  std::memcpy(p.executable_path + n, path.data(), path.size());
  auto found = fs::resolve(fs::root().get(), p.executable_path, fs::follow::yes);
  if (!found)
    refuse("no program {} in the initrd", p.executable_path);
  if ((*found)->type() != fs::node_type::regular)
    refuse("{} is not a file", p.executable_path);
  p.executable = *found;
}

}  // namespace

void start_program() {
  auto& p = the_process();
  p.started_ns = now_ns();
  if (boot_info().initrd.empty())
    refuse("no initrd: the program is looked for in it (-initrd)");
  static string_list arguments, environment;
  split_line(boot_info().program_line, arguments);
  if (arguments.count == 0)
    refuse("no program on the kernel's command line (-append '-- /program arguments')");
  for (; environment.count < environment_max; environment.count++) {
    auto value = find_option("env", environment.count);
    if (value.data() == nullptr)
      break;
    environment.items[environment.count] = value;
  }
  fs::make_root(boot_info().initrd);
  find_executable(arguments.items[0]);
  auto file = p.executable->stable_content();
  if (file.empty())
    refuse("{} is empty", p.executable_path);
  p.image = file;
  p.executable->keep_as_program();
  auto program = load_elf(file, p.executable_path);
  p.load_bias = program.bias;
  mm::init_brk(program.end + mm::random_pages(9));
  uptr stack = map_stack();
  uptr vdso = map_vdso();
  open_standard_files();
  if (!create_task(current(), 0))
    refuse("not enough memory for the program's first thread");
  auto base = std::string_view(p.executable_path);
  base.remove_prefix(base.rfind('/') + 1);
  std::memset(current()->name, 0, sizeof current()->name);
  std::memcpy(current()->name, base.data(), base.size() < 15 ? base.size() : 15);
  trap_frame start = {};
  start.rip = program.entry;
  start.rsp = fill_stack(stack, program, vdso, arguments, environment);
  start.rflags = rflags_if | 2;
  fs::start_tty();
  sched::enter_program(start);
}

}  // namespace solaster::kernel::task
