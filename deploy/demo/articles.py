"""Writes realistic programming articles, the same ones for the same seed."""

import hashlib
import random
from datetime import date, timedelta
from typing import Any

Post = dict[str, Any]

TOPICS = {
    "databases": ["query plans", "partial indexes", "connection pools", "row locks", "write-ahead logs", "migrations"],
    "web": ["HTTP caching", "cookies", "content negotiation", "streaming responses", "rate limits", "file uploads"],
    "testing": ["property tests", "flaky tests", "test data", "contract tests", "mutation testing", "golden files"],
    "operations": ["rolling deploys", "health checks", "log pipelines", "backups", "error budgets", "runbooks"],
    "messaging": ["delivery guarantees", "dead letters", "back pressure", "consumer groups", "retries", "outboxes"],
    "languages": ["generators", "ownership", "pattern matching", "structured concurrency", "type narrowing", "macros"],
    "security": ["session fixation", "key rotation", "request signing", "input validation", "secrets", "audit trails"],
}
STACKS = ["postgresql", "rabbitmq", "redis", "sqlite", "nginx", "linux", "kafka", "opensearch", "django", "fastapi"]
TOOLS = ["git", "make", "strace", "perf", "tcpdump", "psql", "curl", "jq", "hypothesis", "ruff", "gdb", "prometheus"]
CODE = {
    "python": "with engine.begin() as connection:\n    print({name!r}, connection.execute(query).all())",
    "sql": "SELECT topic, count(*)\nFROM {table}\nWHERE created_at > now() - interval '7 days'\nGROUP BY topic;",
    "go": 'ctx, cancel := context.WithTimeout(parent, 5*time.Second)\ndefer cancel()\nlog.Println("{name}", ctx.Err())',
    "rust": "let {table}: Vec<_> = rows.iter().filter(|row| row.ready && row.age < limit).collect();",
    "bash": 'set -euo pipefail\nfor file in {table}/*.csv; do\n  wc -l "$file" >&2\ndone',
    "typescript": "const {table} = await fetch(`/api/{name}?page=${{page}}`).then((answer) => answer.json());",
}
OPENINGS = ["How to think about", "A second look at", "What nobody told us about", "Measuring", "Living with"]
DIFFICULTIES = ["beginner", "intermediate", "advanced"]
WITH_ASIDE, FLAGGED, EVERGREEN = 0.2, 0.1, 0.3  # shares of the posts
STATUSES = ["draft", "reviewed", "published", "published", "published", "published"]
KINDS = ["library", "person", "company", "concept", "protocol"]
# Text as people really write it: accents, other scripts, right to left, combining marks, joined emoji, odd spaces.
ASIDES = [
    "Größe ist nicht alles.",
    "C'est un peu naïf, mais ça marche.",
    "索引はただではない。",
    "Индексы не бесплатны.",
    "الفهارس ليست مجانية.",
    "인덱스는 공짜가 아니다.",
    "Zażółć gęślą jaźń.",
    "cafe\u0301 ≠ café, until normalised.",
    "Shipped it 🚀 with the whole team 👩\u200d👩\u200d👧.",
    "5\u202fms → 0.8\u202fms (\u221284\u202f%).",
    "a < b && c > d, always.",
    "\u2018Quotes\u2019 — and “more quotes”…",
]
SENTENCES = [
    "The first version of {subject} worked on a laptop and failed on the second machine.",
    "We measured {subject} with {tool} for a week before touching a line.",
    "Most of the time went into waiting for {stack}, not into computing.",
    "A timeout of {number} ms looked generous until the disk filled up.",
    "Nobody had looked at {subject} since the move to {stack}.",
    "The fix was {number} lines; finding it took {number2} hours with {tool}.",
    "If you remember one thing about {subject}, remember that a retry is a second write.",
    "Under load, {stack} answered {number} requests a second and dropped {number2}.",
    "Start by writing down what {subject} must never do.",
    "A good default for {stack} is a bad default for {subject}.",
    "We kept the old path behind a switch for {number2} days and then deleted it.",
    "It is tempting to add a cache here; measure with {tool} first.",
    "The error message said nothing, so we changed the error message before anything else.",
    "What surprised us: {subject} cost less than the meetings about it.",
]


