#include "kernel/mm/setup.hh"

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/arch/x86_64/smp.hh"
#include "kernel/firmware/pvh.hh"
#include "kernel/lib/image.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/frames_private.hh"
#include "kernel/mm/paging.hh"

extern "C" char boot_stack[];

namespace solaster::kernel::mm {
namespace {

constexpr u64 early_mapped = u64{4} << 30;
constexpr u64 address_max = u64{1} << 40;  // beyond, q35 lists what is not RAM
constexpr u64 memory_min = 4u << 20;
constexpr u64 cr4_pge = 1u << 7;

struct span_of_memory {
  u64 start, end;
};
span_of_memory holes[6];  // sorted by start
unsigned hole_count = 0;

void add_hole(u64 start, u64 end) {
  if (start >= end)
    return;
  unsigned i = hole_count++;
  for (; i > 0 && holes[i - 1].start > start; i--)
    holes[i] = holes[i - 1];
  holes[i] = {align_down(start, page_size), align_up(end, page_size)};
}

// Calls visit(start, end) for the parts of all RAM ranges that no hole covers.
template <typename Visit>
void for_each_free(Visit visit) {
  const loader_information& l = loader_info();
  for (unsigned i = 0; i < l.range_count; i++) {
    if (l.ranges[i].type != static_cast<u32>(memory_type::ram) || l.ranges[i].start >= address_max)
      continue;
    u64 at = align_up(l.ranges[i].start, page_size);
    const u64 end = align_down(l.ranges[i].end, page_size);
    for (unsigned h = 0; h < hole_count && at < end; h++) {
      if (holes[h].end <= at || holes[h].start >= end)
        continue;
      if (holes[h].start > at)
        visit(at, holes[h].start);
      at = holes[h].end;
    }
    if (at < end)
      visit(at, end);
  }
}

void initialise_frames() {
  add_hole(0, page_size);
  add_hole(trampoline_page, trampoline_page + page_size);
  // SAFETY: the linker's symbols are addresses, here and below.
  add_hole(reinterpret_cast<u64>(image_start) - kernel_base, reinterpret_cast<u64>(image_end) - kernel_base);
  add_hole(loader_info().initrd_start, loader_info().initrd_end);
  u64 top = 0;
  for_each_free([&](u64, u64 end) { top = end > top ? end : top; });
  const u64 frames = top / page_size;
  u64 states = 0;
  for_each_free([&](u64 start, u64 end) {
    if (!states && start >= 0x100000 && end <= early_mapped && end - start > frames)
      states = start;
  });
  if (!states || boot_info().memory_bytes < memory_min) {
    refuse("too little memory: {} KiB of RAM, at least {} KiB are needed", boot_info().memory_bytes >> 10,
           memory_min >> 10);
  }
  add_hole(states, states + frames);
  frames_initialise(phys_to_virt<u8>(states), frames);
  for_each_free([](u64 start, u64 end) {
    if (end <= early_mapped)
      frames_add(start, end);
  });
}

void map_section(const char* start, const char* end, u64 flags) {
  // SAFETY: a linker's symbol is an address.
  const u64 v = reinterpret_cast<u64>(start);
  if (!paging::map_range(v, v - kernel_base, static_cast<u64>(end - start), flags | paging::global, false)) {
    refuse("too little memory for the kernel's page tables");
  }
}

// What nobody writes cannot be written through the physical map either.
void seal(const char* start, const char* end) {
  const u64 p = align_down(virt_to_phys_linear(start), page_size), past = align_up(virt_to_phys_linear(end), page_size);
  if (start < end && !paging::set_writable(physical_map_base + p, past - p, false))
    refuse("too little memory for the kernel's page tables");
}

void build_tables() {
  using namespace paging;
  phys_addr root = allocate_zeroed_frame();
  KCHECK(root);
  prepare_root(root);  // walked through the early physical map until it is loaded
  map_section(text_start, text_end, 0);
  map_section(rodata_start, rodata_end, no_execute);
  map_section(data_start, data_end, writable | no_execute);
  map_section(ksyms_start, image_end, no_execute);
  // SAFETY: a linker's symbol is an address.
  *find_entry(reinterpret_cast<u64>(boot_stack), false) = 0;  // the boot stack's guard
  const loader_information& l = loader_info();
  for (unsigned i = 0; i < l.range_count; i++) {
    if (l.ranges[i].type != static_cast<u32>(memory_type::ram) || l.ranges[i].start >= address_max)
      continue;
    // 2 MiB pages reach a little over the range's ends: into what nobody addresses through this map.
    const u64 start = align_down(l.ranges[i].start, huge_page_size), end = align_up(l.ranges[i].end, huge_page_size);
    // Not global: a CPU that missed a change while it was idle reloads CR3 to forget what it knew.
    if (!map_range(physical_map_base + start, start, end - start, writable | no_execute, true)) {
      refuse("too little memory for the kernel's page tables");
    }
  }
  seal(text_start, rodata_end);
  seal(ksyms_start, image_end);
  seal(phys_to_virt<char>(l.initrd_start), phys_to_virt<char>(align_up(l.initrd_end, page_size)));
  write_cr4(read_cr4() | cr4_pge);
  set_root(root);
}

}  // namespace

void initialise_memory() {
  initialise_frames();
  build_tables();
  for_each_free([](u64 start, u64 end) {
    if (end > early_mapped)
      frames_add(start, end);
  });
}

}  // namespace solaster::kernel::mm
