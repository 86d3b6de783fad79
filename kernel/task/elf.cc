// Loading a static program: its segments become areas that are filled from the initrd page by page.
//
// Spec: gABI chapter 5; Linux fs/binfmt_elf.c for what is tolerated. Every offset of the file is checked: a damaged
// file is refused with one line.

#include <cstring>

#include "kernel/abi/elf.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/task/process.hh"

namespace solaster::kernel::task {

namespace {

constexpr usize phdrs_max = 64;

bool in_file(std::span<const u8> file, u64 offset, u64 length) {
  return offset <= file.size() && length <= file.size() - offset;
}

abi::elf_header check_header(std::span<const u8> file, std::string_view path) {
  abi::elf_header h;
  if (file.size() < sizeof h)
    refuse("{} is not a program: too short for an ELF file", path);
  std::memcpy(&h, file.data(), sizeof h);
  if (std::memcmp(h.ident, abi::elf_magic, 4) != 0)
    refuse("{} is not a program: no ELF header", path);
  if (h.ident[4] != abi::elf_class64 || h.ident[5] != abi::elf_data2lsb || h.machine != abi::elf_em_x86_64)
    refuse("{} is not an x86-64 program", path);
  if (h.type != abi::elf_et_dyn && h.type != abi::elf_et_exec)
    refuse("{} is an ELF file, but not an executable (type {})", path, h.type);
  if (h.phentsize != sizeof(abi::elf_phdr) || h.phnum == 0 || h.phnum > phdrs_max ||
      !in_file(file, h.phoff, u64{h.phnum} * sizeof(abi::elf_phdr)))
    refuse("{} is damaged: bad program headers", path);
  return h;
}

abi::elf_phdr read_phdr(std::span<const u8> file, const abi::elf_header& h, usize i) {
  abi::elf_phdr p;
  std::memcpy(&p, file.data() + h.phoff + i * sizeof p, sizeof p);
  return p;
}

void check_segment(std::span<const u8> file, const abi::elf_phdr& p, std::string_view path) {
  if (!in_file(file, p.offset, p.filesz) || p.filesz > p.memsz || p.vaddr >= mm::program_end ||
      p.memsz > mm::program_end - p.vaddr || (p.vaddr - p.offset) % page_size != 0)
    refuse("{} is damaged: a segment lies outside the file or the address space", path);
  if ((p.flags & abi::elf_pf_w) && (p.flags & abi::elf_pf_x))
    refuse("{} has a segment that is both writable and executable: link it without -N or --omagic", path);
}

void map_segment(std::span<const u8> file, const abi::elf_phdr& p, u64 bias, std::string_view path) {
  u64 skew = p.vaddr % page_size;
  mm::map_request r;
  r.address = bias + p.vaddr - skew;
  r.length = align_up(p.memsz + skew, page_size);
  r.prot = (p.flags & abi::elf_pf_r ? mm::prot_read : 0u) | (p.flags & abi::elf_pf_w ? mm::prot_write : 0u) |
           (p.flags & abi::elf_pf_x ? mm::prot_exec : 0u);
  r.fixed = true;
  r.no_replace = true;
  if (p.filesz) {
    r.kind = mm::backing::bytes;
    // SAFETY: check_segment has compared the range with the file; `skew` bytes before it are the file's, too.
    r.bytes = reinterpret_cast<const std::byte*>(file.data()) + p.offset - skew;
    r.bytes_length = p.filesz + skew;
  }
  r.file_offset = p.offset - skew;
  r.name = the_process().executable_path;
  auto mapped = mm::map(r);
  if (!mapped)
    refuse("{} does not fit: cannot map {} bytes at {:x}", path, r.length, r.address);
}

struct extent {
  u64 low = ~u64{0}, high = 0;
};

extent check_segments(std::span<const u8> file, const abi::elf_header& h, std::string_view path) {
  extent e;
  for (usize i = 0; i < h.phnum; i++) {
    auto p = read_phdr(file, h, i);
    if (p.type == abi::elf_pt_interp)
      refuse("{} is linked dynamically, which is not supported yet: link it with -static-pie", path);
    if (p.type != abi::elf_pt_load || p.memsz == 0)
      continue;
    check_segment(file, p, path);
    e.low = e.low < p.vaddr ? e.low : p.vaddr;
    e.high = e.high > p.vaddr + p.memsz ? e.high : p.vaddr + p.memsz;
  }
  if (e.high == 0)
    refuse("{} is damaged: nothing to load", path);
  e.low = align_down(e.low, page_size);
  e.high = align_up(e.high, page_size);
  return e;
}

// The phdrs as the program sees them: PT_PHDR, or the segment that holds the file's.
u64 find_phdr_address(std::span<const u8> file, const abi::elf_header& h) {
  for (usize i = 0; i < h.phnum; i++) {
    auto p = read_phdr(file, h, i);
    if (p.type == abi::elf_pt_phdr)
      return p.vaddr;
    if (p.type == abi::elf_pt_load && p.offset <= h.phoff && h.phoff - p.offset < p.filesz)
      return p.vaddr + (h.phoff - p.offset);
  }
  return 0;
}

}  // namespace

loaded_program load_elf(std::span<const u8> file, std::string_view path) {
  auto h = check_header(file, path);
  auto e = check_segments(file, h, path);
  u64 bias = h.type == abi::elf_et_dyn ? mm::random_base(e.high - e.low) - e.low : 0;
  for (usize i = 0; i < h.phnum; i++) {
    auto p = read_phdr(file, h, i);
    if (p.type == abi::elf_pt_load && p.memsz)
      map_segment(file, p, bias, path);
  }
  return {bias + h.entry, bias + find_phdr_address(file, h), h.phnum, bias, bias + e.high};
}

program_symbol find_program_symbol(u64 address) {
  auto& p = the_process();
  auto file = p.image;
  abi::elf_header h;
  if (file.size() < sizeof h)
    return {};
  std::memcpy(&h, file.data(), sizeof h);
  if (h.shentsize != sizeof(abi::elf_shdr) || !in_file(file, h.shoff, u64{h.shnum} * sizeof(abi::elf_shdr)))
    return {};
  auto section = [&](usize i) {
    abi::elf_shdr s;
    std::memcpy(&s, file.data() + h.shoff + i * sizeof s, sizeof s);
    return s;
  };
  program_symbol best;
  u64 wanted = address - p.load_bias;
  for (usize i = 0; i < h.shnum; i++) {
    auto s = section(i);
    if (s.type != abi::elf_sht_symtab || s.link >= h.shnum || !in_file(file, s.offset, s.size))
      continue;
    auto names = section(s.link);
    if (!in_file(file, names.offset, names.size) || names.size == 0)
      continue;
    for (u64 at = 0; at + sizeof(abi::elf_sym) <= s.size; at += sizeof(abi::elf_sym)) {
      abi::elf_sym y;
      std::memcpy(&y, file.data() + s.offset + at, sizeof y);
      bool holds = (y.info & 15) == abi::elf_stt_func && y.shndx && wanted >= y.value &&
                   (wanted < y.value + y.size || (y.size == 0 && wanted == y.value));
      if (!holds || y.name >= names.size)
        continue;
      // SAFETY: inside the string table, cut at its end.
      auto* name = reinterpret_cast<const char*>(file.data() + names.offset + y.name);
      return {std::string_view(name, strnlen(name, names.size - y.name)), wanted - y.value};
    }
  }
  return best;
}

}  // namespace solaster::kernel::task
