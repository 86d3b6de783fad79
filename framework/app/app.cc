#include "framework/app/app.hh"

#include "framework/base/option_error.hh"
#include "framework/host/crash.hh"
#include "framework/log/log.hh"
#include "framework/log/options.hh"
#include "framework/reactor/engine.hh"
#include "framework/reactor/options.hh"
#include "framework/socket/stacks.hh"

#include <boost/program_options.hpp>
#include <iostream>

namespace bpo = boost::program_options;

namespace solaster {

struct app_template::implementation {
  app_config config;
  bpo::options_description own;
  bpo::options_description framework{"Options of the framework"};
  bpo::positional_options_description positional;
  bpo::variables_map values;

  explicit implementation(app_config c) : config(std::move(c)), own(config.name + " options") {}

  bool has_own(const char* name) const { return own.find_nothrow(name, false) != nullptr; }
  bool asked_for(const char* name) const { return values.count(name) && !has_own(name); }

  void parse(int argc, char** argv) {
    bpo::options_description all;
    bpo::options_description general;
    if (!has_own("help")) {
      general.add_options()("help", "what this program takes");
    }
    if (!has_own("version") && !config.version.empty()) {
      general.add_options()("version", "print the version");
    }
    general.add_options()("help-solaster", "the framework's options");
    describe_engine_options(framework);
    describe_network_options(framework);
    describe_log_options(framework, config.default_log_level);
    all.add(own).add(general).add(framework);
    // No guessing: --mem is not --memory, and today's unique prefix is not tomorrow's.
    int style = bpo::command_line_style::unix_style & ~bpo::command_line_style::allow_guessing;
    bpo::store(bpo::command_line_parser(argc, argv).options(all).positional(positional).style(style).run(), values);
    if (values.count("help-solaster") || asked_for("help") || asked_for("version")) {
      return;
    }
    bpo::notify(values);
  }

  // True if one of the informing options was given and answered.
  bool answer() const {
    if (asked_for("version")) {
      std::cout << config.name << " " << config.version << "\n";
    } else if (values.count("help-solaster")) {
      std::cout << framework;
    } else if (asked_for("help")) {
      if (!config.description.empty()) {
        std::cout << config.description << "\n\n";
      }
      std::cout << own << "\nGeneral:\n  --help                 this text\n"
                << "  --help-solaster        the framework's options: shards, memory, network, logging\n";
    } else {
      return false;
    }
    std::cout.flush();
    return true;
  }
};

app_template::app_template(app_config config) : _impl(std::make_unique<implementation>(std::move(config))) {}
app_template::~app_template() = default;

bpo::options_description_easy_init app_template::add_options() {
  return _impl->own.add_options();
}
bpo::options_description& app_template::options_description() {
  return _impl->own;
}
bpo::positional_options_description& app_template::positional_options() {
  return _impl->positional;
}
bpo::variables_map& app_template::configuration() {
  return _impl->values;
}

namespace {

// The network comes up before the program's own function.
future<int> run_connected(const network_options& network, noncopyable_function<future<int>()> func) {
  co_await start_network(network);
  co_return co_await func();
}

}  // namespace

int app_template::run_main(int argc, char** argv, main_function func) {
  network_options network;
  auto complain = [&](const std::string& text) {
    std::string line = _impl->config.name + ": " + text + "\n";
    internal::write_log_text(line.data(), line.size());
  };
  try {
    _impl->parse(argc, argv);
    if (_impl->answer()) {
      return 0;
    }
    read_log_options(_impl->values);
    internal::set_options(read_engine_options(_impl->values));
    network = read_network_options(_impl->values);
  } catch (const bpo::too_many_positional_options_error&) {
    complain("an argument that is no option (--help lists the options)");
    return 2;
  } catch (const bpo::error& e) {
    complain(std::string(e.what()) + " (--help lists the options)");
    return 2;
  } catch (const option_error& e) {
    complain(e.what());
    return 2;
  }
  internal::install_crash_report(_impl->config.name.c_str());
  try {
    return internal::run_shards(
        [&network, func = std::move(func)]() mutable { return run_connected(network, std::move(func)); }, complain);
  } catch (const std::exception& e) {
    complain(e.what());
    return 1;
  }
}

}  // namespace solaster
