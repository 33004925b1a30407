// Diagnostics as both extension modules hand them to Python.
#ifndef NKIAGENT_COMMON_NKI_FRONTEND_DIAGNOSTICS_TO_PYTHON_H_
#define NKIAGENT_COMMON_NKI_FRONTEND_DIAGNOSTICS_TO_PYTHON_H_

#include <pybind11/pybind11.h>

#include <vector>

#include "common/nki/diagnostic.h"

namespace nkiagent::nki::frontend {

namespace py = pybind11;

// A list of dictionaries with the fields of Diagnostic; the severity by name. The caller holds the GIL.
inline py::list ToPython(const std::vector<Diagnostic>& diagnostics) {
  py::list out;
  for (const Diagnostic& d : diagnostics) {
    py::dict entry;
    entry["severity"] = d.severity == Severity::kError     ? "error"
                        : d.severity == Severity::kWarning ? "warning"
                                                           : "note";
    entry["rule"] = d.rule;
    entry["message"] = d.message;
    entry["line"] = d.line;
    entry["column"] = d.column;
    entry["limit"] = d.limit;
    entry["actual"] = d.actual;
    entry["hint"] = d.hint;
    out.append(entry);
  }
  return out;
}

}  // namespace nkiagent::nki::frontend

#endif  // NKIAGENT_COMMON_NKI_FRONTEND_DIAGNOSTICS_TO_PYTHON_H_
