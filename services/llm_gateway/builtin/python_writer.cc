#include "services/llm_gateway/builtin/python_writer.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace nkiagent::builtin {
namespace {

bool IsWordChar(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// Keywords, the builtins that kernels use, and the names that every kernel of ours imports or defines.
constexpr absl::string_view kReserved[] = {
    "False",    "None",   "True",       "and",   "as",     "assert",   "async",   "await", "break", "class",
    "continue", "def",    "del",        "elif",  "else",   "except",   "finally", "for",   "from",  "global",
    "if",       "import", "in",         "is",    "lambda", "nonlocal", "not",     "or",    "pass",  "raise",
    "return",   "try",    "while",      "with",  "yield",  "float",    "range",   "nki",   "nl",    "nisa",
    "np",       "math",   "nki_kernel", "match", "case",   "_"};

}  // namespace

void PythonWriter::Line(absl::string_view text) {
  lines_.push_back(text.empty() ? "" : absl::StrCat(std::string(4 * static_cast<size_t>(depth_), ' '), text));
}

void PythonWriter::Append(const PythonWriter& other) {
  for (const std::string& line : other.lines_) Line(line);
}

bool PythonWriter::Mentions(absl::string_view word) const {
  for (absl::string_view line : lines_) {
    for (size_t at = line.find(word); at != absl::string_view::npos; at = line.find(word, at + 1)) {
      const bool starts = at == 0 || !IsWordChar(line[at - 1]);
      const bool ends = at + word.size() == line.size() || !IsWordChar(line[at + word.size()]);
      if (starts && ends) return true;
    }
  }
  return false;
}

std::string PythonWriter::Text() const { return absl::StrCat(absl::StrJoin(lines_, "\n"), "\n"); }

Names::Names() {
  for (absl::string_view word : kReserved) used_.emplace(word);
}

std::string Names::Unique(absl::string_view base) {
  std::string name;
  for (char c : base) name.push_back(IsWordChar(c) ? c : '_');
  if (name.empty() || absl::ascii_isdigit(static_cast<unsigned char>(name.front()))) name.insert(0, "t_");
  std::string candidate = name;
  for (int i = 2; !used_.insert(candidate).second; ++i) candidate = absl::StrCat(name, "_", i);
  return candidate;
}

std::string TupleLiteral(const Dims& dims) {
  return absl::StrCat("(", absl::StrJoin(dims, ", "), dims.size() == 1 ? ",)" : ")");
}

std::string NumberLiteral(double value, DType dtype) {
  if (std::isnan(value)) return "float(\"nan\")";
  if (std::isinf(value)) return value > 0 ? "float(\"inf\")" : "float(\"-inf\")";
  if (!IsFloat(dtype) && value == std::trunc(value) && std::fabs(value) < 9e15) {
    return absl::StrCat(static_cast<int64_t>(value));
  }
  // The shortest of the usual precisions that reads back as the same number.
  for (int digits : {6, 9, 12, 15, 17}) {
    const std::string text = absl::StrFormat("%.*g", digits, value);
    double back = 0;
    if (absl::SimpleAtod(text, &back) && back == value) {
      const bool plain = text.find_first_of(".en") == std::string::npos;
      return plain ? absl::StrCat(text, ".0") : text;
    }
  }
  return absl::StrFormat("%.17g", value);
}

std::string DTypeLiteral(DType dtype) { return absl::StrCat("nl.", NkiDTypeName(dtype)); }

std::string MaskArgument(std::vector<std::string> conditions) {
  std::erase(conditions, "");
  if (conditions.empty()) return "";
  if (conditions.size() == 1) return absl::StrCat(", mask=(", conditions[0], ")");
  return absl::StrCat(", mask=((", absl::StrJoin(conditions, ") & ("), "))");
}

}  // namespace nkiagent::builtin
