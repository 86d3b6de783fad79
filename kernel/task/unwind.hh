// Callers of a function from the unwind tables of its ELF file (.eh_frame), which compilers write for all code, glibc's
// too. A chain of frame pointers ends at the first function that keeps none, and words found on the stack may be left
// from calls long over: they name callers that never called.
//
// Spec: DWARF 5, 6.4 (call frame information); LSB Core 5.0, 10.6 (.eh_frame, .eh_frame_hdr).
// Borrows: the file's bytes. Errors: every offset is checked; what is damaged or not understood ends the walk.
// Limits: rules that are DWARF expressions are not evaluated (the PLT's, signal trampolines'). Context: any; no
// allocation.
#pragma once

#include <span>

#include "kernel/lib/types.hh"

namespace solaster::kernel::task {

// By DWARF's numbers for x86-64 (psABI 3.36): 3 rbx, 6 rbp, 7 rsp, 16 the return address.
struct unwind_registers {
  static constexpr usize count = 17, rbp = 6, rsp = 7, rip = 16;
  u64 value[count] = {};
};

class unwinder {
 public:
  // Reads a word of the program's memory; false: it is not there.
  using reader = bool (*)(u64 address, u64& value);
  // `bias`: where the file's address 0 is mapped.
  unwinder(std::span<const u8> file, u64 bias, reader read);

  // To the caller's registers. `is_return`: rip is behind a call, as in every frame but the first. False: there is no
  // caller, or it cannot be told; `r` is then as before.
  bool step(unwind_registers& r, bool is_return) const;

 private:
  bool find_entry(u64 pc, u64& entry) const;
  const u8* at_address(u64 address, u64 bytes) const;

  std::span<const u8> _file;
  u64 _bias;
  reader _read;
  u64 _table = 0;  // addresses in the file's terms: of the header's search table
  u64 _table_base = 0;
  u64 _entries = 0;
};

}  // namespace solaster::kernel::task
