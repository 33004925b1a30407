#include "services/compile/analysis.h"

#include <string>

#include "absl/strings/str_split.h"
#include "common/nki/check/check.h"
#include "services/compile/compile_request.h"
#include "services/worker/outcome_proto.h"

namespace nkiagent::compile {
namespace {

using worker::CleanText;

constexpr size_t kMaxTextBytes = 2000;
constexpr size_t kMaxLineBytes = 500;

common::v1::Severity ToProto(nki::Severity severity) {
  switch (severity) {
    case nki::Severity::kError:
      return common::v1::SEVERITY_ERROR;
    case nki::Severity::kWarning:
      return common::v1::SEVERITY_WARNING;
    case nki::Severity::kNote:
      return common::v1::SEVERITY_NOTE;
  }
  return common::v1::SEVERITY_UNSPECIFIED;
}

}  // namespace

common::v1::Diagnostic ToProto(const nki::Diagnostic& diagnostic) {
  common::v1::Diagnostic proto;
  proto.set_severity(ToProto(diagnostic.severity));
  // Names of tensors come from the kernel, so the texts may hold anything.
  proto.set_rule(CleanText(diagnostic.rule, kMaxTextBytes));
  proto.set_message(CleanText(diagnostic.message, kMaxTextBytes));
  proto.set_line(diagnostic.line);
  proto.set_column(diagnostic.column);
  proto.set_limit(CleanText(diagnostic.limit, kMaxTextBytes));
  proto.set_actual(CleanText(diagnostic.actual, kMaxTextBytes));
  proto.set_hint(CleanText(diagnostic.hint, kMaxTextBytes));
  return proto;
}

common::v1::TensorSpec ToProto(const nki::ir::Tensor& tensor) {
  common::v1::TensorSpec proto;
  proto.set_name(CleanText(tensor.name, kMaxTextBytes));
  proto.set_dtype(DTypeOf(tensor.dtype));
  proto.mutable_dims()->Add(tensor.shape.begin(), tensor.shape.end());
  return proto;
}

std::vector<common::v1::Diagnostic> CheckProgram(const nki::ir::Program& program) {
  std::vector<common::v1::Diagnostic> findings;
  for (const nki::Diagnostic& diagnostic : nki::check::Check(program))
    findings.push_back(ToProto(diagnostic));
  return findings;
}

SourceLines::SourceLines(absl::string_view source) : lines_(absl::StrSplit(source, '\n')) {}

std::string SourceLines::Line(int32_t line) const {
  if (line < 1 || static_cast<size_t>(line) > lines_.size()) return "";
  absl::string_view text = lines_[static_cast<size_t>(line) - 1];
  if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  return CleanText(text, kMaxLineBytes);
}

}  // namespace nkiagent::compile
