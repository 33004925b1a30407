#include "services/verify/mismatch_patterns.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/verify/elements.h"

namespace nkiagent::verify {
namespace {

// Share of the sample that a relation must explain.
constexpr double kAgreement = 0.97;
// Shifts tried in each direction, beside the tile sizes of the hardware.
constexpr int64_t kMaxShift = 160;
// Elements decoded at a time.
constexpr size_t kBlock = 1024;
// Rows whose own factor or offset is looked for, and elements of each.
constexpr size_t kMaxRows = 64;
constexpr size_t kMinRowElements = 4;

struct Sample {
  int64_t index = 0;
  double expected = 0;
  double actual = 0;
};

std::string Number(double value) { return absl::StrFormat("%.5g", value); }

class Finder {
 public:
  explicit Finder(const MismatchedTensor& tensor) : t_(tensor), bad_(tensor.dims.size()) {
    for (size_t axis = 0; axis < t_.dims.size(); ++axis)
      bad_[axis].resize(static_cast<size_t>(t_.dims[axis]));
    strides_.resize(t_.dims.size());
    int64_t stride = 1;
    for (size_t axis = t_.dims.size(); axis-- > 0;) {
      strides_[axis] = stride;
      stride *= t_.dims[axis];
    }
    total_ = stride;
  }

  std::vector<MismatchPattern> Find() {
    Scan();
    std::vector<MismatchPattern> patterns = Regions();
    for (const auto& relation :
         {&Finder::Constant, &Finder::Scale, &Finder::Offset, &Finder::Shift, &Finder::Transpose,
          &Finder::Precision, &Finder::RowScale, &Finder::RowOffset}) {
      if (static_cast<int64_t>(samples_.size()) < kMinPatternSamples) break;
      if (std::optional<MismatchPattern> pattern = (this->*relation)()) {
        patterns.push_back(*std::move(pattern));
        break;
      }
    }
    return patterns;
  }

 private:
  bool Close(double actual, double expected) const {
    return actual == expected ||
           (std::isfinite(expected) && std::abs(actual - expected) <= t_.atol + t_.rtol * std::abs(expected));
  }

  double Element(absl::Span<const uint8_t> bytes, int64_t index) const {
    double value = 0;
    const auto width = static_cast<size_t>(nki::isa::SizeOf(t_.type));
    DecodeElements(t_.type, bytes.data() + static_cast<size_t>(index) * width, 1, &value);
    return value;
  }
  double Expected(int64_t index) const { return Element(t_.expected, index); }

  // Marks the indices along each axis that have a mismatch, and takes the sample of values (finite ones).
  void Scan() {
    const int64_t stride = std::max<int64_t>(1, t_.mismatched / kPatternSamples);
    const auto width = static_cast<size_t>(nki::isa::SizeOf(t_.type));
    std::array<double, kBlock> e;
    std::array<double, kBlock> a;
    int64_t seen = 0;
    for (int64_t begin = 0; begin < total_; begin += static_cast<int64_t>(kBlock)) {
      const size_t count = std::min<size_t>(kBlock, static_cast<size_t>(total_ - begin));
      DecodeElements(t_.type, t_.expected.data() + static_cast<size_t>(begin) * width, count, e.data());
      DecodeElements(t_.type, t_.actual.data() + static_cast<size_t>(begin) * width, count, a.data());
      for (size_t i = 0; i < count; ++i) {
        if (Close(a[i], e[i])) continue;
        if (t_.nan == NanRule::kPassesWhereExpected && std::isnan(a[i]) && std::isnan(e[i])) continue;
        const int64_t index = begin + static_cast<int64_t>(i);
        for (size_t axis = 0; axis < bad_.size(); ++axis) {
          bad_[axis][static_cast<size_t>(index / strides_[axis] % t_.dims[axis])] = true;
        }
        if (seen++ % stride != 0 || !std::isfinite(e[i]) || !std::isfinite(a[i])) continue;
        samples_.push_back({index, e[i], a[i]});
      }
    }
  }

