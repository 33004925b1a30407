// nki_fuzz_seeds FOLDER: writes valid programs for the fuzzers to start from, several of each instruction and
// the benchmark's small forms.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/nki/exec/bench/bench_programs.h"
#include "common/nki/exec/testing/random_program.h"
#include "common/nki/ir/serialize.h"
#include "common/nki/isa/table.h"

namespace {

namespace exec = nkiagent::nki::exec;
namespace ir = nkiagent::nki::ir;
namespace isa = nkiagent::nki::isa;

constexpr uint64_t kEach = 6;

bool Write(const std::filesystem::path& path, const ir::Program& program) {
  std::ofstream file(path, std::ios::binary);
  file << ir::Serialize(program);
  return file.good();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: nki_fuzz_seeds FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  bool ok = Write(folder / "softmax", exec::SoftmaxProgram(200, 40)) &&
            Write(folder / "add", exec::AddProgram(128, 64)) &&
            Write(folder / "matmul", exec::MatmulProgram(128, 128, 512));
  for (const isa::Row& row : isa::Table()) {
    for (uint64_t seed = 0; seed < kEach; ++seed) {
      const std::string name = std::string(row.name) + "_" + std::to_string(seed);
      ok = Write(folder / name, exec::testing::MakeRandomProgram(row.op, seed).program) && ok;
    }
  }
  if (!ok) std::fprintf(stderr, "can't write to %s\n", folder.c_str());
  return ok ? 0 : 1;
}
