// Sums of matmuls in PSUM that are disturbed before they are complete.
//
// The Tensor engine adds to what its own earlier matmuls left in PSUM: a group of matmuls that accumulate
// into one tile. What another instruction writes there in between, or a tile cleared again before anyone has
// read the sum, breaks the group up.
#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/nki/check/rules.h"

namespace nkiagent::nki::check {
namespace {

// Uses of one tile that are followed; a tile with more is left alone.
constexpr size_t kMaxEvents = 4096;
// Steps and looks at uses, in one program.
constexpr int64_t kMaxWork = 20'000'000;

enum class Kind { kAccumulate, kOverwrite, kClear, kWrite, kRead };

struct Event {
  Kind kind = Kind::kRead;
  const ir::Access* access = nullptr;
  size_t instr = 0;
};

class Checker {
 public:
  Checker(const Facts& facts, Findings& found) : facts_(facts), found_(found) {}

  void Run() {
    for (size_t n = 0; n < facts_.instrs.size(); ++n) {
      if (facts_.instrs[n].runs) Collect(n);
    }
    for (const auto& [storage, events] : events_) {
      const bool sums = std::any_of(events.begin(), events.end(),
                                    [](const Event& e) { return e.kind == Kind::kAccumulate; });
      if (sums && events.size() <= kMaxEvents && Followable(storage, events)) Follow(storage, events);
    }
  }

 private:
  void Collect(size_t n) {
    const ir::Instr& i = *facts_.instrs[n].instr;
    const auto add = [&](const ir::Access& a, Kind kind) {
      if (facts_.TensorOf(a).buffer == isa::Buffer::kPsum)
        events_[facts_.StorageOf(a)].push_back({kind, &a, n});
    };
    for (const ir::Access* a : Sources(i)) add(*a, Kind::kRead);
    for (const ir::Access* a : Destinations(i)) {
      if (i.op == isa::Opcode::kNcMatmul) {
        add(*a, i.attrs.accumulate ? Kind::kAccumulate : Kind::kOverwrite);
      } else if (i.op == isa::Opcode::kMemset && i.attrs.value == 0) {
        add(*a, Kind::kClear);
      } else {
        add(*a, Kind::kWrite);
      }
    }
  }

  // All uses take the same elements, whichever iteration they belong to, and none depends on a mask.
  bool Followable(ir::TensorId storage, const std::vector<Event>& events) const {
    return std::all_of(events.begin(), events.end(), [&](const Event& e) {
      return e.access->tensor == storage && e.access->mask.empty() &&
             (e.kind == Kind::kRead || SameElements(*e.access, *events[0].access) ||
              SameBox(*e.access, *events[0].access));
    });
  }

  // The same elements in another order or shape: the whole tile.
  bool SameBox(const ir::Access& a, const ir::Access& b) const {
    for (size_t k = 0; k < a.index.size(); ++k) {
      if (a.index[k].terms != b.index[k].terms || a.indirect_axis >= 0 || b.indirect_axis >= 0) return false;
      ir::Affine tile_a = a.index[k], tile_b = b.index[k];
      tile_a.terms.clear();
      tile_b.terms.clear();
      const ir::Range x = facts_.RangeOf(tile_a, a.shape), y = facts_.RangeOf(tile_b, b.shape);
      if (x.min != y.min || x.max != y.max) return false;
    }
    return true;
  }

  struct Group {
    bool open = false;      // matmuls have added to it
    bool read = false;      // since the last of them
    int disturbed_by = -1;  // the instruction that wrote in between
  };

  void Follow(ir::TensorId storage, const std::vector<Event>& events) {
    storage_ = storage;
    events_of_ = &events;
    done_ = false;
    Group group;
    // The iteration that creates the tile is one life; a kernel-level tile has one.
    Body(facts_.ScopeOf(storage), 0, events.size(), group);
  }

