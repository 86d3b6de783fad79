// Which NIC the native stack drives, and how.
#pragma once

#include <string>

namespace solaster {

struct nic_options {
  std::string tap;             // --tap NAME: which tap device (Linux)
  unsigned rx_queue_size = 0;  // 0: the device's own
  std::string pcap;            // --pcap FILE: write what the stack sees
};

}  // namespace solaster
