#include "common/nki/timing/timeline.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace nkiagent::nki::timing {
namespace {

// Gaps no instruction fits into, in nanoseconds.
constexpr double kTooShort = 5;

}  // namespace

double Timeline::Find(double ready, double length) const {
  for (const Gap& g : gaps_) {
    const double start = std::max(ready, g.begin);
    if (start + length <= g.end) return start;
  }
  return std::max(ready, tail_);
}

void Timeline::AddGap(Gap gap) {
  if (gap.end - gap.begin < kTooShort) return;
  if (gaps_.size() == kMaxGaps) gaps_.erase(gaps_.begin());
  gaps_.insert(std::upper_bound(gaps_.begin(), gaps_.end(), gap,
                                [](const Gap& a, const Gap& b) { return a.begin < b.begin; }),
               gap);
}

void Timeline::Take(double start, double length) {
  taken_ += length;
  front_ = start + length;
  if (start >= tail_) {
    AddGap({tail_, start});
    tail_ = start + length;
    return;
  }
  for (size_t i = 0; i < gaps_.size(); ++i) {
    const Gap g = gaps_[i];
    if (start < g.begin || start >= g.end) continue;
    gaps_.erase(gaps_.begin() + static_cast<std::ptrdiff_t>(i));
    AddGap({g.begin, start});
    AddGap({start + length, g.end});
    return;
  }
}

Timeline::Span Timeline::Pour(double ready, double work) {
  Span span;
  taken_ += work;
  bool started = false;
  const auto use = [&](double from, double amount) {
    if (!started) span.start = from;
    started = true;
    span.end = from + amount;
    work -= amount;
  };
  for (size_t i = 0; i < gaps_.size() && work > 0;) {
    const Gap g = gaps_[i];
    const double from = std::max(ready, g.begin);
    if (from >= g.end) {
      ++i;
      continue;
    }
    const double amount = std::min(work, g.end - from);
    use(from, amount);
    const Gap before{g.begin, from}, after{from + amount, g.end};
    gaps_.erase(gaps_.begin() + static_cast<std::ptrdiff_t>(i));
    const size_t size = gaps_.size();
    AddGap(before);
    AddGap(after);
    i += gaps_.size() > size ? gaps_.size() - size : 0;
  }
  if (work > 0 || !started) {
    const double from = std::max(ready, tail_);
    AddGap({tail_, from});
    use(from, work);
    tail_ = span.end;
  }
  front_ = span.end;
  return span;
}

double Timeline::Room() const {
  if (front_ >= tail_) return std::numeric_limits<double>::infinity();
  for (const Gap& g : gaps_) {
    if (g.begin <= front_ && front_ < g.end) return g.end - front_;
  }
  return 0;
}

void Timeline::Repeat(double since, double by, double work) {
  taken_ += work;
  if (front_ >= tail_) {
    tail_ += by;
    for (Gap& g : gaps_) {
      if (g.begin < since) continue;
      g.begin += by;
      g.end += by;
    }
  } else {
    std::vector<Gap> kept;
    for (const Gap& g : gaps_) {
      if (g.end <= front_ || g.begin >= front_ + by) {
        kept.push_back(g);
        continue;
      }
      if (g.begin < front_) kept.push_back({g.begin, front_});
      if (g.end > front_ + by) kept.push_back({front_ + by, g.end});
    }
    gaps_ = std::move(kept);
  }
  front_ += by;
}

}  // namespace nkiagent::nki::timing
