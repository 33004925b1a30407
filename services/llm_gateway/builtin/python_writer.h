// Lines of Python with indentation, and names that don't collide.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_PYTHON_WRITER_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_PYTHON_WRITER_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/dtype.h"
#include "services/llm_gateway/builtin/graph.h"

namespace nkiagent::builtin {

class PythonWriter {
 public:
  void Line(absl::string_view text);
  void Blank() { lines_.push_back(""); }
  void Indent() { ++depth_; }
  void Dedent() { --depth_; }
  // Adds the lines of another writer, indented by this one's depth.
  void Append(const PythonWriter& other);

  bool empty() const { return lines_.empty(); }
  size_t line_count() const { return lines_.size(); }
  // Whether some line has `word` as a whole identifier.
  bool Mentions(absl::string_view word) const;
  std::string Text() const;

 private:
  int depth_ = 0;
  std::vector<std::string> lines_;
};

// Python identifiers in use.
class Names {
 public:
  Names();
  // `base`, made an identifier that is no keyword, builtin or import of ours, with a number if it is taken.
  std::string Unique(absl::string_view base);

 private:
  std::set<std::string, std::less<>> used_;
};

// "(2, 3)", "(3,)".
std::string TupleLiteral(const Dims& dims);
// A Python literal for `value` as an element of `dtype`; infinities and NaN included.
std::string NumberLiteral(double value, DType dtype);
// "nl.float32".
std::string DTypeLiteral(DType dtype);
// ", mask=(a)", ", mask=((a) & (b))"; "" where no condition is left once the empty ones are.
std::string MaskArgument(std::vector<std::string> conditions);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_PYTHON_WRITER_H_
