#include "net/ip/link.hh"

#include "net/packet/heap_buffer.hh"

namespace solaster::net {

link::link(const stack_config& config, memory& m, packet_slab& slab, stack_stats& stats) noexcept
    : _config(config),
      _memory(m),
      _slab(slab),
      _stats(stats),
      _small(buffer_pool::make(
          m, {.buffer_size = link_small_buffer, .buffers_max = config.header_buffers_max, .buffers_per_region = 64})),
      _large(buffer_pool::make(
          m,
          {.buffer_size = link_large_buffer, .buffers_max = config.transmit_buffers_max, .buffers_per_region = 16})) {}

packet_ptr link::make_larger(packet_ptr p, uint32_t room) noexcept {
  if (!p) [[unlikely]]
    return nullptr;
  fragment f;
  if (room <= link_large_buffer - link_header_room)
    f = _large->allocate(link_header_room, 0);
  if (!f) [[unlikely]] {
    f = make_heap_fragment(_memory, room, link_header_room);
    if (!f)
      return nullptr;
    f.truncate(0);
  }
  p->append(std::move(f));
  return p;
}

void link::put(packet_ptr p, const ethernet_header& header) noexcept {
  header.emit(p->prepend(ethernet_header::size));
  put(std::move(p));
}

void link::enqueue(packet_ptr frame) noexcept {
  if (!accepts())
    return _stats.drop(drop_reason::transmit_queue);
  _queue.push_back(std::move(frame));
}

void link::loop(packet_ptr frame) noexcept {
  if (_looped.size() >= _config.loopback_queue_max)
    return _stats.drop(drop_reason::transmit_queue);
  ++_stats.sent;
  _looped.push_back(std::move(frame));
}

packet_ptr link::take_looped() noexcept {
  const packet_ptr frame = _looped.pop_front();
  if (!frame)
    return nullptr;
  packet_ptr copy = _slab.make();
  fragment bytes = make_heap_fragment(_memory, frame->size());
  if (!copy || !bytes)
    return _stats.drop(drop_reason::no_memory), nullptr;
  copy_out(*frame, 0, bytes.data(), frame->size());
  _stats.copied_bytes += frame->size();
  copy->append(std::move(bytes));
  copy->offload.checksum = frame->offload.checksum;
  copy->offload.looped = true;
  return copy;
}

void link::begin(transmit_sink& sink) noexcept {
  _sink = &sink;
  _room = false;
  while (!_queue.empty() && sink.ready()) {
    ++_stats.sent;
    sink.put(_queue.pop_front());
  }
}

}  // namespace solaster::net
