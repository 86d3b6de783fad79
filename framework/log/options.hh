// The log's options: --default-log-level, --logger-log-level. Errors: option_error.
#pragma once

#include <string>

namespace boost::program_options {
class options_description;
class variables_map;
}  // namespace boost::program_options

namespace solaster {

void describe_log_options(boost::program_options::options_description&, const std::string& default_level);
// Sets the levels.
void read_log_options(const boost::program_options::variables_map&);

}  // namespace solaster
