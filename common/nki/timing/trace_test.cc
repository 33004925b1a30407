// The trace as a viewer reads it: parsed by a JSON library, checked against the rules of the Trace Event
// Format.
#include "common/nki/timing/trace.h"

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/nki/ir/serialize.h"
#include "common/nki/ir/testing/program_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::timing {
namespace {

using ir::LoopKind;
using ir::SymbolId;
using ir::TensorId;
using ir::testing::Const;
using ir::testing::Dim;
using ir::testing::Imm;
using ir::testing::ProgramBuilder;
using ir::testing::Sym;
using ir::testing::Tile;
using isa::AluOp;
using isa::Opcode;
using nlohmann::json;

using Build = std::function<void(ProgramBuilder&)>;

// y = x @ x for each of `blocks` row blocks: all engines but GpSimd work.
void MatmulAndAdd(ProgramBuilder& b, int64_t blocks, LoopKind kind = LoopKind::kAffine) {
  const TensorId x = b.Input("x", {blocks * 128, 128}), y = b.Output("y", {blocks * 128, 128});
  const SymbolId i = b.BeginLoop("i", blocks, kind);
  const auto rows = [&](TensorId id) { return Tile(id, {128, 128}, {Sym(i, 128) + Dim(0), Dim(1)}); };
  const TensorId t = b.Sbuf("t", {128, 128}), sum = b.Psum("sum", {128, 128}), u = b.Sbuf("u", {128, 128});
  b.Emit(Opcode::kDmaCopy, {b.Whole(t)}, {rows(x)});
  b.Emit(Opcode::kNcMatmul, {b.Whole(sum)}, {b.Whole(t), b.Whole(t)});
  ir::Attrs add;
  add.op0 = AluOp::kAdd;
  b.Emit(Opcode::kTensorTensor, {b.Whole(u)}, {b.Whole(sum), b.Whole(t)}, add);
  ir::Attrs exp;
  exp.act = isa::ActFn::kExp;
  b.Emit(Opcode::kActivation, {b.Whole(u)}, {b.Whole(u), ir::testing::None(), Imm(1)}, exp);
  b.Emit(Opcode::kDmaCopy, {rows(y)}, {b.Whole(u)});
}

struct Trace {
  json document;
  Estimate estimate;
  std::map<int, std::string> tracks;  // by thread
  // Slices of each track, by its name.
  std::map<std::string, std::vector<json>> slices;
};

Trace TraceOf(const Build& build, const TraceOptions& options = {}, const std::string& source = "") {
  ProgramBuilder b;
  build(b);
  const ir::Program p = b.Build();
  const absl::StatusOr<std::string> text = TraceJson(p, source, options);
  EXPECT_TRUE(text.ok()) << text.status();
  Trace t;
  t.document = json::parse(*text);
  t.estimate = *EstimateLatency(p);
  for (const json& e : t.document["traceEvents"]) {
    if (e["ph"] == "M" && e["name"] == "thread_name") t.tracks[e["tid"]] = e["args"]["name"];
  }
  for (const json& e : t.document["traceEvents"]) {
    if (e["ph"] == "X") t.slices[t.tracks[e["tid"]]].push_back(e);
  }
  return t;
}

double BusyOf(const Trace& t, const std::string& track) {
  double busy = 0;
  for (const auto& [name, slices] : t.slices) {
    if (name.rfind(track, 0) != 0) continue;
    for (const json& s : slices) busy += s["args"].value("busy_us", 0.0);
  }
  return busy;
}

void ExpectWellFormed(const Trace& t) {
  std::map<int64_t, int> flows;
  for (const json& e : t.document["traceEvents"]) {
    ASSERT_TRUE(e["ph"].is_string() && e["name"].is_string() && e["pid"].is_number_integer() &&
                e["tid"].is_number_integer())
        << e;
    const std::string phase = e["ph"];
    EXPECT_NE(std::string("XMCsf").find(phase), std::string::npos) << e;
    if (phase == "M") continue;
    ASSERT_TRUE(e["ts"].is_number()) << e;
    EXPECT_GE(e["ts"].get<double>(), 0) << e;
    if (phase == "X") {
      EXPECT_GE(e["dur"].get<double>(), 0) << e;
      EXPECT_LE(e["ts"].get<double>() + e["dur"].get<double>(), t.estimate.latency_us * 1.001 + 0.01) << e;
      EXPECT_TRUE(t.tracks.count(e["tid"])) << e;
    }
    if (phase == "C") {
      ASSERT_EQ(e["args"].size(), 1U) << e;
      EXPECT_TRUE(e["args"].begin()->is_number()) << e;
    }
    if (phase == "s") flows[e["id"]] += 1;
    if (phase == "f") {
      flows[e["id"]] += 100;
      EXPECT_EQ(e["bp"], "e") << e;
    }
  }
  for (const auto& [id, ends] : flows) EXPECT_EQ(ends, 101) << "flow " << id << " lacks an end";
  // Slices of one track either follow each other or nest.
  for (const auto& [name, slices] : t.slices) {
    if (name == "DMA queues, repeated iterations") continue;
    std::vector<std::pair<double, double>> spans;
    for (const json& s : slices) {
      spans.emplace_back(s["ts"].get<double>(), s["ts"].get<double>() + s["dur"].get<double>());
    }
    std::sort(spans.begin(), spans.end());
    for (size_t k = 1; k < spans.size(); ++k) EXPECT_LE(spans[k - 1].second, spans[k].first + 1e-6) << name;
  }
}

void ExpectBusyAddsUp(const Trace& t) {
  const std::pair<const char*, isa::Engine> engines[] = {
      {"Tensor", isa::Engine::kTensor}, {"Vector", isa::Engine::kVector}, {"Scalar", isa::Engine::kScalar},
      {"GpSimd", isa::Engine::kGpSimd}, {"Sync", isa::Engine::kSync},     {"DMA", isa::Engine::kDma}};
  for (const auto& [name, engine] : engines) {
    const double want = t.estimate.busy_us[static_cast<size_t>(engine)];
    EXPECT_NEAR(BusyOf(t, name), want, 1e-3 * want + 1e-3) << name;
  }
}

TEST(Trace, HasATrackForEachEngineWithSlicesThatAddUpToItsBusyTime) {
  const Trace t = TraceOf([](auto& b) { MatmulAndAdd(b, 3); });
  ExpectWellFormed(t);
  ExpectBusyAddsUp(t);
  std::set<std::string> names;
  for (const auto& [thread, name] : t.tracks) names.insert(name);
  for (const char* want :
       {"Tensor engine", "Vector engine", "Scalar engine", "GpSimd engine", "Sync engine", "DMA queue 0"}) {
    EXPECT_TRUE(names.count(want)) << want;
  }
  // Nothing is compressed in so short a program: on an engine, durations are busy time.
  double durations = 0;
  for (const json& s : t.slices.at("Vector engine")) durations += s["dur"].get<double>();
  EXPECT_NEAR(durations, t.estimate.busy_us[static_cast<size_t>(isa::Engine::kVector)], 1e-3);
  EXPECT_EQ(t.document["displayTimeUnit"], "ns");
}

TEST(Trace, SlicesSayWhatTheyDoAndWhatTheyWaitedFor) {
  const Trace t = TraceOf([](auto& b) { MatmulAndAdd(b, 2); }, {}, "load = 1\nmatmul(t)  # here\nadd\n");
  const json& matmul = t.slices.at("Tensor engine")[1];
  EXPECT_EQ(matmul["name"], "nc_matmul");
  const json& args = matmul["args"];
  EXPECT_EQ(args["line"], 2);
  EXPECT_EQ(args["source"], "matmul(t)  # here");
  EXPECT_EQ(args["loops"]["i"], 1);
  EXPECT_EQ(args["flops"], 2.0 * 128 * 128 * 128);
  EXPECT_GT(args["cycles"], 128);
  EXPECT_EQ(args["psum_written_bytes"], 128 * 128 * 4);
  EXPECT_EQ(args["dst"], "sum [128, 128] float32 in psum");
  const json& first = t.slices.at("Tensor engine")[0];
  EXPECT_EQ(first["args"]["waited_for"], "data: t, dma_copy of line 1");
  EXPECT_GT(first["args"]["idle_before_us"], 1.0);
  const json& load = t.slices.at("DMA queue 0")[0];
  EXPECT_EQ(load["args"]["hbm_read_bytes"], 128 * 128 * 4);
  EXPECT_EQ(load["args"]["descriptors"], 128);
}

TEST(Trace, ArrowsLeadFromAResultToTheWorkThatWaitedForIt) {
  const Trace t = TraceOf([](auto& b) { MatmulAndAdd(b, 1); });
  int arrows = 0;
  for (const json& e : t.document["traceEvents"]) arrows += e["ph"] == "s" && e["name"] == "result";
  EXPECT_GE(arrows, 4);  // load -> matmul -> add -> exp -> store
}

TEST(Trace, CountersFollowTheLiveBytes) {
  const Trace t = TraceOf([](auto& b) { MatmulAndAdd(b, 2); });
  std::map<std::string, std::vector<double>> counters;
  for (const json& e : t.document["traceEvents"]) {
    if (e["ph"] == "C") counters[e["name"]].push_back(e["args"].begin()->get<double>());
  }
  const std::vector<double>& sbuf = counters.at("SBUF live bytes");
  EXPECT_GE(*std::max_element(sbuf.begin(), sbuf.end()), 2 * 128 * 128 * 4);
  EXPECT_EQ(sbuf.back(), 0);
  EXPECT_GE(*std::max_element(counters.at("PSUM live bytes").begin(), counters.at("PSUM live bytes").end()),
            128 * 2048);
  EXPECT_TRUE(counters.count("DMA GB/s"));
}

TEST(Trace, CompressesLoopsAndStillAddsUp) {
  const Trace t = TraceOf([](auto& b) { MatmulAndAdd(b, 100'000); });
  ExpectWellFormed(t);
  ExpectBusyAddsUp(t);
  size_t slices = 0;
  bool compressed = false;
  for (const auto& [name, list] : t.slices) {
    slices += list.size();
    for (const json& s : list) {
      compressed =
          compressed || (name == "Vector engine" && s["name"].get<std::string>().rfind("x ", 0) == 0);
    }
  }
  EXPECT_LT(slices, 2000U);
  EXPECT_TRUE(compressed);
}

TEST(Trace, StopsAtItsLimitAndSaysSo) {
  TraceOptions options;
  options.max_slices = 20;
  const Trace t = TraceOf([](auto& b) { MatmulAndAdd(b, 64, LoopKind::kSequential); }, options);
  ExpectWellFormed(t);
  ExpectBusyAddsUp(t);
  EXPECT_GT(t.document["otherData"]["slices_left_out"], 0);
}

TEST(Trace, ShowsSpillsAsDmaTime) {
  const Trace t = TraceOf([](auto& b) {
    const TensorId x = b.Input("x", {128, 60'000}), y = b.Output("y", {128, 60'000});
    const TensorId s = b.Sbuf("s", {128, 30'000}), u = b.Sbuf("u", {128, 30'000});
    b.Emit(Opcode::kDmaCopy, {b.Whole(s)}, {Tile(x, {128, 30'000}, {Dim(0), Dim(1)})});
    b.Emit(Opcode::kDmaCopy, {b.Whole(u)}, {Tile(x, {128, 30'000}, {Dim(0), Const(30'000) + Dim(1)})});
    b.Emit(Opcode::kDmaCopy, {Tile(y, {128, 30'000}, {Dim(0), Dim(1)})}, {b.Whole(s)});
    b.Emit(Opcode::kDmaCopy, {Tile(y, {128, 30'000}, {Dim(0), Const(30'000) + Dim(1)})}, {b.Whole(u)});
  });
  EXPECT_GT(t.estimate.spill_bytes, 0);
  ExpectBusyAddsUp(t);
}

TEST(Trace, KeepsHostileNamesInsideTheirStrings) {
  const Trace t = TraceOf(
      [](auto& b) {
        const TensorId x = b.Input("x", {128, 4}), y = b.Output("y", {128, 4});
        const TensorId s = b.Sbuf("\"},{\xff\n", {128, 4});
        b.Emit(Opcode::kDmaCopy, {b.Whole(s)}, {b.Whole(x)});
        b.Emit(Opcode::kDmaCopy, {b.Whole(y)}, {b.Whole(s)});
      },
      {}, "\x80\x81 \"quoted\"\n");
  ExpectWellFormed(t);
}

TEST(Trace, TakesAnyProgramThatParses) {
  ProgramBuilder b;
  MatmulAndAdd(b, 3);
  const std::string bytes = ir::Serialize(b.Build());
  std::mt19937 rng(7);
  int parsed = 0;
  TraceOptions options;
  options.timing.max_simulated_instructions = 2000;
  options.max_slices = 50;
  for (int round = 0; round < 4000; ++round) {
    std::string mutated = bytes;
    for (int k = 0; k < 1 + round % 3; ++k) mutated[rng() % mutated.size()] = static_cast<char>(rng());
    const absl::StatusOr<ir::Program> p = ir::Parse(mutated);
    if (!p.ok()) continue;
    const absl::StatusOr<std::string> text = TraceJson(*p, "", options);
    if (!text.ok()) continue;
    ++parsed;
    EXPECT_TRUE(json::accept(*text));
  }
  EXPECT_GT(parsed, 100);
}

}  // namespace
}  // namespace nkiagent::nki::timing
