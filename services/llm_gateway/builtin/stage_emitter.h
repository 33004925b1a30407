// What both kinds of stages share when they are written as NKI source: shapes of HBM tensors, index
// expressions, loads, tile functions and stores.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_STAGE_EMITTER_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_STAGE_EMITTER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/access.h"
#include "services/llm_gateway/builtin/plan.h"
#include "services/llm_gateway/builtin/python_writer.h"

namespace nkiagent::builtin {

// A tile on chip. Its shape is (partition tile, free tile), or (partition tile, 1) when it doesn't vary along
// the free axis. What doesn't vary along the rows is widened to all partitions when it is loaded.
struct Tile {
  std::string name;
  bool has_free = false;
  DType dtype = DType::kFloat32;  // of the tile itself, which for truth values may differ from the value's
  bool indexed = false;           // `name` has subscripts: it is a part of a larger tensor, or of other order
};

// Names that all stages of a kernel share. Loop variables and index vectors are rebound by each stage; tiles
// never are.
struct KernelNames {
  Names names;
  std::vector<std::string> hbm;      // by value; empty for values that never leave the chip
  std::vector<std::string> on_chip;  // by value: its residence in SBUF; empty for those without one
  std::string i_p, i_f, i_one;       // index vectors: partitions, free axis, the single partition of a row
  std::string i_k, i_kf;             // matmul: contraction on partitions and on the free axis
  std::string i_kk;                  // matmul: the whole contraction on the free axis
  std::string i_m, i_n;              // matmul: rows on the free axis, all columns
  std::string i_np, i_nf;            // matmul: a block of columns on partitions and on the free axis
  // Turned accesses: a block of the free axis on partitions and on the free axis, the rows on the free axis.
  std::string i_bp, i_bf, i_pf;
  std::string row, chunk, k, square, piece, inner_piece;  // loop variables
};

// How one axis of an iteration is indexed at the place that is being written.
struct AxisIndex {
  enum class Kind { kLoop, kPartition, kFree };

  std::string text;  // a sum, without parentheses
  Kind kind = Kind::kLoop;
  bool depends_on_loop = false;
};

class StageEmitter {
 public:
  StageEmitter(const KernelPlan& plan, const StagePlan& stage, KernelNames& names);
  virtual ~StageEmitter() = default;

  // Appends the stage to the kernel's body. UNIMPLEMENTED when an access can't be told in subscripts.
  absl::Status Emit(PythonWriter* kernel);

 protected:
  virtual void EmitLoops() = 0;
  // The line that says what the stage does.
  virtual std::string Headline() const = 0;
  // Index vectors beside i_p and i_f, as pairs of name and definition.
  virtual std::vector<std::pair<std::string, std::string>> MoreIndices() const { return {}; }

  const Program& program() const { return plan_.program; }
  const StagePlan& stage() const { return stage_; }
  KernelNames& names() const { return names_; }
  PythonWriter& body() { return body_; }
  void Fail(const std::string& message);

  // Loops over the row axes that have one, outermost first; then, if there are several, over tiles of rows.
  void OpenRowLoops();
  void OpenRowTileLoop();
  void CloseLoops();  // all that are open
  void CloseLoop();   // the innermost
  void OpenLoop(const std::string& variable, int64_t count, bool in_order);
  // A loop over any range, "nl.static_range(4)".
  void OpenLoop(const std::string& variable, absl::string_view range);
  // Sets how the partition and the free axis are indexed; a loop variable is empty while there is one tile
  // only.
  void IndexRows(const std::string& row_variable);
  void IndexColumns(const std::string& chunk_variable);
  std::vector<AxisIndex>& axes() { return axes_; }

  // The operation at `position` of the stage, on tiles; not for reductions over chunks and not for the
  // matmul.
  void EmitOp(size_t position);
  // A scan of the tile that starts from `start`, a number or a column of one value per row.
  void EmitScan(size_t position, const std::string& start);
  // What a scan starts from: a number, or a column of one value per row.
  std::string ScanStart(size_t position);
  // Stores its result, if it lies in HBM.
  void EmitStore(size_t position);
  Tile OperandTile(size_t position, size_t operand);
  // The tile as one that varies along the free axis.
  Tile WithFreeAxis(const Tile& tile);
  Tile Define(absl::string_view base, absl::string_view expression, bool has_free, DType dtype);
  // The same for what `op` yields: right in its residence in SBUF where it has one and fills whole tiles of
  // it.
  Tile DefineResult(const Op& op, absl::string_view expression, bool has_free, DType dtype);
  // What a tile made by `op` is called.
  static const std::string& BaseName(const Op& op) { return op.label.empty() ? op.origin : op.label; }
  void Bind(int value, Tile tile) { tiles_[value] = std::move(tile); }
  const Tile& Bound(int value) const { return tiles_.at(value); }
  bool IsBound(int value) const { return tiles_.contains(value); }
  void Forget(int value) { tiles_.erase(value); }
  // Loads made between the two calls are forgotten at the second: they happened inside a loop.
  std::map<std::string, Tile> SaveLoads() const { return loads_; }
  void RestoreLoads(std::map<std::string, Tile> loads) { loads_ = std::move(loads); }

