// Ends badly in a coroutine that has waited, so that its callers are no longer on the stack:
// tests/guest/test_debugging.py looks at the report of the guest and of the process.
//
//     crash_in_coroutine null|abort|throw|bad-string|overflow
#include "framework/app/app.hh"
#include "framework/future/coroutine.hh"
#include "framework/log/log.hh"
#include "framework/reactor/smp.hh"
#include "framework/sync/sleep.hh"

#include <boost/program_options.hpp>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

using namespace solaster;

namespace {

[[gnu::noinline]] void write_null() {
  volatile int* p = nullptr;
  asm volatile("" : "+r"(p));
  p[6] = 1;
  asm volatile("");
}

[[gnu::noinline]] int recurse(int n) {
  volatile char space[1024];
  space[n % 1024] = char(n);
  return n == 1 << 30 ? 0 : recurse(n + 1) + space[0];
}

[[gnu::noinline]] void throw_it(const std::string& text) {
  throw std::runtime_error("nobody may catch " + text);
}

[[gnu::noinline]] void throw_where_nothing_may(const std::string& text) noexcept {
  if (!text.empty()) {
    throw_it(text);
  }
}

[[gnu::noinline]] void print_bad_string() {
  char line[200];
  const char* bad = reinterpret_cast<const char*>(uintptr_t{24});
  asm volatile("" : "+r"(bad));
  std::snprintf(line, sizeof line, "%s and %d", bad, 7);
  asm volatile("");
}

[[gnu::noinline]] void end_badly(const std::string& way) {
  if (way == "null") {
    write_null();
  } else if (way == "abort") {
    std::abort();
  } else if (way == "throw") {
    throw_where_nothing_may(way);
  } else if (way == "bad-string") {
    print_bad_string();
  } else if (way == "overflow") {
    std::exit(recurse(0));
  }
  asm volatile("");
}

[[gnu::noinline]] future<> innermost(std::string way) {
  co_await sleep(milliseconds(1));
  end_badly(way);
  co_await sleep(milliseconds(1));
}

[[gnu::noinline]] future<> middle(std::string way) {
  co_await innermost(way);
  co_await sleep(milliseconds(1));
}

}  // namespace

int main(int argc, char** argv) {
  namespace bpo = boost::program_options;
  app_template app({.name = "crash_in_coroutine"});
  app.add_options()("way", bpo::value<std::string>()->default_value("null"),
                    "null, abort, throw, bad-string or overflow")("on-shard", bpo::value<unsigned>()->default_value(0),
                                                                  "which shard does it");
  app.positional_options().add("way", 1);
  return app.run(argc, argv, [&]() -> future<> {
    auto way = app.configuration()["way"].as<std::string>();
    co_await smp::submit_to(app.configuration()["on-shard"].as<unsigned>(), [way] { return middle(way); });
  });
}
