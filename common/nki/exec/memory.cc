#include "common/nki/exec/memory.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <iterator>

namespace nkiagent::nki::exec {
namespace {

constexpr int64_t kAlignment = 64;
constexpr uint32_t kUndefined32 = 0x7FA5A5A5u;
constexpr uint16_t kUndefined16 = 0x7FA5u;
constexpr uint8_t kUndefined8 = 0x7Fu;

}  // namespace

bool Budget::Take(int64_t bytes) {
  if (bytes > limit_) return false;
  const int64_t now = held_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (now > limit_) {
    Give(bytes);
    return false;
  }
  int64_t peak = peak_.load(std::memory_order_relaxed);
  while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
  return true;
}

BlockPool::~BlockPool() {
  FreeIdle();
  for (const auto& [block, size] : used_) {
    std::free(block);
    budget_->Give(size);
  }
}

void BlockPool::FreeIdle() {
  for (const auto& [size, block] : idle_) {
    std::free(block);
    budget_->Give(size);
  }
  idle_.clear();
}

std::byte* BlockPool::Acquire(int64_t bytes) {
  const int64_t size = (std::max<int64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  // An idle block serves if it wastes at most a quarter of itself.
  if (auto it = idle_.lower_bound(size); it != idle_.end() && it->first - size <= it->first / 4) {
    // Of equal ones the last released, which the caches still hold.
    it = std::prev(idle_.upper_bound(it->first));
    std::byte* const block = it->second;
    used_.emplace(block, it->first);
    idle_.erase(it);
    return block;
  }
  if (!budget_->Take(size)) {
    FreeIdle();
    if (!budget_->Take(size)) return nullptr;
  }
  auto* const block = static_cast<std::byte*>(std::aligned_alloc(kAlignment, static_cast<size_t>(size)));
  if (block == nullptr) {
    budget_->Give(size);
    return nullptr;
  }
  used_.emplace(block, size);
  return block;
}

void BlockPool::Release(std::byte* block) {
  const auto it = used_.find(block);
  idle_.emplace(it->second, block);
  used_.erase(it);
}

void WrittenMap::MarkRange(int64_t begin, int64_t count) {
  if (count <= 0) return;
  const int64_t end = begin + count;
  const auto first = static_cast<size_t>(begin >> 6);
  const auto last = static_cast<size_t>((end - 1) >> 6);
  const uint64_t head = ~uint64_t{0} << (begin & 63);
  const uint64_t tail = ~uint64_t{0} >> (63 - ((end - 1) & 63));
  const auto set = [this](size_t word, uint64_t bits) {
    const std::atomic_ref<uint64_t> ref(words_[word]);
    // Most stores of a kernel that writes twice find the bits set: spare the locked operation.
    if ((ref.load(std::memory_order_relaxed) & bits) != bits) ref.fetch_or(bits, std::memory_order_relaxed);
  };
  if (first == last) return set(first, head & tail);
  set(first, head);
  for (size_t w = first + 1; w < last; ++w) {
    std::atomic_ref<uint64_t>(words_[w]).store(~uint64_t{0}, std::memory_order_relaxed);
  }
  set(last, tail);
}

int64_t WrittenMap::CountUnmarked() const {
  int64_t marked = 0;
  for (const uint64_t w : words_) marked += std::popcount(w);
  return elements_ - marked;
}

int64_t WrittenMap::FirstUnmarked() const {
  for (size_t w = 0; w < words_.size(); ++w) {
    if (words_[w] == ~uint64_t{0}) continue;
    const int64_t element = static_cast<int64_t>(w) * 64 + std::countr_one(words_[w]);
    return element < elements_ ? element : -1;
  }
  return -1;
}

void FillUndefined(isa::DType dtype, std::byte* data, int64_t elements) {
  switch (isa::SizeOf(dtype)) {
    case 4:
      std::fill_n(reinterpret_cast<uint32_t*>(data), elements, kUndefined32);
      break;
    case 2:
      std::fill_n(reinterpret_cast<uint16_t*>(data), elements, kUndefined16);
      break;
    default:
      std::memset(data, kUndefined8, static_cast<size_t>(elements));
      break;
  }
}

bool LooksUndefined(isa::DType dtype, const std::byte* p) {
  switch (isa::SizeOf(dtype)) {
    case 4: {
      uint32_t v;
      std::memcpy(&v, p, sizeof(v));
      return v == kUndefined32;
    }
    case 2: {
      uint16_t v;
      std::memcpy(&v, p, sizeof(v));
      return v == kUndefined16;
    }
    default:
      return false;
  }
}

namespace {

// Without a branch for each element, so that the compiler looks at many at once.
template <typename T>
bool AnyIs(const std::byte* data, int64_t stride, int64_t count, T pattern) {
  const T* p = reinterpret_cast<const T*>(data);
  constexpr int64_t kBlock = 1024;
  for (int64_t i = 0; i < count; i += kBlock) {
    const int64_t n = std::min(kBlock, count - i);
    T any = 0;
    if (stride == 1) {
      for (int64_t k = 0; k < n; ++k) any |= static_cast<T>(p[i + k] == pattern);
    } else {
      for (int64_t k = 0; k < n; ++k) any |= static_cast<T>(p[(i + k) * stride] == pattern);
    }
    if (any != 0) return true;
  }
  return false;
}

}  // namespace

bool AnyLooksUndefined(isa::DType dtype, const std::byte* data, int64_t stride, int64_t count) {
  switch (isa::SizeOf(dtype)) {
    case 4:
      return AnyIs<uint32_t>(data, stride, count, kUndefined32);
    case 2:
      return AnyIs<uint16_t>(data, stride, count, kUndefined16);
    default:
      return false;
  }
}

}  // namespace nkiagent::nki::exec
