// A program as text for people: tests, logs, `nkictl` and bug reports. Not parsed back.
#ifndef NKIAGENT_COMMON_NKI_IR_PRINT_H_
#define NKIAGENT_COMMON_NKI_IR_PRINT_H_

#include <string>

#include "common/nki/ir/program.h"

namespace nkiagent::nki::ir {

std::string ToString(const Program& program);
std::string ToString(const Program& program, const Instr& instr);
std::string ToString(const Program& program, const Affine& affine);

}  // namespace nkiagent::nki::ir

#endif  // NKIAGENT_COMMON_NKI_IR_PRINT_H_
