#include "framework/testing/reactor_test.hh"

#include "framework/app/app.hh"
#include "framework/log/log.hh"

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace solaster::testing {

void run_in_reactor(noncopyable_function<future<>()> body, std::vector<std::string> options) {
  std::vector<std::string> args = {"test", "--overprovisioned"};
  std::istringstream more(std::getenv("SOLASTER_TEST_OPTIONS") ? std::getenv("SOLASTER_TEST_OPTIONS") : "");
  // What the test itself asks for stands.
  bool taken = false;
  for (std::string word; more >> word;) {
    if (word.starts_with("--")) {
      taken = std::find(options.begin(), options.end(), word) != options.end();
    }
    if (!taken) {
      options.push_back(word);
    }
  }
  // A default is given unless the option is.
  auto fill = [&](const std::string& name, const std::string& value) {
    for (const auto& o : options) {
      if (o == name) {
        return;
      }
    }
    args.push_back(name);
    args.push_back(value);
  };
  fill("--smp", "2");
  fill("--memory", "128M");
  fill("--network-stack", "none");
  fill("--default-log-level", "warn");
  args.insert(args.end(), options.begin(), options.end());
  std::vector<char*> argv;
  for (auto& a : args) {
    argv.push_back(a.data());
  }
  app_template app({.name = "test"});
  std::string failure;
  int status = app.run(int(argv.size()), argv.data(), [&]() -> future<> {
    auto f = co_await coroutine::as_future(futurize_invoke(body));
    if (f.failed()) {
      failure = describe(f.get_exception());
    }
  });
  EXPECT_EQ(failure, "");
  EXPECT_EQ(status, 0);
}

}  // namespace solaster::testing
