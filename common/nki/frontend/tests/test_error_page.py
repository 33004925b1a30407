"""docs/errors.md names every rule that the tracer reports, and every rule of the SDK has a kernel that breaks it
and one that keeps it.
"""

import pathlib
import re

import numpy as np
import pytest
from harness import body, trace
from test_errors import CASES

from nki_frontend.simulate import check

ROOT = pathlib.Path(__file__).resolve().parents[4]
X = np.zeros((128, 512), np.float32)

# aws-neuron-sdk v2.24.0, general/nki/api/nki.errors.rst.
SDK_RULES = """
    err_1d_arange_not_supported err_activation_bias_invalid_type err_activation_scale_invalid_type
    err_activation_scale_scalar_or_vector err_annotation_shape_mismatch
    err_bias_tensor_must_be_specified_in_allocation err_cannot_assign_to_index
    err_cannot_update_immutable_parameter err_control_flow_condition_depending_on_arange
    err_copy_dynamic_indirect_indices_not_natively_supported err_dynamic_control_flow_not_supported
    err_exceed_max_supported_dimension err_failed_to_infer_tile_from_local_tensor
    err_hbm_tensor_with_init_value_not_supported err_indirect_indices_free_dim
    err_leading_dimension_of_tensor_must_be_partition err_local_variable_used_out_of_scope
    err_nested_kernel_with_spmd_grid err_nki_api_outside_of_nki_kernel err_num_partition_exceed_arch_limit
    err_num_partition_mismatch err_shared_hbm_must_in_kernel_level err_size_of_dimension_exceed_arch_limit
    err_store_dst_shape_smaller_than_other_shape err_tensor_access_out_of_bound
    err_tensor_creation_on_scratchpad_with_init_value_not_supported err_tensor_output_not_written_to
    err_transpose_on_tensor_engine_not_allowed_in_allocated_kernel err_unexpected_output_dependencies
    err_unsupported_memory err_unsupported_mixing_basic_advanced_tensor_indexing
""".split()

# Judged on the whole program, or a warning: rule -> (source that breaks it, source that keeps it, grid).
ELSEWHERE = {
    "err_leading_dimension_of_tensor_must_be_partition": (
        body("t = nl.ndarray((2, nl.par_dim(128), 512), nl.float32)\nt[0] = nl.load(x)\nnl.store(out, t[0])"),
        body("t = nl.ndarray((nl.par_dim(128), 2, 512), nl.float32)\nt[:, 0] = nl.load(x)\nnl.store(out, t[:, 0])"),
        (),
    ),
    "err_unexpected_output_dependencies": (
        body("for i in nl.affine_range(2):\n    nl.store(out, nl.load(x) + i)"),
        body("for i in nl.sequential_range(2):\n    nl.store(out, nl.load(x) + i)"),
        (),
    ),
    "err_unexpected_output_dependencies ": (
        body("nl.store(out, nl.load(x) * nl.program_id(0))"),
        body("r = nl.ds(nl.program_id(0) * 64, 64)\nnl.store(out[r, :], nl.load(x[r, :]))"),
        (2,),
    ),
    "err_tensor_access_out_of_bound": (
        body("for i in nl.affine_range(2):\n    s = nl.ds(i * 128, 128)\n    nl.store(out[s, :], nl.load(x[s, :]))"),
        body("for i in nl.affine_range(2):\n    s = nl.ds(i * 64, 64)\n    nl.store(out[s, :], nl.load(x[s, :]))"),
        (),
    ),
}  # fmt: skip


def test_error_page_names_every_rule():
    page = (ROOT / "docs" / "errors.md").read_text()
    named = set(re.findall(r"(?:err|warn)_[a-z0-9_]+", page))
    frontend = ROOT / "common" / "nki" / "frontend"
    used = set()
    for folder in ("nki_frontend", "neuronxcc"):
        for file in (frontend / folder).rglob("*.py"):
            used |= set(re.findall(r"\"((?:err|warn)_[a-z0-9_]+)\"", file.read_text()))
    assert used
    assert used <= named, sorted(used - named)


def test_every_rule_of_the_sdk_is_broken_and_kept_by_a_test():
    assert len(SDK_RULES) == 31
    assert set(SDK_RULES) <= set(CASES) | {rule.strip() for rule in ELSEWHERE}


def _found(source: str, grid: tuple) -> list:
    traced = trace(source, [X], grid)
    return traced.diagnostics + (check(traced.program) if traced.ok else [])


@pytest.mark.parametrize("rule", ELSEWHERE)
def test_rules_of_whole_programs(rule):
    broken, kept, grid = ELSEWHERE[rule]
    assert rule.strip() in [d.rule for d in _found(broken, grid)]
    assert not [d for d in _found(kept, grid) if d.severity == "error" or d.rule == rule.strip()]
