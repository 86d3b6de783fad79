#include "kernel/boot/options.hh"

#include "kernel/lib/panic.hh"

namespace solaster::kernel {
namespace {

constexpr u64 log_level_max = 7, tsc_hz_max = 100'000'000'000;

struct option {
  std::string_view name;
  bool takes_value;
};
// virtio_mmio.device is QEMU's own (microvm with acpi=off).
constexpr option options[] = {{"env", true},      {"loglevel", true}, {"noaslr", false},
                              {"selftest", true}, {"tsc_hz", true},   {"virtio_mmio.device", true}};

const option* find_known(std::string_view name) {
  for (const option& o : options)
    if (o.name == name)
      return &o;
  return nullptr;
}

void check_word(std::string_view word) {
  const std::string_view name = word.substr(0, word.find('='));
  const option* known = find_known(name);
  if (!known)
    refuse(
        "no kernel option {}: there are env=K=V, loglevel=0..{}, noaslr, selftest=NAME, tsc_hz=N and "
        "virtio_mmio.device=",
        word, log_level_max);
  if (known->takes_value != (name.size() < word.size()))
    refuse("kernel option {}: {}", name, known->takes_value ? "it needs a value, NAME=VALUE" : "it takes no value");
}

u64 read_number(std::string_view name, u64 otherwise, u64 most) {
  std::string_view v = find_option(name);
  if (v.data() == nullptr)
    return otherwise;
  u64 n = 0;
  bool good = !v.empty();
  for (char c : v) {
    good = good && c >= '0' && c <= '9' && n <= most;
    n = good ? n * 10 + static_cast<u64>(c - '0') : 0;
  }
  if (!good || n > most)
    refuse("kernel option {}={}: a number from 0 to {}", name, v, most);
  return n;
}

}  // namespace

kernel_options read_options() {
  for (usize i = 0; i < options_max && option_word(i).data(); i++)
    check_word(option_word(i));
  if (option_word(options_max - 1).data())
    refuse("more than {} kernel options", options_max - 1);
  kernel_options o;
  o.log_level = static_cast<int>(read_number("loglevel", static_cast<u64>(o.log_level), log_level_max));
  o.tsc_hz = read_number("tsc_hz", 0, tsc_hz_max);
  o.randomise = !has_option("noaslr");
  return o;
}

}  // namespace solaster::kernel
