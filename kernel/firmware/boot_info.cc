#include "kernel/firmware/boot_info.hh"

#include "kernel/arch/x86_64/physical.hh"
#include "kernel/firmware/pvh.hh"
#include "kernel/lib/memory.hh"

namespace solaster::kernel {
namespace {

constexpr u32 magic = 0x336ec578;
constexpr usize command_line_max = 4096;

struct start_info {
  u32 magic, version, flags, module_count;
  u64 modules, command_line, rsdp, memory_map;
  u32 memory_map_entries, reserved;
};
static_assert(sizeof(start_info) == 56);
struct module_entry {
  u64 address, size, command_line, reserved;
};
struct map_entry {
  u64 address, size;
  u32 type, reserved;
};
static_assert(sizeof(map_entry) == 24);

boot_information info;
loader_information loader;
char command_line[command_line_max];

// The option words, without the quotes that the loader's line needs, one after the other.
char option_text[command_line_max];
std::string_view option_words[options_max];
usize option_count = 0;

// Length of the option word that starts at i (quotes may enclose spaces).
usize word_end(std::string_view s, usize i) {
  bool quoted = false;
  for (; i < s.size(); i++) {
    if (s[i] == '\\' && i + 1 < s.size()) {
      i++;
    } else if (s[i] == '"') {
      quoted = !quoted;
    } else if (s[i] == ' ' && !quoted) {
      break;
    }
  }
  return i;
}

usize skip_spaces(std::string_view s, usize i) {
  while (i < s.size() && s[i] == ' ')
    i++;
  return i;
}

// Where "--" stands as a word of its own; the size when it does not.
usize find_separator(std::string_view s) {
  for (usize i = skip_spaces(s, 0); i < s.size();) {
    const usize end = word_end(s, i);
    if (s.substr(i, end - i) == "--")
      return i;
    i = skip_spaces(s, end);
  }
  return s.size();
}

// Appends the words of `line` to the options.
void split_options(std::string_view line, usize& used) {
  for (usize i = skip_spaces(line, 0); i < line.size(); i = skip_spaces(line, i)) {
    const usize end = word_end(line, i), start = used;
    if (option_count == options_max)
      return;  // one too many for boot/options.cc, which refuses the start
    for (; i < end; i++) {
      if (line[i] == '"')
        continue;
      if (line[i] == '\\' && i + 1 < end)
        i++;
      option_text[used++] = line[i];
    }
    option_words[option_count++] = {option_text + start, used - start};
  }
}

}  // namespace

bool read_start_info(u64 physical) {
  start_info s;
  memcpy(&s, mm::phys_to_virt(physical), sizeof s);
  if (s.magic != magic || s.version < 1)
    return false;
  for (u32 i = 0; i < s.memory_map_entries && loader.range_count < memory_ranges_max; i++) {
    map_entry e;
    memcpy(&e, mm::phys_to_virt(s.memory_map + i * sizeof e), sizeof e);
    if (e.size == 0 || e.address + e.size < e.address)
      continue;
    loader.ranges[loader.range_count++] = {e.address, e.address + e.size, e.type};
    if (e.type == static_cast<u32>(memory_type::ram))
      info.memory_bytes += e.size;
  }
  if (s.module_count > 0) {
    module_entry m;
    memcpy(&m, mm::phys_to_virt(s.modules), sizeof m);
    loader.initrd_start = m.address;
    loader.initrd_end = m.address + m.size;
    info.initrd = {mm::phys_to_virt<const std::byte>(m.address), m.size};
  }
  loader.rsdp = s.rsdp;
  usize n = 0;
  if (s.command_line) {
    const char* text = mm::phys_to_virt<const char>(s.command_line);
    while (n + 1 < command_line_max && text[n]) {
      command_line[n] = text[n];
      n++;
    }
  }
  // microvm with acpi=off writes its devices behind everything, the program's arguments too: they are options all the
  // same.
  constexpr std::string_view device_option = "virtio_mmio.device=";
  for (;;) {
    const std::string_view all{command_line, n};
    const usize last = all.rfind(' ');
    if (last == std::string_view::npos || all.substr(last + 1, device_option.size()) != device_option)
      break;
    n = last;
  }
  info.command_line = {command_line, n};
  const usize at = find_separator(info.command_line);
  if (at < n)
    info.program_line = info.command_line.substr(skip_spaces(info.command_line, at + 2));
  usize used = 0;
  split_options(info.command_line.substr(0, at), used);
  split_options(std::string_view(command_line + n), used);
  return true;
}

const loader_information& loader_info() {
  return loader;
}
const boot_information& boot_info() {
  return info;
}
void set_machine(const char* name) {
  info.machine = name;
}

std::string_view option_word(usize index) {
  return index < option_count ? option_words[index] : std::string_view();
}

std::string_view find_option(std::string_view name, usize index) {
  for (usize i = 0; i < option_count; i++) {
    std::string_view word = option_words[i];
    if (word.size() > name.size() && word.substr(0, name.size()) == name && word[name.size()] == '=' && index-- == 0)
      return word.substr(name.size() + 1);
  }
  return {};
}

bool has_option(std::string_view name) {
  for (usize i = 0; i < option_count; i++)
    if (option_words[i] == name)
      return true;
  return false;
}

}  // namespace solaster::kernel
