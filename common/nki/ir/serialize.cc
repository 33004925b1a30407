#include "common/nki/ir/serialize.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/nki/ir/validate.h"

namespace nkiagent::nki::ir {
namespace {

static_assert(std::endian::native == std::endian::little, "the program layout is little-endian");

constexpr absl::string_view kMagic = "NKIP";

// Number of members of each serialised enum, so that a reader refuses values it does not know.
template <typename T>
constexpr int64_t EnumCount();
template <>
constexpr int64_t EnumCount<isa::DType>() {
  return isa::kDTypeCount;
}
template <>
constexpr int64_t EnumCount<isa::Buffer>() {
  return isa::kBufferCount;
}
template <>
constexpr int64_t EnumCount<isa::Engine>() {
  return isa::kEngineCount;
}
template <>
constexpr int64_t EnumCount<isa::AluOp>() {
  return isa::kAluOpCount;
}
template <>
constexpr int64_t EnumCount<isa::ActFn>() {
  return isa::kActFnCount;
}
template <>
constexpr int64_t EnumCount<isa::ReduceCmd>() {
  return isa::kReduceCmdCount;
}
template <>
constexpr int64_t EnumCount<isa::OobMode>() {
  return isa::kOobModeCount;
}
template <>
constexpr int64_t EnumCount<isa::Opcode>() {
  return isa::kOpcodeCount;
}
template <>
constexpr int64_t EnumCount<TensorRole>() {
  return kTensorRoleCount;
}
template <>
constexpr int64_t EnumCount<SymbolKind>() {
  return kSymbolKindCount;
}
template <>
constexpr int64_t EnumCount<LoopKind>() {
  return kLoopKindCount;
}

class Writer {
 public:
  static constexpr bool kReading = false;

  bool ok() const { return true; }
  void Fail(absl::string_view) {}

  void Varint(uint64_t v) {
    while (v >= 0x80) {
      out_.push_back(static_cast<char>(v | 0x80));
      v >>= 7;
    }
    out_.push_back(static_cast<char>(v));
  }
  void Integer(int64_t& v) { Varint((static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63)); }
  void Raw(void* data, size_t n) { out_.append(static_cast<const char*>(data), n); }
  // Writes the count; for a reader, returns the count found.
  size_t Count(size_t n) {
    Varint(n);
    return n;
  }
  std::string Take() { return std::move(out_); }

 private:
  std::string out_;
};

class Reader {
 public:
  static constexpr bool kReading = true;

  explicit Reader(absl::string_view in) : in_(in) {}

  bool ok() const { return error_.ok(); }
  void Fail(absl::string_view why) {
    if (error_.ok()) error_ = absl::InvalidArgumentError(absl::StrCat("program byte ", pos_, ": ", why));
  }
  const absl::Status& status() const { return error_; }
  bool AtEnd() const { return pos_ == in_.size(); }

  uint64_t ReadVarint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (pos_ >= in_.size()) {
        Fail("unexpected end");
        return 0;
      }
      const auto byte = static_cast<uint8_t>(in_[pos_++]);
      v |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return v;
    }
    Fail("integer longer than 64 bits");
    return 0;
  }
  void Integer(int64_t& v) {
    const uint64_t z = ReadVarint();
    v = static_cast<int64_t>((z >> 1) ^ (~(z & 1) + 1));
  }
  void Raw(void* data, size_t n) {
    if (n > in_.size() - pos_) {
      Fail("unexpected end");
      return;
    }
    std::memcpy(data, in_.data() + pos_, n);
    pos_ += n;
  }
  // Every element takes at least one byte, so a count beyond the rest of the input is a lie.
  size_t Count(size_t) {
    const uint64_t n = ReadVarint();
    if (n > in_.size() - pos_) {
      Fail("count larger than the rest of the program");
      return 0;
    }
    return static_cast<size_t>(n);
  }

