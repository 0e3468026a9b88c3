"""What `dutiful publish` refuses before it connects."""

import pytest
from typer.testing import CliRunner

from workers.cli import app
from workers.errors import DutifulError


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("content.import", "--arg", "source=a"), 1, "there is no actor content.import"),
        (("content.import_feed",), 1, "source"),
        (("content.import_feed", "--json", "{"), 1, "expected JSON"),
        (("content.import_feed", "--json", "[1]"), 1, "a JSON object"),
        (("content.import_feed", "--json", "@nowhere.json"), 2, "there is no file nowhere.json"),
        (("content.import_feed", "--arg", "source"), 2, "name=text"),
        (("content.import_feed", "--arg", "source=a", "--json", "{}"), 2, "in one way"),
        (("content.import_feed", "--arg", "source=a", "--delay", "soon"), 2, "such as 5m"),
        (("content.import_feed", "--arg", "source=a", "--key", "x" * 256), 1, "1 to 255 characters"),
    ],
)
def test_a_refusal_says_what_to_write_and_its_status_whose_mistake_it_was(words, status, said):
    answer = CliRunner().invoke(app, ["publish", *words, "--dry-run"])

    told = answer.stderr if status == 2 else str(answer.exception)
    assert answer.exit_code == status
    assert isinstance(answer.exception, SystemExit if status == 2 else DutifulError)
    assert said in " ".join(told.replace("│", " ").split())
