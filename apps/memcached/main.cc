// memcached on Solaster: a process on Linux, a virtual machine on the Solaster kernel, from one file.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "apps/memcached/options.hh"
#include "apps/memcached/server.hh"
#include "framework/app/app.hh"
#include "framework/future/coroutine.hh"
#include "framework/log/log.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/sharded.hh"
#include "framework/sync/stop_signal.hh"

using namespace solaster;

namespace {

future<int> serve(app_template& app) {
  memcached::server_options options;
  try {
    options = memcached::read_options(app);
  } catch (const memcached::bad_option& e) {
    fmt::print(stderr, "memcached: {}\n", e.what());
    co_return 64;  // EX_USAGE
  }
  if (options.verbosity > 0) {
    logger::set_level_of("stats", log_level::debug);
  }
  memcached::hash_seed seed;
  if (getentropy(&seed, sizeof(seed)) != 0) {
    fmt::print(stderr, "memcached: the host gives no entropy\n");
    co_return 71;  // EX_OSERR
  }
  memcached::seats places(options.connections_max);
  sharded<memcached::server> servers;
  co_await servers.start(std::ref(servers), std::ref(places), options, seed);
  auto started = co_await coroutine::as_future(servers.invoke_on_all([](memcached::server& s) { return s.start(); }));
  int status = 0;
  if (started.failed()) {
    fmt::print(stderr, "memcached: cannot listen on {}:{}: {}\n", options.listen, options.port,
               describe(started.get_exception()));
    status = 71;  // EX_OSERR
  } else {
    fmt::print(stderr, "memcached: {} MB on {} shard{}, listening on {}:{}\n", options.memory_bytes >> 20, smp::count,
               smp::count == 1 ? "" : "s", options.listen, options.port);
    stop_signal stop;
    co_await stop.wait();
  }
  co_await servers.stop();
  co_return status;
}

}  // namespace

int main(int argc, char** argv) {
  app_template app({.name = "memcached",
                    .description = "a cache for small objects, on Solaster",
                    .version = std::string(memcached::version_text)});
  memcached::declare_options(app);
  auto arguments = memcached::translate_arguments(argc, argv);
  std::vector<char*> pointers;
  for (auto& a : arguments)
    pointers.push_back(a.data());
  pointers.push_back(nullptr);
  return app.run(int(arguments.size()), pointers.data(), [&] { return serve(app); });
}