 private:
  absl::string_view in_;
  size_t pos_ = 0;
  absl::Status error_;
};

template <typename Ar, typename T>
requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) void Visit(Ar& ar, T& v) {
  auto wide = static_cast<int64_t>(v);
  ar.Integer(wide);
  v = static_cast<T>(wide);
  if constexpr (Ar::kReading) {
    if (static_cast<int64_t>(v) != wide) ar.Fail("integer out of range");
  }
}

template <typename Ar>
void Visit(Ar& ar, bool& v) {
  int64_t wide = v ? 1 : 0;
  ar.Integer(wide);
  if (wide != 0 && wide != 1) ar.Fail("boolean is neither 0 nor 1");
  v = wide == 1;
}

template <typename Ar, typename T>
requires std::is_enum_v<T>
void Visit(Ar& ar, T& v) {
  auto wide = static_cast<int64_t>(v);
  ar.Integer(wide);
  if (wide < 0 || wide >= EnumCount<T>()) {
    ar.Fail("unknown enum value");
    return;
  }
  v = static_cast<T>(wide);
}

template <typename Ar>
void Visit(Ar& ar, double& v) {
  ar.Raw(&v, sizeof(v));
}

template <typename Ar>
void Visit(Ar& ar, std::string& v) {
  const size_t n = ar.Count(v.size());
  if constexpr (Ar::kReading) v.resize(n);
  if (n > 0) ar.Raw(v.data(), n);
}

// Covers std::vector and absl::InlinedVector.
template <typename Ar, typename Sequence>
void VisitSequence(Ar& ar, Sequence& v) {
  const size_t n = ar.Count(v.size());
  if constexpr (Ar::kReading) {
    for (size_t i = 0; i < n && ar.ok(); ++i) Visit(ar, v.emplace_back());
  } else {
    for (auto& element : v) Visit(ar, element);
  }
}

template <typename Ar, typename... Fields>
void VisitAll(Ar& ar, Fields&... fields) {
  (Visit(ar, fields), ...);
}

template <typename Ar, typename T>
void Visit(Ar& ar, std::vector<T>& v);
template <typename Ar, typename T, size_t N>
void Visit(Ar& ar, absl::InlinedVector<T, N>& v) {
  VisitSequence(ar, v);
}

template <typename Ar>
void Visit(Ar& ar, Affine::Term& v) {
  VisitAll(ar, v.symbol, v.coefficient);
}
template <typename Ar>
void Visit(Ar& ar, Affine& v) {
  VisitAll(ar, v.constant, v.terms, v.dims);
}
template <typename Ar>
void Visit(Ar& ar, SourceLoc& v) {
  VisitAll(ar, v.line, v.column);
}
template <typename Ar>
void Visit(Ar& ar, Symbol& v) {
  VisitAll(ar, v.kind, v.name, v.argument, v.divisor);
}
template <typename Ar>
void Visit(Ar& ar, Immediate& v) {
  VisitAll(ar, v.value, v.dtype);
}

template <typename Ar>
void Visit(Ar& ar, Tensor& v) {
  VisitAll(ar, v.name, v.buffer, v.dtype, v.role, v.shape, v.partition_axis, v.scope, v.view_of,
           v.constant_data, v.loc);
}

template <typename Ar>
void Visit(Ar& ar, Access& v) {
  VisitAll(ar, v.tensor, v.shape, v.index, v.mask, v.indirect_axis, v.indirect_tensor, v.indirect_index);
}

template <typename Ar>
void Visit(Ar& ar, Operand& v) {
  auto which = static_cast<int64_t>(v.index());
  ar.Integer(which);
  if constexpr (Ar::kReading) {
    switch (which) {
      case 0:
        v = std::monostate{};
        break;
      case 1:
        v = Access{};
        break;
      case 2:
        v = Immediate{};
        break;
      default:
        ar.Fail("unknown operand kind");
        return;
    }
  }
  if (auto* access = std::get_if<Access>(&v)) Visit(ar, *access);
  if (auto* immediate = std::get_if<Immediate>(&v)) Visit(ar, *immediate);
}

