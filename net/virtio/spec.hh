// What the virtio specification lays down: registers, features, ring and network structures, as values and structs.
//
// Spec: Virtio 1.2 (OASIS, 2022). Sections stand beside the definitions; tests/unit/net/virtio/spec_test.cc pins every
// number here against <linux/virtio_*.h>. All fields are little-endian, as the only processor we run on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace solaster::net::virtio {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

// --- 2.1 Device status
namespace status {
inline constexpr uint8_t acknowledge = 1;
inline constexpr uint8_t driver = 2;
inline constexpr uint8_t driver_ok = 4;
inline constexpr uint8_t features_ok = 8;
inline constexpr uint8_t needs_reset = 0x40;
inline constexpr uint8_t failed = 0x80;
}  // namespace status

// --- 5.1.3 and 6: feature bits, as masks
constexpr uint64_t feature_mask(unsigned bit) {
  return uint64_t(1) << bit;
}
namespace feature {
inline constexpr uint64_t net_csum = feature_mask(0);        // device completes checksums that we leave partial
inline constexpr uint64_t net_guest_csum = feature_mask(1);  // we take packets with partial checksums
inline constexpr uint64_t net_mtu = feature_mask(3);
inline constexpr uint64_t net_mac = feature_mask(5);
inline constexpr uint64_t net_guest_tso4 = feature_mask(7);
inline constexpr uint64_t net_host_tso4 = feature_mask(11);
inline constexpr uint64_t net_mrg_rxbuf = feature_mask(15);
inline constexpr uint64_t net_status = feature_mask(16);
inline constexpr uint64_t net_ctrl_vq = feature_mask(17);
inline constexpr uint64_t net_mq = feature_mask(22);
inline constexpr uint64_t net_hash_report = feature_mask(57);
inline constexpr uint64_t net_rss = feature_mask(60);
inline constexpr uint64_t ring_event_idx = feature_mask(29);
inline constexpr uint64_t version_1 = feature_mask(32);
}  // namespace feature

// --- 2.7 Split virtqueues
struct ring_desc {  // 2.7.5
  uint64_t addr;
  uint32_t len;
  uint16_t flags;
  uint16_t next;
};
static_assert(sizeof(ring_desc) == 16 && offsetof(ring_desc, flags) == 12);
inline constexpr uint16_t desc_f_next = 1;
inline constexpr uint16_t desc_f_write = 2;

struct ring_avail {  // 2.7.6; behind ring[] stands used_event
  uint16_t flags;
  uint16_t idx;
  uint16_t ring[];
};
static_assert(offsetof(ring_avail, ring) == 4);
inline constexpr uint16_t avail_f_no_interrupt = 1;

struct ring_used_elem {  // 2.7.8
  uint32_t id;
  uint32_t len;
};
static_assert(sizeof(ring_used_elem) == 8);
struct ring_used {  // behind ring[] stands avail_event
  uint16_t flags;
  uint16_t idx;
  ring_used_elem ring[];
};
static_assert(offsetof(ring_used, ring) == 4);
inline constexpr uint16_t used_f_no_notify = 1;

inline constexpr uint16_t ring_size_max = 32768;  // 2.7
inline constexpr size_t desc_align = 16, avail_align = 2, used_align = 4;

// 2.7.10: does moving an index from `before` to `after` pass `event`?
constexpr bool passes_event(uint16_t event, uint16_t after, uint16_t before) {
  return uint16_t(after - event - 1) < uint16_t(after - before);
}

// --- 4.1.4.3 Common configuration structure over PCI (offsets)
namespace pci_reg {
inline constexpr uint32_t device_feature_select = 0, device_feature = 4, driver_feature_select = 8, driver_feature = 12;
inline constexpr uint32_t config_msix_vector = 16, num_queues = 18, device_status = 20, config_generation = 21;
inline constexpr uint32_t queue_select = 22, queue_size = 24, queue_msix_vector = 26, queue_enable = 28;
inline constexpr uint32_t queue_notify_off = 30, queue_desc = 32, queue_driver = 40, queue_device = 48;
}  // namespace pci_reg
inline constexpr uint16_t no_vector = 0xffff;  // VIRTIO_MSI_NO_VECTOR

// --- 4.2.2 MMIO registers (offsets)
namespace mmio_reg {
inline constexpr uint32_t magic = 0x000, version = 0x004, device_id = 0x008, vendor_id = 0x00c;
inline constexpr uint32_t device_features = 0x010, device_features_sel = 0x014;
inline constexpr uint32_t driver_features = 0x020, driver_features_sel = 0x024;
inline constexpr uint32_t queue_sel = 0x030, queue_num_max = 0x034, queue_num = 0x038, queue_ready = 0x044;
inline constexpr uint32_t queue_notify = 0x050, interrupt_status = 0x060, interrupt_ack = 0x064, status = 0x070;
inline constexpr uint32_t queue_desc_low = 0x080, queue_driver_low = 0x090, queue_device_low = 0x0a0;
inline constexpr uint32_t config_generation = 0x0fc, config = 0x100;
}  // namespace mmio_reg
inline constexpr uint32_t mmio_magic = 0x74726976;  // "virt"
inline constexpr uint32_t mmio_version = 2;
inline constexpr uint32_t device_id_net = 1;  // 5

// --- 5.1.4 Network device configuration (offsets; the layout is packed)
namespace net_config {
inline constexpr uint32_t mac = 0, status = 6, max_virtqueue_pairs = 8, mtu = 10, speed = 12, duplex = 16;
inline constexpr uint32_t rss_max_key_size = 17, rss_max_indirection_table_length = 18, supported_hash_types = 20;
}  // namespace net_config
inline constexpr uint16_t net_s_link_up = 1;
inline constexpr uint16_t mq_pairs_max = 0x8000;

// --- 5.1.6 Packet header; with VERSION_1 num_buffers is always there
struct net_hdr {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t hdr_len;
  uint16_t gso_size;
  uint16_t csum_start;
  uint16_t csum_offset;
  uint16_t num_buffers;
};
static_assert(sizeof(net_hdr) == 12 && offsetof(net_hdr, num_buffers) == 10);
inline constexpr uint8_t hdr_f_needs_csum = 1;
inline constexpr uint8_t hdr_f_data_valid = 2;
inline constexpr uint8_t hdr_gso_none = 0;
inline constexpr uint8_t hdr_gso_tcpv4 = 1;
inline constexpr uint8_t hdr_gso_ecn = 0x80;

// --- 5.1.6.5 Control queue
struct ctrl_hdr {
  uint8_t class_;
  uint8_t command;
};
static_assert(sizeof(ctrl_hdr) == 2);
inline constexpr uint8_t ctrl_ok = 0;
inline constexpr uint8_t ctrl_class_mq = 4;  // 5.1.6.5.5
inline constexpr uint8_t ctrl_mq_vq_pairs_set = 0;
inline constexpr uint8_t ctrl_mq_rss_config = 1;

// 5.1.6.5.7 struct virtio_net_rss_config has a table in its middle: the pieces around it.
struct rss_head {
  uint32_t hash_types;
  uint16_t indirection_table_mask;  // entries - 1
  uint16_t unclassified_queue;
};
static_assert(sizeof(rss_head) == 8);
// 5.1.6.4.3.1
inline constexpr uint32_t hash_type_tcpv4 = 1 << 1;
inline constexpr uint32_t hash_type_udpv4 = 1 << 2;

}  // namespace solaster::net::virtio
