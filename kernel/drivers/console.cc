// COM1, a 16550 (National Semiconductor PC16550D): polled out, interrupts in.

#include "kernel/drivers/console.hh"

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/arch/x86_64/interrupts.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel::console {
namespace {

constexpr u16 port = 0x3f8;
enum reg : u16 {
  data = 0,
  interrupt_enable = 1,
  fifo_control = 2,
  line_control = 3,
  modem_control = 4,
  line_status = 5
};
constexpr u8 status_data_ready = 0x01, status_transmit_empty = 0x20;
constexpr u8 enable_receive = 0x01;
constexpr unsigned fifo_depth = 16;
constexpr unsigned spin_max = 1'000'000;  // a UART that never empties (none there) must not hang the kernel
constexpr unsigned burst_max = 4096;      // bytes taken in one interrupt

spinlock lock{rank::console};
void (*hook)(u8) = nullptr;

void wait_for_room() {
  for (unsigned i = 0; i < spin_max; i++) {
    if (in8(port + line_status) & status_transmit_empty)
      return;
    cpu_relax();
  }
}

void on_interrupt(void*) {
  for (unsigned i = 0; i < burst_max && (in8(port + line_status) & status_data_ready); i++) {
    u8 byte = in8(port + data);
    if (hook)
      hook(byte);
  }
}

}  // namespace

void initialise() {
  out8(port + interrupt_enable, 0);
  out8(port + line_control, 0x03);   // 8 bits, no parity, one stop bit
  out8(port + fifo_control, 0x07);   // on, both cleared, interrupt at one byte
  out8(port + modem_control, 0x0b);  // DTR, RTS, OUT2 (gates the interrupt)
}

void write_unlocked(std::string_view bytes) {
  for (usize i = 0; i < bytes.size(); i++) {
    if (i % fifo_depth == 0)
      wait_for_room();
    out8(port + data, static_cast<u8>(bytes[i]));
  }
}

void write(std::string_view bytes) {
  // In pieces: interrupts are off under the lock, and a byte costs about a microsecond.
  constexpr usize piece = 1024;
  if (bytes.size() <= piece) {
    lock_guard g(lock);
    write_unlocked(bytes);
    return;
  }
  for (usize at = 0; at < bytes.size(); at += piece) {
    lock_guard g(lock);
    write_unlocked(bytes.substr(at, piece));
  }
}

void set_input_hook(void (*h)(u8)) {
  hook = h;
}

void start_input() {
  route_isa_interrupt(4, on_interrupt, nullptr);
  out8(port + interrupt_enable, enable_receive);
}

}  // namespace solaster::kernel::console
