// The vDSO: a small ELF image, put together in memory, whose functions are jumps into the kernel.
//
// Program and kernel share one address space and one privilege level, so what Linux must copy into the image can simply
// be called. The functions run on the caller's stack at depth 0: they take no lock and may be preempted. Spec: gABI
// chapter 5 (dynamic section, hash table), LSB symbol versions; vdso(7) for the names; solaster/direct.h.

#include <cstring>

#include "kernel/abi/elf.hh"
#include "kernel/abi/time.hh"
#include "kernel/direct/direct.hh"
#include "kernel/lib/panic.hh"
#include "kernel/sched/clock.hh"
#include "kernel/sched/thread.hh"

// SAFETY (file): functions and data become addresses in an image; the one instruction is a system call, as in a
// program.

namespace solaster::kernel::direct {

namespace {

constexpr i64 second = abi::ns_per_s;
constexpr long clock_gettime_number = 228, clock_getres_number = 229;

// Like a program: what is not served here goes the ordinary way.
int system_call(long number, long a, void* b) {
  long r;
  asm volatile("syscall" : "=a"(r) : "a"(number), "D"(a), "S"(b) : "rcx", "r11", "memory");
  return int(r);
}

extern "C" int vdso_clock_gettime(int id, abi::timespec* out) {
  i64 ns;
  switch (id) {
    case abi::clock_realtime:
    case abi::clock_realtime_coarse:
    case abi::clock_tai:
      ns = realtime_ns();
      break;
    case abi::clock_monotonic:
    case abi::clock_monotonic_raw:
    case abi::clock_monotonic_coarse:
    case abi::clock_boottime:
      ns = i64(now_ns());
      break;
    default:
      return system_call(clock_gettime_number, id, out);
  }
  out->sec = ns / second;
  out->nsec = ns % second;
  return 0;
}

extern "C" int vdso_clock_getres(int id, abi::timespec* out) {
  return system_call(clock_getres_number, id, out);
}

extern "C" int vdso_gettimeofday(abi::timeval* out, void* zone) {
  i64 ns = realtime_ns();
  if (out)
    *out = {ns / second, ns % second / 1000};
  if (zone)
    std::memset(zone, 0, 8);
  return 0;
}

extern "C" i64 vdso_time(i64* out) {
  i64 now = realtime_ns() / second;
  if (out)
    *out = now;
  return now;
}

extern "C" int vdso_getcpu(u32* cpu, u32* node, void*) {
  if (cpu)
    *cpu = sched::this_cpu();
  if (node)
    *node = 0;
  return 0;
}

constexpr u16 version_linux = 2, version_solaster = 3;

struct exported {
  const char* name;
  const void* function;  // null: the data symbol
  u16 version;
};

const exported exports[] = {
    {"__vdso_clock_gettime", reinterpret_cast<const void*>(&vdso_clock_gettime), version_linux},
    {"__vdso_clock_getres", reinterpret_cast<const void*>(&vdso_clock_getres), version_linux},
    {"__vdso_gettimeofday", reinterpret_cast<const void*>(&vdso_gettimeofday), version_linux},
    {"__vdso_time", reinterpret_cast<const void*>(&vdso_time), version_linux},
    {"__vdso_getcpu", reinterpret_cast<const void*>(&vdso_getcpu), version_linux},
    {SOLASTER_DIRECT_SYMBOL, nullptr, version_solaster},
};
constexpr usize exports_count = sizeof exports / sizeof exports[0];
constexpr usize symbols_count = exports_count + 1;  // the null symbol first

// The image's parts, each where the compiler puts it; offsets are virtual addresses relative to the base.
struct image {
  abi::elf_header header;
  abi::elf_phdr phdrs[2];
  abi::elf_dyn dynamic[10];
  abi::elf_sym symbols[symbols_count];
  u32 hash[2 + 1 + symbols_count];  // one bucket
  u16 versions[symbols_count];
  struct {
    abi::elf_verdef definition;
    abi::elf_verdaux name;
  } definitions[3];
  char strings[512];
  alignas(16) u8 code[exports_count][16];
  alignas(8) const void* table;
};
static_assert(sizeof(image) <= vdso_size);

class string_pool {
 public:
  explicit string_pool(image& to) : _to(to) {}
  u32 add(const char* s) {
    u32 at = _used;
    usize n = strlen(s) + 1;
    KCHECK(_used + n <= sizeof _to.strings);
    std::memcpy(_to.strings + at, s, n);
    _used += u32(n);
    return at;
  }

