#include "services/verify/rigor.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/contract/element_types.h"
#include "services/verify/elements.h"

namespace nkiagent::verify {
namespace {

constexpr double kSmallestTinyScale = 1.0 / 64;
constexpr double kConstantRowsScale = 8;
constexpr double kRoundings = 8;

}  // namespace

std::string FamilyName(v1::InputFamily family) {
  std::string name = v1::InputFamily_Name(family).substr(sizeof("INPUT_FAMILY_") - 1);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

bool MayHoldNan(v1::InputFamily family) {
  return family == v1::INPUT_FAMILY_NAN || family == v1::INPUT_FAMILY_INFINITE;
}

std::vector<TrialPlan> PlanTrials(absl::Span<const uint64_t> seeds, v1::Rigor rigor) {
  std::vector<TrialPlan> plans;
  for (const uint64_t seed : seeds) plans.push_back({seed, v1::INPUT_FAMILY_DRAWN});
  if (rigor == v1::RIGOR_HIGH) {
    for (int family = v1::INPUT_FAMILY_LARGE; family <= v1::InputFamily_MAX; ++family)
      plans.push_back({seeds.front(), static_cast<v1::InputFamily>(family)});
  }
  return plans;
}

double RootMeanSquare(common::v1::DataType type, absl::Span<const uint8_t> bytes) {
  const auto isa = contract::ToIsa(type);
  if (!isa.has_value()) return 0;
  const auto width = static_cast<size_t>(nki::isa::SizeOf(*isa));
  const size_t total = bytes.size() / width;
  std::array<double, 1024> block;
  double sum = 0;
  size_t finite = 0;
  for (size_t begin = 0; begin < total; begin += block.size()) {
    const size_t count = std::min(block.size(), total - begin);
    DecodeElements(*isa, bytes.data() + begin * width, count, block.data());
    for (size_t i = 0; i < count; ++i) {
      if (!std::isfinite(block[i])) continue;
      sum += block[i] * block[i];
      ++finite;
    }
  }
  return finite == 0 ? 0 : std::sqrt(sum / static_cast<double>(finite));
}

double FamilyAtol(double atol, v1::InputFamily family, double drawn_rms, double rms, double sensitivity) {
  if (family == v1::INPUT_FAMILY_DRAWN) return atol;
  const double ratio = drawn_rms > 0 ? rms / drawn_rms : 1;
  double scale = std::max(1.0, ratio);
  if (family == v1::INPUT_FAMILY_TINY) scale = std::clamp(ratio, kSmallestTinyScale, 1.0);
  if (family == v1::INPUT_FAMILY_CONSTANT_ROWS) scale *= kConstantRowsScale;
  return std::max(atol * scale, kRoundings * sensitivity);
}

void SummarizeFamilies(absl::Span<const TrialDataPtr> all, v1::Verdict& verdict) {
  for (int number = v1::INPUT_FAMILY_DRAWN; number <= v1::InputFamily_MAX; ++number) {
    const auto family = static_cast<v1::InputFamily>(number);
    v1::FamilyResult result;
    result.set_family(family);
    int judged = 0;
    int failed = 0;
    for (const v1::TrialResult& trial : verdict.trials()) {
      if (trial.family() != family) continue;
      ++judged;
      failed += trial.passed() ? 0 : 1;
    }
    for (const TrialDataPtr& trial : all) {
      if (trial->family == family && !trial->skipped.empty()) result.set_skipped(trial->skipped);
    }
    result.set_passed(judged > 0 && failed == 0);
    if (failed > 0) {
      result.set_message(
          absl::StrCat(failed, " of ", judged, failed == 1 ? " trials fails" : " trials fail"));
    } else if (judged == 0 && result.skipped().empty()) {
      result.set_skipped("a trial before it did not complete");
    }
    *verdict.add_families() = std::move(result);
  }
}

}  // namespace nkiagent::verify
