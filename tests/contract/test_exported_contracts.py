"""docs/contracts is what the site's actors take."""

from pathlib import Path

import actors
from workers.broker import setup_broker
from workers.exported import check, current
from workers.schemas import schemas

FOLDER = Path(__file__).parents[2] / "docs/contracts"


def test_the_export_is_that_of_the_code():
    known = {name: found for name, found in schemas(setup_broker()).items() if of_the_site(name)}

    assert check(known, FOLDER) == [], "dutiful contracts check says what to do"
    assert dict(current(FOLDER)) == known


def of_the_site(name):
    """Another test of the same process may have declared actors of its own."""
    return setup_broker().actors[name].fn.__module__.startswith(actors.__name__)
