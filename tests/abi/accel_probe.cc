// abi: exit=42
// Whether a guest really runs here: scripts/solaster/accel.py boots it before it trusts an accelerator. Two threads
// keep values in vector registers across system calls, switches and timer interrupts, and check them: what half-working
// virtualisation stumbles over is the restoring of extended state, and timers that never fire.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

namespace {

using vector = double __attribute__((vector_size(64)));
using std::chrono::steady_clock;

constexpr int works_status = 42, wrong_values = 1, wrong_time = 2;
constexpr auto duration = std::chrono::milliseconds(30);

std::atomic<bool> good{true};
std::atomic<bool> over{false};

// A sum that only comes out right if no register is lost on the way.
void compute(double first) {
  while (!over.load()) {
    vector v{first, first + 1, first + 2, first + 3, first + 4, first + 5, first + 6, first + 7}, sum{};
    for (int i = 1; i <= 4000; i++) {
      asm volatile("" : "+x"(first));
      sum += v;
      if (i % 1000 == 0)
        std::this_thread::yield();
    }
    for (int i = 0; i < 8; i++)
      if (sum[i] != 4000 * (first + i))
        good = false;
  }
}

}  // namespace

int main() {
  std::mutex lock;
  std::condition_variable never;
  std::thread a(compute, 1.0), b(compute, 100.0);
  auto start = steady_clock::now();
  {
    std::unique_lock held(lock);
    while (steady_clock::now() - start < duration)
      never.wait_until(held, start + duration);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  auto passed = steady_clock::now() - start;
  over = true;
  a.join();
  b.join();
  if (!good)
    return wrong_values;
  if (passed < duration)
    return wrong_time;
  std::printf("vector state, threads and timers work\n");
  return works_status;
}
