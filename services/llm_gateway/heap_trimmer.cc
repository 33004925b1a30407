#include "services/llm_gateway/heap_trimmer.h"

#include <malloc.h>

#include <condition_variable>
#include <mutex>
#include <stop_token>

namespace nkiagent::llm_gateway {
namespace {

constexpr int kArenas = 2;
constexpr int kLargeBlockBytes = 256 << 10;
constexpr int kTopBytes = 4 << 20;  // free at the end of a heap, and kept

}  // namespace

void HeapTrimmer::TuneHeap() {
  mallopt(M_ARENA_MAX, kArenas);
  mallopt(M_MMAP_THRESHOLD, kLargeBlockBytes);
  mallopt(M_TRIM_THRESHOLD, kTopBytes);
}

HeapTrimmer::HeapTrimmer(absl::Duration pause, size_t slack)
    : thread_([pause = absl::ToChronoNanoseconds(pause), slack](const std::stop_token& stop) {
        std::mutex mutex;
        std::condition_variable_any changed;
        std::unique_lock lock(mutex);
        while (!changed.wait_for(lock, stop, pause, [&] { return stop.stop_requested(); })) {
          if (mallinfo2().fordblks > slack) malloc_trim(0);
        }
      }) {}

}  // namespace nkiagent::llm_gateway
