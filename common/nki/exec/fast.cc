#include "common/nki/exec/fast.h"

namespace nkiagent::nki::exec {

FastFn FastFor(const InstrPlan&) { return nullptr; }

}  // namespace nkiagent::nki::exec
