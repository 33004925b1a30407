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

  // When the last work ends.
  double tail() const { return tail_; }
  // Moves everything by `by` nanoseconds.
  void Shift(double by);

 private:
  struct Gap {
    double begin = 0;
    double end = 0;
  };
  // How far back instructions are moved ahead: the compiler's window is finite too.
  static constexpr size_t kMaxGaps = 24;
  void AddGap(Gap gap);

  double tail_ = 0;
  std::vector<Gap> gaps_;  // ascending, all before tail_
};

}  // namespace nkiagent::nki::timing

#endif  // NKIAGENT_COMMON_NKI_TIMING_TIMELINE_H_
