// Small tests of the core without a program: selftest=NAME on the command line; the machine ends with status 0 or 126.
#pragma once

#include <string_view>

namespace solaster::kernel {

// True when `name` is a test (it has started and ends the machine itself). "": false.
bool run_selftest(std::string_view name);

}  // namespace solaster::kernel
