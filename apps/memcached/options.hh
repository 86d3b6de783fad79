// memcached's command line: its common flags under their own names, the framework's (--smp, --memory, ...) beside them.
//
// Errors: bad_option with one line for the user.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "apps/memcached/stats.hh"

namespace solaster {
class app_template;
}

namespace solaster::memcached {

struct bad_option : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What boost cannot read as memcached's users write it: -vv, and -t N, which is the framework's --smp N.
std::vector<std::string> translate_arguments(int argc, char** argv);
void declare_options(app_template& app);
server_options read_options(app_template& app);
// "1m", "512k", "1048576".
uint64_t parse_size(const std::string& text, const char* option);

}  // namespace solaster::memcached
