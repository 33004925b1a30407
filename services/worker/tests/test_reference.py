"""The reference role: facts, graphs, tensors, and every way in which a task can be wrong."""

from __future__ import annotations

import json
import os

import numpy
import pytest
import torch

HEAD = "import torch\nimport torch.nn as nn\n"
SOFTMAX = (
    HEAD
    + """
class Model(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=-1)
def get_inputs():
    return [torch.randn(4, 8)]
def get_init_inputs():
    return []
"""
)


def task(forward: str, inputs: str = "[torch.randn(4, 8)]", init: str = "", more: str = "") -> str:
    """A task file from its varying parts."""
    return f"""{HEAD}
{more}
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {init or "pass"}
    def forward({forward}
def get_inputs():
    return {inputs}
def get_init_inputs():
    return []
"""


def read(fd: int, slot: dict, dtype: str, dims: list[int]) -> numpy.ndarray:
    """A tensor out of an arena."""
    data = os.pread(fd, slot["size_bytes"], slot["offset"])
    return numpy.frombuffer(data, dtype).reshape(dims)


def test_describes_a_softmax(reference):
    facts = reference.describe(SOFTMAX)
    assert [(a["name"], a["role"], a["dtype"], a["dims"]) for a in facts["arguments"]] == [
        ("x", "input", "float32", [4, 8])
    ]
    assert [(o["name"], o["dtype"], o["dims"]) for o in facts["outputs"]] == [("output", "float32", [4, 8])]
    assert facts["signature"] == "def nki_kernel(x):"
    assert facts["notes"] == []
    assert facts["graph"] == (
        "graph nki.graph.v1\n"
        "input x: float32[4, 8]\n"
        "%_softmax: float32[4, 8] = aten._softmax.default(%x, -1, False)\n"
        "return %_softmax\n"
    )
    assert facts["torch_version"] == torch.__version__


def test_parameters_and_buffers_follow_the_inputs(reference):
    source = task(
        "self, x, scale):\n        return self.norm(x) * scale + self.table + torch.tensor(2.0)",
        inputs="[torch.randn(4, 8), 0.5]",
        init='self.norm = nn.LayerNorm(8); self.register_buffer("table", torch.arange(8).float()); '
        "self.unused = nn.Linear(3, 3)",
    )
    facts = reference.describe(source)
    assert facts["signature"] == "def nki_kernel(x, norm_weight, norm_bias, table):"
    assert [a["reference_name"] for a in facts["arguments"]] == ["x", "norm.weight", "norm.bias", "table"]
    assert facts["folded_scalars"] == [{"name": "scale", "literal": "0.5"}]
    lines = facts["graph"].splitlines()
    assert "param norm_weight: float32[8]" in lines
    assert "buffer table: float32[8]" in lines
    assert "const c0: float32[] = 2.0" in lines
    assert not any("scale" in line for line in lines)
    assert numpy.array_equal(
        read(facts["fd"], facts["slots"][2], "float32", [8]), numpy.arange(8, dtype="float32")
    )


def test_lifted_tensors_are_buffers(reference):
    facts = reference.describe(
        task("self, x):\n        return x * torch.tensor([1.0, 2.0])", inputs="[torch.randn(4, 2)]")
    )
    (lifted,) = [a for a in facts["arguments"] if a["role"] == "buffer"]
    assert f"buffer {lifted['name']}: float32[2]" in facts["graph"]
    assert read(facts["fd"], facts["slots"][0], "float32", [2]).tolist() == [1.0, 2.0]


def test_names_stay_unique(reference):
    source = task(
        "self, w, mul):\n        return mul * self.w + w",
        inputs="[torch.randn(4), torch.randn(4)]",
        init="self.w = nn.Parameter(torch.ones(4))",
    )
    facts = reference.describe(source)
    assert facts["signature"] == "def nki_kernel(w, mul, w_1):"
    assert "%mul_1: float32[4] = aten.mul.Tensor(%mul, %w_1)" in facts["graph"]


