// What the framework's everyday steps cost on this machine, beside what Seastar took for the same.
//
//     build/release/tests/bench/reactor_bench                       every row
//     build/release/tests/bench/reactor_bench --only echo --rounds 9
//
// A row is measured in rounds; the time is the median of the rounds' times, "best" the least. Two shards, each on a CPU
// of its own: on a machine with other work the rows that need both say more about that work. The column of Seastar is
// what a build of it with the same compiler options took for the same steps on an idle machine of this kind; nothing is
// asserted.
#include "framework/app/app.hh"
#include "framework/future/loops.hh"
#include "framework/future/when_all.hh"
#include "framework/memory/memory.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/socket/api.hh"
#include "framework/sync/gate.hh"
#include "framework/sync/semaphore.hh"
#include "framework/sync/sleep.hh"

#include <fmt/core.h>
#include <sys/resource.h>
#include <algorithm>
#include <boost/program_options.hpp>
#include <functional>
#include <string>
#include <vector>

using namespace solaster;

namespace {

// Nanoseconds of one step, over one round.
using measure = std::function<future<double>()>;

struct row {
  std::string name;
  std::string unit;  // ns, us, ms
  double seastar;    // in that unit; 0: no figure
  measure round;
};

template <typename T>
void keep(T& x) {
  asm volatile("" : "+m"(x));
}

// Time of `steps` steps that `body` makes, for one.
template <typename Body>
measure timed(uint64_t steps, Body body) {
  return [steps, body]() -> future<double> {
    co_await coroutine::yield();
    instant begin = steady_clock::now();
    co_await body(steps);
    co_return double((steady_clock::now() - begin).ns) / double(steps);
  };
}
// The same for a body without waits.
template <typename Body>
measure timed_plain(uint64_t steps, Body body) {
  return timed(steps, [body](uint64_t n) {
    for (uint64_t i = 0; i < n; ++i) {
      body();
    }
    return make_ready_future<>();
  });
}

void spin(duration d) {
  instant until = steady_clock::now() + d;
  while (steady_clock::now() < until) {
  }
}

// ---------------------------------------------------------------- futures

future<> then_ready(uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) {
    auto f = make_ready_future<>();
    keep(f);
    auto g = std::move(f).then([] {});
    keep(g);
    if (!g.available()) [[unlikely]] {
      co_await std::move(g);  // the quota is used up
    }
  }
}

future<> await_ready(uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) {
    auto f = make_ready_future<>();
    keep(f);
    co_await std::move(f);
  }
}

future<> yield_often(uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) {
    co_await coroutine::yield();
  }
}

future<> await_promises(uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) {
    promise<> p;
    auto f = p.get_future().then([] {});
    p.set_value();
    co_await std::move(f);
  }
}

future<> wait_and_signal(uint64_t n) {
  semaphore sem(0);
  for (uint64_t i = 0; i < n; ++i) {
    auto f = sem.wait();
    sem.signal();
    co_await std::move(f);
  }
}

void add_future_rows(std::vector<row>& rows) {
  rows.push_back({"ready then", "ns", 1.8, timed(5'000'000, then_ready)});
  rows.push_back({"ready co_await", "ns", 2.1, timed(5'000'000, await_ready)});
  rows.push_back({"check of preemption", "ns", 0.38, timed_plain(20'000'000, [] {
                    bool b = need_preempt();
                    asm volatile("" : : "r"(b));
                  })});
  rows.push_back({"yield", "ns", 0, timed(2'000'000, yield_often)});
  rows.push_back({"promise, then, co_await", "ns", 0, timed(1'000'000, await_promises)});
  rows.push_back({"timer armed and cancelled", "ns", 0, timed_plain(1'000'000, [] {
                    timer<> t([] {});
                    t.arm(engine().now() + seconds(1));
                    t.cancel();
                  })});
  rows.push_back({"semaphore wait and signal, free", "ns", 0, timed_plain(5'000'000, [] {
                    static semaphore sem(1);
                    auto f = sem.wait();
                    keep(f);
                    f.get();
                    sem.signal();
                  })});
  rows.push_back({"semaphore wait and signal, taken", "ns", 0, timed(1'000'000, wait_and_signal)});
}

// ---------------------------------------------------------------- memory

// One object, allocated and freed again and again.
measure one_object(size_t bytes) {
  return timed_plain(5'000'000, [bytes] {
    void* p = ::operator new(bytes);
    keep(p);
    ::operator delete(p);
  });
}

