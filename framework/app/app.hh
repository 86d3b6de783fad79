// A program's main: parse the command line, start the shards, run the program's function on shard 0, stop cleanly.
//
//     int main(int argc, char** argv) {
//         app_template app({.name = "hello"});
//         app.add_options()("port,p", bpo::value<uint16_t>()->default_value(7), "port");
//         return app.run(argc, argv, [&]() -> future<> { ... });
//     }
//
// (bpo is boost::program_options, of <boost/program_options.hpp>.) The framework's own options are long only (--smp,
// --memory, ...; --help-solaster lists them): short ones are the program's.
//
// Errors: an unknown option, a bad value, a start that fails: one line on stderr and status 2 (options) or 1. An
// exception out of the program's function: one line and status 1. Context: the main thread, which becomes shard 0.
// SIGINT and SIGTERM end the program with status 0 after what was registered by engine().at_exit(); a stop_signal takes
// them over.
#pragma once

#include "framework/base/function.hh"
#include "framework/future/future.hh"

#include <memory>
#include <string>

namespace boost::program_options {
class options_description;
class options_description_easy_init;
class positional_options_description;
class variables_map;
}  // namespace boost::program_options

namespace solaster {

struct app_config {
  std::string name = "app";
  std::string description = "";
  std::string version = "";  // what --version prints; empty: the program has no such option
  // Changes the framework's defaults, before the command line does.
  std::string default_log_level = "info";
};

class app_template {
 public:
  explicit app_template(app_config config = {});
  app_template(const app_template&) = delete;
  ~app_template();

  boost::program_options::options_description_easy_init add_options();
  // Options as a whole; `add_options` is enough for most.
  boost::program_options::options_description& options_description();
  boost::program_options::positional_options_description& positional_options();
  // What was given. Valid while the program's function runs.
  boost::program_options::variables_map& configuration();

  // The program's function runs on shard 0 when every shard is up and has its network. Returns the exit status.
  template <typename Func>
  int run(int argc, char** argv, Func&& func) {
    return run_main(argc, argv, [f = std::forward<Func>(func)]() mutable { return status_of(f()); });
  }

 private:
  using main_function = noncopyable_function<future<int>()>;
  int run_main(int argc, char** argv, main_function func);
  static future<int> status_of(future<int> f) noexcept { return f; }
  static future<int> status_of(future<> f) noexcept {
    return std::move(f).then([] { return 0; });
  }
  static future<int> status_of(int status) noexcept { return make_ready_future<int>(status); }

  struct implementation;
  std::unique_ptr<implementation> _impl;
};

}  // namespace solaster
