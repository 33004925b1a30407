#include "common/nki/timing/trace.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/nki/timing/machine.h"
#include "common/nki/timing/memory.h"
#include "common/nki/timing/recording.h"

namespace nkiagent::nki::timing {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kProcess = 1;
// Thread ids: engines by their resource, DMA queues from here on.
constexpr int kFirstQueue = 16;
constexpr double kNsPerUs = 1000;
// Source text quoted in a slice.
constexpr size_t kMaxLineBytes = 200;
// Results reach a waiting instruction within this time of their slice's end (semaphores), unless skipped
// iterations lie between the two.
constexpr double kArrowNs = kSemaphoreNs + 1;

constexpr absl::string_view kUnitNames[kResourceCount] = {
    "Tensor engine", "Vector engine", "Scalar engine", "GpSimd engine",
    "Sync engine",   "DMA engines",   "SBUF port",     "PSUM port",
};

// Exact to the picosecond, so that equal times stay equal.
double Us(double ns) { return std::round(ns * 1000) / 1000 / kNsPerUs; }

int ThreadOf(Resource unit) { return static_cast<int>(unit); }

struct Site {
  const ir::Instr* instr = nullptr;
  std::vector<const ir::Loop*> loops;
};

class Writer {
 public:
  Writer(const ir::Program& p, absl::string_view source, const Recording& r, const Estimate& e)
      : p_(p), r_(r), e_(e), lines_(absl::StrSplit(source, '\n')) {
    ir::ForEachInstr(p.body, [this](const ir::Instr& i, absl::Span<const ir::Loop* const> loops) {
      sites_.push_back({&i, {loops.begin(), loops.end()}});
    });
  }

