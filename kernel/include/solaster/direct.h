/* The direct interface: what a program built for Solaster calls instead of making system calls.
 *
 * A guest program runs in the kernel's privilege level, so a service of the kernel can be a plain function call. This
 * table of functions is the only thing the framework knows of the kernel; where it is absent, the host is Linux.
 *
 * Finding it: the vDSO (ELF image at AT_SYSINFO_EHDR) exports the data symbol `solaster_direct` (version node
 * SOLASTER_1), whose value (after relocation by the image's base) is the address of a pointer to the table.
 *
 * Rules: append-only; `size` tells how much of the table this kernel fills; a caller checks `size` before it uses a
 * later member. Every function returns 0 or a positive result, or a negative Linux errno. Unless a line says "sleeps",
 * a function does not block. All use at most SOLASTER_DIRECT_STACK bytes of the caller's stack; those that sleep switch
 * to the thread's kernel stack. Vector registers are caller-saved, as in any C call.
 *
 * Units: times in nanoseconds of the monotonic clock (CLOCK_MONOTONIC); sizes in bytes.
 * Context: thread context only, from a thread of the program; never from a signal handler.
 */
#ifndef SOLASTER_DIRECT_H
#define SOLASTER_DIRECT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SOLASTER_DIRECT_VERSION 1u
#define SOLASTER_DIRECT_SYMBOL "solaster_direct"
#define SOLASTER_DIRECT_STACK 4096u
#define SOLASTER_SHARDS_MAX 64u
#define SOLASTER_NIC_VECTORS_MAX 32u
#define SOLASTER_MEMORY_PIECES_MAX 64u
#define SOLASTER_HOST_LINE_MAX 200u
/* A deadline that never comes. */
#define SOLASTER_NEVER UINT64_MAX

/* One physically contiguous piece of a shard's memory: [base, base + length) is seen by devices at
 * [base + bus_offset, ...), modulo 2^64. */
struct solaster_memory_piece {
  void* base;
  uint64_t length;
  uint64_t bus_offset;
};

enum solaster_nic_transport {
  SOLASTER_NIC_VIRTIO_PCI = 1, /* virtio 1.x over PCI, modern registers only (Virtio 1.2, 4.1) */
  SOLASTER_NIC_VIRTIO_MMIO = 2 /* virtio 1.x over MMIO, version 2 (Virtio 1.2, 4.2) */
};

/* Where the registers of a claimed NIC are. All pointers are mapped uncached and writable. */
struct solaster_nic {
  uint32_t transport; /* enum solaster_nic_transport */
  uint32_t vectors;   /* interrupt vectors that can be bound: PCI: MSI-X table size, MMIO: 1 */
  /* SAFETY (file): device registers, mapped by the kernel for the life of the machine; lengths are the structures' of
   * virtio 1.2. */
  volatile void* common;        /* PCI: common configuration structure; MMIO: the register block */
  volatile void* device_config; /* device-specific configuration (virtio_net_config) */
  uint64_t device_config_length;
  volatile void* notify;          /* PCI: notification structure; MMIO: null (QueueNotify at common + 0x50) */
  uint32_t notify_off_multiplier; /* PCI only */
  uint32_t reserved0;
  uint64_t notify_length; /* PCI only */
  volatile void* isr;     /* PCI only: ISR status byte; not needed with MSI-X */
};

/* Parameters of the monotonic clock. Reader: take `sequence` (acquire) until even, read, check it is unchanged.
 * now_ns = base_ns + ((rdtsc - base_tsc) * mult >> shift), the product in 128 bits. */
struct solaster_clock {
  uint32_t sequence;
  uint32_t shift;
  uint64_t mult;
  uint64_t base_tsc;
  uint64_t base_ns;
  int64_t realtime_offset_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC */
};

/* Counters since boot, of one CPU. */
struct solaster_cpu_stats {
  uint64_t interrupts; /* device interrupts taken */
  uint64_t timer_interrupts;
  uint64_t ipis;
  uint64_t context_switches;
  uint64_t idle_ns;
  uint64_t tlb_flushes;
  uint64_t page_faults;
  uint64_t system_calls;
};

/* Bits of signals_take(): bit (n - 1) is Linux signal n. */
#define SOLASTER_SIGNAL_BIT(n) (1ull << ((n) - 1))

/* What made wait() return. */
#define SOLASTER_WAIT_WOKEN 1
#define SOLASTER_WAIT_TIMED_OUT 0

struct solaster_direct {
  uint32_t version;  /* SOLASTER_DIRECT_VERSION */
  uint32_t size;     /* sizeof(struct solaster_direct) of this kernel */
  uint64_t features; /* none defined yet: 0 */

