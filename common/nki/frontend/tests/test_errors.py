"""Each error name of the frontend: a kernel that triggers it, and a close one that does not."""

import numpy as np
import pytest
from harness import HEAD, body, rules, trace

X = np.zeros((128, 512), np.float32)
SMALL = np.zeros((64, 32), np.float32)

# rule -> (source that breaks it, source that keeps it, inputs)
CASES = {
    "err_1d_arange_not_supported": (
        body("t = nl.load(x)\nt[nl.arange(128), nl.arange(512)] = 0\nnl.store(out, t)"),
        body("t = nl.load(x)\nt[nl.arange(128)[:, None], nl.arange(512)[None, :]] = 0\nnl.store(out, t)"),
        [X],
    ),
    "err_activation_bias_invalid_type": (
        body("b = nl.zeros((128, 1), nl.int32)\nnl.store(out, nisa.activation(nl.exp, nl.load(x), bias=b))"),
        body(
            "b = nl.zeros((128, 1), nl.bfloat16)\nnl.store(out, nisa.activation(nl.exp, nl.load(x), bias=b))"
        ),
        [X],
    ),
    "err_activation_scale_invalid_type": (
        body(
            "s = nl.ones((128, 1), nl.bfloat16)\nnl.store(out, nisa.activation(nl.exp, nl.load(x), scale=s))"
        ),
        body(
            "s = nl.ones((128, 1), nl.float32)\nnl.store(out, nisa.activation(nl.exp, nl.load(x), scale=s))"
        ),
        [X],
    ),
    "err_activation_scale_scalar_or_vector": (
        body(
            "s = nl.ones((128, 512), nl.float32)\nnl.store(out, nisa.activation(nl.exp, nl.load(x), scale=s))"
        ),
        body("nl.store(out, nisa.activation(nl.exp, nl.load(x), scale=2.0))"),
        [X],
    ),
    "err_annotation_shape_mismatch": (
        body("t: nt.tensor[128, 256] = nl.load(x)\nnl.store(out, t)"),
        body("t: nt.tensor[128, 512] = nl.load(x)\nnl.store(out, t)"),
        [X],
    ),
    "err_bias_tensor_must_be_specified_in_allocation": (
        body(
            "t = nl.ndarray((128, 512), nl.float32, buffer=ncc.sbuf.mod_alloc(base_addr=0))\n"
            "t[...] = nl.load(x)\nt[...] = nisa.activation(nl.exp, t)\nnl.store(out, t)"
        ),
        body(
            "t = nl.ndarray((128, 512), nl.float32, buffer=ncc.sbuf.mod_alloc(base_addr=0))\n"
            "b = nl.ndarray((128, 1), nl.float32, buffer=ncc.sbuf.mod_alloc(base_addr=4096))\nb[...] = 0\n"
            "t[...] = nl.load(x)\nt[...] = nisa.activation(nl.exp, t, bias=b)\nnl.store(out, t)"
        ),
        [X],
    ),
    "err_hbm_tensor_in_allocated_kernel": (
        body(
            "t = nl.ndarray((128, 512), nl.float32, buffer=ncc.sbuf.mod_alloc(base_addr=0))\n"
            "h = nl.ndarray((128, 512), nl.float32, buffer=nl.private_hbm)\n"
            "t[...] = nl.load(x)\nnl.store(h, t)\nt[...] = nl.load(h)\nnl.store(out, t)"
        ),
        body(
            "t = nl.ndarray((128, 512), nl.float32)\n"
            "h = nl.ndarray((128, 512), nl.float32, buffer=nl.private_hbm)\n"
            "t[...] = nl.load(x)\nnl.store(h, t)\nt[...] = nl.load(h)\nnl.store(out, t)"
        ),
        [X],
    ),
    "err_cannot_assign_to_index": (
        body("i = nl.arange(512)[None, :]\ni[0, 0] = 3\nnl.store(out, nl.load(x))"),
        body("i = nisa.iota(nl.arange(512)[None, :], nl.int32)\ni[0, 0] = 3\nnl.store(out, nl.load(x))"),
        [X],
    ),
    "err_cannot_update_immutable_parameter": (
        body("nl.store(x, nl.load(x))\nnl.store(out, nl.load(x))"),
        body("nl.store(out, nl.load(x))"),
        [X],
    ),
    "err_control_flow_condition_depending_on_arange": (
        body("i = nl.arange(512)[None, :]\nif i < 10:\n    nl.store(out, nl.load(x))"),
        body(
            "i = nl.arange(512)[None, :]\np = nl.arange(128)[:, None]\nnl.store(out[p, i], nl.load(x[p, i]), mask=(i < 600))"
        ),
        [X],
    ),
    "err_copy_dynamic_indirect_indices_not_natively_supported": (
        body(
            "t = nl.load(x)\nk = nl.zeros((1, 1), nl.int32)\nu = nl.ndarray((128, 1), nl.float32)\n"
            "u[...] = t[nl.arange(128)[:, None], k]\nnl.store(out, t)"
        ),
        body(
            "t = nl.load(x)\nk = nl.zeros((1, 1), nl.int32)\nu = nl.ndarray((128, 1), nl.float32)\n"
            "u[...] = nisa.tensor_copy_dynamic_src(t[nl.arange(128)[:, None], k])\nnl.store(out, t)"
        ),
        [X],
    ),
    "err_dynamic_control_flow_not_supported": (
        body("t = nl.load(x)\nif t > 0:\n    t = t * 2\nnl.store(out, t)"),
        body("t = nl.load(x)\nif t is not None:\n    t = t * 2\nnl.store(out, t)"),
        [X],
    ),
    "err_exceed_max_supported_dimension": (
        body("t = nl.load(x).reshape((128, 4, 128))\nu = nl.transpose(t)\nnl.store(out, nl.load(x))"),
        body("t = nl.load(x)\nu = nl.transpose(t[:, 0:128])\nnl.store(out, t)"),
        [X],
    ),
    "err_failed_to_infer_tile_from_local_tensor": (
        body(
            "t = nl.ndarray((2, nl.par_dim(128), 512), nl.float32)\nt[0] = nl.load(x)\nt[1] = nl.load(x)\n"
            "u = nl.exp(t)\nnl.store(out, t[0])"
        ),
        body(
            "t = nl.ndarray((2, nl.par_dim(128), 512), nl.float32)\nt[0] = nl.load(x)\nt[1] = nl.load(x)\n"
            "u = nl.exp(t[1])\nnl.store(out, t[0])"
        ),
        [X],
    ),
    "err_hbm_tensor_with_init_value_not_supported": (
        body("z = nl.zeros((128, 512), nl.float32, buffer=nl.private_hbm)\nnl.store(out, nl.load(x))"),
        body(
            "z = nl.ndarray((128, 512), nl.float32, buffer=nl.private_hbm)\nnl.store(z, 0.0)\nnl.store(out, nl.load(z))"
        ),
        [X],
    ),
    "err_indirect_indices_free_dim": (
        body(
            "k = nl.zeros((128, 4), nl.int32)\nt = nl.load(x[nl.arange(128)[:, None], k])\nnl.store(out, nl.load(x))"
        ),
        body(
            "k = nl.zeros((128, 1), nl.int32)\nt = nl.load(x[k, nl.arange(512)[None, :]])\nnl.store(out, t)"
        ),
        [X],
    ),
    "err_local_variable_used_out_of_scope": (
        body("for i in nl.affine_range(4):\n    t = nl.load(x)\nnl.store(out, t)"),
        body(
            "t = nl.ndarray((128, 512), nl.float32)\nfor i in nl.affine_range(4):\n"
            "    s = nl.ds(i * 128, 128)\n    t[:, s] = nl.load(x[:, s])\nnl.store(out, t)"
        ),
        [X],
    ),
    "err_nested_kernel_with_spmd_grid": (
        HEAD + "@nki.jit\ndef inner(a, b):\n    nl.store(b, nl.load(a))\n\n\n@nki.jit\ndef nki_kernel(x):\n"
        "    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)\n    inner[2](x, out)\n    return out\n",
        HEAD + "@nki.jit\ndef inner(a, b):\n    nl.store(b, nl.load(a))\n\n\n@nki.jit\ndef nki_kernel(x):\n"
        "    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)\n    inner(x, out)\n    return out\n",
        [X],
    ),
    "err_nki_api_outside_of_nki_kernel": (
        HEAD + "t = nl.zeros((128, 512), nl.float32)\n\n\n@nki.jit\ndef nki_kernel(x):\n"
        "    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)\n    nl.store(out, t)\n    return out\n",
        body("t = nl.zeros((128, 512), nl.float32)\nnl.store(out, t)"),
        [X],
    ),
    "err_num_partition_exceed_arch_limit": (
        body("nl.store(out, nl.load(x))"),
        body(
            "for i in nl.affine_range(2):\n    s = nl.ds(i * 128, 128)\n    nl.store(out[s, :], nl.load(x[s, :]))"
        ),
        [np.zeros((256, 64), np.float32)],
    ),
    "err_num_partition_mismatch": (
        body("a = nl.load(x)\nb = nl.load(x[0:1, :])\nnl.store(out, a + b)"),
        body("a = nl.load(x)\nb = nl.load(x[0:1, :]).broadcast_to((128, 512))\nnl.store(out, a + b)"),
        [X],
    ),
    "err_shared_hbm_must_in_kernel_level": (
        body(
            "for i in nl.affine_range(2):\n    o = nl.ndarray((128, 512), nl.float32, buffer=nl.shared_hbm)\n"
            "nl.store(out, nl.load(x))"
        ),
        body(
            "o = nl.ndarray((128, 512), nl.float32, buffer=nl.shared_hbm)\nnl.store(o, nl.load(x))\nnl.store(out, nl.load(x))"
        ),
        [X],
    ),
    "err_size_of_dimension_exceed_arch_limit": (
        body("t = nl.transpose(nl.load(x))\nnl.store(out, nl.load(x))"),
        body("t = nl.transpose(nl.load(x[:, 0:128]))\nnl.store(out, nl.load(x))"),
        [X],
    ),
    "err_store_dst_shape_smaller_than_other_shape": (
        body("nl.store(out[:, 0:100], nl.load(x))\nnl.store(out, nl.load(x))"),
        body("nl.store(out[:, 0:100], nl.load(x[:, 0:1]))\nnl.store(out, nl.load(x))"),
        [X],
    ),
    "err_tensor_access_out_of_bound": (
        body("t = nl.load(x[:, 512])\nnl.store(out, nl.load(x))"),
        body("t = nl.load(x[:, 511])\nnl.store(out, nl.load(x))"),
        [X],
    ),
    "err_tensor_creation_on_scratchpad_with_init_value_not_supported": (
        body(
            "t = nl.zeros((128, 512), nl.float32, buffer=ncc.sbuf.mod_alloc(base_addr=0))\nnl.store(out, t)"
        ),
        body(
            "t = nl.ndarray((128, 512), nl.float32, buffer=ncc.sbuf.mod_alloc(base_addr=0))\nt[...] = 0\nnl.store(out, t)"
        ),
        [X],
    ),
    "err_tensor_output_not_written_to": (
        body("for i in nl.affine_range(x.shape[0] // 256):\n    nl.store(out, nl.load(x))"),
        body("for i in nl.affine_range(x.shape[0] // 128):\n    nl.store(out, nl.load(x))"),
        [X],
    ),
    "err_transpose_on_tensor_engine_not_allowed_in_allocated_kernel": (
        body(
            "t = nl.ndarray((64, 32), nl.float32, buffer=ncc.sbuf.mod_alloc(base_addr=0))\nt[...] = nl.load(x)\n"
            "u = nisa.nc_transpose(t)\nnl.store(out, t)"
        ),
        body(
            "t = nl.ndarray((64, 32), nl.float32, buffer=ncc.sbuf.mod_alloc(base_addr=0))\nt[...] = nl.load(x)\n"
            "u = nisa.nc_transpose(t[0:32, :], engine=nisa.vector_engine)\nnl.store(out, t)"
        ),
        [SMALL],
    ),
    "err_unsupported_memory": (
        body("nl.store(out, nl.exp(x))"),
        body("nl.store(out, nl.exp(nl.load(x)))"),
        [X],
    ),
    "err_unsupported_mixing_basic_advanced_tensor_indexing": (
        body("t = nl.load(x[nl.arange(128)[:, None], 0:512])\nnl.store(out, t)"),
        body("t = nl.load(x[nl.arange(128)[:, None], nl.arange(512)[None, :]])\nnl.store(out, t)"),
        [X],
    ),
    "err_insufficient_rank": (
        body("t = nl.ndarray((128,), nl.float32)\nnl.store(out, nl.load(x))"),
        body("t = nl.ndarray((128, 1), nl.float32)\nnl.store(out, nl.load(x))"),
        [X],
    ),
    "err_unsupported_expression_in_mask": (
        body("t = nl.load(x)\nnl.store(out, t, mask=(t > 0))"),
        body("nl.store(out, nl.load(x), mask=(nl.arange(128)[:, None] < 128))"),
        [X],
    ),
    "err_loop_exit_not_supported": (
        body("for i in nl.affine_range(4):\n    nl.store(out, nl.load(x))\n    break"),
        body("for i in nl.static_range(4):\n    nl.store(out, nl.load(x))\n    break"),
        [X],
    ),
    "err_unknown_nki_api": (
        body("nl.store(out, nl.softmx(nl.load(x), axis=1))"),
        body("nl.store(out, nl.softmax(nl.load(x), axis=1))"),
        [X],
    ),
    "err_kernel_entry_missing": (
        body("nl.store(out, nl.load(x))").replace("nki_kernel", "my_kernel"),
        body("nl.store(out, nl.load(x))"),
        [X],
    ),
    "err_kernel_signature": (
        body("nl.store(out, nl.load(x))", "x, y"),
        body("nl.store(out, nl.load(x))", "x, y=None"),
        [X],
    ),
    "err_python_syntax": (body("nl.store(out, nl.load(x)"), body("nl.store(out, nl.load(x))"), [X]),
    "err_python_name": (body("nl.store(out, tile)"), body("tile = nl.load(x)\nnl.store(out, tile)"), [X]),
    "err_python_import": (
        "import torch_of_another_world\n" + body("nl.store(out, nl.load(x))"),
        "import math\n" + body("nl.store(out, nl.load(x))"),
        [X],
    ),
    "err_python_recursion": (
        HEAD
        + "def f(x):\n    return f(x)\n\n\n"
        + body("f(x)\nnl.store(out, nl.load(x))").removeprefix(HEAD),
        body("nl.store(out, nl.load(x))"),
        [X],
    ),
    "err_kernel_assertion": (
        body("assert x.shape[0] == 64, 'rows'\nnl.store(out, nl.load(x))"),
        body("assert x.shape[0] == 128, 'rows'\nnl.store(out, nl.load(x))"),
        [X],
    ),
    "err_program_id_axis": (
        body("i = nl.program_id(0)\nnl.store(out, nl.load(x))"),
        body("i = nl.program_ndim()\nnl.store(out, nl.load(x))"),
        [X],
    ),
    "err_output_is_parameter": (
        HEAD + "@nki.jit\ndef nki_kernel(x):\n    return x\n",
        body("nl.store(out, nl.load(x))"),
        [X],
    ),
    "err_reduction_axis": (
        body("t = nl.sum(nl.load(x), axis=0)\nnl.store(out, nl.load(x))"),
        body("t = nl.sum(nl.load(x), axis=-1)\nnl.store(out, nl.load(x))"),
        [X],
    ),
    "err_unsupported_dtype": (
        body("t = nl.zeros((128, 512), np.float64)\nnl.store(out, t)"),
        body("t = nl.zeros((128, 512), np.float16)\nnl.store(out, t)"),
        [X],
    ),
    "err_program_too_large": (
        body("for i in range(20000):\n    nl.store(out, 0.0)"),
        body("for i in nl.affine_range(20000):\n    nl.store(out, 0.0)"),
        [X],
    ),
    "err_index_not_affine": (
        body(
            "i = nl.arange(512)[None, :]\nt = nl.load(x[nl.arange(128)[:, None], i // 3])\nnl.store(out, nl.load(x))"
        ),
        body(
            "for i in nl.affine_range(6):\n    t = nl.load(x[:, nl.ds(i // 3, 4)])\nnl.store(out, nl.load(x))"
        ),
        [X],
    ),
}


