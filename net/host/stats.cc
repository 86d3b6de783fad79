#include "net/host/stats.hh"

#include <iterator>

namespace solaster::net {

const char* name_of(drop_reason reason) noexcept {
  static constexpr const char* names[] = {"ethernet_short",    "ethernet_not_ours",
                                          "ethertype_unknown", "arp_malformed",
                                          "ip_short",          "ip_version",
                                          "ip_header_length",  "ip_length",
                                          "ip_checksum",       "ip_not_ours",
                                          "ip_fragment",       "ip_source",
                                          "protocol_unknown",  "icmp_malformed",
                                          "icmp_checksum",     "udp_malformed",
                                          "udp_checksum",      "udp_no_socket",
                                          "udp_buffer_full",   "tcp_malformed",
                                          "tcp_checksum",      "tcp_no_connection",
                                          "tcp_out_of_window", "tcp_backlog",
                                          "tcp_memory",        "neighbour_unresolved",
                                          "neighbour_queue",   "transmit_queue",
                                          "no_memory",         "no_route",
                                          "rate_limit"};
  static_assert(std::size(names) == size_t(drop_reason::count));
  return reason < drop_reason::count ? names[size_t(reason)] : "?";
}

}  // namespace solaster::net