  /* Shards. A thread becomes shard `shard` and is bound to CPU `cpu` (dense, 0-based). Each shard has one sticky wake
   * token. EBUSY: the shard has a thread already; EINVAL: no such shard or CPU. */
  int (*shard_bind)(uint32_t shard, uint32_t cpu);
  /* Sleeps until the shard's wake token is set or the deadline passes; takes the token. Only by the shard's thread.
   * The token is tested with interrupts off, so a wake between the caller's last check and the sleep is not lost. */
  int (*wait)(uint64_t deadline_ns);
  /* Sets the token of `shard` and wakes its thread. Any thread. ESRCH: nobody is bound to the shard. */
  int (*wake)(uint32_t shard);

  /* NICs. `index` is dense, 0-based, in bus order; nic_count never touches a device. A claim takes the whole device,
   * enables bus mastering, and fails with EBUSY the second time, ENODEV where there is none. The device is not reset:
   * that is the driver's first step. */
  int (*nic_count)(void);
  int (*nic_claim)(uint32_t index, struct solaster_nic* out);
  /* From now on interrupt `vector` of the NIC does wake(shard). PCI: the MSI-X entry `vector` is programmed and
   * unmasked; the driver writes the same number into queue_msix_vector. MMIO: vector 0 only; the kernel reads and
   * acknowledges InterruptStatus before it wakes; may be called once per shard, then every bound shard is woken. */
  int (*nic_bind_vector)(uint32_t index, uint32_t vector, uint32_t shard);
  /* Resets the device, masks its vectors, gives it back. */
  int (*nic_release)(uint32_t index);

  /* Memory for a shard: one contiguous virtual range of `bytes` (rounded up to 2 MiB), read-write, not
   * executable, resident, its content undefined. `pieces` gets
   * the physically contiguous parts in address order; *count is its capacity on entry, the number on return.
   * ENOMEM: not enough memory; E2BIG: it would take more than *count pieces. */
  int (*shard_memory)(uint64_t bytes, void** base, struct solaster_memory_piece* pieces, uint32_t* count);
  /* Bytes that shard_memory can still give, all shards together, after the kernel's own reserve. */
  uint64_t (*memory_available)(void);

  /* Clock: a pointer that stays valid; see struct solaster_clock. */
  const struct solaster_clock* (*clock)(void);
  /* Fills the buffer from the kernel's cryptographic generator. */
  int (*entropy)(void* buffer, size_t length);
  /* Appends text to the console, whole (not interleaved with other callers). */
  int (*log)(const char* text, size_t length);
  /* Ends the program with the exit status and powers the machine off. Does not return. */
  void (*power_off)(int status);

  /* Signals. After signals_claim, a signal in `mask` that arrives for the process sets a pending bit and wakes `shard`
   * instead of being delivered; signals_take returns and clears the pending bits. */
  int (*signals_claim)(uint64_t mask, uint32_t shard);
  uint64_t (*signals_take)(void);

  /* Statistics of CPU `cpu`. EINVAL: no such CPU. */
  int (*cpu_stats)(uint32_t cpu, struct solaster_cpu_stats* out);
  /* CPUs that are on line or will be soon (those the firmware lists). */
  int (*cpu_count)(void);

  /* How a shard that computes learns that time is up without reading a clock: a word that it reads and clears itself,
   * and into which an interrupt stores 1 at the deadline. The word is the kernel's and stays valid; other shards may
   * write it too. One deadline for each shard, set by its own thread; the last call counts, SOLASTER_NEVER takes it
   * back. preempt_flag: null, preempt_at: EPERM when the calling thread is no shard. */
  uint32_t* (*preempt_flag)(void);
  int (*preempt_at)(uint64_t deadline_ns);

  /* Tells the host one line of text, without its end of line, such as "listen tcp 10.0.2.15:7777 0/1": whoever started
   * the guest acts on it (scripts/README.md lists the lines). Whole lines: callers do not interleave. ENODEV: nobody
   * listens there; EINVAL: longer than SOLASTER_HOST_LINE_MAX, or a control character in it. */
  int (*tell_host)(const char* line, size_t length);
};

#ifdef __cplusplus
}
static_assert(offsetof(solaster_direct, shard_bind) == 16 && offsetof(solaster_direct, nic_count) == 40 &&
              offsetof(solaster_direct, shard_memory) == 72 && offsetof(solaster_direct, clock) == 88 &&
              offsetof(solaster_direct, signals_claim) == 120 && offsetof(solaster_direct, cpu_count) == 144 &&
              offsetof(solaster_direct, preempt_at) == 160 && offsetof(solaster_direct, tell_host) == 168 &&
              sizeof(solaster_direct) == 176 && sizeof(solaster_memory_piece) == 24 && sizeof(solaster_clock) == 40 &&
              sizeof(solaster_nic) == 64);
#endif

#endif