class Articles:
    """The articles of one seed; each is made from its number alone, so any of them can be made again at any time."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        chance = random.Random(f"{seed}:sentences")  # noqa: S311  test data, not a secret
        subjects = [subject for topic in TOPICS.values() for subject in topic]
        self.sentences = [
            chance.choice(SENTENCES).format(
                subject=chance.choice(subjects),
                tool=chance.choice(TOOLS),
                stack=chance.choice(STACKS),
                number=chance.randint(20, 900),
                number2=chance.randint(2, 19),
            )
            for _ in range(500)
        ]

    def post(self, number: int, version: int = 1) -> Post:
        """Return the post of this number in this version: same id and slug, other text and figures."""
        fixed = random.Random(f"{self.seed}:{number}")  # noqa: S311  test data, not a secret
        topic = fixed.choice(list(TOPICS))
        subject = fixed.choice(TOPICS[topic])
        opening = fixed.choice(OPENINGS)
        chance = random.Random(f"{self.seed}:{number}:{version}")  # noqa: S311  test data, not a secret
        language = chance.choice(list(CODE))
        body = self.body(chance, subject, language)
        return {
            "source_id": f"article-{number:07}",
            "title": f"{opening} {subject}" + (f": {chance.choice(ASIDES)}" if chance.random() < WITH_ASIDE else ""),
            "slug": f"{opening} {subject}".lower().replace(" ", "-") + f"-{number}",
            "topic": topic,
            "summary": " ".join(chance.choices(self.sentences, k=2)),
            "body": body,
            "stack": chance.sample(STACKS, k=chance.randint(1, 4)),
            "tools": chance.sample(TOOLS, k=chance.randint(0, 4)),
            "code_language": language,
            "difficulty": chance.choice(DIFFICULTIES),
            "reading_time": chance.randint(1, 25),
            "view_count": int(chance.paretovariate(1.1) * 40),
            "score": {name: round(chance.random(), 3) for name in ("quality", "freshness", "depth", "clarity")},
            "revision": {
                "status": chance.choice(STATUSES),
                "version": version,
                "last_reviewed": (date(2024, 1, 1) + timedelta(days=chance.randint(0, 900))).isoformat(),
            },
            "reference": f"https://articles.example/{topic}/{number}?v={version}",
            "hash": hashlib.sha256(body.encode()).hexdigest(),
            "flags": {"needs_human_review": chance.random() < FLAGGED, "evergreen": chance.random() < EVERGREEN},
            **self.extras(chance, subject, number),
        }

    def body(self, chance: random.Random, subject: str, language: str) -> str:
        """Return one to three kilobytes of markdown."""
        paragraphs = [" ".join(chance.choices(self.sentences, k=4)) for _ in range(chance.randint(2, 5))]
        code = CODE[language].format(name=subject, table=subject.rsplit(maxsplit=1)[-1])
        items = "\n".join(f"{place}. {text}" for place, text in enumerate(chance.choices(self.sentences, k=3), start=1))
        return (
            f"# {subject.capitalize()}\n\n{paragraphs[0]}\n\n> {chance.choice(ASIDES)}\n\n"
            f"```{language}\n{code}\n```\n\n## What we did\n\n{items}\n\n" + "\n\n".join(paragraphs[1:]) + "\n"
        )

    def extras(self, chance: random.Random, subject: str, number: int) -> Post:
        """Return what is told about a post beside its text."""
        return {
            "checklist": chance.choices(self.sentences, k=chance.randint(0, 4)),
            "entities": [
                {"name": name, "type": chance.choice(KINDS)}
                for name in chance.sample(STACKS + TOOLS, chance.randint(0, 4))
            ],
            "image_sources": [
                {
                    "source": "archive",
                    "url": f"https://images.example/{number}/{place}.webp",
                    "caption": f"{subject.capitalize()}, figure {place}",
                }
                for place in range(1, chance.randint(1, 4))
            ],
            "payload": {"words": chance.randint(300, 4000), "series": {"name": subject, "part": chance.randint(1, 9)}},
            "notes": chance.choices(ASIDES, k=chance.randint(0, 3)),
        }
