// What a wrong option is: the text is the line to print.
#pragma once

#include <stdexcept>

namespace solaster {

struct option_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace solaster
