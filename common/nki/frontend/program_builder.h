// Program from the plain Python values that the frontend's tracer collects, in one call: tracing stays in
// Python, and crosses into C++ once for each kernel.
#ifndef NKIAGENT_COMMON_NKI_FRONTEND_PROGRAM_BUILDER_H_
#define NKIAGENT_COMMON_NKI_FRONTEND_PROGRAM_BUILDER_H_

#include <pybind11/pybind11.h>

#include "common/nki/ir/program.h"

namespace nkiagent::nki::frontend {

// `spec` is the dictionary that nki_frontend/lowering.py makes; its keys and tuples are described there.
// Throws pybind11::value_error or a Python exception when it is malformed, which is a fault of the tracer and
// not of a kernel.
ir::Program BuildProgram(const pybind11::dict& spec);

}  // namespace nkiagent::nki::frontend

#endif  // NKIAGENT_COMMON_NKI_FRONTEND_PROGRAM_BUILDER_H_
