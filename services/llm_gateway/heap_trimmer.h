// Gives memory that is free but kept back to the system.
#ifndef SERVICES_LLM_GATEWAY_HEAP_TRIMMER_H_
#define SERVICES_LLM_GATEWAY_HEAP_TRIMMER_H_

#include <cstddef>
#include <thread>

#include "absl/time/time.h"

namespace nkiagent::llm_gateway {

// glibc keeps what a burst of calls has freed unless it lies at the very end of a heap, and each thread
// allocates from a heap of its own, so that the process stays as large as its highest load made each of them.
// This looks every `pause`, on a thread of its own, and trims when more than `slack` bytes lie idle.
class HeapTrimmer {
 public:
  explicit HeapTrimmer(absl::Duration pause = absl::Seconds(10), size_t slack = size_t{8} << 20);
  // Ends the thread.
  ~HeapTrimmer() = default;

  // For the whole process, before there is a second thread: heaps are shared by threads, since most work is
  // done on one event loop and a few threads of gRPC, and large blocks go back when they are freed instead of
  // growing the heap, which is what glibc would come to once the first was freed.
  static void TuneHeap();

 private:
  std::jthread thread_;
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_HEAP_TRIMMER_H_
