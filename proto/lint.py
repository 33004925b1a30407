#!/usr/bin/env python3
"""Checks the style of every .proto under a folder: python3 proto/lint.py [FOLDER].

protoc says whether the files are protos at all (its warnings count as errors, so an unused import is one).
The rest are rules of this repository: packages follow folders, names follow the usual proto style, each RPC
has its own request and response, and everything has a comment, since the comments are the manual. Prints
FILE:LINE: MESSAGE for each finding and exits with 1 if there is any, with 2 if it could not look.
"""

import argparse
import dataclasses
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

MAX_COLUMNS = 120
PACKAGE = re.compile(r"^nkiagent\.[a-z][a-z0-9_]*\.v[1-9][0-9]*$")
PASCAL = re.compile(r"^[A-Z][A-Za-z0-9]*$")
SNAKE = re.compile(r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")
UPPER = re.compile(r"^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$")
# Nouns without a plural of their own, allowed as names of repeated fields.
UNCOUNTABLE = {"content", "evidence", "traffic"}
IRREGULAR_PLURALS = {"indices"}

TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|(?P<word>[A-Za-z0-9_.+\-]+)|(?P<mark>[{}()\[\]<>;=,])""",
    re.DOTALL,
)


@dataclasses.dataclass
class Finding:
    """One broken rule."""

    path: pathlib.Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclasses.dataclass
class Statement:
    """Words up to `;` or `{`, the comment that stands right above them, and what the braces hold."""

    words: list[str]
    line: int
    comment: str
    body: list["Statement"] | None = None


class Parser:
    """Splits a proto file into nested statements. Lenient: protoc has already accepted the file."""

    def __init__(self, text: str):
        self.tokens: list[tuple[str, str, int]] = []
        line = 1
        position = 0
        while position < len(text):
            match = TOKEN.match(text, position)
            if match is None:
                raise ValueError(f"line {line}: unexpected {text[position]!r}")
            kind = match.lastgroup or ""
            if kind != "space":
                self.tokens.append((kind, match.group(), line))
            line += match.group().count("\n")
            position = match.end()
        self.position = 0

    def statements(self) -> list[Statement]:
        """The statements up to the closing brace of the current block, or the end of the file."""
        found: list[Statement] = []
        words: list[str] = []
        first_line = 0
        comment: list[str] = []
        comment_end = 0
        while self.position < len(self.tokens):
            kind, text, line = self.tokens[self.position]
            self.position += 1
            if kind == "comment":
                if not words:
                    if line > comment_end + 1:
                        comment = []
                    comment.append(text)
                    comment_end = line
                continue
            if text == "}":
                return found
            if not words and text != ";":
                first_line = line
            if text in (";", "{"):
                above = " ".join(comment) if comment_end == first_line - 1 else ""
                comment = []
                if words:
                    statement = Statement(words, first_line, above)
                    if text == "{":
                        statement.body = self.statements()
                    found.append(statement)
                words = []
                continue
            words.append(text)
        return found


def upper_snake(name: str) -> str:
    """LatencyEstimate -> LATENCY_ESTIMATE."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper()


class FileLinter:
    """Applies the rules to one file; `rpc_messages` is shared by all files."""

    def __init__(self, root: pathlib.Path, path: pathlib.Path, rpc_messages: dict[str, str]):
        self.root = root
        self.path = path
        self.rpc_messages = rpc_messages
        self.findings: list[Finding] = []
        self.package = ""

    def say(self, line: int, message: str) -> None:
        """Records a finding."""
        self.findings.append(Finding(self.path, line, message))

    def run(self) -> list[Finding]:
        """All findings of this file."""
        text = self.path.read_text(encoding="utf-8")
        for number, line in enumerate(text.split("\n"), start=1):
            if len(line) > MAX_COLUMNS:
                self.say(number, f"line has {len(line)} columns, more than {MAX_COLUMNS}")
            if "\t" in line:
                self.say(number, "tab; indent by two spaces")
            if line != line.rstrip():
                self.say(number, "blanks at the end of the line")
        if not text.startswith("// "):
            self.say(1, "the file begins with no comment that says what it holds")
        if not SNAKE.match(self.path.stem):
            self.say(1, f"file name {self.path.name} is not lower_snake_case.proto")
        statements = Parser(text).statements()
        self.check_header(statements)
        for statement in statements:
            keyword = statement.words[0]
            if keyword == "message":
                self.check_message(statement)
            elif keyword == "enum":
                self.check_enum(statement)
            elif keyword == "service":
                self.check_service(statement)
        return self.findings

    def check_header(self, statements: list[Statement]) -> None:
        """Syntax, package and imports."""
        syntax = [s for s in statements if s.words[0] == "syntax"]
        if not syntax or syntax[0].words[-1].strip("\"'") != "proto3":
            self.say(1, 'no syntax = "proto3"')
        packages = [s for s in statements if s.words[0] == "package"]
        if not packages:
            self.say(1, "no package")
            return
        self.package = packages[0].words[1]
        expected = ".".join(self.path.relative_to(self.root).parent.parts)
        if self.package != expected:
            self.say(packages[0].line, f"package {self.package} stands in the folder of package {expected}")
        if not PACKAGE.match(self.package):
            self.say(packages[0].line, f"package {self.package} is not nkiagent.<service>.v<number>")
        imports = [s for s in statements if s.words[0] == "import"]
        names = [s.words[-1] for s in imports]
        if names != sorted(names):
            self.say(imports[0].line, "imports are not in alphabetical order")

    def need_comment(self, statement: Statement, what: str) -> None:
        """Reports a thing without a comment right above it."""
        if not re.search(r"\w", statement.comment):
            self.say(statement.line, f"{what} has no comment")

    def check_message(self, statement: Statement) -> None:
        """A message and what it nests."""
        name = statement.words[1]
        self.need_comment(statement, f"message {name}")
        if not PASCAL.match(name):
            self.say(statement.line, f"message {name} is not PascalCase")
        self.check_fields(name, statement.body or [])

    def check_fields(self, owner: str, body: list[Statement]) -> None:
        """The fields, oneofs and nested types of one message."""
        for item in body:
            keyword = item.words[0]
            if keyword == "message":
                self.check_message(item)
            elif keyword == "enum":
                self.check_enum(item)
            elif keyword == "oneof":
                self.need_comment(item, f"oneof {owner}.{item.words[1]}")
                if not SNAKE.match(item.words[1]):
                    self.say(item.line, f"oneof {owner}.{item.words[1]} is not lower_snake_case")
                self.check_fields(owner, item.body or [])
            elif keyword not in ("reserved", "option", "extensions"):
                self.check_field(owner, item)

    def check_field(self, owner: str, item: Statement) -> None:
        """One field."""
        if "=" not in item.words:
            return
        name = item.words[item.words.index("=") - 1]
        self.need_comment(item, f"field {owner}.{name}")
        if not SNAKE.match(name):
            self.say(item.line, f"field {owner}.{name} is not lower_snake_case")
        last = name.rsplit("_", 1)[-1]
        if (
            item.words[0] == "repeated"
            and not last.endswith("s")
            and last not in UNCOUNTABLE | IRREGULAR_PLURALS
        ):
            self.say(item.line, f"repeated field {owner}.{name} is not plural")
        if item.words[0] == "required":
            self.say(item.line, f"field {owner}.{name} is required")

    def check_enum(self, statement: Statement) -> None:
        """An enum and its values."""
        name = statement.words[1]
        self.need_comment(statement, f"enum {name}")
        if not PASCAL.match(name):
            self.say(statement.line, f"enum {name} is not PascalCase")
        prefix = upper_snake(name) + "_"
        for item in statement.body or []:
            if item.words[0] in ("option", "reserved"):
                continue
            value, number = item.words[0], item.words[2]
            self.need_comment(item, f"enum value {value}")
            if not UPPER.match(value) or not value.startswith(prefix):
                self.say(item.line, f"enum value {value} does not begin with {prefix}")
            if (int(number, 0) == 0) != (value == prefix + "UNSPECIFIED"):
                self.say(item.line, f"the zero value of {name} must be {prefix}UNSPECIFIED, and no other")

    def check_service(self, statement: Statement) -> None:
        """A service and its RPCs."""
        name = statement.words[1]
        self.need_comment(statement, f"service {name}")
        if not PASCAL.match(name) or not name.endswith("Service"):
            self.say(statement.line, f"service {name} does not end in Service")
        for item in statement.body or []:
            if item.words[0] == "rpc":
                self.check_rpc(name, item)

    def check_rpc(self, service: str, item: Statement) -> None:
        """One RPC."""
        words = [word for word in item.words if word not in ("(", ")", "stream")]
        method, request, response = words[1], words[2], words[4]
        label = f"rpc {service}.{method}"
        self.need_comment(item, label)
        for topic in ("idempotent", "deadline"):
            if topic not in item.comment.lower():
                self.say(item.line, f"the comment of {label} says nothing about: {topic}")
        if not PASCAL.match(method):
            self.say(item.line, f"{label} is not PascalCase")
        for message, suffix in ((request, "Request"), (response, "Response")):
            if message != method + suffix:
                self.say(item.line, f"{label} takes or returns {message} instead of {method}{suffix}")
            full = message if "." in message else f"{self.package}.{message}"
            other = self.rpc_messages.setdefault(full, label)
            if other != label:
                self.say(item.line, f"{label} shares {message} with {other}")


def check_with_protoc(root: pathlib.Path, paths: list[pathlib.Path]) -> list[Finding]:
    """What protoc itself has to say; its warnings count too."""
    protoc = shutil.which("protoc")
    if protoc is None:
        raise RuntimeError("protoc is not installed (package protobuf-compiler)")
    with tempfile.TemporaryDirectory() as scratch:
        command = [protoc, "-I", str(root), f"--descriptor_set_out={scratch}/set"] + [
            str(path) for path in paths
        ]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    findings = []
    for line in result.stderr.splitlines():
        match = re.match(r"^(.*?):(\d+):\d+: (.*)$", line)
        if match:
            findings.append(Finding(root / match.group(1), int(match.group(2)), f"protoc: {match.group(3)}"))
        else:
            name, _, message = line.partition(": ")
            known = message and (root / name).is_file()
            findings.append(
                Finding(root / name if known else root, 1, f"protoc: {message if known else line}")
            )
    if result.returncode != 0 and not findings:
        findings.append(Finding(root, 1, f"protoc failed with exit code {result.returncode}"))
    return findings


def lint(root: pathlib.Path) -> list[Finding]:
    """All findings in the protos under `root`, which is what packages and imports are relative to."""
    paths = sorted(root.rglob("*.proto"))
    if not paths:
        raise RuntimeError(f"there are no .proto files under {root}")
    findings = check_with_protoc(root, paths)
    if findings:
        return findings
    rpc_messages: dict[str, str] = {}
    for path in paths:
        findings += FileLinter(root, path, rpc_messages).run()
    return findings


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Checks the style of the protos under a folder.")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    folder = parser.parse_args(arguments).folder
    try:
        findings = lint(folder)
    except (RuntimeError, ValueError, OSError, subprocess.TimeoutExpired) as error:
        print(f"proto lint: {error}", file=sys.stderr)
        return 2
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