// Made here, freed on the other shard, in batches of `batch`.
future<> free_there(uint64_t n) {
  constexpr size_t batch = 1000;
  for (uint64_t i = 0; i < n; i += batch) {
    std::vector<void*> all(batch);
    for (void*& p : all) {
      p = ::operator new(64);
    }
    co_await smp::submit_to(1, [&all] {
      for (void* p : all) {
        ::operator delete(p);
      }
    });
  }
}

void add_memory_rows(std::vector<row>& rows) {
  rows.push_back({"new and delete, 64 bytes", "ns", 0, one_object(64)});
  rows.push_back({"new and delete, 1 KiB", "ns", 0, one_object(1024)});
  rows.push_back({"new and delete, 64 KiB", "ns", 0, one_object(65536)});
  rows.push_back({"new here, delete there", "ns", 0, timed(1'000'000, free_there)});
}

// ---------------------------------------------------------------- shards

future<> call_one_by_one(uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) {
    co_await smp::submit_to(1, [] {});
  }
}

future<> call_many(uint64_t n) {
  uint64_t left = n;
  auto caller = [&left]() -> future<> {
    while (left > 0) {
      --left;
      co_await smp::submit_to(1, [] {});
    }
  };
  std::vector<future<>> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(caller());
  }
  for (auto& f : all) {
    co_await std::move(f);
  }
}

thread_local bool busy_stop;

future<> be_busy(duration slice) {
  while (!busy_stop) {
    spin(slice);
    co_await coroutine::yield();
  }
}

// A call to a shard on which two fibers compute, giving way after each slice.
measure call_to_busy(duration slice) {
  return [slice]() -> future<double> {
    co_await smp::submit_to(1, [] { busy_stop = false; });
    auto busy = smp::submit_to(1, [slice] { return when_all_succeed(be_busy(slice), be_busy(slice)); });
    double total = 0;
    constexpr int calls = 50;
    for (int i = 0; i < calls; ++i) {
      co_await sleep(microseconds(300 + 37 * i));
      instant begin = steady_clock::now();
      co_await smp::submit_to(1, [] {});
      total += double((steady_clock::now() - begin).ns);
    }
    co_await smp::submit_to(1, [] { busy_stop = true; });
    co_await std::move(busy);
    co_return total / calls;
  };
}

// How late a sleep of 1 ms ends beside slices of 200 us.
future<double> sleep_beside_slices() {
  busy_stop = false;
  auto busy = be_busy(microseconds(200));
  double late = 0;
  constexpr int sleeps = 50;
  for (int i = 0; i < sleeps; ++i) {
    instant begin = steady_clock::now();
    co_await sleep(milliseconds(1));
    late += double((steady_clock::now() - begin).ns) - 1e6;
  }
  busy_stop = true;
  co_await std::move(busy);
  co_return late / sleeps;
}

// CPU time that an idle program takes in a second, once it has been idle for one.
future<double> be_idle() {
  auto cpu_ns = [] {
    rusage u{};
    getrusage(RUSAGE_SELF, &u);
    auto ns = [](const timeval& t) { return double(t.tv_sec) * 1e9 + double(t.tv_usec) * 1e3; };
    return ns(u.ru_utime) + ns(u.ru_stime);
  };
  co_await sleep(seconds(1));
  double before = cpu_ns();
  co_await sleep(seconds(1));
  co_return cpu_ns() - before;
}

