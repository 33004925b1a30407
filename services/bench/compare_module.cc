// The extension module `_nki_compare`: verify-service's comparison for the benchmark's linter, so that what
// the linter proves about a task is what the judge does.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "common/nki/isa/types.h"
#include "services/verify/compare.h"
#include "services/verify/elements.h"

namespace nkiagent::bench {
namespace {

namespace py = pybind11;

absl::Span<const uint8_t> Bytes(const py::buffer_info& buffer) {
  return {static_cast<const uint8_t*>(buffer.ptr), static_cast<size_t>(buffer.size * buffer.itemsize)};
}

// max |actual - expected| / (atol + rtol * |expected|), infinity where one side alone is not finite: how much
// of the tolerance the worst element takes.
double UseOfTolerance(nki::isa::DType type, absl::Span<const uint8_t> expected,
                      absl::Span<const uint8_t> actual, double atol, double rtol) {
  const size_t count = expected.size() / static_cast<size_t>(nki::isa::SizeOf(type));
  std::vector<double> e(count);
  std::vector<double> a(count);
  verify::DecodeElements(type, expected.data(), count, e.data());
  verify::DecodeElements(type, actual.data(), count, a.data());
  double use = 0;
  for (size_t i = 0; i < count; ++i) {
    if (a[i] == e[i]) continue;
    if (!std::isfinite(a[i]) || !std::isfinite(e[i])) return std::numeric_limits<double>::infinity();
    use = std::max(use, std::abs(a[i] - e[i]) / (atol + rtol * std::abs(e[i])));
  }
  return use;
}

py::tuple Compare(const std::string& dtype, const py::buffer& expected, const py::buffer& actual, double atol,
                  double rtol) {
  const std::optional<nki::isa::DType> type = nki::isa::DTypeFromName(dtype);
  if (!type.has_value()) throw py::value_error("unknown element type " + dtype);
  const py::buffer_info left = expected.request();
  const py::buffer_info right = actual.request();
  const auto width = static_cast<size_t>(nki::isa::SizeOf(*type));
  if (Bytes(left).size() != Bytes(right).size() || Bytes(left).size() % width != 0) {
    throw py::value_error("both sides must hold the same whole number of elements");
  }
  const verify::Comparison result = verify::Compare(*type, Bytes(left), Bytes(right), atol, rtol);
  return py::make_tuple(result.within_tolerance, result.mismatched,
                        UseOfTolerance(*type, Bytes(left), Bytes(right), atol, rtol));
}

}  // namespace

PYBIND11_MODULE(_nki_compare, module) {
  module.doc() = "The comparison of verify-service.";
  module.def(
      "compare", &Compare, py::arg("dtype"), py::arg("expected"), py::arg("actual"), py::arg("atol"),
      py::arg("rtol"),
      "(within tolerance, mismatched elements, use of the tolerance) of two contiguous buffers of one type.");
}

}  // namespace nkiagent::bench