def test_types_at_the_kernel_boundary(reference):
    source = task(
        "self, i, b, h, s):\n        return i + 1, ~b, h * 2, s + 1",
        inputs="[torch.arange(6).reshape(2, 3), torch.tensor([True, False]), "
        "torch.ones(3, dtype=torch.bfloat16), torch.tensor(1.5)]",
    )
    facts = reference.describe(source)
    assert [(o["dtype"], o["reference_dtype"], o["dims"], o["rank_zero"]) for o in facts["outputs"]] == [
        ("int32", "int64", [2, 3], False),
        ("uint8", "bool", [2], False),
        ("bfloat16", "bfloat16", [3], False),
        ("float32", "float32", [1], True),
    ]
    assert any("i is int64 in the module and is passed as int32" in note for note in facts["notes"])
    reply = reference.run(source, facts, [5])
    (trial,) = reply["trials"]
    inputs, expected = reply["fds"][1], reply["fds"][2]
    assert read(inputs, trial["input_slots"][0], "int32", [2, 3]).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read(expected, trial["output_slots"][0], "int32", [2, 3]).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read(expected, trial["output_slots"][1], "uint8", [2]).tolist() == [0, 1]
    assert read(expected, trial["output_slots"][2], "uint16", [3]).tolist() == [0x4000] * 3
    assert read(expected, trial["output_slots"][3], "float32", [1]).tolist() == [2.5]
    assert all(slot["offset"] % 64 == 0 for slot in trial["input_slots"] + trial["output_slots"])


def test_runs_seeds_like_pytorch_itself(reference):
    facts = reference.describe(SOFTMAX)
    reply = reference.run(SOFTMAX, facts, [3, 4])
    for position, seed in enumerate([3, 4]):
        torch.manual_seed(seed)
        x = torch.randn(4, 8)
        trial = reply["trials"][position]
        assert numpy.array_equal(
            read(reply["fds"][1 + 2 * position], trial["input_slots"][0], "float32", [4, 8]), x.numpy()
        )
        expected = read(reply["fds"][2 + 2 * position], trial["output_slots"][0], "float32", [4, 8])
        assert numpy.allclose(expected, torch.softmax(x, -1).numpy(), atol=1e-6)


def test_weights_come_from_their_own_seed(reference):
    source = task("self, x):\n        return self.linear(x)", init="self.linear = nn.Linear(8, 2)")
    facts = reference.describe(source)
    torch.manual_seed(0)
    linear = torch.nn.Linear(8, 2)
    assert numpy.array_equal(
        read(facts["fd"], facts["slots"][0], "float32", [2, 8]), linear.weight.detach().numpy()
    )


def test_dictionaries_and_tuples_of_outputs(reference):
    facts = reference.describe(task('self, x):\n        return {"sum": x.sum(), "twice": x * 2}'))
    assert [o["name"] for o in facts["outputs"]] == ["sum", "twice"]
    facts = reference.describe(task("self, x):\n        return x + 1, x + 2"))
    assert facts["graph"].splitlines()[-1] == "return %add, %add_1"


def test_inputs_changed_in_place_are_handed_out_unchanged(reference):
    source = task("self, x):\n        x.add_(1)\n        return x * 2", inputs="[torch.zeros(3)]")
    facts = reference.describe(source)
    assert any("in place" in note for note in facts["notes"])
    reply = reference.run(source, facts, [0])
    assert read(reply["fds"][1], reply["trials"][0]["input_slots"][0], "float32", [3]).tolist() == [0, 0, 0]
    assert read(reply["fds"][2], reply["trials"][0]["output_slots"][0], "float32", [3]).tolist() == [2, 2, 2]


def test_a_module_that_cannot_be_exported_is_described_without_a_graph(reference):
    source = task(
        "self, x):\n        return x + self.w if x.sum() > 0 else x - self.w",
        init="self.w = nn.Parameter(torch.ones(8))",
    )
    facts = reference.describe(source)
    assert facts["graph"] == ""
    assert facts["signature"] == "def nki_kernel(x, w):"
    assert any("no reference graph" in note for note in facts["notes"])
    assert reference.run(source, facts, [1])["trials"]


