#include "framework/host/direct.hh"

#include <elf.h>
#include <sys/auxv.h>
#include <cstring>

namespace solaster {
namespace {

// The dynamic symbols of an ELF image in memory, as far as one needs them to look up one name.
struct dynamic_symbols {
  const char* base = nullptr;  // what is added to the image's addresses
  const Elf64_Sym* symbols = nullptr;
  const char* strings = nullptr;
  uint64_t count = 0;
};

// A GNU hash table does not say how many symbols there are: the last chain ends at the last symbol.
uint64_t count_by_gnu_hash(const uint32_t* table) noexcept {
  uint32_t buckets = table[0], first = table[1], bloom_words = table[2];
  const uint32_t* bucket = table + 4 + 2 * bloom_words;
  const uint32_t* chain = bucket + buckets;
  uint32_t last = 0;
  for (uint32_t i = 0; i < buckets; ++i) {
    last = bucket[i] > last ? bucket[i] : last;
  }
  if (last < first) {
    return first;
  }
  while ((chain[last - first] & 1) == 0) {
    ++last;
  }
  return last + 1;
}

dynamic_symbols read_image(const char* image) noexcept {
  dynamic_symbols out;
  // SAFETY (file): the image is the vDSO that the kernel itself mapped, and its address is checked for ELF's magic
  // before more is read; its tables lie at the addresses that its dynamic section gives (ELF-64, System V ABI).
  auto* header = reinterpret_cast<const Elf64_Ehdr*>(image);
  if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
    return out;
  }
  auto* segments = reinterpret_cast<const Elf64_Phdr*>(image + header->e_phoff);
  const Elf64_Dyn* dynamic = nullptr;
  for (int i = 0; i < header->e_phnum; ++i) {
    if (segments[i].p_type == PT_LOAD && !out.base) {
      out.base = image + segments[i].p_offset - segments[i].p_vaddr;
    } else if (segments[i].p_type == PT_DYNAMIC) {
      dynamic = reinterpret_cast<const Elf64_Dyn*>(image + segments[i].p_offset);
    }
  }
  if (!out.base || !dynamic) {
    return {};
  }
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    const char* p = out.base + dynamic->d_un.d_ptr;
    switch (dynamic->d_tag) {
      case DT_SYMTAB:
        out.symbols = reinterpret_cast<const Elf64_Sym*>(p);
        break;
      case DT_STRTAB:
        out.strings = p;
        break;
      case DT_HASH:
        out.count = reinterpret_cast<const uint32_t*>(p)[1];
        break;
      case DT_GNU_HASH:
        if (out.count == 0) {
          out.count = count_by_gnu_hash(reinterpret_cast<const uint32_t*>(p));
        }
        break;
      default:
        break;
    }
  }
  return out.symbols && out.strings ? out : dynamic_symbols{};
}

const solaster_direct* look_up() noexcept {
  auto* image = reinterpret_cast<const char*>(getauxval(AT_SYSINFO_EHDR));
  if (!image) {
    return nullptr;
  }
  dynamic_symbols table = read_image(image);
  for (uint64_t i = 0; i < table.count; ++i) {
    const Elf64_Sym& s = table.symbols[i];
    if (s.st_shndx == SHN_UNDEF || std::strcmp(table.strings + s.st_name, SOLASTER_DIRECT_SYMBOL) != 0) {
      continue;
    }
    // SAFETY: the kernel's vDSO exports under this name the address of a pointer to the table (direct.h).
    auto* direct = *reinterpret_cast<const solaster_direct* const*>(table.base + s.st_value);
    return direct && direct->version == SOLASTER_DIRECT_VERSION ? direct : nullptr;
  }
  return nullptr;
}

}  // namespace

const solaster_direct* find_direct_interface() noexcept {
  static const solaster_direct* const found = look_up();
  return found;
}

}  // namespace solaster
