"""Findings about a kernel, with the SDK's error names, and the place in the kernel's source they belong
to.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from types import CodeType, FrameType

_HERE = os.path.dirname(os.path.abspath(__file__))
_OURS = (_HERE + os.sep, os.path.join(os.path.dirname(_HERE), "neuronxcc") + os.sep)
# The name under which a kernel given as source text appears in tracebacks.
KERNEL_FILE = "<kernel>"
# Whether the trace under way is of such a kernel; set by source.py.
in_kernel_file = False
_is_ours: dict[CodeType, bool] = {}
_positions: dict[CodeType, list] = {}


@dataclasses.dataclass
class Diagnostic:
    """One finding. `line` and `column` are 1-based, 0 when unknown; `limit` and `actual` may be empty."""

    severity: str
    rule: str
    message: str
    line: int = 0
    column: int = 0
    limit: str = ""
    actual: str = ""
    hint: str = ""


class NkiError(Exception):
    """A rule of NKI that the kernel breaks; `rule` is the SDK's own name where it has one."""

    def __init__(
        self,
        rule: str,
        message: str,
        *,
        limit: object = "",
        actual: object = "",
        hint: str = "",
        loc: tuple[int, int] | None = None,
    ):
        super().__init__(f"{rule}: {message}" + (f" ({hint})" if hint else ""))
        self.rule = rule
        self.message = message
        self.limit = str(limit)
        self.actual = str(actual)
        self.hint = hint
        self.loc = loc if loc is not None else user_location()

    def diagnostic(self) -> Diagnostic:
        """The same finding as data."""
        return Diagnostic(
            "error", self.rule, self.message, self.loc[0], self.loc[1], self.limit, self.actual, self.hint
        )


class MissingApi(AttributeError):
    """A name that the SDK's modules and objects do not have; `hint` names those that it may have meant."""

    hint = ""


class Retrace(BaseException):
    """Ends a trace that has to start again with some loops unrolled, or cut where a condition changes
    (segments.py). Not an Exception, so kernels can't catch it by accident.
    """

    def __init__(self, loops: set, conditions: list | None = None):
        super().__init__("retrace")
        self.loops = loops
        # Pairs (expression, operator) of comparisons with zero that are to be decided; none: the value
        # itself is needed.
        self.conditions = conditions or []


def _ours(code: CodeType) -> bool:
    known = _is_ours.get(code)
    if known is None:
        # Not realpath: the packages may be imported through a symbolic link.
        name = code.co_filename
        known = (
            name.startswith(_OURS)
            or "nki_frontend" + os.sep in name
            or ("neuronxcc" + os.sep + "nki" + os.sep) in name
        )
        _is_ours[code] = known
    return known


def user_frame() -> FrameType | None:
    """The innermost frame of the kernel: of its source text if it has one, else the first that is not the
    tracer's.
    """
    frame = sys._getframe(1)
    first = None
    while frame is not None:
        if frame.f_code.co_filename == KERNEL_FILE:
            return frame
        if first is None and not _ours(frame.f_code):
            first = frame
            if not in_kernel_file:
                break
        frame = frame.f_back
    return first


def frame_location(frame: FrameType | None) -> tuple[int, int]:
    """(line, column), 1-based, of the instruction a frame is at."""
    if frame is None:
        return (0, 0)
    code = frame.f_code
    positions = _positions.get(code)
    if positions is None:
        positions = _positions[code] = list(code.co_positions())
    index = frame.f_lasti // 2
    if 0 <= index < len(positions):
        line, _, column, _ = positions[index]
        if line is not None:
            return (line, (column or 0) + 1)
    return (frame.f_lineno or 0, 0)


def user_location() -> tuple[int, int]:
    """Where the kernel is now."""
    return frame_location(user_frame())
