// The memory that an execution works on: storage of tensors, a budget over all of it, blocks that are used
// again, and the bitmap of written output elements.
#ifndef NKIAGENT_COMMON_NKI_EXEC_MEMORY_H_
#define NKIAGENT_COMMON_NKI_EXEC_MEMORY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "common/nki/isa/types.h"

namespace nkiagent::nki::exec {

// Bytes that an execution may hold, shared by its threads.
class Budget {
 public:
  explicit Budget(int64_t limit) : limit_(limit) {}
  // False, and nothing taken, if it would pass the limit.
  bool Take(int64_t bytes);
  void Give(int64_t bytes) { held_.fetch_sub(bytes, std::memory_order_relaxed); }
  int64_t limit() const { return limit_; }
  int64_t peak() const { return peak_.load(std::memory_order_relaxed); }

 private:
  const int64_t limit_;
  std::atomic<int64_t> held_{0};
  std::atomic<int64_t> peak_{0};
};

// Blocks of 64-byte aligned memory. A released block is kept and given to the next request that fits it well,
// so that the tensors of a loop body live in the same few blocks in every iteration. Not thread-safe: one per
// thread.
class BlockPool {
 public:
  explicit BlockPool(Budget* budget) : budget_(budget) {}
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // Uninitialised memory of at least `bytes`; null if the budget or the machine has no more.
  std::byte* Acquire(int64_t bytes);
  void Release(std::byte* block);

 private:
  void FreeIdle();

  Budget* budget_;
  std::multimap<int64_t, std::byte*> idle_;  // by size
  std::map<std::byte*, int64_t> used_;
};

// One bit for each element of an output, set by stores from any thread.
class WrittenMap {
 public:
  explicit WrittenMap(int64_t elements) : elements_(elements), words_((elements + 63) / 64) {}
  void MarkRange(int64_t begin, int64_t count);
  void Mark(int64_t element) {
    std::atomic_ref<uint64_t>(words_[static_cast<size_t>(element >> 6)])
        .fetch_or(uint64_t{1} << (element & 63), std::memory_order_relaxed);
  }
  bool IsMarked(int64_t element) const {
    return (words_[static_cast<size_t>(element >> 6)] >> (element & 63)) & 1;
  }
  int64_t CountUnmarked() const;
  int64_t FirstUnmarked() const;  // -1 if all are marked
  int64_t elements() const { return elements_; }

 private:
  int64_t elements_;
  std::vector<uint64_t> words_;
};

// Where a tensor's elements are now. Owned by the execution; null data = not alive.
struct Storage {
  std::byte* data = nullptr;
  int64_t elements = 0;
  WrittenMap* written = nullptr;  // outputs under tracking
  // Some element may never have been written: reads look for the undefined pattern.
  bool maybe_undefined = false;
};

// Undefined memory: 0x7FA5A5A5 in 4-byte types (a NaN), 0x7FA5 in 2-byte types (a NaN), 0x7F in 1-byte types
// (a NaN in both fp8 formats).
void FillUndefined(isa::DType dtype, std::byte* data, int64_t elements);
// Whether the element at p holds that pattern. Never true for 1-byte types, whose values are all common.
bool LooksUndefined(isa::DType dtype, const std::byte* p);
// Whether any of `count` elements, `stride` elements apart, does.
bool AnyLooksUndefined(isa::DType dtype, const std::byte* data, int64_t stride, int64_t count);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_MEMORY_H_
