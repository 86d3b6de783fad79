#include "kernel/fs/pipe.hh"

#include <atomic>
#include <cstring>
#include <memory>

#include "kernel/abi/file.hh"
#include "kernel/fs/program.hh"
#include "kernel/lib/ref.hh"
#include "kernel/lib/types.hh"
#include "kernel/mm/shortage.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/sync/wait_queue.hh"

namespace solaster::kernel::fs {

namespace {

struct pipe_state : counted {
  mutex lock;
  wait_queue changed;
  std::unique_ptr<u8[]> pages[pipe_bytes / page_size];  // made when they are first written
  size_t head = 0, tail = 0;                            // head - tail bytes are in it; both only grow
  std::atomic<u32> readers{1}, writers{1};
  size_t used() const { return head - tail; }
};

void changed(pipe_state& p) {
  p.changed.wake_all();
  poll_changed();
}

class pipe_file : public file {
 public:
  pipe_file(ref<pipe_state> p, uint32_t flags) : file(nullptr, flags), _pipe(p) {}
  ~pipe_file() override {
    (readable() ? _pipe->readers : _pipe->writers)--;
    changed(*_pipe);
  }

  result<size_t> read(io& to, uint64_t) override {
    auto& p = *_pipe;
    if (to.left() == 0)
      return size_t{0};
    for (;;) {
      {
        mutex_guard guard(p.lock);
        if (p.used())
          return take(p, to);
        if (p.writers.load() == 0)
          return size_t{0};
      }
      if (nonblocking())
        return errc::again;
      auto ready = [&] { return p.used() || p.writers.load() == 0; };
      if (p.changed.wait(ready) == wait_result::interrupted)
        return restart_if_asked;
    }
  }

  result<size_t> write(io& from, uint64_t) override {
    auto& p = *_pipe;
    size_t total = 0;
    while (from.left()) {
      {
        mutex_guard guard(p.lock);
        if (p.readers.load() == 0) {
          if (total)
            return total;
          raise_broken_pipe();
          return errc::pipe;
        }
        size_t room = pipe_bytes - p.used();
        if (room && (room >= from.left() || from.left() > pipe_atomic_bytes || total)) {
          auto n = give(p, from, room);
          if (!n)
            return total ? result<size_t>(total) : n;
          total += *n;
          continue;
        }
      }
      if (nonblocking())
        return total ? result<size_t>(total) : result<size_t>(errc::again);
      size_t wanted = from.left() < pipe_atomic_bytes ? from.left() : 1;
      auto ready = [&] { return pipe_bytes - p.used() >= wanted || p.readers.load() == 0; };
      if (p.changed.wait(ready) == wait_result::interrupted)
        return total ? result<size_t>(total) : result<size_t>(restart_if_asked);
    }
    return total;
  }

  uint32_t poll() override {
    auto& p = *_pipe;
    if (readable())
      return (p.used() ? abi::poll_in | abi::poll_rdnorm : 0) | (p.writers.load() == 0 ? abi::poll_hup : 0);
    return (pipe_bytes - p.used() >= pipe_atomic_bytes ? abi::poll_out | abi::poll_wrnorm : 0) |
           (p.readers.load() == 0 ? abi::poll_err : 0);
  }

  result<int64_t> ioctl(uint32_t request, uint64_t argument) override {
    if (request != abi::fionread)
      return errc::notty;
    if (!mm::put(mm::program_pointer<i32>(argument), i32(_pipe->used())))
      return errc::fault;
    return 0;
  }

  void fill_stat(abi::stat& out) const override {
    file::fill_stat(out);
    out.mode = abi::s_ififo | 0600;
  }
  std::string_view kind() const override { return "pipe"; }

