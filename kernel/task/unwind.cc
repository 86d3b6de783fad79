#include "kernel/task/unwind.hh"

#include <cstring>

#include "kernel/abi/elf.hh"

namespace solaster::kernel::task {
namespace {

// Encodings of pointers (DW_EH_PE_*): those that linkers for x86-64 write.
constexpr u8 encoded_sdata4 = 0x0b, relative_to_here = 0x10, relative_to_table = 0x30;
constexpr unsigned states_max = 8;  // remembered at once
constexpr usize augmentation_max = 8;

// Bytes that are consumed from the front. After a read past the end everything is 0 and good() is false.
class cursor {
 public:
  cursor(const u8* at, u64 length) : _at(at), _end(at + length) {}
  bool good() const { return _good; }
  bool at_end() const { return !_good || _at == _end; }
  const u8* position() const { return _at; }
  void skip(u64 n) {
    if (n > u64(_end - _at))
      _good = false, _at = _end;
    else
      _at += n;
  }
  template <typename T>
  T take() {
    T v{};
    const u8* from = _at;
    skip(sizeof v);
    if (_good)
      std::memcpy(&v, from, sizeof v);
    return v;
  }
  u64 uleb() {
    u64 v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const u8 b = take<u8>();
      v |= u64(b & 0x7f) << shift;
      if (!(b & 0x80))
        return v;
    }
    _good = false;
    return 0;
  }
  i64 sleb() {
    u64 v = 0;
    for (unsigned shift = 0; shift < 64;) {
      const u8 b = take<u8>();
      v |= u64(b & 0x7f) << shift;
      shift += 7;
      if (!(b & 0x80))
        return i64(shift < 64 && (b & 0x40) ? v | (~u64{0} << shift) : v);
    }
    _good = false;
    return 0;
  }

 private:
  const u8* _at;
  const u8* _end;
  bool _good = true;
};

// How a register of the caller is found.
struct rule {
  enum class kind : u8 { same, undefined, at_offset, is_offset, in_register, unknown };
  kind how = kind::same;
  i64 value = 0;  // from the canonical frame address, or a register's number
};

// One row of the table that the instructions describe.
struct row {
  u64 cfa_register = unwind_registers::rsp;
  i64 cfa_offset = 0;
  bool cfa_known = false;
  rule registers[unwind_registers::count];
};

// What all entries with the same CIE share.
struct common_entry {
  u64 code_align = 1;
  i64 data_align = 1;
  u64 return_register = 0;
  u8 encoding = 0;  // of addresses
  bool has_augmentation = false;
  const u8* instructions = nullptr;
  u64 instruction_bytes = 0;
};

bool parse_common(cursor c, common_entry& out) {
  const u8 version = c.take<u8>();
  char text[augmentation_max] = {};
  for (usize i = 0;; i++) {
    if (i == augmentation_max)
      return false;
    text[i] = char(c.take<u8>());
    if (!text[i])
      break;
  }
  out.code_align = c.uleb();
  out.data_align = c.sleb();
  out.return_register = version == 1 ? c.take<u8>() : c.uleb();
  if (text[0] == 'z') {
    out.has_augmentation = true;
    const u64 length = c.uleb();
    const u8* start = c.position();
    for (usize i = 1; text[i]; i++) {
      if (text[i] == 'R') {
        out.encoding = c.take<u8>();
      } else if (text[i] == 'P') {
        const u8 encoding = c.take<u8>() & 0x0f;
        c.skip(encoding == 0x03 || encoding == encoded_sdata4 ? 4 : 8);
      } else if (text[i] == 'L') {
        (void)c.take<u8>();
      } else if (text[i] != 'S') {
        return false;
      }
    }
    const u64 used = u64(c.position() - start);
    if (used > length)
      return false;
    c.skip(length - used);
  } else if (text[0]) {
    return false;
  }
  out.instructions = c.position();
  while (!c.at_end())
    out.instruction_bytes++, c.skip(1);
  return c.good() && (version == 1 || version == 3) && out.return_register == unwind_registers::rip;
}

// Executes call frame instructions (DWARF 5, 6.4.2) until the row for `pc` is complete.
class interpreter {
 public:
  interpreter(const common_entry& common, u64 start, u64 pc) : _common(common), _at(start), _pc(pc) {}

  // False: an instruction is not understood.
  bool run(cursor c, row& r) {
    while (!c.at_end() && _at <= _pc)
      if (!execute(c, r))
        return false;
    return c.good();
  }
  void set_initial(const row& r) { _initial = r; }

