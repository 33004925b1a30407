#include "services/compile/compile_request.h"

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/contract/element_types.h"
#include "common/nki/ir/validate.h"

namespace nkiagent::compile {
namespace {

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
  if (!contract::ToIsa(spec.dtype()).has_value()) {
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
