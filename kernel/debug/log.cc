#include "kernel/arch/x86_64/smp.hh"
#include "kernel/drivers/console.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/print.hh"

namespace solaster::kernel::log {
namespace {

constexpr usize line_max = 512;
int shown_level = static_cast<int>(level::warn);

}  // namespace

void set_level(int l) {
  shown_level = l;
}
bool enabled(level l) {
  return static_cast<int>(l) <= shown_level;
}

void vwrite(level l, std::string_view fmt, const format_arg* args, usize count) {
  if (!enabled(l))
    return;
  char line[line_max];
  constexpr std::string_view prefix = "solaster: ";
  memcpy(line, prefix.data(), prefix.size());
  usize n = prefix.size() + vformat(line + prefix.size(), line_max - prefix.size() - 1, fmt, args, count).size();
  line[n++] = '\n';
  if (is_panicking())
    console::write_unlocked({line, n});  // a CPU that was stopped may hold the lock, or this one
  else
    console::write({line, n});
}

}  // namespace solaster::kernel::log