  // Axes along which a part is right.
  std::vector<MismatchPattern> Regions() const {
    std::vector<MismatchPattern> patterns;
    for (size_t axis = 0; axis < bad_.size(); ++axis) {
      const std::vector<bool>& bad = bad_[axis];
      const auto count = static_cast<int64_t>(std::count(bad.begin(), bad.end(), true));
      const auto extent = static_cast<int64_t>(bad.size());
      if (count == 0 || count == extent) continue;
      MismatchPattern pattern{.kind = PatternKind::kRegion, .axis = static_cast<int>(axis)};
      pattern.first = std::find(bad.begin(), bad.end(), true) - bad.begin();
      pattern.last = extent - 1 - (std::find(bad.rbegin(), bad.rend(), true) - bad.rbegin());
      const int64_t span = pattern.last - pattern.first + 1;
      // A few right indices among wrong ones are luck.
      if (count != span && 4 * count > 3 * extent) continue;
      const std::string where = absl::StrCat("axis ", axis, " (", extent, " long): ");
      if (count == 1) {
        pattern.text = absl::StrCat(where, "only index ", pattern.first, " is wrong");
      } else if (count == span) {
        pattern.text =
            absl::StrCat(where, "only indices ", pattern.first, " to ", pattern.last, " are wrong");
      } else {
        pattern.text = absl::StrCat(where, count, " of the indices ", pattern.first, " to ", pattern.last,
                                    " are wrong", Period(bad, count));
      }
      if (count == span && pattern.last == extent - 1 && pattern.first > 0) {
        absl::StrAppend(&pattern.text,
                        "; a wrong tail suggests the last, partial tile: its loop bound or mask");
      } else if (count == span && pattern.first == 0) {
        absl::StrAppend(&pattern.text,
                        "; a wrong head suggests an initial value or an index that starts elsewhere");
      }
      patterns.push_back(std::move(pattern));
    }
    return patterns;
  }

  // ", all of them 3 modulo 4" where the wrong indices are one residue.
  static std::string Period(const std::vector<bool>& bad, int64_t count) {
    if (count < 3) return "";
    for (const size_t period : {512, 256, 128, 64, 32, 16, 8, 4, 3, 2}) {
      if (2 * period > bad.size()) continue;
      std::vector<bool> residues(period);
      for (size_t i = 0; i < bad.size(); ++i) {
        if (bad[i]) residues[i % period] = true;
      }
      if (std::count(residues.begin(), residues.end(), true) != 1) continue;
      const auto residue = std::find(residues.begin(), residues.end(), true) - residues.begin();
      return absl::StrCat(", all of them ", residue, " modulo ", period);
    }
    return "";
  }

  bool Explains(const std::function<bool(const Sample&)>& relation) const {
    const auto agree = std::count_if(samples_.begin(), samples_.end(), relation);
    return static_cast<double>(agree) >= kAgreement * static_cast<double>(samples_.size());
  }

  std::optional<MismatchPattern> Constant() {
    const double value = samples_.front().actual;
    if (!Explains([&](const Sample& s) { return s.actual == value; })) return std::nullopt;
    if (std::all_of(samples_.begin(), samples_.end(),
                    [&](const Sample& s) { return s.expected == samples_.front().expected; })) {
      return std::nullopt;
    }
    MismatchPattern pattern{.kind = PatternKind::kConstant, .offset = value};
    pattern.text =
        absl::StrCat("every wrong element is ", Number(value),
                     value == 0 ? "; that suggests a result that is never computed or a tile that is stored "
                                  "before it is filled"
                                : "; that suggests an initial value that was never replaced");
    return pattern;
  }

  // The median of a quantity of each sample.
  template <typename Quantity>
  static double Median(const std::vector<Sample>& samples, Quantity quantity) {
    std::vector<double> values;
    values.reserve(samples.size());
    for (const Sample& s : samples) values.push_back(quantity(s));
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  }

  static double Ratio(const Sample& s) { return s.expected == 0 ? 0 : s.actual / s.expected; }
  static double Difference(const Sample& s) { return s.actual - s.expected; }

  std::optional<MismatchPattern> Scale() {
    const double factor = Median(samples_, Ratio);
    if (factor == 0 || !std::isfinite(factor) || std::abs(factor - 1) < 0.02) return std::nullopt;
    if (!Explains([&](const Sample& s) { return Close(s.actual, factor * s.expected); })) return std::nullopt;
    if (std::abs(factor + 1) < 1e-3) {
      MismatchPattern pattern{.kind = PatternKind::kSign, .factor = factor};
      pattern.text = "kernel = -expected; that suggests swapped operands of a subtraction or a lost minus";
      return pattern;
    }
    MismatchPattern pattern{.kind = PatternKind::kScale, .factor = factor};
    pattern.text = absl::StrCat("kernel = ", Number(factor), " * expected", Origin(factor),
                                "; that suggests a wrong or missing scale factor");
    return pattern;
  }

