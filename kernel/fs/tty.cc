#include "kernel/fs/tty.hh"

#include <cstring>

#include "kernel/abi/file.hh"
#include "kernel/drivers/console.hh"
#include "kernel/fs/path.hh"
#include "kernel/fs/program.hh"
#include "kernel/fs/ramfs.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/sched/thread.hh"

namespace solaster::kernel::fs {

namespace {

constexpr size_t input_max = 4096;  // a power of two
constexpr u8 interrupt_character = 3;
constexpr size_t output_piece = 512;

// Bytes typed and not read yet. One writer (the interrupt), readers under their mutex.
struct input_queue {
  std::atomic<u32> head{0};  // next to write
  std::atomic<u32> tail{0};  // next to read
  u8 bytes[input_max];
};
input_queue input;
mutex readers;
wait_queue waiting;

// What TCSETS can change: whether a byte is SIGINT, and which. The line editor's settings do not exist here, and stay
// off.
std::atomic<bool> has_signals{true};
std::atomic<u8> interrupt_byte{interrupt_character};

void on_input(u8 byte) {
  if (has_signals.load() && byte == interrupt_byte.load()) {
    interrupt_program();
    return;
  }
  u32 head = input.head.load(std::memory_order_relaxed);
  if (head - input.tail.load() == input_max)
    return;  // nobody reads: the newest is lost, as a UART would
  input.bytes[head % input_max] = byte;
  input.head.store(head + 1);
  waiting.wake_all();
  poll_changed();
}

bool has_input() {
  return input.head.load() != input.tail.load();
}

class tty_file : public file {
 public:
  using file::file;

  result<size_t> read(io& to, uint64_t) override {
    if (to.left() == 0)
      return size_t{0};
    for (;;) {
      {
        mutex_guard guard(readers);
        if (has_input())
          return take(to);
      }
      if (nonblocking())
        return errc::again;
      if (waiting.wait(has_input) == wait_result::interrupted)
        return restart_if_asked;
    }
  }

  result<size_t> write(io& from, uint64_t) override {
    char piece[output_piece];
    size_t total = 0;
    while (from.left()) {
      auto n = from.get(piece, sizeof piece);
      if (!n)
        return total ? result<size_t>(total) : n;
      console::write({piece, *n});
      total += *n;
      if (from.left())
        sched::yield();  // the line is slow
    }
    return total;
  }

  uint32_t poll() override {
    return abi::poll_out | abi::poll_wrnorm | (has_input() ? abi::poll_in | abi::poll_rdnorm : 0);
  }

  result<int64_t> ioctl(uint32_t request, uint64_t argument) override {
    switch (request) {
      case abi::tcgets: {
        abi::termios t = {};
        t.cflag = abi::tty_cs8 | abi::tty_cread | abi::tty_b115200;
        t.lflag = has_signals.load() ? abi::tty_isig : 0;
        t.cc[abi::tty_vintr] = interrupt_byte.load();
        if (!mm::put(mm::program_pointer<abi::termios>(argument), t))
          return errc::fault;
        return 0;
      }
      case abi::tcsets:
      case abi::tcsetsw:
      case abi::tcsetsf: {
        abi::termios t;
        if (!mm::get(t, mm::program_pointer<const abi::termios>(argument)))
          return errc::fault;
        if (request == abi::tcsetsf)
          drop_input();
        has_signals.store(t.lflag & abi::tty_isig);
        interrupt_byte.store(t.cc[abi::tty_vintr]);
        return 0;
      }
      case abi::tiocgwinsz: {
        abi::winsize w = {};  // unknown: programs then take their defaults
        if (!mm::put(mm::program_pointer<abi::winsize>(argument), w))
          return errc::fault;
        return 0;
      }
      case abi::tiocgpgrp: {
        if (!mm::put(mm::program_pointer<i32>(argument), foreground_group()))
          return errc::fault;
        return 0;
      }
      case abi::fionread: {
        i32 n = i32(input.head.load() - input.tail.load());
        if (!mm::put(mm::program_pointer<i32>(argument), n))
          return errc::fault;
        return 0;
      }
      default:
        return errc::notty;
    }
  }

 private:
  static void drop_input() {
    mutex_guard guard(readers);
    input.tail.store(input.head.load());
  }
  static result<size_t> take(io& to) {
    size_t total = 0;
    while (to.left() && has_input()) {
      u32 tail = input.tail.load(std::memory_order_relaxed);
      size_t n = input.head.load() - tail;
      size_t until_end = input_max - tail % input_max;
      auto moved = to.put(&input.bytes[tail % input_max], n < until_end ? n : until_end);
      if (!moved)
        return total ? result<size_t>(total) : moved;
      input.tail.store(tail + u32(*moved));
      total += *moved;
    }
    return total;
  }
};

class tty_node : public node {
 public:
  explicit tty_node(uint64_t device) : node(node_type::character, 0620), _device(device) {}
  void fill_stat(abi::stat& out) const override {
    node::fill_stat(out);
    out.rdev = _device;
  }
  result<ref<file>> open(uint32_t flags) override {
    auto f = make_ref<tty_file>(ref<node>(this), flags);
    if (!f)
      return errc::nomem;
    return ref<file>(f);
  }

 private:
  uint64_t _device;
};

}  // namespace

ref<node> make_tty_node(uint64_t device) {
  return make_ref<tty_node>(device);
}

void start_tty() {
  console::set_input_hook(on_input);
}

}  // namespace solaster::kernel::fs
