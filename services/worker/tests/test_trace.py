"""The trace role in its real sandbox: the payload, the reply, and kernels that misbehave."""

from __future__ import annotations

import json

import pytest
from conftest import start_parent

HEAD = "import neuronxcc.nki as nki\nimport neuronxcc.nki.language as nl\nimport neuronxcc.nki.isa as nisa\n"
ADD_ONE = HEAD + (
    "@nki.jit\ndef nki_kernel(x):\n"
    "    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)\n"
    "    nl.store(out, nl.load(x) + 1.0)\n    return out\n"
)


@pytest.fixture(scope="module")
def parent():
    return start_parent("trace", "nkiagent_worker.trace_main")


def ask(parent, source, **fields):
    request = {
        "source": source,
        "entry": "nki_kernel",
        "arguments": [{"name": "x", "dtype": "float32", "shape": [128, 64]}],
        "constants": {},
        "grid": [],
        "target": "trn1",
        "sdk": "2.24",
        "max_instructions": 1000,
    } | fields
    outcome = parent.run(json.dumps(request).encode(), [])
    assert outcome["kind"] == "ok", outcome
    head, program = outcome["reply"].split(b"\n", 1)
    return json.loads(head), program


def test_a_kernel_becomes_a_program(parent):
    head, program = ask(parent, ADD_ONE)
    assert head == {"ok": True, "diagnostics": []}
    assert program.startswith(b"NKIP")


def test_a_broken_rule_becomes_a_diagnostic_with_its_line(parent):
    head, program = ask(parent, ADD_ONE.replace("nl.load(x) + 1.0", "x + 1.0"))
    assert not head["ok"] and program == b""
    assert head["diagnostics"][0]["rule"] == "err_unsupported_memory"
    assert head["diagnostics"][0]["line"] == 7


def test_constants_are_passed_by_keyword(parent):
    source = ADD_ONE.replace("(x)", "(x, *, step)", 1).replace("1.0", "step")
    head, program = ask(parent, source, constants={"step": "2.5"})
    assert head["ok"] and program
    head, _ = ask(parent, source, constants={"step": "open('/etc/passwd')"})
    assert head["diagnostics"][0]["rule"] == "err_kernel_constant"


def test_the_instruction_limit_is_the_requests(parent):
    source = ADD_ONE.replace("    nl.store", "    for i in range(50):\n        nl.store")
    head, _ = ask(parent, source, max_instructions=40)
    assert head["diagnostics"][0]["rule"] == "err_program_too_large"
    assert ask(parent, source)[0]["ok"]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("import os; os.system('true')", None),
        ("raise SystemExit(3)", "err_python_exception"),
        ("raise KeyboardInterrupt", None),
        ("import torch", "err_python_import"),
        ("open('/etc/shadow')", "err_python_exception"),
        ("import socket; socket.socket().connect(('127.0.0.1', 80))", None),
    ],
)
def test_what_a_kernel_does_besides_ends_in_its_child(parent, line, rule):
    source = ADD_ONE.replace("    out =", f"    {line}\n    out =", 1)
    request = {
        "source": source,
        "entry": "nki_kernel",
        "arguments": [{"name": "x", "dtype": "float32", "shape": [128, 64]}],
    }
    outcome = parent.run(json.dumps(request).encode(), [])
    if outcome["kind"] == "ok":
        head = json.loads(outcome["reply"].split(b"\n", 1)[0])
        assert not head["ok"]
        assert rule is None or head["diagnostics"][0]["rule"] == rule
        if rule is not None:
            assert head["diagnostics"][0]["line"] == 6
    else:
        assert rule is None
    assert ask(parent, ADD_ONE)[0]["ok"]  # the next request finds a fresh child