  // Where a factor may come from: an extent, its inverse, or their square roots.
  std::string Origin(double factor) const {
    const auto equal = [&](double value) { return std::abs(factor - value) <= 2e-3 * std::abs(value); };
    for (size_t axis = 0; axis < t_.dims.size(); ++axis) {
      const auto extent = static_cast<double>(t_.dims[axis]);
      if (extent < 3) continue;
      const std::string name = absl::StrCat("the extent of axis ", axis);
      if (equal(extent)) return absl::StrCat(", which is ", name);
      if (equal(1 / extent)) return absl::StrCat(", which is 1 / ", name);
      if (equal(std::sqrt(extent))) return absl::StrCat(", which is the square root of ", name);
      if (equal(1 / std::sqrt(extent))) return absl::StrCat(", which is 1 / square root of ", name);
    }
    return "";
  }

  std::optional<MismatchPattern> Offset() {
    const double offset = Median(samples_, Difference);
    if (offset == 0 || !Explains([&](const Sample& s) { return Close(s.actual, s.expected + offset); })) {
      return std::nullopt;
    }
    MismatchPattern pattern{.kind = PatternKind::kOffset, .offset = offset};
    pattern.text = absl::StrCat("kernel = expected + ", Number(offset),
                                "; that suggests a constant that is added twice, missing or wrong");
    return pattern;
  }

  // Whether actual = expected at another place, for those samples whose other place exists.
  bool ExplainedByMove(const std::function<std::optional<int64_t>(int64_t)>& move) const {
    int64_t inside = 0;
    int64_t agree = 0;
    for (const Sample& s : samples_) {
      const std::optional<int64_t> other = move(s.index);
      if (!other.has_value()) continue;
      ++inside;
      agree += Close(s.actual, Expected(*other));
      // A wrong move is known by its first elements; only a right one is looked at to the end.
      if (inside == 16 && agree < 12) return false;
    }
    return inside >= kMinPatternSamples && 2 * inside >= static_cast<int64_t>(samples_.size()) &&
           static_cast<double>(agree) >= kAgreement * static_cast<double>(inside);
  }

  std::optional<MismatchPattern> Shift() {
    for (size_t axis = 0; axis < t_.dims.size(); ++axis) {
      std::vector<int64_t> shifts;
      for (int64_t k = 1; k <= std::min(kMaxShift, t_.dims[axis] - 1); ++k) shifts.push_back(k);
      for (const int64_t tile : {256, 512, 1024, 2048}) {
        if (tile < t_.dims[axis]) shifts.push_back(tile);
      }
      for (const int64_t distance : shifts) {
        for (const int64_t shift : {-distance, distance}) {
          const auto move = [&](int64_t index) -> std::optional<int64_t> {
            const int64_t place = index / strides_[axis] % t_.dims[axis] + shift;
            if (place < 0 || place >= t_.dims[axis]) return std::nullopt;
            return index + shift * strides_[axis];
          };
          if (!ExplainedByMove(move)) continue;
          MismatchPattern pattern{
              .kind = PatternKind::kShift, .axis = static_cast<int>(axis), .shift = shift};
          pattern.text =
              absl::StrCat("kernel[i] = expected[i", shift < 0 ? " - " : " + ", distance, "] along axis ",
                           axis, "; that suggests ",
                           distance % 128 == 0 ? "a tile that is loaded or stored at its neighbour's place"
                                               : "an index that is off by that much");
          return pattern;
        }
      }
    }
    return std::nullopt;
  }

