#include "common/nki/timing/machine.h"

namespace nkiagent::nki::timing {

double ClockGhz(isa::Engine engine) {
  switch (engine) {
    case isa::Engine::kTensor:
      return kTensorGhz;
    case isa::Engine::kVector:
      return kVectorGhz;
    case isa::Engine::kScalar:
      return kScalarGhz;
    case isa::Engine::kGpSimd:
      return kGpSimdGhz;
    case isa::Engine::kSync:
      return kSyncGhz;
    case isa::Engine::kDma:
    case isa::Engine::kUnknown:
      break;
  }
  return 1;
}

double LatencyCycles(isa::Engine engine) {
  switch (engine) {
    case isa::Engine::kTensor:
      return kTensorLatency;
    case isa::Engine::kVector:
      return kVectorLatency;
    case isa::Engine::kScalar:
      return kScalarLatency;
    case isa::Engine::kGpSimd:
      return kGpSimdLatency;
    case isa::Engine::kSync:
    case isa::Engine::kDma:
    case isa::Engine::kUnknown:
      break;
  }
  return 0;
}

}  // namespace nkiagent::nki::timing
