// ELF-64 as the program loader, the vDSO image and the symboliser need it.
// Spec: System V gABI chapters 4 and 5; x86-64 psABI 4.4 (relocations); pinned against <elf.h> by the unit test.
#pragma once

#include <cstdint>

namespace solaster::kernel::abi {

struct elf_header {
  uint8_t ident[16];
  uint16_t type;
  uint16_t machine;
  uint32_t version;
  uint64_t entry;
  uint64_t phoff;
  uint64_t shoff;
  uint32_t flags;
  uint16_t ehsize;
  uint16_t phentsize;
  uint16_t phnum;
  uint16_t shentsize;
  uint16_t shnum;
  uint16_t shstrndx;
};
static_assert(sizeof(elf_header) == 64);

struct elf_phdr {
  uint32_t type;
  uint32_t flags;
  uint64_t offset;
  uint64_t vaddr;
  uint64_t paddr;
  uint64_t filesz;
  uint64_t memsz;
  uint64_t align;
};
static_assert(sizeof(elf_phdr) == 56);

struct elf_shdr {
  uint32_t name;
  uint32_t type;
  uint64_t flags;
  uint64_t addr;
  uint64_t offset;
  uint64_t size;
  uint32_t link;
  uint32_t info;
  uint64_t addralign;
  uint64_t entsize;
};
static_assert(sizeof(elf_shdr) == 64);

struct elf_sym {
  uint32_t name;
  uint8_t info;
  uint8_t other;
  uint16_t shndx;
  uint64_t value;
  uint64_t size;
};
static_assert(sizeof(elf_sym) == 24);

struct elf_dyn {
  int64_t tag;
  uint64_t value;
};

struct elf_verdef {
  uint16_t version;
  uint16_t flags;
  uint16_t ndx;
  uint16_t cnt;
  uint32_t hash;
  uint32_t aux;
  uint32_t next;
};
static_assert(sizeof(elf_verdef) == 20);

struct elf_verdaux {
  uint32_t name;
  uint32_t next;
};

inline constexpr uint8_t elf_magic[4] = {0x7f, 'E', 'L', 'F'};
inline constexpr uint8_t elf_class64 = 2;
inline constexpr uint8_t elf_data2lsb = 1;
inline constexpr uint16_t elf_et_exec = 2;
inline constexpr uint16_t elf_et_dyn = 3;
inline constexpr uint16_t elf_em_x86_64 = 62;
inline constexpr uint32_t elf_pt_load = 1;
inline constexpr uint32_t elf_pt_dynamic = 2;
inline constexpr uint32_t elf_pt_interp = 3;
inline constexpr uint32_t elf_pt_note = 4;
inline constexpr uint32_t elf_pt_phdr = 6;
inline constexpr uint32_t elf_pt_tls = 7;
inline constexpr uint32_t elf_pt_gnu_eh_frame = 0x6474e550;
inline constexpr uint32_t elf_pt_gnu_stack = 0x6474e551;
inline constexpr uint32_t elf_pt_gnu_relro = 0x6474e552;
inline constexpr uint32_t elf_pf_x = 1;
inline constexpr uint32_t elf_pf_w = 2;
inline constexpr uint32_t elf_pf_r = 4;
inline constexpr uint32_t elf_sht_symtab = 2;
inline constexpr uint32_t elf_sht_strtab = 3;
inline constexpr uint8_t elf_stt_object = 1;
inline constexpr uint8_t elf_stt_func = 2;
inline constexpr uint8_t elf_stb_global = 1;
inline constexpr int64_t elf_dt_null = 0;
inline constexpr int64_t elf_dt_hash = 4;
inline constexpr int64_t elf_dt_strtab = 5;
inline constexpr int64_t elf_dt_symtab = 6;
inline constexpr int64_t elf_dt_strsz = 10;
inline constexpr int64_t elf_dt_syment = 11;
inline constexpr int64_t elf_dt_soname = 14;
inline constexpr int64_t elf_dt_versym = 0x6ffffff0;
inline constexpr int64_t elf_dt_verdef = 0x6ffffffc;
inline constexpr int64_t elf_dt_verdefnum = 0x6ffffffd;

// Auxiliary vector (Linux include/uapi/linux/auxvec.h).
struct auxv_entry {
  uint64_t type;
  uint64_t value;
};

inline constexpr uint64_t at_null = 0;
inline constexpr uint64_t at_phdr = 3;
inline constexpr uint64_t at_phent = 4;
inline constexpr uint64_t at_phnum = 5;
inline constexpr uint64_t at_pagesz = 6;
inline constexpr uint64_t at_base = 7;
inline constexpr uint64_t at_flags = 8;
inline constexpr uint64_t at_entry = 9;
inline constexpr uint64_t at_uid = 11;
inline constexpr uint64_t at_euid = 12;
inline constexpr uint64_t at_gid = 13;
inline constexpr uint64_t at_egid = 14;
inline constexpr uint64_t at_platform = 15;
inline constexpr uint64_t at_hwcap = 16;
inline constexpr uint64_t at_clktck = 17;
inline constexpr uint64_t at_secure = 23;
inline constexpr uint64_t at_random = 25;
inline constexpr uint64_t at_hwcap2 = 26;
inline constexpr uint64_t at_execfn = 31;
inline constexpr uint64_t at_sysinfo_ehdr = 33;
inline constexpr uint64_t at_minsigstksz = 51;

}  // namespace solaster::kernel::abi
