// SAFETY (file): these tests touch what they may not, to see that it is caught; the other addresses are of areas that
// they have just made.
#include "kernel/boot/selftest.hh"

#include "kernel/drivers/console.hh"
#include "kernel/drivers/power.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/address_space.hh"
#include "kernel/mm/frames.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/sched/futex.hh"
#include "kernel/sched/thread.hh"
#include "kernel/sync/wait_queue.hh"
#include "kernel/task/process.hh"

namespace solaster::kernel {
namespace {

template <typename... Args>
void say(std::string_view fmt, const Args&... args) {
  char line[200];
  console::write(format_to(line, sizeof line, fmt, args...));
}

void test_hello() {
  say("hello from the kernel\n");
}
void test_panic() {
  panic("asked for by selftest=panic");
}
// The other CPU is in the middle of the log when the report wants to write there: describing the program does.
void test_panic_locked() {
  task::create_task(current(), 0);
  auto writer = sched::create_kernel_thread(
      "writer",
      [](void*) {
        for (;;)
          log::write(log::level::fatal, "a line");
      },
      nullptr);
  KCHECK(writer && sched::set_affinity(*writer, 2));
  sched::start(*writer);
  sched::sleep_until(now_ns() + 50'000'000);
  panic("asked for by selftest=panic_locked");
}
void test_null() {
  volatile int* p = nullptr;
  asm volatile("" : "+r"(p));
  *p = 1;
}
[[gnu::noinline]] int recurse(int n) {
  volatile char pad[512];
  pad[0] = static_cast<char>(n);
  return n == 0 ? 0 : recurse(n - 1) + pad[0];
}
void test_overflow() {
  say("{}\n", recurse(1000000));
}
void test_write_text() {
  *reinterpret_cast<volatile char*>(&test_hello) = 0;
}

void test_memory() {
  const u64 before = mm::free_bytes();
  constexpr int count = 2000;
  static void* p[count];
  u64 seed = 1;
  for (int round = 0; round < 5; round++) {
    for (int i = 0; i < count; i++) {
      seed = seed * 6364136223846793005ull + 1442695040888963407ull;
      const usize n = 1 + (seed >> 33) % 3000;
      p[i] = kmalloc(n);
      if (p[i])
        memset(p[i], i, n);
    }
    for (int i = 0; i < count; i++)
      kfree(p[(i * 7) % count]), p[(i * 7) % count] = nullptr;
  }
  say("heap: {} KiB kept\n", (before - mm::free_bytes()) >> 10);

  mm::map_request r;
  r.length = 1 << 20;
  auto at = mm::map(r);
  KCHECK(at);
  u32 v = 77;
  KCHECK(mm::put(reinterpret_cast<u32*>(*at + 0x1234 * 4), v));
  KCHECK(mm::get(v, reinterpret_cast<u32*>(*at + 0x1234 * 4)) && v == 77);
  KCHECK(mm::protect(*at, page_size, mm::prot_read));
  KCHECK(!mm::put(reinterpret_cast<u32*>(*at), v));
  KCHECK(mm::get(v, reinterpret_cast<u32*>(*at)) && v == 0);
  KCHECK(!mm::get(v, reinterpret_cast<u32*>(0x1000)));
  KCHECK(!mm::get(v, reinterpret_cast<u32*>(mm::physical_map_base)));
  KCHECK(mm::unmap(*at, 1 << 20));
  KCHECK(!mm::get(v, reinterpret_cast<u32*>(*at)));
  say("memory: {} bytes resident, ok\n", mm::resident_bytes());
}

std::atomic<int> running{0};
std::atomic<u64> sum{0};
mutex shared_lock;
u64 guarded_count = 0;
u32* futex_word = nullptr;

void worker(void* argument) {
  const u64 n = reinterpret_cast<u64>(argument);
  for (int i = 0; i < 2000; i++) {
    mutex_guard g(shared_lock);
    guarded_count++;
    if (i % 64 == 0)
      sched::yield();
  }
  for (int i = 0; i < 5; i++)
    sched::sleep_until(now_ns() + 1'000'000 * (n % 3 + 1));
  sum += n;
  running--;
  (void)futex::wake(futex_word, 1);
}

void test_threads() {
  mm::map_request r;
  r.length = page_size;
  futex_word = reinterpret_cast<u32*>(*mm::map(r));
  constexpr int count = 16;
  const u64 start = now_ns();
  running = count;
  for (u64 i = 1; i <= count; i++) {
    auto t = sched::create_kernel_thread("worker", worker, reinterpret_cast<void*>(i));
    KCHECK(t);
    sched::start(*t);
  }
  while (running.load())
    (void)futex::wait(futex_word, 0, futex::match_any, now_ns() + 50'000'000);
  say("threads: sum {} count {} in {} us, {} switches, {} of {} CPUs\n", sum.load(), guarded_count,
      (now_ns() - start) / 1000, sched::context_switch_count(), sched::online_count(), sched::cpu_count());
  KCHECK(guarded_count == count * 2000);
}

void test_clock() {
  const u64 a = now_ns();
  sched::sleep_until(a + 100'000'000);
  const u64 b = now_ns();
  say("clock: slept {} us, tsc {} kHz, wall {} s from {}\n", (b - a) / 1000, tsc_hz() / 1000,
      realtime_ns() / 1'000'000'000, wall_clock_name());
}

struct test {
  std::string_view name;
  void (*run)();
};
constexpr test tests[] = {
    {"hello", test_hello},   {"panic", test_panic},   {"null", test_null},       {"overflow", test_overflow},
    {"wx", test_write_text}, {"memory", test_memory}, {"threads", test_threads}, {"panic_locked", test_panic_locked},
    {"clock", test_clock}};

}  // namespace

bool run_selftest(std::string_view name) {
  for (const test& t : tests) {
    if (t.name != name)
      continue;
    t.run();
    power_off(0);
  }
  if (!name.empty())
    refuse("no such selftest: {}", name);
  return false;
}

}  // namespace solaster::kernel
