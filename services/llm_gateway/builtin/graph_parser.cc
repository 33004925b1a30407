#include "services/llm_gateway/builtin/graph_parser.h"

#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace nkiagent::builtin {
namespace {

bool IsNameStart(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool IsNameChar(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// Reads one line from left to right. Every method skips blanks first.
class LineReader {
 public:
  LineReader(absl::string_view line, const GraphLimits& limits) : rest_(line), limits_(limits) {}

  bool Done() {
    SkipBlanks();
    return rest_.empty();
  }

  bool Consume(char c) {
    SkipBlanks();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  bool Peek(char c) {
    SkipBlanks();
    return !rest_.empty() && rest_.front() == c;
  }

  absl::Status Expect(char c) {
    if (Consume(c)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("expected '", std::string(1, c), "' before ", Here()));
  }

  absl::StatusOr<std::string> Name() {
    SkipBlanks();
    size_t n = 0;
    while (n < rest_.size() && IsNameChar(rest_[n])) ++n;
    if (n == 0) return absl::InvalidArgumentError(absl::StrCat("expected a name before ", Here()));
    return Take(n);
  }

  // A name with dots, such as aten.add.Tensor.
  absl::StatusOr<std::string> DottedName() {
    SkipBlanks();
    size_t n = 0;
    while (n < rest_.size() && (IsNameChar(rest_[n]) || rest_[n] == '.' || rest_[n] == ':')) ++n;
    if (n == 0) return absl::InvalidArgumentError(absl::StrCat("expected an operation before ", Here()));
    return Take(n);
  }

  absl::StatusOr<double> Number() {
    absl::StatusOr<Arg> arg = Argument(0);
    if (!arg.ok()) return arg.status();
    if (const auto* i = std::get_if<int64_t>(&arg->value)) return static_cast<double>(*i);
    if (const auto* d = std::get_if<double>(&arg->value)) return *d;
    if (const auto* b = std::get_if<bool>(&arg->value)) return *b ? 1.0 : 0.0;
    return absl::InvalidArgumentError("expected a number");
  }

  absl::StatusOr<Node::Output> Type() {
    SkipBlanks();
    absl::string_view start = rest_;
    absl::StatusOr<std::string> word = Name();
    if (!word.ok()) return word.status();
    Node::Output output;
    bool has_dims = false;
    if (Consume('[')) {
      has_dims = true;
      absl::Status status = ReadDims(&output.type.dims);
      if (!status.ok()) return status;
    }
    output.text = std::string(start.substr(0, start.size() - rest_.size()));
    std::optional<DType> dtype = ParseDType(*word);
    output.valid = has_dims && dtype.has_value();
    if (dtype.has_value()) output.type.dtype = *dtype;
    return output;
  }

  absl::StatusOr<Arg> Argument(size_t depth) {
    if (depth > limits_.max_nesting) return absl::InvalidArgumentError("lists nested too deeply");
    SkipBlanks();
    if (rest_.empty()) return absl::InvalidArgumentError("expected an argument at the end of the line");
    const char c = rest_.front();
    if (c == '%') {
      rest_.remove_prefix(1);
      absl::StatusOr<std::string> name = Name();
      if (!name.ok()) return name.status();
      return Arg{Ref{*std::move(name)}};
    }
    if (c == '[' || c == '(') return List(c == '[' ? ']' : ')', depth);
    if (c == '\'' || c == '"') return Quoted(c);
    if (absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '-' || c == '+' || c == '.')
      return Literal();
    if (IsNameStart(c)) return Word();
    return absl::InvalidArgumentError(absl::StrCat("expected an argument before ", Here()));
  }

  // `name=` of a keyword argument, if one stands here.
  std::optional<std::string> Keyword() {
    SkipBlanks();
    size_t n = 0;
    while (n < rest_.size() && IsNameChar(rest_[n])) ++n;
    if (n == 0 || !IsNameStart(rest_.front()) || n >= rest_.size() || rest_[n] != '=') return std::nullopt;
    std::string name = Take(n);
    rest_.remove_prefix(1);
    return name;
  }

  std::string Here() const {
    return rest_.empty() ? "the end of the line" : absl::StrCat("'", rest_.substr(0, 24), "'");
  }

 private:
  void SkipBlanks() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t')) rest_.remove_prefix(1);
  }

  std::string Take(size_t n) {
    std::string text(rest_.substr(0, n));
    rest_.remove_prefix(n);
    return text;
  }

  absl::Status ReadDims(Dims* dims) {
    int64_t elements = 1;
    while (!Consume(']')) {
      if (!dims->empty()) {
        absl::Status comma = Expect(',');
        if (!comma.ok()) return comma;
      }
      absl::StatusOr<std::string> word = Name();
      if (!word.ok()) return word.status();
      int64_t size = 0;
      if (!absl::SimpleAtoi(*word, &size) || size < 0) {
        return absl::InvalidArgumentError(absl::StrCat("'", *word, "' is no static axis size"));
      }
      dims->push_back(size);
      if (dims->size() > limits_.max_rank) {
        return absl::InvalidArgumentError(absl::StrCat("a tensor has more than ", limits_.max_rank, " axes"));
      }
      if (size > 0 && elements > limits_.max_tensor_elements / size) {
        return absl::InvalidArgumentError(
            absl::StrCat("a tensor has more than ", limits_.max_tensor_elements, " elements"));
      }
      elements *= size;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Arg> List(char close, size_t depth) {
    rest_.remove_prefix(1);
    std::vector<Arg> entries;
    while (!Consume(close)) {
      if (!entries.empty()) {
        absl::Status comma = Expect(',');
        if (!comma.ok()) return comma;
        if (Consume(close)) break;  // the comma of a Python tuple with one entry
      }
      absl::StatusOr<Arg> entry = Argument(depth + 1);
      if (!entry.ok()) return entry.status();
      if (entries.size() >= limits_.max_list_entries) return absl::InvalidArgumentError("a list is too long");
      entries.push_back(*std::move(entry));
    }
    return Arg{std::move(entries)};
  }

  absl::StatusOr<Arg> Quoted(char quote) {
    const size_t end = rest_.find(quote, 1);
    if (end == absl::string_view::npos) return absl::InvalidArgumentError("a string without an end");
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return Arg{Symbol{std::move(text)}};
  }

  absl::StatusOr<Arg> Literal() {
    size_t n = 0;
    while (n < rest_.size() &&
           (IsNameChar(rest_[n]) || rest_[n] == '.' || rest_[n] == '+' || rest_[n] == '-'))
      ++n;
    const std::string text = Take(n);
    int64_t integer = 0;
    if (absl::SimpleAtoi(text, &integer)) return Arg{integer};
    double real = 0;
    if (absl::SimpleAtod(text, &real)) return Arg{real};
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is no number"));
  }

  absl::StatusOr<Arg> Word() {
    absl::StatusOr<std::string> word = DottedName();
    if (!word.ok()) return word.status();
    if (*word == "None") return Arg{};
    if (*word == "True") return Arg{true};
    if (*word == "False") return Arg{false};
    if (*word == "inf") return Arg{std::numeric_limits<double>::infinity()};
    if (*word == "nan") return Arg{std::numeric_limits<double>::quiet_NaN()};
    return Arg{Symbol{*std::move(word)}};
  }

  absl::string_view rest_;
  const GraphLimits& limits_;
};

// Collects the lines into a graph and keeps its promises about names.
class Parser {
 public:
  explicit Parser(const GraphLimits& limits) : limits_(limits) {}

  absl::Status Line(absl::string_view line) {
    LineReader reader(line, limits_);
    if (!graph_.returns.empty())
      return absl::InvalidArgumentError("there is something after the return line");
    if (reader.Peek('%')) return ReadNode(reader);
    absl::StatusOr<std::string> word = reader.Name();
    if (!word.ok()) return word.status();
    if (*word == "input") return ReadPlaceholder(reader, PlaceholderKind::kInput);
    if (*word == "param") return ReadPlaceholder(reader, PlaceholderKind::kParam);
    if (*word == "buffer") return ReadPlaceholder(reader, PlaceholderKind::kBuffer);
    if (*word == "const") return ReadConstant(reader);
    if (*word == "return") return ReadReturn(reader);
    return absl::InvalidArgumentError(absl::StrCat("unknown line '", *word, "'"));
  }

  absl::StatusOr<Graph> Finish() {
    if (graph_.returns.empty()) return absl::InvalidArgumentError("the graph returns nothing");
    return std::move(graph_);
  }

 private:
  absl::Status Define(const std::string& name) {
    if (names_.insert(name).second) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' is defined twice"));
  }

  absl::Status CheckReferences(const Arg& arg) const {
    if (const auto* ref = std::get_if<Ref>(&arg.value)) {
      if (!names_.contains(ref->name)) {
        return absl::InvalidArgumentError(absl::StrCat("'%", ref->name, "' is used before it is defined"));
      }
    } else if (const auto* list = std::get_if<std::vector<Arg>>(&arg.value)) {
      for (const Arg& entry : *list) {
        absl::Status status = CheckReferences(entry);
        if (!status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::pair<std::string, TensorType>> NameAndType(LineReader& reader) {
    absl::StatusOr<std::string> name = reader.Name();
    if (!name.ok()) return name.status();
    absl::Status status = reader.Expect(':');
    if (!status.ok()) return status;
    absl::StatusOr<Node::Output> type = reader.Type();
    if (!type.ok()) return type.status();
    if (!type->valid) {
      return absl::InvalidArgumentError(absl::StrCat("'", *name, "' has the unsupported type ", type->text));
    }
    return std::make_pair(*std::move(name), std::move(type->type));
  }

  absl::Status ReadPlaceholder(LineReader& reader, PlaceholderKind kind) {
    auto pair = NameAndType(reader);
    if (!pair.ok()) return pair.status();
    if (!reader.Done()) return absl::InvalidArgumentError(absl::StrCat("unexpected ", reader.Here()));
    absl::Status status = Define(pair->first);
    if (!status.ok()) return status;
    graph_.placeholders.push_back({kind, pair->first, pair->second});
    return absl::OkStatus();
  }

  absl::Status ReadConstant(LineReader& reader) {
    auto pair = NameAndType(reader);
    if (!pair.ok()) return pair.status();
    if (!pair->second.dims.empty()) return absl::InvalidArgumentError("a const line must have rank 0");
    absl::Status status = reader.Expect('=');
    if (!status.ok()) return status;
    absl::StatusOr<double> value = reader.Number();
    if (!value.ok()) return value.status();
    if (!reader.Done()) return absl::InvalidArgumentError(absl::StrCat("unexpected ", reader.Here()));
    status = Define(pair->first);
    if (!status.ok()) return status;
    graph_.constants.push_back({pair->first, pair->second, *value});
    return absl::OkStatus();
  }

  absl::Status ReadNode(LineReader& reader) {
    reader.Consume('%');
    Node node;
    absl::StatusOr<std::string> name = reader.Name();
    if (!name.ok()) return name.status();
    node.name = *std::move(name);
    absl::Status status = reader.Expect(':');
    if (!status.ok()) return status;
    if (reader.Consume('(')) {
      node.is_tuple = true;
      while (!reader.Consume(')')) {
        if (!node.outputs.empty()) {
          status = reader.Expect(',');
          if (!status.ok()) return status;
          if (reader.Consume(')')) break;
        }
        absl::StatusOr<Node::Output> type = reader.Type();
        if (!type.ok()) return type.status();
        if (node.outputs.size() >= limits_.max_list_entries)
          return absl::InvalidArgumentError("a tuple is too long");
        node.outputs.push_back(*std::move(type));
      }
    } else {
      absl::StatusOr<Node::Output> type = reader.Type();
      if (!type.ok()) return type.status();
      node.outputs.push_back(*std::move(type));
    }
    status = reader.Expect('=');
    if (!status.ok()) return status;
    absl::StatusOr<std::string> op = reader.DottedName();
    if (!op.ok()) return op.status();
    node.op = *std::move(op);
    status = ReadArguments(reader, &node);
    if (!status.ok()) return status;
    if (!reader.Done()) return absl::InvalidArgumentError(absl::StrCat("unexpected ", reader.Here()));
    status = Define(node.name);
    if (!status.ok()) return status;
    graph_.nodes.push_back(std::move(node));
    return absl::OkStatus();
  }

  absl::Status ReadArguments(LineReader& reader, Node* node) {
    absl::Status status = reader.Expect('(');
    if (!status.ok()) return status;
    for (bool first = true; !reader.Consume(')'); first = false) {
      if (!first) {
        status = reader.Expect(',');
        if (!status.ok()) return status;
      }
      if (node->args.size() + node->kwargs.size() >= limits_.max_list_entries) {
        return absl::InvalidArgumentError("a node has too many arguments");
      }
      std::optional<std::string> keyword = reader.Keyword();
      absl::StatusOr<Arg> arg = reader.Argument(0);
      if (!arg.ok()) return arg.status();
      status = CheckReferences(*arg);
      if (!status.ok()) return status;
      if (keyword.has_value()) {
        node->kwargs.emplace_back(*std::move(keyword), *std::move(arg));
      } else {
        node->args.push_back(*std::move(arg));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadReturn(LineReader& reader) {
    for (bool first = true; !reader.Done(); first = false) {
      if (!first) {
        absl::Status status = reader.Expect(',');
        if (!status.ok()) return status;
      }
      absl::StatusOr<Arg> arg = reader.Argument(0);
      if (!arg.ok()) return arg.status();
      absl::Status status = CheckReferences(*arg);
      if (!status.ok()) return status;
      const auto* ref = std::get_if<Ref>(&arg->value);
      if (ref == nullptr) return absl::InvalidArgumentError("the graph returns something that is no tensor");
      if (graph_.returns.size() >= limits_.max_list_entries)
        return absl::InvalidArgumentError("too many results");
      graph_.returns.push_back(*ref);
    }
    if (graph_.returns.empty()) return absl::InvalidArgumentError("the return line names nothing");
    return absl::OkStatus();
  }

  const GraphLimits& limits_;
  Graph graph_;
  std::set<std::string> names_;
};

}  // namespace

absl::StatusOr<Graph> ParseGraph(absl::string_view text, const GraphLimits& limits) {
  if (text.size() > limits.max_text_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the graph has ", text.size(), " bytes; the limit is ", limits.max_text_bytes));
  }
  Parser parser(limits);
  bool seen_header = false;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (++number > limits.max_lines) {
      return absl::InvalidArgumentError(absl::StrCat("the graph has more than ", limits.max_lines, " lines"));
    }
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    absl::Status status;
    if (!seen_header) {
      seen_header = true;
      if (line != "graph nki.graph.v1") {
        status = absl::InvalidArgumentError("the first line must be 'graph nki.graph.v1'");
      }
    } else {
      status = parser.Line(line);
    }
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("graph line ", number, ": ", status.message()));
    }
  }
  return parser.Finish();
}

}  // namespace nkiagent::builtin
