#include "kernel/task/unwind.cc"  // the kernel's objects are not linked into host tests

#include <gtest/gtest.h>
#include <link.h>
#include <ucontext.h>
#include <unwind.h>

#include <fstream>
#include <iterator>
#include <vector>

using namespace solaster::kernel::task;
using solaster::kernel::u64;
using solaster::kernel::u8;
using solaster::kernel::usize;

namespace {

std::vector<u8> own_file() {
  std::ifstream in("/proc/self/exe", std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Of the program itself, the first object.
u64 own_bias() {
  u64 bias = 0;
  dl_iterate_phdr([](dl_phdr_info* i, size_t, void* p) { return *static_cast<u64*>(p) = i->dlpi_addr, 1; }, &bias);
  return bias;
}

bool read_word(u64 address, u64& value) {
  value = *reinterpret_cast<const u64*>(address);
  return true;
}

unwind_registers registers_of(const ucontext_t& u) {
  const auto& g = u.uc_mcontext.gregs;
  unwind_registers r;
  const int order[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
                       REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
  for (usize i = 0; i < unwind_registers::count; i++)
    r.value[i] = u64(g[order[i]]);
  return r;
}

struct both {
  std::vector<u64> ours, theirs;
};

both result;

_Unwind_Reason_Code add_frame(_Unwind_Context* c, void*) {
  result.theirs.push_back(u64(_Unwind_GetIP(c)));
  return _URC_NO_REASON;
}

[[gnu::noinline]] int innermost(const std::vector<u8>& file, int n) {
  result = {};
  ucontext_t u;
  getcontext(&u);
  _Unwind_Backtrace(add_frame, nullptr);
  unwinder tables(file, own_bias(), read_word);
  unwind_registers r = registers_of(u);
  for (int i = 0; i < 200 && tables.step(r, true); i++)
    result.ours.push_back(r.value[unwind_registers::rip]);
  return n;
}

[[gnu::noinline]] int with_room(const std::vector<u8>& file, int n) {
  volatile char room[3000];
  room[n] = char(n);
  return innermost(file, n) + room[n];
}

[[gnu::noinline]] int recurse(const std::vector<u8>& file, int n) {
  return n == 0 ? with_room(file, n) : recurse(file, n - 1) + 1;
}

// The call is the function's last instruction: the return address belongs to whatever follows.
[[gnu::noinline, noreturn]] void never_returns(const std::vector<u8>& file) {
  innermost(file, 0);
  throw 1;
}
[[gnu::noinline, noreturn]] void ends_with_a_call(const std::vector<u8>& file) {
  volatile char room[500];
  room[0] = 1;
  never_returns(file);
}

void expect_the_same() {
  // Theirs begins with innermost itself. Both end at _start, or where the program calls a shared library.
  ASSERT_GT(result.theirs.size(), 8u);
  ASSERT_GE(result.ours.size(), 8u);
  ASSERT_LT(result.ours.size(), result.theirs.size());
  for (size_t i = 0; i < result.ours.size(); i++)
    EXPECT_EQ(result.ours[i], result.theirs[i + 1]) << i;
}

}  // namespace

TEST(unwind, names_the_callers_that_the_compilers_own_unwinder_names) {
  auto file = own_file();
  EXPECT_EQ(recurse(file, 5), 5);
  expect_the_same();
}

TEST(unwind, a_call_that_ends_its_function_belongs_to_it) {
  auto file = own_file();
  EXPECT_THROW(ends_with_a_call(file), int);
  expect_the_same();
}

TEST(unwind, a_damaged_file_ends_the_walk) {
  auto file = own_file();
  innermost(file, 0);
  ucontext_t u;
  getcontext(&u);
  u64 seed = 7;
  for (int round = 0; round < 100; round++) {
    auto damaged = file;
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    const usize where = round % 3 ? (seed >> 20) % file.size() : 64 + (seed >> 20) % 1000;  // or the program headers
    if (round % 4 == 0)
      damaged.resize(seed % file.size());
    else
      for (usize i = where; i < std::min(where + 4000, damaged.size()); i++)
        damaged[i] ^= u8(seed >> 50 | 1);
    unwinder tables(damaged, own_bias(), [](u64, u64& v) { return v = 0, true; });
    unwind_registers r = registers_of(u);
    for (int i = 0; i < 50 && tables.step(r, i > 0); i++) {
    }
  }
  unwinder nothing({}, 0, read_word);
  unwind_registers r = registers_of(u);
  EXPECT_FALSE(nothing.step(r, false));
}