 private:
  void advance(u64 n) { _at += n * _common.code_align; }
  static void set(row& r, u64 reg, rule::kind how, i64 value) {
    if (reg < unwind_registers::count)
      r.registers[reg] = {how, value};
  }
  void restore(row& r, u64 reg) {
    if (reg < unwind_registers::count)
      r.registers[reg] = _initial.registers[reg];
  }
  static void set_cfa(row& r, u64 reg, i64 offset) {
    r.cfa_register = reg;
    r.cfa_offset = offset;
    r.cfa_known = reg < unwind_registers::count;
  }

  bool execute(cursor& c, row& r) {
    using kind = rule::kind;
    const u8 op = c.take<u8>();
    const u64 low = op & 0x3f;
    switch (op & 0xc0) {
      case 0x40:
        return advance(low), true;
      case 0x80:
        return set(r, low, kind::at_offset, i64(c.uleb()) * _common.data_align), true;
      case 0xc0:
        return restore(r, low), true;
    }
    u64 reg;
    switch (op) {
      case 0x00:  // nop
        return true;
      case 0x02:  // advance_loc1, 2, 4
        return advance(c.take<u8>()), true;
      case 0x03:
        return advance(c.take<u16>()), true;
      case 0x04:
        return advance(c.take<u32>()), true;
      case 0x05:  // offset_extended
        reg = c.uleb();
        return set(r, reg, kind::at_offset, i64(c.uleb()) * _common.data_align), true;
      case 0x06:  // restore_extended
        return restore(r, c.uleb()), true;
      case 0x07:  // undefined
        return set(r, c.uleb(), kind::undefined, 0), true;
      case 0x08:  // same_value
        return set(r, c.uleb(), kind::same, 0), true;
      case 0x09:  // register
        reg = c.uleb();
        return set(r, reg, kind::in_register, i64(c.uleb())), true;
      case 0x0a:  // remember_state
        if (_depth == states_max)
          return false;
        return _remembered[_depth++] = r, true;
      case 0x0b:  // restore_state
        if (_depth == 0)
          return false;
        return r = _remembered[--_depth], true;
      case 0x0c:  // def_cfa
        reg = c.uleb();
        return set_cfa(r, reg, i64(c.uleb())), true;
      case 0x0d:  // def_cfa_register
        return set_cfa(r, c.uleb(), r.cfa_offset), true;
      case 0x0e:  // def_cfa_offset
        return r.cfa_offset = i64(c.uleb()), true;
      case 0x0f:  // def_cfa_expression
        r.cfa_known = false;
        return c.skip(c.uleb()), true;
      case 0x10:  // expression
      case 0x16:  // val_expression
        set(r, c.uleb(), kind::unknown, 0);
        return c.skip(c.uleb()), true;
      case 0x11:  // offset_extended_sf
        reg = c.uleb();
        return set(r, reg, kind::at_offset, c.sleb() * _common.data_align), true;
      case 0x12:  // def_cfa_sf
        reg = c.uleb();
        return set_cfa(r, reg, c.sleb() * _common.data_align), true;
      case 0x13:  // def_cfa_offset_sf
        return r.cfa_offset = c.sleb() * _common.data_align, true;
      case 0x14:  // val_offset
        reg = c.uleb();
        return set(r, reg, kind::is_offset, i64(c.uleb()) * _common.data_align), true;
      case 0x15:  // val_offset_sf
        reg = c.uleb();
        return set(r, reg, kind::is_offset, c.sleb() * _common.data_align), true;
      case 0x2e:  // GNU_args_size
        return (void)c.uleb(), true;
      default:
        return false;
    }
  }

  const common_entry& _common;
  u64 _at;  // the address that the row being made begins with
  u64 _pc;
  row _initial;
  row _remembered[states_max];
  unsigned _depth = 0;
};

}  // namespace

unwinder::unwinder(std::span<const u8> file, u64 bias, reader read) : _file(file), _bias(bias), _read(read) {
  abi::elf_header h;
  if (file.size() < sizeof h)
    return;
  std::memcpy(&h, file.data(), sizeof h);
  for (u64 i = 0; i < h.phnum; i++) {
    abi::elf_phdr p;
    const u64 at = h.phoff + i * sizeof p;
    if (at > file.size() || file.size() - at < sizeof p)
      return;
    std::memcpy(&p, file.data() + at, sizeof p);
    if (p.type != abi::elf_pt_gnu_eh_frame)
      continue;
    const u8* header = at_address(p.vaddr, 12);
    // Version 1; a search table of pairs of 32 bits, relative to the header: what every linker writes.
    if (!header || header[0] != 1 || header[2] != 0x03 || header[3] != (relative_to_table | encoded_sdata4))
      return;
    u32 entries;
    std::memcpy(&entries, header + 8, sizeof entries);
    _table_base = p.vaddr;
    _table = p.vaddr + 12;
    _entries = at_address(_table, u64{entries} * 8) ? entries : 0;
  }
}

