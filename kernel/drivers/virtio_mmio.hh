// Where virtio devices lie in memory on microvm, and their interrupts.
//
// Spec: Virtio 1.2, 4.2.2. The slots are known from the machine (ACPI: 24 with a second IOAPIC, else 8) or from
// `virtio_mmio.device=SIZE@BASE:IRQ` on the command line, which QEMU writes with acpi=off.
// Context: thread or boot. Reads the magic value, the version and the device id only.
//
// SAFETY (file): the registers of a slot that virtio_mmio.cc mapped.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

struct virtio_mmio_device {
  volatile u32* registers;
  u64 length;
  u32 gsi;
  u32 device_id;
  u32 version;  // 2: modern; 1: legacy, not driven
};
namespace virtio_mmio {
inline constexpr u32 interrupt_status = 0x60 / 4, interrupt_ack = 0x64 / 4, status = 0x70 / 4;
}

void for_each_virtio_mmio(void (*visit)(const virtio_mmio_device&, void*), void* context);

}  // namespace solaster::kernel