@pytest.mark.parametrize("rule", sorted(CASES))
def test_broken_rule_is_named(rule):
    source, _, arrays = CASES[rule]
    traced = trace(source, arrays)
    assert traced.program is None
    assert rule in rules(traced), traced.diagnostics


@pytest.mark.parametrize("rule", sorted(CASES))
def test_close_relative_is_accepted(rule):
    _, source, arrays = CASES[rule]
    traced = trace(source, arrays)
    assert traced.ok, traced.diagnostics


def test_findings_carry_line_column_limit_and_fix():
    source = body("a = nl.load(x)\nb = nl.load(x)\nc = nisa.nc_matmul(a, b)\nnl.store(out, a)")
    traced = trace(source, [np.zeros((128, 256), np.float32)])
    error = next(d for d in traced.diagnostics if d.rule == "err_size_of_dimension_exceed_arch_limit")
    assert source.splitlines()[error.line - 1].strip() == "c = nisa.nc_matmul(a, b)"
    assert error.column == source.splitlines()[error.line - 1].index("nisa") + 1
    assert "128" in error.limit and "256" in error.actual and error.hint


def test_error_in_a_helper_names_the_helpers_line():
    source = HEAD + (
        "def helper(t):\n    return nl.exp(t)\n\n\n@nki.jit\ndef nki_kernel(x):\n"
        "    out = nl.ndarray(x.shape, x.dtype, buffer=nl.shared_hbm)\n    nl.store(out, helper(x))\n    return out\n"
    )
    traced = trace(source, [X])
    assert source.splitlines()[traced.diagnostics[0].line - 1].strip() == "return nl.exp(t)"