  const Access& AccessOf(int op, int operand) const;
  // `coefficient * index`.
  static std::string ScaledIndex(int64_t coefficient, const AxisIndex& index);
  // The type that a tile of a value has.
  static DType StoredDType(DType dtype);
  // `tensor[subscripts]`. Tells which kinds of axes the subscripts have, and whether a loop changes them.
  struct Subscripted {
    std::string text;
    bool has_partition = false, has_free = false, depends_on_loop = false;
    std::string mask;  // ", mask=…" or ""; only of turned accesses
  };
  Subscripted Subscript(int value, int64_t offset, const Dims& strides, const Dims& extents,
                        const std::vector<AxisIndex>& axes);
  // The part of a value's residence that `steps` lead to; `others` tells TileSteps::others in subscripts.
  Subscripted OnChip(int value, const TileSteps& steps, const std::string& partition,
                     const std::vector<AxisIndex>& others);
  // The name of a value, wherever it lies, for tiles that are made of it.
  const std::string& ValueName(int value) const;
  // ", mask=..." for what is ragged and indexed, else "".
  std::string Mask(bool rows, bool columns) const;
  std::string RowMask() const;     // "" unless rows are ragged
  std::string ColumnMask() const;  // likewise
  // `nl.arange(count)` along axis `position` of a tile; its name.
  std::string Vector(int64_t count, size_t position);
  // The sum of a tile along its free axis, if the instruction that made the tile has left it.
  std::optional<Tile> SumOf(int value) const;
  // A further index vector; its name.
  std::string IndexVector(const std::string& definition);
  PythonWriter& hoisted() { return hoisted_; }
  Tile Load(const Access& access);

 private:
  // fused_ops.cc. What an operand is to an instruction.
  enum class OperandKind { kNumber, kColumn, kTile };
  OperandKind KindOf(size_t position, size_t k) const;
  // Of arithmetic on a tile and a number, or a column of one per row: which operand is the tile.
  std::optional<size_t> DataOperand(size_t position) const;
  // The one operation of the stage that reads what the operation makes, if nothing else does.
  std::optional<size_t> OnlyReader(size_t position) const;
  // Leaves the operation to the instruction of its reader, which can do both; whether it does.
  bool Defer(size_t position);
  // The operation together with one that was left to it, or with what is summed up of it.
  bool EmitFused(size_t position);
  void EmitTwoOperators(size_t position, size_t k, size_t first);
  void EmitActivation(size_t position, std::optional<size_t> first);
  bool SumReaderOf(size_t position) const;
  std::string ScalarText(size_t position, size_t k);
  Tile ReadOnChip(const Access& access);
  Subscripted OnChip(const Access& access);
  // `out[…] = tile` for a value that stays in SBUF.
  void KeepOnChip(const Access& access, const Tile& tile);
  void DeclareResidences(PythonWriter* kernel) const;
  // A tile of several axes, loaded in the order in which it lies in memory.
  Tile LoadInOrder(const Access& access);
  // The shape of a tile; of one that doesn't vary along its free axes, with these of size 1.
  Dims TileShape(bool has_free) const;
  Tile LoadPositions(const Access& access);
  // row_spread.cc: accesses that are more than one step along the partitions of spread rows.
  Tile LoadInPieces(const Access& access);
  void StoreOfSpreadRow(const Access& access, const Tile& tile);
  // Elements that lie in the order opposite to the tile's are moved as they lie and reversed on chip.
  bool IsReversed(const Access& access) const;
  // The tile's index along a reversed free axis.
  std::string ReversedColumns() const;
  Subscripted SubscriptReversed(const Access& access);
  // spaced_access.cc: loads of every so many elements.
  Subscripted SubscriptSpaced(const Access& access);
  // turned_access.cc: accesses whose elements are neighbours along the partition axis.
  Tile LoadTurned(const Access& access);
  void StoreTurned(const Access& access, const Tile& tile);
  Subscripted SubscriptTurned(const Access& access);
  void TurnBlocks(const std::string& blocks_tile, const std::string& rows_tile, bool back);
  Dims TurnedShape() const;
  std::string ViewOf(int value, const Dims& shape);
  std::string DTypeArgument(const Op& op, const std::vector<Tile>& tiles) const;

  const KernelPlan& plan_;
  const StagePlan& stage_;
  KernelNames& names_;
  absl::Status status_;

  PythonWriter views_;    // reshapes of HBM tensors
  PythonWriter hoisted_;  // loads that no loop changes
  PythonWriter body_;
  int open_loops_ = 0;
  std::map<std::pair<int, Dims>, std::string> view_names_;
  std::vector<AxisIndex> axes_;
  std::string row_index_, column_index_;
  std::string row_variable_;              // of the loop over tiles of rows, "" where there is one
  std::string row_start_, column_start_;  // of the tile, "" at 0
  std::map<int, Tile> tiles_;             // by value
  std::map<int, size_t> deferred_;        // by value: operations that their reader's instruction does
  std::map<int, Tile> sums_;              // by value
  std::map<double, std::string> biases_;  // hoisted columns of one number
  std::map<std::string, Tile> loads_;     // by source expression
  std::map<std::string, Tile> hoisted_loads_;
  std::map<double, std::string> filled_;                      // hoisted tiles of one number
  std::vector<std::pair<std::string, std::string>> vectors_;  // further index vectors and their definitions
  std::map<std::string, std::string> vector_of_;              // by definition
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_STAGE_EMITTER_H_