@pytest.mark.parametrize(
    ("kind", "says", "source"),
    [
        ("SYNTAX", "line 2", "import torch\ndef (:\n"),
        ("SYNTAX", "null bytes", "import torch\0"),
        ("IMPORT", "ZeroDivisionError", "1 / 0\n"),
        ("IMPORT", "SystemExit", "raise SystemExit(0)\n"),
        ("NO_MODEL", "Model does not exist", "import torch\n"),
        ("NO_MODEL", "no torch.nn.Module", "class Model: pass\ndef get_inputs(): return []\n"),
        ("NO_INPUTS_FUNCTION", "get_inputs", HEAD + "class Model(nn.Module): pass\n"),
        ("BAD_INPUTS", "tuple", task("self, x):\n        return x", inputs="[(1, 2)]")),
        ("BAD_INPUTS", "not a list", task("self, x):\n        return x", inputs="torch.ones(2)")),
        ("BAD_INPUTS", "no tensor", task("self, x):\n        return torch.ones(2) * x", inputs="[2]")),
        ("CONSTRUCTOR_RAISES", "KeyError", task("self, x):\n        return x", init="{}[1]")),
        ("FORWARD_RAISES", "expected", task("self, x):\n        raise ValueError('expected')")),
        (
            "FORWARD_RAISES",
            "must match",
            task("self, x):\n        return x @ torch.ones(3, 3)").replace("@", "+"),
        ),
        ("BAD_OUTPUTS", "NoneType", task("self, x):\n        pass")),
        ("BAD_OUTPUTS", "int", task("self, x):\n        return x, 3")),
        (
            "UNSUPPORTED_DTYPE",
            "float64",
            task("self, x):\n        return x", inputs="[torch.randn(3).double()]"),
        ),
        ("UNSUPPORTED_DTYPE", "complex64", task("self, x):\n        return torch.complex(x, x)")),
        ("EMPTY_TENSOR", "[0, 8]", task("self, x):\n        return x", inputs="[torch.randn(0, 8)]")),
        (
            "UNSUPPORTED_RANK",
            "6 dimensions",
            task("self, x):\n        return x", inputs="[torch.randn(1, 1, 1, 1, 1, 2)]"),
        ),
        ("NON_DETERMINISTIC", "output", task("self, x):\n        return x + torch.rand(8)")),
        (
            "NON_DETERMINISTIC",
            "input x",
            task(
                "self, x):\n        return x",
                inputs="[torch.full((3,), float(int.from_bytes(__import__('os').urandom(3), 'big')))]",
            ),
        ),
        (
            "NON_DETERMINISTIC",
            "values of w",
            task(
                "self, x):\n        return x",
                init="self.w = nn.Parameter(torch.ones(3) * float(hash(open('/dev/urandom', 'rb').read(2))))",
            ),
        ),
        (
            "SHAPES_DEPEND_ON_SEED",
            "input x",
            task("self, x):\n        return x", inputs="[torch.randn(int(torch.randint(1, 1000, ())), 8)]"),
        ),
        ("NAN_OUTPUT", "NaN", task("self, x):\n        return x * float('nan')")),
        (
            "MEMORY",
            "larger than",
            task(
                "self, x):\n        return x.sum() + self.w.sum()",
                init="self.w = nn.Parameter(torch.ones(1 << 25))",
            ),
        ),
    ],
)
def test_problems_are_typed(reference, kind, says, source):
    problem = reference.describe(source)["problem"]
    assert problem["kind"] == kind, problem
    assert says in problem["message"] + problem["traceback"], problem


def test_a_problem_names_the_line_and_shows_the_traceback(reference):
    problem = reference.describe(task("self, x):\n        y = x\n        raise ValueError('here')"))[
        "problem"
    ]
    assert problem["line"] == 11
    assert 'File "reference.py", line 11, in forward' in problem["traceback"]
    assert "raise ValueError('here')" in problem["traceback"]
    assert "handler.py" not in problem["traceback"]


