// Says hello from every shard and stops.
//
//     build/release/demos/hello --smp 2
//     scripts/run.py demos/hello
#include "framework/app/app.hh"
#include "framework/log/log.hh"
#include "framework/reactor/smp.hh"

using namespace solaster;

static logger log_("hello");

int main(int argc, char** argv) {
  app_template app({.name = "hello", .description = "Says hello from every shard."});
  return app.run(argc, argv, []() -> future<> {
    co_await smp::invoke_on_all([] { log_.info("hello, world, from shard {} of {}", this_shard_id(), smp::count); });
  });
}