// The file's bytes for addresses of its own; null where a segment does not hold them all.
const u8* unwinder::at_address(u64 address, u64 bytes) const {
  abi::elf_header h;
  std::memcpy(&h, _file.data(), sizeof h);
  for (u64 i = 0; i < h.phnum; i++) {
    abi::elf_phdr p;
    const u64 at = h.phoff + i * sizeof p;
    if (at > _file.size() || _file.size() - at < sizeof p)
      return nullptr;
    std::memcpy(&p, _file.data() + at, sizeof p);
    if (p.type != abi::elf_pt_load || address < p.vaddr || address - p.vaddr > p.filesz ||
        bytes > p.filesz - (address - p.vaddr))
      continue;
    const u64 offset = p.offset + (address - p.vaddr);
    return offset <= _file.size() && bytes <= _file.size() - offset ? _file.data() + offset : nullptr;
  }
  return nullptr;
}

// The address of the last entry (FDE) that begins at or below `pc`.
bool unwinder::find_entry(u64 pc, u64& entry) const {
  const u8* table = _entries ? at_address(_table, _entries * 8) : nullptr;
  if (!table)
    return false;
  auto word = [&](u64 i, u64 which) {
    i32 v;
    std::memcpy(&v, table + i * 8 + which * 4, sizeof v);
    return _table_base + u64(i64{v});
  };
  u64 low = 0, high = _entries;
  while (low < high) {
    const u64 middle = (low + high) / 2;
    if (word(middle, 0) <= pc) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0)
    return false;
  entry = word(low - 1, 1);
  return true;
}

bool unwinder::step(unwind_registers& r, bool is_return) const {
  const u64 pc = r.value[unwind_registers::rip] - _bias - is_return;
  u64 entry;
  const u8* at;
  u32 length, back;
  if (!find_entry(pc, entry) || !(at = at_address(entry, 8)))
    return false;
  std::memcpy(&length, at, 4);
  std::memcpy(&back, at + 4, 4);
  const u64 common_at = entry + 4 - back;
  u32 common_length;
  const u8* common_bytes = at_address(common_at, 8);
  if (length < 12 || length == ~u32{0} || !at_address(entry, 4 + u64{length}) || !common_bytes)
    return false;
  std::memcpy(&common_length, common_bytes, 4);
  common_entry common;
  if (common_length < 8 || !at_address(common_at, 4 + u64{common_length}) ||
      !parse_common(cursor(common_bytes + 8, common_length - 4), common) ||
      common.encoding != (relative_to_here | encoded_sdata4))
    return false;
  cursor c(at + 8, length - 4);
  const u64 start = entry + 8 + u64(i64{c.take<i32>()});
  const u64 range = c.take<u32>();
  if (pc < start || pc - start >= range)
    return false;
  if (common.has_augmentation)
    c.skip(c.uleb());
  row now;
  interpreter run(common, start, pc);
  if (!run.run(cursor(common.instructions, common.instruction_bytes), now))
    return false;
  run.set_initial(now);
  cursor own(c.position(), u64(at + 4 + length - c.position()));
  if (!c.good() || !run.run(own, now) || !now.cfa_known)
    return false;

  const u64 cfa = r.value[now.cfa_register] + u64(now.cfa_offset);
  if (cfa <= r.value[unwind_registers::rsp] && is_return)
    return false;  // stacks grow down: anything else would go round in circles
  unwind_registers caller = r;
  caller.value[unwind_registers::rsp] = cfa;
  for (u64 i = 0; i < unwind_registers::count; i++) {
    const rule& how = now.registers[i];
    if (how.how == rule::kind::at_offset && !_read(cfa + u64(how.value), caller.value[i]))
      return false;
    if (how.how == rule::kind::is_offset)
      caller.value[i] = cfa + u64(how.value);
    if (how.how == rule::kind::in_register && u64(how.value) < unwind_registers::count)
      caller.value[i] = r.value[how.value];
  }
  const rule::kind found = now.registers[unwind_registers::rip].how;
  if (found != rule::kind::at_offset && found != rule::kind::in_register)
    return false;  // _start and thread starts have no caller, and say so
  r = caller;
  return r.value[unwind_registers::rip] != 0;
}

}  // namespace solaster::kernel::task