 private:
  static result<size_t> take(pipe_state& p, io& to) {
    size_t total = 0;
    while (p.used() && to.left()) {
      size_t at = p.tail % pipe_bytes, within = at % page_size, n = p.used();
      if (n > page_size - within)
        n = page_size - within;
      auto moved = to.put(&p.pages[at / page_size][within], n);
      if (!moved && total)
        break;
      if (!moved)
        return moved;
      p.tail += *moved;
      total += *moved;
    }
    changed(p);
    return total;
  }
  // As much as there is room for, in one piece: other writers wait for the lock.
  static result<size_t> give(pipe_state& p, io& from, size_t room) {
    size_t total = 0;
    while (room && from.left()) {
      size_t at = p.head % pipe_bytes, within = at % page_size;
      auto& page = p.pages[at / page_size];
      if (!page)
        page.reset(new (std::nothrow) u8[page_size]);
      if (!page && total)
        break;
      if (!page)
        return errc::nomem;
      auto moved = from.get(&page[within], room < page_size - within ? room : page_size - within);
      if (!moved && total)
        break;
      if (!moved)
        return moved;
      p.head += *moved;
      total += *moved;
      room -= *moved;
    }
    changed(p);
    return total;
  }

  ref<pipe_state> _pipe;
};

class event_file : public file {
 public:
  event_file(uint32_t initial, uint32_t flags)
      : file(nullptr, abi::o_rdwr | (flags & abi::o_nonblock)),
        _count(initial),
        _semaphore(flags & abi::efd_semaphore) {}

  result<size_t> read(io& to, uint64_t) override {
    if (to.left() < 8)
      return errc::inval;
    for (;;) {
      u64 value = 0;
      {
        mutex_guard guard(_mutex);
        u64 count = _count.load();
        if (count) {
          value = _semaphore ? 1 : count;
          _count.store(count - value);
        }
      }
      if (value) {
        _changed.wake_all();
        poll_changed();
        return to.put(&value, sizeof value);
      }
      if (nonblocking())
        return errc::again;
      if (_changed.wait([&] { return _count.load() != 0; }) == wait_result::interrupted)
        return restart_if_asked;
    }
  }

  result<size_t> write(io& from, uint64_t) override {
    u64 value;
    if (from.left() < 8)
      return errc::inval;
    auto moved = from.get(&value, sizeof value);
    if (!moved || *moved < sizeof value)
      return errc::fault;
    if (value == ~u64{0})
      return errc::inval;
    for (;;) {
      {
        mutex_guard guard(_mutex);
        u64 count = _count.load();
        if (value < ~u64{0} - count) {
          _count.store(count + value);
          _changed.wake_all();
          poll_changed();
          return sizeof value;
        }
      }
      if (nonblocking())
        return errc::again;
      if (_changed.wait([&] { return value < ~u64{0} - _count.load(); }) == wait_result::interrupted)
        return restart_if_asked;
    }
  }

  uint32_t poll() override {
    u64 count = _count.load();
    return (count ? abi::poll_in | abi::poll_rdnorm : 0) | (count < ~u64{0} - 1 ? abi::poll_out | abi::poll_wrnorm : 0);
  }

  std::string_view kind() const override { return "anon_inode:[eventfd]"; }

 private:
  mutex _mutex;
  wait_queue _changed;
  std::atomic<u64> _count;
  bool _semaphore;
};

}  // namespace

result<pipe_ends> make_pipe(uint32_t flags) {
  if (mm::is_memory_short())
    return errc::nomem;
  auto p = make_ref<pipe_state>();
  if (!p)
    return errc::nomem;
  auto reader = make_ref<pipe_file>(p, abi::o_rdonly | flags);
  if (!reader)
    return errc::nomem;
  auto writer = make_ref<pipe_file>(p, abi::o_wronly | flags);
  if (!writer)
    return errc::nomem;
  return pipe_ends{ref<file>(reader), ref<file>(writer)};
}

result<ref<file>> make_eventfd(uint32_t initial, uint32_t flags) {
  auto f = make_ref<event_file>(initial, flags);
  if (!f)
    return errc::nomem;
  return ref<file>(f);
}

}  // namespace solaster::kernel::fs
