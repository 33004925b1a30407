// Changes programs as a program would be changed, not as bytes: what a fuzzer needs to get past validation.
#ifndef NKIAGENT_TESTS_FUZZ_MUTATE_H_
#define NKIAGENT_TESTS_FUZZ_MUTATE_H_

#include <cstdint>
#include <random>

#include "common/nki/ir/program.h"

namespace nkiagent::fuzz {

using Rng = std::mt19937_64;

// A few random changes of tensors, loops, instructions, accesses, expressions and attributes. The result need
// not be valid.
void Mutate(nki::ir::Program* program, Rng& rng);

}  // namespace nkiagent::fuzz

#endif  // NKIAGENT_TESTS_FUZZ_MUTATE_H_