  std::string Run() {
    SortSpans();
    AssignQueues();
    NameTracks();
    for (size_t s = 0; s < r_.slices.size(); ++s) AddSlice(s);
    AddRepeats();
    AddRest();
    AddCounters();
    Json document;
    document["displayTimeUnit"] = "ns";
    document["otherData"] = Summary();
    document["traceEvents"] = InOrder();
    return document.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

 private:
  // By time, metadata first; nothing needs it, but people read these files too.
  Json InOrder() {
    std::vector<std::pair<double, size_t>> order;
    for (size_t i = 0; i < events_.size(); ++i) order.emplace_back(events_[i].value("ts", -1.0), i);
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    Json sorted = Json::array();
    for (const auto& [ts, i] : order) sorted.push_back(std::move(events_[i]));
    return sorted;
  }

  static Json Event(const char* phase, std::string name, int thread, double ns) {
    return Json{{"ph", phase}, {"name", std::move(name)}, {"pid", kProcess}, {"tid", thread}, {"ts", Us(ns)}};
  }

  void Metadata(const char* what, int thread, const char* key, Json value) {
    events_.push_back(Json{{"ph", "M"},
                           {"name", what},
                           {"pid", kProcess},
                           {"tid", thread},
                           {"args", {{key, std::move(value)}}}});
  }

  // Transfers overlap, and slices of one track must not: each takes the first queue that is free.
  void AssignQueues() {
    std::vector<size_t> order;
    for (size_t s = 0; s < r_.slices.size(); ++s) {
      if (r_.slices[s].unit == Resource::kDma) order.push_back(s);
    }
    std::stable_sort(order.begin(), order.end(),
                     [this](size_t a, size_t b) { return r_.slices[a].start < r_.slices[b].start; });
    std::vector<double> free_at;
    for (const size_t s : order) {
      size_t q = 0;
      while (q < free_at.size() && free_at[q] > r_.slices[s].start) ++q;
      if (q == free_at.size()) free_at.push_back(0);
      free_at[q] = r_.slices[s].end;
      queue_[s] = static_cast<int>(q);
    }
    queues_ = static_cast<int>(free_at.size());
  }

  int ThreadOfSlice(size_t s) const {
    const auto queue = queue_.find(s);
    return queue == queue_.end() ? ThreadOf(r_.slices[s].unit) : kFirstQueue + queue->second;
  }

  void NameTracks() {
    Metadata("process_name", 0, "name", absl::StrCat(p_.kernel_name, " on ", p_.target, " (estimated)"));
    const auto name = [this](int thread, const std::string& text) {
      Metadata("thread_name", thread, "name", text);
      Metadata("thread_sort_index", thread, "sort_index", thread);
    };
    for (const Resource unit :
         {Resource::kTensor, Resource::kVector, Resource::kScalar, Resource::kGpSimd, Resource::kSync}) {
      name(ThreadOf(unit), std::string(kUnitNames[static_cast<size_t>(unit)]));
    }
    for (int q = 0; q < std::max(queues_, 1); ++q) name(kFirstQueue + q, absl::StrCat("DMA queue ", q));
  }

  std::string LineText(int line) const {
    if (line < 1 || static_cast<size_t>(line) > lines_.size()) return "";
    return std::string(
        absl::StripAsciiWhitespace(lines_[static_cast<size_t>(line) - 1]).substr(0, kMaxLineBytes));
  }

  std::string TileText(const ir::Operand& o) const {
    const auto* a = std::get_if<ir::Access>(&o);
    if (a == nullptr) return "";
    const ir::Tensor& t = p_.tensors[static_cast<size_t>(a->tensor)];
    return absl::StrCat(t.name, " [", absl::StrJoin(a->shape, ", "), "] ", isa::Name(t.dtype), " in ",
                        isa::Name(t.buffer));
  }

  std::string WaitText(const Wait& w) const {
    const auto tensor = [&] { return p_.tensors[static_cast<size_t>(w.tensor)].name; };
    const auto by = [&]() -> std::string {
      if (w.slice < 0) return "";
      const ir::Instr& i = *sites_[r_.slices[static_cast<size_t>(w.slice)].instr].instr;
      return absl::StrCat(", ", isa::RowOf(i.op).name, " of line ", i.loc.line);
    };
    switch (w.kind) {
      case Wait::Kind::kData:
        return absl::StrCat("data: ", tensor(), by());
      case Wait::Kind::kBuffer:
        return absl::StrCat("buffer still in use: ", tensor(), by());
      case Wait::Kind::kUnit:
        return absl::StrCat("busy: ", kUnitNames[static_cast<size_t>(w.unit)]);
      case Wait::Kind::kNone:
        break;
    }
    return "";
  }

  void AddSlice(size_t index) {
    const Slice& s = r_.slices[index];
    const Site& site = sites_[s.instr];
    const ir::Instr& i = *site.instr;
    const int thread = ThreadOfSlice(index);
    std::string name(isa::RowOf(i.op).name);
    if (s.kind == Slice::Kind::kIssue) name = absl::StrCat("start ", name);
    if (s.kind == Slice::Kind::kStaging) name = absl::StrCat("copy PSUM for ", name);
    Json event = Event("X", std::move(name), thread, s.start);
    // From rounded ends, so that neighbours never overlap.
    event["dur"] = std::round((Us(s.end) - Us(s.start)) * 1e6) / 1e6;
    event["cat"] = s.unit == Resource::kDma ? "dma" : "engine";
    Json& args = event["args"];
    args["line"] = i.loc.line;
    if (const std::string text = LineText(i.loc.line); !text.empty()) args["source"] = text;
    for (size_t l = 0; l < site.loops.size(); ++l) {
      args["loops"][p_.symbols[static_cast<size_t>(site.loops[l]->symbol)].name] = s.indices[l];
    }
    args["busy_us"] = Us(s.busy);
    if (s.kind == Slice::Kind::kInstruction) {
      Describe(s, i, args);
    }
    if (const std::string text = WaitText(s.wait); !text.empty()) args["waited_for"] = text;
    if (const double idle = IdleBefore(s); idle > 0) args["idle_before_us"] = Us(idle);
    events_.push_back(std::move(event));
    AddArrow(s, thread);
  }

  void Describe(const Slice& s, const ir::Instr& i, Json& args) const {
    if (s.unit != Resource::kDma) args["cycles"] = std::round(s.busy * ClockGhz(s.work.engine));
    if (!i.dst.empty()) args["dst"] = TileText(i.dst[0]);
    for (size_t k = 0; k < i.src.size(); ++k) {
      const std::string text = TileText(i.src[k]);
      if (!text.empty()) args[std::string(isa::RowOf(i.op).src[k].name)] = text;
    }
    const auto add = [&](const char* key, double value) {
      if (value > 0) args[key] = value;
    };
    add("hbm_read_bytes", s.work.hbm_read);
    add("hbm_written_bytes", s.work.hbm_written);
    add("sbuf_read_bytes", s.work.sbuf_read);
    add("sbuf_written_bytes", s.work.sbuf_written);
    add("psum_read_bytes", s.work.psum_read);
    add("psum_written_bytes", s.work.psum_written);
    add("flops", s.work.flops);
    add("descriptors", s.work.descriptors);
    add("bytes_per_descriptor", s.work.descriptor_bytes);
    args["result_after_us"] = Us(s.done - s.end);
  }

  // From the slice that it waited for, if that has just ended. A DMA waits where the Sync engine starts it.
  void AddArrow(const Slice& s, int thread) {
    if (s.wait.slice < 0 || s.wait.kind == Wait::Kind::kUnit || s.unit == Resource::kDma) return;
    const auto from = static_cast<size_t>(s.wait.slice);
    const Slice& producer = r_.slices[from];
    if (s.start < producer.end || s.asked > producer.done + kArrowNs) return;
    const char* name = s.wait.kind == Wait::Kind::kData ? "result" : "buffer";
    ++arrows_;
    // Both ends lie inside their slices, which is how the viewer finds them.
    Json begin = Event("s", name, ThreadOfSlice(from), (producer.start + producer.end) / 2);
    Json end = Event("f", name, thread, (s.start + s.end) / 2);
    end["bp"] = "e";
    for (Json* e : {&begin, &end}) {
      (*e)["cat"] = "dependence";
      (*e)["id"] = arrows_;
    }
    if (begin["ts"] > end["ts"]) return;
    events_.push_back(std::move(begin));
    events_.push_back(std::move(end));
  }

  using Spans = std::vector<std::pair<double, double>>;

  // When each engine works, in order of time.
  void SortSpans() {
    for (const Slice& s : r_.slices) spans_[static_cast<size_t>(s.unit)].emplace_back(s.start, s.end);
    for (Spans& spans : spans_) std::sort(spans.begin(), spans.end());
  }

  // How long the engine did nothing before the slice.
  double IdleBefore(const Slice& s) const {
    if (s.unit == Resource::kDma) return 0;
    const Spans& spans = spans_[static_cast<size_t>(s.unit)];
    const auto own = std::lower_bound(spans.begin(), spans.end(), std::pair(s.start, s.start));
    return own == spans.begin() ? s.start : std::max(0.0, s.start - std::prev(own)->second);
  }

  // The parts of [begin, end) that no slice of the unit takes.
  Spans FreeParts(Resource unit, double begin, double end) const {
    const Spans& spans = spans_[static_cast<size_t>(unit)];
    auto next = std::lower_bound(spans.begin(), spans.end(), std::pair(begin, begin));
    if (next != spans.begin()) --next;
    Spans parts;
    for (; next != spans.end() && next->first < end; ++next) {
      if (next->second <= begin) continue;
      if (next->first > begin) parts.emplace_back(begin, next->first);
      begin = next->second;
    }
    if (end > begin) parts.emplace_back(begin, end);
    return parts;
  }

  // Work that is not shown one by one; the track of repeated DMAs is a queue of its own.
  void AddSummarySlice(Resource unit, const std::string& name, double begin, double end, double busy,
                       Json args) {
    args["busy_us"] = Us(busy);
    bool first = true;
    int thread = ThreadOf(unit);
    Spans parts = {{begin, end}};
    if (unit == Resource::kDma) {
      thread = kFirstQueue + queues_;
      if (!repeated_dma_named_) Metadata("thread_name", thread, "name", "DMA queues, repeated iterations");
      repeated_dma_named_ = true;
    } else {
      parts = FreeParts(unit, begin, end);
      if (parts.empty()) parts = {{begin, begin}};
    }
    for (const auto& [from, to] : parts) {
      Json event = Event("X", name, thread, from);
      event["dur"] = std::round((Us(to) - Us(from)) * 1e6) / 1e6;
      event["cat"] = "summary";
      if (first) event["args"] = args;
      if (!first) event["args"]["part_of"] = "the slice of this name before it";
      first = false;
      events_.push_back(std::move(event));
    }
  }

  void AddRepeats() {
    for (const Repeat& r : r_.repeats) {
      if (r.unit == Resource::kSbufPort || r.unit == Resource::kPsumPort) continue;
      const std::string& loop = p_.symbols[static_cast<size_t>(r.loop->symbol)].name;
      const std::string name = absl::StrFormat("x %.0f iterations of %s", r.iterations, loop);
      // Nested repeats of one unit follow each other.
      double& last = summarised_[static_cast<size_t>(r.unit)];
      const double begin = std::max(r.begin, last), end = std::max(r.end, begin);
      last = end;
      AddSummarySlice(r.unit, name, begin, end, r.busy,
                      {{"line", r.loop->loc.line},
                       {"note", "these iterations take as long as the ones shown before them"},
                       {"busy_share", r.end > r.begin ? r.busy / (r.end - r.begin) : 0}});
    }
  }

  void AddRest() {
    for (size_t u = 0; u < static_cast<size_t>(Resource::kSbufPort); ++u) {
      if (r_.dropped_busy[u] <= 0) continue;
      const auto unit = static_cast<Resource>(u);
      const double last = spans_[u].empty() ? 0 : spans_[u].back().second;
      const double begin = std::max(last, summarised_[u]);
      AddSummarySlice(unit, "not shown one by one", begin, std::max(begin, e_.latency_us * kNsPerUs),
                      r_.dropped_busy[u],
                      {{"note", absl::StrCat("the trace is full at ", r_.max_slices, " slices")}});
    }
    if (e_.spill_us > 0) {
      const double end = e_.latency_us * kNsPerUs;
      AddSummarySlice(Resource::kDma, "spill between SBUF and HBM", end - e_.spill_us * kNsPerUs, end,
                      e_.spill_us * kNsPerUs,
                      {{"bytes", e_.spill_bytes},
                       {"note", "spread over the program; shown at its end because it is not scheduled"}});
    }
  }

  void Counter(const std::string& name, const char* key, const std::map<double, double>& changes,
               double scale) {
    double now = 0, shown = -1;
    for (const auto& [at, change] : changes) {
      now += change;
      const double value = std::max(0.0, std::round(now * scale));
      if (value == shown) continue;
      shown = value;
      Json event = Event("C", name, 0, at);
      event["args"][key] = value;
      events_.push_back(std::move(event));
    }
  }

  void AddCounters() {
    for (const isa::Buffer buffer : {isa::Buffer::kSbuf, isa::Buffer::kPsum}) {
      std::map<double, double> changes;
      for (const Alive& a : r_.alive) {
        const ir::Tensor& t = p_.tensors[static_cast<size_t>(a.storage)];
        if (t.buffer != buffer) continue;
        const double bytes = isa::kMaxPartitions * static_cast<double>(Footprint(t));
        changes[a.begin] += bytes;
        changes[a.end] -= bytes;
      }
      HoldThroughRepeats(changes);
      Counter(buffer == isa::Buffer::kSbuf ? "SBUF live bytes" : "PSUM live bytes", "bytes",
              std::move(changes), 1);
    }
    std::map<double, double> rate;  // bytes per nanosecond
    for (const Slice& s : r_.slices) {
      const double bytes =
          std::max(s.work.hbm_read + s.work.sbuf_read, s.work.hbm_written + s.work.sbuf_written);
      if (s.unit != Resource::kDma || s.end <= s.start) continue;
      rate[s.start] += bytes / (s.end - s.start);
      rate[s.end] -= bytes / (s.end - s.start);
    }
    Counter("DMA GB/s", "gb_per_s", std::move(rate), 1);
  }

  // Tiles of iterations that are not shown are alive as in those that are: the most since the repeat before.
  void HoldThroughRepeats(std::map<double, double>& changes) const {
    std::map<const ir::Loop*, std::pair<double, double>> spans;
    for (const Repeat& r : r_.repeats) {
      if (r.unit == Resource::kSbufPort || r.unit == Resource::kPsumPort) continue;
      auto [it, fresh] = spans.emplace(r.loop, std::pair(r.begin, r.end));
      it->second = {std::min(it->second.first, r.begin), std::max(it->second.second, r.end)};
    }
    std::map<double, double> holds;
    for (const auto& [loop, span] : spans) {
      double now = 0, before = 0, most = 0;
      for (const auto& [at, change] : changes) {
        now += change;
        if (at < span.first) before = now;
        if (at < span.first) most = std::max(most, now);
      }
      // What stays alive through the span is counted already.
      holds[span.first] += most - before;
      holds[span.second] -= most - before;
    }
    for (const auto& [at, change] : holds) changes[at] += change;
  }

  Json Summary() const {
    Json s;
    s["kernel"] = p_.kernel_name;
    s["hardware"] = p_.target;
    s["what"] = "estimated by a timing model, not measured";
    s["latency_us"] = e_.latency_us;
    s["bound"] = std::string(Name(e_.bound));
    for (size_t e = 1; e < e_.busy_us.size(); ++e) {
      s["busy_us"][std::string(isa::Name(static_cast<isa::Engine>(e)))] = e_.busy_us[e];
    }
    s["instructions"] = e_.instructions;
    s["slices_left_out"] = r_.dropped;
    s["dma_slices"] =
        "transfers share 16 DMA engines: busy_us is a transfer's part of all of them, dur its own duration";
    return s;
  }

  const ir::Program& p_;
  const Recording& r_;
  const Estimate& e_;
  const std::vector<absl::string_view> lines_;
  std::vector<Site> sites_;
  std::map<size_t, int> queue_;  // by slice
  int queues_ = 0;
  std::array<Spans, kResourceCount> spans_;
  std::array<double, kResourceCount> summarised_{};  // until when a unit's repeats are written
  int64_t arrows_ = 0;
  bool repeated_dma_named_ = false;
  std::vector<Json> events_;
};

}  // namespace

absl::StatusOr<std::string> TraceJson(const ir::Program& program, absl::string_view source,
                                      const TraceOptions& options) {
  Recording recording(std::min(options.max_slices, kMaxTraceSlices));
  const absl::StatusOr<Estimate> estimate = EstimateLatency(program, options.timing, &recording);
  if (!estimate.ok()) return estimate.status();
  return Writer(program, source, recording, *estimate).Run();
}

}  // namespace nkiagent::nki::timing
