"""Tests of proto/lint.py: it passes on this repository, and each rule fails on a file that breaks it."""

import pathlib

import pytest

from proto import lint

GOOD = """\
// A service that echoes.
syntax = "proto3";

package nkiagent.echo.v1;

// How to echo.
enum Echo {
  // Not set.
  ECHO_UNSPECIFIED = 0;
  // Loud.
  ECHO_LOUD = 1;
}

// Echoes.
service EchoService {
  // Says it again. Idempotent. A sensible deadline is 1 s.
  rpc Say(SayRequest) returns (SayResponse);
}

// What to say.
message SayRequest {
  // The words.
  repeated string words = 1;
  // How.
  Echo echo = 2;
}

// What was said.
message SayResponse {
  // Either form.
  oneof form {
    // As text.
    string text = 1;
    // As bytes.
    bytes raw = 2;
  }
}
"""

SMALL_ENUM = "// Small.\nenum echo_kind {\n  // Not set.\n  ECHO_KIND_UNSPECIFIED = 0;\n}\n\n"


def write(root: pathlib.Path, text: str, name: str = "nkiagent/echo/v1/echo_service.proto") -> None:
    """Puts a proto under a folder."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_accepts_this_repository() -> None:
    assert [str(finding) for finding in lint.lint(pathlib.Path(lint.__file__).parent)] == []


def test_accepts_a_good_file(tmp_path: pathlib.Path) -> None:
    write(tmp_path, GOOD)
    assert lint.lint(tmp_path) == []
    assert lint.main([str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        (
            "package nkiagent.echo.v1",
            "package nkiagent.other.v1",
            4,
            "stands in the folder of package nkiagent.echo.v1",
        ),
        ("// A service that echoes.\n", "", 1, "begins with no comment"),
        ("// Echoes.", f"{SMALL_ENUM}// Echoes.", 15, "enum echo_kind is not PascalCase"),
        ("ECHO_LOUD", "LOUD", 11, "does not begin with ECHO_"),
        ("ECHO_UNSPECIFIED", "ECHO_NONE", 9, "must be ECHO_UNSPECIFIED"),
        ("  // Loud.\n", "", 10, "enum value ECHO_LOUD has no comment"),
        ("service EchoService", "service Echoes", 15, "does not end in Service"),
        (" Idempotent.", "", 17, "says nothing about: idempotent"),
        (" A sensible deadline is 1 s.", "", 17, "says nothing about: deadline"),
        ("  // The words.\n", "", 22, "field SayRequest.words has no comment"),
        ("string words", "string Words", 23, "is not lower_snake_case"),
        ("string words", "string word", 23, "is not plural"),
        ("// What to say.\n", "", 20, "message SayRequest has no comment"),
        ("  // Either form.\n", "", 30, "oneof SayResponse.form has no comment"),
        ("  // The words.", "\t// The words.", 22, "tab"),
        ("// The words.", "// " + "x" * 130, 22, "columns"),
        ("returns (SayResponse)", "returns (SayRequest)", 17, "instead of SayResponse"),
        ("string words = 1", "string words = 2", 25, "protoc: Field number 2 has already been used"),
        ("package", 'import "nkiagent/echo/v1/unused.proto";\n\npackage', 4, "unused.proto is unused"),
    ],
)
def test_names_the_broken_rule_and_its_line(
    tmp_path: pathlib.Path, old: str, new: str, line: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in GOOD
    write(tmp_path, GOOD.replace(old, new))
    write(
        tmp_path,
        '// Nothing.\nsyntax = "proto3";\n\npackage nkiagent.echo.v1;\n',
        "nkiagent/echo/v1/unused.proto",
    )
    assert lint.main([str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert message in output
    assert f"echo_service.proto:{line}: " in output


def test_reports_a_message_shared_by_two_rpcs(tmp_path: pathlib.Path) -> None:
    comment = "  // Shouts. Idempotent. A sensible deadline is 1 s.\n"
    shout = comment + "  rpc Shout(SayRequest) returns (SayResponse);\n"
    write(tmp_path, GOOD.replace("}\n\n// What to say.", shout + "}\n\n// What to say."))
    messages = [finding.message for finding in lint.lint(tmp_path)]
    assert "rpc EchoService.Shout shares SayRequest with rpc EchoService.Say" in messages


def test_an_empty_folder_is_no_success(tmp_path: pathlib.Path) -> None:
    assert lint.main([str(tmp_path)]) == 2