def test_rebinding_in_a_loop_is_warned_about():
    source = body(
        "t = nl.load(x)\nfor i in nl.affine_range(2):\n    t = nl.exp(t)\nnl.store(out, nl.load(x))"
    )
    traced = trace(source, [X])
    assert traced.ok
    assert [d.rule for d in traced.diagnostics] == ["warn_shadowing_local_tensor"]


def test_rebinding_in_a_loop_and_use_behind_it_is_refused():
    source = body("t = nl.load(x)\nfor i in nl.affine_range(2):\n    t = nl.exp(t)\nnl.store(out, t)")
    assert "err_local_variable_used_out_of_scope" in rules(trace(source, [X]))


def test_python_range_has_the_scope_rules_of_every_loop():
    source = body("for i in range(2):\n    t = nl.load(x)\nnl.store(out, t)")
    assert "err_local_variable_used_out_of_scope" in rules(trace(source, [X]))


def test_a_static_range_is_no_scope():
    source = body("t = nl.load(x)\nfor i in nl.static_range(2):\n    t = nl.exp(t)\nnl.store(out, t)")
    assert trace(source, [X]).ok


def test_block_dimensions_are_warned_about():
    source = body(
        "t = nl.ndarray((2, nl.par_dim(128), 512), nl.float32)\nt[0] = nl.load(x)\nnl.store(out, t[0])"
    )
    traced = trace(source, [X])
    assert traced.ok
    assert [d.severity for d in traced.diagnostics] == ["warning"]
    assert traced.diagnostics[0].rule == "err_leading_dimension_of_tensor_must_be_partition"


