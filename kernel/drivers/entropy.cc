// ChaCha20 (RFC 8439) with fast key erasure: each request makes a block for the next key before any for the caller.
//
// SAFETY (file): rdrand and rdseed are used where CPUID offers them and change a register only; the block is an array
// of words read as bytes.

#include "kernel/lib/entropy.hh"

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/drivers/entropy_private.hh"
#include "kernel/drivers/virtio_rng.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/panic.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel {
namespace {

constexpr usize key_words = 8, block_bytes = 64;
constexpr usize piece_max = 4096;  // bytes made under one lock

struct generator {
  u32 key[key_words] = {};
};
guarded<generator, rank::entropy> shared;

u32 rotate(u32 v, int n) {
  return v << n | v >> (32 - n);
}
void quarter(u32& a, u32& b, u32& c, u32& d) {
  a += b, d = rotate(d ^ a, 16);
  c += d, b = rotate(b ^ c, 12);
  a += b, d = rotate(d ^ a, 8);
  c += d, b = rotate(b ^ c, 7);
}

void chacha_block(const u32* key, u64 counter, u32* out) {
  u32 s[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  for (usize i = 0; i < key_words; i++)
    s[4 + i] = key[i];
  s[12] = static_cast<u32>(counter), s[13] = static_cast<u32>(counter >> 32), s[14] = s[15] = 0;
  for (int i = 0; i < 16; i++)
    out[i] = s[i];
  for (int round = 0; round < 10; round++) {
    quarter(out[0], out[4], out[8], out[12]);
    quarter(out[1], out[5], out[9], out[13]);
    quarter(out[2], out[6], out[10], out[14]);
    quarter(out[3], out[7], out[11], out[15]);
    quarter(out[0], out[5], out[10], out[15]);
    quarter(out[1], out[6], out[11], out[12]);
    quarter(out[2], out[7], out[8], out[13]);
    quarter(out[3], out[4], out[9], out[14]);
  }
  for (int i = 0; i < 16; i++)
    out[i] += s[i];
}

void make(generator& g, u8* out, usize n) {
  u32 block[16];
  chacha_block(g.key, 0, block);
  u32 next[key_words];
  memcpy(next, block, sizeof next);
  // The rest of the first block serves small requests.
  constexpr usize rest = block_bytes - sizeof next;
  usize first = n < rest ? n : rest;
  memcpy(out, reinterpret_cast<u8*>(block) + sizeof next, first);
  for (usize at = first, counter = 1; at < n; at += block_bytes, counter++) {
    chacha_block(g.key, counter, block);
    memcpy(out + at, block, n - at < block_bytes ? n - at : block_bytes);
  }
  memcpy(g.key, next, sizeof next);
}

bool read_rdrand(u64& v, bool seed) {
  constexpr int tries = 32;  // Intel's advice is 10 for RDRAND
  for (int i = 0; i < tries; i++) {
    u8 ok;
    if (seed) {
      asm volatile("rdseed %0; setc %1" : "=r"(v), "=q"(ok));
    } else {
      asm volatile("rdrand %0; setc %1" : "=r"(v), "=q"(ok));
    }
    if (ok && v != 0 && v != ~u64{0})
      return true;
    cpu_relax();
  }
  return false;
}

bool seed_from_cpu(u32* key) {
  const bool has_rdrand = cpuid(1).ecx & (1u << 30);
  const bool has_rdseed = cpuid(0).eax >= 7 && (cpuid(7).ebx & (1u << 18));
  if (!has_rdrand && !has_rdseed)
    return false;
  for (usize i = 0; i < key_words; i += 2) {
    u64 v;
    if (!(has_rdseed && read_rdrand(v, true)) && !(has_rdrand && read_rdrand(v, false)))
      return false;
    key[i] = static_cast<u32>(v), key[i + 1] = static_cast<u32>(v >> 32);
  }
  return true;
}

}  // namespace

void entropy_initialise() {
  u32 key[key_words];
  if (!seed_from_cpu(key)) {
    if (!virtio_rng_read(key, sizeof key)) {
      refuse("no source of random numbers: give the guest a CPU with RDRAND (-cpu max) or a virtio-rng device");
    }
    log::info("entropy: from virtio-rng");
  }
  auto g = shared.lock();
  memcpy(g->key, key, sizeof key);
}

void random_bytes(void* out, usize n) {
  auto* p = static_cast<u8*>(out);
  while (n) {
    const usize piece = n < piece_max ? n : piece_max;
    auto g = shared.lock();
    make(*g, p, piece);
    p += piece;
    n -= piece;
  }
}

u64 random_u64() {
  u64 v;
  random_bytes(&v, sizeof v);
  return v;
}

}  // namespace solaster::kernel
