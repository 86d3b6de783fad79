// The framework's options, out of a command line.
//
// Errors: option_error, whose text is the line to print.
#pragma once

#include "framework/app/options.hh"

#include <stdexcept>
#include <string>

namespace boost::program_options {
class options_description;
class variables_map;
}  // namespace boost::program_options

namespace solaster {

struct option_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void describe_engine_options(boost::program_options::options_description&, const std::string& default_log_level);
// Also sets log levels. Options that do not fit together or this host are errors.
engine_options read_engine_options(const boost::program_options::variables_map&);
// "64M", "1G", "123456"; bytes.
uint64_t parse_size(const std::string& text);
// "0-3,8"
std::vector<unsigned> parse_cpuset(const std::string& text);

namespace internal {
void set_options(engine_options) noexcept;
}

}  // namespace solaster
