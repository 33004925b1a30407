#include "services/compile/compile_request.h"

#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/nki/ir/validate.h"

namespace nkiagent::compile {
namespace {

// The element types that cross the kernel boundary. bool travels as uint8 and int64 as int32 (tensor.proto).
constexpr std::pair<common::v1::DataType, nki::isa::DType> kDTypes[] = {
    {common::v1::DATA_TYPE_FLOAT32, nki::isa::DType::kFloat32},
    {common::v1::DATA_TYPE_TFLOAT32, nki::isa::DType::kTFloat32},
    {common::v1::DATA_TYPE_BFLOAT16, nki::isa::DType::kBFloat16},
    {common::v1::DATA_TYPE_FLOAT16, nki::isa::DType::kFloat16},
    {common::v1::DATA_TYPE_FLOAT8_E4M3, nki::isa::DType::kFloat8E4M3},
    {common::v1::DATA_TYPE_FLOAT8_E5M2, nki::isa::DType::kFloat8E5M2},
    {common::v1::DATA_TYPE_INT8, nki::isa::DType::kInt8},
    {common::v1::DATA_TYPE_INT16, nki::isa::DType::kInt16},
    {common::v1::DATA_TYPE_INT32, nki::isa::DType::kInt32},
    {common::v1::DATA_TYPE_UINT8, nki::isa::DType::kUInt8},
    {common::v1::DATA_TYPE_UINT16, nki::isa::DType::kUInt16},
    {common::v1::DATA_TYPE_UINT32, nki::isa::DType::kUInt32},
};

bool IsIdentifier(absl::string_view text) {
  if (text.empty() || text.size() > 256 || absl::ascii_isdigit(static_cast<unsigned char>(text[0])))
    return false;
  for (const char c : text) {
    if (c != '_' && !absl::ascii_isalnum(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

template <class... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status ValidateArgument(const common::v1::TensorSpec& spec, int position,
                              std::set<std::string>& names) {
  const std::string what = absl::StrCat("arguments[", position, "]");
  if (!IsIdentifier(spec.name())) {
    return Invalid(what, ".name '", spec.name().substr(0, 64),
                   "' is not an identifier of at most 256 characters");
  }
  if (!names.insert(spec.name()).second) return Invalid(what, ".name '", spec.name(), "' is used twice");
  if (DTypeName(spec.dtype()).empty()) {
    return Invalid(what, " '", spec.name(), "': dtype ", common::v1::DataType_Name(spec.dtype()),
                   " can't cross the kernel boundary");
  }
  if (spec.dims_size() < 1 || spec.dims_size() > kMaxRank) {
    return Invalid(what, " '", spec.name(), "': rank ", spec.dims_size(), " is outside 1..", kMaxRank);
  }
  int64_t elements = 1;
  for (const int64_t dim : spec.dims()) {
    if (dim < 1) return Invalid(what, " '", spec.name(), "': dimension ", dim, " is under 1");
    if (dim > nki::ir::kMaxTensorElements / elements) {
      return Invalid(what, " '", spec.name(), "': more than ", nki::ir::kMaxTensorElements, " elements");
    }
    elements *= dim;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateCompileRequest(const v1::CompileRequest& request) {
  const common::v1::KernelSource& kernel = request.kernel();
  if (kernel.source().empty()) return Invalid("kernel.source is empty");
  if (kernel.source().size() > kMaxSourceBytes) {
    return Invalid("kernel.source has ", kernel.source().size(), " bytes > ", kMaxSourceBytes, " (4 MiB)");
  }
  if (!IsIdentifier(EntryName(kernel))) {
    return Invalid("kernel.entry_name '", kernel.entry_name().substr(0, 64), "' is not an identifier");
  }
  if (kernel.grid_dims_size() > kMaxGridRank) {
    return Invalid("kernel.grid_dims has ", kernel.grid_dims_size(), " dimensions > ", kMaxGridRank);
  }
  int64_t programs = 1;
  for (const int32_t extent : kernel.grid_dims()) {
    if (extent < 1) return Invalid("kernel.grid_dims: extent ", extent, " is under 1");
    programs *= extent;
    if (programs > kMaxGridPrograms)
      return Invalid("kernel.grid_dims: more than ", kMaxGridPrograms, " programs");
  }
  if (request.arguments_size() > kMaxArguments) {
    return Invalid("arguments has ", request.arguments_size(), " entries > ", kMaxArguments);
  }
  if (request.timeline_max_slices() < 0 || request.timeline_max_slices() > kMaxTimelineSlices) {
    return Invalid("timeline_max_slices ", request.timeline_max_slices(), " is outside 0..",
                   kMaxTimelineSlices);
  }
  std::set<std::string> names;
  for (int i = 0; i < request.arguments_size(); ++i) {
    absl::Status valid = ValidateArgument(request.arguments(i), i, names);
    if (!valid.ok()) return valid;
  }
  if (request.constants_size() > kMaxConstants) {
    return Invalid("constants has ", request.constants_size(), " entries > ", kMaxConstants);
  }
  for (const common::v1::KernelConstant& constant : request.constants()) {
    if (!IsIdentifier(constant.name())) {
      return Invalid("constants: name '", constant.name().substr(0, 64), "' is not an identifier");
    }
    if (!names.insert(constant.name()).second)
      return Invalid("constants: name '", constant.name(), "' is used twice");
    if (constant.literal().empty() || constant.literal().size() > kMaxLiteralBytes) {
      return Invalid("constants: the literal of '", constant.name(), "' has ", constant.literal().size(),
                     " bytes, outside 1..", kMaxLiteralBytes);
    }
  }
  if (TargetName(request.target()).empty()) {
    return Invalid("target.hardware ", request.target().hardware(),
                   " is not modelled; supported: HARDWARE_TRN1");
  }
  if (SdkName(request.target()).empty()) {
    return Invalid("target.sdk_version ", request.target().sdk_version(),
                   " is not spoken; supported: SDK_VERSION_2_24");
  }
  const v1::CompileLimits& limits = request.limits();
  if (limits.max_instructions() < 0) return Invalid("limits.max_instructions is under 0");
  if (limits.has_wall_time() && (limits.wall_time().seconds() < 0 || limits.wall_time().nanos() < 0 ||
                                 (limits.wall_time().seconds() == 0 && limits.wall_time().nanos() == 0))) {
    return Invalid("limits.wall_time is not over 0");
  }
  return absl::OkStatus();
}

std::string EntryName(const common::v1::KernelSource& kernel) {
  return kernel.entry_name().empty() ? "nki_kernel" : kernel.entry_name();
}

std::string DTypeName(common::v1::DataType dtype) {
  for (const auto& [proto, own] : kDTypes) {
    if (proto == dtype) return std::string(nki::isa::Name(own));
  }
  return "";
}

common::v1::DataType DTypeOf(nki::isa::DType dtype) {
  for (const auto& [proto, own] : kDTypes) {
    if (own == dtype) return proto;
  }
  return dtype == nki::isa::DType::kBool ? common::v1::DATA_TYPE_BOOL : common::v1::DATA_TYPE_UNSPECIFIED;
}

std::string TargetName(const common::v1::Target& target) {
  switch (target.hardware()) {
    case common::v1::HARDWARE_UNSPECIFIED:
    case common::v1::HARDWARE_TRN1:
      return "trn1";
    default:
      return "";
  }
}

std::string SdkName(const common::v1::Target& target) {
  switch (target.sdk_version()) {
    case common::v1::SDK_VERSION_UNSPECIFIED:
    case common::v1::SDK_VERSION_2_24:
      return "2.24";
    default:
      return "";
  }
}

}  // namespace nkiagent::compile