def test_int64_beyond_int32_is_a_problem(reference):
    source = task("self, x):\n        return x", inputs="[torch.tensor([1 << 40])]")
    facts = reference.describe(source)
    outcome = reference.outcome(
        {
            "op": "run",
            "source": source,
            "weight_seed": 0,
            "trials": [{"seed": 1, "family": "drawn"}],
            **{k: facts[k] for k in ("arguments", "outputs", "slots")},
        },
        [facts["fd"], reference.arena(), reference.arena()],
    )
    assert json.loads(outcome["reply"])["problem"]["kind"] == "BAD_INPUTS"


@pytest.mark.parametrize(
    ("kind", "forward"),
    [
        ("wall_timeout", "while True: pass"),
        ("memory_limit", "return torch.zeros(100 << 28)"),
        ("exited", "__import__('os')._exit(3)"),
        ("crashed", "__import__('ctypes').string_at(8)"),
        ("policy_violation", "__import__('socket').socket()"),
        ("policy_violation", "__import__('os').fork()"),
        ("output_flood", "[print('x' * (1 << 20)) for _ in range(1024)]"),
    ],
)
def test_hostile_references_get_a_verdict(reference, kind, forward):
    request = {"op": "describe", "source": task(f"self, x):\n        {forward}"), "weight_seed": 0, "seed": 1}
    limit = 1.0 if kind == "wall_timeout" else 30.0
    outcome = reference.outcome(request, [reference.arena()], wall_limit_s=limit)
    assert outcome["kind"] == kind, outcome


def test_deep_recursion_is_a_problem_with_its_traceback(reference):
    problem = reference.describe(task("self, x):\n        return self.forward(x)"))["problem"]
    assert problem["kind"] == "FORWARD_RAISES"
    assert "RecursionError" in problem["message"]
    assert len(problem["traceback"].encode()) <= 4200


def test_files_of_the_host_are_not_there(reference):
    problem = reference.describe(task("self, x):\n        open('/etc/passwd')"))["problem"]
    assert "FileNotFoundError" in problem["message"]


def test_nested_results_are_flattened_and_none_is_left_out(reference):
    facts = reference.describe(task("self, x):\n        return x + 1, (x * 2, None), {'sum': x.sum()}"))
    assert [(o["name"], o["dims"]) for o in facts["outputs"]] == [
        ("output_0", [4, 8]),
        ("output_1_0", [4, 8]),
        ("output_2_sum", [1]),
    ]
    assert facts["graph"].splitlines()[-1] == "return %add, %mul, %sum_1"


@pytest.mark.parametrize("assign", ["self.memory = ", "self.memory[:] = "])
def test_a_module_with_a_memory_starts_every_run_alike(reference, assign):
    source = task(
        f"self, x):\n        {assign}torch.tanh(x + self.memory)\n        return self.memory * 2",
        init="self.memory = torch.ones(4, 8)",
    )
    facts = reference.describe(source)
    assert "buffer memory: float32[4, 8]" in facts["graph"]
    assert facts["graph"].splitlines()[-1] == "return %mul"
    reply = reference.run(source, facts, [1, 2])
    for position, trial in enumerate(reply["trials"]):
        x = read(reply["fds"][1 + 2 * position], trial["input_slots"][0], "float32", [4, 8])
        expected = read(reply["fds"][2 + 2 * position], trial["output_slots"][0], "float32", [4, 8])
        assert numpy.allclose(expected, numpy.tanh(x + 1) * 2, atol=1e-6)


def test_einops_may_be_imported(reference):
    source = task(
        "self, x):\n        return einops.rearrange(x, 'a (b c) -> b a c', b=2) + 1", more="import einops"
    )
    assert "%add: float32[2, 4, 4]" in reference.describe(source)["graph"]


@pytest.mark.parametrize(
    ("forward", "named"),
    [
        ("self, x):\n        return x[x > 0]", "%index (aten.index.Tensor): its shape depends on the data"),
        ("self, x):\n        return x * 2 if x.sum() > 0 else x", "depends on the data"),
    ],
)
def test_what_depends_on_the_data_has_no_graph(reference, forward, named):
    facts = reference.describe(task(forward, inputs="[torch.ones(4, 8)]"))
    assert not facts["graph"]
    assert any(named in note for note in facts["notes"])
