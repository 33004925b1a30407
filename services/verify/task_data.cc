#include "services/verify/task_data.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/storage/content_hash.h"

namespace nkiagent::verify {
bool IsIdentifier(absl::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && name.size() <= 128 && letter(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

absl::Status ValidateTolerance(const common::v1::Tolerance& tolerance) {
  for (const auto& [name, value] :
       {std::pair{"atol", tolerance.atol()}, std::pair{"rtol", tolerance.rtol()}}) {
    if (!std::isfinite(value) || value < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("tolerance.", name, " is ", value, ", not a number of at least 0"));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateTask(const common::v1::Task& task) {
  if (task.reference_source().empty()) return absl::InvalidArgumentError("task.reference_source is empty");
  if (task.reference_source().size() > kMaxSourceBytes) {
    return absl::InvalidArgumentError(absl::StrCat("task.reference_source has ",
                                                   task.reference_source().size(), " bytes > ",
                                                   kMaxSourceBytes, " (4 MiB)"));
  }
  for (const std::string* name :
       {&task.entry().model_class(), &task.entry().inputs_function(), &task.entry().init_inputs_function()}) {
    if (!name->empty() && !IsIdentifier(*name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("task.entry names '", name->substr(0, 64), "', no identifier"));
    }
  }
  if (task.labels_size() > kMaxLabels) {
    return absl::InvalidArgumentError(
        absl::StrCat("task.labels has ", task.labels_size(), " entries > ", kMaxLabels));
  }
  return task.has_tolerance() ? ValidateTolerance(task.tolerance()) : absl::OkStatus();
}

common::v1::Tolerance ToleranceOf(const common::v1::Task& task) {
  if (task.has_tolerance()) return task.tolerance();
  common::v1::Tolerance tolerance;
  tolerance.set_atol(kDefaultTolerance);
  tolerance.set_rtol(kDefaultTolerance);
  return tolerance;
}

std::string TaskHash(const common::v1::Task& task) {
  std::string text = "nki.task.v1";
  const auto add = [&text](absl::string_view field) {
    absl::StrAppend(&text, "\n", field.size(), ":", field);
  };
  add(task.reference_source());
  // A default and its name written out are the same task.
  const auto or_default = [](const std::string& name, absl::string_view otherwise) {
    return name.empty() ? std::string(otherwise) : name;
  };
  add(or_default(task.entry().model_class(), "Model"));
  add(or_default(task.entry().inputs_function(), "get_inputs"));
  add(or_default(task.entry().init_inputs_function(), "get_init_inputs"));
  const common::v1::Tolerance tolerance = ToleranceOf(task);
  add(absl::StrFormat("%.17g", tolerance.atol()));
  add(absl::StrFormat("%.17g", tolerance.rtol()));
  add(absl::StrCat(task.weight_seed()));
  return storage::Sha256Hex(text);
}

}  // namespace nkiagent::verify