  std::optional<MismatchPattern> Transpose() {
    const size_t rank = t_.dims.size();
    for (size_t a = 0; a + 1 < rank; ++a) {
      for (size_t b = a + 1; b < rank; ++b) {
        if (t_.dims[a] == 1 || t_.dims[b] == 1) continue;
        std::vector<int64_t> swapped(t_.dims.begin(), t_.dims.end());
        std::swap(swapped[a], swapped[b]);
        const auto move = [&](int64_t index) -> std::optional<int64_t> {
          std::vector<int64_t> place = Unravel(index, swapped);
          std::swap(place[a], place[b]);
          int64_t other = 0;
          for (size_t axis = 0; axis < rank; ++axis) other += place[axis] * strides_[axis];
          return other;
        };
        if (!ExplainedByMove(move)) continue;
        MismatchPattern pattern{.kind = PatternKind::kTranspose, .axis = static_cast<int>(a)};
        pattern.text = absl::StrCat("the kernel's elements are in the order of axes ", a, " and ", b,
                                    " swapped; that suggests a missing or an extra transpose");
        return pattern;
      }
    }
    return std::nullopt;
  }

  // bfloat16 keeps 8 bits, float16 11. Sums of such values err by the size of their terms, so an element near
  // zero is measured against the tensor's own scale.
  std::optional<MismatchPattern> Precision() {
    if (nki::isa::SizeOf(t_.type) < 4 || !nki::isa::IsFloat(t_.type)) return std::nullopt;
    double squares = 0;
    for (const Sample& s : samples_) squares += s.expected * s.expected;
    const double scale = std::sqrt(squares / static_cast<double>(samples_.size()));
    const auto relative = [&](const Sample& s) {
      return std::abs(s.actual - s.expected) / std::max(std::abs(s.expected) + scale, 1e-30);
    };
    if (!Explains([&](const Sample& s) { return relative(s) < 1.0 / 128; })) return std::nullopt;
    MismatchPattern pattern{.kind = PatternKind::kPrecision};
    pattern.text =
        absl::StrCat("all wrong elements are near: median error ", Number(Median(samples_, relative)),
                     " of their size; that suggests arithmetic or a tile in a 16-bit type, or a function "
                     "that is approximated");
    return pattern;
  }

  // Samples by the row (all axes but the last) that they lie in.
  std::vector<std::vector<Sample>> Rows() const {
    std::map<int64_t, std::vector<Sample>> rows;
    for (const Sample& s : samples_) rows[s.index / t_.dims.back()].push_back(s);
    std::vector<std::vector<Sample>> kept;
    for (auto& [row, samples] : rows) {
      if (samples.size() >= kMinRowElements && kept.size() < kMaxRows) kept.push_back(std::move(samples));
    }
    return kept;
  }

  // Whether one number of a row explains each row.
  template <typename Quantity, typename Relation>
  bool ExplainedByRow(Quantity quantity, Relation relation) const {
    const std::vector<std::vector<Sample>> rows = Rows();
    if (rows.size() < 2) return false;
    size_t agree = 0;
    size_t count = 0;
    for (const std::vector<Sample>& row : rows) {
      const double value = Median(row, quantity);
      for (const Sample& s : row) agree += Close(s.actual, relation(s.expected, value));
      count += row.size();
    }
    return static_cast<double>(agree) >= kAgreement * static_cast<double>(count);
  }

  std::optional<MismatchPattern> RowScale() {
    if (!ExplainedByRow(Ratio, [](double expected, double factor) { return expected * factor; }))
      return std::nullopt;
    MismatchPattern pattern{.kind = PatternKind::kRowScale};
    pattern.text =
        "each row (last axis) is off by a factor of its own; that suggests the sum, norm or variance that a "
        "row is "
        "divided by";
    return pattern;
  }

  std::optional<MismatchPattern> RowOffset() {
    if (!ExplainedByRow(Difference, [](double expected, double offset) { return expected + offset; }))
      return std::nullopt;
    MismatchPattern pattern{.kind = PatternKind::kRowOffset};
    pattern.text =
        "each row (last axis) is off by a summand of its own; that suggests the mean, maximum or bias that a "
        "row is "
        "moved by";
    return pattern;
  }

  const MismatchedTensor& t_;
  int64_t total_ = 0;
  std::vector<int64_t> strides_;
  std::vector<std::vector<bool>> bad_;  // by axis and index
  std::vector<Sample> samples_;
};

}  // namespace

std::vector<MismatchPattern> FindMismatchPatterns(const MismatchedTensor& tensor) {
  // Most tensors are right, and are asked about once for each trial: those cost nothing.
  if (tensor.mismatched <= 0) return {};
  return Finder(tensor).Find();
}

}  // namespace nkiagent::verify
