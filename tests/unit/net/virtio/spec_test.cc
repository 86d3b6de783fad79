// Pins net/virtio/spec.hh against the system's own headers.
#include "net/virtio/spec.hh"

#include <gtest/gtest.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>

// These two are C: a member named `class`, and helpers that rely on implicit conversions from void*.
#define class class_
#include <linux/virtio_net.h>
#undef class
#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>

namespace solaster::net::virtio {
namespace {

#define SAME(ours, theirs) static_assert((ours) == (theirs))
#define FEATURE(ours, theirs) static_assert(feature::ours == uint64_t(1) << (theirs))

SAME(status::acknowledge, VIRTIO_CONFIG_S_ACKNOWLEDGE);
SAME(status::driver, VIRTIO_CONFIG_S_DRIVER);
SAME(status::driver_ok, VIRTIO_CONFIG_S_DRIVER_OK);
SAME(status::features_ok, VIRTIO_CONFIG_S_FEATURES_OK);
SAME(status::needs_reset, VIRTIO_CONFIG_S_NEEDS_RESET);
SAME(status::failed, VIRTIO_CONFIG_S_FAILED);

FEATURE(net_csum, VIRTIO_NET_F_CSUM);
FEATURE(net_guest_csum, VIRTIO_NET_F_GUEST_CSUM);
FEATURE(net_mtu, VIRTIO_NET_F_MTU);
FEATURE(net_mac, VIRTIO_NET_F_MAC);
FEATURE(net_guest_tso4, VIRTIO_NET_F_GUEST_TSO4);
FEATURE(net_host_tso4, VIRTIO_NET_F_HOST_TSO4);
FEATURE(net_mrg_rxbuf, VIRTIO_NET_F_MRG_RXBUF);
FEATURE(net_status, VIRTIO_NET_F_STATUS);
FEATURE(net_ctrl_vq, VIRTIO_NET_F_CTRL_VQ);
FEATURE(net_mq, VIRTIO_NET_F_MQ);
FEATURE(net_hash_report, VIRTIO_NET_F_HASH_REPORT);
FEATURE(net_rss, VIRTIO_NET_F_RSS);
FEATURE(ring_event_idx, VIRTIO_RING_F_EVENT_IDX);
FEATURE(version_1, VIRTIO_F_VERSION_1);

SAME(sizeof(ring_desc), sizeof(vring_desc));
SAME(offsetof(ring_desc, addr), offsetof(vring_desc, addr));
SAME(offsetof(ring_desc, len), offsetof(vring_desc, len));
SAME(offsetof(ring_desc, flags), offsetof(vring_desc, flags));
SAME(offsetof(ring_desc, next), offsetof(vring_desc, next));
SAME(offsetof(ring_avail, idx), offsetof(vring_avail, idx));
SAME(offsetof(ring_avail, ring), offsetof(vring_avail, ring));
SAME(sizeof(ring_used_elem), sizeof(vring_used_elem));
SAME(offsetof(ring_used_elem, len), offsetof(vring_used_elem, len));
SAME(offsetof(ring_used, idx), offsetof(vring_used, idx));
SAME(offsetof(ring_used, ring), offsetof(vring_used, ring));
SAME(desc_f_next, VRING_DESC_F_NEXT);
SAME(desc_f_write, VRING_DESC_F_WRITE);
SAME(avail_f_no_interrupt, VRING_AVAIL_F_NO_INTERRUPT);
SAME(used_f_no_notify, VRING_USED_F_NO_NOTIFY);
SAME(desc_align, VRING_DESC_ALIGN_SIZE);
SAME(avail_align, VRING_AVAIL_ALIGN_SIZE);
SAME(used_align, VRING_USED_ALIGN_SIZE);

SAME(pci_reg::device_feature_select, VIRTIO_PCI_COMMON_DFSELECT);
SAME(pci_reg::device_feature, VIRTIO_PCI_COMMON_DF);
SAME(pci_reg::driver_feature_select, VIRTIO_PCI_COMMON_GFSELECT);
SAME(pci_reg::driver_feature, VIRTIO_PCI_COMMON_GF);
SAME(pci_reg::config_msix_vector, VIRTIO_PCI_COMMON_MSIX);
SAME(pci_reg::num_queues, VIRTIO_PCI_COMMON_NUMQ);
SAME(pci_reg::device_status, VIRTIO_PCI_COMMON_STATUS);
SAME(pci_reg::config_generation, VIRTIO_PCI_COMMON_CFGGENERATION);
SAME(pci_reg::queue_select, VIRTIO_PCI_COMMON_Q_SELECT);
SAME(pci_reg::queue_size, VIRTIO_PCI_COMMON_Q_SIZE);
SAME(pci_reg::queue_msix_vector, VIRTIO_PCI_COMMON_Q_MSIX);
SAME(pci_reg::queue_enable, VIRTIO_PCI_COMMON_Q_ENABLE);
SAME(pci_reg::queue_notify_off, VIRTIO_PCI_COMMON_Q_NOFF);
SAME(pci_reg::queue_desc, VIRTIO_PCI_COMMON_Q_DESCLO);
SAME(pci_reg::queue_driver, VIRTIO_PCI_COMMON_Q_AVAILLO);
SAME(pci_reg::queue_device, VIRTIO_PCI_COMMON_Q_USEDLO);
SAME(no_vector, VIRTIO_MSI_NO_VECTOR);

SAME(mmio_reg::magic, VIRTIO_MMIO_MAGIC_VALUE);
SAME(mmio_reg::version, VIRTIO_MMIO_VERSION);
SAME(mmio_reg::device_id, VIRTIO_MMIO_DEVICE_ID);
SAME(mmio_reg::vendor_id, VIRTIO_MMIO_VENDOR_ID);
SAME(mmio_reg::device_features, VIRTIO_MMIO_DEVICE_FEATURES);
SAME(mmio_reg::device_features_sel, VIRTIO_MMIO_DEVICE_FEATURES_SEL);
SAME(mmio_reg::driver_features, VIRTIO_MMIO_DRIVER_FEATURES);
SAME(mmio_reg::driver_features_sel, VIRTIO_MMIO_DRIVER_FEATURES_SEL);
SAME(mmio_reg::queue_sel, VIRTIO_MMIO_QUEUE_SEL);
SAME(mmio_reg::queue_num_max, VIRTIO_MMIO_QUEUE_NUM_MAX);
SAME(mmio_reg::queue_num, VIRTIO_MMIO_QUEUE_NUM);
SAME(mmio_reg::queue_ready, VIRTIO_MMIO_QUEUE_READY);
SAME(mmio_reg::queue_notify, VIRTIO_MMIO_QUEUE_NOTIFY);
SAME(mmio_reg::interrupt_status, VIRTIO_MMIO_INTERRUPT_STATUS);
SAME(mmio_reg::interrupt_ack, VIRTIO_MMIO_INTERRUPT_ACK);
SAME(mmio_reg::status, VIRTIO_MMIO_STATUS);
SAME(mmio_reg::queue_desc_low, VIRTIO_MMIO_QUEUE_DESC_LOW);
SAME(mmio_reg::queue_driver_low, VIRTIO_MMIO_QUEUE_AVAIL_LOW);
SAME(mmio_reg::queue_device_low, VIRTIO_MMIO_QUEUE_USED_LOW);
SAME(mmio_reg::config_generation, VIRTIO_MMIO_CONFIG_GENERATION);
SAME(mmio_reg::config, VIRTIO_MMIO_CONFIG);
SAME(device_id_net, VIRTIO_ID_NET);

SAME(net_config::mac, offsetof(virtio_net_config, mac));
SAME(net_config::status, offsetof(virtio_net_config, status));
SAME(net_config::max_virtqueue_pairs, offsetof(virtio_net_config, max_virtqueue_pairs));
SAME(net_config::mtu, offsetof(virtio_net_config, mtu));
SAME(net_config::rss_max_key_size, offsetof(virtio_net_config, rss_max_key_size));
SAME(net_config::rss_max_indirection_table_length, offsetof(virtio_net_config, rss_max_indirection_table_length));
SAME(net_config::supported_hash_types, offsetof(virtio_net_config, supported_hash_types));
SAME(net_s_link_up, VIRTIO_NET_S_LINK_UP);
SAME(mq_pairs_max, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MAX);

SAME(sizeof(net_hdr), sizeof(virtio_net_hdr_v1));
SAME(offsetof(net_hdr, flags), offsetof(virtio_net_hdr_v1, flags));
SAME(offsetof(net_hdr, gso_type), offsetof(virtio_net_hdr_v1, gso_type));
SAME(offsetof(net_hdr, hdr_len), offsetof(virtio_net_hdr_v1, hdr_len));
SAME(offsetof(net_hdr, gso_size), offsetof(virtio_net_hdr_v1, gso_size));
SAME(offsetof(net_hdr, csum_start), offsetof(virtio_net_hdr_v1, csum_start));
SAME(offsetof(net_hdr, csum_offset), offsetof(virtio_net_hdr_v1, csum_offset));
SAME(offsetof(net_hdr, num_buffers), offsetof(virtio_net_hdr_v1, num_buffers));
SAME(hdr_f_needs_csum, VIRTIO_NET_HDR_F_NEEDS_CSUM);
SAME(hdr_f_data_valid, VIRTIO_NET_HDR_F_DATA_VALID);
SAME(hdr_gso_none, VIRTIO_NET_HDR_GSO_NONE);
SAME(hdr_gso_tcpv4, VIRTIO_NET_HDR_GSO_TCPV4);
SAME(hdr_gso_ecn, VIRTIO_NET_HDR_GSO_ECN);

SAME(sizeof(ctrl_hdr), sizeof(virtio_net_ctrl_hdr));
SAME(ctrl_ok, VIRTIO_NET_OK);
SAME(ctrl_class_mq, VIRTIO_NET_CTRL_MQ);
SAME(ctrl_mq_vq_pairs_set, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET);
SAME(ctrl_mq_rss_config, VIRTIO_NET_CTRL_MQ_RSS_CONFIG);
SAME(offsetof(rss_head, hash_types), offsetof(virtio_net_rss_config, hash_types));
SAME(offsetof(rss_head, indirection_table_mask), offsetof(virtio_net_rss_config, indirection_table_mask));
SAME(offsetof(rss_head, unclassified_queue), offsetof(virtio_net_rss_config, unclassified_queue));
SAME(sizeof(rss_head), offsetof(virtio_net_rss_config, indirection_table));
SAME(hash_type_tcpv4, VIRTIO_NET_RSS_HASH_TYPE_TCPv4);
SAME(hash_type_udpv4, VIRTIO_NET_RSS_HASH_TYPE_UDPv4);

TEST(virtio_spec, event_index_arithmetic_is_the_headers) {
  for (uint32_t event = 0; event < 65536; event += 257) {
    for (uint32_t before = 0; before < 65536; before += 509) {
      for (uint32_t step : {0u, 1u, 2u, 255u, 32768u, 65535u}) {
        auto after = uint16_t(before + step);
        ASSERT_EQ(passes_event(uint16_t(event), after, uint16_t(before)),
                  bool(vring_need_event(uint16_t(event), after, uint16_t(before))));
      }
    }
  }
}

}  // namespace
}  // namespace solaster::net::virtio