 private:
  image& _to;
  u32 _used = 1;  // offset 0 is the empty name
};

// gABI's hash of a name, which version definitions carry.
constexpr u32 elf_hash(const char* name) {
  u32 h = 0;
  for (; *name; name++) {
    h = (h << 4) + u8(*name);
    u32 top = h & 0xf0000000;
    h = (h ^ top >> 24) & ~top;
  }
  return h;
}
static_assert(elf_hash("LINUX_2.6") == 61765110);

void fill_header(image& i) {
  std::memcpy(i.header.ident, abi::elf_magic, 4);
  i.header.ident[4] = abi::elf_class64;
  i.header.ident[5] = abi::elf_data2lsb;
  i.header.ident[6] = 1;
  i.header.type = abi::elf_et_dyn;
  i.header.machine = abi::elf_em_x86_64;
  i.header.version = 1;
  i.header.phoff = offsetof(image, phdrs);
  i.header.ehsize = sizeof(abi::elf_header);
  i.header.phentsize = sizeof(abi::elf_phdr);
  i.header.phnum = 2;
  i.header.shentsize = sizeof(abi::elf_shdr);
  i.phdrs[0] = {abi::elf_pt_load, abi::elf_pf_r | abi::elf_pf_x, 0, 0, 0, sizeof(image), sizeof(image), page_size};
  i.phdrs[1] = {abi::elf_pt_dynamic,
                abi::elf_pf_r,
                offsetof(image, dynamic),
                offsetof(image, dynamic),
                0,
                sizeof i.dynamic,
                sizeof i.dynamic,
                8};
}

void fill_symbols(image& i, string_pool& names) {
  i.hash[0] = 1;
  i.hash[1] = symbols_count;
  i.hash[2] = 1;
  for (usize n = 0; n < exports_count; n++) {
    auto& e = exports[n];
    auto& s = i.symbols[n + 1];
    s.name = names.add(e.name);
    s.info = u8(abi::elf_stb_global << 4 | (e.function ? abi::elf_stt_func : abi::elf_stt_object));
    s.shndx = 1;  // defined, and moves with the image
    s.value = e.function ? offsetof(image, code) + n * sizeof i.code[0] : offsetof(image, table);
    s.size = e.function ? sizeof i.code[0] : sizeof(void*);
    i.hash[3 + n + 1] = n + 2 < symbols_count ? u32(n + 2) : 0;
    i.versions[n + 1] = e.version;
    if (!e.function)
      continue;
    // movabs $function, %rax; jmp *%rax
    i.code[n][0] = 0x48;
    i.code[n][1] = 0xb8;
    std::memcpy(&i.code[n][2], &e.function, 8);
    i.code[n][10] = 0xff;
    i.code[n][11] = 0xe0;
  }
}

void fill_versions(image& i, string_pool& names) {
  constexpr const char* version_names[] = {"linux-vdso.so.1", "LINUX_2.6", "SOLASTER_1"};
  for (u16 n = 0; n < 3; n++) {
    auto& d = i.definitions[n];
    d.definition = {1,
                    u16(n == 0 ? 1 : 0),
                    u16(n + 1),
                    1,
                    elf_hash(version_names[n]),
                    sizeof(abi::elf_verdef),
                    n < 2 ? u32(sizeof d) : 0};
    d.name = {names.add(version_names[n]), 0};
  }
}

void fill_dynamic(image& i) {
  const abi::elf_dyn entries[] = {
      {abi::elf_dt_soname, i.definitions[0].name.name},
      {abi::elf_dt_hash, offsetof(image, hash)},
      {abi::elf_dt_strtab, offsetof(image, strings)},
      {abi::elf_dt_symtab, offsetof(image, symbols)},
      {abi::elf_dt_strsz, sizeof i.strings},
      {abi::elf_dt_syment, sizeof(abi::elf_sym)},
      {abi::elf_dt_versym, offsetof(image, versions)},
      {abi::elf_dt_verdef, offsetof(image, definitions)},
      {abi::elf_dt_verdefnum, 3},
      {abi::elf_dt_null, 0},
  };
  static_assert(sizeof entries == sizeof i.dynamic);
  std::memcpy(i.dynamic, entries, sizeof entries);
}

alignas(page_size) constinit image the_image = {};

}  // namespace

std::span<const std::byte> build_vdso(uptr) {
  string_pool names(the_image);
  fill_header(the_image);
  fill_symbols(the_image, names);
  fill_versions(the_image, names);
  fill_dynamic(the_image);
  the_image.table = table();
  return std::as_bytes(std::span(&the_image, 1));
}

}  // namespace solaster::kernel::direct
