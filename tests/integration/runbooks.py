"""Follows runbooks as who is on call would: pastes their commands, and compares what comes with what pages promise."""

import json
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs/runbooks").glob("*.md"))}
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```", re.DOTALL | re.MULTILINE)
AT_ONCE = 3
STARTED_ELSEWHERE = {"periodiq scheduling"}  # it runs until somebody stops it; the test that follows has started it so


class Runbooks:
    """Every page's commands, each once an incident.

    Parameters:
      environment: of the shell.
      addresses: what the pages call 127.0.0.1:9191, and where that is here.
      package: of the jobs.
    """

    def __init__(self, environment, addresses, package):
        # RabbitMQ's own folder first: the program in /usr/sbin becomes another user, who knows nothing of this node.
        path = f"{Path(sys.executable).parent}:/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/bin"
        self.environment = environment | {"PATH": path, "LC_ALL": "C.UTF-8", "COLUMNS": "240"}
        self.addresses = addresses
        self.package = package
        self.followed = set()
        self._letters = threading.Lock()  # one operator at a time looks into a dead queue

    def follow(self, pages, wrong=()):
        """Run the commands of these pages: the page, and what its variables are.

        Parameters:
          wrong: beginnings of commands that must find something wrong.
        """
        ran = {}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda page: list(self._follow(page, pages[page], ran, wrong)), sorted(pages))
            problems = [problem for each in found for problem in each]
        assert not problems, "\n\n".join(problems)
        self.followed |= pages.keys()

    def _follow(self, page, variables, ran, wrong):
        """Each thing that is not as the page says."""
        outputs = []
        for kind, text in BLOCK.findall(PAGES[page]):
            if kind == "text":
                if not any(fits(text, output) for output in outputs):
                    yield f"{page} promises\n{text}and there came\n{'and '.join(outputs)}"
                continue
            outputs = []
            for command in text.splitlines():
                if command in STARTED_ELSEWHERE:
                    continue
                known = (command, *(value for name, value in sorted(variables.items()) if f"${name}" in command))
                if known not in ran:
                    ran[known] = self.run(command, variables)
                status, output = ran[known]
                expected = {1} if command.startswith(tuple(wrong)) else {0, 1} if "| grep" in command else {0}
                if status not in expected:
                    yield f"{page}: {command}: exit status {status}\n{output}"
                outputs.append(output)

    def run(self, command, variables):
        """Run one line: its exit status and what it wrote."""
        words = command
        for there, here in self.addresses.items():
            words = words.replace(there, here)
        if command.startswith("dutiful dead-letters "):
            words += f" --package {self.package}"
        elif command.startswith(("dutiful queues ", "dutiful actors show ")):
            words += f" {self.package}"
        with self._letters if "dead-letters" in command else threading.Lock():
            done = subprocess.run(
                ["bash", "-c", words],
                env=self.environment | variables,
                input="y\n",  # where a command asks whether it is meant
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        return done.returncode, done.stdout + done.stderr


def fits(promised, output):
    """Whether an output has the shape that a page shows: the same columns, the same fields, lines that begin alike."""
    first = promised.splitlines()[0].strip()
    if first.startswith("{"):
        fields = json.loads(first).keys()
        return output.startswith("{") and {"ok"} <= json.loads(output).keys() <= fields
    if first[0].isdigit():
        return all(re.match(r"\s*\d+\s+\S+", line) for line in output.splitlines())
    return bool(output) and output.splitlines()[0].split() == first.split()