def test_near_names_are_suggested():
    traced = trace(body("nl.store(out, nl.activation(nl.exp, nl.load(x)))"), [X])
    assert traced.diagnostics[0].rule == "err_unknown_nki_api"
    assert "nisa.activation" in traced.diagnostics[0].hint


def test_an_unknown_keyword_is_warned_about():
    source = body("p = nl.arange(128)[:, None]\nnl.store(out, nl.load(x), maks=(p < 64))")
    traced = trace(source, [X])
    assert traced.ok
    assert [d.rule for d in traced.diagnostics] == ["warn_unknown_argument"]
    assert "mask" in traced.diagnostics[0].hint


BRANCHES = """
for i in nl.affine_range(4):
    s = nl.ds(i * 128, 128)
    if i < 2:
        t = nl.load(x[:, s])
    else:
        t = nl.load(x[:, s]) * 2.0
    nl.store(out[:, s], t)
"""


def test_a_tile_of_a_branch_on_a_loop_index_dies_with_it():
    traced = trace(body(BRANCHES), [X])
    assert rules(traced) == ["err_local_variable_used_out_of_scope"]
    assert body(BRANCHES).splitlines()[traced.diagnostics[0].line - 1].strip() == "nl.store(out[:, s], t)"


def test_a_tile_of_a_branch_on_a_python_value_lives_on():
    assert trace(body(BRANCHES.replace("i < 2", "x.shape[0] < 2")), [X]).ok


