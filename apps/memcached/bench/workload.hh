// What mcbench asks for: keys, values that can be checked, and the exact bytes of requests and right answers.
//
// The value of key i is a window into one block of pseudo-random text; where it lies and how long it is follow from i,
// so that every answer can be compared, whoever stored it. Units: bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace solaster::mcbench {

struct workload_options {
  uint64_t keys = 10'000;
  uint32_t value_min = 64, value_max = 64;
  double get_share = 0.9;
  uint64_t seed = 1;
  std::string prefix = "key:";
};

class workload {
 public:
  explicit workload(workload_options options);

  struct request {
    uint64_t key;
    bool is_get;
  };
  template <class Random>
  request pick(Random& random) const noexcept {
    uint64_t r = random();
    return {uint64_t((static_cast<unsigned __int128>(random()) * _options.keys) >> 64),
            double(r >> 11) * 0x1p-53 < _options.get_share};
  }
  std::string_view value(uint64_t key) const noexcept;
  void append_key(std::string& out, uint64_t key) const;
  void append_get(std::string& out, uint64_t key) const;
  void append_set(std::string& out, uint64_t key) const;
  const workload_options& options() const noexcept { return _options; }

 private:
  workload_options _options;
  std::string _block;
};

// Checks a stream of answers against the requests that caused them.
class answer_checker {
 public:
  explicit answer_checker(const workload& w) : _workload(w) {}
  enum class verdict { incomplete, hit, miss, stored, wrong_value, error };
  struct progress {
    verdict what;
    size_t consumed;
  };
  // The answer to `r` at the start of `input`. Error: a line that does not belong (its text is input's first line).
  progress check(workload::request r, std::string_view input);

 private:
  const workload& _workload;
  std::string _expected;
};

}  // namespace solaster::mcbench