void add_shard_rows(std::vector<row>& rows) {
  rows.push_back({"submit_to, idle shard", "us", 1.9, timed(20'000, call_one_by_one)});
  rows.push_back({"submit_to, 100 outstanding", "ns", 144, timed(1'000'000, call_many)});
  rows.push_back({"submit_to, busy, slices of 20 us", "us", 1500, call_to_busy(microseconds(20))});
  rows.push_back({"submit_to, busy, slices of 200 us", "us", 1450, call_to_busy(microseconds(200))});
  rows.push_back({"submit_to, busy, slices of 1 ms", "us", 3000, call_to_busy(milliseconds(1))});
  rows.push_back({"sleep of 1 ms late, slices of 200 us", "us", 440, sleep_beside_slices});
  rows.push_back({"CPU of an idle second", "us", 9700, be_idle});
}

// ---------------------------------------------------------------- echo

struct echo_server {
  server_socket listener;
  gate running;

  future<> serve(connected_socket connection) {
    auto in = connection.input();
    auto out = connection.output();
    while (auto data = co_await in.read()) {
      co_await out.write(std::move(data));
      co_await out.flush();
    }
    co_await out.close();
    co_await in.close();
  }
  future<> accept_all(int connections) {
    for (int i = 0; i < connections; ++i) {
      auto accepted = co_await listener.accept();
      spawn(running, [this, c = std::move(accepted.connection)]() mutable { return serve(std::move(c)); });
    }
  }
};
thread_local echo_server* server;

future<> ping(socket_address where, uint64_t times, double& total_ns) {
  auto connection = co_await engine().net().connect(where);
  connection.set_nodelay(true);
  auto in = connection.input();
  auto out = connection.output();
  for (uint64_t i = 0; i < times + times / 10; ++i) {
    instant begin = steady_clock::now();
    co_await out.write("sixteen bytes...", 16);
    co_await out.flush();
    auto answer = co_await in.read_exactly(16);
    if (i >= times / 10) {
      total_ns += double((steady_clock::now() - begin).ns);
    }
  }
  co_await out.close();
  co_await in.close();
}

// The time of one exchange of 16 bytes, a server on shard 1, `connections` clients on shard 0.
measure echo(int connections, uint64_t exchanges) {
  return [connections, exchanges]() -> future<double> {
    socket_address where = co_await smp::submit_to(1, [connections] {
      server = new echo_server;
      server->listener =
          engine().net().listen(ipv4_addr(0x7f000001, 0), {.lba = load_balancing::none, .nodelay = true});
      spawn(server->running, [connections] { return server->accept_all(connections); });
      return server->listener.local_address();
    });
    std::vector<future<>> clients;
    double total = 0;
    uint64_t each = exchanges / uint64_t(connections);
    for (int i = 0; i < connections; ++i) {
      clients.push_back(ping(where, each, total));
    }
    for (auto& c : clients) {
      co_await std::move(c);
    }
    co_await smp::submit_to(1,
                            [] { return server->running.close().then([] { delete std::exchange(server, nullptr); }); });
    co_return total / double(each * uint64_t(connections));
  };
}

void add_echo_rows(std::vector<row>& rows) {
  rows.push_back({"echo, 1 connection", "us", 19, echo(1, 5'000)});
  rows.push_back({"echo, 4 connections", "us", 0, echo(4, 20'000)});
  rows.push_back({"echo, 50 connections", "us", 0, echo(50, 50'000)});
}

// ---------------------------------------------------------------- the table

future<> print_row(row& r, unsigned rounds) {
  std::vector<double> took;
  double scale = r.unit == "us" ? 1e3 : r.unit == "ms" ? 1e6 : 1;
  for (unsigned i = 0; i < rounds; ++i) {
    took.push_back(co_await r.round() / scale);
  }
  std::sort(took.begin(), took.end());
  std::string peer = r.seastar > 0 ? fmt::format("{:10.4g}", r.seastar) : std::string(9, ' ') + "-";
  std::string ratio =
      r.seastar > 0 ? fmt::format("{:8.2f}", took[took.size() / 2] / r.seastar) : std::string(7, ' ') + "-";
  fmt::print("{:38} {:>2} {:10.4g} {:10.4g} {} {}\n", r.name, r.unit, took[took.size() / 2], took[0], peer, ratio);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  namespace bpo = boost::program_options;
  app_template app({.name = "reactor_bench", .description = "What the framework's everyday steps cost."});
  app.add_options()("only", bpo::value<std::string>()->default_value(""), "rows whose name contains this")(
      "rounds", bpo::value<unsigned>()->default_value(5), "rounds of each row");
  return app.run(argc, argv, [&]() -> future<> {
    std::vector<row> rows;
    add_future_rows(rows);
    add_memory_rows(rows);
    if (smp::count > 1) {
      add_shard_rows(rows);
      add_echo_rows(rows);
    }
    auto only = app.configuration()["only"].as<std::string>();
    auto rounds = std::max(1u, app.configuration()["rounds"].as<unsigned>());
    fmt::print("{} back end, {} shards, {} rounds\n{:38}    {:>10} {:>10} {:>10} {:>8}\n", engine().backend().name(),
               smp::count, rounds, "", "median", "best", "Seastar", "ratio");
    for (auto& r : rows) {
      if (r.name.find(only) != std::string::npos) {
        co_await print_row(r, rounds);
      }
    }
  });
}