  // Events [first, last), all inside loop `scope`: inner loops run twice, so that each iteration meets the
  // next.
  void Body(int scope, size_t first, size_t last, Group& group) {
    size_t e = first;
    while (e < last && !done_ && ++work_ < kMaxWork) {
      int l = facts_.instrs[(*events_of_)[e].instr].loop;
      if (l == scope) {
        Step((*events_of_)[e], group);
        ++e;
        continue;
      }
      while (l != -1 && facts_.ParentOf(l) != scope) l = facts_.ParentOf(l);
      if (l == -1) return;  // not inside the scope: a use that other rules refuse
      size_t end = e;
      while (end < last && (*events_of_)[end].instr < facts_.loops[static_cast<size_t>(l)].end) ++end;
      const ir::Loop& inner = *facts_.loops[static_cast<size_t>(l)].loop;
      const bool moves = Moves(inner.symbol);
      work_ += static_cast<int64_t>(events_of_->size());
      const bool again = inner.trips > 1 && inner.kind != ir::LoopKind::kSpmd && !moves;
      for (int time = 0; time < (again ? 2 : 1) && !done_; ++time) {
        if (moves) group = {};
        Body(l, e, end, group);
      }
      // Other elements in each iteration: what is left belongs to the last of them.
      if (moves) group = {};
      e = end;
    }
  }

  bool Moves(ir::SymbolId symbol) const {
    return std::any_of(events_of_->begin(), events_of_->end(), [&](const Event& e) {
      return std::any_of(e.access->index.begin(), e.access->index.end(), [&](const ir::Affine& a) {
        return std::any_of(a.terms.begin(), a.terms.end(), [&](const ir::Affine::Term& t) {
          return t.symbol == symbol || facts_.loop_of_symbol[static_cast<size_t>(t.symbol)] == -1;
        });
      });
    });
  }

  void Step(const Event& e, Group& group) {
    switch (e.kind) {
      case Kind::kRead:
        group.read = true;
        return;
      case Kind::kAccumulate:
        if (group.open && group.disturbed_by >= 0) {
          Report(static_cast<size_t>(group.disturbed_by), e.instr);
          return;
        }
        group = {true, false, -1};
        return;
      case Kind::kOverwrite:
      case Kind::kClear:
        if (group.open && !group.read && group.disturbed_by < 0) {
          ReportLost(e.instr);
          return;
        }
        group = {e.kind == Kind::kOverwrite, false, -1};
        return;
      case Kind::kWrite:
        if (group.open) group.disturbed_by = static_cast<int>(e.instr);
        return;
    }
  }

  std::string TileText() const {
    const ir::Tensor& t = facts_.program.tensors[static_cast<size_t>(storage_)];
    return absl::StrCat("psum tile '", t.name, "' ", ShapeText(t.shape));
  }

  void Report(size_t writer, size_t matmul) {
    done_ = true;
    const ir::Instr& w = *facts_.instrs[writer].instr;
    found_.push_back(Finding(
        Severity::kWarning, "psum_accumulation_broken", w.loc,
        absl::StrCat("'", isa::RowOf(w.op).name, "' writes ", TileText(),
                     " between matmuls that accumulate into it (the next one in line ",
                     facts_.instrs[matmul].instr->loc.line, "), which breaks the accumulation group up"),
        "only matmuls write a tile while they accumulate into it", absl::StrCat("a ", isa::RowOf(w.op).name),
        "finish the sum, copy it to SBUF and go on there, or start a new PSUM tile"));
  }

  void ReportLost(size_t clears) {
    done_ = true;
    const ir::Instr& w = *facts_.instrs[clears].instr;
    found_.push_back(Finding(
        Severity::kWarning, "psum_accumulation_broken", w.loc,
        absl::StrCat("'", isa::RowOf(w.op).name, "' starts ", TileText(),
                     " anew before anything has read the sum of the matmuls before; that sum is lost"),
        "a sum is read before its tile is used again", "never read",
        "clear the tile before the loop, not in it; use += to go on with a sum"));
  }

  const Facts& facts_;
  Findings& found_;
  std::map<ir::TensorId, std::vector<Event>> events_;  // by storage, in program order
  ir::TensorId storage_ = ir::kNoTensor;
  const std::vector<Event>* events_of_ = nullptr;
  bool done_ = false;
  int64_t work_ = 0;
};

}  // namespace

void CheckAccumulation(const Facts& facts, Findings& found) { Checker(facts, found).Run(); }

}  // namespace nkiagent::nki::check
