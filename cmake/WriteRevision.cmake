# Run at build time: writes OUT, a C++ source that names the toolchain. ROOT is the source tree, FILES what can change a
# result, relative to it and '|' between them. Equal sources give equal names wherever they lie.
string(REPLACE "|" ";" FILES "${FILES}")
set(hashes "")
foreach(file IN LISTS FILES)
  file(SHA256 "${ROOT}/${file}" hash)
  string(APPEND hashes "${file} ${hash}\n")
endforeach()
string(SHA256 hash "${hashes}")
string(SUBSTRING "${hash}" 0 12 hash)
execute_process(COMMAND git describe --always --dirty --abbrev=12 WORKING_DIRECTORY "${ROOT}"
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
file(CONFIGURE OUTPUT "${OUT}" CONTENT [[
#include "common/revision/revision.h"
namespace nkiagent {
std::string ToolchainVersion() { return "@VERSION@+@hash@"; }
std::string SourceRevision() { return "@commit@"; }
}  // namespace nkiagent
]] @ONLY)
