// SAFETY (file): the table was written by kernel/ksyms.py behind this image, in the layout read here; text_start and
// the like are the linker script's. Program and stack memory is read by copy_in_nofault only.
#include "kernel/lib/symbols.hh"

#include "kernel/lib/image.hh"
#include "kernel/lib/memory.hh"
#include "kernel/mm/user_access.hh"

namespace solaster::kernel {

bool is_kernel_text(u64 address) {
  return address >= reinterpret_cast<u64>(text_start) && address < reinterpret_cast<u64>(text_end);
}

symbol find_symbol(u64 address) {
  // Layout: kernel/ksyms.py.
  if (+ksyms_start == +image_end || !is_kernel_text(address))
    return {};
  const u32* table = reinterpret_cast<const u32*>(ksyms_start);
  const u32 count = table[0];
  const u32* starts = table + 1;
  const u32* names = starts + count;
  const char* text = reinterpret_cast<const char*>(names + count);
  const u32 wanted = static_cast<u32>(address - kernel_base);
  u32 low = 0, high = count;
  while (low < high) {
    u32 middle = (low + high) / 2;
    if (starts[middle] <= wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0)
    return {};
  const char* name = text + names[low - 1];
  return {std::string_view(name, strlen(name)), wanted - starts[low - 1]};
}

void walk_frames(u64 rip, u64 rbp, usize limit, void (*visit)(void*, u64), void* context) {
  if (rip)
    visit(context, rip);
  for (usize i = 1; i < limit; i++) {
    u64 frame[2];
    if (rbp & 7 || rbp < 4096)
      return;
    if (!mm::copy_in_nofault(frame, reinterpret_cast<const void*>(rbp), sizeof frame))
      return;
    if (frame[1] < 4096)
      return;
    visit(context, frame[1]);
    if (frame[0] <= rbp)
      return;  // frames go up; anything else is a broken chain
    rbp = frame[0];
  }
}

}  // namespace solaster::kernel
