// Threads, mutexes, condition variables, thread-local storage, C++ style.
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

thread_local int tls_counter = 100;
thread_local struct noisy {
  int* where = nullptr;
  ~noisy() {
    if (where)
      ++*where;
  }
} tls_object;

static void counting() {
  std::mutex m;
  long plain = 0;
  std::atomic<long> atomic{0};
  std::vector<std::thread> all;
  for (int i = 0; i < 8; i++)
    all.emplace_back([&] {
      for (int n = 0; n < 20000; n++) {
        atomic++;
        std::lock_guard guard(m);
        plain++;
      }
    });
  for (auto& t : all)
    t.join();
  std::printf("counted %ld %ld\n", plain, atomic.load());
}

static void ping_pong() {
  std::mutex m;
  std::condition_variable cv;
  int turn = 0, rounds = 0;
  auto player = [&](int me) {
    std::unique_lock lock(m);
    for (int i = 0; i < 500; i++) {
      cv.wait(lock, [&] { return turn == me; });
      rounds++;
      turn = 1 - me;
      cv.notify_all();
    }
  };
  std::thread a(player, 0), b(player, 1);
  a.join(), b.join();
  std::printf("rounds %d\n", rounds);
}

static void bounded_queue() {
  std::mutex m;
  std::condition_variable not_full, not_empty;
  std::vector<int> queue;
  long sum = 0;
  std::vector<std::thread> all;
  for (int p = 0; p < 3; p++)
    all.emplace_back([&, p] {
      for (int i = 1; i <= 1000; i++) {
        std::unique_lock lock(m);
        not_full.wait(lock, [&] { return queue.size() < 4; });
        queue.push_back(i + p);
        not_empty.notify_one();
      }
    });
  for (int c = 0; c < 3; c++)
    all.emplace_back([&] {
      for (int i = 0; i < 1000; i++) {
        std::unique_lock lock(m);
        not_empty.wait(lock, [&] { return !queue.empty(); });
        sum += queue.back();
        queue.pop_back();
        not_full.notify_one();
      }
    });
  for (auto& t : all)
    t.join();
  std::printf("sum %ld, left %zu\n", sum, queue.size());
}

static void local_storage() {
  int destroyed = 0;
  int seen[4];
  std::vector<std::thread> all;
  for (int i = 0; i < 4; i++)
    all.emplace_back([&, i] {
      for (int n = 0; n < i; n++) {
        tls_counter++;
        sched_yield();
      }
      seen[i] = tls_counter;
    });
  for (auto& t : all)
    t.join();
  for (int i = 0; i < 2; i++)
    std::thread([&] { tls_object.where = &destroyed; }).join();
  std::printf("tls %d %d %d %d, main %d, destroyed %d\n", seen[0], seen[1], seen[2], seen[3], tls_counter, destroyed);
}

static void readers_writers() {
  std::shared_mutex m;
  int value = 0;
  std::atomic<int> torn{0};
  std::vector<std::thread> all;
  for (int i = 0; i < 2; i++)
    all.emplace_back([&] {
      for (int n = 0; n < 500; n++) {
        std::unique_lock lock(m);
        value++;
        value++;
      }
    });
  for (int i = 0; i < 3; i++)
    all.emplace_back([&] {
      for (int n = 0; n < 500; n++) {
        std::shared_lock lock(m);
        if (value % 2)
          torn++;
      }
    });
  for (auto& t : all)
    t.join();
  std::printf("value %d, torn %d\n", value, torn.load());
}

static void many() {
  std::atomic<int> ran{0};
  for (int round = 0; round < 20; round++) {
    std::vector<std::thread> all;
    for (int i = 0; i < 10; i++)
      all.emplace_back([&] { ran++; });
    for (auto& t : all)
      t.join();
  }
  std::printf("ran %d\n", ran.load());
}

static void* return_argument(void* p) {
  return p;
}

static void pthreads() {
  pthread_t t;
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 64 << 10);
  void* result = nullptr;
  int made = pthread_create(&t, &attr, return_argument, &result);
  pthread_join(t, &result);
  std::printf("small stack: %d %d\n", made, result == &result);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  static std::atomic<int> done{0};
  pthread_create(
      &t, &attr,
      [](void*) -> void* {
        done = 1;
        return nullptr;
      },
      nullptr);
  while (!done)
    sched_yield();
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, 4);
  std::atomic<int> serial{0};
  std::vector<std::thread> all;
  for (int i = 0; i < 4; i++)
    all.emplace_back([&] {
      for (int n = 0; n < 50; n++)
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
          serial++;
    });
  for (auto& x : all)
    x.join();
  std::printf("barriers %d\n", serial.load());
  pthread_mutexattr_t robust;
  pthread_mutexattr_init(&robust);
  pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_t m;
  pthread_mutex_init(&m, &robust);
  std::thread([&] { pthread_mutex_lock(&m); }).join();
  int r = pthread_mutex_lock(&m);
  std::printf("owner died: %d, consistent: %d, unlock: %d\n", r == EOWNERDEAD, pthread_mutex_consistent(&m),
              pthread_mutex_unlock(&m));
  char name[16] = "";
  std::thread([&] {
    pthread_setname_np(pthread_self(), "worker-7");
    pthread_getname_np(pthread_self(), name, sizeof name);
  }).join();
  std::printf("name %s\n", name);
}

int main() {
  counting();
  ping_pong();
  bounded_queue();
  local_storage();
  readers_writers();
  many();
  pthreads();
  std::printf("main is thread %d\n", getpid() == gettid());
  // The main thread may end before the others.
  std::thread([] {
    usleep(20000);
    std::printf("last\n");
    std::fflush(stdout);
  }).detach();
  pthread_exit(nullptr);
}
