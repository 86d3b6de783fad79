// Every limit and every default of the network core, in one place. Units are in the names.
#pragma once

#include <array>
#include <cstdint>

#include "net/base/time.hh"
#include "net/wire/address.hh"

namespace solaster::net {

struct tcp_config {
  duration rto_min = milliseconds(200);  // RFC 6298 2.4 says 1 s; 200 ms is what the field does
  duration rto_max = seconds(60);
  duration rto_initial = seconds(1);        // RFC 6298 2.1
  duration delayed_ack = milliseconds(40);  // RFC 9293 3.8.6.3: below 500 ms
  duration time_wait = seconds(60);         // 2 MSL
  duration fin_wait2 = seconds(60);         // after release() by the host
  duration persist_max = seconds(60);
  uint32_t syn_retries_max = 6;
  uint32_t synack_retries_max = 5;
  uint32_t data_retries_max = 15;  // RFC 9293 3.8.3 (R2)
  uint32_t send_buffer_bytes = 1 << 20;
  uint32_t receive_buffer_bytes = 1 << 20;  // charged at true size
  // What each connection may hold whatever the others do, beyond the memory of all together.
  uint32_t send_guaranteed_bytes = 8192;
  uint32_t receive_guaranteed_bytes = 8192;
  uint32_t initial_window_segments = 10;  // RFC 6928
  uint32_t copy_break_bytes = 256;        // payloads up to this size move to right-sized memory
  uint32_t connections_max = 65536;
  uint32_t syn_backlog_max = 1024;  // half-open, all listeners together
  uint32_t time_wait_max = 16384;
  uint32_t out_of_order_segments_max = 256;  // per connection
  uint64_t receive_memory_max = 64 << 20;    // all connections together, and no one of them more than is left
  uint64_t send_memory_max = 64 << 20;       // likewise
};

struct stack_config {
  tcp_config tcp;
  std::array<uint8_t, 32> secret{};  // from the host's entropy: ISNs, ports, identifiers, hash seeds
  uint32_t shard = 0;
  uint32_t shards = 1;
  uint16_t ephemeral_port_min = 32768;
  uint16_t ephemeral_port_max = 60999;
  uint32_t neighbours_max = 1024;
  uint32_t neighbour_queue_max = 16;      // packets waiting for one resolution
  duration neighbour_retry = seconds(1);  // between ARP requests
  uint32_t neighbour_tries_max = 3;
  duration neighbour_reachable = seconds(60);  // then asked again, by unicast, if it was used; RFC 1122 2.3.2.1
  duration neighbour_idle = seconds(600);      // unused so long: forgotten
  uint32_t transmit_queue_max = 1024;          // control packets and datagrams waiting for the device
  uint32_t loopback_queue_max = 1024;          // packets to ourselves that wait
  uint32_t loopback_burst = 64;                // of these, taken in one transmit()
  uint16_t loopback_mtu = 16436;
  uint32_t icmp_errors_per_second = 1000;  // RFC 1812 4.3.2.8
  uint32_t icmp_errors_burst = 50;
  uint32_t header_buffers_max = 8192;        // of link_small_buffer bytes, for packets to be sent
  uint32_t transmit_buffers_max = 2048;      // of link_large_buffer bytes
  duration dhcp_retry_initial = seconds(4);  // RFC 2131 4.1; doubles up to dhcp_retry_max, +-1 s
  duration dhcp_retry_max = seconds(64);
  uint32_t dhcp_request_tries_max = 4;  // then discovery starts again
  uint32_t udp_sockets_max = 4096;
  uint32_t udp_receive_bytes_max = 1 << 20;  // per socket, charged at true size
  uint8_t ttl = 64;
};

}  // namespace solaster::net
