// The busy time of one engine, with the gaps that a later instruction may still fill. Internal to
// common/nki/timing.
#ifndef NKIAGENT_COMMON_NKI_TIMING_TIMELINE_H_
#define NKIAGENT_COMMON_NKI_TIMING_TIMELINE_H_

#include <cstddef>
#include <vector>

namespace nkiagent::nki::timing {

class Timeline {
 public:
  // The earliest start, not before `ready`, of a free stretch of `length` nanoseconds.
  double Find(double ready, double length) const;
  // Marks [start, start + length) busy; `start` comes from Find.
  void Take(double start, double length);

  // Work that may be done in pieces, by a pool that always has something to do: takes the first `work` free
  // nanoseconds from `ready` on.
  struct Span {
    double start = 0;
    double end = 0;
  };
  Span Pour(double ready, double work);

  // When the latest work ends, and when the work placed last ends.
  double tail() const { return tail_; }
  double front() const { return front_; }
  // All work so far, in nanoseconds.
  double taken() const { return taken_; }

  // How much time there is from front() to the next work; unlimited at the tail.
  double Room() const;
  // Repeats for `by` nanoseconds what has been placed since front() was `since`: at the tail with its gaps,
  // else as one busy stretch.
  void Repeat(double since, double by, double work);

 private:
  struct Gap {
    double begin = 0;
    double end = 0;
  };
  // How far back an instruction is moved ahead of others: the compiler's window is finite. 8 would fit the
  // published matmul whose loads and products only partly overlap (published_test.cc), but attention and
  // pooling kernels with published bounds (docs/timing.md) overlap more than that allows.
  static constexpr size_t kMaxGaps = 64;
  void AddGap(Gap gap);

  double tail_ = 0;
  double front_ = 0;
  double taken_ = 0;
  std::vector<Gap> gaps_;  // ascending, all before tail_
};

}  // namespace nkiagent::nki::timing

#endif  // NKIAGENT_COMMON_NKI_TIMING_TIMELINE_H_