def test_a_branch_may_write_to_a_tile_from_outside():
    source = BRANCHES.replace("    if", "    t = nl.ndarray((128, 128), nl.float32)\n    if").replace(
        "t = nl.load", "t[...] = nl.load"
    )
    assert trace(body(source), [X]).ok


def test_leaving_a_python_loop_from_a_branch_is_allowed():
    source = "for i in range(4):\n    if i == 2:\n        break\n    nl.store(out, nl.load(x))"
    assert trace(body(source), [X]).ok


def test_a_loop_index_behind_its_loop_is_refused():
    source = "for i in nl.affine_range(4):\n    nl.store(out, nl.load(x))\nnl.store(out[:, nl.ds(i, 1)], 0.0)"
    traced = trace(body(source), [X])
    assert rules(traced) == ["err_local_variable_used_out_of_scope"]


def test_numpy_functions_on_tiles_are_pointed_to_nl():
    traced = trace(body("nl.store(out, np.exp(nl.load(x)))"), [X])
    assert rules(traced) == ["err_python_type"]
    assert "nl.exp" in traced.diagnostics[0].hint


def test_a_long_vector_is_pointed_to_a_row():
    traced = trace(body("t = nl.load(x.reshape((65536,)))\nnl.store(out, nl.load(x))"), [X])
    assert rules(traced) == ["err_num_partition_exceed_arch_limit"]
    assert "reshape((1, 65536))" in traced.diagnostics[0].hint


def test_methods_that_tiles_do_not_have_are_pointed_to_nl():
    traced = trace(body("nl.store(out, nl.load(x).sum(axis=1))"), [X])
    assert rules(traced) == ["err_unknown_nki_api"]
    assert "nl.sum" in traced.diagnostics[0].hint


def test_the_newer_dialect_is_named():
    traced = trace("import nki\n" + body("nl.store(out, nl.load(x))"), [X])
    assert rules(traced) == ["err_python_import"]
    assert "neuronxcc.nki" in traced.diagnostics[0].hint
