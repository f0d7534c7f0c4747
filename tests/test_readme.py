"""The README keeps its word."""

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text()


def test_line_counts_of_the_reading_order_are_true() -> None:
    command = [sys.executable, str(PROJECT / "tools" / "reading_order.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_every_subcommand_is_in_the_readme() -> None:
    commands = {path.stem for path in (PROJECT / "src/ixy/cli").glob("*.py")}
    commands -= {"__init__", "emulate_run", "main", "run", "session", "signals", "start", "tables"}
    commands -= {"metrics", "output", "plots", "samples"}
    assert len(commands) >= 7
    assert all(re.search(rf"^    ixy {command}\b", README, re.MULTILINE) for command in commands)


def test_python_examples_run(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 2
    outputs = []
    for number, example in enumerate(examples):
        file = tmp_path / f"example{number}.py"
        file.write_text(example.replace("10_000", "100"))
        run = subprocess.run([sys.executable, file], capture_output=True, text=True, check=True)
        outputs.append(run.stdout)
    assert outputs[0] == "b'hello, wire'\n"
    assert int(outputs[1]) >= 100
