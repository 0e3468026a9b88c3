"""A shell takes the lines that `dutiful doctor` says to mend, as an operator pastes them.

shell = Shell({"DUTIFUL_RABBITMQ__URL": url}, folder)
shell.paste("export DUTIFUL_METRICS__HOST=127.0.0.1 # or …")
shell.paste("rabbitmqctl add_vhost x; dutiful queues declare")
shell.paste("export DUTIFUL_STORE__CA_PATH=/PATH/TO/ca.pem", **{"/PATH/TO/ca.pem": str(path)})
"""

import shlex
import subprocess
from pathlib import Path
from string import Template

from tests.commands import dutiful, unset

RABBITMQ = Path("/usr/lib/rabbitmq/bin")
OF_THE_NODE = {"rabbitmqctl", "rabbitmq-diagnostics"}
OF_THE_SYSTEM = {"curl", "df", "du", "sort", "tail"}
OTHERS = {"timedatectl"}  # changes the host: no test runs it


def commands(line):
    """The commands of a line; what is behind # is for people."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|")
    lexer.whitespace_split = True
    found = [[]]
    for word in lexer:
        if word in {";", "|"}:
            found.append([])
        else:
            found[-1].append(word)
    return [each for each in found if each]


def decided(line):
    """The command behind a decision: "# once this or that is so: COMMAND"."""
    assert line.startswith("# "), line
    return line.rpartition(": ")[2]


def is_for_a_shell(line):
    """Whether a line can be pasted: commands that an operator has, or words behind #."""
    known = {"dutiful", "export", "unset", *OF_THE_NODE, *OF_THE_SYSTEM, *OTHERS}
    return bool(line) and all(words[0] in known for words in commands(line))


class Shell:
    """Has an environment that lines may change.

    Parameters:
      told: settings; the rest is as in the shell that runs the tests.
      node: the environment of RabbitMQ's node, where it runs.
    """

    def __init__(self, told, folder, node=None):
        self.environment = unset() | told
        self.folder, self.node = folder, node

    def dutiful(self, *words):
        """Run `dutiful WORDS`: the exit status, and what it wrote."""
        done = dutiful(*words, environment=self.environment, folder=self.folder)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    def paste(self, line, **filled):
        """Run a line, with what is to be filled in; what its last command wrote."""
        assert is_for_a_shell(line), line
        for capitals, value in filled.items():
            assert capitals in line, line
            line = line.replace(capitals, value)
        said = ""
        for words in [["bash", "-c", line]] if line.startswith("du ") else commands(line):
            said = self._run(words)
        return said

    def _run(self, words):
        words = [Template(word).safe_substitute(self.environment) for word in words]
        program, *rest = words
        if program == "export":
            name, _, self.environment[name] = rest[0].partition("=")
            return ""
        if program == "unset":
            del self.environment[rest[0]]
            return ""
        if program == "dutiful":
            status, said = self.dutiful(*rest)
            assert status == 0, said
            return said
        of_the_node = program in OF_THE_NODE
        done = subprocess.run(
            [str(RABBITMQ / program) if of_the_node else program, *rest],
            env=self.node if of_the_node else self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