template <typename Ar>
void Visit(Ar& ar, Attrs& v) {
  VisitAll(ar, v.op0, v.op1, v.reverse0, v.reverse1, v.act, v.reduce_op, v.reduce_cmd, v.axes, v.negate,
           v.accumulate, v.is_transpose, v.stationary_onezero, v.moving_onezero, v.value, v.expr, v.list,
           v.num_elem_per_idx, v.num_valid_indices, v.seed, v.oob);
}

template <typename Ar>
void Visit(Ar& ar, Instr& v) {
  VisitAll(ar, v.op, v.engine, v.dst, v.src, v.attrs, v.loc);
}

template <typename Ar>
void Visit(Ar& ar, Node& v, size_t depth);

template <typename Ar>
void VisitBody(Ar& ar, std::vector<Node>& body, size_t depth) {
  const size_t n = ar.Count(body.size());
  if constexpr (Ar::kReading) {
    for (size_t i = 0; i < n && ar.ok(); ++i) Visit(ar, body.emplace_back(), depth);
  } else {
    for (Node& node : body) Visit(ar, node, depth);
  }
}

template <typename Ar>
void Visit(Ar& ar, Node& v, size_t depth) {
  bool is_loop = std::holds_alternative<std::unique_ptr<Loop>>(v.item);
  Visit(ar, is_loop);
  if (!is_loop) {
    Visit(ar, std::get<Instr>(v.item));
    return;
  }
  if (depth >= kMaxLoopDepth) {
    ar.Fail(absl::StrCat("loops nested deeper than ", kMaxLoopDepth));
    return;
  }
  if constexpr (Ar::kReading) v.item = std::make_unique<Loop>();
  Loop& loop = *std::get<std::unique_ptr<Loop>>(v.item);
  VisitAll(ar, loop.symbol, loop.kind, loop.start, loop.step, loop.trips, loop.loc);
  VisitBody(ar, loop.body, depth + 1);
}

template <typename Ar, typename T>
void Visit(Ar& ar, std::vector<T>& v) {
  VisitSequence(ar, v);
}

template <typename Ar>
void Visit(Ar& ar, Program& v) {
  VisitAll(ar, v.kernel_name, v.target, v.sdk, v.tensors, v.symbols, v.inputs, v.outputs, v.grid);
  VisitBody(ar, v.body, 0);
}

}  // namespace

std::string Serialize(const Program& program) {
  Writer writer;
  std::string magic(kMagic);
  writer.Raw(magic.data(), magic.size());
  int64_t version = kFormatVersion;
  writer.Integer(version);
  // A writer only reads its argument; one Visit for both directions is worth the cast.
  Visit(writer, const_cast<Program&>(program));
  return writer.Take();
}

absl::StatusOr<Program> Parse(absl::string_view bytes) {
  if (bytes.size() > kMaxProgramBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("program of ", bytes.size(), " bytes exceeds the limit of ", kMaxProgramBytes));
  }
  if (bytes.substr(0, kMagic.size()) != kMagic)
    return absl::InvalidArgumentError("not a program: wrong first bytes");
  Reader reader(bytes.substr(kMagic.size()));
  int64_t version = 0;
  reader.Integer(version);
  if (reader.ok() && version != kFormatVersion) {
    return absl::InvalidArgumentError(
        absl::StrCat("program format version ", version, ", this toolchain reads ", kFormatVersion));
  }
  Program program;
  Visit(reader, program);
  if (!reader.ok()) return reader.status();
  if (!reader.AtEnd()) return absl::InvalidArgumentError("bytes left behind the end of the program");
  if (absl::Status status = Validate(program); !status.ok()) return status;
  return program;
}

}  // namespace nkiagent::nki::ir
