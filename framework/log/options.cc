#include "framework/log/options.hh"

#include "framework/base/option_error.hh"
#include "framework/log/log.hh"

#include <fmt/ranges.h>
#include <algorithm>
#include <boost/program_options.hpp>

namespace bpo = boost::program_options;

namespace solaster {
namespace {

// A name that no logger has is a slip: nothing would change, and nobody would be told.
void set_log_level_of(const std::string& name, log_level l) {
  std::vector<std::string> names = logger::names();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    throw option_error(
        fmt::format("--logger-log-level: no logger named {}; there are: {}", name, fmt::join(names, ", ")));
  }
  logger::set_level_of(name, l);
}

}  // namespace

void read_log_options(const bpo::variables_map& vm) {
  auto level_of = [](const std::string& name, const char* option) {
    log_level l;
    if (!parse_log_level(name, l)) {
      throw option_error(std::string(option) + ": error, warn, info, debug or trace, not " + name);
    }
    return l;
  };
  logger::set_default_level(level_of(vm["default-log-level"].as<std::string>(), "--default-log-level"));
  if (!vm.count("logger-log-level")) {
    return;
  }
  for (const std::string& list : vm["logger-log-level"].as<std::vector<std::string>>()) {
    for (size_t from = 0; from <= list.size();) {
      size_t to = std::min(list.find(':', from), list.size());
      std::string item = list.substr(from, to - from);
      size_t eq = item.find('=');
      if (eq == std::string::npos) {
        throw option_error("--logger-log-level: NAME=LEVEL, not " + item);
      }
      set_log_level_of(item.substr(0, eq), level_of(item.substr(eq + 1), "--logger-log-level"));
      from = to + 1;
    }
  }
}

void describe_log_options(bpo::options_description& d, const std::string& default_level) {
  d.add_options()("default-log-level", bpo::value<std::string>()->default_value(default_level)->value_name("LEVEL"),
                  "error, warn, info, debug or trace")(
      "logger-log-level", bpo::value<std::vector<std::string>>()->composing()->value_name("NAME=LEVEL"),
      "the level of one logger; several: a=debug:b=trace");
}

}  // namespace solaster
